"""PyTorch's recurrent modules on rnnfast's engine.

`RNN`, `LSTM`, `GRU`, `LSTMCell` and `GRUCell` are subclasses of torch.nn's, with the same
arguments, parameters, state dict and results. `accelerate` gives the modules of an existing model a
`forward` that does the same; their types stay. On CPU tensors of float32 or float64 the forward and
backward passes run on the engine. What it does not serve goes to torch's own kernels and gives
torch's own result: other devices and dtypes, ``create_graph=True``, ``torch.jit``,
``torch.export``, ``torch.func``, forward-mode gradients, autocast, dispatch modes, tensors of a
subclass, nested or empty ones, what ``torch.compile`` takes into its graph, and calls of a few
steps, which gain nothing. Errors are torch's own as well: a call that is not in order goes there,
too. So does every call where the version of PyTorch is not known, which a RuntimeWarning says once,
since private functions of torch tell what a call is part of.

The engine keeps a packed copy of the weights and a plain one, by which it sees any change of them.
Inputs that torch lets change in place before ``backward`` may change: ``batch_first`` ones, which
are copied, and all if no weight has a gradient. ``torch.set_num_threads`` holds for the engine.
``torch.jit.script(model)`` leaves plain modules in the model that it was given: call `accelerate`
again. Code that goes by exact types, dynamic quantization for instance, knows accelerated modules
and passes those of the classes here over. A model that is pickled whole needs rnnfast to be loaded;
its state dict does not.
"""

try:
    import torch as _  # noqa: F401
except ImportError as error:
    raise ImportError("rnnfast.torch needs PyTorch: pip install rnnfast[torch]") from error

from .models import Report, accelerate, restore
from .modules import GRU, LSTM, RNN, GRUCell, LSTMCell

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "GRUCell",
    "LSTMCell",
    "Report",
    "accelerate",
    "restore",
]

"""PyTorch's recurrent modules on rnnfast's engine.

`RNN`, `LSTM`, `GRU` and their cells are subclasses of torch.nn's, with the same arguments,
parameters, state dict and results, and `accelerate` makes those of an existing model into them. On
CPU tensors of float32 or float64 the forward and backward passes run on the engine. What it does
not serve goes to torch's own kernels and gives torch's own result: other devices and dtypes,
``create_graph=True``, ``torch.jit``, ``torch.export``, ``torch.func``, forward-mode gradients,
autocast, dispatch modes, tensors of a subclass, empty ones, what ``torch.compile`` takes into its
graph, and a few rows that gain nothing. Errors are torch's own as well: a call that is not in order
goes there, too.

The engine keeps a packed copy of the weights and a plain one, by which it sees any change of them.
It reads inputs where they are: one that is changed in place before ``backward`` is refused, also
with ``batch_first``, where torch's kernels have a copy of it.
``torch.set_num_threads`` holds for the engine. ``torch.jit.script(model)`` leaves torch's own
modules in the model that it was given, and dynamic quantization passes modules of these types over:
call `accelerate` after the one and `restore` before the other. A model that is pickled whole names
these classes and needs rnnfast to be loaded; its state dict does not.
"""

try:
    import torch as _  # noqa: F401
except ImportError as error:
    raise ImportError("rnnfast.torch needs PyTorch: pip install rnnfast[torch]") from error

from .models import Report, accelerate, restore
from .modules import GRU, LSTM, RNN, GRUCell, LSTMCell, RNNCell

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "GRUCell",
    "LSTMCell",
    "RNNCell",
    "Report",
    "accelerate",
    "restore",
]

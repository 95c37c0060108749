"""A PyTorch of a version that nobody knows, without the private functions of known ones."""

import warnings

import torch

torch.__version__ = "99.0.0"
for name in ("_is_tracing", "_len_torch_dispatch_stack", "_are_functorch_transforms_active"):
    delattr(torch._C, name)
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    import rnnfast.torch as ours

    ours.accelerate(torch.nn.LSTM(3, 4))
print(sum("got 99.0.0" in str(warning.message) for warning in said), "warning")

theirs, mine = torch.nn.LSTM(3, 4), ours.LSTM(3, 4)
mine.load_state_dict(theirs.state_dict())
x = torch.randn(6, 5, 3)
print(torch.equal(mine(x)[0], theirs(x)[0]))  # to the bit: the same kernels
report = ours.accelerate(torch.nn.Sequential(theirs))
print(report.swapped, report.left)
try:
    mine(x, resets=torch.ones(6, 5, dtype=torch.bool))
except RuntimeError as error:
    print(str(error).partition(":")[0])

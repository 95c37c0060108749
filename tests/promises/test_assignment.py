"""P22: what is assigned to an attribute later is checked as in the constructor, or refused."""

from __future__ import annotations

import inspect
import math

import numpy as np
import pytest

import rnnfast as rf
from rnnfast import layers
from rnnfast.datasets import text_batches
from rnnfast.generation import Vocabulary
from rnnfast.layers.recurrent import RECURRENT_LAYERS

RECURRENT = [kind(2, 3) for kind in RECURRENT_LAYERS.values()]
LAYERS = [
    *RECURRENT,
    *(rf.Linear(2, 3), rf.Embedding(4, 2), rf.JoinedEmbedding(4, 2, 2), rf.LayerNorm(2)),
    *(rf.BatchNorm1d(2), rf.Dropout(), rf.ReLU(), rf.Tanh(), rf.Sigmoid(), rf.Softmax()),
    *(rf.Conv1d(2, 3, 2), rf.GatedConv1d(2, 2, 1), rf.WaveNet(2, 3, [1]), rf.MiniRocket(1, 9)),
    *(rf.Last(), rf.Pool("max"), rf.RepeatVector(3), rf.Merge("concat"), rf.Scale(2)),
    *(rf.Activation("gelu"), rf.GaussianNoise(0.5), rf.Dot((2, 2)), rf.Pool1d("max", 2)),
    rf.Rearrange("fold", (2, 3)),
    *(rf.LuongAttention(2, 2), rf.BahdanauAttention(2, 2, 2), rf.EncoderDecoder(3, 3, 2, 2)),
    *(rf.Sequential(rf.Linear(2, 3)), rf.Add(rf.Linear(2, 3))),
    rf.Graph([("y", rf.Linear(2, 3), "x")]),
]
MODEL = rf.Linear(2, 2)
OPTIMIZERS = (rf.SGD, rf.Adam, rf.AdamW, rf.Nadam, rf.RMSprop)
MADE = {
    **dict.fromkeys(OPTIMIZERS, (MODEL,)),
    rf.StepLR: (rf.SGD(MODEL), 2),
    rf.ExponentialLR: (rf.SGD(MODEL), 0.5),
    rf.CosineAnnealingLR: (rf.SGD(MODEL), 2),
    rf.OneCycleLR: (rf.SGD(MODEL), 0.5, 4),
    rf.ReduceLROnPlateau: (rf.SGD(MODEL),),
    rf.EarlyStopping: (),
    rf.Checkpoint: ("model.npz",),
    rf.CSVLog: ("log.csv",),
    rf.Shards: (["a.npz"],),
    text_batches: (np.arange(20), 2, 3),
    Vocabulary: ("abc",),
}
VALUES = (
    -1,
    -0.5,
    0,
    1.5,
    2,
    math.nan,
    math.inf,
    True,
    "x",
    "min",
    "linear",
    None,
    (1, 2),
    object(),
)


def public(thing):
    """Names of all public attributes that are no methods."""
    names = {name for name in dir(thing) if not name.startswith("_")}
    return sorted(name for name in names if not callable(getattr(type(thing), name, None)))


def kept_or_raised(act, thing, name):
    """Return what an act leaves as an attribute, or its error."""
    try:
        return repr(getattr(act() or thing, name))
    except (TypeError, ValueError) as error:
        return type(error), str(error)


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
def test_attributes_of_layers_are_fixed(layer):
    """All but those that say they may be set, so that none contradicts the weights."""
    names = public(layer)
    assert {"params", "buffers", "grads", "in_size", "out_size", "dtype"} < set(names)
    for name in set(names) - {"checkpoint", "weights"}:
        with pytest.raises(AttributeError, match=f"{name} of .* is fixed at construction"):
            setattr(layer, name, getattr(layer, name))


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
def test_methods_may_be_wrapped_and_put_back(layer):
    backward = layer.backward
    for method in (lambda *args: None), backward:
        layer.backward = method
        assert layer.backward is method
    del layer.backward


def test_what_a_subclass_adds_is_its_own():
    class Counted(rf.Linear):
        def __init__(self):
            super().__init__(2, 3)
            self.calls = 0

        def __call__(self, x):
            self.calls += 1
            return super().__call__(x)

    layer = Counted()
    layer(np.ones((1, 2), np.float32))
    assert layer.calls == 1
    with pytest.raises(AttributeError, match="in_features of Counted is fixed"):
        layer.in_features = 3


def test_all_layers_are_there():
    assert {type(layer).__name__ for layer in LAYERS} == set(layers.__all__)


@pytest.mark.parametrize("layer", RECURRENT, ids=lambda layer: type(layer).__name__)
def test_checkpoint_is_checked(layer):
    x = np.ones((4, 2, 2), np.float32)
    y, *_ = layer.forward(x)
    for value, error in ((-1, ValueError), (0, ValueError), (1.5, TypeError), (True, TypeError)):
        with pytest.raises(error, match="expected checkpoint"):
            layer.checkpoint = value
        with pytest.raises(error, match="expected checkpoint"):
            type(layer)(2, 3, checkpoint=value)
        assert layer.checkpoint is None
    layer.checkpoint = 2
    np.testing.assert_array_equal(layer.forward(x)[0], y)


def test_weights_of_add_are_checked():
    add = rf.Add(rf.Linear(2, 3), rf.Linear(2, 3))
    for wrong in ((1.0,), (0.0, 0.0), (1.0, math.nan), "ab"):
        with pytest.raises(ValueError):
            add.weights = wrong
    assert add.weights == (1.0, 1.0)


@pytest.mark.parametrize("kind", MADE, ids=lambda kind: kind.__name__)
def test_assignment_is_checked_as_the_constructor_does(kind):
    """Each public attribute is in the table, and takes, changes or refuses the same values."""
    first = MADE[kind]
    thing = kind(*first)
    arguments = list(inspect.signature(kind).parameters)
    assert set(public(thing)) <= {*kind._checks, *kind._fixed}
    for name in kind._fixed:
        with pytest.raises(AttributeError, match=f"{name} of .* is fixed at construction"):
            setattr(thing, name, getattr(thing, name))
    for name in set(kind._checks) & set(arguments[len(first) :]) - set(kind._fixed):
        for value in VALUES:
            fresh = kind(*first)
            made = kept_or_raised(lambda: kind(*first, **{name: value}), None, name)  # noqa: B023
            later = kept_or_raised(lambda: setattr(fresh, name, value), fresh, name)  # noqa: B023
            assert later == made, (name, value)
            if isinstance(later, tuple):
                assert repr(getattr(fresh, name)) == repr(getattr(thing, name))


def test_all_classes_are_there():
    """But for bases, and `History`, which nobody reads; estimators check in `fit`."""
    public = {kind for kind in vars(rf).values() if isinstance(kind, type)}
    made = {kind for kind in public if not issubclass(kind, layers.base.Layer)}
    assert made - {rf.Callback, rf.History} < set(MADE)


@pytest.mark.parametrize("kind", [rf.SGD, rf.RMSprop])
def test_momentum_may_be_set_later(kind):
    """The running values that it needs come with it, and go."""
    trained = []
    for late in (False, True):
        model = rf.Linear(2, 2, seed=0)
        optimizer = kind(model, momentum=0.0 if late else 0.9)
        optimizer.momentum = 0.9
        for step in (1.0, 2.0):
            for grad in model.grads.values():
                grad.fill(step)
            optimizer.step()
        optimizer.load_state_dict(optimizer.state_dict())
        optimizer.momentum = 0.0
        optimizer.load_state_dict(optimizer.state_dict())
        trained.append(model.params["weight"])
    np.testing.assert_array_equal(*trained)


def test_nesterov_and_momentum_agree():
    optimizer = rf.SGD(MODEL)
    with pytest.raises(ValueError, match="momentum > 0 with nesterov"):
        optimizer.nesterov = True
    optimizer.momentum = 0.5
    optimizer.nesterov = True
    with pytest.raises(ValueError, match="momentum > 0 with nesterov"):
        optimizer.momentum = 0.0
    assert (optimizer.momentum, optimizer.nesterov) == (0.5, True)

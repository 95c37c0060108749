"""Attention."""

from __future__ import annotations

import re

import numpy as np
import pytest
from comparisons import close, same_slope, same_slopes
from engines import each_engine as each_engine
from samples import copies, odd_layouts

from rnnfast import BahdanauAttention, LuongAttention

B, TQ, TK, H = 3, 4, 5, 6
F8 = {"dtype": np.float64}
KINDS = {
    "dot": lambda **o: LuongAttention(H, H, **o),
    "general": lambda **o: LuongAttention(H, 2, "general", **o),
    "concat": lambda **o: LuongAttention(H, 2, "concat", **o),
    "concat of size 3": lambda **o: LuongAttention(H, 2, "concat", 3, **o),
    "additive": lambda **o: BahdanauAttention(H, 2, 7, **o),
}
each_kind = pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)


def arrays(layer, seed=0):
    rng = np.random.default_rng(seed)
    shapes = [(TQ, B, H), (TK, B, layer.memory_size), (TQ, B, layer.memory_size)]
    if layer.batch_first:
        shapes = [(b, t, f) for t, b, f in shapes]
    return [rng.standard_normal(shape).astype(layer.dtype) for shape in shapes]


@each_kind
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("lengths", [None, [5, 2, 0]])
def test_finite_differences(make, batch_first, lengths):
    layer = make(batch_first=batch_first, seed=1, **F8)
    query, memory, dcontext = arrays(layer)
    context, weights, tape = layer.forward(query, memory, lengths)
    np.testing.assert_array_equal(layer(query, memory, lengths)[0], context)
    assert context.shape == dcontext.shape
    real = np.array([5, 5, 5] if lengths is None else lengths)
    by_sample = weights if batch_first else weights.swapaxes(0, 1)
    assert by_sample.shape == (B, TQ, TK)
    np.testing.assert_allclose(by_sample.sum(axis=2), np.tile(real > 0, (TQ, 1)).T, rtol=1e-12)
    assert not by_sample[1, :, real[1] :].any()

    def loss():
        return np.vdot(layer(query, memory, lengths)[0], dcontext)

    dquery, dmemory = layer.backward(tape, dcontext)
    same_slope("dquery", dquery, loss, query)
    same_slope("dmemory", dmemory, loss, memory)
    same_slopes(layer, loss)


@each_kind
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_equations(make, dtype):
    """The papers' equations, and their gradients by PyTorch."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    layer = make(dtype=dtype, seed=1)
    query, memory, dcontext = arrays(layer)
    tensors = {n: torch.tensor(p, requires_grad=True) for n, p in layer.state_dict().items()}
    q, m = (torch.tensor(a.swapaxes(0, 1).copy(), requires_grad=True) for a in (query, memory))
    if "score.weight" in tensors:
        W, U, v = (tensors[f"{name}.weight"] for name in ("query", "memory", "score"))
        hidden = torch.tanh((q @ W.T)[:, :, None] + (m @ U.T)[:, None])
        scores = (hidden @ v.T)[..., 0]
    else:
        W = tensors.get("query.weight", torch.eye(H, dtype=q.dtype))
        scores = torch.einsum("bqh,mh,bkm->bqk", q, W, m)
    context = torch.softmax(scores, 2) @ m
    context.backward(torch.tensor(dcontext.swapaxes(0, 1).copy()))

    got, _, tape = layer.forward(query, memory)
    dquery, dmemory = layer.backward(tape, dcontext)
    bound = 100 * np.finfo(dtype).eps
    close("context", got, context.detach().numpy().swapaxes(0, 1), bound, dtype)
    close("dquery", dquery, q.grad.numpy().swapaxes(0, 1), bound, dtype)
    close("dmemory", dmemory, m.grad.numpy().swapaxes(0, 1), bound, dtype)
    assert layer.grads.keys() == tensors.keys()
    for name, tensor in tensors.items():
        close(name, layer.grads[name], tensor.grad.numpy(), bound, dtype)


@each_kind
def test_what_lies_past_the_end_reaches_nothing(make):
    layer = make(seed=1)
    query, memory, dcontext = arrays(layer)
    lengths = [5, 2, 0]
    results = []
    for filler in (0.0, np.nan):
        memory[2:, 1] = memory[:, 2] = filler
        layer.zero_grad()
        context, weights, tape = layer.forward(query, memory, lengths)
        results.append([context, weights, *layer.backward(tape, dcontext)])
        results[-1] += [grad.copy() for grad in layer.grads.values()]
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)
        assert np.isfinite(a).all()
    assert not context[:, 2].any()


@each_kind
def test_any_layout_gives_the_same(make):
    layer = make(seed=1)
    query, memory, dcontext = arrays(layer)
    odd = [odd_layouts(array) for array in (query, memory, dcontext)]

    def results(query, memory, dcontext):
        layer.zero_grad()
        context, weights, tape = layer.forward(query, memory)
        return [context, weights, *layer.backward(tape, dcontext), *layer.grads.values()]

    want = [array.copy() for array in results(query, memory, dcontext)]
    for kind in odd[0]:
        got = results(*(layouts[kind] for layouts in odd))
        for a, b in zip(got, want, strict=True):
            np.testing.assert_array_equal(a, b, err_msg=kind)


@each_kind
@pytest.mark.parametrize("shape", [(0, 3, 5), (4, 0, 5), (4, 3, 0)], ids=str)
def test_nothing_to_do(make, shape):
    layer = make(seed=1)
    steps, batch, memory_steps = shape
    query = np.ones((steps, batch, H), np.float32)
    memory = np.ones((memory_steps, batch, layer.memory_size), np.float32)
    context, weights, tape = layer.forward(query, memory)
    assert context.shape == (steps, batch, layer.memory_size)
    assert weights.shape == shape
    assert not context.any()
    dquery, dmemory = layer.backward(tape, context)
    assert (dquery.shape, dmemory.shape) == (query.shape, memory.shape)
    assert not any(grad.any() for grad in layer.grads.values())


@each_kind
def test_config_and_copies(make):
    layer = make(batch_first=True, seed=3, **F8)
    for twin in copies(layer):
        assert repr(twin) == repr(layer)
        np.testing.assert_equal(dict(twin.params), dict(layer.params))


def test_refuses_and_writes_nothing():
    layer = LuongAttention(H, 2, "general", seed=1)
    query, memory, dcontext = arrays(layer)
    _, _, tape = layer.forward(query, memory)
    for call, error, message in [
        (lambda: layer(query[0], memory), ValueError, "query with 3 axes, the last of size 6, got"),
        (lambda: layer(query, query), ValueError, "memory with 3 axes, the last of size 2, got"),
        (lambda: layer(query, memory[:, :2]), ValueError, "a memory of 3 samples, as the query"),
        (lambda: layer(query, memory.astype("f8")), TypeError, "memory of dtype float32, got"),
        (lambda: layer(query, memory, [6, 1, 1]), ValueError, "lengths from 0 to 5"),
        (lambda: layer.backward(tape, memory), ValueError, "dcontext of shape (4, 3, 2), got"),
        (
            lambda: LuongAttention(2, 2, "cosine"),
            ValueError,
            "score as one of dot, general, concat",
        ),
        (lambda: LuongAttention(2, 3), ValueError, "query_size and memory_size to be equal"),
        (lambda: LuongAttention(2, 3, "concat", 0), ValueError, "attention_size >= 1, got 0"),
    ]:
        with pytest.raises(error, match=re.escape(f"LuongAttention expected {message}")):
            call()
    assert not layer.grads["query.weight"].any()
    layer.backward(tape, dcontext, input_grad=False)
    assert layer.grads["query.weight"].any()
    with pytest.raises(RuntimeError, match="used before"):
        layer.backward(tape, dcontext)
    _, _, tape = layer.forward(query, memory)
    layer.params["query.weight"] = np.zeros((2, H))
    with pytest.raises(RuntimeError, match="changed between forward and backward"):
        layer.backward(tape, dcontext)

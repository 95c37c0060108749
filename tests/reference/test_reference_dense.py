"""The dense specification: against finite differences and against PyTorch, in float64."""

from __future__ import annotations

import numpy as np
import pytest
import tolerances
from comparisons import close, same_slope

from rnnfast.reference import dense


@pytest.mark.parametrize(("n", "k", "m"), [(5, 3, 4), (1, 7, 1), (0, 2, 3), (3, 0, 2)])
def test_linear(n, k, m):
    rng = np.random.default_rng(n)
    x, weight = rng.standard_normal((n, k)), rng.standard_normal((m, k))
    bias, dy = rng.standard_normal(m), rng.standard_normal((n, m))
    y = np.full((n, m), np.nan)

    def loss():
        dense.linear(x, weight, bias, y)
        return np.vdot(y, dy)

    loss()
    close("y", y, x @ weight.T + bias, 0.0, np.float64)
    dx, dweight, dbias = np.full((n, k), np.nan), np.ones((m, k)), np.ones(m)
    dense.linear_backward(x, weight, dy, dx, dweight, dbias)
    same_slope("dx", dx, loss, x)
    same_slope("dweight", dweight - 1, loss, weight)
    same_slope("dbias", dbias - 1, loss, bias)

    dense.linear(x, weight, None, y)
    close("y", y, x @ weight.T, 0.0, np.float64)
    dense.linear_backward(x, weight, dy, None, None, None)


@pytest.mark.parametrize(("taps", "stride", "dilation"), [(1, 1, 1), (3, 2, 1), (2, 1, 3)])
def test_conv1d(taps, stride, dilation):
    rng = np.random.default_rng(taps)
    x, weight = rng.standard_normal((2, 9, 3)), rng.standard_normal((4, 3, taps))
    steps = (9 - 1 - (taps - 1) * dilation) // stride + 1
    bias, dy = rng.standard_normal(4), rng.standard_normal((2, steps, 4))
    y = np.full(dy.shape, np.nan)

    def loss():
        dense.conv1d(x, weight, bias, stride, dilation, y)
        return np.vdot(y, dy)

    loss()
    for t in range(steps):
        window = x[:, t * stride :: dilation][:, :taps]
        want = np.einsum("bji,oij->bo", window, weight) + bias
        close("y", y[:, t], want, tolerances.sums(3 * taps, np.float64, 10.0), np.float64)
    dx, dweight, dbias = np.full(x.shape, np.nan), np.ones(weight.shape), np.ones(4)
    dense.conv1d_backward(x, weight, dy, stride, dilation, dx, dweight, dbias)
    same_slope("dx", dx, loss, x)
    same_slope("dweight", dweight - 1, loss, weight)
    same_slope("dbias", dbias - 1, loss, bias)


@pytest.mark.parametrize("n", [0, 1, 9])
def test_embedding(n):
    rng = np.random.default_rng(n)
    ids, weight = rng.integers(0, 4, n), rng.standard_normal((5, 3))
    dy, y = rng.standard_normal((n, 3)), np.full((n, 3), np.nan)

    def loss():
        dense.embedding(ids, weight, y)
        return np.vdot(y, dy)

    loss()
    assert np.array_equal(y, weight[ids])
    dweight = np.ones((5, 3))
    dense.embedding_backward(ids, dy, dweight)
    same_slope("dweight", dweight - 1, loss, weight)
    assert np.array_equal(dweight[4], np.ones(3))  # an id that nobody used


@pytest.mark.parametrize(("n", "k"), [(4, 5), (1, 9), (3, 1), (0, 4)])
def test_layer_norm(n, k):
    rng = np.random.default_rng(n)
    x, dy = 2 + 3 * rng.standard_normal((n, k)), rng.standard_normal((n, k))
    gamma, beta = rng.standard_normal(k), rng.standard_normal(k)
    y, mean, rstd = np.full((n, k), np.nan), np.full(n, np.nan), np.full(n, np.nan)

    def loss():
        dense.layer_norm(x, gamma, beta, 1e-5, y, mean, rstd)
        return np.vdot(y, dy)

    loss()
    want = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5) * gamma + beta
    close("y", y, want, 16 * tolerances.eps(np.float64) * 10, np.float64)
    dx, dgamma, dbeta = np.full((n, k), np.nan), np.ones(k), np.ones(k)
    dense.layer_norm_backward(x, gamma, mean, rstd, dy, dx, dgamma, dbeta)
    same_slope("dx", dx, loss, x)
    same_slope("dgamma", dgamma - 1, loss, gamma)
    same_slope("dbeta", dbeta - 1, loss, beta)
    dense.layer_norm_backward(x, gamma, mean, rstd, dy, None, dgamma, dbeta)


def test_layer_norm_equals_torch():
    torch = pytest.importorskip("torch", reason="parity with PyTorch needs torch")
    rng = np.random.default_rng(1)
    x, gamma, beta = rng.standard_normal((6, 11)), rng.standard_normal(11), rng.standard_normal(11)
    y, mean, rstd = np.empty_like(x), np.empty(6), np.empty(6)
    dense.layer_norm(x, gamma, beta, 1e-5, y, mean, rstd)
    want = torch.nn.functional.layer_norm(
        torch.from_numpy(x), (11,), torch.from_numpy(gamma), torch.from_numpy(beta), 1e-5
    )
    close("y", y, want.numpy(), tolerances.sums(11, np.float64, 10, "layer_norm"), np.float64)


def sgd(options):
    def step(param, grad, state, _):
        momentum = options.get("momentum", 0.0)
        velocity = state.setdefault("v", np.zeros_like(param)) if momentum else None
        decay, nesterov = options.get("weight_decay", 0.0), options.get("nesterov", False)
        dense.sgd(param, grad, velocity, options["lr"], momentum, decay, nesterov)

    return step


def adam(options, decoupled=False):
    def step(param, grad, state, count):
        m = state.setdefault("m", np.zeros_like(param))
        v = state.setdefault("v", np.zeros_like(param))
        beta1, beta2 = options.get("betas", (0.9, 0.999))
        decay = options.get("weight_decay", 0.01 if decoupled else 0.0)
        eps = options.get("eps", 1e-8)
        dense.adam(param, grad, m, v, options["lr"], beta1, beta2, eps, decay, decoupled, count)

    return step


def adamw(options):
    return adam(options, decoupled=True)


def nadam(options):
    def step(param, grad, state, count):
        m = state.setdefault("m", np.zeros_like(param))
        v = state.setdefault("v", np.zeros_like(param))
        beta1, beta2 = options.get("betas", (0.9, 0.999))
        decay, eps = options.get("weight_decay", 0.0), options.get("eps", 1e-8)
        growth = 0.96 ** options.get("momentum_decay", 4e-3)
        mu, next_mu = (beta1 * (1 - 0.5 * growth**c) for c in (count, count + 1))
        state["product"] = state.get("product", 1.0) * mu
        momenta = mu, next_mu, state["product"]
        dense.nadam(param, grad, m, v, options["lr"], beta1, beta2, eps, decay, *momenta, count)

    return step


def rmsprop(options):
    def step(param, grad, state, _):
        momentum = options.get("momentum", 0.0)
        average = state.setdefault("s", np.zeros_like(param))
        velocity = state.setdefault("v", np.zeros_like(param)) if momentum else None
        decay, alpha = options.get("weight_decay", 0.0), options.get("alpha", 0.99)
        eps = options.get("eps", 1e-8)
        dense.rmsprop(param, grad, average, velocity, options["lr"], alpha, eps, momentum, decay)

    return step


@pytest.mark.parametrize(
    ("ours", "theirs", "options"),
    [
        (sgd, "SGD", dict(lr=0.1)),
        (sgd, "SGD", dict(lr=0.1, weight_decay=0.2)),
        (sgd, "SGD", dict(lr=0.1, momentum=0.9)),
        (sgd, "SGD", dict(lr=0.1, momentum=0.8, weight_decay=0.1, nesterov=True)),
        (adam, "Adam", dict(lr=0.05)),
        (adam, "Adam", dict(lr=0.05, betas=(0.7, 0.95), eps=1e-3, weight_decay=0.1)),
        (adamw, "AdamW", dict(lr=0.05)),
        (adamw, "AdamW", dict(lr=0.05, betas=(0.7, 0.95), eps=1e-3, weight_decay=0.3)),
        (nadam, "NAdam", dict(lr=0.05)),
        (nadam, "NAdam", dict(lr=0.05, betas=(0.7, 0.95), weight_decay=0.1, momentum_decay=0.2)),
        (rmsprop, "RMSprop", dict(lr=0.05)),
        (rmsprop, "RMSprop", dict(lr=0.05, momentum=0.9)),
        (rmsprop, "RMSprop", dict(lr=0.05, alpha=0.8, eps=1e-3, momentum=0.5, weight_decay=0.2)),
    ],
)
def test_optimisers_equal_torch(ours, theirs, options):
    torch = pytest.importorskip("torch", reason="parity with PyTorch needs torch")
    rng = np.random.default_rng(5)
    param = rng.standard_normal(23)
    tensor = torch.nn.Parameter(torch.from_numpy(param.copy()))
    optimiser = getattr(torch.optim, theirs)([tensor], **options)
    step, state = ours(options), {}
    torch.set_default_dtype(torch.float64)  # which NAdam keeps its product of momenta in
    try:
        for count in range(1, 8):
            grad = rng.standard_normal(23)
            kept = grad.copy()
            step(param, grad, state, count)
            assert np.array_equal(grad, kept)
            tensor.grad = torch.from_numpy(grad.copy())
            optimiser.step()
            bound = tolerances.sums(8 * count, np.float64, np.abs(param).max(), theirs.lower())
            close(f"step {count}", param, tensor.detach().numpy(), bound, np.float64)
    finally:
        torch.set_default_dtype(torch.float32)


def test_sum_squares():
    assert dense.sum_squares(np.array([3.0, 4.0], np.float32)) == 25.0
    assert dense.sum_squares(np.zeros(0)) == 0.0
    # the square of 1e20 is beyond float32
    assert dense.sum_squares(np.array([1e20], np.float32)) == pytest.approx(1e40)


PI = [
    0x243F6A88,
    0x85A308D3,
    0x13198A2E,
    0x03707344,
    0xA4093822,
    0x299F31D0,
    0x082EFA98,
    0xEC4E6C89,
]


@pytest.mark.parametrize(
    ("counter", "key", "want"),
    [
        ([0] * 4, [0] * 4, [0x531C7E4F, 0x39491EE5, 0x2C855A92, 0x3D6ABF9A]),
        ([2**32 - 1] * 4, [2**32 - 1] * 4, [0xC4189358, 0x1C9CC83A, 0xD5881C67, 0x6A0A89E0]),
        (PI[:4], PI[4:], [0x4AA71D8F, 0x734738C2, 0x431FC6A8, 0xAE6DEBF1]),
    ],
)
def test_threefry_gives_the_words_of_its_authors(counter, key, want):
    """The known answers that Random123, the library of Salmon et al., is tested with."""
    words = dense.threefry(np.array(key, np.uint32), list(np.array(counter, np.uint32)[:, None]))
    assert [int(word[0]) for word in words] == want


def test_fill_mask_keeps_all_or_nothing_where_told():
    out = np.empty((2, 3, 70))
    dense.fill_mask((1, 2, 3, 4), 1, 0, 0, 2**24, 1.5, out)
    assert (out == 1.5).all()
    dense.fill_mask((1, 2, 3, 4), 1, 0, 0, 0, 1.5, out)
    assert (out == 0.0).all()

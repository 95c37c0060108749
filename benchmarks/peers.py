"""The same network in rnnfast and in five other engines, each used as its own manual advises.

A function a peer: it takes a case of tests/cases.py (one layer, no initial state), whether to
train, and the number of threads, and returns the call to time and a function that turns the call's
result into arrays by PyTorch's names and layout. The call returns y and, in training, the gradients
of every parameter and of x. Weights, x and dy are float32 and lie ready in the peer's own layout;
the weights do not change between calls.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import metadata, util
from typing import Any

import numpy as np
from cases import Array, Case, make
from workers import Arrays, Side

import rnnfast

WEIGHTS = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")


def gates_of(weight: Array, order: Iterable[int], H: int) -> Array:
    """Return the rows of a weight or bias with its gates in another order."""
    return np.concatenate([weight[gate * H : (gate + 1) * H] for gate in order])


def named(y: Any, dx: Any = None, gradients: Iterable[Any] = (), names: Any = WEIGHTS) -> Arrays:
    """Return results by their names, gradients in the order of `names`; without dx: y alone."""
    if dx is None:
        return {"y": np.asarray(y)}
    return {"y": np.asarray(y), "dx": np.asarray(dx)} | {
        name: np.asarray(array) for name, array in zip(names, gradients, strict=True)
    }


def weights_of(case: Case) -> list[Array]:
    """Return a case's weights in the order of PyTorch's parameters."""
    return [w for entry in make(case, np.float32).weights for w in entry if w is not None]


def stack(case: Case) -> dict[str, Any]:
    """Return the options of a layer of PyTorch's or of ours for a case."""
    return {"num_layers": case.L, "bidirectional": case.D == 2, **case.row.options}


def rnnfast_layer(case: Case, **options: Any) -> Any:
    layer = getattr(rnnfast, case.row.layer)(case.I, case.H, **stack(case), **options)
    for name, weight in zip(layer.params, weights_of(case), strict=True):
        layer.params[name] = weight
    return layer


def engine(
    case: Case, training: bool, threads: int | None, lengths: Array | None = None, **options: Any
) -> Side:
    """rnnfast itself; `options` of the layer; no number of threads: its own choice."""
    rnnfast.set_num_threads(threads)
    problem, layer = make(case, np.float32), rnnfast_layer(case, **options)
    x, dy = problem.x, problem.dy

    def forward() -> Any:
        return (layer(x, lengths=lengths)[0],)

    def forward_backward() -> Any:
        y, _, tape = layer.forward(x, lengths=lengths)
        return y, layer.backward(tape, dy)[0]

    def arrays(result: Any) -> Arrays:
        if not training:
            return named(*result)
        y, dx = result
        return named(y, dx, layer.grads.values(), layer.grads)

    return (forward_backward if training else forward), arrays


def pytorch_layer(case: Case) -> Any:
    import torch

    layer = getattr(torch.nn, case.row.layer)(case.I, case.H, **stack(case))
    with torch.no_grad():
        for parameter, weight in zip(layer.parameters(), weights_of(case), strict=True):
            parameter.copy_(torch.from_numpy(weight))
    return layer


def pytorch(case: Case, training: bool, threads: int, lengths: Array | None = None) -> Side:
    """torch.nn; with `lengths` through a PackedSequence."""
    import torch
    from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

    torch.set_num_threads(threads)
    problem, layer = make(case, np.float32), pytorch_layer(case).train(training)
    x, dy = torch.from_numpy(problem.x), torch.from_numpy(problem.dy)
    names, parameters = zip(*layer.named_parameters(), strict=True)
    wanted = [x.requires_grad_(training), *parameters]
    steps = None if lengths is None else torch.from_numpy(lengths)

    def run() -> Any:
        if steps is None:
            return layer(x)[0]
        packed = layer(pack_padded_sequence(x, steps, enforce_sorted=False))[0]
        return pad_packed_sequence(packed, total_length=case.T)[0]

    def forward() -> Any:
        with torch.inference_mode():
            return (run(),)

    def forward_backward() -> Any:
        y = run()
        return y, *torch.autograd.grad(y, wanted, dy)

    def arrays(result: Any) -> Arrays:
        y, dx, *gradients = result if training else (*result, None)
        return named(y.detach(), dx, gradients, names)

    return (forward_backward if training else forward), arrays


def onnx_model(case: Case, states: bool = False) -> bytes:
    """Return the ONNX model of a case: x (T, B, I) to y (T, 1, B, H).

    With `states` it takes h0 (and c0) too, and returns h_n (and c_n).
    """
    from onnx import TensorProto, helper, numpy_helper

    T, B, I, H = case.T, case.B, case.I, case.H  # noqa: E741
    twin = case.row.onnx
    assert twin is not None
    w_ih, w_hh, b_ih, b_hh = (gates_of(w, twin.order, H) for w in weights_of(case))
    weights = {"W": w_ih[None], "R": w_hh[None], "B": np.concatenate([b_ih, b_hh])[None]}
    given, returned = [], []
    if states:
        given = ["h0", "c0"][: 1 + case.row.has_cell_state]
        returned = ["h_n", "c_n"][: 1 + case.row.has_cell_state]

    def info(name: str, *shape: int) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    names = ["x", "W", "R", "B", "", *given]
    node = helper.make_node(twin.op, names, ["y", *returned], hidden_size=H, **twin.attributes)
    graph = helper.make_graph(
        [node],
        case.cell,
        [info("x", T, B, I), *(info(name, 1, B, H) for name in given)],
        [info("y", T, 1, B, H), *(info(name, 1, B, H) for name in returned)],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    opset = helper.make_opsetid("", 17)
    serialized: bytes = helper.make_model(
        graph, opset_imports=[opset], ir_version=9
    ).SerializeToString()
    return serialized


def onnx_session(model: bytes, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def onnx_runtime(case: Case, training: bool, threads: int) -> Side:
    session = onnx_session(onnx_model(case), threads)
    given = {"x": make(case, np.float32).x}
    return lambda: session.run(None, given), lambda result: named(result[0][:, 0])


def openvino(case: Case, training: bool, threads: int) -> Side:
    import openvino as ov

    core = ov.Core()
    options = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "f32",  # else bfloat16 where the processor has it
    }
    compiled = core.compile_model(core.read_model(onnx_model(case)), "CPU", options)
    request = compiled.create_infer_request()
    given = {0: make(case, np.float32).x}

    def forward() -> Any:
        return request.infer(given, share_inputs=True, share_outputs=True)

    return forward, lambda result: named(result[0][:, 0])


def jax(case: Case, training: bool, threads: int) -> Side:
    """Jit and scan, the product with x hoisted out of the scan.

    XLA has no setting for its threads: it takes the processors that the worker may run on.
    """
    os.environ["JAX_PLATFORMS"] = "cpu"
    import jax
    from jax import nn
    from jax import numpy as jnp

    def lstm(xw: Any, hw: Any, state: Any) -> Any:
        i, f, g, o = jnp.split(xw + hw, 4, axis=-1)
        c = nn.sigmoid(f) * state[1] + nn.sigmoid(i) * jnp.tanh(g)
        return nn.sigmoid(o) * jnp.tanh(c), c

    def gru(xw: Any, hw: Any, state: Any) -> Any:
        (xr, xz, xn), (hr, hz, hn) = jnp.split(xw, 3, axis=-1), jnp.split(hw, 3, axis=-1)
        z = nn.sigmoid(xz + hz)
        return ((1 - z) * jnp.tanh(xn + nn.sigmoid(xr + hr) * hn) + z * state[0],)

    def rnn_tanh(xw: Any, hw: Any, state: Any) -> Any:
        return (jnp.tanh(xw + hw),)

    cell = {"lstm": lstm, "gru": gru, "rnn_tanh": rnn_tanh}[case.cell]
    zeros = (jnp.zeros((case.B, case.H), jnp.float32),) * (1 + case.row.has_cell_state)

    def network(x: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any) -> Any:
        def step(state: Any, xw: Any) -> Any:
            state = cell(xw, state[0] @ w_hh + b_hh, state)
            return state, state[0]

        return jax.lax.scan(step, zeros, x @ w_ih + b_ih)[1]

    def gradients(dy: Any, *given: Any) -> Any:
        y, backward = jax.vjp(network, *given)
        return y, backward(dy)

    problem = make(case, np.float32)
    w_ih, w_hh, b_ih, b_hh = weights_of(case)
    given = [jnp.asarray(a) for a in (problem.x, w_ih.T, w_hh.T, b_ih, b_hh)]
    dy = jnp.asarray(problem.dy)
    compiled = jax.jit(gradients) if training else jax.jit(network)
    given = [dy, *given] if training else given

    def arrays(result: Any) -> Arrays:
        if not training:
            return named(result)
        y, (dx, dw_ih, dw_hh, db_ih, db_hh) = result
        return named(y, dx, (dw_ih.T, dw_hh.T, db_ih, db_hh))

    return lambda: jax.block_until_ready(compiled(*given)), arrays


def import_keras(threads: int) -> Any:
    """Return Keras, on TensorFlow with so many threads."""
    os.environ |= {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    import tensorflow as tf

    if tf.config.threading.get_intra_op_parallelism_threads() != threads:  # the first time only
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    import keras

    return keras


def keras(case: Case, training: bool, threads: int) -> Side:
    """Keras on TensorFlow, batch first; an LSTM and an RNN have a single bias there."""
    layers = import_keras(threads).layers
    import tensorflow as tf

    H, problem, twin = case.H, make(case, np.float32), case.row.keras
    assert twin is not None
    layer = getattr(layers, twin.layer)(H, return_sequences=True, **twin.options)

    w_ih, w_hh, b_ih, b_hh = (gates_of(w, twin.order, H) for w in weights_of(case))
    x = tf.constant(problem.x.swapaxes(0, 1))
    dy = tf.constant(problem.dy.swapaxes(0, 1))
    layer.build(x.shape)
    two_biases = twin.biases == 2
    layer.set_weights([w_ih.T, w_hh.T, np.stack([b_ih, b_hh]) if two_biases else b_ih + b_hh])

    @tf.function
    def forward(x: Any) -> Any:
        return layer(x)

    @tf.function
    def forward_backward(x: Any, dy: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x)
        variables = [weight.value for weight in layer.trainable_weights]
        return y, tape.gradient(y, [x, *variables], output_gradients=dy)

    def arrays(result: Any) -> Arrays:
        if not training:
            return named(result.numpy().swapaxes(0, 1))
        y, gradients = result
        dx, dw_ih, dw_hh, db = (gradient.numpy() for gradient in gradients)
        back = (dw_ih.T, dw_hh.T, *(db if two_biases else (db, db)))
        gradients = (gates_of(d, twin.order, H) for d in back)
        return named(y.numpy().swapaxes(0, 1), dx.swapaxes(0, 1), gradients)

    return (lambda: forward_backward(x, dy)) if training else (lambda: forward(x)), arrays


@dataclass(frozen=True)
class Peer:
    """An engine, and what must be installed for it."""

    title: str
    build: Callable[[Case, bool, int], Side]
    packages: tuple[str, ...]  # their distributions have the same names
    trains: bool = True

    @property
    def missing(self) -> list[str]:
        return [name for name in self.packages if util.find_spec(name) is None]

    @property
    def versions(self) -> dict[str, str]:
        return {name: metadata.version(name) for name in self.packages}


PEERS = {
    "torch": Peer("PyTorch", pytorch, ("torch",)),
    "onnxruntime": Peer("ONNX Runtime", onnx_runtime, ("onnx", "onnxruntime"), trains=False),
    "openvino": Peer("OpenVINO", openvino, ("onnx", "openvino"), trains=False),
    "jax": Peer("JAX", jax, ("jax",)),
    "keras": Peer("Keras", keras, ("keras", "tensorflow")),
}

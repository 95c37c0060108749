"""RNN, LSTM and GRU nodes with every attribute, against ONNX Runtime."""

from __future__ import annotations

from itertools import product

import numpy as np
import onnx_graphs
import pytest
from engines import each_engine as each_engine
from onnx_graphs import HOSTS, agree, graph, helper, numpy_helper, run_ort

import rnnfast.onnx
from rnnfast.cells import CELLS
from rnnfast.onnx.recurrent import ACTIVATIONS, RecurrentNode, _Steps

T, B, F, H = 5, 3, 4, 6
NODES = [(cell, cell.onnx) for cell in CELLS.values() if cell.onnx is not None]
GATES = {node.op: cell.gates for cell, node in NODES}
USUAL = {"RNN": ["Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"]}
DIRECTIONS = ["forward", "reverse", "bidirectional"]
NAMES = ["Relu", "Tanh", "Sigmoid", "Affine", "LeakyRelu", "ThresholdedRelu", "ScaledTanh"]
NAMES += ["HardSigmoid", "Elu", "Softsign", "Softplus"]


def make(
    kind,
    direction="forward",
    lengths=False,
    state=False,
    bias=True,
    peepholes=False,
    dtype=np.float32,
    outputs=None,
    fed=(),
    **attributes,
):
    """Return a model of one node and its feed; the weights named in `fed` are inputs."""
    rng = np.random.default_rng(0)
    D, G = 1 + (direction == "bidirectional"), GATES[kind]

    def draw(*shape, scale=1.0):
        return (scale * rng.standard_normal(shape)).astype(dtype)

    arrays = {"X": draw(T, B, F), "W": draw(D, G * H, F, scale=0.4)}
    arrays |= {"R": draw(D, G * H, H, scale=0.3), "B": draw(D, 2 * G * H, scale=0.4)}
    arrays |= {"sequence_lens": np.array([5, 1, 3], np.int32), "initial_h": draw(D, B, H)}
    arrays |= {"initial_c": draw(D, B, H), "P": draw(D, 3 * H)} if kind == "LSTM" else {}
    wanted = {"B": bias, "sequence_lens": lengths, "P": peepholes}
    wanted |= {"initial_h": state, "initial_c": state}
    names = [name if wanted.get(name, True) else "" for name in arrays]
    while not names[-1]:
        names.pop()
    outputs = outputs or (["Y", "Y_h", "Y_c"] if kind == "LSTM" else ["Y", "Y_h"])
    node = helper.make_node(
        kind, names, outputs, direction=direction, hidden_size=H, name="cell", **attributes
    )
    feed = {n: arrays[n] for n in names if n in ("X", "sequence_lens", *fed) or "initial" in n}
    constants = {n: arrays[n] for n in names if n and n not in feed}
    return graph([node], feed, {n: dtype for n in outputs if n}, constants), feed


def in_numpy(model, feed):
    return rnnfast.onnx.load(model, host="numpy").run(None, feed)


def same_on_both_hosts(model, feed):
    want = run_ort(model, feed)
    hosts = [rnnfast.onnx.load(model, host=host) for host in HOSTS]
    for host in hosts:
        agree(host.run(None, feed), want)
    return hosts


def same_as_ort(*args, **options):
    ours, hosted = same_on_both_hosts(*make(*args, **options))
    # what the engine covers it computes in ONNX Runtime as well
    assert len(hosted._host.served) == ours._host.steps[0].function.on_engine
    return ours


def network(model):
    """What computes the only node of a model."""
    return model._host.steps[0].function.networks[0]


VARIANTS = [(node.op, node.attributes) for _, node in NODES] + [("RNN", {}), ("GRU", {})]
VARIANTS.append(("LSTM", {"peepholes": True}))


@pytest.mark.parametrize("lengths, state, bias", [*product([False, True], repeat=3)])
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("kind, attributes", VARIANTS)
def test_on_the_engine(kind, attributes, direction, lengths, state, bias):
    D = 1 + (direction == "bidirectional")
    attributes = {n: v * D if n == "activations" else v for n, v in attributes.items()}
    model = same_as_ort(kind, direction, lengths, state, bias, **attributes)
    assert isinstance(network(model), getattr(rnnfast, kind))


STEPWISE = [
    ("RNN", {"clip": 0.5}),
    ("LSTM", {"clip": 0.5}),
    ("LSTM", {"input_forget": 1}),
    ("LSTM", {"peepholes": True, "input_forget": 1, "clip": 0.3}),
    ("GRU", {"clip": 0.5}),
    ("GRU", {"clip": 0.5, "linear_before_reset": 1}),
]


@pytest.mark.parametrize("lengths, state, bias", [*product([False, True], repeat=3)])
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("kind, attributes", STEPWISE)
def test_step_by_step(kind, attributes, direction, lengths, state, bias):
    model = same_as_ort(kind, direction, lengths, state, bias, **attributes)
    assert isinstance(network(model), _Steps)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", GATES)
def test_activations(kind, name):
    usual, n = USUAL[kind], len(USUAL[kind])
    numbers = {"activation_alpha": [0.3] * 2 * n, "activation_beta": [0.4] * 2 * n}
    for place in range(n):
        mixed = [*usual[:place], name, *usual[place + 1 :]]
        same_as_ort(kind, activations=mixed, **numbers)
    both = [*usual[:-1], name, *["HardSigmoid"] * n]  # others in the other direction
    same_as_ort(kind, "bidirectional", True, activations=both, **numbers)


def test_alpha_and_beta_go_to_those_that_need_them():
    names = ["HardSigmoid", "TANH", "leakyrelu", "Sigmoid", "Elu", "ScaledTanh"]
    same_as_ort(
        "LSTM",
        "bidirectional",
        activations=names,
        activation_alpha=[0.1, 0.2, 0.3, 0.4],
        activation_beta=[0.6, 0.7],
    )


def test_activations_have_the_defaults_of_the_operators():
    # but for the three for which ONNX Runtime has defaults of its own
    for name in ("LeakyRelu", "HardSigmoid", "Elu"):
        same_as_ort("RNN", activations=[name])
    for name, numbers in {
        "Affine": {"activation_alpha": [1.0], "activation_beta": [0.0]},
        "ScaledTanh": {"activation_alpha": [1.0], "activation_beta": [1.0]},
        "ThresholdedRelu": {"activation_alpha": [1.0]},
    }.items():
        results = (in_numpy(*make("RNN", activations=[name], **given)) for given in (numbers, {}))
        agree(*results, bound=0)
    assert {name.lower() for name in NAMES} == ACTIVATIONS.keys()


@pytest.mark.parametrize("state, lengths", [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("kind", GATES)
def test_input_transposed_in_the_graph(kind, direction, state, lengths):
    # which is not contiguous
    model, feed = make(kind, direction, lengths, state)
    model.graph.node.insert(0, helper.make_node("Transpose", ["turned"], ["X"], perm=[1, 0, 2]))
    feed["turned"] = np.ascontiguousarray(feed.pop("X").swapaxes(0, 1))
    model.graph.input[0].CopyFrom(onnx_graphs.value("turned", feed["turned"]))
    same_on_both_hosts(model, feed)


@pytest.mark.parametrize("attributes", [{}, {"clip": 0.5}], ids=["engine", "steps"])
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("kind", GATES)
def test_layout_1_is_layout_0_transposed(kind, direction, attributes):
    model, feed = make(kind, direction, True, True, **attributes)
    want = in_numpy(model, feed)
    turned = {
        n: a if a.ndim == 1 else np.ascontiguousarray(a.swapaxes(0, 1)) for n, a in feed.items()
    }
    model, _ = make(kind, direction, True, True, layout=1, **attributes)
    for entry in model.graph.input:
        entry.CopyFrom(onnx_graphs.value(entry.name, turned[entry.name]))
    y, *states = in_numpy(model, turned)
    agree([y.transpose(1, 2, 0, 3), *(s.swapaxes(0, 1) for s in states)], want, bound=0)


@pytest.mark.parametrize("attributes", [{}, {"clip": 0.5}], ids=["engine", "steps"])
@pytest.mark.parametrize("kind", GATES)
def test_float64(kind, attributes):
    want, got = (
        in_numpy(*make(kind, "bidirectional", True, True, dtype=dtype, **attributes))
        for dtype in (np.float32, np.float64)
    )
    assert {array.dtype for array in got} == {np.dtype(np.float64)}
    agree([array.astype(np.float32) for array in got], want)


@pytest.mark.parametrize("fed", ["W", "R", "B", "P"])
def test_weights_that_come_with_the_call(fed):
    for peepholes in (fed == "P", True):
        same_on_both_hosts(*make("LSTM", "bidirectional", peepholes=peepholes, fed=(fed,)))


@pytest.mark.parametrize("outputs", [["Y"], ["", "Y_h"], ["", "", "Y_c"], ["Y", "", "Y_c"]])
def test_outputs_that_are_left_out(outputs):
    same_as_ort("LSTM", "reverse", True, outputs=outputs)


def test_a_sample_without_steps_keeps_its_state():
    for attributes in ({}, {"clip": 0.5}):
        model, feed = make("GRU", "bidirectional", True, True, **attributes)
        feed["sequence_lens"] = np.array([0, 5, 2], np.int32)
        y, h = in_numpy(model, feed)
        assert not y[:, :, 0].any()
        np.testing.assert_array_equal(h[:, 0], feed["initial_h"][:, 0])


@pytest.mark.parametrize(
    "attributes, error, message",
    [
        ({"activations": ["Tanh", "Gelu", "Tanh"]}, NotImplementedError, "activation 'gelu'"),
        ({"activations": ["Tanh"]}, ValueError, "3 activations are needed"),
        ({"clip": -1.0}, ValueError, "clip expected to be > 0, got -1.0"),
        ({"direction": "sideways"}, ValueError, "direction 'sideways'"),
    ],
)
def test_attributes_that_are_refused(attributes, error, message):
    model, _ = make("LSTM", **attributes)
    with pytest.raises(error, match=rf"node 'cell' \(LSTM\): .*{message}"):
        rnnfast.onnx.load(model, host="numpy")


def test_weights_of_wrong_shapes_are_refused():
    good = {"W": np.zeros((1, 24, 4)), "R": np.zeros((1, 24, 6)), "B": np.zeros((1, 48))}
    good |= {"P": np.zeros((1, 18))}
    RecurrentNode("LSTM", tuple(good.values()), hidden_size=6)
    for name in good:
        wrong = good | {name: good[name][..., :-1, :] if name in "WR" else good[name][:, :-1]}
        with pytest.raises(ValueError, match=f"{name} expected of shape"):
            RecurrentNode("LSTM", tuple(wrong.values()))
    with pytest.raises(ValueError, match="R expected of 5 hidden units"):
        RecurrentNode("LSTM", tuple(good.values()), hidden_size=5)


def test_wrong_calls_of_a_node():
    model, feed = make("LSTM", lengths=True, state=True)
    for entry in model.graph.input:
        entry.type.tensor_type.ClearField("shape")
    hosts = [rnnfast.onnx.load(model, host=host) for host in HOSTS]
    for name, wrong, message in (
        ("X", np.zeros((T, B, F + 1), np.float32), "X with 3 axes, the last of size 4"),
        ("X", np.zeros((T, F), np.float32), "X with 3 axes, the last of size 4"),
        ("sequence_lens", np.array([5, 6, 1], np.int32), "sequence_lens from 0 to 5"),
        ("sequence_lens", np.array([5, 5], np.int32), r"sequence_lens of shape \(3,\)"),
        ("initial_h", np.zeros((1, B + 1, H), np.float32), "initial_h of shape"),
        ("initial_c", np.zeros((2, B, H), np.float32), "initial_c of shape"),
    ):
        for ours in hosts:
            with pytest.raises(ValueError, match=rf"node 'cell' \(LSTM\): .*{message}"):
                ours.run(None, feed | {name: wrong})


@pytest.mark.parametrize(
    "kind, columns, options",
    [
        (np.int8, False, {}),
        (np.int8, True, {"direction": "bidirectional", "lengths": True}),
        (np.uint8, False, {"direction": "reverse", "peepholes": True}),
        (np.int8, True, {"state": True}),
    ],
)
def test_recurrences_of_whole_numbers(kind, columns, options):
    made, feed = make("LSTM", **options)
    arrays = {t.name: numpy_helper.to_array(t) for t in made.graph.initializer}
    constants = {name: arrays[name] for name in ("B", "P") if name in arrays}
    wide = dict(arrays)
    for name in ("W", "R"):
        turned = arrays[name].swapaxes(1, 2)  # (D, inputs, outputs)
        # of 7 bits: ONNX Runtime's sums of 8 bits overflow on some processors
        scale = np.abs(turned).max(1 if columns else (1, 2)) / np.float32(63)
        zero = np.full(scale.shape, 64 if kind == np.uint8 else 0)
        along = scale.reshape(len(scale), 1, -1), zero.reshape(len(zero), 1, -1)
        whole = (np.rint(turned / along[0]) + along[1]).astype(kind)
        constants |= {name: whole, f"{name}_scale": scale, f"{name}_zero": zero.astype(kind)}
        wide[name] = ((whole.astype(np.float32) - along[1]) * along[0]).swapaxes(1, 2)
    [node] = made.graph.node
    inputs = [*node.input, *[""] * (8 - len(node.input))]
    inputs += ["W_scale", "W_zero", "R_scale", "R_zero"]
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    quantised = helper.make_node(
        "DynamicQuantizeLSTM", inputs, node.output, domain="com.microsoft", **attributes
    )
    outputs = dict.fromkeys(node.output, np.float32)
    small = graph([quantised], feed, outputs, constants)
    small.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    got = in_numpy(small, feed)
    del made.graph.initializer[:]
    made.graph.initializer.extend(
        numpy_helper.from_array(np.ascontiguousarray(a, np.float32), n) for n, a in wide.items()
    )
    agree(got, in_numpy(made, feed), bound=1e-6)
    # which quantises X, and the hidden states of each step, to 255 numbers
    agree(got, run_ort(small, feed), bound=0.03)


def test_errors_of_layout_1_have_its_shapes():
    weights = np.zeros((1, 24, 4)), np.zeros((1, 24, 6)), None, None
    node = RecurrentNode("LSTM", weights, layout=1)
    h = np.zeros((1, B, H))
    with pytest.raises(
        ValueError, match=r"expected initial_h of shape \(3, 1, 6\), got \(1, 3, 6\)"
    ):
        node(np.zeros((B, T, F)), initial_h=h)

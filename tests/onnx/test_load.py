"""Whole models: called in every way, and what is refused."""

from __future__ import annotations

import re
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest
from engines import each_engine as each_engine
from onnx_graphs import HOSTS, agree, graph, helper, numpy_helper, onnx, onnxruntime, run_ort
from processes import run_code
from samples import damaged

import rnnfast
from rnnfast import backend

A, B = np.arange(6, dtype=np.float32).reshape(2, 3), np.ones((2, 3), np.float32)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "m.onnx"


def loaded(path, model):
    onnx.save(model, path)
    return rnnfast.onnx.load(path, host="numpy")


def two(path, **options):
    """Return a model of two inputs, sums and differences."""
    nodes = [
        helper.make_node("Add", ["a", "b"], ["sum"]),
        helper.make_node("Sub", ["a", "b"], ["d"]),
    ]
    outputs = {"sum": np.float32, "d": np.float32}
    return loaded(path, graph(nodes, {"a": A, "b": B}, outputs, **options))


def test_calls(path):
    model = two(path)
    for results in (model.run(None, {"b": B, "a": A}), model(A, B), model(A, b=B), model(a=A, b=B)):
        agree(results, [A + B, A - B], bound=0)
    agree(model.run(["d"], {"a": A, "b": B}), [A - B], bound=0)
    agree(model.run(["d", "sum", "d"], {"a": A, "b": B}), [A - B, A + B, A - B], bound=0)
    agree(run_ort(path, {"a": A, "b": B}), model(A, B), bound=0)
    assert repr(model) == (
        "Model(inputs=(a: float32 [2, 3], b: float32 [2, 3]), "
        "outputs=(sum: float32 [2, 3], d: float32 [2, 3]))"
    )


def test_a_single_output_comes_alone(path):
    node = helper.make_node("Neg", ["a"], ["n"])
    model = loaded(path, graph([node], {"a": A}, {"n": np.float32}))
    agree([model(A)], [-A], bound=0)
    assert isinstance(model.run(None, {"a": A}), list)


def test_what_a_session_says_of_its_inputs(path):
    nodes = [
        helper.make_node("Cast", ["ids"], ["floats"], to=11),
        helper.make_node("Equal", ["ids", "ids"], ["same"]),
    ]
    model = graph(nodes, {"ids": A.astype(np.int64)}, {"floats": np.float64, "same": bool})
    axes = model.graph.input[0].type.tensor_type.shape.dim
    axes[0].dim_param = "batch"
    axes.add()
    ours = loaded(path, model)
    theirs = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for got, want in (
        (ours.get_inputs(), theirs.get_inputs()),
        (ours.get_outputs(), theirs.get_outputs()),
    ):
        assert [(v.name, v.type) for v in got] == [(v.name, v.type) for v in want]
    assert ours.inputs[0].shape == theirs.get_inputs()[0].shape == ["batch", 3, None]
    assert ours.inputs[0].dtype == np.int64


@pytest.mark.parametrize(
    "feed, error, message",
    [
        ({"a": A}, ValueError, "needs the inputs 'a', 'b', got no 'b'"),
        ({"a": A, "b": B, "c": B}, ValueError, "has no input 'c', only 'a', 'b'"),
        ({"a": A, "b": B[:1]}, ValueError, "expected b of shape (2, 3), got (1, 3)"),
        ({"a": A, "b": B[0]}, ValueError, "expected b of shape (2, 3), got (3,)"),
        ({"a": A, "b": B.astype(float)}, TypeError, "expected b of dtype float32, got float64"),
        ({"a": A, "b": B.tolist()}, TypeError, "expected b as a NumPy array of float32, got list"),
        ([A, B], TypeError, "expected input_feed as a mapping of names to arrays, got list"),
    ],
)
def test_wrong_feeds(feed, error, message, path):
    with pytest.raises(error, match=re.escape(f"the model {message}")):
        two(path).run(None, feed)


def test_wrong_calls(path):
    model = two(path)
    with pytest.raises(ValueError, match="the model has no output 'x', only sum, d"):
        model.run(["x"], {"a": A, "b": B})
    with pytest.raises(TypeError, match="expected output_names as a list of names, got 'sum'"):
        model.run("sum", {"a": A, "b": B})
    with pytest.raises(TypeError, match="the model takes 2 inputs, got 3"):
        model(A, B, B)
    with pytest.raises(TypeError, match="the model got its input 'a' twice"):
        model(A, B, a=A)


def test_inputs_of_any_layout_stay_as_they_are(path):
    model = two(path)
    swapped = A.astype(A.dtype.newbyteorder())
    for a in (np.asfortranarray(A), np.repeat(A, 2, 1)[:, ::2], swapped):
        before = a.copy()
        agree(model(a, B), [A + B, A - B], bound=0)
        np.testing.assert_array_equal(a, before)


def test_results_belong_to_the_caller(path):
    nodes = [
        helper.make_node("Identity", ["a"], ["input"]),
        helper.make_node("Identity", ["k"], ["constant"]),
        helper.make_node("Neg", ["a"], ["n"]),
        helper.make_node("Identity", ["n"], ["n2"]),
        helper.make_node("Transpose", ["n"], ["turned"]),
    ]
    names = ["input", "constant", "n", "n2", "turned"]
    model = loaded(path, graph(nodes, {"a": A}, dict.fromkeys(names, np.float32), {"k": B}))
    given = A.copy()
    want = [array.copy() for array in model(given)]
    for array in model(given):
        array += 1
    agree([given], [A], bound=0)
    agree(model(given), want, bound=0)
    results = model(given)
    assert not any(np.shares_memory(a, b) for i, a in enumerate(results) for b in results[:i])


def test_an_input_with_a_default(path):
    nodes = [helper.make_node("Add", ["a", "b"], ["y"])]
    made = graph(nodes, {"a": A, "b": B}, {"y": np.float32}, {"b": B})
    model = loaded(path, made)
    assert [v.name for v in model.inputs] == ["a"]
    agree([model(A)], [A + B], bound=0)
    agree([model(A, b=A)], [A + A], bound=0)
    agree([model(A)], run_ort(path, {"a": A}), bound=0)
    made.ir_version = 3  # constants had to be inputs then
    with pytest.raises(ValueError, match="has no input 'b', only 'a'"):
        loaded(path, made)(A, b=A)


def test_outputs_of_another_shape_than_the_file_says(path):
    made = graph([helper.make_node("Transpose", ["a"], ["y"])], {"a": A}, {"y": np.float32})
    made.graph.output[0].type.tensor_type.shape.dim.add().dim_value = 7
    agree([loaded(path, made)(A)], [A.T], bound=0)
    agree([A.T], run_ort(path, {"a": A}), bound=0)


def test_an_output_of_any_number_of_axes(path):
    shape = np.array([3, 1, -1])
    node = helper.make_node("Reshape", ["a", "shape"], ["y"])
    made = graph([node], {"a": A, "shape": shape}, {"y": np.float32})
    length = made.graph.input[1].type.tensor_type.shape.dim[0]
    length.dim_param = "axes"
    model = loaded(path, made)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert model.outputs[0].shape == session.get_outputs()[0].shape == []
    agree([model(A, shape)], run_ort(path, {"a": A, "shape": shape}), bound=0)


@pytest.mark.parametrize("host", HOSTS)
def test_inputs_of_any_length_or_number_of_axes(host, path):
    made = graph([helper.make_node("Neg", ["a"], ["y"])], {"a": A}, {"y": np.float32})
    made.graph.input[0].type.tensor_type.shape.dim[0].dim_value = -1
    onnx.save(made, path)
    model = rnnfast.onnx.load(path, host=host)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert model.inputs[0].shape == session.get_inputs()[0].shape == [None, 3]
    agree([model(A[:1])], [-A[:1]], bound=0)
    with pytest.raises(ValueError, match=re.escape("expected a of shape (?, 3), got (3,)")):
        model(A[0])
    made.graph.input[0].type.tensor_type.ClearField("shape")
    onnx.save(made, path)
    model = rnnfast.onnx.load(path, host=host)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert model.inputs[0].shape == session.get_inputs()[0].shape == []
    for a in (A, A[0], np.array(1, np.float32)):
        agree([model(a)], [-a], bound=0)


def test_a_version_may_be_said_twice(path):
    """As some tools that merge files do."""
    made = graph([helper.make_node("Neg", ["a"], ["y"])], {"a": A}, {"y": np.float32})
    made.opset_import.append(made.opset_import[0])
    agree([loaded(path, made)(A)], run_ort(path, {"a": A}), bound=0)


def test_weights_in_a_file_beside_it(path):
    node = helper.make_node("Add", ["a", "k"], ["y"])
    made = graph([node], {"a": A}, {"y": np.float32}, {"k": B})
    onnx.save(made, path, save_as_external_data=True, location="weights", size_threshold=0)
    assert (path.parent / "weights").exists()
    agree([rnnfast.onnx.load(path, host="numpy")(A)], [A + B], bound=0)
    (path.parent / "weights").unlink()
    with pytest.raises(ValueError, match=r"is not a model that rnnfast can load: .*weights"):
        rnnfast.onnx.load(path, host="numpy")


def test_values_are_computed_once_where_nothing_changes_them(path):
    # and not before a call where they may be large
    nodes = [
        helper.make_node("Shape", ["k"], ["shape"]),
        helper.make_node("Transpose", ["k"], ["turned"]),
        helper.make_node("Tile", ["k", "shape"], ["tiled"]),
        helper.make_node("ReduceSum", ["tiled"], ["sum"]),
        helper.make_node("MatMul", ["a", "turned"], ["product"]),
        helper.make_node("Add", ["product", "sum"], ["y"]),
    ]
    model = loaded(path, graph(nodes, {"a": A}, {"y": np.float32}, {"k": B}))
    assert len(model._host.steps) == 4
    agree([model(A)], run_ort(path, {"a": A}))


def operators(model):
    """The operators of a model's steps."""
    return [step.title.split()[-1].strip("()") for step in model._host.steps]


def test_what_nobody_needs_is_left_out(path):
    nodes = [
        helper.make_node("Neg", ["a"], ["n"]),
        helper.make_node("Exp", ["n"], ["unused"]),
        helper.make_node("Log", ["unused"], ["unused too"]),
        helper.make_node("Split", ["n"], ["left", "middle", "right"], axis=1),
        helper.make_node("TopK", ["n", "k"], ["values", "places"]),
    ]
    outputs = {"middle": np.float32, "places": np.int64}
    model = loaded(path, graph(nodes, {"a": A}, outputs, {"k": np.array([2])}))
    assert operators(model) == ["Neg", "Split", "TopK"]
    agree(model(A), run_ort(path, {"a": A}), bound=0)


def lstm_of_states(path, *states, more=(), **inputs):
    """Load a model whose initial state `h` is what nodes make of the batch size `B` of `x`."""
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Slice", ["shape", "1", "2"], ["B"]),
        helper.make_node("Concat", ["1", "B", "2"], ["sizes"], axis=0),
        *states,
        helper.make_node("LSTM", ["x", "w", "r", "", "", "h", "h"], ["y", "", "c"], hidden_size=2),
    ]
    constants = {str(i): np.array([i]) for i in range(3)}
    constants |= {n: np.full((1, 1, 2), fill, np.float32) for n, fill in (("o", 0), ("k", 0.5))}
    constants |= {"w": rng.standard_normal((1, 8, 3)).astype(np.float32)}
    constants |= {"r": rng.standard_normal((1, 8, 2)).astype(np.float32)}
    outputs = {"y": np.float32, "c": np.float32} | dict(more)
    made = graph(nodes, {"x": X} | inputs, outputs, constants)
    made.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "batch"
    return loaded(path, made)


X = np.random.default_rng(1).standard_normal((4, 3, 3)).astype(np.float32)
HALF = numpy_helper.from_array(np.full(1, 0.5, np.float32))
EXPANDED = helper.make_node("Expand", ["o", "sizes"], ["zeros"])
STATES = [  # whether they are zeros, and what makes them
    (True, [helper.make_node("ConstantOfShape", ["sizes"], ["h"])]),
    (True, [helper.make_node("Expand", ["o", "sizes"], ["h"])]),
    (
        True,
        [
            EXPANDED,
            helper.make_node("Concat", ["zeros", "zeros"], ["all"], axis=0),
            helper.make_node("Slice", ["all", "1", "2"], ["h"]),
        ],
    ),
    (False, [helper.make_node("ConstantOfShape", ["sizes"], ["h"], value=HALF)]),
    (False, [helper.make_node("Expand", ["k", "sizes"], ["h"])]),
    (False, [EXPANDED, helper.make_node("Add", ["zeros", "k"], ["h"])]),
    (
        False,
        [
            EXPANDED,
            helper.make_node("Expand", ["k", "sizes"], ["halves"]),
            helper.make_node("Concat", ["zeros", "halves"], ["all"], axis=0),
            helper.make_node("Slice", ["all", "1", "2"], ["h"]),
        ],
    ),
]


@pytest.mark.parametrize("zeros, nodes", STATES)
def test_states_of_the_shape_of_the_input(zeros, nodes, path):
    model = lstm_of_states(path, *nodes)
    assert (operators(model) == ["LSTM"]) == zeros
    for x in (X, X[:, :1], X[:, :2]):
        agree(model(x), run_ort(path, {"x": x}))
    # what the states are made of may be outputs as well
    model = lstm_of_states(path, *nodes, more={"h": np.float32, "sizes": np.int64})
    agree(model(X), run_ort(path, {"x": X}))


def test_zeros_that_a_call_may_replace(path):
    made = helper.make_node("Expand", ["start", "sizes"], ["h"])
    lstm_of_states(path, made, start=np.zeros((1, 1, 2), np.float32))
    file = onnx.load(path)
    file.graph.initializer.append(numpy_helper.from_array(np.zeros((1, 1, 2), "f4"), "start"))
    model = loaded(path, file)
    for feed in ({"x": X}, {"x": X, "start": np.ones((1, 1, 2), np.float32)}):
        agree(model.run(None, feed), run_ort(path, feed))


def test_zeros_of_a_fixed_shape_are_checked(path):
    model = lstm_of_states(path, helper.make_node("Concat", ["o", "o", "o"], ["h"], axis=1))
    agree(model(X), run_ort(path, {"x": X}))
    with pytest.raises(ValueError, match=r"expected initial_h of shape \(1, 2, 2\)"):
        model(X[:, :2])


@pytest.mark.parametrize("fused, outputs", [(True, ["y"]), (False, ["y", "p"])])
@pytest.mark.parametrize("first", ["p", "b"])
def test_a_bias_after_a_product(first, fused, outputs, path):
    sums = [first, "b" if first == "p" else "p"]
    nodes = [helper.make_node("MatMul", ["a", "w"], ["p"]), helper.make_node("Add", sums, ["y"])]
    constants = {"w": B.T.copy(), "b": np.array([3, 4], np.float32)}
    results = dict.fromkeys(outputs, np.float32)
    model = loaded(path, graph(nodes, {"a": A}, results, constants))
    assert operators(model) == (["Add"] if fused else ["MatMul", "Add"])
    agree(model.run(None, {"a": A}), run_ort(path, {"a": A}))
    # a sum of another shape than the product's, and one with a bias already
    for bias in (np.ones((3, 1, 2), np.float32), np.ones(1, np.float32)):
        model = loaded(path, graph(nodes, {"a": A}, results, constants | {"b": bias}))
        agree(model.run(None, {"a": A}), run_ort(path, {"a": A}))
    nodes[0] = helper.make_node("Gemm", ["a", "w", "b"], ["p"])
    model = loaded(path, graph(nodes, {"a": A}, results, constants))
    agree(model.run(None, {"a": A}), run_ort(path, {"a": A}))


def test_threads_share_a_model(path):
    rng = np.random.default_rng(0)
    weights = {"w": rng.standard_normal((1, 32, 4)).astype(np.float32)}
    weights["r"] = rng.standard_normal((1, 32, 8)).astype(np.float32)
    nodes = [
        helper.make_node("LSTM", ["x", "w", "r"], ["y", "h"], hidden_size=8),
        helper.make_node("Softmax", ["h"], ["p"]),
    ]
    inputs = rng.standard_normal((16, 6, 3, 4)).astype(np.float32)
    outputs = {"y": np.float32, "p": np.float32}
    model = loaded(path, graph(nodes, {"x": inputs[0]}, outputs, weights))
    want = [model(x) for x in inputs]
    name = backend.active().name

    def call(x):
        with backend.use(name):
            return model(x)

    with ThreadPoolExecutor(4) as pool:
        for got, expected in zip(pool.map(call, inputs), want, strict=True):
            agree(got, expected, bound=0)


def test_numbers_that_are_not_finite_pass_silently(path):
    nodes = [helper.make_node("Div", ["a", "b"], ["q"]), helper.make_node("Log", ["q"], ["y"])]
    model = loaded(path, graph(nodes, {"a": A, "b": B}, {"y": np.float32}))
    agree([np.isnan(model(A, -B))], [A > 0], bound=0)


def test_weights_are_kept_once(path):
    nodes = [helper.make_node("LSTM", ["x", "w", "r"], ["y"], hidden_size=2)]
    weights = {n: np.ones((1, 8, 2), np.float32) for n in ("w", "r")}
    x = np.ones((3, 1, 2), np.float32)
    model = loaded(path, graph(nodes, {"x": x}, {"y": np.float32}, weights))
    assert not model._host.known
    agree([model(x)], run_ort(path, {"x": x}))


# ---- what is refused -----------------------------------------------------------------------------


def refused(path, model, error, message):
    onnx.save(model, path)
    with pytest.raises(error, match=message) as caught:
        rnnfast.onnx.load(path, host="numpy")
    return str(caught.value)


def test_operators_that_are_refused(path):
    def one(op, inputs=("a",), name="", domain="", opset=17, outputs=("y",), **attributes):
        node = helper.make_node(op, inputs, outputs, name=name, domain=domain, **attributes)
        return graph([node], {"a": A}, dict.fromkeys(outputs, np.float32), opset=opset)

    said = refused(path, one("Det"), NotImplementedError, r"node 0 \(Det\) is not supported")
    assert "GRU, Gather" in said and "LSTM" in said and "Xor" in said
    refused(path, one("Det", name="/m/Det"), NotImplementedError, r"node '/m/Det' \(Det\)")
    refused(
        path,
        one("FusedGemm", domain="com.microsoft"),
        NotImplementedError,
        r"node 0 \(FusedGemm\) is of the domain 'com.microsoft'",
    )
    refused(path, one("Neg", opset=6), NotImplementedError, "version 6 of ONNX's operators")
    refused(path, one("Neg", opset=999), NotImplementedError, "version 999 of ONNX's operators")
    eighths = [
        helper.make_node("Cast", ["a"], ["eighth"], to=17),
        helper.make_node("Cast", ["eighth"], ["y"], to=1),
    ]
    refused(
        path,
        graph(eighths, {"a": A}, {"y": np.float32}, opset=19),
        NotImplementedError,
        "eighth is of type FLOAT8E4M3FN; rnnfast computes with float, uint8",
    )
    pooled = one("MaxPool", outputs=("y", "z"), kernel_shape=[1])
    for entry, shape in ((pooled.graph.input[0], [1, 2, 3]), (pooled.graph.output[0], [1, 2, 3])):
        kept = entry.type.tensor_type.shape.dim
        del kept[:]
        kept.extend(onnx.TensorShapeProto.Dimension(dim_value=n) for n in shape)
    pooled.graph.output[1].type.tensor_type.elem_type = onnx.TensorProto.INT64
    refused(path, pooled, NotImplementedError, r"node 0 \(MaxPool\): no more than 1 outputs")


def test_operators_newer_than_this_package_are_refused(path, monkeypatch):
    made = graph([helper.make_node("Neg", ["a"], ["y"])], {"a": A}, {"y": np.float32})
    monkeypatch.setattr(sys.modules["rnnfast.onnx.plan"], "NEWEST", 12)
    refused(path, made, NotImplementedError, r"node 0 \(Neg\): version 13 of it is newer than")


def test_training_is_refused(path):
    constants = {"ratio": np.float32(0.5), "on": np.array(True)}
    node = helper.make_node("Dropout", ["a", "ratio", "on"], ["y"])
    made = graph(
        [node], {"a": A}, {"y": np.float32}, {n: np.asarray(a) for n, a in constants.items()}
    )
    message = r"node 0 \(Dropout\): training_mode is supported as False only"
    refused(path, made, NotImplementedError, message)
    # and where only the call would tell
    made = graph(
        [node],
        {"a": A, "on": constants["on"]},
        {"y": np.float32},
        {"ratio": np.asarray(constants["ratio"])},
    )
    refused(path, made, NotImplementedError, message)


def test_values_that_are_refused(path):
    node = helper.make_node("Neg", ["a"], ["y"])
    made = graph([node], {"a": A}, {"y": np.float32})
    for entry in (made.graph.input[0], made.graph.output[0]):
        entry.type.tensor_type.elem_type = onnx.TensorProto.BFLOAT16
    message = "a is of type BFLOAT16; rnnfast takes and gives float, "
    refused(path, made, NotImplementedError, message)
    made = graph([node], {"a": A}, {"y": np.float32})
    made.graph.initializer.append(helper.make_tensor("k", onnx.TensorProto.STRING, [1], [b"k"]))
    refused(path, made, NotImplementedError, "k is of type STRING")
    made = graph([node], {"a": A}, {"y": np.float32})
    made.functions.append(
        helper.make_function("mine", "F", ["x"], ["y"], [], [helper.make_opsetid("", 17)])
    )
    refused(path, made, NotImplementedError, "defines functions, 'F' for one")
    sequence = helper.make_tensor_sequence_value_info("s", 1, None)
    made = graph([node], {"a": A}, {"y": np.float32})
    made.graph.input.append(sequence)
    refused(path, made, NotImplementedError, "s is a sequence_type; rnnfast knows tensors alone")


def test_graphs_that_are_not_valid(path):
    def of(*nodes):
        return graph(nodes, {"a": A}, {"y": np.float32})

    for made in (
        of(helper.make_node("Neg", ["nowhere"], ["y"])),
        of(helper.make_node("Neg", ["a", "a"], ["y"])),
        of(helper.make_node("Neg", ["a"], ["y"]), helper.make_node("Neg", ["a"], ["y"])),
        of(helper.make_node("Neg", ["b"], ["y"]), helper.make_node("Neg", ["a"], ["b"])),
        of(helper.make_node("Transpose", ["a"], ["y"], turns=1)),
        of(helper.make_node("Gelu", ["a"], ["y"])),  # younger than the version of the model
    ):
        refused(path, made, ValueError, re.escape(f"{path} is not a model that rnnfast can load"))


def test_names_that_are_there_twice(path):
    """P30."""
    made = graph([helper.make_node("Neg", ["a"], ["y"])], {"a": A}, {"y": np.float32})
    made.graph.output.append(made.graph.output[0])
    refused(path, made, ValueError, "it has two outputs of one name, among y, y")
    made.graph.output.pop()
    made.opset_import.append(helper.make_opsetid("ai.onnx", 11))
    refused(path, made, ValueError, "it has two domains of one name, among ai.onnx, ai.onnx")
    made.opset_import.pop()
    made.graph.initializer.extend([numpy_helper.from_array(A, "b")] * 2)
    refused(path, made, ValueError, "name is not unique")


def test_a_node_that_cannot_compute_says_which(path):
    table = np.zeros((5, 2), np.float32)
    node = helper.make_node("Gather", ["table", "ids"], ["y"], name="embedding")
    model = loaded(path, graph([node], {"ids": np.array([1])}, {"y": np.float32}, {"table": table}))
    with pytest.raises(ValueError, match=r"node 'embedding' \(Gather\): index 5 is out of bounds"):
        model(np.array([5]))


def test_damaged_files(path):
    good = graph(
        [helper.make_node("LSTM", ["x", "w", "r"], ["y"], hidden_size=2)],
        {"x": np.zeros((3, 1, 2), np.float32)},
        {"y": np.float32},
        {"w": np.zeros((1, 8, 2), np.float32), "r": np.zeros((1, 8, 2), np.float32)},
    )
    onnx.save(good, path)
    content = path.read_bytes()
    refusals = 0
    for wrong in damaged(content, 300):
        path.write_bytes(wrong)
        try:
            rnnfast.onnx.load(path, host="numpy")  # a weight or a name may have changed
        except (ValueError, NotImplementedError):
            refusals += 1
    assert refusals > 100


ROW, COLUMN = np.ones((1, 4000), np.float32), np.ones((4000, 1), np.float32)
BOX = [np.ones(np.roll([300, 1, 1], i), np.float32) for i in range(3)]
MULTIPLYING = {
    "Add": [ROW, COLUMN],
    "MatMul": [COLUMN, ROW],
    "Gemm": [COLUMN, ROW],
    "Gather": [ROW, np.zeros(4000, np.int64)],
    "Sum": BOX,
    "Where": [BOX[0] > 0, *BOX[1:]],
    "Einsum": [array.ravel() for array in BOX],
}


@pytest.mark.parametrize("kind", MULTIPLYING)
def test_constants_that_multiply_wait_for_the_call(kind, path):
    """P25."""
    constants = {f"c{i}": array for i, array in enumerate(MULTIPLYING[kind])}
    attributes = {"equation": "i,j,k->ijk"} if kind == "Einsum" else {}
    nodes = [
        helper.make_node(kind, [*constants], ["v"], **attributes),
        helper.make_node("ReduceMax", ["v"], ["y"], keepdims=0),
    ]
    model = loaded(path, graph(nodes, {"a": A}, {"y": np.float32}, constants))
    assert operators(model) == [kind, "ReduceMax"]


def test_constants_that_grow_wait_for_the_call(path):
    """P25: forty nodes, 2**40 times as long."""
    names = [f"v{i}" for i in range(41)]
    nodes = [helper.make_node("Concat", [a, a], [b], axis=0) for a, b in pairwise(names)]
    made = graph(nodes, {"a": A}, {names[-1]: np.float32}, {"v0": A})
    known = loaded(path, made)._host.known
    assert sum(array.nbytes for array in known.values()) < 2**25


def test_files_that_are_none(path):
    with pytest.raises(FileNotFoundError, match=re.escape(str(path))):
        rnnfast.onnx.load(path, host="numpy")
    for content in (b"", b"no model", b"PK\x03\x04"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="is not a model that rnnfast can load"):
            rnnfast.onnx.load(path, host="numpy")


def test_onnx_is_imported_by_calls_alone():
    code = """
import sys
import rnnfast
rnnfast.onnx.load
print("onnx" in sys.modules)
"""
    assert run_code(code) == "False"


def test_without_onnx(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=re.escape("pip install rnnfast[onnx]")):
        rnnfast.onnx.load(path, host="numpy")

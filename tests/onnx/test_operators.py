"""The operators, by the ONNX standard's own tests, and as older versions define them."""

from __future__ import annotations

import warnings
from functools import cache

import numpy as np
import pytest
from onnx_graphs import agree, graph, helper, onnx, run_reference, same_in_numpy

import rnnfast.onnx
from rnnfast.onnx.operators import DTYPES, OPERATORS, WIDENED, Product
from rnnfast.onnx.operators.reductions import REDUCTIONS
from rnnfast.onnx.plan import NESTED, SEQUENCES
from rnnfast.onnx.proto import ELEMENTS, graphs_of
from rnnfast.onnx.recurrent import USUAL

# Tests of the standard that ask for what is not supported, and what is said then.
REFUSED = {
    "test_batchnorm_epsilon_training_mode": "training_mode is supported as 0 only",
    "test_batchnorm_example_training_mode": "training_mode is supported as 0 only",
    "test_dequantizelinear_blocked": "block_size is supported as 0 only",
    "test_maxpool_with_argmax_2d_precomputed_pads": "no more than 1 outputs",
    "test_maxpool_with_argmax_2d_precomputed_strides": "storage_order is supported as 0 only",
    "test_not_2d": "version 1 of ONNX's operators",
    "test_not_3d": "version 1 of ONNX's operators",
    "test_not_4d": "version 1 of ONNX's operators",
    "test_quantizelinear_blocked_asymmetric": "block_size is supported as 0 only",
    "test_quantizelinear_blocked_symmetric": "block_size is supported as 0 only",
    "test_scan_sum": "version 8 of it is not supported",
    "test_training_dropout": "training_mode is supported as False only",
    "test_training_dropout_default": "training_mode is supported as False only",
    "test_training_dropout_default_mask": "training_mode is supported as False only",
    "test_training_dropout_mask": "training_mode is supported as False only",
    "test_training_dropout_zero_ratio": "training_mode is supported as False only",
    "test_training_dropout_zero_ratio_mask": "training_mode is supported as False only",
}
# these have tests of version 1 alone, or of sequences as inputs or outputs
UNTESTED = {"Not", *SEQUENCES}
MANY = "graphs of many nodes"  # definitions of operators by others


@cache
def standard_tests():
    """The standard's tests that need no other operators, by their operator."""
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own computations
        cases = load_model_tests(kind="node")
    found = {}
    for case in cases:
        graphs = list(graphs_of(case.model.graph))
        kinds = [node.op_type for graph in graphs for node in graph.node]
        if OPERATORS.keys() | USUAL.keys() | NESTED >= set(kinds):
            kind = kinds[0] if len(graphs[0].node) == 1 else MANY
            found.setdefault(kind, []).append(case)
    return found


def array(data):
    return (
        onnx.numpy_helper.to_array(data) if isinstance(data, onnx.TensorProto) else np.asarray(data)
    )


def refusal(case):
    """What should be said where a test asks for more than there is; else None."""
    graph = case.model.graph
    if not all(v.type.HasField("tensor_type") for v in (*graph.input, *graph.output)):
        return "is a (sequence|optional)_type"

    def kinds(*values):
        tensors = [v.type.tensor_type for v in values if v.type.HasField("tensor_type")]
        return {tensor.elem_type for tensor in tensors}

    unknown = kinds(*graph.value_info) - DTYPES.keys() - WIDENED.keys()
    unknown |= kinds(*graph.input, *graph.output) - ELEMENTS.keys()
    return "is of type" if unknown else REFUSED.get(case.name)


@pytest.mark.parametrize("operator", sorted({*OPERATORS, *USUAL, *NESTED, MANY}))
def test_standard(operator):
    served = 0
    for case in standard_tests().get(operator, ()):
        if message := refusal(case):
            with pytest.raises(NotImplementedError, match=message):
                rnnfast.onnx.load(case.model, host="numpy")
            continue
        model = rnnfast.onnx.load(case.model, host="numpy")
        for inputs, outputs in case.data_sets:
            results = model(*map(array, inputs))
            results = results if isinstance(results, tuple) else (results,)
            for got, want in zip(results, map(array, outputs), strict=True):
                assert (got.dtype, got.shape) == (want.dtype, want.shape), case.name
                # the standard rounds halves in each node, the steps here where they end
                rtol = max(case.rtol, 2e-3 if want.dtype == np.float16 else 0)
                np.testing.assert_allclose(got, want, rtol, case.atol, err_msg=case.name)
        served += 1
    assert (served == 0) == (operator in UNTESTED)


def rng():
    return np.random.default_rng(0)


X = rng().standard_normal((2, 3, 4)).astype(np.float32)
IMAGE = rng().standard_normal((2, 4, 13)).astype(np.float32)


def ints(*values):
    return np.array(values, np.int64)


@pytest.mark.parametrize(
    "opset, name, constants, attributes",
    [
        (7, "Softmax", [], {}),
        (12, "Softmax", [], {"axis": 2}),
        (12, "Softmax", [], {"axis": -3}),
        (11, "LogSoftmax", [], {"axis": 0}),
        (13, "LogSoftmax", [], {"axis": 1}),
        (7, "Unsqueeze", [], {"axes": [0, 3]}),
        (11, "Unsqueeze", [], {"axes": [-1]}),
        (13, "Unsqueeze", [ints(0, 4)], {}),
        (7, "ReduceSum", [], {"axes": [0, 2], "keepdims": 0}),
        (12, "ReduceMean", [], {"axes": [-1]}),
        (17, "ReduceMax", [], {}),
        (18, "ReduceMean", [ints(0)], {}),
        (13, "ReduceSum", [ints()], {"noop_with_empty_axes": 1}),
        (7, "Slice", [], {"starts": [1, -3], "ends": [2**31, -1], "axes": [1, 2]}),
        (9, "Slice", [], {"starts": [0, 1], "ends": [1, 3]}),
        (10, "Slice", [ints(-1), ints(-100), ints(1), ints(-2)], {}),
        (10, "Slice", [ints(-100), ints(-100), ints(1), ints(-2)], {}),
        (7, "Split", [], {"axis": 2, "split": [1, 3]}),
        (11, "Split", [], {"axis": -1}),
        (13, "Split", [ints(1, 3)], {"axis": 2}),
        (18, "Split", [], {"axis": 1, "num_outputs": 2}),
        (7, "Clip", [], {"min": -0.5}),
        (10, "Clip", [], {"max": 0.5, "min": -0.1}),
        (12, "Clip", [np.float32(-0.2), np.float32(0.2)], {}),
        (7, "Dropout", [], {"ratio": 0.3}),
        (10, "Dropout", [], {}),
        (12, "Dropout", [np.float32(0.3)], {}),
        (9, "TopK", [], {"k": 2, "axis": 1}),
        (10, "TopK", [ints(3)], {}),
        (11, "TopK", [ints(2)], {"largest": 0, "axis": 0}),
        (7, "Pad", [], {"pads": [0, 1, 2, 0, -1, 1], "value": 2.0}),
        (10, "Pad", [], {"pads": [0, 1, 2, 0, 0, 1], "mode": "reflect"}),
        (11, "Pad", [ints(0, 1, 2, 0, -1, 1), np.float32(3)], {}),
        (7, "BatchNormalization", [X[0, 0, :3], X[0, 1, :3], X[1, 0, :3], X[1, 1, :3] ** 2], {}),
        (9, "BatchNormalization", [X[0, 0, :3], X[0, 1, :3], X[1, 0, :3], X[1, 1, :3] ** 2], {}),
        (11, "ArgMax", [], {"axis": -1, "keepdims": 0}),
        (8, "Expand", [ints(4, 1, 3, 4)], {}),
        (7, "Reshape", [ints(0, -1, 2)], {}),
        (7, "PRelu", [X[0, :, :1]], {}),
        (7, "Flatten", [], {"axis": 2}),
        (9, "ConstantOfShape", [], {}),
        (8, "Sum", [X, X[:1]], {}),
        (12, "Pow", [np.float64(2)], {}),
        (7, "Gemm", [X[0].T, X[0, 0, :3] * 0], {"alpha": 0.5, "beta": 2.0}),
        (11, "Gemm", [X[1]], {"transB": 1, "alpha": 0.5}),
        (13, "Gemm", [X[1], X[0, :, :3]], {"transB": 1, "beta": 0.5}),
        (13, "Gemm", [X[1, :, :2]], {"transA": 1}),
        (13, "MatMul", [X[1].T], {}),
        (13, "MatMul", [X.swapaxes(1, 2).copy()], {}),
    ],
)
def test_versions(opset, name, constants, attributes):
    """Old and new versions of an operator, against ONNX Runtime."""
    x = X
    if name == "ConstantOfShape":
        x = ints(2, 3)
    elif name == "Gemm":
        x = X[0]
    counts = {"Split": 2, "TopK": 2}
    outputs = [f"y{i}" for i in range(counts.get(name, 1))]
    names = [f"c{i}" for i in range(len(constants))]
    node = helper.make_node(name, ["x", *names], outputs, **attributes)
    kinds = dict.fromkeys(outputs, np.float32)
    if name == "TopK":
        kinds["y1"] = np.int64
    elif name == "ArgMax":
        kinds["y0"] = np.int64
    given = {n: np.asarray(c) for n, c in zip(names, constants, strict=True)}
    same_in_numpy(graph([node], {"x": x}, kinds, given, opset), {"x": x})


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
@pytest.mark.parametrize("noop", [0, 1])
@pytest.mark.parametrize("name", sorted(REDUCTIONS))
def test_reductions_of_no_axes(name, noop, dtype):
    """No axes, or an empty list of them, mean all; with noop each element is reduced alone."""
    x = np.round(3 * X).astype(dtype)
    if dtype == np.int32 and name in ("ReduceL2", "ReduceLogSumExp"):
        return  # ONNX has them of real numbers alone from version 28 on
    for names, given in ((["x"], False), (["x", ""], False), (["x", "axes"], True)):
        for keepdims in (0, 1):
            node = helper.make_node(
                name, names, ["y"], keepdims=keepdims, noop_with_empty_axes=noop
            )
            feed = {"x": x} | ({"axes": ints()} if given else {})
            constant = graph([node], {"x": x}, {"y": dtype}, {"axes": ints()} if given else {}, 20)
            fed = graph([node], feed, {"y": dtype}, opset=20)
            want = [y.astype(dtype) for y in run_reference(constant, {"x": x})]
            assert want[0].shape == (x.shape if noop else (1, 1, 1) if keepdims else ())
            agree(rnnfast.onnx.load(constant, host="numpy").run(None, {"x": x}), want)
            agree(rnnfast.onnx.load(fed, host="numpy").run(None, feed), want)


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"strides": [2], "dilations": [3], "pads": [4, 1]},
        {"auto_pad": "SAME_UPPER", "strides": [3]},
        {"auto_pad": "SAME_LOWER", "dilations": [1]},
        {"auto_pad": "VALID", "strides": [2]},
        {"group": 2, "pads": [1, 1]},
        {"group": 4},
    ],
)
@pytest.mark.parametrize("taps", [1, 3, 4])
def test_convolutions(taps, attributes):
    same_with_and_without_bias("Conv", (8, 4 // attributes.get("group", 1), taps), attributes)


def same_with_and_without_bias(kind, shape, attributes):
    weights = {"w": rng().standard_normal(shape, np.float32)}
    weights["b"] = rng().standard_normal(8, np.float32)
    for names in (["x", "w", "b"], ["x", "w"]):
        node = helper.make_node(kind, names, ["y"], **attributes)
        constants = {name: weights[name] for name in names[1:]}
        same_in_numpy(graph([node], {"x": IMAGE}, {"y": np.float32}, constants), {"x": IMAGE})


@pytest.mark.parametrize(
    "attributes",
    [
        {"strides": [2]},
        {"strides": [3], "ceil_mode": 1},
        {"strides": [2], "ceil_mode": 1, "pads": [1, 1]},
        {"pads": [2, 1], "count_include_pad": 1},
        {"pads": [1, 1], "strides": [3], "count_include_pad": 1, "ceil_mode": 1},
        {"auto_pad": "SAME_UPPER", "strides": [2]},
        {"dilations": [2], "pads": [1, 0]},
    ],
)
@pytest.mark.parametrize("size", [3, 4])
@pytest.mark.parametrize("name", ["MaxPool", "AveragePool"])
def test_pools(name, size, attributes):
    if name == "MaxPool":
        attributes = {n: v for n, v in attributes.items() if n != "count_include_pad"}
    node = helper.make_node(name, ["x"], ["y"], kernel_shape=[size], **attributes)
    same_in_numpy(graph([node], {"x": IMAGE}, {"y": np.float32}, opset=19), {"x": IMAGE})


def test_not():
    nodes = [helper.make_node("Greater", ["x", "k"], ["g"]), helper.make_node("Not", ["g"], ["y"])]
    made = graph(nodes, {"x": X}, {"y": bool}, {"k": X[:1]})
    np.testing.assert_array_equal(rnnfast.onnx.load(made, host="numpy")(X), X[:1] >= X)


def test_integers_divide_towards_zero():
    a, b = np.array([7, -7, 7, -7, 6, -6]), np.array([2, 2, -2, -2, 3, 3])
    node = helper.make_node("Div", ["a", "b"], ["y"])
    made = graph([node], {"a": a, "b": b}, {"y": np.int64})
    assert rnnfast.onnx.load(made, host="numpy")(a, b).tolist() == [3, -3, -3, 3, 2, -2]


def test_scalars_keep_their_type():
    # NumPy before 2 makes float64 of a float32 without axes and a Python number
    names = ["Gelu", "Elu", "Selu", "HardSigmoid", "Softplus", "Reciprocal", "Erf", "LeakyRelu"]
    nodes = [helper.make_node(name, ["x"], [name]) for name in names]
    x = np.array(-0.3, np.float32)
    made = graph(nodes, {"x": x}, dict.fromkeys(names, np.float32), opset=20)
    same_in_numpy(made, {"x": x})


@pytest.mark.parametrize(
    "name, bias, attributes",
    [
        ("MatMul", None, {}),
        ("Gemm", None, {}),
        ("Gemm", (5,), {"transB": 1}),
        ("Gemm", (5,), {}),
        ("Gemm", (1, 5), {"transB": 1}),
        ("Gemm", (5,), {"alpha": 0.5}),
        ("Gemm", (5,), {"beta": 2.0, "transB": 1}),
    ],
)
def test_products_with_constants(name, bias, attributes):
    shape = (5, 40) if attributes.get("transB") else (40, 5)
    constants = {"w": rng().standard_normal(shape).astype(np.float32)}
    if bias:
        constants["b"] = rng().standard_normal(bias).astype(np.float32)
    node = helper.make_node(name, ["x", *constants], ["y"], **attributes)
    for rows in ((1,), (15,), (16,), (0,), *([(), (3, 7)] if name == "MatMul" else [])):
        x = rng().standard_normal((*rows, 40)).astype(np.float32)
        model = same_in_numpy(graph([node], {"x": x}, {"y": np.float32}, constants), {"x": x})
        served = not {"alpha", "beta"} & attributes.keys() and bias != (1, 5)
        assert isinstance(model._host.steps[0].function, Product) == served


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"strides": [2]},
        {"strides": [3], "dilations": [2], "pads": [2, 1]},
        {"strides": [3], "output_padding": [2], "pads": [0, 1]},
        {"strides": [2], "group": 2},
        {"group": 4, "pads": [1, 1]},
        {"auto_pad": "SAME_UPPER", "strides": [2]},
        {"auto_pad": "SAME_LOWER", "strides": [3], "dilations": [2]},
        {"auto_pad": "VALID", "strides": [2], "output_padding": [1]},
        {"output_shape": [25], "strides": [2]},
        {"output_shape": [24], "strides": [2], "auto_pad": "SAME_UPPER"},
    ],
)
@pytest.mark.parametrize("taps", [2, 3, 4])
def test_transposed_convolutions(taps, attributes):
    shape = 4, 8 // attributes.get("group", 1), taps
    same_with_and_without_bias("ConvTranspose", shape, attributes)


def test_transposed_convolutions_of_pictures():
    x = rng().standard_normal((2, 4, 5, 6), np.float32)
    w = rng().standard_normal((4, 3, 3, 2), np.float32)
    attributes = {"strides": [2, 3], "pads": [1, 0, 0, 1], "dilations": [1, 2], "group": 2}
    node = helper.make_node("ConvTranspose", ["x", "w"], ["y"], **attributes)
    same_in_numpy(graph([node], {"x": x}, {"y": np.float32}, {"w": w}), {"x": x})


@pytest.mark.parametrize("zeros", [(), (7,), (7, 3), (7, [1, 2, 3, 4, 5, 6])])
def test_convolutions_of_whole_numbers(zeros):
    x = rng().integers(0, 256, (2, 4, 13)).astype(np.uint8)
    constants = {"w": rng().integers(0, 256, (6, 2, 3)).astype(np.uint8)}
    names = ["x", "w", "x_zero", "w_zero"][: 2 + len(zeros)]
    constants |= {n: np.array(z, np.uint8) for n, z in zip(names[2:], zeros, strict=True)}
    attributes = {"group": 2, "pads": [1, 2], "strides": [2]}
    node = helper.make_node("ConvInteger", names, ["y"], **attributes)
    made = graph([node], {"x": x}, {"y": np.int32}, constants)
    got = rnnfast.onnx.load(made, host="numpy").run(None, {"x": x})
    # the sums are exact in float32
    zeros = [*zeros, 0, 0][:2]
    wide = x.astype(np.float32) - zeros[0]
    w = constants["w"].astype(np.float32) - np.reshape(zeros[1], (-1, 1, 1))
    node = helper.make_node("Conv", ["x", "w"], ["y"], **attributes)
    floats = graph([node], {"x": wide}, {"y": np.float32}, {"w": w.astype(np.float32)})
    want = run_reference(floats, {"x": wide})
    agree(got, [want[0].astype(np.int32)], bound=0)


@pytest.mark.parametrize("opset, each", [(18, 2), (21, 6)])
def test_groups_of_channels(opset, each):
    # before version 21, scale and bias were of groups
    x = rng().standard_normal((2, 6, 5, 3), np.float32)
    constants = {n: rng().standard_normal(each, np.float32) for n in ("scale", "bias")}
    attributes = {"num_groups": 2, "epsilon": 1e-3}
    node = helper.make_node("GroupNormalization", ["x", "scale", "bias"], ["y"], **attributes)
    made = graph([node], {"x": x}, {"y": np.float32}, constants, opset)
    want = run_reference(made, {"x": x})
    agree(rnnfast.onnx.load(made, host="numpy").run(None, {"x": x}), want)


def test_top_k_of_more_than_there_are():
    node = helper.make_node("TopK", ["x", "k"], ["y", "i"], "best")
    made = graph([node], {"x": X, "k": ints(1)}, {"y": np.float32, "i": np.int64})
    model = rnnfast.onnx.load(made, host="numpy")
    for k in (-1, 5, 2**60):
        with pytest.raises(ValueError, match=rf"'best' \(TopK\): k expected from 0 to 4.* got {k}"):
            model(X, ints(k))

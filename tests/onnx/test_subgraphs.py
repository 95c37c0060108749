"""If, Loop and Scan in NumPy, against ONNX Runtime."""

from __future__ import annotations

import re

import numpy as np
import pytest
from onnx_graphs import HOSTS, agree, body, graph, helper, same_in_numpy

import rnnfast
from rnnfast.onnx.proto import DEEPEST
from rnnfast.onnx.subgraphs import Choice

F = np.float32
X = np.random.default_rng(0).standard_normal((4, 3)).astype(F)
NODE = helper.make_node


def entry(name, kind=1, shape=None):
    return helper.make_tensor_value_info(name, kind, shape)


def numbers(*values):
    return np.array(values, np.int64)


def same(made, **feed):
    return same_in_numpy(made, feed)


# ---- If ------------------------------------------------------------------------------------------


def choice(then, other, inputs, outputs=("y",), constants=None, kind=F, before=()):
    """A choice by `on` between nodes whose results have the names of the outputs."""
    branches = {
        f"{name}_branch": body(nodes, dict.fromkeys(outputs, 1))
        for name, nodes in (("then", then), ("else", other))
    }
    results = [f"{name}_" for name in outputs]
    node = NODE("If", ["on"], results, "choice", **branches)
    return graph([*before, node], inputs, dict.fromkeys(results, kind), constants)


def test_a_branch_is_chosen_by_the_call():
    made = choice(
        [NODE("Neg", ["x"], ["y"]), NODE("Split", ["x"], ["z", "rest"], axis=0)],
        [NODE("Add", ["x", "k"], ["y"]), NODE("Exp", ["y"], ["z"])],
        {"x": X, "on": np.array(True)},
        ("y", "z"),
        {"k": np.ones(3, F)},
    )
    for on in (np.array(True), np.array(False)):
        model = same(made, x=X, on=on)
    assert isinstance(model._host.steps[0].function, Choice)


def test_a_condition_that_is_known_is_no_step():
    branches = [NODE("Neg", ["x"], ["y"])], [NODE("Exp", ["x"], ["y"])]
    constant = choice(*branches, {"x": X}, constants={"on": np.array(True)})
    of_shape = [
        NODE("Shape", ["x"], ["shape"]),
        NODE("Gather", ["shape", "last"], ["length"]),
        NODE("Equal", ["length", "three"], ["on"]),
    ]
    places = {"last": np.array(1), "three": np.array(3)}
    shaped = choice(*branches, {"x": X}, constants=places, before=of_shape)
    for made in (constant, shaped):
        [step] = same(made, x=X)._host.steps
        assert not isinstance(step.function, Choice)
    # and not where the length is the call's
    shaped.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "features"
    assert isinstance(same(shaped, x=X)._host.steps[-1].function, Choice)
    same(shaped, x=X[:, :2])


def test_a_branch_of_constants_is_computed_once():
    branch = [NODE("Neg", ["k"], ["y"])]
    constants = {"k": X, "on": np.array(False)}
    made = choice(branch, [NODE("Exp", ["k"], ["y"])], {"x": X}, constants=constants)
    made.graph.node.append(NODE("Add", ["y_", "x"], ["sum"]))
    made.graph.output[0].name = "sum"
    assert len(same(made, x=X)._host.steps) == 1


# ---- Loop ----------------------------------------------------------------------------------------


def loop(count="n", on="", shape=(4, 3), number_shape=(), constants=None, inputs=None):
    """Powers of x: a state, and what each round leaves; the condition is that it is small."""
    nodes = [
        NODE("Mul", ["state", "x"], ["product"]),
        NODE("Cast", ["i"], ["place"], to=1),
        NODE("Add", ["product", "place"], ["next"]),
        NODE("ReduceMax", ["next"], ["most"], keepdims=0),
        NODE("Less", ["most", "bound"], ["again"]),
        NODE("Neg", ["next"], ["left"]),
    ]
    start = [entry("i", 7, number_shape), entry("go", 9, ()), entry("state", 1, (4, 3))]
    inner = body(nodes, {"again": 9, "next": 1, "left": 1}, inputs=start)
    if shape is not None:
        inner.output[2].CopyFrom(entry("left", 1, shape))
    node = NODE("Loop", [count, on, "x"], ["last", "stack"], "rounds", body=inner)
    constants = {"bound": np.array(50, F)} | (constants or {})
    return graph([node], {"x": X} | (inputs or {}), {"last": F, "stack": F}, constants)


@pytest.mark.parametrize("n", [-1, 0, 1, 5])
@pytest.mark.parametrize("on", [True, False])
def test_a_number_of_rounds(n, on):
    given = {"n": np.array(n), "on": np.array(on)}
    same(loop(on="on", inputs=given), x=X, **given)
    same(loop(inputs={"n": given["n"]}), x=X, n=given["n"])
    same(loop(constants=given, on="on"), x=X)


def test_a_condition_ends_a_loop():
    for on in ("", "on"):
        same(loop("", on, constants={"on": np.array(True)} if on else None), x=X)
    model = same(loop(constants={"n": np.array(100)}), x=X)
    assert len(model(X)[1]) < 100


@pytest.mark.parametrize("shape", [None, (4, 3), ("rows", 3), (-1, 3)])
def test_no_round_leaves_an_empty_stack(shape):
    same(loop(shape=shape, constants={"n": np.array(0)}), x=X)


def test_the_number_of_a_round_may_have_an_axis():
    same(loop(number_shape=(1,), constants={"n": np.array(3)}), x=X)


def test_loops_inside_loops_see_all_names_around_them():
    # the inner state has the name of the outer, and its body reads values of all three graphs
    start = [entry("i", 7, ()), entry("go", 9, ()), entry("state", 1, (4, 3))]
    inside = [
        NODE("Add", ["state", "x"], ["a"]),
        NODE("Mul", ["a", "scaled"], ["b"]),
        NODE("Add", ["b", "k"], ["next"]),
        NODE("Identity", ["go"], ["again"]),
    ]
    inner = body(inside, {"again": 9, "next": 1}, inputs=start)
    middle = [
        NODE("Mul", ["state", "half"], ["scaled"]),
        NODE("Loop", ["two", "", "state"], ["state2"], body=inner),
        NODE("Identity", ["go"], ["again2"]),
        NODE("Identity", ["i"], ["number"]),
    ]
    outer = body(middle, {"again2": 9, "state2": 1, "number": 7}, inputs=start)
    nodes = [
        NODE("Exp", ["x"], ["k"]),
        NODE("Loop", ["two", "", "x"], ["y", "numbers"], body=outer),
    ]
    constants = {"two": np.array(2), "half": np.array(0.5, F)}
    made = graph(nodes, {"x": X}, {"y": F, "numbers": np.int64}, constants)
    same(made, x=X)


def test_a_loop_waits_for_the_call():
    """P25, P28: of constants alone, with more rounds than reading a file should cost."""
    constants = {"n": np.array(2**60), "x": X, "bound": np.array(np.inf, F)}
    made = loop(constants=constants)
    del made.graph.input[0]
    assert len(rnnfast.onnx.load(made, host="numpy")._host.steps) == 1


# ---- Scan ----------------------------------------------------------------------------------------


def scan(opset=17, x=X, **attributes):
    """Two states, two inputs, two outputs."""
    nodes = [
        NODE("Add", ["h", "a"], ["h2"]),
        NODE("Mul", ["c", "b"], ["c2"]),
        NODE("Sub", ["h2", "c2"], ["d"]),
        NODE("Add", ["d", "k"], ["e"]),
    ]
    start = [entry(name, 1, (3,)) for name in "hcab"]
    inner = body(nodes, dict.fromkeys(["h2", "c2", "d", "e"], 1), inputs=start)
    for output in inner.output:
        output.CopyFrom(entry(output.name, 1, (3,)))
    outputs = ["last_h", "last_c", "ds", "es"]
    node = NODE(
        "Scan", ["h0", "c0", "x", "z"], outputs, body=inner, num_scan_inputs=2, **attributes
    )
    first = {"h0": X[0], "c0": X[1], "k": X[2]}
    return graph([node], {"x": x, "z": 2 * x}, dict.fromkeys(outputs, F), first, opset)


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"scan_input_directions": [0, 1], "scan_output_directions": [1, 0]},
        {"scan_input_axes": [0, -2], "scan_output_axes": [1, -2]},
        {"scan_output_axes": [-1, 1], "scan_output_directions": [1, 1]},
    ],
)
@pytest.mark.parametrize("opset", [9, 17])
def test_states_inputs_and_outputs(opset, attributes):
    if opset == 9:  # when no axis was negative
        attributes = {n: [number % 2 for number in v] for n, v in attributes.items()}
    same(scan(opset, **attributes), x=X, z=2 * X)


def test_another_axis_is_scanned():
    turned = np.ascontiguousarray(X.T)
    made = scan(x=turned, scan_input_axes=[1, -1], scan_input_directions=[1, 0])
    same(made, x=turned, z=2 * turned)


def test_nothing_to_scan():
    # which ONNX Runtime refuses
    none = X[:0]
    got = rnnfast.onnx.load(scan(x=none, scan_output_axes=[-1, 0]), host="numpy")(none, none)
    agree(got, [X[0], X[1], np.empty((3, 0), F), none], bound=0)


# ---- all of them ---------------------------------------------------------------------------------


def test_errors_name_both_nodes():
    made = choice(
        [NODE("Gather", ["x", "k"], ["y"], "inside")],
        [NODE("Neg", ["x"], ["y"])],
        {"x": X, "on": np.array(True), "k": numbers(0)},
    )
    model = rnnfast.onnx.load(made, host="numpy")
    message = r"node 'choice' \(If\): node 'inside' \(Gather\): index 9 is out of bounds"
    with pytest.raises(ValueError, match=message):
        model(X, np.array(True), numbers(9))


def test_where_the_time_of_inner_nodes_goes():
    made = loop(constants={"n": np.array(3)})
    profile = rnnfast.onnx.load(made, host="numpy").profile({"x": X}, rounds=2)
    assert sorted(t.kind for t in profile) == sorted(
        ["Loop", "Mul", "Cast", "Add", "ReduceMax", "Less", "Neg"]
    )
    assert all(t.seconds > 0 for t in profile)


def refused(made, error, message, host="numpy"):
    with pytest.raises(error, match=re.escape(message)):
        rnnfast.onnx.load(made, host=host)


def test_inner_graphs_that_are_refused():
    inputs = {"x": X, "on": np.array(True)}
    negative = [NODE("Neg", ["x"], ["y"])]
    beyond = choice([NODE("Det", ["x"], ["y"], "d")], negative, inputs)
    refused(beyond, NotImplementedError, "node 'd' (Det) is not supported")
    made = loop(constants={"n": np.array(1)})
    made.graph.node[0].attribute[0].g.input.add().CopyFrom(entry("more"))
    made.graph.node[0].name = "rounds"
    refused(made, ValueError, "node 'rounds' (Loop): its body has 4 inputs and 3 outputs")
    made = scan(opset=8)
    made.graph.node[0].name = "steps"
    message = "node 'steps' (Scan): version 8 of it is not supported, only 9 and newer"
    refused(made, NotImplementedError, message)
    for number, message in ((5, "its body has"), (0, "num_scan_inputs expected to be >= 1, got 0")):
        made = scan()
        [attribute] = [a for a in made.graph.node[0].attribute if a.name == "num_scan_inputs"]
        attribute.i = number
        refused(made, ValueError, message)


def test_what_may_be_missing_is_refused():
    nodes = [NODE("Optional", ["x"], ["maybe"], "o"), NODE("OptionalGetElement", ["maybe"], ["y"])]
    refused(graph(nodes, {"x": X}, {"y": F}), NotImplementedError, "node 'o' (Optional) is not")
    made = graph(nodes[1:], {}, {"y": F})
    kind = helper.make_optional_type_proto(helper.make_tensor_type_proto(1, None))
    made.graph.input.append(helper.make_value_info("maybe", kind))
    message = "maybe is a optional_type; rnnfast knows tensors alone"  # of inputs, on any host
    refused(made, NotImplementedError, message, "onnxruntime")
    refused(made, NotImplementedError, "(OptionalGetElement) is not supported")


def test_graphs_too_deep_inside_each_other():
    """P25."""
    inputs = {"x": X, "on": np.array(True)}
    negative = [NODE("Neg", ["x"], ["y"])]
    nodes = negative
    for depth in range(1, DEEPEST + 2):
        made = choice(nodes, negative, inputs)
        if depth == DEEPEST:
            agree([rnnfast.onnx.load(made, host="numpy")(**inputs)], [-X])
        node = made.graph.node[0]
        node.output[0] = "y"
        nodes = [node]
    for host in HOSTS:
        refused(made, ValueError, f"more than {DEEPEST} graphs are inside each other", host)


# ---- sequences -----------------------------------------------------------------------------------


def test_a_loop_that_collects_its_steps():
    # as torch.jit.script makes of a list
    start = [entry("i", 7, ()), entry("go", 9, ())]
    start.append(helper.make_tensor_sequence_value_info("list", 1, None))
    nodes = [
        NODE("Gather", ["x", "i"], ["step"], axis=0),
        NODE("SequenceInsert", ["list", "step"], ["longer"]),
        NODE("Identity", ["go"], ["again"]),
    ]
    inner = body(nodes, {"again": 9}, inputs=start)
    inner.output.append(helper.make_tensor_sequence_value_info("longer", 1, None))
    nodes = [
        NODE("SequenceEmpty", [], ["none"]),
        NODE("Loop", ["n", "", "none"], ["steps"], body=inner),
        NODE("ConcatFromSequence", ["steps"], ["stack"], axis=1, new_axis=1),
        NODE("ConcatFromSequence", ["steps"], ["row"], axis=0),
        NODE("SequenceLength", ["steps"], ["length"]),
    ]
    outputs = {"stack": F, "row": F, "length": np.int64}
    made = graph(nodes, {"x": X, "n": np.array(3)}, outputs)
    for n in (1, 4):
        same(made, x=X, n=np.array(n))


@pytest.mark.parametrize("place", [None, 0, 1, -1, -2])
def test_places_in_a_sequence(place):
    given = [] if place is None else ["place"]
    nodes = [
        NODE("SequenceConstruct", ["x", "k"], ["two"]),
        NODE("SequenceInsert", ["two", "j", *given], ["three"]),
        NODE("SequenceErase", ["two", *given], ["one"]),
        NODE("SequenceAt", ["two", "place"], ["at"]),
        NODE("ConcatFromSequence", ["three"], ["all"], axis=-1),
        NODE("ConcatFromSequence", ["one"], ["left"], axis=0),
    ]
    constants = {"k": X + 1, "j": X + 2}
    feed = {"x": X, "place": np.array(place or 0)}
    made = graph(nodes, feed, dict.fromkeys(["at", "all", "left"], F), constants)
    model = same(made, **feed)
    for wrong in (-3, 2):
        with pytest.raises(ValueError, match=f"position expected from -2 to [12], got {wrong}"):
            model.run(None, feed | {"place": np.array(wrong)})


@pytest.mark.parametrize(
    "split, keepdims",
    [(None, 0), (None, 1), (np.array(3), 1), (numbers(1, 3), 0), (numbers(1, 3), 1)],
)
def test_parts_as_a_sequence(split, keepdims):
    constants = {"last": np.array(-1)} | ({} if split is None else {"split": split})
    names = ["x"] if split is None else ["x", "split"]
    nodes = [
        NODE("SplitToSequence", names, ["parts"], axis=0, keepdims=keepdims),
        NODE("SequenceAt", ["parts", "last"], ["y"]),
        NODE("SequenceLength", ["parts"], ["n"]),
    ]
    same(graph(nodes, {"x": X}, {"y": F, "n": np.int64}, constants), x=X)

"""ONNX Runtime as the host: whole models, and what is beyond NumPy's host."""

from __future__ import annotations

import copy
import gc
import pickle
import re
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from onnx_graphs import HOSTS, agree, body, graph, helper, onnx, onnxruntime, run_ort

import rnnfast

X = np.random.default_rng(1).standard_normal((4, 3, 2)).astype(np.float32)
F = np.float32


def weights(size=2, seed=0, prefix=""):
    """Return W and R of an LSTM of as many units as inputs."""
    rng = np.random.default_rng(seed)
    return {prefix + n: rng.standard_normal((1, 4 * size, size)).astype(F) for n in ("w", "r")}


def lstm(x="x", outputs=("y",), prefix="", **attributes):
    return helper.make_node(
        "LSTM", [x, f"{prefix}w", f"{prefix}r"], outputs, hidden_size=2, **attributes
    )


def same_as_ort(made, feed, served, bound=1e-5, numpy=True):
    """Load a model on both hosts, compare it, and count the nodes on the engine."""
    model = rnnfast.onnx.load(made)
    assert model.host == "onnxruntime"
    assert len(model._host.served) == served
    want = run_ort(made, feed)
    agree(model.run(None, feed), want, bound)
    if numpy:
        agree(rnnfast.onnx.load(made, host="numpy").run(None, feed), want, bound)
    return model


def branches(constant=False):
    """A choice between two LSTMs, one with weights outside it, computed from others."""
    then = body(
        [
            helper.make_node("Transpose", ["turned"], ["w"], perm=[0, 2, 1]),
            lstm(outputs=["a"]),
        ],
        {"a": 1},
    )
    other = body([lstm(outputs=["b"], prefix="q")], {"b": 1}, weights(seed=3, prefix="q"))
    choice = helper.make_node("If", ["on"], ["y"], then_branch=then, else_branch=other)
    outer = weights()
    outer["turned"] = np.ascontiguousarray(outer.pop("w").swapaxes(1, 2))
    inputs = {"x": X} | ({} if constant else {"on": np.array(True)})
    return graph([choice], inputs, {"y": F}, outer | ({"on": np.array(True)} if constant else {}))


def test_recurrences_in_both_branches():
    for on in (True, False):
        feed = {"x": X, "on": np.array(on)}
        same_as_ort(branches(), feed, served=2)
        profile = rnnfast.onnx.load(branches(), host="numpy").profile(feed, rounds=1)
        assert {(t.host, t.kind) for t in profile} >= {("engine", "LSTM"), ("numpy", "If")}
    same_as_ort(branches(constant=True), {"x": X}, served=2)


def test_a_recurrence_in_a_loop():
    start = [
        helper.make_tensor_value_info("i", 7, []),
        helper.make_tensor_value_info("go", 9, []),
        helper.make_tensor_value_info("h", 1, [4, 3, 2]),
    ]
    nodes = [
        lstm("h", ["four"]),
        helper.make_node("Squeeze", ["four", "axis"], ["next"]),
        helper.make_node("Identity", ["go"], ["again"]),
    ]
    inner = body(nodes, {"again": 9, "next": 1}, inputs=start)
    loop = helper.make_node("Loop", ["times", "", "x"], ["y"], body=inner)
    made = graph(
        [loop], {"x": X, "times": np.array(3)}, {"y": F}, weights() | {"axis": np.array([1])}
    )
    for times in (0, 1, 3):
        same_as_ort(made, {"x": X, "times": np.array(times)}, served=1)


def test_weights_that_depend_on_a_call_stay_with_onnx_runtime():
    w = weights()
    nodes = [helper.make_node("Mul", ["scale", "v"], ["w"]), lstm()]
    made = graph(nodes, {"x": X, "scale": np.array(2, F)}, {"y": F}, {"v": w["w"], "r": w["r"]})
    same_as_ort(made, {"x": X, "scale": np.array(2, F)}, served=0)
    # a default, which a call may replace, is no constant either
    made = graph([lstm()], {"x": X, "r": w["r"]}, {"y": F}, w)
    model = same_as_ort(made, {"x": X}, served=0)
    other = {"x": X, "r": 2 * w["r"]}
    agree(model.run(None, other), run_ort(made, other))


def test_weights_stored_as_whole_numbers():
    eights = {n: np.rint(30 * a).astype(np.int8) for n, a in weights().items()}
    nodes = [helper.make_node("DequantizeLinear", [f"{n}8", "scale"], [n]) for n in eights]
    constants = {f"{n}8": a for n, a in eights.items()} | {"scale": np.array(1 / 30, F)}
    made = graph([*nodes, lstm()], {"x": X}, {"y": F}, constants)
    same_as_ort(made, {"x": X}, served=1)


def test_weights_that_other_nodes_read_as_well():
    nodes = [
        lstm(),
        lstm(outputs=["z"]),
        helper.make_node("ReduceSum", ["w"], ["sum"]),
        helper.make_node("Identity", ["r"], ["copy"]),
    ]
    made = graph(nodes, {"x": X}, dict.fromkeys(["y", "z", "sum", "copy"], F), weights())
    same_as_ort(made, {"x": X}, served=2)


def test_outputs_that_are_inputs_or_in_the_middle():
    nodes = [
        lstm(outputs=["y", "", "c"]),
        helper.make_node("Identity", ["x"], ["same"]),
        helper.make_node("Squeeze", ["y", "axis"], ["flat"]),
        lstm("flat", ["z"]),
        helper.make_node("Gelu", ["flat"], ["g"], domain="com.microsoft"),
    ]
    names = ["y", "c", "same", "flat", "z", "g"]
    made = graph(nodes, {"x": X}, dict.fromkeys(names, F), weights() | {"axis": np.array([1])})
    made.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    model = same_as_ort(made, {"x": X}, served=2, numpy=False)
    given = X.copy()
    for array in model(given):
        array += 1
    agree([given], [X], bound=0)
    agree(model.run(["g", "y", "g"], {"x": X}), [model(X)[i] for i in (5, 0, 5)], bound=0)


def test_any_length_and_batch():
    made = graph([lstm()], {"x": X}, {"y": F}, weights())
    axes = made.graph.input[0].type.tensor_type.shape.dim
    axes[0].dim_param, axes[1].dim_param = "steps", "batch"
    model = rnnfast.onnx.load(made)
    for T, B in ((1, 1), (7, 1), (2, 5)):
        x = np.resize(X, (T, B, 2))
        agree([model(x)], run_ort(made, {"x": x}))


def test_quantised_nodes_around_a_recurrence():
    rng = np.random.default_rng(0)
    nodes = [
        lstm(),
        helper.make_node("DynamicQuantizeLinear", ["y"], ["q", "scale", "zero"]),
        helper.make_node("MatMulInteger", ["q", "m", "zero"], ["product"]),
        helper.make_node("Cast", ["product"], ["floats"], to=1),
        helper.make_node("Mul", ["floats", "scale"], ["out"]),
    ]
    constants = weights() | {"m": rng.integers(-128, 128, (2, 5)).astype(np.int8)}
    made = graph(nodes, {"x": X}, {"out": F}, constants)
    # an activation on the edge between two of 255 steps may fall either way
    same_as_ort(made, {"x": X}, served=1, bound=0.01)


def test_half_precision():
    half = X.astype(np.float16)
    nodes = [
        helper.make_node("Cast", ["x"], ["single"], to=1),
        lstm("single", ["wide"]),
        helper.make_node("Cast", ["wide"], ["y"], to=10),
    ]
    made = graph(nodes, {"x": half}, {"y": np.float16}, weights())
    model = same_as_ort(made, {"x": half}, served=1, bound=1e-3)
    assert model.inputs[0].type == "tensor(float16)"


@pytest.mark.parametrize("kind", [onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16])
def test_weights_of_16_bits(kind):
    w = weights()
    nodes = [helper.make_node("Cast", [f"{n}16"], [n], to=1) for n in w]
    made = graph([*nodes, lstm()], {"x": X}, {"y": F})
    for name, array in w.items():
        made.graph.initializer.append(
            helper.make_tensor(f"{name}16", kind, array.shape, array.ravel())
        )
    same_as_ort(made, {"x": X}, served=1)


@pytest.mark.parametrize("kind, step", [(10, 2**-11), (16, 2**-8)])
def test_numbers_are_rounded_to_16_bits(kind, step):
    x = np.array([0, -0.0, 1 + step / 2, 1 + step, 1 + 2 * step, 1 + 3 * step, 70000], F)
    x = np.concatenate([x, -x, [np.inf, np.nan]], dtype=F)
    nodes = [
        helper.make_node("Cast", ["x"], ["half"], to=kind),
        helper.make_node("Cast", ["half"], ["y"], to=1),
    ]
    made = graph(nodes, {"x": x}, {"y": F})
    got = rnnfast.onnx.load(made, host="numpy").run(None, {"x": x})
    agree(got, run_ort(made, {"x": x}), bound=0)


def test_all_in_half_precision():
    # computed with as float32
    half = X.astype(np.float16)
    w = {name: array.astype(np.float16) for name, array in weights().items()}
    nodes = [lstm(), helper.make_node("Add", ["y", "k"], ["z"])]
    constants = w | {"k": np.full(1, 0.3, np.float16)}
    made = graph(nodes, {"x": half}, {"z": np.float16}, constants)
    model = rnnfast.onnx.load(made, host="numpy")
    hosted = rnnfast.onnx.load(made, host="onnxruntime")
    wide = {name: array.astype(F) for name, array in constants.items()}
    [want] = run_ort(graph(nodes, {"x": X}, {"z": F}, wide), {"x": half.astype(F)})
    assert model.inputs[0].dtype == model.outputs[0].dtype == np.float16
    for loaded in (model, hosted):
        agree([loaded(half)], [want.astype(np.float16)], bound=2e-3)


@pytest.mark.parametrize("host", HOSTS)
def test_copies_of_a_model(host, tmp_path):
    made, path = graph([lstm()], {"x": X}, {"y": F}, weights()), tmp_path / "m.onnx"
    onnx.save(made, path)
    model = rnnfast.onnx.load(path, host=host)
    path.unlink()
    for twin in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert twin.host == host
        assert repr(twin) == repr(model)
        agree([twin(X)], [model(X)], bound=0)
    again = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(model))))
    agree([again(X)], [model(X)], bound=0)


def test_what_load_takes(tmp_path):
    made, path = graph([lstm()], {"x": X}, {"y": F}, weights()), tmp_path / "m.onnx"
    before = made.SerializeToString()
    onnx.save(made, path)
    want = run_ort(path, {"x": X})
    for model in (path, str(path), path.read_bytes(), made):
        for host in (None, *HOSTS):
            agree([rnnfast.onnx.load(model, host=host)(X)], want)
    assert made.SerializeToString() == before
    with pytest.raises(TypeError, match=r"path, bytes or an onnx\.ModelProto, got list"):
        rnnfast.onnx.load([])
    with pytest.raises(ValueError, match="host as 'onnxruntime', 'numpy' or None, got 'cuda'"):
        rnnfast.onnx.load(made, host="cuda")


def test_run_options():
    made = graph([lstm()], {"x": X}, {"y": F}, weights())
    options = onnxruntime.RunOptions()
    model = rnnfast.onnx.load(made)
    agree(model.run(None, {"x": X}, options), [model(X)], bound=0)
    options.terminate = True
    with pytest.raises(ValueError, match="terminate"):
        model.run(None, {"x": X}, options)
    with pytest.raises(ValueError, match="run_options are for ONNX Runtime"):
        rnnfast.onnx.load(made, host="numpy").run(None, {"x": X}, options)


@pytest.mark.parametrize("host", HOSTS)
def test_where_the_time_goes(host):
    nodes = [
        helper.make_node("LSTM", ["x", "w", "r"], ["y"], "cell", hidden_size=2),
        helper.make_node("Erf", ["y"], ["z"], "after"),
    ]
    made = graph(nodes, {"x": X}, {"z": F}, weights())
    profile = rnnfast.onnx.load(made, host=host).profile({"x": X}, rounds=3)
    assert {(t.host, t.node) for t in profile} == {("engine", "cell"), (host, "after")}
    assert all(t.seconds > 0 for t in profile)
    assert sum(profile.hosts().values()) == pytest.approx(sum(t.seconds for t in profile))
    assert "after" in str(profile)
    with pytest.raises(ValueError, match="rounds >= 1, got 0"):
        rnnfast.onnx.load(made, host=host).profile({"x": X}, rounds=0)


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("host", HOSTS)
def test_a_backend_serves_what_is_loaded_and_called_in_its_block(host, inside, monkeypatch):
    engine, calls = rnnfast.backend._load("reference").recurrent, []
    forward = engine.forward
    monkeypatch.setattr(engine, "forward", lambda *args: calls.append(args) or forward(*args))
    made = graph([lstm()], {"x": X}, {"y": F}, weights())
    early = rnnfast.onnx.load(made, host=host)
    want = early(X)
    assert not calls
    with rnnfast.backend.use("reference"):
        model = rnnfast.onnx.load(made, host=host) if inside else early
        agree([model(X)], [want])
    assert bool(calls) == (inside or host == "numpy")
    calls.clear()
    agree([model(X)], [want])
    assert not calls


def test_nodes_are_forgotten_with_their_model():
    from rnnfast.core import custom_op

    before = len(custom_op.nodes)
    model = rnnfast.onnx.load(graph([lstm()], {"x": X}, {"y": F}, weights()))
    assert len(custom_op.nodes) == before + 1
    del model
    gc.collect()
    assert len(custom_op.nodes) == before


def test_an_interrupt_in_a_node_is_one_outside(monkeypatch):
    from rnnfast.core import custom_op

    model = rnnfast.onnx.load(graph([lstm()], {"x": X}, {"y": F}, weights()))
    [number] = model._host.served

    def interrupted(*inputs):
        raise KeyboardInterrupt

    monkeypatch.setitem(custom_op.nodes, number, (interrupted, None, 0))
    with pytest.raises(KeyboardInterrupt):
        model(X)
    assert custom_op.failure() == (0, None)


def test_what_onnx_runtime_refuses_runs_in_numpy():
    # it has no LSTM of layout 1 that the engine does not cover
    made = graph([lstm(layout=1, clip=0.5)], {"x": X}, {"y": F}, weights())
    model = rnnfast.onnx.load(made)
    assert model.host == "numpy"
    agree([model(X)], [rnnfast.onnx.load(made, host="numpy")(X)], bound=0)
    with pytest.raises(ValueError, match="is not a model that rnnfast can load"):
        rnnfast.onnx.load(made, host="onnxruntime")


def test_without_onnx_runtime(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    made = graph([lstm()], {"x": X}, {"y": F}, weights())
    assert rnnfast.onnx.load(made).host == "numpy"
    extra = re.escape("pip install rnnfast[onnxruntime]")
    with pytest.raises(ImportError, match=extra):
        rnnfast.onnx.load(made, host="onnxruntime")
    beyond = graph([helper.make_node("Det", ["x"], ["y"])], {"x": X}, {"y": F})
    with pytest.raises(NotImplementedError, match=rf"\(Det\) is not supported.*{extra}"):
        rnnfast.onnx.load(beyond)


def test_a_loop_s_own_variable_is_no_constant():
    # the body's w starts as the weights outside and changes from round to round
    start = [
        helper.make_tensor_value_info("i", 7, []),
        helper.make_tensor_value_info("go", 9, []),
        helper.make_tensor_value_info("w", 1, [1, 8, 2]),
    ]
    nodes = [
        lstm(outputs=["four"]),
        helper.make_node("Add", ["w", "one"], ["next"]),
        helper.make_node("Identity", ["go"], ["again"]),
    ]
    inner = body(nodes, {"again": 9, "next": 1, "four": 1}, inputs=start)
    loop = helper.make_node("Loop", ["times", "", "w"], ["last", "y"], body=inner)
    made = graph(
        [loop], {"x": X, "times": np.array(3)}, {"y": F}, weights() | {"one": np.ones((), F)}
    )
    same_as_ort(made, {"x": X, "times": np.array(3)}, served=0)


def test_a_name_means_what_it_means_where_it_stands():
    # w depends on the outer v; the branch has a v of its own
    w = weights()
    branch = {}
    for name in ("then", "other"):
        sums = helper.make_node("ReduceSum", ["v"], [f"{name}_sum"])
        branch[name] = body(
            [lstm(outputs=[f"{name}_y"]), sums],
            {f"{name}_y": 1, f"{name}_sum": 1},
            {"v": -3 * w["w"]},
        )
    nodes = [
        helper.make_node("Neg", ["v"], ["w"]),
        helper.make_node(
            "If", ["on"], ["y", "sum"], then_branch=branch["then"], else_branch=branch["other"]
        ),
    ]
    outer = {"v": w["w"], "r": w["r"]}
    made = graph(nodes, {"x": X, "on": np.array(True)}, {"y": F, "sum": F}, outer)
    for on in (True, False):
        same_as_ort(made, {"x": X, "on": np.array(on)}, served=2)


def test_weights_by_an_operator_that_numpy_lacks_stay_with_onnx_runtime():
    w = weights()
    nodes = [
        helper.make_node("EyeLike", ["square"], ["eye"]),
        helper.make_node("Unsqueeze", ["eye", "first"], ["r"]),
        lstm(),
    ]
    made = graph(nodes, {"x": X}, {"y": F}, w | {"square": w.pop("r")[0], "first": np.array([0])})
    same_as_ort(made, {"x": X}, served=0, numpy=False)


def test_constants_of_old_files_stand_among_the_inputs():
    made = graph([lstm()], {"x": X, **weights()}, {"y": F}, weights(), ir_version=3)
    same_as_ort(made, {"x": X}, served=1)


def test_the_error_of_a_call_holds_no_memory_of_onnx_runtime():
    nodes = [
        helper.make_node("Neg", ["x"], ["minus"]),
        helper.make_node("LSTM", ["minus", "w", "r", "", "steps"], ["y"], hidden_size=2),
    ]
    long = np.full(3, 5, np.int32)  # more steps than there are
    model = rnnfast.onnx.load(graph(nodes, {"x": X, "steps": long}, {"y": F}, weights()))
    with pytest.raises(ValueError) as caught:
        model.run(None, {"x": X, "steps": long})
    frame, held = caught.value.__cause__.__traceback__, []
    while frame:
        held += [v for v in frame.tb_frame.f_locals.values() if isinstance(v, np.ndarray)]
        frame = frame.tb_next
    assert held == []


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize("host", HOSTS)
def test_any_choice_of_outputs_and_states(host, kind, direction, samples):
    # ONNX Runtime's memory is read and written as it is, where the node's layout is the engine's
    rng = np.random.default_rng(5)
    D, H, gates = 1 + (direction == "bidirectional"), 3, {"RNN": 1, "GRU": 3, "LSTM": 4}[kind]
    shapes = {"w": (D, gates * H, 2), "r": (D, gates * H, H)}
    tensors = {name: rng.standard_normal(shape).astype(F) for name, shape in shapes.items()}
    names = ["y", "h", "c"] if kind == "LSTM" else ["y", "h"]
    extra = {"linear_before_reset": 1} if kind == "GRU" else {}
    feed = {"x": rng.standard_normal((4, samples, 2)).astype(F)}
    feed |= {f"{n}0": rng.standard_normal((D, samples, H)).astype(F) for n in names[1:]}
    lengths = np.array([3, 4, 2][:samples], np.int32)
    for wanted in [names, names[:1], names[1:], names[-1:]]:
        for states in ([], ["h0"], list(feed)[1:], [*list(feed)[1:], "lengths"]):
            states, ragged = [n for n in states if n != "lengths"], "lengths" in states
            inputs = ["x", "w", "r", "", "lengths" if ragged else "", *states]
            outputs = [name if name in wanted else "" for name in names]
            node = helper.make_node(
                kind, inputs, outputs, hidden_size=H, direction=direction, **extra
            )
            given = {name: feed[name] for name in ["x", *states]}
            given |= {"lengths": lengths} if ragged else {}
            made = graph([node], given, dict.fromkeys(wanted, F), tensors)
            model = rnnfast.onnx.load(made, host=host)
            agree(model.run(None, given), run_ort(made, given))


@pytest.mark.parametrize("H", [40, 300])  # 300 units: members take a part of them each
@pytest.mark.parametrize("samples", [1, 5])
@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_members_of_a_call_run_on_the_threads_of_the_session(direction, samples, H):
    # beside nodes that keep these spinning, except several samples in two directions; results do
    # not depend on how many threads there are, nor on how many come
    rng = np.random.default_rng(6)
    D, n = 1 + (direction == "bidirectional"), 20
    tensors = {"w": (D, 4 * H, n), "r": (D, 4 * H, H), "v": (n, n)}
    tensors = {name: (2 * rng.standard_normal(s) / H**0.5).astype(F) for name, s in tensors.items()}
    nodes = [
        helper.make_node("MatMul", ["x", "v"], ["z"]),
        helper.make_node("LSTM", ["z", "w", "r"], ["y"], hidden_size=H, direction=direction),
    ]
    feed = {"x": rng.standard_normal((60, samples, n)).astype(F)}
    made = graph(nodes, feed, {"y": F}, tensors)
    with rnnfast.num_threads(1):
        [alone] = same_as_ort(made, feed, served=1).run(None, feed)
    with rnnfast.num_threads(3):
        model = same_as_ort(made, feed, served=1)
        results = [model.run(None, feed)[0] for _ in range(50)]
        with ThreadPoolExecutor(4) as pool:
            results += pool.map(lambda _: model.run(None, feed)[0], range(50))
    assert all(np.array_equal(y, alone) for y in results)


def squeezed(out, axes, y=("y",)):
    """An LSTM of x (T, 2) and states (2,), with Unsqueeze before it and Squeeze after each y."""
    nodes = [
        helper.make_node("Constant", [], ["first"], value_ints=[0, -2]),
        helper.make_node("Unsqueeze", ["x", "one"], ["x3"]),
        helper.make_node("Unsqueeze", ["h", "first"], ["h3"]),
        helper.make_node("Unsqueeze", ["c", "first"], ["c3"]),
        helper.make_node(
            "LSTM", ["x3", "w", "r", "", "", "h3", "c3"], ["y4", "", "n3"], hidden_size=2
        ),
        *(helper.make_node("Squeeze", ["y4", "axes"], [name]) for name in y),
        helper.make_node("Squeeze", ["n3", "first"], ["n"]),
    ]
    feed = {"x": X[:, 0], "h": F([0.5, -1]), "c": F([2, 0.1])}
    constants = {"one": np.array([1]), "axes": np.array(axes)} | weights()
    return graph(nodes, feed, dict.fromkeys(out, F), constants), feed


@pytest.mark.parametrize("axes", [[1, 2], [1], [-2, -3]])
def test_axes_of_length_one_around_a_recurrence(axes):
    made, feed = squeezed(["y", "n"], axes)
    model = same_as_ort(made, feed, served=1)
    assert [timing.kind for timing in model.profile(feed, rounds=1)] == ["Recurrent"]
    made.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "steps"
    for length in (1, 7):
        feed["x"] = np.resize(X, (length, 2))
        agree(rnnfast.onnx.load(made).run(None, feed), run_ort(made, feed))


def test_axes_of_length_one_in_old_files():
    nodes = [
        helper.make_node("Unsqueeze", ["x"], ["x3"], axes=[1]),
        lstm("x3", ["y4"]),
        helper.make_node("Squeeze", ["y4"], ["y"], axes=[1]),
    ]
    made = graph(nodes, {"x": X[:, 0]}, {"y": F}, weights(), opset=11)
    model = same_as_ort(made, {"x": X[:, 0]}, served=1)
    assert len(model.profile({"x": X[:, 0]}, rounds=1)) == 1


def test_axes_that_others_read_as_well():
    for out, y in ((["y", "z", "n"], ("y", "z")), (["y", "y4", "n3", "n", "h3"], ("y",))):
        made, feed = squeezed(out, [1, 2], y)
        same_as_ort(made, feed, served=1)


def test_axes_that_are_not_of_length_one():
    nodes = [lstm(outputs=["y4"]), helper.make_node("Squeeze", ["y4", "two"], ["y"])]
    made = graph(nodes, {"x": X}, {"y": F}, weights() | {"two": np.array([1, 2])})
    for input_ in made.graph.input:
        input_.type.tensor_type.shape.dim[1].dim_param = "samples"
    same_as_ort(made, {"x": X[:, :1]}, served=1)
    for host in HOSTS:
        with pytest.raises(ValueError, match=r"[Ss]queeze"):
            rnnfast.onnx.load(made, host=host).run(None, {"x": X})
    # axes of a call
    made = graph(nodes, {"x": X[:, :1], "two": np.array([1, 2])}, {"y": F}, weights())
    same_as_ort(made, {"x": X[:, :1], "two": np.array([2, 1])}, served=1)


@pytest.mark.parametrize("host", HOSTS)
def test_a_call_is_checked_whatever_an_earlier_one_was(host):
    model = rnnfast.onnx.load(graph([lstm()], {"x": X}, {"y": F}, weights()), host=host)
    first = model(X)
    np.testing.assert_array_equal(model(X), first)
    with pytest.raises(TypeError, match="expected x of dtype float32, got float64"):
        model(X.astype(float))
    with pytest.raises(TypeError, match="expected x as a NumPy array of float32, got list"):
        model(X.tolist())
    with pytest.raises(ValueError, match=re.escape("expected x of shape")):
        model(X[..., :1])
    with pytest.raises(ValueError, match="needs the inputs 'x', got no 'x'"):
        model.run(None, {})
    with pytest.raises(ValueError, match="no input 'z', only 'x'"):
        model.run(None, {"z": X})
    np.testing.assert_array_equal(model(X.astype(">f4")), first)
    np.testing.assert_array_equal(model(X), first)

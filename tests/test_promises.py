"""What holds for the process as a whole: memory, threads, forks, signals, other libraries.

Each row of the table of promises, P1 to P20, came from faults that users reported against other
engines. Here are the rows that no test of a single module shows. Most of them run a program in a
process of its own, because they kill it, starve it or count what is in it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from cases import CELLS, Case, make
from comparisons import same_bits
from run_cases import run

import rnnfast
from rnnfast import io

both_types = pytest.mark.parametrize("dtype", [np.float32, np.float64])
every_cell = pytest.mark.parametrize("cell", CELLS)
needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="no /proc here")
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")

START = """
import os, signal, sys, threading, time
import numpy as np
import rnnfast
rng = np.random.default_rng(0)

def normal(*shape):
    return rng.standard_normal(shape).astype(np.float32)

def number_of_threads():
    return len(os.listdir("/proc/self/task"))
"""


def environment(**changes):
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RNNFAST_", "OMP_"))}
    # where other processes have the processors too, threads that spin make a test ten times as long
    kept |= {"OMP_WAIT_POLICY": "passive", "PYTHONPATH": str(Path(rnnfast.__file__).parents[1])}
    return {**kept, **changes}


def python(code, *arguments, start=START, under=(), timeout=120, **changes):
    """Run a program in a fresh process; what it printed, by words."""
    result = subprocess.run(
        [*under, sys.executable, "-c", start + code, *map(str, arguments)],
        env=environment(**changes),
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert result.returncode == 0, f"{result.returncode}: {result.stdout}{result.stderr[-4000:]}"
    return result.stdout.split()


# ---- memory


@needs_proc
def test_memory_and_threads_stay_flat():
    """P3: no leak, no cache keyed by shape."""
    code = """
layers = [
    rnnfast.LSTM(6, 24, 2, bidirectional=True, dropout=0.2, seed=0),
    rnnfast.LSTM(6, 24, checkpoint=4, seed=1),
    rnnfast.GRU(6, 40, seed=2),
    rnnfast.RNN(6, 70, 2, seed=3),
]
optimizers = [rnnfast.Adam(layer) for layer in layers]

def call(i):
    layer = layers[i % len(layers)]
    T, B = rng.integers(0, 26), rng.integers(0, 20)
    x, lengths = normal(T, B, 6), rng.integers(0, T + 1, B) if i % 3 else None
    layer(x, lengths=lengths)
    y, _, tape = layer.forward(x, lengths=lengths)
    if i % 5:  # else the tape is dropped unused
        layer.backward(tape, y)
    if i % 7 == 0:  # what was packed is packed again
        optimizers[i % len(layers)].step()
        layer.zero_grad()

def now():
    pages = int(open("/proc/self/statm").read().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE"), number_of_threads()

rnnfast.set_num_threads(2)
for i in range(1000):
    call(i)
memory, threads = now()
for i in range(5000):
    call(i)
print(now()[0] - memory, now()[1] - threads)
"""
    growth, threads = map(int, python(code))
    assert growth < 8 << 20, f"{growth / 5000:.0f} bytes more for each of 5000 calls"
    assert threads == 0


SIZES = """
import resource
taken = int(open("/proc/self/statm").read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
resource.setrlimit(resource.RLIMIT_AS, (taken + (4 << 30), -1))
x = normal(5, 4, 1)
lstm = rnnfast.LSTM(1, 4, 2, seed=0)
want = lstm(x)[0]

def refused(call):
    try:
        call()
    except (MemoryError, ValueError):
        return
    raise AssertionError("a call of this size returned")

for T, B in [(1 << 20, 1 << 20), (1 << 40, 1 << 20), (1 << 20, 1 << 40), (1 << 60, 1), (1, 1 << 60),
             (1 << 31, 1), (1, 1 << 31), (1 << 33, 1), (1, 1 << 33)]:
    big = np.broadcast_to(np.float32(1), (T, B, 1))
    for layer in (
        lstm,
        rnnfast.GRU(1, 4, bidirectional=True),
        rnnfast.RNN(1, 4, 2, checkpoint=1 << 10),
        rnnfast.Linear(1, 4),
        rnnfast.LayerNorm(1),
        rnnfast.Conv1d(1, 4, 2, padding="causal"),
        rnnfast.Dropout(0.5),
    ):
        refused(lambda: layer.forward(big))
        if not isinstance(layer, rnnfast.Dropout):
            refused(lambda: layer(big))
for shape in [(1 << 58, 0, 1), (1 << 40, 0, 1), (0, 1 << 40, 1)]:
    refused(lambda: lstm.forward(np.zeros(shape, np.float32)))
for kind in (rnnfast.LSTM, rnnfast.GRU, rnnfast.RNN, rnnfast.Linear, rnnfast.Embedding):
    for sizes in [(1 << 40, 1 << 20), (1 << 62, 1), (1, 1 << 62), (1 << 31, 1 << 31), (10**30, 1)]:
        refused(lambda: kind(*sizes))
        refused(lambda: rnnfast.Conv1d(*sizes, 2))
        refused(lambda: rnnfast.Conv1d(1, 1, *sizes))
assert np.array_equal(lstm(x)[0], want)
"""


@needs_proc
def test_sizes_beyond_the_memory_are_refused():
    """P12: products of sizes are checked before anything is written."""
    python(SIZES)


# Between the program and the C library: fails the Nth aligned allocation, which the engine alone
# makes, and counts those not yet freed.
ALLOCATOR = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
long countdown, alive;
enum { N = 256 };
static void *kept[N];
int posix_memalign(void **p, size_t alignment, size_t size)
{
    static int (*real)(void **, size_t, size_t);
    if (!real) real = (int (*)(void **, size_t, size_t))dlsym(RTLD_NEXT, "posix_memalign");
    if (countdown > 0 && --countdown == 0) return ENOMEM;
    const int failed = real(p, alignment, size);
    for (int i = 0; i < N && !failed; i++)
        if (!kept[i]) { kept[i] = *p; alive++; break; }
    return failed;
}
void free(void *p)
{
    static void (*real)(void *);
    if (!real) real = (void (*)(void *))dlsym(RTLD_NEXT, "free");
    for (int i = 0; i < N && p && alive; i++)
        if (kept[i] == p) { kept[i] = NULL; alive--; break; }
    real(p);
}
"""

FAILING = """
import ctypes
allocator = ctypes.CDLL(sys.argv[1])
countdown, alive = (ctypes.c_long.in_dll(allocator, name) for name in ("countdown", "alive"))
rnnfast.set_num_threads(2)
# small blocks, which go back to the C library at once, and large ones, of which some are kept
for I, H, T, B, kept in [(3, 5, 4, 2, 0), (20, 90, 30, 16, 8)]:
    network = rnnfast.LSTM(I, H, 2, bidirectional=True, seed=0)
    linear = rnnfast.Linear(2 * H, 7, seed=1)
    conv = rnnfast.Conv1d(7, H, 5, padding="causal", dilation=2, seed=2)
    x, lengths = normal(T, B, I), rng.integers(0, T + 1, B)

    def call():
        for layer in (network, linear, conv):
            layer.zero_grad()
        network._pack = None
        z, _ = network(x)
        y, _, tape = network.forward(x, lengths=lengths)
        out, linear_tape = linear.forward(y)
        out, conv_tape = conv.forward(out)
        dy = linear.backward(linear_tape, conv.backward(conv_tape, out))
        dx, _ = network.backward(tape, dy)
        grads = [grad.copy() for layer in (network, conv) for grad in layer.grads.values()]
        return [z, y, out, dy, dx, *grads]

    want = call()
    network._pack = None
    before, n, done = alive.value, 0, False
    while not done:
        n += 1
        for _ in range(3):
            countdown.value = n
            try:
                call()
                done = countdown.value > 0  # there are fewer than n
                assert done, "a failed allocation went unseen"
            except MemoryError:
                assert not any(grad.any() for grad in network.grads.values())
            countdown.value = 0
            network._pack = None
            leaked = alive.value - before
            assert leaked <= kept, f"{leaked} blocks leaked after failure {n}"
    assert all(np.array_equal(a, b) for a, b in zip(call(), want, strict=True))
    print(n)
"""


@pytest.fixture(scope="module")
def allocator(tmp_path_factory):
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("no C compiler here, or no LD_PRELOAD")
    library = tmp_path_factory.mktemp("allocator") / "allocator.so"
    source = library.with_suffix(".c")
    source.write_text(ALLOCATOR)
    subprocess.run([compiler, "-shared", "-fPIC", source, "-o", library, "-ldl"], check=True)
    return str(library)


def test_any_allocation_may_fail(runtime, allocator):
    """P12: every allocation of the engine fails once; nothing leaks, the next call is right."""
    allocations = python(FAILING, allocator, LD_PRELOAD=allocator)
    assert min(map(int, allocations)) > 4, allocations


# ---- forks

WORK = """
model = rnnfast.Sequential(
    rnnfast.LSTM(32, 96, seed=0), rnnfast.LayerNorm(96), rnnfast.Linear(96, 300, seed=1)
)
embedding = rnnfast.Embedding(100, 256, seed=2)
optimizer = rnnfast.Adam(model, lr=0.0)
x, ids = normal(40, 16, 32), rng.integers(0, 100, (40, 16))

def work(update=True):
    # every function that may start a team of threads
    y, _, tape = model.forward(x)
    model.backward(tape, y)
    rows, tape = embedding.forward(ids)
    embedding.backward(tape, rows)
    if update:
        optimizer.step()
    return y
"""

FORKS = (
    WORK
    + """
rnnfast.set_num_threads(3)
want = work()

def right():
    return np.array_equal(work(), want) and number_of_threads() <= threads

def child_is_right(body):
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # ends a child that hangs
        os._exit(0 if body() else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

threads = number_of_threads()
for i in range(20):
    assert child_is_right(right), f"fork {i}"
assert child_is_right(lambda: right() and child_is_right(right)), "a fork of a fork"

# forks while another thread computes, and holds what locks there are
stop = threading.Event()
def others():
    while not stop.is_set():
        work()
thread = threading.Thread(target=others)
thread.start()
try:
    for i in range(20):
        time.sleep(0.002 * rng.random())
        assert child_is_right(lambda: np.array_equal(work(), want)), f"fork {i} beside a thread"
finally:
    stop.set()
    thread.join()
assert np.array_equal(work(), want)
"""
)


@needs_fork
@needs_proc
def test_forked_children_compute():
    """P4: after a parallel call a child runs forward and backward, alone and beside threads."""
    python(FORKS)


POOLS = (
    START
    + WORK
    + """
import multiprocessing

def task(_):
    return work(), rnnfast.get_num_threads()

if __name__ == "__main__":
    rnnfast.set_num_threads(2)
    want = work()
    for method in multiprocessing.get_all_start_methods():
        with multiprocessing.get_context(method).Pool(2) as pool:
            for got, threads in pool.map_async(task, range(4), chunksize=1).get(20):
                assert np.array_equal(got, want), method
                assert threads == 1 or method != "fork"
        print(method)
"""
)


def test_multiprocessing_pools(tmp_path):
    """P4: every start method that this system has."""
    program = tmp_path / "pools.py"
    program.write_text(POOLS)
    result = subprocess.run(
        [sys.executable, program], env=environment(), capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr
    assert "spawn" in result.stdout.split()


# ---- threads

CALLERS = (
    WORK
    + """
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

def settled(most):
    end = time.monotonic() + 5
    while number_of_threads() > most and time.monotonic() < end:
        time.sleep(0.01)
    return number_of_threads()

before, callers = number_of_threads(), 8
for limit in map(int, sys.argv[1:]) or [None]:
    rnnfast.set_num_threads(limit)
    each = limit or rnnfast.get_num_threads()
    with ThreadPoolExecutor(callers) as pool:
        def call(_):
            return work(update=False), number_of_threads()
        results = list(pool.map(call, range(64)))
    most = max(threads for _, threads in results)
    assert most <= before + callers * each, f"{most} threads, {before} before, {each} a call"
    assert settled(before) <= before, "threads outlive their callers"
    for got, _ in results:
        assert np.array_equal(got, results[0][0])
    print(most)
"""
)


@needs_proc
def test_callers_in_many_threads_get_their_number_of_threads():
    """P5: each Python thread that calls has a team of its own, no larger than was asked for."""
    python(CALLERS, 1, 3, 2, 1)
    python(CALLERS, OMP_NUM_THREADS="1")


def step(layer, x):
    """One training step of a layer; its output and gradients."""
    layer.zero_grad()
    y, _, tape = layer.forward(x)
    dx, _ = layer.backward(tape, y)
    return {"y": y, "dx": dx, **{name: grad.copy() for name, grad in layer.grads.items()}}


def test_eight_threads_train_layers_of_their_own():
    """P17: with teams of threads, and large enough that these are used."""
    rng = np.random.default_rng(0)
    kinds = [rnnfast.LSTM, rnnfast.GRU, rnnfast.RNN]
    layers = [kinds[i % 3](20, 64, 1 + i % 2, bidirectional=i > 4, seed=i) for i in range(8)]
    xs = [rng.standard_normal((20, 1 + 3 * i, 20)).astype(np.float32) for i in range(8)]
    with rnnfast.num_threads(2), ThreadPoolExecutor(8) as pool:
        want = [step(layer, x) for layer, x in zip(layers, xs, strict=True)]
        for _ in range(8):
            for got, expected in zip(pool.map(step, layers, xs), want, strict=True):
                same_bits(got, expected, "with eight threads calling")


def test_eight_threads_serve_and_train_one_layer():
    """P17: outputs to the bit; gradients are added in any order."""
    rng = np.random.default_rng(1)
    layer = rnnfast.LSTM(20, 64, 2, seed=0)
    xs = [rng.standard_normal((20, 1 + i % 11, 20)).astype(np.float32) for i in range(48)]
    with rnnfast.num_threads(2), ThreadPoolExecutor(8) as pool:
        want = [step(layer, x) for x in xs]
        layer.zero_grad()
        layer._pack = None  # all threads find it missing

        def call(x):
            served, _ = layer(x)
            y, _, tape = layer.forward(x)
            dx, _ = layer.backward(tape, y)
            return {"y": y, "dx": dx}, served

        for (got, served), expected in zip(pool.map(call, xs), want, strict=True):
            same_bits(got, {name: expected[name] for name in got}, "with eight threads calling")
            same_bits({"y": served}, {"y": got["y"]}, "without training")
    for name, grad in layer.grads.items():
        total = sum(expected[name].astype(np.float64) for expected in want)
        scale = sum(np.abs(expected[name]) for expected in want).max()
        assert np.abs(grad - total).max() <= 48 * np.finfo(np.float32).eps * scale, name


# ---- the floating-point unit


def only_normal(results, dtype):
    for name, value in results.items():
        denormals = (value != 0) & (np.abs(value) < np.finfo(dtype).tiny)
        assert not denormals.any(), f"{denormals.sum()} of {value.size} in {name} are denormals"


def decaying(cell, dtype, B, T):
    """A network whose state, forward, and whose gradients, backward, fall to a tenth each step."""
    problem = make(Case(cell, B=B, T=T, I=3, H=40, L=2, D=2), dtype)
    H = 40
    for weights in problem.weights:
        b_ih = weights.b_ih
        weights.w_hh[...] *= 0.05
        for array in (weights.w_ih, b_ih, weights.b_hh):
            array[...] = 0.0
        if cell == "lstm":
            b_ih[:H] = b_ih[H : 2 * H] = -3.0  # input and forget gates all but closed
        elif cell.startswith("gru"):
            b_ih[H : 2 * H] = -3.0  # the state is replaced, by what is all but zero
    problem.x[...] = 0.0
    problem.dy[...] = 0.0
    return problem


@both_types
@every_cell
@pytest.mark.parametrize(("B", "threads"), [(1, 1), (1, 2), (24, 1), (24, 3)])
def test_decaying_states_become_zero(core, runtime, isa, cell, dtype, B, threads):
    """P6: no thread leaves a denormal in a state, an output or a gradient."""
    problem = decaying(cell, dtype, B, T=60 if dtype == np.float32 else 300)
    with runtime.num_threads(threads):
        results = run(core, problem)
    assert results["y"].any() and not results["h_n"].any() and not results["dh0"].any()
    only_normal(results, dtype)


@both_types
@every_cell
@pytest.mark.parametrize(("B", "threads"), [(1, 2), (24, 3)])
def test_denormal_inputs_count_as_zero(core, runtime, isa, cell, dtype, B, threads):
    """P6: neither is any thread slowed down by the caller's denormals."""
    results = []
    for value in (0.0, 1000 * np.finfo(dtype).smallest_subnormal):
        problem = make(Case(cell, B=B, T=6, I=40, H=130), dtype)
        given = (problem.x, problem.h0, problem.c0, problem.dy, problem.dh_n, problem.dc_n)
        for array in given:
            if array is not None:
                array[...] = value
        with runtime.num_threads(threads):
            results.append(run(core, problem))
    same_bits(results[1], results[0], "with denormals for zeros")


def on_denormals(module, function, dtype):
    """What a dense function makes of denormals; weights and scales are ones."""
    N, K = 600, 40
    small = np.finfo(dtype).smallest_subnormal
    x, dy = (small * np.arange(i, i + N * K).reshape(N, K).astype(dtype) for i in (1, 1000))
    weight, ones, zeros = np.ones((K, K), dtype), np.ones(K, dtype), np.zeros(K, dtype)
    wide, mean, rstd = np.empty_like(x), np.empty(N, dtype), np.ones(N, dtype)
    first, second = x.ravel().copy(), x.ravel().copy()
    given = np.ones_like(first), np.zeros_like(first)
    if function == "linear":
        module.linear(x, weight, zeros, wide)
        return {"y": wide}
    if function == "linear_backward":
        module.linear_backward(x, weight, dy, wide, weight - 1, zeros)
        return {"dx": wide, "dbias": zeros}
    if function == "layer_norm_backward":
        module.layer_norm_backward(x, ones, np.zeros(N, dtype), rstd, dy, wide, ones - 1, zeros)
        return {"dx": wide, "dbeta": zeros}
    if function == "layer_norm":
        module.layer_norm(x, ones, zeros, 1e-5, wide, mean, rstd)
        return {"y": wide, "mean": mean}
    if function == "sgd":
        module.sgd(*given, first, 0.1, 0.9, 0.0, False)
    elif function == "adam":
        module.adam(*given, first, second, 1e-3, 0.9, 0.999, 1e-8, 0.0, False, 9)
    elif function == "nadam":
        module.nadam(*given, first, second, 1e-3, 0.9, 0.999, 1e-8, 0.0, 0.5, 0.6, 0.5, 9)
    else:
        module.rmsprop(*given, first, second, 1e-3, 0.9, 1e-8, 0.9, 0.0)
    return {"first": first, "second": second if function != "sgd" else first}


@both_types
@pytest.mark.parametrize(
    "function",
    [
        *("linear", "linear_backward", "layer_norm", "layer_norm_backward"),
        *("sgd", "adam", "nadam", "rmsprop"),
    ],
)
def test_dense_functions_leave_no_denormals(core_dense, runtime, isa, function, dtype):
    """P6: as the moments of weights that get no gradient, which would decay to a denormal."""
    with runtime.num_threads(2):
        only_normal(on_denormals(core_dense, function, dtype), dtype)


# stmxcsr [rdi]; ret. The six flags that any operation raises do not count. The team of threads is
# asked through GCC's OpenMP, which keeps the same one for a caller.
CONTROL_WORDS = """
import ctypes, mmap
code = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
code.write(bytes([0x0F, 0xAE, 0x1F, 0xC3]))
store = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(ctypes.addressof(ctypes.c_char.from_buffer(code)))

def word():
    value = ctypes.c_uint32()
    store(ctypes.addressof(value))
    return value.value & 0xFFC0
"""

TEAM = """
import os, sys, threading
libraries = {line.split()[-1] for line in open("/proc/self/maps") if "libgomp" in line}
if not libraries:
    print("no libgomp")
    sys.exit()
gomp, seen = ctypes.CDLL(libraries.pop()), {}

@ctypes.CFUNCTYPE(None, ctypes.c_void_p)
def note(_):
    seen[threading.get_native_id()] = word()

def team():
    seen.clear()
    gomp.GOMP_parallel(note, None, 3, 0)
    return dict(seen)

before = team()
assert len(before) == 3
rnnfast.set_num_threads(3)
for cell in (rnnfast.RNN, rnnfast.LSTM, rnnfast.GRU):
    for B in (1, 24):
        layer, x = cell(40, 96), np.ones((20, B, 40), np.float32)
        y, _, tape = layer.forward(x)
        layer.backward(tape, y)
linear = rnnfast.Linear(200, 200)
y, tape = linear.forward(np.ones((200, 200), np.float32))
linear.backward(tape, y)
rnnfast.AdamW(linear).step()
rnnfast.LayerNorm(200)(y)
assert team() == before, "the same threads, in the same state"
assert set(before.values()) == {at_start}
"""


@pytest.mark.skipif(
    sys.platform != "linux" or os.uname().machine != "x86_64", reason="not Linux on x86-64"
)
def test_floating_point_state_survives_import_and_calls_in_every_thread(runtime):
    """P7: the threads of the team too, which other libraries may use next."""
    code = "at_start = word()\nimport numpy as np\nimport rnnfast\nassert word() == at_start\n"
    if python(code + TEAM, start=CONTROL_WORDS):
        pytest.skip("the engine's OpenMP is not GCC's")


# ---- damaged files

NUMBERS = [b"0", b"-1", b"7", b"99999", b"1e9", b"123456789012345678901", b"null", b"[]", b"{}"]


def damaged(rng, data):
    """Return bytes with a fault of some kind."""
    data, kind = bytearray(data), rng.integers(6)
    first, last = sorted(rng.integers(0, len(data) + 1, 2))
    last = min(last, first + 40)
    if kind == 0:  # bits turn over
        for i in rng.integers(0, len(data), rng.integers(1, 4)):
            data[i] ^= 1 << rng.integers(8)
    elif kind == 1:  # some of it is lost
        del data[first:last]
    elif kind == 2:  # is there twice
        data[first:first] = data[first:last]
    elif kind == 3:  # is something else
        data[first:last] = rng.bytes(last - first)
    elif kind == 4:  # its end is missing
        del data[first:]
    else:  # a number is another one
        digits = [i for i, byte in enumerate(data) if byte in b"0123456789"]
        i = digits[rng.integers(len(digits))]
        data[i : i + 1] = NUMBERS[rng.integers(len(NUMBERS))]
    return bytes(data)


def damaged_inside(rng, arrays, text, write):
    """Return a file that is whole, but its contents are not."""
    name = list(arrays)[rng.integers(len(arrays))]
    array, kind = arrays[name], rng.integers(5)
    if kind == 0:
        text = damaged(rng, text.encode()).decode(errors="replace")
    elif kind == 1:
        arrays = {other: value for other, value in arrays.items() if other != name}
    elif kind == 2:
        arrays = {damaged(rng, name.encode() + b"0").decode("ascii", "replace"): array, **arrays}
    elif kind == 3:
        shape = rng.permutation([*array.shape, 1, rng.integers(3)])
        arrays = {**arrays, name: np.resize(array, shape)}
    else:
        arrays = {**arrays, name: array.astype(rng.choice(["f2", "f8", "i8", "u1", "?"]))}
    file = BytesIO()
    write(file, arrays, text)
    return file.getvalue()


def with_damaged_header(rng, whole):
    """Return a safetensors file whose header is damaged and has the length that it says."""
    size = int.from_bytes(whole[:8], "little")
    header = damaged(rng, whole[8 : 8 + size])
    return len(header).to_bytes(8, "little") + header + whole[8 + size :]


@contextmanager
def memory_limit(more):
    """Let this process take `more` bytes than it has, not more; the next one is a MemoryError."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + more, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@needs_proc
@pytest.mark.parametrize("what", ["model", "state", "file of arrays"])
@pytest.mark.parametrize("ending", [".npz", ".safetensors"])
def test_damaged_files_are_refused_or_harmless(tmp_path, ending, what):
    """P14: 15,000 in all. Nothing but ValueError, and no memory for what they claim to be."""
    path = tmp_path / f"file{ending}"
    write = io._write_npz
    if ending == ".safetensors":
        pytest.importorskip("safetensors", reason="safetensors is not installed")
        write = io._write_safetensors
    model = rnnfast.Sequential(
        rnnfast.GRU(1, 2, seed=1), rnnfast.LayerNorm(2), rnnfast.Linear(2, 1)
    )
    if what == "state":
        io.save_state(rnnfast.SGD(model, momentum=0.5).state_dict(), path)
    else:
        rnnfast.save(model, path)
    read = {"model": rnnfast.load, "state": io.load_state}.get(what, rnnfast.load_arrays)
    with io._opened(path, what) as (_, file, size):
        text, arrays = file.text, dict(io._read_all(file, size))
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    with memory_limit(32 << 20):
        for i in range(2500):
            if i % 3 == 0:
                data = damaged(rng, whole)
            elif i % 3 == 1 or ending == ".npz":
                data = damaged_inside(rng, arrays, text, write)
            else:
                data = with_damaged_header(rng, whole)
            path.write_bytes(data)
            try:
                read(path)
            except ValueError as error:
                message = f"{path} is not a {what} that rnnfast can load: "
                assert str(error).startswith(message)
                assert len(str(error)) > len(message)
                refused += 1
    least = 500 if what == "file of arrays" else 1000  # damage to a description that nobody reads
    assert least < refused < 2500


# ---- signals

KILLS = """
path = sys.argv[1]
models = [rnnfast.Linear(300, 200) for _ in range(2)]
for value, model in enumerate(models):
    for name, param in model.params.items():
        model.params[name] = np.full(param.shape, value)
rnnfast.save(models[0], path)
killed = 0
for i in range(25):
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, b".")
        for k in range(10**6):
            rnnfast.save(models[k % 2], path)
    os.read(read, 1)
    time.sleep(rng.uniform(0.0, 0.02))
    os.kill(child, signal.SIGKILL)
    killed += os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    os.close(read)
    os.close(write)
    values = {float(v) for param in rnnfast.load(path).params.values() for v in param.ravel()}
    assert len(values) == 1, f"kill {i} left a mixture"
print(killed)
"""


@needs_fork
@pytest.mark.parametrize("ending", [".npz", ".safetensors"])
def test_kill_while_saving_leaves_a_whole_file(tmp_path, ending):
    """P15: the older file or the newer one, at whatever moment the process dies."""
    if ending == ".safetensors":
        pytest.importorskip("safetensors", reason="safetensors is not installed")
    assert python(KILLS, tmp_path / f"model{ending}") == ["25"]


# Each child continues from the checkpoint of the one before, with a model of its own whose weights
# and masks are other ones until the checkpoint is read.
RESUME = """
path = sys.argv[1]
x, lengths = normal(64, 9, 3), rng.integers(1, 10, 64)
y = (x.sum(axis=(1, 2)) > 0).astype(int)

def train(seed, resume=None, callbacks=()):
    model = rnnfast.Sequential(
        rnnfast.LSTM(3, 12, 2, dropout=0.3, batch_first=True, seed=seed),
        rnnfast.Dropout(0.2, seed=seed),
        rnnfast.Last(batch_first=True),
        rnnfast.Linear(12, 2, seed=seed),
    )
    adam = rnnfast.Adam(model, lr=0.02)
    plateau = rnnfast.ReduceLROnPlateau(adam, factor=0.5, patience=1)
    stop = rnnfast.EarlyStopping(patience=1000)
    history = rnnfast.fit(
        model, (x, y, lengths), loss=rnnfast.losses.softmax_cross_entropy, optimizer=adam,
        epochs=30, batch_size=8, validation_split=0.25, bucket=True, seed=seed, resume=resume,
        callbacks=[plateau, stop, *callbacks],
    )
    del history["seconds"]
    results = [dict(history), history.batch_losses, model.state_dict(), adam.state_dict()]
    return results + [plateau.state_dict(), stop.state_dict()]

want = train(0)
kills = 0
while True:
    child = os.fork()
    if child == 0:
        earlier = path if os.path.exists(path) else None
        train(1 if earlier else 0, earlier, [rnnfast.Checkpoint(path)])
        os._exit(0)
    time.sleep(rng.uniform(0.0, 0.04 + 0.004 * kills))  # in the end a child has the time it needs
    os.kill(child, signal.SIGKILL)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0:
        break
    kills += 1
got = train(1, path, [rnnfast.Checkpoint(path)])
np.testing.assert_equal(got, want)
print(kills)
"""


@needs_fork
@pytest.mark.parametrize("ending", [".npz", ".safetensors"])
def test_killed_training_resumes_to_the_same_bits(tmp_path, ending):
    """P15: whatever the moments at which it was killed."""
    if ending == ".safetensors":
        pytest.importorskip("safetensors", reason="safetensors is not installed")
    (kills,) = python(RESUME, tmp_path / f"position{ending}")
    assert int(kills) > 1


# Forward is interrupted in a call that would take seconds, backward in one that takes longer than
# the forward pass that was timed.
INTERRUPT = """
direction, threads = sys.argv[1], int(sys.argv[2])
rnnfast.set_num_threads(threads)
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
layer = rnnfast.LSTM(8, 384, seed=0)
B = 16

def seconds(call):
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result

def steps(n):
    return np.broadcast_to(np.float32(0.5), (n, B, 8))

def interrupted(call):
    def interrupt():
        global sent
        sent = time.perf_counter()
        os.kill(os.getpid(), signal.SIGINT)
    timer = threading.Timer(0.3, interrupt)
    timer.start()
    try:
        call()
    except KeyboardInterrupt:
        return time.perf_counter() - sent
    raise AssertionError("the call was not interrupted, or had ended before")

call = layer if direction == "inference" else layer.forward
want, *_ = call(steps(50))
step = min(seconds(lambda: call(steps(50)))[0] for _ in range(3)) / 50
for grad in layer.grads.values():
    grad.fill(7.0)
if direction == "backward":
    whole, (y, _, tape) = seconds(lambda: layer.forward(steps(int(1.0 / step))))
    late = interrupted(lambda: layer.backward(tape, y))
else:
    whole = 10.0 if direction == "inference" else 3.0  # whose tape still fits into memory
    late = interrupted(lambda: call(steps(int(whole / step))))
assert late < 0.3 * whole, f"{late} s after the signal, of a call of some {whole} s"
assert all((grad == 7.0).all() for grad in layer.grads.values()), "gradients were written"
y, _, tape = layer.forward(steps(50))
assert np.array_equal(y, want)
layer.backward(tape, y)
print(late)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("direction", ["inference", "forward", "backward"])
def test_interrupt_ends_a_long_call(runtime, direction, threads):
    """P16: KeyboardInterrupt soon, gradients untouched, the layer usable."""
    python(INTERRUPT, direction, threads)


# ---- other libraries, other processors

ORDERS = """
def load_rnnfast():
    global rnnfast
    import rnnfast
    rnnfast.set_num_threads(2)

def load_torch():
    global torch
    import torch
    torch.set_num_threads(2)

def load_sklearn():
    import sklearn.cluster

def call_rnnfast():
    layer = rnnfast.GRU(30, 100, seed=0)
    y, _, tape = layer.forward(x)
    layer.backward(tape, y)
    return [y, *layer.grads.values()]

def call_torch():
    layer = torch.nn.GRU(30, 100)
    state = rnnfast.GRU(30, 100, seed=0).state_dict()
    layer.load_state_dict({name: torch.tensor(value) for name, value in state.items()})
    y, _ = layer(torch.tensor(x))
    y.square().sum().backward()
    return [y.detach().numpy()]

def call_sklearn():
    from sklearn.cluster import KMeans
    return [KMeans(4, n_init=2, random_state=0).fit(x.reshape(-1, 30)).inertia_]

import sys
import numpy as np
x = np.random.default_rng(0).standard_normal((40, 16, 30)).astype(np.float32)
for name in sys.argv[1:]:
    globals()["load_" + name]()
results = {}
for _ in range(3):
    for name in sys.argv[1:]:
        results.setdefault(name, []).append(globals()["call_" + name]())
for first, *others in results.values():
    for other in others:
        assert all(np.allclose(a, b, rtol=1e-6) for a, b in zip(first, other, strict=True))
if "torch" in results:
    assert np.abs(results["torch"][0][0] - results["rnnfast"][0][0]).max() < 1e-5
import hashlib
print(*(hashlib.sha256(array.tobytes()).hexdigest() for array in results["rnnfast"][0]))
"""


@pytest.mark.parametrize("library", ["torch", "sklearn"])
def test_import_order_does_not_matter(library):
    """P18: each has an OpenMP of its own, perhaps another one."""
    if find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    alone = python(ORDERS, "rnnfast", start="")
    assert python(ORDERS, "rnnfast", library, start="") == alone
    assert python(ORDERS, library, "rnnfast", start="") == alone


EMULATED = """
from rnnfast.core import dense, kernels, recurrent, runtime
usable = sys.argv[1].split(",")
assert runtime.instruction_sets() == usable and runtime.isa() == usable[-1]
for name in kernels.built():
    if name not in usable:
        os.environ["RNNFAST_ISA"] = name
        for call in (lambda: kernels.select(), lambda: runtime.set_isa(name)):
            try:
                call()
                raise AssertionError(f"{name} was accepted")
            except ValueError as error:
                assert name in str(error) and usable[-1] in str(error)

def train(kind, dtype):
    layer = kind(5, 37, 2, bidirectional=True, dtype=dtype, seed=0)
    linear, norm = rnnfast.Linear(74, 9, dtype=dtype, seed=1), rnnfast.LayerNorm(9, dtype=dtype)
    model = rnnfast.Sequential(layer, linear, norm)
    x = np.random.default_rng(0).standard_normal((4, 7, 5)).astype(dtype)
    y, _, tape = model.forward(x, lengths=[4, 0, 3, 1, 4, 2, 4])
    dx, _ = model.backward(tape, y)
    results = [y, dx, *(grad.copy() for grad in model.grads.values())]
    for optimizer in (rnnfast.SGD, rnnfast.Adam, rnnfast.RMSprop):
        optimizer(model, 1e-3, weight_decay=0.1).step()
    return results  # not the parameters: updates by the gradient's sign make much of little

for dtype in (np.float32, np.float64):
    for kind in (rnnfast.RNN, rnnfast.LSTM, rnnfast.GRU):
        with rnnfast.backend.use("reference"):
            want = train(kind, dtype)
        for name in usable:
            runtime.set_isa(name)
            for a, b in zip(train(kind, dtype), want, strict=True):
                assert np.allclose(a, b, rtol=1e-3, atol=1e-4), (name, kind)
        print(kind.__name__)
"""


@pytest.mark.skipif(sys.platform != "linux" or os.uname().machine != "x86_64", reason="not x86-64")
@pytest.mark.parametrize(
    ("processor", "usable"),
    [
        ("Nehalem", "baseline"),
        ("SandyBridge", "baseline"),
        ("Haswell,-fma", "baseline"),
        ("Haswell,-xsave", "baseline"),
        ("Haswell", "baseline,avx2"),
    ],
)
def test_older_processors_meet_no_instruction_they_lack(runtime, processor, usable):
    """P20: on processors that qemu emulates, which ends a program at the first such instruction."""
    emulator = shutil.which("qemu-x86_64") or shutil.which("qemu-x86_64-static")
    if emulator is None:
        pytest.skip("qemu-user is not installed")
    # NumPy's own BLAS does not always ask what it may use
    blas = {"OPENBLAS_CORETYPE": "Prescott", "OPENBLAS_NUM_THREADS": "1"}
    cells = python(EMULATED, usable, under=[emulator, "-cpu", processor], **blas)
    assert cells == ["RNN", "LSTM", "GRU"] * 2

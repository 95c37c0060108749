"""Thread counts, instruction sets and the report on both."""

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from processes import needs_fork, run_code

import rnnfast
from rnnfast.core import runtime

engine = runtime.kernels
needs_engine = pytest.mark.skipif(
    engine is None, reason=f"the compiled core is not built: {runtime.failure}"
)
needs_openmp = pytest.mark.skipif(
    engine is None or not engine.openmp(), reason="the engine is not there, or without OpenMP"
)


@pytest.fixture(autouse=True)
def automatic():
    """Start from, and go back to, no explicit number of threads."""
    with runtime.num_threads(None):
        yield


# ---- explicit numbers


def test_a_number_that_was_set_wins_over_everything():
    for n in (1, 2, 3, 7, np.int64(5)):
        runtime.set_num_threads(n)
        assert runtime.get_num_threads() == n
        assert engine is None or engine.thread_limit() == n
    runtime.set_num_threads(None)
    assert engine is None or engine.thread_limit() == 0
    assert runtime.get_num_threads() <= runtime._cap


def test_num_threads_gives_back_what_was_before():
    automatic = runtime.get_num_threads()
    with runtime.num_threads(5):
        with pytest.raises(KeyError), runtime.num_threads(3):
            assert runtime.get_num_threads() == 3
            raise KeyError
        assert runtime.get_num_threads() == 5
        with runtime.num_threads(None):
            assert runtime.get_num_threads() == automatic
        assert runtime.get_num_threads() == 5
    assert runtime.get_num_threads() == automatic
    assert engine is None or engine.thread_limit() == 0


@pytest.mark.parametrize("bad", [True, False, 2.0, "2", [2], np.float32(2), np.array([1, 2])])
def test_only_integers_are_numbers_of_threads(bad):
    runtime.set_num_threads(3)
    with pytest.raises(TypeError, match="n expected an integer number of threads, got"):
        runtime.set_num_threads(bad)
    with pytest.raises(TypeError, match="n expected"), runtime.num_threads(bad):
        pass
    assert runtime.get_num_threads() == 3


@pytest.mark.parametrize("bad", [0, -1, 1025, 2**31, 2**70])
def test_numbers_of_threads_out_of_range(bad):
    runtime.set_num_threads(3)
    with pytest.raises(ValueError, match=f"n expected .* from 1 to 1024, got {bad}"):
        runtime.set_num_threads(bad)
    with pytest.raises(ValueError, match="n expected"), runtime.num_threads(bad):
        pass
    assert runtime.get_num_threads() == 3


# ---- what the machine grants

NUMBER = "import rnnfast; print(rnnfast.get_num_threads())"


@needs_openmp
def test_omp_num_threads_is_obeyed_up_to_the_processors():
    assert run_code(NUMBER, OMP_NUM_THREADS="1") == "1"
    assert run_code(NUMBER, OMP_NUM_THREADS="900") == str(runtime._cap)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_affinity_is_obeyed():
    first = min(os.sched_getaffinity(0))
    code = f"import os; os.sched_setaffinity(0, [{first}]); {NUMBER}"
    assert run_code(code) == "1"
    assert run_code(code, OMP_NUM_THREADS="4") == "1"


@needs_openmp
def test_threads_that_openmp_binds_are_not_taken_for_a_small_mask():
    assert run_code(NUMBER, OMP_PROC_BIND="true") == run_code(NUMBER)


@needs_openmp
def test_threadpoolctl_sees_and_steers_the_engine():
    threadpoolctl = pytest.importorskip("threadpoolctl")
    with threadpoolctl.threadpool_limits(1, user_api="openmp"):
        assert runtime.get_num_threads() == 1


def times(*shares, length=0.1):
    """Add up what a thread has run and waited, for the share of each look that it waited."""
    ran, waited = np.cumsum([(length * (1 - share), length * share) for share in shares], axis=0).T
    return list(zip(ran.tolist(), waited.tolist(), strict=True))


@needs_engine
def test_a_thread_that_waits_for_its_processor_finds_it_taken():
    """P5, P33."""
    taken, free = 0.6, 0.02
    assert engine.judged(times(*[free] * 9)) == [False] * 9
    assert engine.judged(times(free, taken, free, taken, free)) == [False] * 5  # for moments only
    looks = times(free, taken, taken, *[free] * 3, taken, *[free] * 5)
    assert engine.judged(looks) == [False] * 2 + [True] * 8 + [False] * 2
    assert engine.judged(times(*[taken] * 9, length=0.001)) == [False] * 9  # it slept
    # a thread that calls rarely forgets in the end
    rare = [(0.1, 0.2), (0.2, 0.4), *((0.2 + 0.005 * i, 0.4) for i in range(1, 40))]
    assert engine.judged(rare)[1] and not engine.judged(rare)[-1]


SECOND = 1_000_000_000


@needs_engine
def test_members_on_threads_of_a_host_are_those_that_come_in_time():
    from rnnfast.core.job import gather

    together = np.zeros(1, np.int32)
    with ThreadPoolExecutor(3) as pool:
        came = list(pool.map(lambda _: gather(together, 3, 60 * SECOND), range(3)))
    assert sorted(came) == [(0, 3), (1, 3), (2, 3)]
    assert gather(together, 3, 0) == (-1, 0)

    alone = np.zeros(1, np.int32)  # members one after the other
    assert [gather(alone, 3, 1000) for _ in range(3)] == [(0, 1), (-1, 0), (-1, 0)]

    two_of_three = np.zeros(1, np.int32)
    with ThreadPoolExecutor(2) as pool:
        came = list(pool.map(lambda _: gather(two_of_three, 3, 2 * SECOND), range(2)))
    assert sorted(came) == [(0, 2), (1, 2)]
    assert gather(two_of_three, 3, 0) == (-1, 0)


def test_serial_engine_has_one_thread():
    if engine is None or engine.openmp():
        pytest.skip("the engine is not there, or has OpenMP")
    assert runtime.get_num_threads() == 1


V1, V2 = ("cpu.cfs_quota_us", "cpu.cfs_period_us"), ("cpu.max",)


@pytest.mark.parametrize(
    ("listing", "files", "quota"),
    [
        ("0::/", {"cpu.max": "150000 100000"}, 1.5),
        ("0::/a/b", {"cpu.max": "max 100000", "a/cpu.max": "50000 100000"}, 0.5),
        ("0::/a/b", {"a/cpu.max": "400000 100000", "a/b/cpu.max": "max 100000"}, 4.0),
        ("0::/a/b", {"a/cpu.max": "200000 100000", "a/b/cpu.max": "300000 100000"}, 2.0),
        ("0::/host/path/of/a/container", {"cpu.max": "300000 100000"}, 3.0),
        ("0::/", {"cpu.max": "max 100000"}, None),
        ("0::/", {"cpu.max": "nonsense"}, None),
        ("0::/", {"cpu.max": "1 0"}, None),
        ("0::/", {}, None),
        ("", {"cpu.max": "150000 100000"}, None),
        (
            "7:memory:/m\n4:cpu,cpuacct:/a:b\n1:name=systemd:/",
            {"cpu/a:b/cpu.cfs_quota_us": "250000", "cpu/a:b/cpu.cfs_period_us": "100000"},
            2.5,
        ),
        (
            "1:cpuacct,cpu:/gone",
            {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"},
            None,
        ),
        ("1:cpuset:/", {"cpu.max": "150000 100000"}, None),
    ],
)
def test_cgroup_quota(tmp_path, listing, files, quota):
    (tmp_path / "cgroup").write_text(listing)
    for name, text in files.items():
        file = tmp_path / "mount" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")
    assert runtime._cgroup_quota(str(tmp_path / "cgroup"), str(tmp_path / "mount")) == quota


def test_caches(tmp_path):
    described = [("1", "Data", "48K"), ("1", "Instruction", "32K"), ("2", "Unified", "2048K")]
    for index, values in enumerate(described):
        folder = tmp_path / f"index{index}"
        folder.mkdir()
        for name, value in zip(("level", "type", "size"), values, strict=True):
            (folder / name).write_text(value + "\n")
    assert runtime._caches(str(tmp_path)) == {"L1": 48 << 10, "L2": 2 << 20}
    assert runtime._caches(str(tmp_path / "nowhere")) == {}


@pytest.mark.parametrize(("quota", "want"), [(None, 8), (0.2, 1), (1.5, 2), (3.0, 3), (99.0, 8)])
def test_quota_is_rounded_up_and_never_above_affinity(monkeypatch, quota, want):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setattr(runtime, "_cgroup_quota", lambda: quota)
    assert runtime._processors() == want


@needs_fork
def test_forked_child_keeps_to_one_thread():
    code = """
import os, rnnfast
from rnnfast.core.runtime import kernels
rnnfast.set_num_threads(3)
child = os.fork()
if child == 0:
    seen = [rnnfast.get_num_threads(), kernels.thread_limit() if kernels else 1]
    with rnnfast.num_threads(4):
        seen += [rnnfast.get_num_threads(), kernels.thread_limit() if kernels else 1]
    os._exit(0 if seen == [1, 1, 1, 1] else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), rnnfast.get_num_threads())
"""
    assert run_code(code) == "0 3"


# ---- instruction sets


@needs_engine
def test_every_usable_instruction_set_can_be_chosen():
    default = runtime.isa()
    usable = runtime.instruction_sets()
    assert usable and set(usable) <= set(engine.built())
    assert usable[0] == "baseline"
    for name in usable:
        runtime.set_isa(name)
        assert runtime.isa() == name
        code = "from rnnfast.core import recurrent, runtime; print(runtime.isa())"
        assert run_code(code, RNNFAST_ISA=name) == name
    runtime.set_isa(None)
    assert runtime.isa() == default


def test_unusable_instruction_sets_are_refused():
    before = runtime.isa()
    for bad in ("sse17", "", "AVX2", 2):
        message = f"name expected .*usable here.*built.*got {bad!r}"
        with pytest.raises(ValueError, match=message) as caught:
            runtime.set_isa(bad)
        assert all(name in str(caught.value) for name in runtime.instruction_sets())
    assert runtime.isa() == before


# ---- the report


def test_show_config_says_what_runs(capsys):
    runtime.set_num_threads(3)
    assert rnnfast.show_config() is None
    rows = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert rows["rnnfast"] == rnnfast.__version__
    assert rows["numpy"] == np.__version__
    sizes = re.findall(r"(L\d) (\d+) KB", rows["caches"])
    assert {name: int(size) << 10 for name, size in sizes} == runtime.caches
    assert sizes or rows["caches"] == "unknown"
    assert rows["threads"] == f"3 (processors: {runtime._cap}; set_num_threads: 3)"
    if engine is not None:
        assert rows["compiler"] == engine.compiler()
        assert rows["openmp"].startswith("yes" if engine.openmp() else "no")
        assert f"{runtime.isa()} chosen" in rows["instruction"]


def run_info(*setup, **environment):
    code = ";".join([*setup, "import runpy, sys", "sys.argv = ['rnnfast', 'info']"])
    kept = {k: v for k, v in os.environ.items() if not k.startswith("RNNFAST_")}
    return subprocess.run(
        [sys.executable, "-c", f"{code}; runpy.run_module('rnnfast', run_name='__main__')"],
        env={**kept, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


@needs_engine
def test_info_prints_the_same(capsys):
    rnnfast.show_config()
    result = run_info()
    assert result.returncode == 0, result.stderr
    assert result.stdout == capsys.readouterr().out


HIDE_ENGINE = "import sys; sys.modules['rnnfast.core.kernels'] = None"


def test_info_says_that_the_engine_is_missing():
    result = run_info(HIDE_ENGINE)
    assert result.returncode == 0, result.stderr
    assert "backend           reference\n" in result.stdout
    assert "engine            not in use: ModuleNotFoundError: " in result.stdout
    assert "rnnfast.core.kernels" in result.stdout
    assert "RuntimeWarning: the compiled engine is missing" in result.stderr
    assert "RuntimeWarning" not in run_info(HIDE_ENGINE, RNNFAST_BACKEND="reference").stderr


@needs_engine
def test_instruction_set_beyond_the_machine_is_refused_where_the_engine_is_used():
    result = run_info(RNNFAST_ISA="sse17")
    assert result.returncode == 1
    for text in (result.stdout, result.stderr):
        assert "RNNFAST_ISA" in text and "'sse17'" in text and "baseline" in text
    result = run_info(RNNFAST_ISA="sse17", RNNFAST_BACKEND="reference")
    assert result.returncode == 0, result.stderr
    assert "backend           reference\n" in result.stdout
    with pytest.raises(AssertionError, match=r"RuntimeError: RNNFAST_ISA.*sse17"):
        run_code("import rnnfast.core.recurrent", RNNFAST_ISA="sse17")


def test_without_the_engine_the_thread_functions_still_answer():
    code = f"""
{HIDE_ENGINE}
import os, rnnfast
from rnnfast.core import runtime
assert rnnfast.get_num_threads() == runtime._cap
with rnnfast.num_threads(3):
    assert rnnfast.get_num_threads() == 3
print(runtime.instruction_sets(), runtime.isa())
"""
    assert run_code(code) == "[] none"

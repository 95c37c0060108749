"""Options, settings, the table and the file of results."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import pytest
from report import describe, save

from rnnfast import backend
from rnnfast.bench import Call, Peak, clock, plan, row
from rnnfast.core import runtime

RECORDS = pytest.StashKey[list[dict[str, Any]]]()
CASE = ("task", "cell", "B", "T", "I", "H")
# For each number of the reference, which is up to a hundred times slower; two rounds at least.
REFERENCE_SECONDS = 0.3


@dataclass(frozen=True)
class Setting:
    """What computes. The reference runs on the threads that NumPy's BLAS chooses."""

    engine: str
    isa: str | None = None
    threads: int | None = None

    def __str__(self) -> str:
        return self.engine if self.isa is None else f"{self.isa}-{self.threads}"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("rnnfast")
    group.addoption("--threads", default="", help="for instance 1,2; default: as rnnfast info says")
    group.addoption("--isa", default="", help="for instance avx2,avx512; default: the best")
    group.addoption("--dtype", choices=["float32", "float64"], default="float32")
    group.addoption("--seconds", type=float, default=0.5, help="spent on each number; default 0.5")
    group.addoption("--save", action="store_true", help="write results/PROCESSOR-DATE.json")


def chosen(option: Any) -> tuple[list[str], list[int]]:
    """Return the instruction sets and the thread counts that were asked for."""
    isas = [name for name in option.isa.split(",") if name] or [runtime.isa()]
    threads = [int(n) for n in option.threads.split(",") if n] or [runtime.get_num_threads()]
    return isas, threads


def pytest_configure(config: pytest.Config) -> None:
    usable = runtime.instruction_sets()
    if not usable:
        raise pytest.UsageError(f"benchmarks need the compiled engine: {runtime.failure}")
    if not set(chosen(config.option)[0]) <= set(usable):
        raise pytest.UsageError(f"--isa expected some of {usable}, got {config.option.isa!r}")
    config.option.benchmark_quiet = True  # our table says it in fewer columns
    config.stash[RECORDS] = []


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    # The settings of a case run one after the other, so that a drifting machine hits them alike.
    isas, threads = chosen(metafunc.config.option)
    settings = [Setting("core", isa, n) for isa in isas for n in threads]
    metafunc.parametrize("setting", [Setting("reference"), *settings], ids=str)


@pytest.fixture
def dtype(request: pytest.FixtureRequest) -> str:
    return request.config.option.dtype


@pytest.fixture
def bench(
    request: pytest.FixtureRequest, benchmark: Any, setting: Setting, dtype: str
) -> Iterator[Callable[..., None]]:
    """Time a call under the setting, and record it."""
    option = request.config.option

    def bench(call: Call, flops: int, **case: Any) -> None:
        if setting.engine == "reference":
            peak = None
            calls, rounds = plan(call, min(option.seconds, REFERENCE_SECONDS), 2, 10)
        else:
            peak = Peak(dtype)
            calls, rounds = plan(call, option.seconds)
        sample = peak.sample if peak else None
        benchmark.pedantic(clock, args=(call, calls), setup=sample, rounds=rounds)
        if benchmark.stats is None:  # --benchmark-disable
            return
        record = {**case, **asdict(setting), "dtype": dtype, "calls_per_round": calls}
        seconds = [round_ / calls for round_ in benchmark.stats.stats.data]
        record |= {"median_us": 1e6 * median(seconds), "min_us": 1e6 * min(seconds)}
        record["gflops"] = flops / median(seconds) / 1e9
        if peak:
            record["peak_gflops"] = peak.gflops
            record["percent_of_peak"] = 100 * record["gflops"] / peak.gflops
        record["rounds_us"] = [1e6 * s for s in seconds]
        request.config.stash[RECORDS].append(record)

    before = runtime.isa()
    runtime.set_isa(setting.isa)
    with backend.use(setting.engine), runtime.num_threads(setting.threads):
        yield bench
    runtime.set_isa(before)


# ---- what is printed and written


def compare(records: list[dict[str, Any]]) -> None:
    """Add to each result of the engine how many times faster than others it is."""

    def key(record: dict[str, Any], *setting: Any) -> tuple[Any, ...]:
        return (*setting, *(record[name] for name in CASE))

    medians = {key(r, r["engine"], r["isa"], r["threads"]): r["median_us"] for r in records}
    for r in records:
        if r["engine"] == "core":
            others = {"x_reference": ("reference", None, None), "x_1_thread": ("core", r["isa"], 1)}
            for name, setting in others.items():
                if key(r, *setting) in medians:
                    r[name] = medians[key(r, *setting)] / r["median_us"]


COLUMNS = {
    "microseconds": "median_us",
    "GFLOP/s": "gflops",
    "% of peak": "percent_of_peak",
    "peak": "peak_gflops",
    "x reference": "x_reference",
    "x 1 thread": "x_1_thread",
}


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    say = terminalreporter.write_line
    records = config.stash[RECORDS]
    compare(records)
    core = [r for r in records if r["engine"] == "core"]
    columns = {title: name for title, name in COLUMNS.items() if any(name in r for r in core)}
    heading = None
    for r in sorted(core, key=lambda r: (r["isa"], r["threads"], r["task"])):
        if heading != (heading := (r["isa"], r["threads"], r["task"])):
            say(f"\n{r['isa']}, {r['dtype']}, threads: {r['threads']}")
            say(row(r["task"], "B, T, I, H", *columns))
        shape = ", ".join(str(r[letter]) for letter in "BTIH")
        say(row(r["cell"], shape, *(r.get(name, "") for name in columns.values())))
    unsteady = sum(r["median_us"] > 1.2 * r["min_us"] for r in core)
    if unsteady:
        say(
            f"\n{unsteady} of {len(core)} medians are over 1.2 times the fastest round: is the "
            "machine doing something else?"
        )
    if config.option.save and records:
        say(f"\nwritten: results/{save(describe(records)).name}")

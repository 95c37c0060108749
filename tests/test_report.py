"""What compare.py's records come to: the pages hold it, and processors do not touch each other."""

import copy

import compare
import pytest
import report


@pytest.fixture
def records(tmp_path, monkeypatch):
    """The records, which a test may add to."""
    found = report.comparisons()
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    for data in found:
        report.save(data, "compare-", by="isa")
    return found


def written(page, begin=report.BEGIN):
    before, after = report.split_page(page, begin)
    return page.read_text()[len(before) : -len(after)].strip()


def test_pages_hold_what_the_records_say():
    records = report.comparisons()
    assert records
    assert written(report.ROOT / "docs" / "performance.md") == report.all_sections(records).strip()
    readme = report.ROOT / "README.md"
    assert written(readme, report.BEGIN_RANGE) == report.range_of(records)
    both = f"{report.overview(records)}\n{report.lost(records)}"
    assert written(readme) == both


def slower(data, times, **fields):
    """The record of a machine on which rnnfast takes some times as long, and peers do not."""
    data = copy.deepcopy(data) | fields
    for r in data["results"]:
        r["us"]["rnnfast"] *= times
        r["ratio"] /= times
    return data


def test_a_record_adds_or_replaces_only_its_own_section(records):
    sections = [report.markdown(data) for data in records]
    for times in (2.0, 1.25):  # the second run takes the place of the first
        other = slower(records[0], times, processor="Zilog Z80", isa="avx2")
        report.save(other, "compare-", by="isa")
        found = report.comparisons()
        assert [report.machine(d) for d in found if d not in records] == ["Zilog Z80, AVX2"]
        page = report.all_sections(found)
        assert all(section in page for section in [*sections, report.markdown(other)])
        assert page.count("### ") == len(records) + 1


def test_the_range_is_over_all_processors(records):
    least = min(report.ratios(records[0]["results"]))
    other = slower(records[0], 2 * least, processor="Zilog Z80")  # down to 0.50
    below = sum(r["ratio"] < 1 for data in (records[0], other) for r in data["results"])
    text = " ".join(report.range_of([records[0], other]).split())
    most = max(report.ratios(records[0]["results"]))
    assert f"A single case is 0.50 to {most:.2f} times as fast; {below} of 144 are slower" in text
    said = " ".join(report.lost([other]).split())
    assert said.startswith("On Zilog Z80, AVX2, it loses in ") and "no case" not in said
    assert said.count("(0.") == sum(r["ratio"] < 1 for r in other["results"])
    row = report.overview([other]).splitlines()[-1].split(" | ")
    assert row[2] == f"{sum(r['ratio'] < 1 for r in other['results'])} of 72"
    assert "0.50" in (row[4], row[7])


@pytest.mark.parametrize("option", ["--short", "-k=B64", "--cells=lstm", "--tasks=training"])
def test_a_partial_run_is_no_record(option, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["compare.py", "--save", option])
    with pytest.raises(SystemExit):
        compare.parse()
    assert "--save expected a run of all cases" in capsys.readouterr().err

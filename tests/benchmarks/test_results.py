"""What the runner writes: goals that were missed or not measured, charts that say who is ahead, failures by name."""

import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from benchmarks import _report
from benchmarks._chart import bar_chart
from benchmarks._goals import GOALS
from benchmarks._report import Bar, Recorded, chart
from benchmarks._results import Section, write_results
from benchmarks._size import Size
from tests.waiting import HANG_SECONDS

ROOT = Path(__file__).parents[2]


def section(**values: object) -> Section:
    given: dict[str, object] = {"name": "read", "docstring": "Reading.", "seconds": 1.0, "load": 0.1, "error": ""}
    return Section(**(given | values))  # type: ignore[arg-type]


def written(tmp_path: Path, *sections: Section) -> str:
    write_results(tmp_path / "RESULTS.md", sections, command="python -m benchmarks", size=Size.MEDIUM)
    return (tmp_path / "RESULTS.md").read_text(encoding="utf-8")


def chart_of(bars: list[Bar], monkeypatch: pytest.MonkeyPatch, *, more_is_better: bool) -> str:
    recorded = Recorded()
    monkeypatch.setattr(_report, "RECORDED", recorded)
    chart("읽기 <1>", "clips/s", bars, more_is_better=more_is_better)
    return bar_chart(recorded.charts)


@pytest.mark.parametrize(("more_is_better", "ahead"), [(True, "fast"), (False, "slow")])
def test_a_chart_says_which_peer_is_ahead(more_is_better: bool, ahead: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bars = [Bar(name="ours", value=10, ours=True), Bar(name="fast", value=20), Bar(name="slow", value=5)]
    picture = chart_of(bars, monkeypatch, more_is_better=more_is_better)
    texts = [element.text or "" for element in ElementTree.fromstring(picture).iter() if element.tag.endswith("text")]
    assert "읽기 <1>" in texts
    [mark] = [texts.index(text) for text in texts if "is ahead" in text]
    assert texts[mark - 1] == ahead
    assert any(f"ours / it {'0.50' if ahead == 'fast' else '2.00'}" in text for text in texts)


def test_a_part_of_the_work_is_never_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    bars = [Bar(name="ours", value=10, ours=True), Bar(name="half of it", value=5, part=True)]
    assert "is ahead" not in chart_of(bars, monkeypatch, more_is_better=False)


def test_goals_are_met_missed_or_not_measured(tmp_path: Path) -> None:
    text = written(tmp_path, section(figures={"read.blosc": 0.9, "read.memmap": 0.61}))
    lines = {name: next(line for line in text.splitlines() if goal.text in line) for name, goal in GOALS.items()}
    assert "| met |" in lines["read.blosc"] and "**missed**" in lines["read.memmap"]
    assert "not measured in this run" in lines["read.threads"]


def test_what_failed_and_which_peer_was_missing_is_said(tmp_path: Path) -> None:
    text = written(tmp_path, section(error="ValueError: no", missing={"WebDataset": "ModuleNotFoundError"}))
    assert "**It failed**: `ValueError: no`" in text
    assert "- WebDataset was not measured: ModuleNotFoundError" in text


def test_the_runner_writes_results_and_charts(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks", "--toy", "--results", str(tmp_path / "RESULTS.md"), "scale"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=HANG_SECONDS)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "RESULTS.md").read_text(encoding="utf-8")
    assert "random batch" in done.stdout, "large caches are compared with small ones"
    assert "(results/scale.svg)" in text and "random batch ms" in text and "Toy sizes" in text
    ElementTree.parse(tmp_path / "results" / "scale.svg")


def test_the_smallest_work_takes_processor_time_that_can_be_divided_by() -> None:
    for _ in range(20):  # psutil's hundredths of a second would show none in most of them
        before = _report.cpu_seconds_of_all()
        sum(range(1000))
        assert _report.cpu_seconds_of_all() > before

"""--profile: the phases of a step, what the largest one asks for, and a trace that torch's profiler wrote."""

import gzip
import json
import re
from pathlib import Path

import pytest

from signprep.cache_builder.reader import Cache
from signprep.training.callbacks.profile import ADVICE, BACKWARD, CALLBACKS, COPY, FORWARD, TRANSFORM, WAIT, table
from signprep.training.config import TrainConfig
from signprep.training.run import train
from tests.training.small_runs import TINY, weights_of

PHASE = re.compile(r"  (?P<phase>[a-z ]+?) +(?P<milliseconds>[\d.]+) ms(?: +(?P<percent>[\d.]+) %)?")


def profiled(cache: Cache, folder: Path, config: TrainConfig) -> list[str]:
    told: list[str] = []
    train(cache, TINY, config, folder, profile=True, log=told.append)
    return told


def test_a_profile_names_all_phases_and_writes_a_trace(cache: Cache, tmp_path: Path) -> None:
    config = TrainConfig(epochs=8, batch_size=2)  # 32 steps
    told = profiled(cache, tmp_path, config)
    [place] = [place for place, line in enumerate(told) if line.startswith("where the time of a step goes (mean of ")]
    found = [PHASE.fullmatch(line) for line in told[place + 1 : place + 2 + len(ADVICE)]]
    rows = {match["phase"]: match for match in found if match}
    assert list(rows) == [*ADVICE, "all"]
    assert sum(float(rows[phase]["percent"]) for phase in ADVICE) == pytest.approx(100, abs=0.5)
    for phase in (TRANSFORM, FORWARD, BACKWARD):
        assert float(rows[phase]["milliseconds"]) > 0
    assert told[place + 2 + len(ADVICE)].split(" takes most: ")[0] in ADVICE
    with gzip.open(tmp_path / "profile_trace.json.gz") as file:
        events = json.load(file)["traceEvents"]
    assert sum("Optimizer.step" in event.get("name", "") for event in events) >= 3
    assert any("profile_trace.json.gz: a trace of 3 steps" in line for line in told)


def test_a_profiled_run_learns_the_same(cache: Cache, tmp_path: Path) -> None:
    config = TrainConfig(epochs=1, batch_size=2)
    told = profiled(cache, tmp_path / "profiled", config)  # one step is measured: three of four warm up
    assert any("(mean of 1)" in line for line in told)
    plain = train(cache, TINY, config, tmp_path / "plain", log=told.append)
    weights, others = (weights_of(tmp_path / name / "checkpoints" / "last.ckpt") for name in ("profiled", "plain"))
    assert plain.epochs == 1 and all(weights[name].equal(others[name]) for name in others)


def test_a_run_too_short_to_be_measured_says_so(cache: Cache, tmp_path: Path) -> None:
    told = profiled(cache, tmp_path, TrainConfig(epochs=1, batch_size=4))  # two steps
    assert any("--profile measured nothing: 3 batches pass first" in line for line in told)


def test_waiting_is_taken_from_what_lies_between_steps_and_the_largest_phase_is_advised_on() -> None:
    lines = table([({CALLBACKS: 0.010, COPY: 0.0, FORWARD: 0.004}, 0.008), ({CALLBACKS: 0.001, FORWARD: 0.004}, 0.008)])
    rows = {match["phase"]: float(match["milliseconds"]) for line in lines if (match := PHASE.fullmatch(line))}
    assert (rows[WAIT], rows[CALLBACKS], rows[FORWARD], rows["all"]) == (4.5, 1.0, 4.0, 9.5)
    assert lines[-1] == f"{WAIT} takes most: {ADVICE[WAIT]}"

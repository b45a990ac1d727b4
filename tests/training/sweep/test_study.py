"""The study of a sweep: interruptions change no value that is drawn, bad trials are known, other sweeps are refused."""

import csv
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

pytest.importorskip("optuna")

from signprep.pipeline.errors import TrainingError
from signprep.training.runtime.sweep.options import SweepOptions
from signprep.training.runtime.sweep.space import Choices, Range, Space
from signprep.training.runtime.sweep.study import COMPLETE, FAILED, PRUNED, RUNNING, Study
from signprep.training.runtime.sweep.summary import write_summary

SPACE = Space(
    path=Path("sweep.yaml"),
    settings={},
    fixed={"cache": "a.zarr", "epochs": 3},
    varied={
        "learning_rate": Range(low=1e-4, high=1e-2, is_whole=False, log=True),
        "batch_size": Range(low=4, high=16, is_whole=True, step=4),
        "pretrained": Choices(values=(None, "k400")),
        "loggers": Choices(values=(["csv"], ["csv", "tensorboard"])),
    },
    lines={},
)
OPTIONS = SweepOptions(trials=8)


def test_values_are_the_same_though_the_sweep_was_interrupted(tmp_path: Path) -> None:
    drawn = []
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
        study = Study(tmp_path / name, SPACE, OPTIONS)
        for number in range(1, 14):
            if name == "parts":
                study = Study(tmp_path / name, SPACE, OPTIONS)
            trial = study.next_trial()
            assert trial.number == number and trial.state == RUNNING
            study.end(trial, COMPLETE, trial.values["learning_rate"], epochs=3)
        drawn.append([trial.values for trial in study.trials()])
    assert drawn[0] == drawn[1] and len({str(values) for values in drawn[0]}) > 10
    assert all(1e-4 <= values["learning_rate"] <= 1e-2 for values in drawn[0])
    assert {values["batch_size"] for values in drawn[0]} <= {4, 8, 12, 16}
    assert {values["pretrained"] for values in drawn[0]} == {None, "k400"}
    assert all(isinstance(values["loggers"], list) for values in drawn[0])


def test_a_trial_that_was_running_is_the_next_one_again(tmp_path: Path) -> None:
    study = Study(tmp_path, SPACE, OPTIONS)
    study.end(study.next_trial(), FAILED, None, epochs=0, error="no memory")
    running = study.next_trial()
    assert not study.is_bad(running, 1, 0.5)
    again = Study(tmp_path, SPACE, OPTIONS)
    assert again.next_trial().values == running.values and again.next_trial().number == 2
    assert not again.is_bad(running, 1, 0.5), "an epoch that is noted already is no mistake"
    assert [(trial.state, trial.error) for trial in again.ended()] == [(FAILED, "no memory")] and again.best() is None


@pytest.mark.parametrize(("metric", "good", "bad"), [("val/accuracy", 0.9, 0.1), ("val/loss", 0.1, 0.9)])
def test_a_trial_below_the_median_ends_early(tmp_path: Path, metric: str, good: float, bad: float) -> None:
    options = SweepOptions(metric=metric)
    study = Study(tmp_path, SPACE, options)
    for _ in range(5):
        trial = study.next_trial()
        assert not any(study.is_bad(trial, epoch, good) for epoch in (1, 2, 3)), "too few are known"
        study.end(trial, COMPLETE, good, epochs=3)
    trial = study.next_trial()
    assert not study.is_bad(trial, 1, bad), "the first epoch says nothing"
    assert study.is_bad(trial, 2, bad)
    study.end(trial, PRUNED, bad, epochs=2)
    best = study.best()
    assert best is not None and best.value == good and study.trials()[-1].value == bad
    assert [trial.number for trial in sorted(study.trials(), key=study.rank)][-1] == 6
    free = Study(tmp_path, SPACE, SweepOptions(metric=metric, pruner="none"))
    assert not free.is_bad(free.next_trial(), 5, bad)


def test_another_sweep_in_the_folder_is_refused(tmp_path: Path) -> None:
    Study(tmp_path, SPACE, OPTIONS)
    Study(tmp_path, SPACE, SweepOptions(trials=100, seed=3))
    other = Space(
        **{**vars(SPACE), "fixed": {"cache": "b.zarr", "epochs": 3}, "varied": {"learning_rate": Choices(values=(1,))}}
    )
    with pytest.raises(TrainingError, match="has a sweep with another cache, learning-rate, batch-size, pretrained"):
        Study(tmp_path, other, OPTIONS)
    with pytest.raises(TrainingError, match="has a sweep with another metric"):
        Study(tmp_path, SPACE, SweepOptions(metric="val/loss"))
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "study.db").write_bytes(b"not a database at all" * 100)
    with pytest.raises(TrainingError, match=r"study.db: is no study that can be read"):
        Study(tmp_path / "damaged", SPACE, OPTIONS)


def test_table_and_picture_have_every_trial(tmp_path: Path) -> None:
    study = Study(tmp_path, SPACE, OPTIONS)
    write_summary(tmp_path, study.trials(), SPACE, OPTIONS)
    for value in (0.25, None, 0.75):
        trial = study.next_trial()
        if value is not None:
            study.is_bad(trial, 1, value)
        study.end(trial, FAILED if value is None else COMPLETE, value, epochs=1, error="" if value else "<no> memory")
    write_summary(tmp_path, study.trials(), SPACE, OPTIONS)
    with (tmp_path / "trials.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["trial"], row["val/accuracy"], row["state"], row["error"]) for row in rows] == [
        ("trial-1", "0.25", "complete", ""),
        ("trial-2", "", "failed", "<no> memory"),
        ("trial-3", "0.75", "complete", ""),
    ]
    assert float(rows[0]["learning-rate"]) == study.trials()[0].values["learning_rate"]
    picture = ET.fromstring((tmp_path / "sweep.svg").read_text(encoding="utf-8"))
    dots = [each for each in picture.iter() if each.tag.endswith("circle")]
    assert len(dots) == 2 * (1 + len(SPACE.varied))
    texts = {each.text for each in picture.iter() if each.tag.endswith("text")}
    assert {"learning-rate (log)", "batch-size", "pretrained", "loggers", "0.0001", "0.01"} <= texts

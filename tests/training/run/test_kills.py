"""A training run that is killed at its file events, or meets a full disk: the same command ends it."""

import json
import re
from collections.abc import Collection
from pathlib import Path
from unittest.mock import Mock

import pytest
from click.testing import CliRunner

from signprep.cache_builder.reader import Cache
from signprep.cache_builder.remote.push import push
from signprep.pipeline.cli import cli
from signprep.pipeline.errors import SignprepError, TrainingError
from signprep.training.callbacks.checkpoints import held
from signprep.training.config import TrainConfig
from signprep.training.model_spec import model_spec
from tests.cache_builder.made_caches import make_cache
from tests.file_events import DEEDS, KILLED
from tests.interrupted import Interrupter, Seen, folder_in_memory
from tests.training.small_runs import QUICK, run

LINEAR = model_spec("tests.training.small_models:linear", num_frames=2, crop_size=32)
COMMAND = (
    "--model-name", "tests.training.small_models:linear", "--num-frames", "2", "--size", "32", "--epochs", "2",
    "--batch-size", "6", "--save-top-k", "2", "--gpus", "0", "--workers", "1", "--export-mobile-model",
    "--experiment-name", "sign_language_classification",
)  # fmt: skip


def kept(seen: Seen) -> dict[str, str]:
    """Return what lies in the run's folder, with what checkpoints have learnt.

    TensorBoard's files are left out, since each process writes one of its own, and so are shards that were streamed:
    only what had not arrived of those is counted.
    """
    paths = {path: seen_hash if path.endswith(".ckpt") else "" for path, seen_hash in seen.paths.items()}
    is_passing = re.compile(r".*tfevents.*|stream(/.*(?<!\.part))?")
    return {path: learnt for path, learnt in paths.items() if not is_passing.fullmatch(path)}


def check(interrupter: Interrupter, place: str, deeds: Collection[str], most: int | None) -> None:
    with folder_in_memory() as folder:
        prepared, work = folder / "prepared", folder / "here" / "work"
        work.parent.mkdir()
        make_cache(prepared / "c.zarr", range(16))
        push(prepared / "c.zarr", f"local://{prepared}/pushed")
        location = {"folder": str(work / "c.zarr"), "URL": f"local://{work}/pushed"}[place]
        command = ["train", location, *COMMAND, "--output-dir", work / "out", "--stream-dir", work / "stream"]
        reader = ["inspect", work / "c.zarr"]
        whole, all_seen = interrupter.interrupt(
            command, prepared=prepared, work=work, reader=reader, deeds=deeds, most=most
        )
    assert whole.first.code == 0, whole.first.err
    for seen in all_seen:
        told = f"{seen.deed}, {seen.event}: {seen.first} {seen.again}"
        assert seen.first.code == 0 or seen.again.code == 0, told  # one that had ended refuses to be replaced
        assert "Traceback" not in seen.first.err + seen.again.err, told
        assert seen.first.code in (0, 1, 130) or seen.first.code < 0, told
        assert kept(seen) == kept(whole), told
    assert len([path for path in kept(whole) if path.endswith(".ckpt")]) == 4


@pytest.mark.parametrize(("place", "most"), [("folder", 3), ("URL", 2)])
def test_a_run_killed_at_some_of_its_file_events_goes_on_to_the_same_weights_with_the_same_command(
    with_models: Interrupter, place: str, most: int
) -> None:
    check(with_models, place, [KILLED], most)


@pytest.mark.slow
@pytest.mark.parametrize("place", ["folder", "URL"])
def test_a_run_disturbed_at_any_of_its_file_events_goes_on_to_the_same_weights_with_the_same_command(
    with_models: Interrupter, place: str
) -> None:
    check(with_models, place, DEEDS, None)


def exported(folder: Path, *more: str) -> tuple[int, str]:
    """Train, and export; return the exit code, and what was said."""
    words = ["train", folder / "c.zarr", *COMMAND, "--output-dir", folder / "out", *more]
    result = CliRunner().invoke(cli, [str(word) for word in words])
    return result.exit_code, result.output + str(result.exception)


def test_a_run_that_is_stopped_or_fails_in_its_export_goes_on_with_that_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_cache(tmp_path / "c.zarr", range(16))
    run_folder = tmp_path / "out" / "sign_language_classification"
    for error in (SignprepError("it differs"), KeyboardInterrupt()):
        monkeypatch.setattr("signprep.inference.export.run.export_model", Mock(side_effect=error))
        assert exported(tmp_path)[0] == 1
        assert json.loads((run_folder / "run.json").read_text())["status"] == "failed"
    before = (run_folder / "checkpoints" / "last.ckpt").stat().st_mtime_ns
    code, said = exported(tmp_path, "--seed", "3")
    assert code == 1 and "is there from an earlier run" in said, "another command finds an earlier run"
    monkeypatch.undo()
    code, said = exported(tmp_path)
    assert code == 0 and "was trained to its end before" in said and "epoch 1" not in said
    assert (run_folder / "mobile.pt").is_file()
    assert (run_folder / "checkpoints" / "last.ckpt").stat().st_mtime_ns == before
    assert json.loads((run_folder / "run.json").read_text())["status"] == "finished"
    code, said = exported(tmp_path)
    assert code == 1 and "is there from an earlier run" in said


def test_a_run_whose_export_is_not_wanted_any_more_has_ended(cache: Cache, tmp_path: Path) -> None:
    first = run(cache, tmp_path, QUICK, LINEAR, more_follows=True)
    assert json.loads((tmp_path / "run.json").read_text())["status"] == "running"
    assert run(cache, tmp_path, QUICK, LINEAR) == first
    assert json.loads((tmp_path / "run.json").read_text())["status"] == "finished"
    with pytest.raises(TrainingError, match="is there from an earlier run"):
        run(cache, tmp_path, QUICK, LINEAR)


def as_if_killed(folder: Path) -> None:
    """Give a run's folder the record of a run whose process was killed."""
    document = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**document, "status": "running"}))


def test_other_options_find_an_earlier_run_even_if_it_was_killed(cache: Cache, tmp_path: Path) -> None:
    run(cache, tmp_path, QUICK, LINEAR)
    as_if_killed(tmp_path)
    with pytest.raises(TrainingError, match=r"best\.ckpt: is there from an earlier run; --resume .*--overwrite"):
        run(cache, tmp_path, TrainConfig(epochs=1, batch_size=4, seed=1), LINEAR)


def test_what_killed_processes_were_writing_is_gone_after_the_next_run(cache: Cache, tmp_path: Path) -> None:
    checkpoints = tmp_path / "checkpoints"
    checkpoints.mkdir()
    torn = [checkpoints / ".last.ckpt.99999999.part", checkpoints / ".best.ckpt.99999999.part"]
    torn += [tmp_path / ".run.json.99999999.part", tmp_path / ".metrics.csv.99999999.part"]
    for path in torn:
        path.write_bytes(b"PK")
    run(cache, tmp_path, QUICK, LINEAR)
    assert [path for path in tmp_path.rglob(".*")] == []


def test_two_processes_do_not_train_in_one_folder(cache: Cache, tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    with held(tmp_path), pytest.raises(TrainingError, match=re.escape("checkpoints: another process trains there")):
        run(cache, tmp_path, QUICK, LINEAR)
    assert run(cache, tmp_path, QUICK, LINEAR).epochs == 1

"""Commands that write a model's file, killed or disturbed at their file events: the same command ends the work."""

from collections.abc import Collection

import pytest
import torch

from tests.cache_builder.made_caches import make_cache
from tests.file_events import DEEDS, KILLED
from tests.inference.export.conftest import untrained_checkpoint
from tests.interrupted import Interrupter, folder_in_memory

LINEAR = "tests.training.small_models:linear"
COMMANDS = {
    "calibrate": ("evaluate", "c.zarr", "--checkpoint", "sign.ckpt", "--model-name", LINEAR, "--calibrate"),
    "export": ("export", "--checkpoint", "sign.ckpt", "--out", "sign.pt", "--cache", "c.zarr", "--model-name", LINEAR),
}


def check(interrupter: Interrupter, name: str, deeds: Collection[str], most: int | None) -> None:
    with folder_in_memory() as folder:
        prepared, work = folder / "prepared", folder / "here" / "work"
        work.parent.mkdir()
        cache = make_cache(prepared / "c.zarr", range(16))
        torch.manual_seed(0)  # answers that are not all right: else no temperature is the best
        untrained_checkpoint(prepared / "sign.ckpt", cache, LINEAR, 2, 32)
        command = [work / word if word.startswith(("c.", "sign.")) else word for word in COMMANDS[name]]
        reader = ["infer", "--checkpoint", work / "sign.ckpt", work / "c.zarr", "--model-name", LINEAR]
        whole, all_seen = interrupter.interrupt(
            command, prepared=prepared, work=work, reader=reader, deeds=deeds, most=most
        )
    assert whole.first.code == whole.reader.code == 0, whole
    assert ("sign.pt" in whole.paths) == (name == "export")
    for seen in all_seen:
        assert seen.again.code == 0, seen
        assert seen.reader.code == 0, "a checkpoint is the one before or the new one"
        assert "Traceback" not in seen.first.err + seen.again.err, seen
        assert seen.paths.keys() == whole.paths.keys(), seen
        assert seen.paths["sign.ckpt"] == whole.paths["sign.ckpt"], seen


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_killed_at_some_of_its_file_events_is_ended_by_the_same_command(
    with_models: Interrupter, name: str
) -> None:
    check(with_models, name, [KILLED], 3)


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_disturbed_at_any_of_its_file_events_is_ended_by_the_same_command(
    with_models: Interrupter, name: str
) -> None:
    check(with_models, name, DEEDS, None)

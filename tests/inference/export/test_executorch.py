"""ExecuTorch files answer as their checkpoint does; where ExecuTorch is not installed, these tests are left out."""

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from signprep.cache_builder.reader import Cache
from signprep.inference.export.deployable import file_frames
from signprep.inference.export.run import ExportOptions, ExportReport, export_model
from signprep.inference.export.runtime import exported_format
from signprep.inference.open_model import open_model
from signprep.inference.recognizer import load_checkpoint
from signprep.pipeline.errors import CheckpointError
from tests.inference.export.conftest import answers_alone

pytestmark = [
    pytest.mark.slow,  # XNNPACK takes over the model's 70 parts one by one, in a minute
    pytest.mark.skipif(find_spec("executorch") is None, reason="ExecuTorch is not installed"),
]

ANSWER = """
    from executorch.runtime import Runtime
    program = Runtime.get().load_program(file)
    document = json.loads(program.load_method("signprep_json").execute([])[0])
    method = program.load_method("forward")
    answer = lambda clip: method.execute([clip])[0].clone()
    kind = lambda document: document["input"]["dtype"]
"""


@pytest.fixture(scope="module")
def reports(checkpoint: Path, cache: Cache, tmp_path_factory: pytest.TempPathFactory) -> list[ExportReport]:
    folder = tmp_path_factory.mktemp("executorch")
    return [
        export_model(
            checkpoint,
            folder / f"{inside}.pte",
            ExportOptions(format="executorch", with_preprocessing=inside),
            cache,
        )
        for inside in (False, True)
    ]


def test_a_fresh_process_without_signprep_answers_the_same(
    reports: list[ExportReport], checkpoint: Path, cache: Cache, tmp_path: Path
) -> None:
    recognizer = load_checkpoint(checkpoint)
    stored = torch.from_numpy(cache.read(cache.positions("val")))
    inputs = {
        "float32": recognizer.transform(stored).contiguous(),
        "uint8": file_frames(recognizer.metadata.model_spec)(stored),
    }
    floats, frames = answers_alone(ANSWER, inputs, [report.output for report in reports], tmp_path)
    trained = torch.from_numpy(recognizer.probabilities(list(stored.numpy())))
    assert (floats.softmax(1) - trained).abs().max() <= 1e-4
    assert (frames.softmax(1) - trained).abs().max() <= 1e-3  # of colours rounded to whole numbers
    assert all(report.verification.comparisons[0].largest_difference <= 1e-4 for report in reports)


def test_they_open_as_checkpoints_do(reports: list[ExportReport], checkpoint: Path, cache: Cache) -> None:
    clips = list(cache.read(cache.positions("val")))
    assert exported_format(reports[0].output) == "executorch"
    recognizer = open_model(reports[0].output)
    assert recognizer.metadata == load_checkpoint(checkpoint).card
    assert recognizer.probabilities(clips) == pytest.approx(load_checkpoint(checkpoint).probabilities(clips), abs=1e-4)


def test_a_broken_file_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "a.pte").write_bytes(b"\x10\x00\x00\x00ET12 and no program")
    with pytest.raises(CheckpointError, match=r"a\.pte: ExecuTorch cannot open it"):
        open_model(tmp_path / "a.pte")

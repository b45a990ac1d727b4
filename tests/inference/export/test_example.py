"""The example of the docs answers as `signprep infer` does, in a process that cannot import signprep."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from signprep.inference.export.run import ExportReport
from signprep.pipeline.cli import cli
from tests.generated_videos import write_video
from tests.waiting import HANG_SECONDS

EXAMPLE = Path(__file__).parents[3] / "docs" / "examples" / "answer_video.py"

_RUN = """
import runpy, sys
sys.modules["signprep"] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize("name", ["int8.pt", "int8.onnx"])
def test_the_example_answers_as_infer(name: str, exported: dict[str, ExportReport], tmp_path: Path) -> None:
    video = write_video(tmp_path / "test.mp4", 60)
    file = str(exported[name].output)
    command = [sys.executable, "-c", _RUN, str(EXAMPLE), file, str(video), "0.25", "1.5"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, encoding="utf-8", timeout=HANG_SECONDS)
    gloss, confidence = done.stdout.split()
    arguments = ["infer", "--checkpoint", file, "--video-path", str(video), "--start-time", "0.25"]
    found = json.loads(CliRunner().invoke(cli, [*arguments, "--clip-duration", "1.5", "--return-probabilities"]).stdout)
    assert float(confidence) == pytest.approx(found["probabilities"][gloss], abs=0.02)

"""`infer` on folders of pictures answers as on a lossless video of the same frames."""

import json
from pathlib import Path

import av
import pytest
from click.testing import CliRunner, Result

from signprep.inference.prediction import predict_window
from signprep.inference.recognizer import load_checkpoint
from signprep.pipeline.cli import cli
from tests.pictures import FPS, lossless_video, write_pictures
from tests.pipeline.video.test_image_sequence import RGB


def infer(checkpoint: Path, *arguments: object) -> Result:
    return CliRunner().invoke(cli, ["infer", "--checkpoint", str(checkpoint), *map(str, arguments)])


def answered(checkpoint: Path, *arguments: object) -> dict[str, object]:
    result = infer(checkpoint, *arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    document: dict[str, object] = json.loads(result.stdout)
    return document


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("그림")
    write_pictures(root / "a b", 30)
    lossless_video(root / "videos" / "a.mp4", sorted((root / "a b").iterdir()), scale=RGB)
    return root


def test_a_folder_of_pictures_is_answered_as_the_video_of_its_frames(checkpoint: Path, folder: Path) -> None:
    asked = ("--clip-duration", "0.8", "--return-probabilities")
    found, expected = (
        answered(checkpoint, folder / "a b", "--fps", FPS, *asked),
        answered(checkpoint, folder / "videos" / "a.mp4", *asked),
    )
    assert found["video_path"] == str(folder / "a b")
    assert {**found, "video_path": None} == {**expected, "video_path": None}
    prediction = predict_window(load_checkpoint(checkpoint), folder / "a b", clip_duration=0.8, fps=FPS)
    assert prediction.confidence == pytest.approx(found["confidence"], abs=1e-6)


def test_folders_of_pictures_below_a_folder_are_videos_too(checkpoint: Path, folder: Path) -> None:
    result = infer(checkpoint, folder, "--fps", FPS, "--clip-duration", "0.8")
    assert result.exit_code == 0, result.output
    assert [Path(one["video_path"]).name for one in json.loads(result.stdout)] == ["a b", "a.mp4"]


def test_pictures_without_a_rate_are_told_to_need_one(checkpoint: Path, folder: Path) -> None:
    result = infer(checkpoint, folder / "a b")
    assert result.exit_code == 1
    assert "a b: holds no video; give the rate of its pictures, as by --fps 25" in str(result.exception)


def test_a_timeline_of_pictures_is_written_and_rendered(checkpoint: Path, folder: Path, tmp_path: Path) -> None:
    out, subtitles = tmp_path / "out.mp4", tmp_path / "out.eaf"
    asked = ("--clip-duration", "0.4", "--stride", "0.2", "--min-confidence", "0")
    answered(checkpoint, folder / "a b", "--fps", FPS, *asked, "--render", out, "--subtitles", subtitles)
    with av.open(str(out)) as container:
        frames = [float(frame.time) for frame in container.decode(video=0)]
    assert frames == pytest.approx([number / FPS for number in range(30)], abs=1e-4)
    assert "a b" in subtitles.read_text(encoding="utf-8")

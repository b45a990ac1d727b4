import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from signprep.cache_builder.reader import Cache
from signprep.inference.prediction import predict_window
from signprep.inference.recognizer import Recognizer, load_checkpoint
from signprep.pipeline.cli import cli
from signprep.pipeline.errors import CheckpointError, DecodeError
from tests.conftest import GLOSSES


def test_inference_feeds_the_very_clip_that_the_build_stored(
    cache: Cache, data_root: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fed: list[np.ndarray] = []
    whole = Recognizer.probabilities

    def recorded(self: Recognizer, clips: list[np.ndarray]) -> np.ndarray:
        fed.extend(clips)
        return whole(self, clips)

    monkeypatch.setattr(Recognizer, "probabilities", recorded)
    recognizer = load_checkpoint(checkpoint)
    for row in cache.index.to_pylist()[::5]:
        predict_window(
            recognizer,
            data_root / row["video"],
            start_seconds=row["start_seconds"],
            clip_duration=row["end_seconds"] - row["start_seconds"],
        )
        assert np.array_equal(fed[-1], cache.read([row["position"]])[0])
    assert len(fed) == 3


def infer(*arguments: object):
    return CliRunner().invoke(cli, ["infer", *map(str, arguments)])


def test_the_json_has_the_fields_that_users_know(checkpoint: Path, data_root: Path, tmp_path: Path) -> None:
    video = data_root / "video" / "NIA_SL_WORD0001_REAL17_F.mp4"
    result = infer("--checkpoint", checkpoint, "--video_path", video, "--clip_duration", "0.5")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert list(document) == [
        "video_path",
        "start_time",
        "end_time",
        "predicted_class_idx",
        "predicted_class_name",
        "confidence",
        "clip_duration",
    ]
    assert document["video_path"] == str(video)
    assert (document["start_time"], document["end_time"], document["clip_duration"]) == (0.0, 0.5, 0.5)
    assert document["predicted_class_name"] == GLOSSES[document["predicted_class_idx"]]
    assert document["predicted_class_name"] in result.stdout  # Korean as it is, not escaped
    out = tmp_path / "결과.json"
    more = ["--return_probabilities", "--output-path", out, "--start-time", "0.25"]
    result = infer("--checkpoint", checkpoint, "--video-path", video, "--clip-duration", "0.5", *more)
    assert result.exit_code == 0 and result.stdout == ""
    written = json.loads(out.read_text(encoding="utf-8"))
    assert set(written["probabilities"]) == set(GLOSSES)
    assert sum(written["probabilities"].values()) == pytest.approx(1)
    assert written["confidence"] == max(written["probabilities"].values())


def test_bad_input_is_one_clear_error(checkpoint: Path, data_root: Path, tmp_path: Path) -> None:
    video = data_root / "video" / "NIA_SL_WORD0001_REAL17_F.mp4"

    def error(checkpoint: Path, video: Path, *more: object) -> str:
        result = infer("--checkpoint", checkpoint, "--video-path", video, *more)
        assert result.exit_code == 1
        assert isinstance(result.exception, DecodeError | CheckpointError | Exception)
        return str(result.exception)

    assert "lasts 1.000 s, too short for a clip of 2.000 s" in error(checkpoint, video)
    assert "no such video file" in error(checkpoint, tmp_path / "gone.mp4")
    assert "no such checkpoint" in error(tmp_path / "gone.ckpt", video)
    other = tmp_path / "other.ckpt"
    other.write_text("not a checkpoint")
    assert "is no signprep checkpoint" in error(other, video)
    torch.save({"state_dict": {}}, other)
    assert "is no signprep checkpoint" in error(other, video)
    torch.save({"signprep": {"checkpoint_version": 99}}, other)
    assert "checkpoint of version 99" in error(other, video)
    contents = torch.load(checkpoint, weights_only=True)
    contents["signprep"]["glosses"].append("하나 더")
    torch.save(contents, other)
    assert "do not fit" in error(other, video) or "damaged" in error(other, video)
    missing = tmp_path / "missing" / "result.json"
    assert "cannot be written" in error(checkpoint, video, "--clip-duration", 0.5, "--output-path", missing)


def test_a_checkpoint_that_wants_to_run_code_is_refused(tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "owned",))

    torch.save({"signprep": {"checkpoint_version": 1}, "state_dict": Hostile()}, tmp_path / "bad.ckpt")
    with pytest.raises(CheckpointError):
        load_checkpoint(tmp_path / "bad.ckpt")
    assert not (tmp_path / "owned").exists()

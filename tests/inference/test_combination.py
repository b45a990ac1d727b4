"""Several checkpoints answer together: of pixels, of landmarks, of both."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from signprep.cache_builder import open_cache
from signprep.cache_builder.building.run import build_from_annotations
from signprep.cache_builder.options import BuildOptions
from signprep.cache_builder.reader import Cache
from signprep.inference.combination import CombinedRecognizer
from signprep.inference.open_model import open_models
from signprep.inference.prediction import predict_windows
from signprep.inference.recognizer import load_checkpoint
from signprep.inference.videos import window_predictions
from signprep.pipeline.cli import cli
from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.clips import MadeClip
from signprep.pipeline.datasets.annotations import DatasetOptions
from signprep.pipeline.datasets.read import read_data_root
from signprep.pipeline.errors import CacheError, CheckpointError
from signprep.pipeline.landmarks import maker
from signprep.pipeline.video.pyav_reader import VideoReader, open_video
from tests.conftest import build_test_cache
from tests.generated_videos import write_video
from tests.inference.export.conftest import untrained_checkpoint


def invoke(command: str, *arguments: object) -> Result:
    return CliRunner().invoke(cli, [command, "--device", "cpu", *map(str, arguments)])


def answered(command: str, *arguments: object) -> Any:
    result = invoke(command, *arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    return json.loads(result.stdout)


def both(*checkpoints: Path) -> list[object]:
    return [word for path in checkpoints for word in ("--checkpoint", path)]


def changed(checkpoint: Path, out: Path, *, rows: list[int], glosses: list[str] | None = None, **card: object) -> Path:
    """The checkpoint with its classes in another order, or under other names, and other values on its card."""
    contents = torch.load(checkpoint, weights_only=True)
    state = contents["state_dict"]
    weight, bias = [name for name in state if name.startswith("model.")][-2:]
    for name in (weight, bias):
        state[name] = state[name][rows]
    known = contents["signprep"]["glosses"]
    contents["signprep"] |= {"glosses": glosses or [known[row] for row in rows], **card}
    torch.save(contents, out)
    return out


@pytest.fixture(scope="session")
def other_checkpoint(checkpoint: Path, cache: Cache, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the clips of `checkpoint`, with the opposite answers, and much surer."""
    path = tmp_path_factory.mktemp("other") / "other.ckpt"
    return changed(checkpoint, path, rows=[1, 0], glosses=list(cache.vocabulary.glosses), temperature=0.01)


def test_equal_checkpoints_answer_as_each_alone(checkpoint: Path, cache: Cache, tmp_path: Path) -> None:
    turned = changed(checkpoint, tmp_path / "turned.ckpt", rows=[1, 0])
    clips = list(cache.read(cache.positions()))
    alone = load_checkpoint(checkpoint).probabilities(clips)
    assert load_checkpoint(turned).probabilities(clips) == pytest.approx(alone[:, ::-1], abs=1e-6)
    for paths, weights in (((checkpoint, checkpoint), ()), ((checkpoint, turned, checkpoint), (1, 5, 2))):
        together = open_models(paths, weights=weights)
        assert together.glosses == load_checkpoint(checkpoint).glosses
        assert together.probabilities(clips) == pytest.approx(alone, abs=1e-6)
    assert type(open_models([checkpoint])) is type(load_checkpoint(checkpoint))


def test_the_answer_is_the_weighted_mean_of_calibrated_log_probabilities(
    checkpoint: Path, other_checkpoint: Path, cache: Cache
) -> None:
    clips = list(cache.read(cache.positions()))
    logs = [
        np.log(load_checkpoint(path).probabilities(clips).astype(np.float64)) for path in (checkpoint, other_checkpoint)
    ]
    assert np.abs(logs[0] - logs[1]).max() > 0.01
    for weights, shares in (((), (0.5, 0.5)), ((1, 3), (0.25, 0.75)), ((0, 2), (0, 1))):
        expected = np.exp(shares[0] * logs[0] + shares[1] * logs[1])
        expected /= expected.sum(axis=1, keepdims=True)
        found = open_models([checkpoint, other_checkpoint], weights=weights).probabilities(clips)
        assert found == pytest.approx(expected, abs=1e-6)


def test_models_of_other_glosses_do_not_answer_together(checkpoint: Path, cache: Cache, tmp_path: Path) -> None:
    other = changed(checkpoint, tmp_path / "other.ckpt", rows=[0, 1], glosses=["왼쪽", "아래"])
    more = changed(checkpoint, tmp_path / "more.ckpt", rows=[0, 1, 1], glosses=["왼쪽", "오른쪽", "위"])
    with pytest.raises(
        CheckpointError,
        match=r"other\.ckpt: knows other glosses than .*best\.ckpt: it lacks 오른쪽 and has 아래 besides",
    ):
        open_models([checkpoint, other])
    result = invoke("evaluate", cache.path, *both(checkpoint, more))
    assert "more.ckpt: knows other glosses" in str(result.exception) and "has 위 besides" in str(result.exception)


@pytest.mark.parametrize(
    ("weights", "told"),
    [
        ("1,2,3", "--weights are 3 numbers; --checkpoint is given 2 times"),
        ("1,-2", "has to be numbers of 0 or more"),
        ("0,0", "has to be numbers of 0 or more"),
        ("1,nan", "has to be numbers of 0 or more"),
        ("a,b", "Invalid value for '--weights'"),
    ],
)
def test_weights_that_mean_nothing_are_a_line(weights: str, told: str, checkpoint: Path, cache: Cache) -> None:
    result = invoke("evaluate", cache.path, *both(checkpoint, checkpoint), "--weights", weights)
    assert result.exit_code == 2 and told in " ".join(result.output.split())


def test_infer_answers_with_several_checkpoints_in_the_usual_form(
    checkpoint: Path, other_checkpoint: Path, cache: Cache, tmp_path: Path
) -> None:
    video = write_video(tmp_path / "a.mp4", 60)
    windows = [video, "--multiple-clips", "--clip-duration", 1, "--stride", 0.5, "--return-probabilities"]
    one, other, together = (
        answered("infer", *windows, *both(*paths))
        for paths in ([checkpoint], [other_checkpoint], [checkpoint, other_checkpoint])
    )
    assert len(together) == 3 and [list(row) for row in together] == [list(row) for row in one]
    for a, b, found in zip(one, other, together, strict=True):
        product = {
            gloss: (a["probabilities"][gloss] * b["probabilities"][gloss]) ** 0.5 for gloss in a["probabilities"]
        }
        expected = {gloss: value / sum(product.values()) for gloss, value in product.items()}
        assert found["probabilities"] == pytest.approx(expected, abs=1e-6)
    rows = answered("infer", cache.path, "--split", "val", *both(checkpoint, other_checkpoint))
    assert len(rows) == len(cache.positions("val"))


def test_one_decode_feeds_models_of_different_clips(
    checkpoint: Path, cache: Cache, data_root: Path, tmp_path: Path
) -> None:
    small = build_test_cache(data_root, tmp_path / "small.zarr", ClipSpec(num_frames=3, size=32, pixels="rgb24"))
    other = untrained_checkpoint(tmp_path / "small.ckpt", small, "efficient_x3d_xs", 2, 32)
    video = write_video(tmp_path / "a.mp4", 60)
    alone = [
        predict_windows(load_checkpoint(path), video, clip_duration=1, return_probabilities=True)
        for path in (checkpoint, other)
    ]
    together = open_models([checkpoint, other])
    assert isinstance(together, CombinedRecognizer) and len(together.clip_specs) == 2
    found = predict_windows(together, video, clip_duration=1, return_probabilities=True)
    for one, two, three in zip(*alone, found, strict=True):
        assert one.probabilities and two.probabilities and three.probabilities
        product = {gloss: (one.probabilities[gloss] * two.probabilities[gloss]) ** 0.5 for gloss in one.probabilities}
        expected = {gloss: value / sum(product.values()) for gloss, value in product.items()}
        assert three.probabilities == pytest.approx(expected, abs=1e-6)
    with pytest.raises(ValueError, match="take different clips"):
        together.probabilities(list(cache.read([0])))
    found = answered("evaluate", "--data-root", data_root, *both(checkpoint, other), "--json")
    assert found["clips"] == 12 and len(found["combined"]["members"]) == 2


def test_one_decode_of_a_video_feeds_pixels_and_landmarks(
    pixel_checkpoint: Path, landmark_checkpoint: Path, landmark_cache: Cache, signs: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    landmarks = landmark_cache.read([0])[0]

    class Known:
        """Gives the same landmarks for every clip, in place of MediaPipe's models."""

        def __init__(self, *_: object) -> None: ...

        def frame(self, frame: object) -> None: ...

        def clip(self, frames: list[None], box: object = None) -> MadeClip:
            assert len(frames) == len(landmarks)
            return MadeClip(landmarks)

    opened = []

    def noted(*arguments: Any, **options: Any) -> VideoReader:
        opened.append(arguments)
        return open_video(*arguments, **options)

    monkeypatch.setattr(maker, "LandmarkClips", Known)
    monkeypatch.setattr(window_predictions, "open_video", noted)
    video = sorted((signs / "video").iterdir())[0]
    windows = [video, "--clip-duration", 0.5, "--return-probabilities"]
    one = answered("infer", *windows, "--checkpoint", pixel_checkpoint)["probabilities"]
    opened.clear()
    found = answered("infer", *windows, *both(pixel_checkpoint, landmark_checkpoint))["probabilities"]
    assert len(opened) == 1
    recognizer = load_checkpoint(landmark_checkpoint)
    other = dict(zip(recognizer.glosses, recognizer.probabilities([landmarks])[0].tolist(), strict=True))
    product = {gloss: (one[gloss] * other[gloss]) ** 0.5 for gloss in one}
    expected = {gloss: value / sum(product.values()) for gloss, value in product.items()}
    assert found == pytest.approx(expected, abs=1e-6)


def test_pixels_and_landmarks_are_evaluated_together(
    pixel_checkpoint: Path, landmark_checkpoint: Path, pixel_cache: Cache, landmark_cache: Cache, tmp_path: Path
) -> None:
    pixels, landmarks = load_checkpoint(pixel_checkpoint), load_checkpoint(landmark_checkpoint)
    rows = [row for row in pixel_cache.index.to_pylist() if row["split"] == "val"]
    place = {row["segment_id"]: row["position"] for row in landmark_cache.index.to_pylist()}
    one = pixels.probabilities([pixel_cache.read([row["position"]])[0] for row in rows])
    other = landmarks.probabilities([landmark_cache.read([place[row["segment_id"]]])[0] for row in rows])
    product = one**0.25 * other**0.75
    product /= product.sum(axis=1, keepdims=True)
    right = [pixels.glosses[label] == row["gloss"] for label, row in zip(product.argmax(axis=1), rows, strict=True)]
    arguments = [*both(pixel_checkpoint, landmark_checkpoint), "--weights", "1,3"]
    caches = [pixel_cache.path, landmark_cache.path]
    document = answered("evaluate", *caches, *arguments, "--json")
    assert document["clips"] == len(rows) and document["figures"]["top_1"]["right"] == sum(right)
    assert document["calibration"]["mean_confidence"] == pytest.approx(product.max(axis=1).mean(), abs=1e-5)
    assert document["model_name"] == "efficient_x3d_xs + landmark_conv" and document["trained_on_this_cache"] is True
    assert document["combined"]["missing"] == {}
    assert [one["weight"] for one in document["combined"]["members"]] == [0.25, 0.75]
    alone = answered("evaluate", landmark_cache.path, "--checkpoint", landmark_checkpoint, "--json")
    assert document["combined"]["members"][1]["accuracy"] == alone["figures"]["top_1"]["accuracy"]
    assert alone.keys() == document.keys() - {"combined"}
    turned = answered("evaluate", "--cache", caches[1], "--cache", caches[0], *arguments, "--json")
    assert turned["figures"] == document["figures"]
    text = invoke("evaluate", *caches, *arguments, "--html", tmp_path / "page.html").stdout
    assert "landmark_conv: weight 0.75, alone" in " ".join(text.split())
    assert "landmark_conv: weight 0.75" in (tmp_path / "page.html").read_text(encoding="utf-8")


def rebuilt(signs: Path, folder: Path, spec: ClipSpec, labels: Callable[[Path, str], str | None]) -> Cache:
    """The cache of the same landmarks with the labels that are made of those there; None leaves a file out."""
    shutil.copytree(signs / "keypoint", folder / "data" / "keypoint")
    for path in sorted((signs / "label").rglob("*.json")):
        text = labels(path, path.read_text(encoding="utf-8"))
        target = folder / "data" / path.relative_to(signs)
        target.parent.mkdir(parents=True, exist_ok=True)
        if text is not None:
            target.write_text(text, encoding="utf-8")
    annotations = read_data_root(folder / "data", DatasetOptions(landmarks="aihub"))
    build_from_annotations(annotations, folder / "b.zarr", BuildOptions(clip_spec=spec))
    return open_cache(folder / "b.zarr")


def test_clips_that_one_cache_lacks_are_named_and_left_out(
    pixel_checkpoint: Path, landmark_checkpoint: Path, pixel_cache: Cache, signs: Path, landmark_cache: Cache,
    tmp_path: Path,
) -> None:  # fmt: skip
    first, *_ = [row["segment_id"] for row in pixel_cache.index.to_pylist() if row["split"] == "val"]

    def without_first(path: Path, text: str) -> str | None:
        return None if path.name.startswith(first.partition("#")[0]) else text

    few = rebuilt(signs, tmp_path, landmark_cache.clip_spec, without_first)
    arguments = [pixel_cache.path, few.path, *both(pixel_checkpoint, landmark_checkpoint)]
    document = answered("evaluate", *arguments, "--json")
    assert document["clips"] == len(pixel_cache.positions("val")) - 1
    assert document["combined"]["missing"] == {str(few.path): [first]}
    shown = " ".join(invoke("evaluate", *arguments).stdout.split())
    assert "1 clip not in " in shown and first in shown
    turned = answered("evaluate", few.path, pixel_cache.path, *both(landmark_checkpoint, pixel_checkpoint), "--json")
    assert turned["figures"] == document["figures"] and turned["combined"]["missing"] == document["combined"]["missing"]


def test_caches_that_do_not_go_with_the_checkpoints_are_refused(
    pixel_checkpoint: Path, landmark_checkpoint: Path, pixel_cache: Cache, landmark_cache: Cache, cache: Cache
) -> None:
    def refused(*arguments: object) -> str:
        result = invoke("evaluate", *arguments)
        assert result.exit_code and isinstance(result.exception, CheckpointError | CacheError | SystemExit)
        return f"{result.exception} {result.output}"

    two = both(pixel_checkpoint, landmark_checkpoint)
    assert "stores pixels, but the checkpoint was trained on landmarks" in refused(pixel_cache.path, *two)
    assert "no checkpoint was trained on clips as it stores; leave it out" in refused(
        pixel_cache.path, landmark_cache.path, "--checkpoint", landmark_checkpoint
    )
    assert "give one cache for each kind of clips" in refused(pixel_cache.path, pixel_cache.path, *two)
    assert "--calibrate goes with one --checkpoint" in refused(
        pixel_cache.path, landmark_cache.path, *two, "--calibrate"
    )
    assert "not one clip of split 'test' is in all caches" in refused(
        pixel_cache.path, landmark_cache.path, *two, "--split", "test"
    )


def test_caches_that_label_a_clip_otherwise_are_refused(
    pixel_checkpoint: Path, landmark_checkpoint: Path, pixel_cache: Cache, landmark_cache: Cache, signs: Path,
    tmp_path: Path,
) -> None:  # fmt: skip
    one, other = landmark_cache.vocabulary.glosses

    def exchanged(path: Path, text: str) -> str:
        return text.replace(f'"{one}"', '"?"').replace(f'"{other}"', f'"{one}"').replace('"?"', f'"{other}"')

    rebuilt(signs, tmp_path, landmark_cache.clip_spec, exchanged)
    result = invoke("evaluate", pixel_cache.path, tmp_path / "b.zarr", *both(pixel_checkpoint, landmark_checkpoint))
    assert "b.zarr: labels " in str(result.exception) and "from the same labels" in str(result.exception)

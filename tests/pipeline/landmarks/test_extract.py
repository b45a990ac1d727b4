"""Extraction, beside MediaPipe's own answers to the same pictures, which `make_reference.py` wrote down."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from signprep.pipeline.landmarks.mediapipe.extract import LandmarkExtractor, PictureFrames, Track
from signprep.pipeline.landmarks.points import MEDIAPIPE_BODY, PARTS
from signprep.pipeline.video.pyav_reader import open_video
from tests.generated_videos import write_video
from tests.pipeline.landmarks import pictures

REFERENCE = json.loads((Path(__file__).parent / "reference.json").read_text(encoding="utf-8"))
STILL = ("astronaut", "smaller", "hands", "mirrored")
FOLLOWED = ("still", "moving", "signing")
LARGEST = {"body": 0.02, "left_hand": 0.03, "right_hand": 0.03, "face": 0.02}
"""Of the shoulders' distance."""


@pytest.fixture(scope="module")
def clips() -> dict[str, list[np.ndarray]]:
    found = pictures.clips()
    if found is None:
        pytest.skip("scikit-image is not installed")
    return found


def distances(frames: list[np.ndarray], found: np.ndarray, name: str) -> dict[str, list[np.ndarray]]:
    """For each part, of each frame that MediaPipe saw it in, how far its points are apart in shoulders' distances."""
    size = np.array([frames[0].shape[1], frames[0].shape[0]])
    apart: dict[str, list[np.ndarray]] = {part: [] for part in PARTS}
    for answer, landmarks in zip(REFERENCE[name], found, strict=True):
        pose = np.array(answer["pose"])
        shoulders = np.hypot(*((pose[11] - pose[12])[:2] * size))
        wanted = answer | {"body": pose[list(MEDIAPIPE_BODY)]}
        for part, where in PARTS.items():
            seen = landmarks[where]
            if part not in wanted:
                assert np.isnan(seen[:, :2]).all() and not seen[:, 2].any()
                continue
            there = np.array(wanted[part])[:, :2]
            inside = ((there >= 0) & (there <= 1)).all(axis=1)
            assert (np.isfinite(seen[:, 0]) == inside).mean() > 0.9  # points at the very edge
            both = inside & np.isfinite(seen[:, 0])
            apart[part].append(np.hypot(*((seen[both, :2] - there[both]) * size).T) / shoulders)
    return apart


@pytest.mark.parametrize("name", STILL)
def test_a_picture_has_the_landmarks_that_mediapipe_finds(
    name: str, clips: dict[str, list[np.ndarray]], extractor: LandmarkExtractor
) -> None:
    found = extractor(clips[name])
    assert found.shape == (1, 75, 3) and found.dtype == np.float32
    for part, apart in distances(clips[name], found, name).items():
        assert all(one.max() <= LARGEST[part] for one in apart), part
    visibility = np.array(REFERENCE[name][0]["pose"])[list(MEDIAPIPE_BODY), 2]
    seen = np.isfinite(found[0, PARTS["body"], 0])
    assert np.abs(found[0, PARTS["body"], 2] - visibility)[seen].max() < 0.02


@pytest.mark.parametrize("name", FOLLOWED)
def test_a_clip_is_followed_as_mediapipe_follows_it(
    name: str, clips: dict[str, list[np.ndarray]], extractor: LandmarkExtractor
) -> None:
    # The models' answers have steps: one cell of a heatmap more or less moves a single point by a tenth.
    for part, apart in distances(clips[name], extractor(clips[name]), name).items():
        assert all(np.median(one) <= LARGEST[part] / 2 for one in apart), part
        assert not apart or np.mean(np.concatenate(apart) <= LARGEST[part]) >= 0.9, part


def test_nothing_is_carried_from_one_clip_to_the_next(
    clips: dict[str, list[np.ndarray]], extractor: LandmarkExtractor
) -> None:
    first = extractor(clips["signing"][:3])
    extractor(clips["moving"][:2])
    assert np.array_equal(extractor(clips["signing"][:3]), first, equal_nan=True)
    assert extractor([]).shape == (0, 75, 3)


def test_a_stream_that_is_followed_has_the_points_of_a_clip_of_its_frames(
    clips: dict[str, list[np.ndarray]], extractor: LandmarkExtractor
) -> None:
    nobody = np.zeros_like(clips["signing"][0])
    frames, others = [*clips["signing"][:3], nobody, clips["signing"][4]], clips["moving"][:5]
    one, other = Track(), Track()
    here, there = [], []
    for frame, elsewhere in zip(frames, others, strict=True):
        here.append(extractor.follow(frame, one))
        there.append(extractor.follow(elsewhere, other))
    assert np.array_equal(np.stack(here), extractor(frames), equal_nan=True)
    assert np.array_equal(np.stack(there), extractor(others), equal_nan=True)


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((360, 640, 3), np.uint8),
        np.random.default_rng(0).integers(0, 256, (480, 360, 3), np.uint8),
        np.full((1, 1, 3), 200, np.uint8),
    ],
    ids=["black", "noise", "one pixel"],
)
def test_without_a_person_nothing_is_seen(frame: np.ndarray, extractor: LandmarkExtractor) -> None:
    found = extractor([frame, frame])
    assert np.isnan(found[..., :2]).all() and not found[..., 2].any()


def test_of_two_people_the_larger_one_is_followed(
    clips: dict[str, list[np.ndarray]], extractor: LandmarkExtractor
) -> None:
    large = clips["astronaut"][0][:, :420]
    small = large[::2, ::2]
    both = np.full((512, 700, 3), 128, np.uint8)
    both[:, :420], both[256:, 490:] = large, small
    for frames, side in (([both] * 2, 0.3), ([np.ascontiguousarray(both[:, ::-1])] * 2, 0.7)):
        nose = extractor(frames)[:, 0]
        assert nose[:, 0] == pytest.approx([side] * 2, abs=0.1) and nose[:, 2].min() > 0.9


def test_hands_out_of_the_picture_are_not_seen_and_the_body_is(
    clips: dict[str, list[np.ndarray]], extractor: LandmarkExtractor
) -> None:
    found = extractor([clips["signing"][0][:260]])[0]
    assert not found[PARTS["left_hand"], 2].any() and not found[PARTS["right_hand"], 2].any()
    assert found[:7, 2].min() > 0.9 and np.isfinite(found[:7]).all()


def test_a_person_who_comes_back_is_found_again(
    clips: dict[str, list[np.ndarray]], extractor: LandmarkExtractor
) -> None:
    person = clips["astronaut"][0]
    found = extractor([person, np.zeros_like(person), person[:, ::-1]])
    assert found[0, 0, 2] > 0.9 and not found[1, :, 2].any() and found[2, 0, 2] > 0.9
    assert found[2, 0, 0] == pytest.approx(1 - found[0, 0, 0], abs=0.02)


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({"width": 320, "height": 180}, (360, 640, 3)),
        ({"width": 180, "height": 320}, (640, 360, 3)),
        ({"width": 320, "height": 180, "display_degrees": 90}, (640, 360, 3)),
    ],
)
def test_the_models_see_upright_pictures_with_a_long_side_of_640(
    options: dict[str, Any], shape: tuple[int, ...], tmp_path: Path
) -> None:
    path = write_video(tmp_path / "video.mp4", 3, **options)
    with open_video(path) as reader:
        prepare = PictureFrames(reader.pixel_aspect)
        pictures_seen = [prepare(shown.frame) for shown in reader.answers_at(np.array([0.0, 0.05]))]
    assert [picture.shape for picture in pictures_seen] == [shape] * 2
    edges = [pictures_seen[0][at] for at in (0, -1, (slice(None), 0), (slice(None), -1))]
    assert all(edge.dtype == np.uint8 and edge.max() > 30 for edge in edges)  # no black bars

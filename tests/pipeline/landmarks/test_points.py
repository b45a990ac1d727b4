import json
from pathlib import Path

import numpy as np
import pytest

from signprep.pipeline.landmarks import points
from signprep.pipeline.landmarks.points import PARTS, SIGNER75, from_mediapipe, from_openpose

# The names that both projects publish for the numbers of their points.
OPENPOSE_BODY_25 = [
    "nose", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist",
    "mid_hip", "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle", "right_eye",
    "left_eye", "right_ear", "left_ear",
]  # fmt: skip
MEDIAPIPE_POSE = [
    "nose", "left_eye_inner", "left_eye", "left_eye_outer", "right_eye_inner", "right_eye", "right_eye_outer",
    "left_ear", "right_ear", "mouth_left", "mouth_right", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_pinky", "right_pinky", "left_index", "right_index",
    "left_thumb", "right_thumb", "left_hip", "right_hip",
]  # fmt: skip
COUNTS = {from_openpose: (25, 21, 21, 70), from_mediapipe: (33, 21, 21, 468)}


def numbered(count: int, first: int) -> np.ndarray:
    """Points whose x tells their number."""
    found = np.full((count, 3), 0.5, np.float32)
    found[:, 0] = np.arange(first, first + count)
    return found


def test_the_order_has_75_points_of_different_names() -> None:
    assert len(SIGNER75) == len(set(SIGNER75)) == 75
    assert [SIGNER75[part][0] for part in PARTS.values()] == [
        "nose",
        "left_hand_wrist",
        "right_hand_wrist",
        "right_brow_1",
    ]


@pytest.mark.parametrize(("origin", "published"), [(from_openpose, OPENPOSE_BODY_25), (from_mediapipe, MEDIAPIPE_POSE)])
def test_points_of_the_body_are_those_of_their_names(origin: object, published: list[str]) -> None:
    found = origin(numbered(COUNTS[origin][0], 0), None, None, None, size=(100, 1))
    numbers = (found[PARTS["body"], 0] * 100).round().astype(int)
    assert tuple(published[number] for number in numbers) == points.BODY


@pytest.mark.parametrize("origin", COUNTS)
def test_hands_are_the_signers_own_and_keep_their_order(origin: object) -> None:
    found = origin(None, numbered(21, 0), numbered(21, 50), None, size=(100, 1))
    assert (found[PARTS["left_hand"], 0] * 100).round().tolist() == list(range(21))
    assert (found[PARTS["right_hand"], 0] * 100).round().tolist() == list(range(50, 71))
    assert np.isnan(found[PARTS["body"], :2]).all() and not found[PARTS["face"], 2].any()


def test_openpose_points_of_the_face_are_brows_and_lips_of_the_68() -> None:
    found = (from_openpose(None, None, None, numbered(70, 0), size=(100, 1))[PARTS["face"], 0] * 100).round().tolist()
    assert found[:10] == list(range(17, 27)) and set(found[10:18]) <= set(range(48, 60)) and found[18:] == [62, 66]


def test_mediapipe_points_of_the_face_lie_where_their_names_say() -> None:
    face = json.loads((Path(__file__).parent / "reference.json").read_text(encoding="utf-8"))["astronaut"][0]["face"]
    place = {name: np.array(point[:2]) for name, point in zip(points.FACE, face, strict=True)}
    # She faces us: her right is on the picture's left.
    across = [f"right_brow_{n}" for n in "12345"] + [f"left_brow_{n}" for n in "12345"]
    assert (np.diff([place[name][0] for name in across]) > 0).all()
    lips = ["right_mouth_corner", "upper_lip_right", "upper_lip", "upper_lip_left", "left_mouth_corner"]
    assert (np.diff([place[name][0] for name in lips]) > 0).all()
    assert place["lower_lip_right"][0] < place["lower_lip"][0] < place["lower_lip_left"][0]
    middle = ["upper_lip", "upper_lip_inside", "lower_lip_inside", "lower_lip"]
    assert (np.diff([place[name][1] for name in middle]) > 0).all()
    assert max(place[name][1] for name in across) < place["upper_lip"][1]


def test_what_has_no_confidence_or_lies_outside_was_not_seen() -> None:
    body = np.tile(np.float32([50, 20, 0.7]), (2, 25, 1))
    body[0, 0] = 50, 20, 0
    body[0, 16] = -1, 20, 0.9
    body[0, 15] = 50, 41, 0.9
    body[1, 0] = np.nan, 20, 0.9
    body[1, 16] = 100, 40, 3
    found = from_openpose(body, None, None, None, size=(100, 40))
    assert found.shape == (2, 75, 3) and found.dtype == np.float32
    for unseen in (found[0, :3], found[1, :1]):
        assert np.isnan(unseen[:, :2]).all() and not unseen[:, 2].any()
    assert found[1, 1].tolist() == [1, 1, 1] and found[1, 2].tolist() == pytest.approx([0.5, 0.5, 0.7])

"""Landmarks over the pictures of a rendered video: where they are, when they are shown, and what stays as it was."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from signprep.inference.timeline.overlay import LandmarkTrack, draw_landmarks
from signprep.inference.timeline.render import render_timeline
from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.clips import Clip, Span
from signprep.pipeline.landmarks.crop import in_crop, in_picture
from signprep.pipeline.landmarks.points import NUM_POINTS, SIGNER75
from tests.generated_videos import write_video

SPEC = ClipSpec(num_frames=2, landmarks="mediapipe", crop="full")
SIZE = (160, 96)
SHOULDERS = [SIGNER75.index("left_shoulder"), SIGNER75.index("right_shoulder")]


def clip(*seconds: float, y: float = 0.5, step: float = 0.0) -> Clip:
    """A clip of two shoulders, `y` sides below the top of the square in its first frame, and `step` more in each."""
    frames = np.full((len(seconds), NUM_POINTS, 3), np.nan, np.float16)
    frames[..., 2] = 0
    for number, frame in enumerate(frames):
        frame[SHOULDERS] = [(0.75, y + number * step, 1), (0.25, y + number * step, 1)]
    return Clip(frames=frames, span=Span(seconds[0], seconds[-1]), sampled_seconds=np.array(seconds))


def track(*clips: Clip) -> LandmarkTrack:
    made = LandmarkTrack(SPEC)
    for one in clips:
        made.add(one)
    return made


def shoulder(of: LandmarkTrack, seconds: float) -> list[float]:
    found = of.at(seconds, SIZE)
    assert found is not None
    return found[SHOULDERS[0], :2].tolist()


def test_between_two_frames_points_lie_between_theirs() -> None:
    # The whole picture, 160 x 96, is centred in a square of 160.
    made = track(clip(1.0, 1.2, y=0.5, step=0.1))
    assert shoulder(made, 1.0) == pytest.approx([120, 48], abs=0.1)
    assert shoulder(made, 1.05) == pytest.approx([120, 52], abs=0.1)
    assert shoulder(made, 1.2) == pytest.approx([120, 64], abs=0.1)


def test_what_one_frame_does_not_show_is_where_the_nearer_one_has_it() -> None:
    one = clip(1.0, 1.2)
    one.frames[1] = np.nan
    one.frames[1, :, 2] = 0
    assert shoulder(track(one), 1.05) == pytest.approx([120, 48], abs=0.1)
    assert np.isnan(shoulder(track(one), 1.15)).all()


def test_windows_that_overlap_are_not_mixed() -> None:
    made = track(clip(1.0, 1.2), clip(1.1, 1.3, y=0.7), clip(1.3, 1.5, y=0.6))
    assert shoulder(made, 1.15) == pytest.approx([120, 48], abs=0.1)
    assert shoulder(made, 1.4) == pytest.approx([120, 64], abs=0.1)


def test_clips_that_show_boxes_of_their_own_meet_in_the_picture() -> None:
    made = LandmarkTrack(replace(SPEC, crop="signer"))
    made.add(replace(clip(1.0, 1.2), crop_box=(0.0, 0.0, 0.6, 1.0)))
    made.add(replace(clip(1.3, 1.5), crop_box=(0.4, 0.5, 1.0, 1.0)))
    assert shoulder(made, 1.2) == pytest.approx([0.45 * 160, 48], abs=0.1)
    assert shoulder(made, 1.25) == pytest.approx([0.65 * 160, 60], abs=0.1)
    assert shoulder(made, 1.3) == pytest.approx([0.85 * 160, 72], abs=0.1)


def test_far_from_every_frame_nothing_is_shown() -> None:
    made = track(clip(1.0, 1.2), clip(3.0, 3.2))
    assert [made.at(seconds, SIZE) is not None for seconds in (0.8, 0.95, 1.28, 2.0, 2.95, 3.25, 3.4)] == [
        False, True, True, False, True, True, False,
    ]  # fmt: skip
    assert track().at(0.0, SIZE) is None


@pytest.mark.parametrize("crop", ["center", "full", "0.1,0.2,0.8,0.9"])
@pytest.mark.parametrize("aspect", [Fraction(1), Fraction(64, 45)])
def test_points_of_a_crop_find_their_place_in_the_picture_again(crop: str, aspect: Fraction) -> None:
    points = np.random.default_rng(0).random((2, NUM_POINTS, 3), np.float32)
    spec = ClipSpec(landmarks="mediapipe", crop=crop)
    for size in ((1920, 1080), (360, 640)):
        again = in_picture(in_crop(points, size, spec, aspect), size, spec, aspect)
        np.testing.assert_allclose(again, points, atol=1e-5)


def test_a_rendered_video_shows_the_points_and_its_own_picture_everywhere_else(tmp_path: Path) -> None:
    video = write_video(tmp_path / "video.mp4", 12)
    for name, landmarks in (("plain", None), ("drawn", track(clip(0.0, 0.2, y=0.5)))):
        render_timeline(video, [], tmp_path / f"{name}.mp4", landmarks=landmarks)
    plain, drawn = (
        [frame.to_ndarray(format="rgb24").astype(int) for frame in av.open(str(tmp_path / name)).decode(video=0)]
        for name in ("plain.mp4", "drawn.mp4")
    )
    assert len(plain) == len(drawn) == 12 and plain[0].shape == drawn[0].shape
    for one, other in zip(plain[:6], drawn[:6], strict=True):
        assert other[48, 50:110].min() > 130  # the line between the shoulders, grey
        far = np.abs(one - other)[np.r_[0:36, 60 : len(one)]]
        assert far.mean() < 2
    assert np.abs(plain[-1] - drawn[-1]).mean() < 2  # no frame of a clip is near


def test_points_outside_the_picture_are_cut_off_at_its_edge() -> None:
    planes = [np.full(shape, 60, np.uint8) for shape in ((96, 160), (48, 80), (48, 80))]
    points = np.full((NUM_POINTS, 3), np.nan, np.float32)
    draw_landmarks(planes, points)
    assert all((plane == 60).all() for plane in planes)
    points[SHOULDERS] = [(-50, 40, 1), (80, 40, 1)]
    draw_landmarks(planes, points)
    assert (planes[0][40, :79] > 150).all() and (planes[0][:, 90:] == 60).all()
    points[SHOULDERS] = [(-50, -40, 1), (-80, -40, 1)]
    draw_landmarks(planes, points)
    points[SHOULDERS] = [(500, 400, 1), (800, 400, 1)]
    draw_landmarks(planes, points)
    assert (planes[0][:30] == 60).all() and (planes[0][60:] == 60).all()

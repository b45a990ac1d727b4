"""Landmarks from keypoints as AIHub delivers them, a JSON file a frame, where they lie.

In: the files of a clip. Out: clips of landmarks, whose frames are those that a video's clip would show, and whose
points lie where they would lie in its pictures.
"""

import json
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.clips import Clip, MiddleWindow, Span
from signprep.pipeline.datasets.files.frame_files import FrameFiles
from signprep.pipeline.errors import AnnotationError, DecodeError
from signprep.pipeline.landmarks.crop import made_clip
from signprep.pipeline.landmarks.points import Points, from_openpose
from signprep.pipeline.video.frame_times import sample_times, shown_frames

FRAMES_PER_SECOND = 30
"""Rate of AIHub's recordings: frame n was shown from n / 30 s on."""
_NUM_POINTS = {"pose": 25, "hand_left": 21, "hand_right": 21, "face": 70}
"""Points of each part in OpenPose's order."""
_BOUNDS = np.cumsum(list(_NUM_POINTS.values()))[:-1]


def clips_of_keypoints(
    files: FrameFiles, spans: Sequence[Span | MiddleWindow], spec: ClipSpec, name: str
) -> list[Clip | DecodeError]:
    """Return for each span its clip of landmarks, or the DecodeError that tells why there is none.

    Args:
        files: the keypoints of a video.
        spans: in any order.
        spec: with `landmarks`, and the size of the pictures that the keypoints were found in.
        name: what errors call the keypoints.
    """
    numbers = np.asarray(files.frames.numbers)

    def read(places: NDArray[np.int64]) -> Points:
        return landmarks_of(files, places, spec.picture_size)

    end = float(numbers[-1] + 1) / FRAMES_PER_SECOND
    return clips_of_landmarks(numbers / FRAMES_PER_SECOND, end, read, spec.picture_size, spans, spec, name)


def clips_of_landmarks(
    shown_seconds: NDArray[np.float64],
    end_of_all: float,
    read: Callable[[NDArray[np.int64]], Points],
    size: tuple[int, int],
    spans: Sequence[Span | MiddleWindow],
    spec: ClipSpec,
    name: str,
) -> list[Clip | DecodeError]:
    """Return for each span its clip of landmarks, or the DecodeError that tells why there is none.

    Args:
        shown_seconds: when each frame is shown, ascending.
        end_of_all: when the last one ends.
        read: returns the landmarks of frames by their places, float32 [n, 75, 3], x and y in parts of the picture; it
            may raise AnnotationError and DecodeError.
        size: width and height of the picture in pixels.
        spans: in any order.
        spec: with `landmarks`.
        name: what errors call them.
    """
    clips: list[Clip | DecodeError] = []
    for asked in spans:
        span = asked.span(end_of_all) if isinstance(asked, MiddleWindow) else asked
        start, end = max(0.0, span.start_seconds), min(end_of_all, span.end_seconds)
        try:
            if not start < end:
                raise DecodeError(
                    f"the span from {span.start_seconds:.3f} to {span.end_seconds:.3f} s lies outside the landmarks, "
                    f"which end at {end_of_all:.3f} s"
                )
            places = shown_frames(shown_seconds, sample_times(start, end, spec.num_frames))
            if places[0] < 0:
                raise DecodeError(f"there are no landmarks at {start:.3f} s; they begin at {shown_seconds[0]:.3f} s")
            made = made_clip(read(places), size, spec)
        except (DecodeError, AnnotationError) as error:
            clips.append(DecodeError(f"{name}: {error}"))
            continue
        seconds, box = shown_seconds[places], made.crop_box
        clips.append(Clip(frames=made.frames, span=Span(start, end), sampled_seconds=seconds, crop_box=box))
    return clips


def landmarks_of(files: FrameFiles, places: NDArray[np.int64], size: tuple[int, int]) -> Points:
    """Return the landmarks of frames, float32 [n, 75, 3], x and y in parts of the picture.

    Args:
        files: the keypoints of a video.
        places: of the frames in them.
        size: width and height of the picture in pixels.

    Raises AnnotationError if a file cannot be read, DecodeError if it is not of AIHub's form.
    """
    distinct, inverse = np.unique(places, return_inverse=True)
    points = np.stack([points_of_frame(files.read(place), files.name(place)) for place in distinct.tolist()])
    # A point at 0, 0 is one that was not found.
    points[~(np.isfinite(points).all(axis=-1) & points[..., :2].any(axis=-1)), 2] = 0
    body, left, right, face = np.split(points, _BOUNDS, axis=1)
    return from_openpose(body, left, right, face, size=size)[inverse]


def points_of_frame(data: bytes, name: str) -> Points:
    """Return the points of a frame, float32 [137, 3]: x and y in pixels and confidence, of body, hands and face.

    `people` is an object in AIHub's files and a list in OpenPose's; of several people the surest is taken.

    Raises DecodeError if the file is not of that form; the message begins with `name`.
    """
    if (points := _points_of_one(data)) is not None:
        return points
    try:
        people = json.loads(data)["people"]
        found = [_points(person) for person in ([people] if isinstance(people, dict) else people)]
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise DecodeError(f"{name}: is not of the form {{people: {{pose_keypoints_2d: [...]}}}} ({error!r})") from error
    if not found:
        return np.zeros((sum(_NUM_POINTS.values()), 3), np.float32)
    return found[0] if len(found) == 1 else max(found, key=lambda points: float(np.nan_to_num(points[:, 2]).sum()))


_LISTS = [(f'"{part}_keypoints_2d"'.encode(), 3 * count) for part, count in _NUM_POINTS.items()]
_NUMBER_BYTES = b"-+.0123456789eE, \t\n\r\v\f"


def _points_of_one(data: bytes) -> Points | None:
    """Return the points of a frame that has each list of one person once, or None if it is not so.

    Most of AIHub's files is points in space and camera matrices, whose parsing takes a third of a clip's time.
    """
    if data.count(b'_keypoints_2d"') != len(_LISTS) or b'"people"' not in data or not data.rstrip().endswith(b"}"):
        return None
    lists = []
    for name, count in _LISTS:
        start = data.find(name)
        begin = data.find(b"[", start) if start >= 0 else -1
        end = data.find(b"]", begin)
        numbers = data[begin + 1 : end]
        if min(start, begin, end) < 0 or data[start + len(name) : begin].strip() != b":":
            return None
        if numbers.count(b",") != count - 1 or numbers.translate(None, _NUMBER_BYTES):
            return None
        lists.append(numbers)
    try:
        return np.array([*map(float, b",".join(lists).split(b","))], np.float32).reshape(-1, 3)
    except ValueError:
        return None


def _points(person: Mapping[str, list[float]]) -> Points:
    numbers: list[float] = []
    for part, count in _NUM_POINTS.items():
        found = person.get(f"{part}_keypoints_2d") or [0.0] * (3 * count)
        if len(found) != 3 * count:
            raise ValueError(f"{part}_keypoints_2d has {len(found)} numbers, expected {3 * count}")
        numbers += found
    return np.array(numbers, np.float32).reshape(-1, 3)

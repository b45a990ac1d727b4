"""What makes clips of any spec out of the frames of a video; clips of landmarks, by MediaPipe's models."""

import os
import threading
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from av import VideoFrame
from numpy.typing import NDArray

from signprep.pipeline.clip_spec import SIGNER, ClipSpec, LabelBox
from signprep.pipeline.clips import ClipMaker, MadeClip, MakeClips, PixelClips
from signprep.pipeline.landmarks.crop import SignerClips, made_clip
from signprep.pipeline.landmarks.mediapipe.extract import LandmarkExtractor, PictureFrames, Track
from signprep.pipeline.landmarks.mediapipe.models import model_paths
from signprep.pipeline.landmarks.mediapipe.networks import require_packages
from signprep.pipeline.landmarks.points import Points
from signprep.pipeline.video.preprocess import SQUARE


class LandmarkClips:
    """What a video's frames become on the way to clips of landmarks: see `ClipMaker`.

    The points of a clip are found in its own frames alone, so that a clip is the same whatever else is cut; or, if the
    video is followed, in each frame once.
    """

    def __init__(
        self, spec: ClipSpec, pixel_aspect: Fraction = SQUARE, followed: "FollowedLandmarks | None" = None
    ) -> None:
        """Prepare for the frames of one video. Raises SignprepError if the models or LiteRT are not there."""
        self._spec, self._followed = spec, followed
        self._pictures = PictureFrames(pixel_aspect)
        self._extract = _extractor()
        self._upright: tuple[int, int, Fraction] = (1, 1, SQUARE)

    def frame(self, frame: VideoFrame) -> NDArray[Any]:
        """Return the picture that the models look at, uint8 [H, W, 3], or its landmarks, float32 [75, 3]."""
        self._upright = self._pictures.upright_size(frame)
        return self._pictures(frame) if self._followed is None else self._followed.of(frame, self._pictures)

    def clip(self, frames: Sequence[NDArray[Any]], box: LabelBox | None = None) -> MadeClip:
        """Return the landmarks of frames, float16 [T, 75, 3]; they say where the signer is, and no box."""
        landmarks = self._extract(frames) if self._followed is None else np.stack(frames)
        width, height, pixel_aspect = self._upright
        return made_clip(landmarks, (width, height), self._spec, pixel_aspect)


class FollowedLandmarks:
    """Makes the makers of one video's clips, whose landmarks are followed through the whole video: see `MakeClips`.

    Each frame that any clip shows is looked at once, in the order of the frames, however many clips show it. A clip's
    points so depend a little on which frames other clips show before it. Clips of pixels are as always.
    """

    def __init__(self) -> None:
        """Begin before the video's first frame."""
        self._track = Track()
        self._frame: VideoFrame | None = None
        self._landmarks: Points = np.empty(0, np.float32)

    def __call__(self, spec: ClipSpec, pixel_aspect: Fraction) -> ClipMaker:
        """Return what makes clips of the spec out of the video's frames."""
        if spec.content == "landmarks":
            return LandmarkClips(spec, pixel_aspect, self)
        return clip_maker(spec, pixel_aspect)

    def of(self, frame: VideoFrame, pictures: PictureFrames) -> Points:
        """Return the landmarks of a frame, float32 [75, 3]: of the last one again, or of one that comes after it."""
        if frame is not self._frame:
            self._landmarks, self._frame = _extractor().follow(pictures(frame), self._track), frame
        return self._landmarks


class TwinFrames(NamedTuple):
    """One clip twice: as `Clip.frames` of a `TwinClips`."""

    pixels: NDArray[np.uint8]
    landmarks: MadeClip


class TwinClips:
    """Clips of pixels and of landmarks out of the same decoded frames: see `ClipMaker`."""

    def __init__(self, landmark_spec: ClipSpec, spec: ClipSpec, pixel_aspect: Fraction) -> None:
        """Prepare for the frames of one video, by the specs of both."""
        self._pixels = clip_maker(spec, pixel_aspect)
        self._landmarks = LandmarkClips(landmark_spec, pixel_aspect)

    def frame(self, frame: VideoFrame) -> tuple[Any, NDArray[np.uint8]]:
        """Return what both keep of a frame."""
        return self._pixels.frame(frame), self._landmarks.frame(frame)

    def clip(self, frames: Sequence[tuple[Any, NDArray[np.uint8]]], box: LabelBox | None = None) -> MadeClip:
        """Return both clips, with the box of the pixels."""
        pixels, pictures = zip(*frames, strict=True)
        made = self._pixels.clip(pixels, box)
        return MadeClip(TwinFrames(made.frames, self._landmarks.clip(pictures)), made.crop_box)


def require_models() -> None:
    """Raise SignprepError, with what to do, unless landmarks can be found in videos here."""
    require_packages()
    model_paths()


_LOCAL = threading.local()
_OPENING = threading.Lock()


def _extractor() -> LandmarkExtractor:
    """Return the extractor of this thread, which keeps its models open."""
    if getattr(_LOCAL, "process", None) != os.getpid():
        with _OPENING:  # two threads that import OpenCV at once see half of it
            _LOCAL.extractor, _LOCAL.process = LandmarkExtractor(), os.getpid()
    extractor: LandmarkExtractor = _LOCAL.extractor
    return extractor


def clip_maker(spec: ClipSpec, pixel_aspect: Fraction) -> ClipMaker:
    """Return what makes clips of the spec's content: `make` of `iterate_clips` where specs are of both."""
    return makes_clips(spec)(spec, pixel_aspect)


def makes_clips(spec: ClipSpec) -> MakeClips:
    """Return what makes clips of this content and crop out of frames: `make` of `extract_clips`."""
    if spec.content == "landmarks":
        return LandmarkClips
    return SignerClips if spec.crop == SIGNER else PixelClips

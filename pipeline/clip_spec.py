"""ClipSpec: everything that decides the bytes of a stored clip, apart from the video and the span."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from signprep.pipeline.options import Options, option

PREPROCESSING_VERSION = 2
"""Raised with every change that alters the bytes of a clip from the same video, span and ClipSpec."""

SEGMENT_SPAN = "segment"
WHOLE_VIDEO_END = 86_400.0
"""End in seconds of a segment that ends with its video; every span is clipped to the video."""
SIGNER = "signer"
"""`ClipSpec.crop` of clips that show the square around what the signer reaches, each clip its own."""

CropBox = tuple[float, float, float, float]
"""x0, y0, x1, y1 in parts of the upright picture."""

LabelBox = tuple[float, float, float, float]
"""Where a label says that the signer is, x0, y0, x1, y1 of the upright picture: in parts of its width and height, or in
its pixels where x1 or y1 is above `LARGEST_PART`. A box of parts may reach out of the picture; one of so few pixels
means nothing, so that the numbers tell their unit."""
LARGEST_PART = 2.0

DEFAULT_ORIGIN = "aihub"
ORIGINS = (DEFAULT_ORIGIN, "mediapipe", "files")
"""Where landmarks come from; the first is that of a model of landmarks unless another is asked for."""

NUM_LANDMARKS = 75
"""Points of a frame of landmarks: see `pipeline.landmarks.points`."""

MAX_CLIP_BYTES = 2**30
"""The limit of a clip as raw RGB; Blosc takes less than twice that as one chunk."""


@dataclass(frozen=True, kw_only=True)
class ClipSpec(Options, group="Clips"):
    """The way from a span of a video to a clip of fixed shape. Raises ValueError on values that make no clip."""

    num_frames: int = option(16, "Store this many frames of each clip.", aliases=("--frames",), minimum=1, maximum=1024)
    """Called T in shapes."""
    size: int = option(
        256,
        "Store frames of this height and width in pixels, a multiple of 4.",
        aliases=("--crop-size",),
        minimum=16,
        maximum=2048,
    )
    """Called S in shapes; a multiple of 4, so that the chroma rows of yuv420p fill up."""
    crop: str = option(
        "center",
        "Keep the largest centred square (center), the square around what the signer reaches (signer), the whole frame "
        "with black bars (full), or the box x0,y0,x1,y1 in fractions of the upright frame.",
    )
    pixels: str = option("yuv420p", "Store pixels as I420 or as RGB.", choices=("yuv420p", "rgb24"))
    """`yuv420p`: one I420 frame of shape (3S/2, S), BT.601 limited range. `rgb24`: (S, S, 3)."""
    span: str | float = option(
        SEGMENT_SPAN,
        "Cut this many seconds around the middle of each segment, instead of the segment itself.",
        name="--clip-duration",
        type=float,
        above=0,
        maximum=3600,
        metavar="SECONDS",
        show=lambda span: None if span == SEGMENT_SPAN else span,
    )
    """`segment`: the labelled span. A number: a window of so many seconds, centred on it."""
    margin_seconds: float = option(0.0, "Add this many seconds to both ends of each segment.", minimum=0, maximum=60)

    landmarks: str | None = option(
        None,
        "Store the signer's landmarks instead of pixels: the keypoints that AIHub delivers (aihub), those that "
        "MediaPipe's models find in the frames (mediapipe), or those of .pose, .npz or .parquet files (files).",
        choices=ORIGINS,
    )
    """The landmarks' origin. A clip is then float16 [T, 75, 3]: x and y in sides of the picture that a clip of pixels
    would show, and confidence; `size` and `pixels` decide nothing."""

    keypoint_size: str = option(
        "1920x1080",
        "Take AIHub's keypoints, and files that do not say it, for those of pictures of this size in pixels.",
        metavar="WIDTHxHEIGHT",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.picture_size  # noqa: B018  (raises)
        if self.size % 4:
            raise ValueError(f"size is {self.size}; it must be a multiple of 4 between 16 and 2048")
        if isinstance(self.span, str) and self.span != SEGMENT_SPAN:
            raise ValueError(f"span is {self.span!r}; it must be 'segment' or a number of seconds up to 3600")
        self.crop_box()
        if self.raw_rgb_bytes > MAX_CLIP_BYTES:
            raise ValueError(f"{self.num_frames} frames of {self.size} x {self.size} are over {MAX_CLIP_BYTES} bytes")

    def crop_box(self) -> CropBox | None:
        """Return the box (x0, y0, x1, y1) in fractions of the upright frame, or None for the centred square.

        A clip of the signer has a box of its own; None stands for it until it is found.
        """
        if self.crop in ("center", SIGNER):
            return None
        if self.crop == "full":
            return 0.0, 0.0, 1.0, 1.0
        try:
            x0, y0, x1, y1 = (float(number) for number in self.crop.split(","))
        except ValueError:
            raise ValueError(f"crop is {self.crop!r}; it must be center, signer, full or x0,y0,x1,y1") from None
        if not (0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1):
            raise ValueError(f"crop is {self.crop!r}; it must hold 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1")
        return x0, y0, x1, y1

    @property
    def picture_size(self) -> tuple[int, int]:
        """Width and height in pixels of the pictures that keypoints were found in."""
        width, _, height = str(self.keypoint_size).lower().partition("x")
        if not (width.isdecimal() and height.isdecimal() and 0 < int(width) <= 32768 and 0 < int(height) <= 32768):
            raise ValueError(f"keypoint_size is {self.keypoint_size!r}; it must be WIDTHxHEIGHT, as in 1920x1080")
        return int(width), int(height)

    @property
    def content(self) -> str:
        """`pixels` or `landmarks`."""
        return "pixels" if self.landmarks is None else "landmarks"

    @property
    def dtype(self) -> str:
        """The type of a stored number, by the name that numpy, torch and zarr share."""
        return "uint8" if self.landmarks is None else "float16"

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """Shape of one stored frame, of `dtype`."""
        if self.landmarks is not None:
            return NUM_LANDMARKS, 3
        if self.pixels == "yuv420p":
            return self.size * 3 // 2, self.size
        return self.size, self.size, 3

    @property
    def clip_shape(self) -> tuple[int, ...]:
        """Shape of one stored clip, of `dtype`."""
        return self.num_frames, *self.frame_shape

    @property
    def raw_bytes(self) -> int:
        """Bytes of a clip without compression, as RGB if it is of pixels: what stored sizes are compared with."""
        return self.num_frames * NUM_LANDMARKS * 3 * 2 if self.landmarks is not None else self.raw_rgb_bytes

    @property
    def raw_rgb_bytes(self) -> int:
        """Bytes of a clip of pixels as uncompressed RGB."""
        return self.num_frames * self.size * self.size * 3

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON types; those that decide nothing are left out."""
        fields = asdict(self)
        if self.landmarks is None:
            return {name: value for name, value in fields.items() if name not in ("landmarks", "keypoint_size")}
        unused = {"size", "pixels"} | (set() if self.landmarks in ("aihub", "files") else {"keypoint_size"})
        return {name: value for name, value in fields.items() if name not in unused}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """Inverse of `to_dict`."""
        return cls(**fields)

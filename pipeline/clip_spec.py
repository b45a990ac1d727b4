"""ClipSpec: everything that decides the bytes of a stored clip, apart from the video and the span."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

PREPROCESSING_VERSION = 1
"""Raised with every change that alters the bytes of a clip from the same video, span and ClipSpec."""

SEGMENT_SPAN = "segment"

MAX_CLIP_BYTES = 2**30
"""As raw RGB: what Blosc takes as one chunk is less than twice that."""


@dataclass(frozen=True, kw_only=True)
class ClipSpec:
    """How a span of a video becomes a clip of fixed shape. Raises ValueError on values that make no clip."""

    num_frames: int = 16
    """Frames a clip, T."""
    size: int = 256
    """Height and width of a frame in pixels, S; a multiple of 4 for yuv420p, so that chroma rows fill up."""
    crop: str = "center"
    """`center`: the largest centred square. `full`: everything, with black bars. Or a box `x0,y0,x1,y1` of the
    upright frame in fractions from 0 to 1, with black bars where it is no square."""
    pixels: str = "yuv420p"
    """`yuv420p`: one I420 frame of shape (3S/2, S), BT.601 limited range. `rgb24`: (S, S, 3)."""
    span: str | float = SEGMENT_SPAN
    """`segment`: the labelled span. A number: a window of so many seconds, centred on it."""
    margin_seconds: float = 0.0
    """Added to both ends of a labelled span."""

    def __post_init__(self) -> None:
        if not 1 <= self.num_frames <= 1024:
            raise ValueError(f"num_frames is {self.num_frames}; it must be between 1 and 1024")
        if not 16 <= self.size <= 2048 or self.size % 4:
            raise ValueError(f"size is {self.size}; it must be a multiple of 4 between 16 and 2048")
        if self.pixels not in ("yuv420p", "rgb24"):
            raise ValueError(f"pixels is {self.pixels!r}; it must be yuv420p or rgb24")
        if self.span != SEGMENT_SPAN and not (isinstance(self.span, int | float) and 0 < self.span <= 3600):
            raise ValueError(f"span is {self.span!r}; it must be 'segment' or a number of seconds up to 3600")
        if not 0 <= self.margin_seconds <= 60:
            raise ValueError(f"margin_seconds is {self.margin_seconds}; it must be between 0 and 60")
        self.crop_box()
        if self.raw_rgb_bytes > MAX_CLIP_BYTES:
            raise ValueError(f"{self.num_frames} frames of {self.size} x {self.size} are over {MAX_CLIP_BYTES} bytes")

    def crop_box(self) -> tuple[float, float, float, float] | None:
        """Return the box (x0, y0, x1, y1) in fractions of the upright frame, or None for the centred square."""
        if self.crop == "center":
            return None
        if self.crop == "full":
            return 0.0, 0.0, 1.0, 1.0
        try:
            x0, y0, x1, y1 = (float(number) for number in self.crop.split(","))
        except ValueError:
            raise ValueError(f"crop is {self.crop!r}; it must be center, full or x0,y0,x1,y1") from None
        if not (0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1):
            raise ValueError(f"crop is {self.crop!r}; it must hold 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1")
        return x0, y0, x1, y1

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """Shape of one stored frame, uint8."""
        if self.pixels == "yuv420p":
            return self.size * 3 // 2, self.size
        return self.size, self.size, 3

    @property
    def clip_shape(self) -> tuple[int, ...]:
        """Shape of one stored clip, uint8."""
        return self.num_frames, *self.frame_shape

    @property
    def raw_rgb_bytes(self) -> int:
        """Bytes of a clip as uncompressed RGB, the measure that stored sizes are compared with."""
        return self.num_frames * self.size * self.size * 3

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """Inverse of `to_dict`."""
        return cls(**fields)

"""ModelSpec: a model and its input, as plain data that travels with its weights."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from signprep.pipeline.landmarks.points import NUM_POINTS

SPATIAL_STRIDE = 32
"""All models halve their input five times, so that 32 pixels are the smallest crop."""


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A model and its input."""

    name: str
    """One of `MODEL_SPECS`, or package.module:factory for a custom model."""
    num_frames: int
    crop_size: int
    """Height and width of the input in pixels; 0 for a model of landmarks."""
    dropout_rate: float = 0.5
    mean: float = 0.45
    """Mean of RGB in 0..1 in all channels. Source: PyTorchVideo's Kinetics-400 models, as of `std`."""
    std: float = 0.225

    @property
    def content(self) -> str:
        """The content of the clips that the model reads, as of `ClipSpec.content`."""
        return "pixels" if self.crop_size else "landmarks"

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one clip as the model takes it: channels, frames, height, width, or frames, points and 3."""
        if self.content == "landmarks":
            return self.num_frames, NUM_POINTS, 3
        return 3, self.num_frames, self.crop_size, self.crop_size

    @property
    def input_size(self) -> str:
        """The input's size, as people read it."""
        shown = f"{self.crop_size} x {self.crop_size}" if self.content == "pixels" else f"{NUM_POINTS} landmarks"
        return f"{self.num_frames} frames of {shown}"

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """Inverse of `to_dict`."""
        return cls(**fields)

"""The Zarr v3 codec `signprep.temporal_delta`: each frame minus the one before it, modulo 256.

An array-to-array codec on uint8 chunks [1, T, ...]: frame 0 stays, frame k becomes (frame k - frame k-1) mod 256.
Signing is mostly still background, so the differences compress about twice as well as the frames, losslessly, and
cost T additions to undo. Registered with zarr by entry point: any zarr-python with signprep installed reads it.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from zarr.abc.codec import ArrayArrayCodec
from zarr.core.array_spec import ArraySpec
from zarr.core.buffer import NDBuffer

NAME = "signprep.temporal_delta"


def encode_delta(clip: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the clip [T, ...] with each frame but the first replaced by its difference from the one before.

    >>> encode_delta(np.array([[5], [7], [4]], np.uint8)).ravel().tolist()
    [5, 2, 253]
    """
    delta = np.empty_like(clip)
    delta[0] = clip[0]
    np.subtract(clip[1:], clip[:-1], out=delta[1:])
    return delta


def undo_delta(delta: NDArray[np.uint8]) -> None:
    """Turn differences [T, ...] back into frames, in place.

    Frame by frame: each addition runs over whole, contiguous frames that are still in the processor's cache.
    """
    for k in range(1, len(delta)):
        np.add(delta[k - 1], delta[k], out=delta[k])


@dataclass(frozen=True)
class TemporalDelta(ArrayArrayCodec):
    """zarr-python's face of the codec. It takes no configuration."""

    is_fixed_size = True

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Build from zarr.json's codec entry. Raises ValueError on a configuration, which this codec has none of."""
        if data.get("name") != NAME or data.get("configuration"):
            raise ValueError(f"not a {NAME} codec without configuration: {data}")
        return cls()

    def to_dict(self) -> dict[str, Any]:
        """Return zarr.json's codec entry."""
        return {"name": NAME}

    def validate(self, *, dtype: Any, **_: Any) -> None:
        """Raise ValueError for other element types than uint8."""
        if dtype.to_native_dtype() != np.uint8:
            raise ValueError(f"{NAME} works on uint8 arrays, not {dtype}")

    async def _encode_single(self, chunk_array: NDBuffer, chunk_spec: ArraySpec) -> NDBuffer | None:
        chunk = np.asarray(chunk_array.as_ndarray_like())
        delta = np.stack([encode_delta(clip) for clip in chunk])
        return chunk_spec.prototype.nd_buffer.from_numpy_array(delta)

    async def _decode_single(self, chunk_array: NDBuffer, chunk_spec: ArraySpec) -> NDBuffer:
        chunk = np.array(chunk_array.as_ndarray_like(), copy=True)
        for clip in chunk:
            undo_delta(clip)
        return chunk_spec.prototype.nd_buffer.from_numpy_array(chunk)

    def compute_encoded_size(self, input_byte_length: int, _chunk_spec: ArraySpec) -> int:
        """Return the encoded size in bytes: unchanged."""
        return input_byte_length

"""Landmark files that tests write: `.pose` of pose-format, NPZ and Parquet."""

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

OPENPOSE = {
    "pose_keypoints_2d": [
        "Nose", "Neck", "RShoulder", "RElbow", "RWrist", "LShoulder", "LElbow", "LWrist", "MidHip", "RHip", "RKnee",
        "RAnkle", "LHip", "LKnee", "LAnkle", "REye", "LEye", "REar", "LEar", "LBigToe", "LSmallToe", "LHeel",
        "RBigToe", "RSmallToe", "RHeel",
    ],
    "hand_left_keypoints_2d": [f"H_{number}" for number in range(21)],
    "hand_right_keypoints_2d": [f"H_{number}" for number in range(21)],
    "face_keypoints_2d": [f"F_{number}" for number in range(70)],
}  # fmt: skip
_SIDES = ("EYE_INNER", "EYE", "EYE_OUTER")
MEDIAPIPE = {
    "POSE_LANDMARKS": [
        "NOSE", *(f"{side}_{name}" for side in ("LEFT", "RIGHT") for name in _SIDES), "LEFT_EAR", "RIGHT_EAR",
        "MOUTH_LEFT", "MOUTH_RIGHT",
        *(f"{side}_{name}"
          for name in ("SHOULDER", "ELBOW", "WRIST", "PINKY", "INDEX", "THUMB", "HIP", "KNEE", "ANKLE", "HEEL",
                       "FOOT_INDEX")
          for side in ("LEFT", "RIGHT")),
    ],
    "FACE_LANDMARKS": [str(number) for number in range(468)],
    "LEFT_HAND_LANDMARKS": [f"H{number}" for number in range(21)],
    "RIGHT_HAND_LANDMARKS": [f"H{number}" for number in range(21)],
    "POSE_WORLD_LANDMARKS": [f"W{number}" for number in range(33)],
}  # fmt: skip
"""Components of .pose files and their points, in the order of OpenPose and MediaPipe."""


def pose_bytes(
    components: Mapping[str, Sequence[str]],
    points: NDArray[Any],
    confidence: NDArray[Any],
    *,
    size: tuple[int, int],
    fps: float = 30,
    version: float = 0.2,
    form: str | None = None,
) -> bytes:
    """Return a .pose file of points [frames, people, points, dims] in pixels, and their confidence."""

    def text(words: str) -> bytes:
        return struct.pack("<H", len(words.encode())) + words.encode()

    form = form or "XYZ"[: points.shape[-1]] + "C"
    out = struct.pack("<f4H", version, *size, 0, len(components))
    for name, names in components.items():
        out += text(name) + text(form) + struct.pack("<3H", len(names), 1, 1) + b"".join(map(text, names))
        out += struct.pack("<2H", 0, 1) + struct.pack("<3H", 255, 0, 0)
    numbers = (round(fps), len(points) % 2**16) if version < 0.15 else (fps, len(points))
    out += struct.pack("<HHH" if version < 0.15 else "<fIH", *numbers, points.shape[1])
    return out + points.astype("<f4").tobytes() + confidence.astype("<f4").tobytes()


def write_parquet(path: Path, columns: Mapping[str, Any], tags: Mapping[str, object] | None = None) -> None:
    """Write a table with these values as its own metadata."""
    table = pa.table(dict(columns))
    pq.write_table(table.replace_schema_metadata({name: str(value) for name, value in (tags or {}).items()}), path)

"""MediaPipe's models as files: taken once out of the wheel that a package registry has, and checked by their hashes.

The wheel cannot be installed beside signprep (it asks for NumPy below 2), and later ones carry no models. It is only
downloaded, by pip with the user's own settings, and opened as the zip that it is.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from signprep.pipeline.errors import SignprepError
from signprep.pipeline.options import Options, option
from signprep.pipeline.runtime.atomic_files import atomic_write
from signprep.pipeline.runtime.installation import has_pip
from signprep.pipeline.runtime.text import first_of

VERSION = "0.10.21"
"""The release of mediapipe whose wheel has the models; all its wheels have the same ones."""
LICENCE = "Apache-2.0"
FETCH = "signprep landmarks --fetch"

POSE_DETECTION, POSE = "pose_detection.tflite", "pose_landmark_full.tflite"
HAND_CROP, HAND = "hand_recrop.tflite", "hand_landmark_full.tflite"
FACE_DETECTION, FACE_MESH = "face_detection_short_range.tflite", "face_landmark.tflite"


@dataclass(frozen=True, kw_only=True)
class LandmarkModels(Options, group="Machine"):
    """Where the models lie that find landmarks."""

    folder: Path | None = option(
        None,
        "Have MediaPipe's models in this folder, not in the user's own or that of SIGNPREP_LANDMARK_MODELS.",
        name="--landmark-models",
        metavar="DIR",
    )

    def root(self) -> Path:
        """Return the folder, by default `signprep/landmarks` in the user's folder of data."""
        if folder := self.folder or os.environ.get("SIGNPREP_LANDMARK_MODELS"):
            return Path(folder)
        return Path(os.environ.get("XDG_DATA_HOME") or Path("~/.local/share").expanduser()) / "signprep" / "landmarks"


class _Member(NamedTuple):
    """A file of the wheel."""

    path: str
    num_bytes: int
    sha256: str


_MEMBERS = {
    POSE_DETECTION: _Member(
        "mediapipe/modules/pose_detection/pose_detection.tflite",
        2_959_046,
        "9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c",
    ),
    POSE: _Member(
        "mediapipe/modules/pose_landmark/pose_landmark_full.tflite",
        6_440_512,
        "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
    ),
    HAND_CROP: _Member(
        "mediapipe/modules/holistic_landmark/hand_recrop.tflite",
        123_792,
        "67d996ce96f9d36fe17d2693022c6da93168026ab2f028f9e2365398d8ac7d5d",
    ),
    HAND: _Member(
        "mediapipe/modules/hand_landmark/hand_landmark_full.tflite",
        5_478_917,
        "11c272b891e1a99ab034208e23937a8008388cf11ed2a9d776ed3d01d0ba00e3",
    ),
    FACE_DETECTION: _Member(
        "mediapipe/modules/face_detection/face_detection_short_range.tflite",
        229_714,
        "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8",
    ),
    FACE_MESH: _Member(
        "mediapipe/modules/face_landmark/face_landmark.tflite",
        1_242_398,
        "1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",
    ),
    "LICENSE": _Member(
        f"mediapipe-{VERSION}.dist-info/LICENSE",
        12_331,
        "8707eef0533987efc5b155d64761eeb6e20793f50b9bd1a68dad1cf4719d0ed8",
    ),
}
MODELS_BYTES = sum(member.num_bytes for member in _MEMBERS.values())


def model_paths(folder: Path | None = None) -> dict[str, Path]:
    """Return where each model lies.

    Args:
        folder: that has them; by default as `LandmarkModels` says.

    Raises SignprepError if one is not there, or is not what it should be.
    """
    folder = LandmarkModels(folder=folder).root()
    if missing := _missing(folder):
        raise SignprepError(
            f"{folder}: MediaPipe's models are not there ({first_of(missing, 2)}); bring them once by `{FETCH}`"
        )
    return {name: folder / name for name in _MEMBERS}


def fetch_models(folder: Path, wheel: Path | None = None) -> bool:
    """Put the models and their licence into a folder, and return True; return False if they are there.

    Args:
        folder: is made if there is none. Each file is seen there whole or not at all.
        wheel: of mediapipe, where it is at hand; by default pip downloads it to a folder that is deleted afterwards.

    Raises SignprepError if the wheel cannot be had, or has other files than expected: then nothing is written.
    """
    if not _missing(folder):
        return False
    with tempfile.TemporaryDirectory(prefix="signprep-") as beside:
        contents = _contents(wheel or _downloaded(Path(beside)))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SignprepError(f"{folder}: this folder cannot be made ({error.strerror})") from error
    for name, content in contents.items():
        with atomic_write(folder / name) as part:
            part.write_bytes(content)
    return True


def _missing(folder: Path) -> list[str]:
    """Return the files that a folder lacks, or has with other bytes."""
    return [name for name, member in _MEMBERS.items() if not _is_whole(folder / name, member)]


def _is_whole(path: Path, member: _Member) -> bool:
    try:
        return path.stat().st_size == member.num_bytes and _sha256(path.read_bytes()) == member.sha256
    except OSError:
        return False


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _downloaded(folder: Path) -> Path:
    """Download the wheel into a folder by the pip of this Python, with its configured index."""
    if not has_pip():
        raise SignprepError(
            f"this Python has no pip to download mediapipe {VERSION} with; download the wheel by other means "
            f"and give it: {FETCH} --wheel FILE"
        )
    asked = ["--quiet", "--no-deps", "--only-binary", ":all:", "--dest", str(folder), f"mediapipe=={VERSION}"]
    wheel_of = ["--python-version", "3.11", "--platform", "manylinux_2_28_x86_64"]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "download", *wheel_of, *asked],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    wheels = list(folder.glob("mediapipe-*.whl"))
    if done.returncode or not wheels:
        told = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        raise SignprepError(
            f"pip cannot download mediapipe {VERSION} ({told[-1] if told else 'no wheel came'}); where the network is "
            f"closed, give a wheel: {FETCH} --wheel FILE"
        )
    return wheels[0]


def _contents(wheel: Path) -> dict[str, bytes]:
    """Return the files out of the wheel, each checked."""
    contents = {}
    try:
        with zipfile.ZipFile(wheel) as archive:
            for name, member in _MEMBERS.items():
                if archive.getinfo(member.path).file_size == member.num_bytes:
                    contents[name] = archive.read(member.path)
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, KeyError, NotImplementedError, RuntimeError) as error:
        raise SignprepError(f"{wheel}: this is no wheel of mediapipe {VERSION} ({error})") from error
    wrong = [name for name, member in _MEMBERS.items() if _sha256(contents.get(name, b"")) != member.sha256]
    if wrong:
        raise SignprepError(
            f"{wheel}: {first_of(wrong, 2)} in it is not that of mediapipe {VERSION}; nothing was taken out of it"
        )
    return contents

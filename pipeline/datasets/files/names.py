"""What files of a data root are by their names alone: videos, landmarks, frames of keypoints, archives, pieces of them.

In: names as a folder or an archive lists them. Nothing is touched on disk: a folder may hold a million files.
"""

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".mkv", ".avi", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".3gp"})
FURTHER_VIDEO_SUFFIXES = frozenset({
    ".mts", ".m2ts", ".m2t", ".m2v", ".vob", ".wmv", ".asf", ".flv", ".f4v", ".ogv", ".3g2", ".mxf", ".rm", ".rmvb",
    ".divx", ".dv", ".qt", ".m4p", ".mpe", ".mp4v",
})  # fmt: skip
"""Videos too. Beside one of `VIDEO_SUFFIXES` with the same base name they are passed over: it was made from them."""
LANDMARK_SUFFIXES = (".pose", ".npz", ".parquet")
"""Files of landmarks, one a video. Beside a table's video the first in this order is taken."""

KEYPOINT_SUFFIX = "_keypoints.json"
SEQUENCE_SUFFIX = f"_*{KEYPOINT_SUFFIX}"
"""The end of the name that stands for all files of a clip that are one a frame."""
FRAME_FILE = re.compile(rf"(?P<base>.+)_(?P<frame>\d{{12}}){re.escape(KEYPOINT_SUFFIX)}", re.DOTALL)

ARCHIVE_PIECE = re.compile(r"(?P<archive>.+\.(?:zip|tar))\.(?P<word>part)?(?P<number>\d+)", re.IGNORECASE)
_ODD_PIECE = re.compile(r"\.(?:zip|tar)[._-](?:part[._-]?)?(?:[a-z]{2}|\d+)$", re.IGNORECASE)
_OTHER_ARCHIVE = re.compile(
    r"\.(tar|tgz|tbz2?|txz|gz|bz2|xz|zst|7z|rar|alz|egg|zipx|lzh|cab|iso|z\d\d)(\.(part)?\d+)?$", re.IGNORECASE
)
_APPLE_DOUBLE = "._"
"""The start of the names of files that macOS writes beside others on foreign disks; they hold no video."""


def is_video(name: str) -> bool:
    """Return True for the name of a video file, by its suffix."""
    return _suffix(name) in VIDEO_SUFFIXES or is_further_video(name)


def is_further_video(name: str) -> bool:
    """Return True for the name of a video of `FURTHER_VIDEO_SUFFIXES`."""
    return _suffix(name) in FURTHER_VIDEO_SUFFIXES


def is_landmark_file(name: str) -> bool:
    """Return True for the name of a file that holds the landmarks of a video, by its suffix."""
    return _suffix(name) in LANDMARK_SUFFIXES


def _suffix(name: str) -> str:
    """Return what `Path(name).suffix` is, in lower case, without making a path of each of a million names."""
    name = name.rpartition("/")[2]
    place = name.rfind(".")
    return name[place:].lower() if 0 < place < len(name) - 1 else ""


def as_whole_files(names: Iterable[str]) -> list[str]:
    """Return a folder's names in order, with one for all pieces of an archive, and one for all frames of a clip.

    Pieces stay what they are where the whole archive is there, too.

    >>> as_whole_files(["b", "a.zip.part10", "a.zip.part9", "c.zip", "c.zip.part0"])
    ['a.zip', 'b', 'c.zip', 'c.zip.part0']
    >>> as_whole_files(["b.mp4", "a_000000000000_keypoints.json", "a_000000000001_keypoints.json"])
    ['a_*_keypoints.json', 'b.mp4']
    """
    there = set(names)
    pieces = {name: whole for name in there if (whole := whole_name(name)) is not None and whole not in there}
    return sorted({_sequence_of(name) or name for name in there - pieces.keys() | set(pieces.values())})


def whole_name(name: str) -> str | None:
    """Return the name of the zip or tar that a file is a piece of, None if it is none.

    >>> whole_name("a.zip.part12"), whole_name("a.zip.001"), whole_name("a.zip")
    ('a.zip', 'a.zip', None)
    """
    match = ARCHIVE_PIECE.fullmatch(name)
    return match["archive"] if match else None


def _sequence_of(name: str) -> str | None:
    match = FRAME_FILE.fullmatch(name) if name.endswith(KEYPOINT_SUFFIX) else None
    return f"{match['base']}{SEQUENCE_SUFFIX}" if match else None


def is_sequence(name: str) -> bool:
    """Return True for the name of a clip's files that are one a frame, with a star for the number."""
    return name.endswith(SEQUENCE_SUFFIX)


def base_name_of(name: str) -> str:
    """Return the name of a file without its suffix; of frames, that of their video.

    >>> base_name_of("01/F_WORD0001/NIA_SL_WORD0001_REAL01_F_*_keypoints.json"), base_name_of("01/a.b.mp4")
    ('NIA_SL_WORD0001_REAL01_F', 'a.b')
    """
    return name.rpartition("/")[2].removesuffix(SEQUENCE_SUFFIX) if is_sequence(name) else PurePosixPath(name).stem


def is_read_archive(name: str) -> bool:
    """Return True for the name of an archive that is read in place."""
    return name.lower().endswith((".zip", ".tar"))


def is_other_archive(name: str) -> bool:
    """Return True for the name of an archive that is not read, or of a piece of one."""
    return _OTHER_ARCHIVE.search(name) is not None


def is_odd_piece(name: str) -> bool:
    """Return True for a piece whose name has no number that is understood, as `split` writes a.zip.aa, a.zip.ab."""
    return _ODD_PIECE.search(name) is not None and whole_name(name) is None


def is_hidden_folder(name: str) -> bool:
    """Return True for a folder that people do not mean: a hidden one, or one that macOS has added to a zip."""
    return (name.startswith(".") and name != "..") or name == "__MACOSX"


def is_passed_over(folders: Iterable[str], name: str) -> bool:
    """Return True for files that systems write beside those of people, by their folders and their own name."""
    return name.startswith(_APPLE_DOUBLE) or any(map(is_hidden_folder, folders))

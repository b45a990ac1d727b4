"""The options of building, merging, reading and reporting on caches, and the locations that they take.

The command line is made from these dataclasses; nothing heavy is imported here, so that `--help` is written at once.
Values are checked where they are made: a ValueError names the field, what came and what was expected. A location is a
folder of this machine, or a URL that fsspec knows a driver for; people and logs see it as `shown`, without a password.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.datasets.annotations import gloss_file_option
from signprep.pipeline.datasets.splits import SplitOptions
from signprep.pipeline.errors import CacheError
from signprep.pipeline.options import REQUIRED, Options, option, workers_option
from signprep.pipeline.runtime.paths import StrPath, as_path

CODECS = ("lz4hc", "zstd", "none", "plain")
CACHE_ARGUMENT: dict[str, Any] = {"positional": True, "aliases": ("--cache",)}
"""The cache that a command works on."""
ON_CONFLICT = ("refuse", "first", "last", "drop")
CLIPS_A_CLASS, CLIPS_A_CHOSEN_CLASS = 4, 16
"""Clips of each class that a report shows by default, and of each one where classes are chosen."""
COMPARED_CLIPS = 30_000
"""Clips that a report compares with one another by default."""


@dataclass(frozen=True, kw_only=True)
class BuildOptions(Options, group="Clips"):
    """Choose how clips are cut and stored, apart from the data."""

    clip_spec: ClipSpec
    codec: str = option(
        "lz4hc",
        "Compress clips by this codec: the fastest (lz4hc), the smallest (zstd), not at all (none), or as readers in "
        "other languages need it (plain).",
        choices=CODECS,
    )
    decoder: str = option("pyav", "Decode videos with this library.", choices=("pyav", "decord"))
    clips_per_shard: int | None = None
    """None takes it from the number of clips, so that small data sets still fill all cores."""


@dataclass(frozen=True, kw_only=True)
class MergeOptions(Options):
    """Choose how several caches become one. Raises ValueError on values that mean nothing."""

    on_conflict: str = option(
        "refuse",
        "If a clip has several glosses, refuse to merge, take it as the first or the last cache has it, or drop it.",
        choices=ON_CONFLICT,
    )
    splits: SplitOptions | None = None
    """None leaves the clips in the splits that they have in their caches."""


@dataclass(frozen=True, kw_only=True)
class Selection(Options, group="Data"):
    """Filters of the clips that are pulled; one that is empty takes all."""

    splits: tuple[str, ...] = option((), "Fetch only the clips of this split; repeat it for several.", name="--split")
    glosses: frozenset[str] = gloss_file_option()
    signers: tuple[str, ...] = option((), "Fetch only this signer's clips; repeat it for several.", name="--signer")

    def __bool__(self) -> bool:
        return bool(self.splits or self.glosses or self.signers)


@dataclass(frozen=True, kw_only=True)
class ReportOptions(Options, group="Output"):
    """Choose what a report on a cache shows."""

    classes: tuple[str, ...] = option((), "Show pictures of this class only; repeat it for several.", metavar="GLOSS")
    """No class means all of them."""
    clips_per_class: int | None = option(
        None,
        f"Show so many clips a class, by default {CLIPS_A_CLASS}, or {CLIPS_A_CHOSEN_CLASS} of chosen ones.",
        minimum=0,
    )
    compare: int | None = option(
        None, f"Compare up to so many clips, by default {COMPARED_CLIPS:,}; 0 compares none.", minimum=0
    )
    landmarks: "Location | None" = None
    """A cache of landmarks of the same clips, whose points are drawn over the pictures."""
    threads: int = 0
    """Threads that read clips and make pictures; 0 for as many as there are cores, 8 at most."""


WEBDATASET, LEROBOT, VIDEO_FOLDER = "webdataset", "lerobot", "imagefolder-of-mp4"
MP4, NPY = "mp4", "npy"


@dataclass(frozen=True, kw_only=True)
class DatasetExportOptions(Options, group="Output"):
    """Choose the form that a cache is written in for other libraries. Raises ValueError on values that mean nothing."""

    to: str = option(
        REQUIRED,
        "Write tars of clips (webdataset), a folder of videos for each class (imagefolder-of-mp4), or Parquet files "
        "with long videos (lerobot).",
        choices=(WEBDATASET, LEROBOT, VIDEO_FOLDER),
    )
    splits: tuple[str, ...] = option(
        (), "Write only the clips of this split; repeat it for several.", name="--split", group="Data"
    )
    crf: int = option(
        16,
        "Compress videos by H.264 with this rate factor: 0 keeps every pixel as it is in the cache, 16 looks like it, "
        "23 is small.",
        minimum=0,
        maximum=51,
    )
    clips: str | None = option(
        None,
        "Put clips into tars as H.264 (mp4), by default, or as plain arrays (npy), as landmarks always are.",
        choices=(MP4, NPY),
    )
    clips_per_tar: int = option(1000, "Put so many clips into a tar.", minimum=1)
    license: str | None = option(
        None,
        "Name the licence of the videos in the data-set card, which otherwise calls it unknown.",
        metavar="NAME",
    )
    workers: int = workers_option("Encode in this many threads; -1 takes all cores.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.clips == NPY and self.to != WEBDATASET:
            raise ValueError(f"clips is {self.clips!r}; only {WEBDATASET} has arrays, {self.to} has videos")


@dataclass(frozen=True, kw_only=True)
class StreamOptions(Options, group="Data"):
    """Choose where a cache behind a URL is kept while it is read."""

    folder: Path | None = option(
        None, "Keep shards that are read from a URL in this folder, not in ~/.cache/signprep.", name="--stream-dir"
    )
    max_bytes: int = option(
        20_000_000_000,
        "Let that folder grow to so many GB; what was used longest ago goes first.",
        name="--stream-gb",
        type=float,
        read=lambda gigabytes: round(gigabytes * 1e9),
        show=lambda num_bytes: num_bytes / 1e9,
        above=0,
    )
    """The bound is on the shards of all caches and processes that share the folder."""

    def root(self) -> Path:
        """Return the folder, by default `signprep` in the user's folder of caches."""
        if self.folder is not None:
            return self.folder
        return Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "signprep"


_URL = re.compile(r"[a-z][a-z0-9+.-]+://.*", re.IGNORECASE | re.DOTALL)
_PASSWORD = re.compile(r"(?<=://)(?P<user>[^/:@\s]*):[^/@\s]*@")
_QUERY = re.compile(r"(?P<url>[a-z][a-z0-9+.-]+://[^\s?'\"]*)\?[^\s'\"]*", re.IGNORECASE)

Location = Path | str


def location_of(value: StrPath) -> Location:
    """Return a path for what lies on this machine, and the URL, without a slash at its end, for anything else.

    >>> location_of("s3://team/aihub.zarr/"), location_of("file:///data/a.zarr").as_posix()
    ('s3://team/aihub.zarr', '/data/a.zarr')

    Raises CacheError if the URL ends after its scheme.
    """
    if not isinstance(value, str) or not is_url(value):
        return as_path(value)
    parts = urlsplit(value)
    if parts.scheme.lower() == "file":
        return Path(unquote(parts.path))
    if not (parts.netloc or parts.path.strip("/")):
        raise CacheError(f"{value}: names no place; expected a URL such as {parts.scheme}://team/name.zarr")
    return value.rstrip("/")


def is_url(value: str) -> bool:
    """Return True if a location is a URL, of whatever scheme."""
    return _URL.fullmatch(value) is not None


def without_secrets(text: str) -> str:
    """Return a text in which no URL has a password or a query: a signed URL's query is a key.

    >>> without_secrets("sftp://kim:geheim@host/a, https://host/b?X-Signature=1")
    'sftp://kim@host/a, https://host/b'
    """
    return _QUERY.sub(r"\g<url>", _PASSWORD.sub(r"\g<user>@", text))


def shown(value: Location) -> str:
    """Return a location as people may see it."""
    return str(value) if isinstance(value, Path) else without_secrets(value)


def location_option(default: Any, help_: str, **description: Any) -> Any:
    """Return the field of a location: an `option` that takes a path or a URL."""
    return option(default, help_, type=str, read=location_of, is_path=True, **description)

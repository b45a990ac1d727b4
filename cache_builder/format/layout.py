"""Formats 1 and 2 of the cache, of pixels and of landmarks: its files, its metadata, its manifest.

NAME.zarr/
  zarr.json         Zarr v3 group; attribute "signprep" (CacheInfo)
  clips/zarr.json   uint8 [N, T, 3S/2, S] or [N, T, S, S, 3], or float16 [N, T, 75, 3]; one inner chunk a clip; sharded
  clips/c/I/0/0...  shard I: positions [I * clips_per_shard, (I + 1) * clips_per_shard)
  index.parquet     a row a position
  manifest.json     every object above with size and hash, and the fingerprint; written last
  .build/           plan and parts of a build that has not ended, and the command that makes or changes the cache
  .seen.parquet     size, time and hash of the local videos, so that a build reads changed ones; no part of the cache
  .synced.json      fingerprints that this folder was pushed or pulled with; no part of the cache
"""

import hashlib
import json
import os
import re
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, partial
from io import BytesIO, RawIOBase
from pathlib import Path
from typing import Any, Self

from signprep.cache_builder.format.codec import CODECS, ClipCodec, codec_of
from signprep.cache_builder.format.shard import MISSING, MIXED
from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.datasets.annotations import Vocabulary
from signprep.pipeline.errors import CacheCorruptError, CacheError, CacheIncompleteError, CacheVersionError

FORMAT_VERSION = 1
LANDMARK_FORMAT_VERSION = 2
"""The version of caches of landmarks, which readers of version 1 do not know."""

GROUP_METADATA = "zarr.json"
ARRAY_METADATA = "clips/zarr.json"
INDEX = "index.parquet"
METADATA = (GROUP_METADATA, ARRAY_METADATA, INDEX)
"""The objects of a cache that are no shards."""
MANIFEST = "manifest.json"
BUILD_FOLDER = ".build"
COMMAND = "command"
"""File of the build folder: the command that is at work, or was stopped."""
UNFINISHED_SUFFIX = ".part"


@dataclass(frozen=True, kw_only=True)
class CacheInfo:
    """The group attribute "signprep", which a reader must know before it touches a clip."""

    clip_spec: ClipSpec
    codec: str
    """A name of `CODECS`."""
    vocabulary: Vocabulary
    num_positions: int
    clips_per_shard: int
    provenance: Mapping[str, Any]
    """Versions that took part in the build; no names of machines, people or folders."""

    @property
    def format_version(self) -> int:
        """The version of the cache's format, which its content decides."""
        return FORMAT_VERSION if self.clip_spec.content == "pixels" else LANDMARK_FORMAT_VERSION

    @property
    def num_shards(self) -> int:
        """Shards that the positions fill."""
        return -(-self.num_positions // self.clips_per_shard)

    @property
    def clip_codec(self) -> ClipCodec:
        """The codec chain."""
        return codec_of(self.codec, self.clip_spec.content)

    def to_dict(self) -> dict[str, Any]:
        """Return the attribute as plain JSON types."""
        return {
            "format_version": self.format_version,
            "clip_spec": self.clip_spec.to_dict(),
            "codec": self.codec,
            "glosses": list(self.vocabulary.glosses),
            "num_positions": self.num_positions,
            "clips_per_shard": self.clips_per_shard,
            "provenance": dict(self.provenance),
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """Inverse of `to_dict`. Raises KeyError, TypeError or ValueError on anything else."""
        codec, glosses, provenance = fields["codec"], fields["glosses"], fields["provenance"]
        if codec not in CODECS:
            raise ValueError(f"codec {codec!r} is none of {', '.join(CODECS)}")
        for name in ("format_version", "num_positions", "clips_per_shard"):
            if type(fields[name]) is not int or fields[name] < 1:
                raise ValueError(f"{name} is {fields[name]!r}, expected a whole number of at least 1")
        if not isinstance(glosses, list) or not all(isinstance(gloss, str) for gloss in glosses):
            raise TypeError(f"glosses are {glosses!r:.60}, expected a list of strings")
        if twice := [gloss for gloss, count in Counter(glosses).items() if count > 1]:
            raise ValueError(f"glosses name {twice[0]!r} twice")
        "".join(glosses).encode()  # half a character cannot be printed
        _check_provenance(provenance)
        info = cls(
            clip_spec=_clip_spec(fields["clip_spec"]),
            codec=codec,
            vocabulary=Vocabulary(glosses=tuple(glosses)),
            num_positions=fields["num_positions"],
            clips_per_shard=fields["clips_per_shard"],
            provenance=provenance,
        )
        if fields["format_version"] != info.format_version:
            content = info.clip_spec.content
            raise ValueError(
                f"format_version is {fields['format_version']}, but clips of {content} are of {info.format_version}"
            )
        return info


def _check_provenance(provenance: Mapping[str, Any]) -> None:
    """Raise KeyError or TypeError where what updates and merges need is not there, or of another type."""
    versions = provenance.get("versions", {}) if isinstance(provenance, dict) else None
    if (
        not isinstance(versions, dict)
        or not all(isinstance(version, str) for version in versions.values())
        or type(provenance["preprocessing_version"]) is not int
        or not isinstance(provenance["decoder"], str)
    ):
        raise TypeError(f"provenance is {provenance!r:.200}")


def _clip_spec(fields: Mapping[str, Any]) -> ClipSpec:
    """Return the ClipSpec of all its fields. Raises KeyError, TypeError or ValueError on anything else."""
    if not isinstance(fields, dict):
        raise TypeError(f"clip_spec is {fields!r:.60}")
    expected = ClipSpec(landmarks=fields.get("landmarks")).to_dict()
    if unknown := sorted(fields.keys() - expected.keys()):
        raise TypeError(f"clip_spec holds {', '.join(unknown):.60}, which means nothing")
    for name in expected:
        kinds = {"num_frames": (int,), "size": (int,), "span": (str, int, float), "margin_seconds": (int, float)}
        if type(fields[name]) not in kinds.get(name, (str,)):
            raise TypeError(f"{name} is {fields[name]!r:.60}")
    return ClipSpec.from_dict(fields)


@dataclass(frozen=True, kw_only=True)
class CacheObject:
    """One file of a cache."""

    num_bytes: int
    hash: str
    """BLAKE2b-128 of its bytes, 32 hexadecimal digits: what the fingerprint is made of, and its name behind a URL."""
    blake3: str | None = field(default=None, compare=False)
    """BLAKE3-128 of its bytes, much faster; None where the package was not installed when they were written."""

    @classmethod
    def of(cls, contents: bytes | Path) -> Self:
        """Return size and hashes of an object's bytes, or of those of a file. Raises OSError."""
        return cls(**_measured(contents, _known_hashes()))

    @property
    def digest(self) -> str:
        """The hash by which bytes are compared: the faster one, where the manifest and this machine have it."""
        return (self.blake3 if "blake3" in _known_hashes() else None) or self.hash

    def matches(self, contents: bytes | Path | RawIOBase, *, by_all: bool = False) -> bool:
        """Return True if these are its bytes, by `digest`, or by all hashes that are known of it. Raises OSError."""
        compared = ("hash", "blake3") if by_all else ("hash" if self.digest == self.hash else "blake3",)
        names = [name for name in compared if name in _known_hashes() and getattr(self, name)]
        return _measured(contents, names) == {name: getattr(self, name) for name in ("num_bytes", *names)}


@cache
def _known_hashes() -> dict[str, Callable[[], Any]]:
    """Return the hash functions that this machine has, by the names of `CacheObject`'s fields."""
    known: dict[str, Callable[[], Any]] = {"hash": partial(hashlib.blake2b, digest_size=16)}
    with suppress(ImportError):
        from blake3 import blake3

        known["blake3"] = blake3
    return known


def _measured(contents: bytes | Path | RawIOBase, names: Iterable[str]) -> dict[str, Any]:
    """Return the size and hashes of these names, 32 hexadecimal digits each: BLAKE3 is cut to them."""
    num_bytes, hashes = 0, {name: _known_hashes()[name]() for name in names}
    opened = contents.open("rb", buffering=0) if isinstance(contents, Path) else contents
    with BytesIO(opened) if isinstance(opened, bytes) else opened as file:
        block = memoryview(bytearray(2**21))  # large: a thread waits for the interpreter's lock once a block
        while length := file.readinto(block):
            num_bytes += length
            for each in hashes.values():
                each.update(block[:length])
    return {"num_bytes": num_bytes} | {name: each.hexdigest()[:32] for name, each in hashes.items()}


def require_object(path: Path, entry: CacheObject) -> None:
    """Raise CacheCorruptError if a file is not the object of a manifest, by all its bytes."""
    try:
        is_object = entry.matches(path)
    except FileNotFoundError as error:
        raise CacheCorruptError(f"{path}: {MISSING}") from error
    except OSError as error:
        raise CacheCorruptError(f"{path}: cannot be read ({error.strerror}); {MIXED}") from error
    if not is_object:
        raise CacheCorruptError(f"{path}: its bytes are not those that were written; {MIXED}")


@dataclass(frozen=True, kw_only=True)
class CacheManifest:
    """Every object of a complete cache by its path inside it."""

    objects: Mapping[str, CacheObject]
    plan_digest: str
    """Digest of the build's plan: the same data and options give the same."""

    @property
    def fingerprint(self) -> str:
        """Return the hash of all objects' paths, sizes and hashes: equal for equal caches."""
        lines = [f"{path} {entry.num_bytes} {entry.hash}\n" for path, entry in sorted(self.objects.items())]
        return hashlib.blake2b("".join(lines).encode(), digest_size=16).hexdigest()

    def to_json(self) -> str:
        """Return the contents of manifest.json."""
        document = {
            "format_version": FORMAT_VERSION,
            "fingerprint": self.fingerprint,
            "plan_digest": self.plan_digest,
            "objects": {path: {"num_bytes": e.num_bytes, "hash": e.hash} for path, e in sorted(self.objects.items())},
        }
        # Beside the objects, not in them: versions that know no BLAKE3 read such a manifest, and go by the other hash.
        if blake3 := {path: entry.blake3 for path, entry in sorted(self.objects.items()) if entry.blake3}:
            document["blake3"] = blake3
        document["checksum"] = _checksum(document)
        return json.dumps(document, ensure_ascii=False, indent=1)

    def write(self, root: Path) -> None:
        """Write manifest.json into a folder, which makes it a finished cache."""
        write_atomically(root / MANIFEST, self.to_json().encode())

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Self:
        """Inverse of `to_json`, of its document. Raises KeyError, TypeError or ValueError on anything else."""
        told = {key: value for key, value in document.items() if key != "checksum"}
        if document["checksum"] != _checksum(told):
            raise ValueError("its checksum does not match")
        if not isinstance(document["plan_digest"], str):
            raise TypeError(f"plan_digest is {document['plan_digest']!r:.60}, expected a string")
        faster = document.get("blake3", {})
        if not isinstance(faster, dict) or faster.keys() - document["objects"].keys():
            raise ValueError("its BLAKE3 hashes are not those of its objects")
        objects = {path: CacheObject(**entry, blake3=faster.get(path)) for path, entry in document["objects"].items()}
        return cls(objects=objects, plan_digest=document["plan_digest"])


def _checksum(document: Mapping[str, Any]) -> str:
    """Return the BLAKE2b-128 of a JSON document in its shortest form with sorted keys."""
    encoded = json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(encoded.encode(), digest_size=16).hexdigest()


def shard_path(info: CacheInfo, number: int) -> str:
    """Return the path of a shard inside the cache, by Zarr's default chunk key encoding."""
    return "/".join(["clips", "c", str(number), *["0"] * len(info.clip_spec.clip_shape)])


def read_info(root: Path) -> CacheInfo:
    """Read the "signprep" attribute of a cache.

    Raises:
        CacheVersionError: there is no cache at this path, or one of a format that this signprep does not know.
        CacheIncompleteError: it is not there yet.
        CacheError: the metadata is damaged.
    """
    path = root / GROUP_METADATA
    if not root.is_dir():
        if root.is_file():
            raise CacheVersionError(f"{root}: is a file; a cache is a folder, NAME.zarr")
        raise CacheVersionError(f"{root}: there is no cache at this path; `signprep build-cache` makes one")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        fields = document["attributes"]["signprep"]
        version = fields["format_version"]
    except PermissionError as error:
        raise CacheError(f"{path}: cannot be read ({error.strerror})") from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        if isinstance(error, FileNotFoundError) and (root / BUILD_FOLDER).is_dir():
            raise incomplete(root) from error
        raise CacheVersionError(
            f"{root}: is no signprep cache (its {GROUP_METADATA} is missing or has no signprep attribute)"
        ) from error
    if version not in (FORMAT_VERSION, LANDMARK_FORMAT_VERSION):
        raise _unknown_version(root, version)
    try:
        return CacheInfo.from_dict(fields)
    except (KeyError, TypeError, ValueError) as error:
        raise CacheError(f"{path}: its signprep attribute is damaged ({error!r})") from error


def _unknown_version(root: object, version: object) -> CacheVersionError:
    return CacheVersionError(
        f"{root}: is a cache of format {version}; this signprep reads formats {FORMAT_VERSION} and "
        f"{LANDMARK_FORMAT_VERSION}: install a newer one"
    )


def read_manifest(root: Path) -> CacheManifest:
    """Read manifest.json.

    Raises:
        CacheIncompleteError: there is none.
        CacheVersionError: it is of a format that this signprep does not know, or the folder holds something else.
        CacheError: it is damaged.
    """
    path = root / MANIFEST
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        if not (root / GROUP_METADATA).exists() and not (root / BUILD_FOLDER).exists():
            what = f"is no signprep cache (it has neither {MANIFEST} nor {GROUP_METADATA})"
            raise CacheVersionError(f"{root}: {what}") from error
        raise incomplete(root) from error
    except OSError as error:
        raise CacheError(f"{path}: cannot be read ({error.strerror})") from error
    return parse_manifest(data, root)


def incomplete(root: Path) -> CacheIncompleteError:
    """Return the error of a cache that is being made or changed, or whose making or change was stopped."""
    try:
        command = (root / BUILD_FOLDER / COMMAND).read_text(encoding="utf-8")
    except (OSError, ValueError):
        command = ""
    named = "the command that makes it (build-cache, merge, pull)"
    if re.fullmatch("[a-z -]{1,20}", command):
        named = f"`signprep {command}`"
    elif (root / BUILD_FOLDER).is_dir():  # an older version's work, or just begun: it may be of any command
        named = "the command that makes or changes it"
    return CacheIncompleteError(
        f"{root}: this cache is not complete; {named} is at work, or was stopped: then the same command goes on"
    )


def finished_manifest(root: Path) -> CacheManifest | None:
    """Return the manifest of a finished cache, None where there is none; raises as `read_manifest`."""
    try:
        (root / MANIFEST).stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:  # which `read_manifest` tells
        pass
    return read_manifest(root)


def parse_manifest(data: bytes, where: object) -> CacheManifest:
    """Return a manifest from the bytes of its file; `where` begins the messages of errors.

    Raises:
        CacheVersionError: it is of a format that this signprep does not know.
        CacheCorruptError: it is damaged.
    """
    try:
        document = json.loads(data.decode())
        version = document["format_version"]
        if version == FORMAT_VERSION:
            return CacheManifest.from_dict(document)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CacheCorruptError(f"{where}: the manifest is damaged ({error!r})") from error
    raise _unknown_version(where, version)


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file beside its place, make it durable, then rename it: it is there whole or not at all."""
    # Process numbers repeat on other machines that write to the same folder.
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}{UNFINISHED_SUFFIX}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        with suppress(OSError):  # what went wrong before is what has to be known
            beside.unlink(missing_ok=True)
        raise CacheError(f"{path}: cannot be written ({error.strerror})") from error


Stamp = tuple[int, int] | None
"""Inode and time of change of a file; None for one that is not there."""


def stamp_of(path: str) -> Stamp:
    """Return the stamp of a file, another one after it was replaced."""
    try:
        status = os.stat(path)  # noqa: PTH116 (a Path takes twice as long)
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns

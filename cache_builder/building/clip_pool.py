"""A team's clip pool: clips that anyone has cut, for everyone who would cut the same ones.

    POOL/SETTINGS/settings.json         what decides the clips' bytes, for people
    POOL/SETTINGS/clips/HASH            stored clips, one after another: what one task of a build has made
    POOL/SETTINGS/parts/HASH.parquet    which clips those are, and where; written after them

A clip's identity is the content of its video, its span, and the settings that decide its bytes, whatever its name and
gloss: data sets share what they have in common. A pool that fails during a build costs time, never clips.
"""

import contextlib
import hashlib
import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from signprep.cache_builder.format.index import LATER_COLUMNS, SCHEMA, completed, parquet_bytes, written_columns
from signprep.cache_builder.format.layout import CacheInfo, CacheObject
from signprep.cache_builder.format.shard import chunk_checksum
from signprep.cache_builder.options import Location
from signprep.cache_builder.remote.push import Visibility, visibility_of
from signprep.cache_builder.remote.storage import RemoteFolder
from signprep.cache_builder.remote.transfer import PARALLEL, coalesce_ranges, torn_uploads
from signprep.pipeline.errors import CacheCorruptError, CacheError
from signprep.pipeline.runtime.text import first_line

MAX_PART_BYTES = 2**26
POOLED_COLUMNS = ("clip_start_seconds", "clip_end_seconds", "sampled_seconds", "crop_box", "seen_fraction")
"""Columns of the index that are a clip's own."""

_SCHEMA = pa.schema(
    [
        *(SCHEMA.field(name).with_nullable(False) for name in ("video_hash", "start_seconds", "end_seconds")),
        *(SCHEMA.field(name).with_nullable(name in LATER_COLUMNS) for name in POOLED_COLUMNS),
        *(pa.field(name, pa.int64(), nullable=False) for name in ("offset", "num_bytes")),
        SCHEMA.field("stored_crc32c"),
    ]
)


class ClipIdentity(NamedTuple):
    """The content and the span that tell a clip from others of equal settings."""

    video_hash: str
    start_seconds: float
    end_seconds: float


class PooledClip(NamedTuple):
    """A clip as it is stored, and the index columns that are its own."""

    chunk: bytes
    columns: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class ClipPool:
    """A clip pool as a build uses it: plain data, for workers too."""

    url: str
    info: CacheInfo
    catalogue: Path
    """SQLite file of what was in the pool when the build began."""

    @cached_property
    def folder(self) -> RemoteFolder:
        """Return the folder of the pool that has clips of these settings."""
        return RemoteFolder(f"{self.url}/{settings_digest(self.info)}")

    @classmethod
    def open(cls, location: Location, info: CacheInfo, catalogue: Path) -> Self:
        """Read what is in a pool.

        Raises CacheError if the pool cannot be reached, or what lies there is no pool's.
        """
        pool = cls(url=_url_of(location), info=info, catalogue=catalogue)
        parts = sorted(name for name in pool.folder.sizes("parts") if name.endswith(".parquet"))
        catalogue.parent.mkdir(parents=True, exist_ok=True)
        catalogue.unlink(missing_ok=True)
        pool.folder.upload(json.dumps(_settings(info), ensure_ascii=False, indent=1).encode(), "settings.json")
        with closing(sqlite3.connect(catalogue)) as database, ThreadPoolExecutor(PARALLEL) as threads, database:
            database.execute("CREATE TABLE clips (identity TEXT PRIMARY KEY, bundle TEXT, row TEXT)")
            for name, table in zip(parts, threads.map(pool._part, parts), strict=True):
                rows = ((_key(row), name.removesuffix(".parquet"), json.dumps(row)) for row in table.to_pylist())
                database.executemany("INSERT OR IGNORE INTO clips VALUES (?, ?, ?)", rows)
        return pool

    def _part(self, name: str) -> pa.Table:
        try:
            data = self.folder.read(f"parts/{name}", limit=MAX_PART_BYTES)
            table = pq.read_table(pa.BufferReader(data), page_checksum_verification=True)
            return completed(table).select(_SCHEMA.names).cast(_SCHEMA)
        except (pa.ArrowException, ValueError, KeyError) as error:
            raise CacheError(
                f"{self.folder}/parts/{name}: is no part of a clip pool ({first_line(error)}); delete it"
            ) from error

    def get(self, identities: Sequence[ClipIdentity]) -> dict[ClipIdentity, PooledClip]:
        """Return those of the clips that are in the pool and whole; others are left out, to be cut."""
        by_bundle: dict[str, list[tuple[ClipIdentity, dict[str, Any]]]] = {}
        with closing(sqlite3.connect(f"{self.catalogue.absolute().as_uri()}?mode=ro", uri=True)) as database:
            for identity in dict.fromkeys(identities):
                query = "SELECT bundle, row FROM clips WHERE identity = ?"
                for bundle, row in database.execute(query, (_key(identity._asdict()),)):
                    by_bundle.setdefault(bundle, []).append((identity, json.loads(row)))
        with ThreadPoolExecutor(PARALLEL) as threads:
            return {
                identity: clip
                for found in threads.map(self._read_bundle, by_bundle, by_bundle.values())
                for identity, clip in found
            }

    def _read_bundle(
        self, bundle: str, rows: list[tuple[ClipIdentity, dict[str, Any]]]
    ) -> list[tuple[ClipIdentity, PooledClip]]:
        rows = sorted(rows, key=lambda row: row[1]["offset"])
        bounds = [(row["offset"], row["offset"] + row["num_bytes"]) for _, row in rows]
        chunks: list[bytes] = []
        try:
            # Parts of older versions tell no checksums: the bundle is then known by all its bytes.
            is_older = any(row["stored_crc32c"] is None for _, row in rows)
            if is_older and CacheObject.of(self.folder.read(f"clips/{bundle}")).hash != bundle:
                return []
            for first, last, inside in coalesce_ranges(bounds):
                data = self.folder.read(f"clips/{bundle}", first, last)
                chunks += [data[start - first : end - first] for start, end in inside]
        except CacheError:
            return []  # it is cut instead
        whole = []
        for (identity, row), chunk in zip(rows, chunks, strict=True):
            if row["stored_crc32c"] not in (None, chunk_checksum(chunk)):
                continue
            with contextlib.suppress(CacheCorruptError):
                frames = np.empty(self.info.clip_spec.clip_shape, self.info.clip_spec.dtype)
                self.info.clip_codec.decode(np.frombuffer(chunk, np.uint8), frames)
                whole.append((identity, PooledClip(chunk, {name: row[name] for name in POOLED_COLUMNS})))
        return whole

    def put(self, clips: Mapping[ClipIdentity, PooledClip]) -> None:
        """Put clips into the pool; the part that tells of them comes last. Raises CacheError if that fails."""
        if not clips:
            return
        rows, offset = [], 0
        for identity, clip in clips.items():
            stored = {"offset": offset, "num_bytes": len(clip.chunk), "stored_crc32c": chunk_checksum(clip.chunk)}
            rows.append(identity._asdict() | clip.columns | stored)
            offset += len(clip.chunk)
        bundle = b"".join(clip.chunk for clip in clips.values())
        name = CacheObject.of(bundle).hash
        table = pa.Table.from_pylist(rows, schema=_SCHEMA)
        part = parquet_bytes(written_columns(table), compression="zstd", write_page_checksum=True)
        self.folder.upload(bundle, f"clips/{name}")
        self.folder.upload(part, f"parts/{name}.parquet")

    def clean(self) -> None:
        """Delete what killed builds have left of objects that are there whole, where objects appear by renaming."""
        for folder in ("", "clips/", "parts/"):
            present = self.folder.sizes(folder.rstrip("/"))
            self.folder.delete(f"{folder}{name}" for name in torn_uploads(present, present))


def _url_of(location: Location) -> str:
    return location if isinstance(location, str) else f"file://{location.absolute()}"


def check_pool(location: Location, confirm: Callable[[str], None] | None = None) -> None:
    """Raise CacheError where no pool can be; `confirm` is told who may read one behind a URL, as for `push`."""
    remote = RemoteFolder(_url_of(location))
    if remote.is_read_only:
        raise CacheError(f"{remote}: nothing can be put into a clip pool behind a web server")
    visibility = visibility_of(remote) if isinstance(location, str) else Visibility.KNOWN
    if confirm is not None and visibility is not Visibility.KNOWN:
        confirm(f"{remote}: {visibility.value}")


def settings_digest(info: CacheInfo) -> str:
    """Return the hash of all that decides a clip's stored bytes, apart from its video and span."""
    encoded = json.dumps(_settings(info), sort_keys=True).encode()
    return hashlib.blake2b(encoded, digest_size=16).hexdigest()


def _settings(info: CacheInfo) -> dict[str, Any]:
    return {
        "clip_spec": info.clip_spec.to_dict(),
        "codec": info.codec,
        "decoder": info.provenance["decoder"],
        "preprocessing_version": 1,  # videos that need another one have it in their identity
    }


def _key(fields: Mapping[str, Any]) -> str:
    return f"{fields['video_hash']} {fields['start_seconds']!r} {fields['end_seconds']!r}"

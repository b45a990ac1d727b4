"""A cache from elsewhere is untrusted: whatever it claims, nothing leaves its folder and nothing wrong is read."""

import dataclasses
import json
import random
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from signprep.cache_builder import open_cache
from signprep.cache_builder.folder.transaction import write_state
from signprep.cache_builder.format.codec import CODECS
from signprep.cache_builder.format.index import index_table
from signprep.cache_builder.format.layout import (
    ARRAY_METADATA,
    GROUP_METADATA,
    INDEX,
    MANIFEST,
    CacheManifest,
    CacheObject,
    shard_path,
)
from signprep.cache_builder.format.shard import shard_bytes
from signprep.cache_builder.reader import Cache
from signprep.cache_builder.remote.partial_pull import Selection, pull_selection
from signprep.cache_builder.remote.pull import pull
from signprep.pipeline.errors import CacheCorruptError, CacheError, CacheVersionError
from tests.cache_builder.made_caches import clip_of, make_cache
from tests.waiting import HANG_SECONDS

ROOT = Path(__file__).parents[3]


@pytest.fixture
def hostile(tmp_path: Path) -> Cache:
    """A cache that a test makes lie."""
    return make_cache(tmp_path / "hostile.zarr", range(30))


def with_objects(cache: Cache, change: Callable[[dict[str, Any]], None]) -> None:
    """Write the manifest anew, in its proper form, after a change of its objects."""
    objects = {path: {"num_bytes": e.num_bytes, "hash": e.hash} for path, e in cache.manifest.objects.items()}
    change(objects)
    entries = {path: CacheObject(**entry) for path, entry in objects.items()}
    manifest = CacheManifest(objects=entries, plan_digest="made")
    (cache.path / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")


def written(cache: Cache, path: str, data: bytes) -> None:
    """Put other bytes into a cache, with a manifest that tells of them."""
    (cache.path / path).write_bytes(data)
    with_objects(cache, lambda objects: objects.update({path: vars(CacheObject.of(data))}))


def refused(cache: Cache, tmp_path: Path, message: str, error: type[CacheError] = CacheError) -> None:
    """Both ways to pull say no, leave nothing that opens, and write nothing beside their folder."""
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(error, match=message):
        pull(cache.path, tmp_path / "mine.zarr")
    with pytest.raises(error, match=message):
        pull_selection(cache.path, tmp_path / "part.zarr", Selection(splits=("train",)))
    for name in ("mine.zarr", "part.zarr"):
        assert not (tmp_path / name / MANIFEST).exists()
    assert sorted(set(path.name for path in tmp_path.iterdir()) - {"mine.zarr", "part.zarr"}) == before


@pytest.mark.parametrize(
    "path", ["../outside", "/etc/outside", "clips/../../outside", "clips\\..\\outside", "..", "clips/c/../c/0/0/0/0/"]
)
def test_names_outside_the_folder(hostile: Cache, tmp_path: Path, path: str) -> None:
    with_objects(hostile, lambda objects: objects.update({path: objects[INDEX]}))
    refused(hostile, tmp_path, "its manifest names .* refused", CacheCorruptError)


@pytest.mark.parametrize(
    "path", ["evil.py", ".synced.json", ".build/plan.json", "clips/c/00/0/0/0", "clips/c/-1/0/0/0"]
)
def test_names_that_no_cache_has(hostile: Cache, tmp_path: Path, path: str) -> None:
    with_objects(hostile, lambda objects: objects.update({path: objects[INDEX]}))
    refused(hostile, tmp_path, "no file of a cache", CacheCorruptError)


def test_shards_behind_the_last_one(hostile: Cache, tmp_path: Path) -> None:
    with_objects(hostile, lambda objects: objects.update({"clips/c/99/0/0/0": objects["clips/c/0/0/0/0"]}))
    refused(hostile, tmp_path, "which 30 clips do not have", CacheCorruptError)


@pytest.mark.parametrize("num_bytes", [-1, 0, 2**62, 1.5, True, "12", None])
def test_impossible_sizes(hostile: Cache, tmp_path: Path, num_bytes: object) -> None:
    with_objects(hostile, lambda objects: objects[INDEX].update(num_bytes=num_bytes))
    refused(hostile, tmp_path, "bytes; 1 to .* are possible", CacheCorruptError)


@pytest.mark.parametrize("digest", ["", "../../x", "0" * 31, "G" * 32, 7, None])
def test_hashes_that_are_none(hostile: Cache, tmp_path: Path, digest: object) -> None:
    with_objects(hostile, lambda objects: objects[INDEX].update(hash=digest))
    refused(hostile, tmp_path, "the hash", CacheCorruptError)


def test_a_size_that_lies(hostile: Cache, tmp_path: Path) -> None:
    with_objects(hostile, lambda objects: objects["clips/c/2/0/0/0"].update(num_bytes=5000))
    with pytest.raises(CacheCorruptError, match="bytes in clips/c/2/0/0/0, its manifest of 5000"):
        pull(hostile.path, tmp_path / "mine.zarr")


def test_a_hash_that_lies(hostile: Cache, tmp_path: Path) -> None:
    with_objects(hostile, lambda objects: objects["clips/c/2/0/0/0"].update(hash="0" * 32))
    with pytest.raises(CacheCorruptError, match="clips/c/2/0/0/0 is not what its manifest says"):
        pull(hostile.path, tmp_path / "mine.zarr")


def test_a_size_beyond_the_disk(hostile: Cache, tmp_path: Path) -> None:
    def inflate(objects: dict[str, Any]) -> None:
        for number in range(2, 8):
            objects[f"clips/c/{number}/0/0/0"]["num_bytes"] = 2**36

    with_objects(hostile, inflate)
    with pytest.raises(CacheError, match=r"[GT]B are free"):
        pull(hostile.path, tmp_path / "mine.zarr")


def test_links_are_refused(hostile: Cache, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes((hostile.path / INDEX).read_bytes())
    (hostile.path / INDEX).unlink()
    (hostile.path / INDEX).symlink_to(tmp_path / "secret")
    refused(hostile, tmp_path, "is a link")


def test_a_linked_folder_is_refused(hostile: Cache, tmp_path: Path) -> None:
    (hostile.path / "clips").rename(tmp_path / "elsewhere")
    (hostile.path / "clips").symlink_to(tmp_path / "elsewhere")
    refused(hostile, tmp_path, "is a link")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_positions": 2**40}, "tells of"),
        ({"num_positions": -1}, "damaged"),
        ({"clips_per_shard": 10**12}, "tells of"),
        ({"clips_per_shard": "4"}, "damaged"),
        ({"codec": "pickle"}, "damaged"),
        ({"clip_spec": {"num_frames": 1024, "size": 2048, "pixels": "rgb24"}}, "damaged"),
        ({"clip_spec": {"num_frames": 10**9}}, "damaged"),
        ({"glosses": 7}, "damaged"),
        ({"format_version": 3}, "newer one"),
    ],
)
def test_absurd_metadata(hostile: Cache, tmp_path: Path, change: dict[str, Any], message: str) -> None:
    document = json.loads((hostile.path / GROUP_METADATA).read_text())
    document["attributes"]["signprep"].update(change)
    written(hostile, GROUP_METADATA, json.dumps(document).encode())
    error = CacheVersionError if "format_version" in change else CacheError
    with pytest.raises(error, match=message):
        pull(hostile.path, tmp_path / "mine.zarr")
    assert not (tmp_path / "mine.zarr" / MANIFEST).exists()


@pytest.mark.parametrize("shape", [[10**9, 4, 48, 32], [30, 4, 48], [30, 4, 48, 33]])
def test_an_array_of_another_shape(hostile: Cache, tmp_path: Path, shape: list[int]) -> None:
    document = json.loads((hostile.path / ARRAY_METADATA).read_text())
    document["shape"] = shape
    written(hostile, ARRAY_METADATA, json.dumps(document).encode())
    refused(hostile, tmp_path, "clips/zarr.json tells of", CacheCorruptError)


@pytest.mark.parametrize("data", [b"", b"PAR1", b"\x00" * 1000, b"{}"])
def test_an_index_that_is_none(hostile: Cache, tmp_path: Path, data: bytes) -> None:
    (hostile.path / INDEX).write_bytes(data)
    entry = vars(CacheObject.of(data)) | ({"num_bytes": 1} if not data else {})
    with_objects(hostile, lambda objects: objects.update({INDEX: entry}))
    refused(hostile, tmp_path, "refused|not what its manifest says", CacheCorruptError)


def test_an_index_of_too_many_rows(hostile: Cache, tmp_path: Path) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"position": pa.array(np.zeros(10**7, np.int64))}), sink, compression="zstd")
    written(hostile, INDEX, sink.getvalue().to_pybytes())
    refused(hostile, tmp_path, "has 10000000 rows for 30 clips", CacheCorruptError)


def test_an_index_that_expands_without_end(hostile: Cache, tmp_path: Path) -> None:
    sink = pa.BufferOutputStream()
    rows = pa.array(["a" * 10**7] * 30)
    pq.write_table(pa.table({"segment_id": rows}), sink, compression="zstd", use_dictionary=False)
    assert len(sink.getvalue()) < 10**5
    written(hostile, INDEX, sink.getvalue().to_pybytes())
    refused(hostile, tmp_path, "would fill", CacheCorruptError)


def with_first_chunk(cache: Cache, payload: bytes) -> None:
    """Put a chunk with a true checksum in a cache's first place, with an index and a manifest that tell of it."""
    checksum, path = google_crc32c.value(payload), shard_path(cache.info, 0)
    chunk = payload + checksum.to_bytes(4, "little")
    others = [cache.stored_chunk(position) for position in range(1, cache.info.clips_per_shard)]
    shard = shard_bytes([chunk, *others], cache.info.clips_per_shard)
    (cache.path / path).write_bytes(shard)
    rows = cache.index.to_pylist()
    rows[0] |= {"stored_bytes": len(chunk), "stored_crc32c": checksum}
    objects = {**cache.manifest.objects, path: CacheObject.of(shard)}
    write_state(cache.path, cache.info, index=index_table(rows), objects=objects, plan_digest="made").write(cache.path)


@pytest.mark.parametrize("codec", ["lz4hc", "zstd", "plain"])
def test_a_smaller_clip_leaves_nothing_of_the_readers_memory(tmp_path: Path, codec: str) -> None:
    cache = make_cache(tmp_path / "hostile.zarr", range(8), codec=codec)
    chain = dataclasses.replace(CODECS[codec], delta=False)
    with_first_chunk(cache, chain.encode(clip_of(0)[:1])[:-4])
    out = np.full((1, *cache.clip_spec.clip_shape), 7, np.uint8)
    with pytest.raises(CacheCorruptError, match="its header says"):
        open_cache(cache.path).read([0], out=out)


@pytest.mark.parametrize("codec", ["lz4hc", "zstd"])
@pytest.mark.parametrize(
    ("field", "value"), [(4, 2**31 - 1), (4, 0), (8, 2**32 - 1), (8, 0), (12, 2**31 - 1), (12, 17)]
)
def test_blosc_headers_that_lie(tmp_path: Path, codec: str, field: int, value: int) -> None:
    """Each in a process of its own: without the check of their sizes some of them kill it."""
    cache = make_cache(tmp_path / "hostile.zarr", range(8), codec=codec)
    payload = bytearray(CODECS[codec].encode(clip_of(0))[:-4])
    struct.pack_into("<I", payload, field, value)
    with_first_chunk(cache, bytes(payload))
    assert _read_elsewhere(cache.path) in ("refused", "read"), (field, value)


_READ = """
import sys
from signprep.cache_builder import open_cache
from signprep.pipeline.errors import CacheCorruptError
try:
    open_cache(sys.argv[1]).read([0])
    print("read")
except CacheCorruptError:
    print("refused")
"""

_FUZZ = """
import random, sys
import google_crc32c
import numpy as np
from signprep.cache_builder.format.codec import CODECS
from signprep.cache_builder.format.codec import use_one_thread
from signprep.pipeline.errors import CacheCorruptError
use_one_thread()
codec, draw = CODECS[sys.argv[1]], random.Random(0)
clip = np.random.default_rng(0).integers(0, 9, (4, 48, 32), np.uint8)
good, refused = codec.encode(clip)[:-4], 0
for _ in range(int(sys.argv[2])):
    bad = bytearray(good)
    for _ in range(draw.randint(1, 4)):
        bad[draw.randrange(64) if draw.random() < 0.7 else draw.randrange(len(bad))] = draw.randrange(256)
    chunk = bytes(bad) + google_crc32c.value(bytes(bad)).to_bytes(4, "little")
    try:
        codec.decode(np.frombuffer(chunk, np.uint8), np.empty_like(clip))
    except CacheCorruptError:
        refused += 1
print(refused)
"""


def _read_elsewhere(path: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", _READ, str(path)], capture_output=True, text=True, timeout=HANG_SECONDS
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("codec", ["lz4hc", "zstd", "plain"])
def test_chunks_with_any_bytes_never_end_the_process(codec: str) -> None:
    command = [sys.executable, "-c", _FUZZ, codec, "4000"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANG_SECONDS)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) > 1000


def test_random_manifests_are_refused_in_one_line(hostile: Cache, tmp_path: Path) -> None:
    draw = random.Random(0)
    good = (hostile.path / MANIFEST).read_bytes()
    for number in range(100):
        bad = bytearray(good)
        for _ in range(draw.randint(1, 5)):
            bad[draw.randrange(len(bad))] = draw.randrange(256)
        (hostile.path / MANIFEST).write_bytes(bad)
        with pytest.raises(CacheError):
            pull(hostile.path, tmp_path / f"{number}.zarr")

"""Random damage to a finished cache: found by verify, never read as another clip."""

import random
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from signprep.cache_builder import open_cache
from signprep.cache_builder.edit.verify import verify_cache
from signprep.cache_builder.reader import Cache
from signprep.pipeline.errors import CacheError


def damaged(data: bytes, rng: random.Random) -> tuple[str, bytes | None]:
    """Return one fault of a file's bytes, and what it was; None for a file that is gone."""
    place = rng.randrange(len(data))
    match rng.choice(("bit", "byte", "truncated", "deleted")):
        case "bit":
            flip = 1 << rng.randrange(8)
        case "byte":
            flip = rng.randrange(1, 256)
        case "truncated":
            return f"truncated to {place} bytes", data[:place]
        case _:
            return "deleted", None
    return f"byte {place} ^ {flip:#04x}", data[:place] + bytes([data[place] ^ flip]) + data[place + 1 :]


def what_verify_misses(root: Path) -> Iterator[str]:
    try:
        if not verify_cache(root):
            yield "verify finds nothing"
    except CacheError as error:
        if str(root) not in str(error):
            yield f"verify raises without a name: {error}"
    except Exception as error:
        yield f"verify raises {error!r}"


def what_the_reader_misses(root: Path, true: Cache, true_clips: np.ndarray) -> Iterator[str]:
    try:
        cache = open_cache(root)
        if not np.array_equal(cache.positions(), true.positions()):
            yield "positions are wrong"
        if not np.array_equal(cache.labels(), true.labels()) or cache.vocabulary != true.vocabulary:
            yield "labels are wrong"
    except CacheError as error:
        if str(root) not in str(error):
            yield f"open_cache raises without a name: {error}"
        return
    except Exception as error:
        yield f"open_cache raises {error!r}"
        return
    for position, true_clip in enumerate(true_clips):
        try:
            if not np.array_equal(cache.read([position])[0], true_clip):
                yield f"clip {position} is wrong"
        except CacheError as error:
            if not re.search(rf"{re.escape(str(root))}.*clip {position} \(NIA_SL", str(error)):
                yield f"read raises without a name: {error}"
        except Exception as error:
            yield f"read raises {error!r}"


@pytest.mark.parametrize("seed", range(4))
def test_every_random_fault_is_found_and_no_wrong_clip_is_read(cache: Cache, tmp_path: Path, seed: int) -> None:
    rng, true_clips = random.Random(seed), cache.read(range(len(cache)))
    root = Path(shutil.copytree(cache.path, tmp_path / "copy.zarr"))
    shards = [name for name in cache.manifest.objects if name.startswith("clips/c/")]
    missed = []
    for _ in range(50):
        name = rng.choice((rng.choice(shards), "index.parquet", "zarr.json", "clips/zarr.json", "manifest.json"))
        whole = (root / name).read_bytes()
        fault, data = damaged(whole, rng)
        # Another file under the same name: the old one may still be mapped.
        (root / name).unlink()
        if data is not None:
            (root / name).write_bytes(data)
        found = [*what_verify_misses(root), *what_the_reader_misses(root, cache, true_clips)]
        missed += [f"{name}, {fault}: {line}" for line in found]
        (root / name).unlink(missing_ok=True)
        (root / name).write_bytes(whole)
    assert missed == []


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("zarr.json", b'"num_frames": 4', b'"num_frames": 5'),
        ("zarr.json", b'"num_frames": 4', b'"num_frames": 6'),
        ("zarr.json", b'"clips_per_shard": 4', b'"clips_per_shard": 0'),
        ("zarr.json", b'"clips_per_shard": 4', b'"clips_per_shard": 5'),
        ("zarr.json", b'"size": 64', b'"size": 68'),
        ("zarr.json", rb"\uc67c\ucabd", rb"\uc67d\ucabd"),
        ("zarr.json", b'"codec": "lz4hc"', b'"codec": "plain"'),
        ("index.parquet", b"video_hash", b"video_has\xe8"),
        ("index.parquet", b"\x02\0\0\0ok", b"\x02\0\0\0oj"),
        ("index.parquet", b"ARROW:schema", b"ARROG:schema"),
        ("manifest.json", b'"fingerprint": "', b'"fingerprint": "0'),
        ("manifest.json", b'"fingerprint"', b'"fingerprinT"'),
        ("manifest.json", b'"format_version": 1', b'"format_version": 3'),
        ("manifest.json", b'"plan_digest": "', b'"plan_digest": "x'),
        ("manifest.json", b"PLAN_DIGEST", bytes(range(48, 58)) * 3 + b"00"),
    ],
)
def test_faults_that_leave_well_formed_metadata_are_found_too(
    cache: Cache, tmp_path: Path, name: str, old: bytes, new: bytes
) -> None:
    true_clips = cache.read(range(len(cache)))
    root = Path(shutil.copytree(cache.path, tmp_path / "copy.zarr"))
    data = (root / name).read_bytes()
    old = cache.manifest.plan_digest.encode() if old == b"PLAN_DIGEST" else old
    assert old in data
    (root / name).write_bytes(data.replace(old, new, 1))
    assert [*what_verify_misses(root), *what_the_reader_misses(root, cache, true_clips)] == []

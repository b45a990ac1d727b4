"""Random damage to a finished cache: found by verify, never read as another clip."""

import random
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from signprep.cache_builder import open_cache
from signprep.cache_builder.edit.compact import compact
from signprep.cache_builder.edit.diff import diff
from signprep.cache_builder.edit.merge import merge
from signprep.cache_builder.edit.verify import verify_cache
from signprep.cache_builder.format.layout import GROUP_METADATA, INDEX, CacheObject
from signprep.cache_builder.reader import Cache
from signprep.cache_builder.remote.partial_pull import Selection, pull_selection
from signprep.cache_builder.remote.pull import pull
from signprep.cache_builder.remote.push import push
from signprep.pipeline.errors import CacheError
from tests.cache_builder.made_caches import make_cache


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


def what_goes_wrong(root: Path, other: Path, out: Path) -> Iterator[str]:
    """Yield what all who read a cache do but give what they should, or refuse in one line that names it."""
    ways = {
        "open": lambda: (open_cache(root).labels(), open_cache(root).positions("train"), open_cache(root).index),
        "verify": lambda: verify_cache(root, deep=True),
        "diff": lambda: diff(root, other),
        "merge": lambda: merge([root, other], out / "both.zarr"),
        "pull": lambda: pull(root, out / "mine.zarr"),
        "pull a part": lambda: pull_selection(root, out / "part.zarr", Selection(splits=("train",))),
        "push": lambda: push(root, out / "theirs.zarr"),
        "compact": lambda: compact(root),
    }
    for name, way in ways.items():
        try:
            way()
        except CacheError as error:
            if root.name not in str(error) or ("\n" in str(error) and name != "merge"):  # which lists conflicts
                yield f"{name} raises what is no line with a name: {error}"
        except Exception as error:
            yield f"{name} raises {error!r}"


@pytest.mark.parametrize("codec", ["lz4hc", "zstd", "none", "plain"])
def test_random_faults_whose_hashes_are_true_are_refused_or_harmless(tmp_path: Path, codec: str) -> None:
    rng = random.Random(codec)
    made = make_cache(tmp_path / "made.zarr", range(10), codec=codec)
    other = make_cache(tmp_path / "other.zarr", range(10, 13), codec=codec).path
    true_clips, hashes = made.read(range(10)), made.index["video_hash"].to_pylist()
    names = [*made.manifest.objects, *[INDEX] * 4, *[GROUP_METADATA] * 2]
    missed = []
    for number in range(20):
        root = Path(shutil.copytree(made.path, tmp_path / f"{number}.zarr"))
        name, fault, data = rng.choice(names), "", None
        while data is None:
            fault, data = damaged((root / name).read_bytes(), rng)
        (root / name).write_bytes(data or b"x")
        objects = {**made.manifest.objects, name: CacheObject.of(data or b"x")}
        replace(made.manifest, objects=objects).write(root)
        found = []
        with suppress(CacheError):
            cache = open_cache(root)
            for position, true_clip in enumerate(true_clips):
                with suppress(CacheError):
                    is_same = np.array_equal(cache.read([position])[0], true_clip)
                    if not is_same and cache.index["video_hash"].to_pylist() == hashes:
                        found.append(f"clip {position} is wrong")
        found += what_goes_wrong(root, other, tmp_path / f"{number} out")
        missed += [f"{name}, {fault}: {line}" for line in found]
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

"""Caches of made-up clips, without any video: many shards in little time."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from signprep.cache_builder import open_cache
from signprep.cache_builder.folder.transaction import write_state
from signprep.cache_builder.format.index import FAILED, LATER_COLUMNS, OK, REMOVED, index_table, parquet_bytes
from signprep.cache_builder.format.layout import INDEX, CacheInfo, CacheObject, shard_path, write_atomically
from signprep.cache_builder.format.shard import shard_bytes
from signprep.cache_builder.reader import Cache
from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.datasets.annotations import Vocabulary

SPEC = ClipSpec(num_frames=4, size=32)
GLOSSES = ("왼쪽", "오른쪽", "위")
PROVENANCE = {"preprocessing_version": 1, "decoder": "pyav", "versions": {}}


def clip_of(number: int, spec: ClipSpec = SPEC) -> np.ndarray:
    """The clip of a made-up video: noise, and black from a place on that is the number's, so that sizes differ."""
    clip = np.random.default_rng(number).integers(16, 48, spec.clip_shape, np.uint8)
    clip.reshape(-1)[-(number % 80 + 20) * clip.size // 100 :] = 16
    return clip


def row_of(number: int, position: int, **columns: object) -> dict[str, object]:
    """The index row of a made-up video: signers by turns, the last of each four validating."""
    signer = f"REAL{number % 4 + 1:02d}"
    name = f"NIA_SL_WORD{number // 4 + 1:04d}_{signer}_F"
    label = number // 4 % len(GLOSSES)
    return {
        "position": position,
        "segment_id": f"{name}#0",
        "video": f"video/{name}.mp4",
        "video_hash": f"{number:032x}",
        "start_seconds": 0.25,
        "end_seconds": 0.75,
        "clip_start_seconds": 0.25,
        "clip_end_seconds": 0.75,
        "gloss": GLOSSES[label],
        "label": label,
        "item": name.split("_")[2],
        "source": "REAL",
        "signer": signer,
        "view": "F",
        "take": f"{signer}_{name.split('_')[2]}",
        "split": "val" if number % 4 == 3 else "train",
        "status": OK,
        "error": None,
        "sampled_seconds": [0.3, 0.4, 0.5, 0.6],
        "stored_bytes": 0,
    } | columns


def make_cache(
    root: Path,
    numbers: range | list[int],
    *,
    clips_per_shard: int = 4,
    codec: str = "lz4hc",
    failed: frozenset[int] = frozenset(),
    spec: ClipSpec = SPEC,
) -> Cache:
    """Write the cache of made-up videos, train before val as a build does, and open it."""
    ordered = sorted(numbers, key=lambda number: (number % 4 == 3, number))
    info = CacheInfo(
        clip_spec=spec,
        codec=codec,
        vocabulary=Vocabulary(glosses=GLOSSES),
        num_positions=len(ordered),
        clips_per_shard=clips_per_shard,
        provenance=PROVENANCE,
    )
    rows, objects = [], {}
    for shard in range(info.num_shards):
        first = shard * clips_per_shard
        chunks: list[bytes | None] = []
        for position, number in enumerate(ordered[first : first + clips_per_shard], start=first):
            chunk = None if number in failed else info.clip_codec.encode(clip_of(number, spec))
            columns: dict[str, object] = {"status": FAILED, "error": "torn"}
            if chunk is not None:
                times = [0.3 + 0.4 * k / spec.num_frames for k in range(spec.num_frames)]
                columns = {"stored_bytes": len(chunk), "sampled_seconds": times}
            rows.append(row_of(number, position, **columns))
            chunks.append(chunk)
        if any(chunks):
            data = shard_bytes(chunks, clips_per_shard)
            write_atomically(root / shard_path(info, shard), data)
            objects[shard_path(info, shard)] = CacheObject.of(data)
    index: pa.Table = index_table(rows)
    write_state(root, info, index=index, objects=objects, plan_digest="made").write(root)
    return open_cache(root)


def rewrite_rows(
    cache: Cache,
    rows: dict[int, dict[str, object]],
    glosses: tuple[str, ...] = GLOSSES,
    provenance: dict[str, object] = PROVENANCE,
) -> Cache:
    """Give rows of a made-up cache other values, by position; open it again."""
    info = replace(cache.info, vocabulary=Vocabulary(glosses=glosses), provenance=provenance)
    table = [row | rows.get(position, {}) for position, row in enumerate(cache.index.to_pylist())]
    for row in table:
        row["label"] = glosses.index(row["gloss"])
    write_state(cache.path, info, index=index_table(table), objects=cache.manifest.objects, plan_digest="made").write(
        cache.path
    )
    return open_cache(cache.path)


def forget_rows(cache: Cache, positions: list[int]) -> Cache:
    """Mark clips of a made-up cache as removed; open it again."""
    return rewrite_rows(cache, {position: {"status": REMOVED} for position in positions})


def rewritten(cache: Cache, path: str, data: bytes) -> None:
    """Put other bytes into a cache, with a manifest that tells of them, as a forger would."""
    (cache.path / path).write_bytes(data)
    replace(cache.manifest, objects={**cache.manifest.objects, path: CacheObject.of(data)}).write(cache.path)


def as_older(cache: Cache) -> Cache:
    """Give a cache the index that the first caches of format 1 have; open it again."""
    index = cache.index.drop_columns(list(LATER_COLUMNS))
    rewritten(cache, INDEX, parquet_bytes(index, compression="zstd", write_page_checksum=True))
    return open_cache(cache.path)

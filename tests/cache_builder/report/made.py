"""Caches of drawn clips with any rows: what `inspect` must show, and what it must survive."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from signprep.cache_builder import open_cache
from signprep.cache_builder.folder.transaction import write_state
from signprep.cache_builder.format.index import OK, index_table
from signprep.cache_builder.format.layout import CacheInfo, CacheObject, shard_path, write_atomically
from signprep.cache_builder.format.shard import shard_bytes
from signprep.cache_builder.reader import Cache
from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.datasets.annotations import Vocabulary

SPEC = ClipSpec(num_frames=8, size=64)
HOSTILE = "<script>alert(1)</script>"
QUOTING = "\"'><img src=x onerror=alert(2)>&amp;</script>"
LONG = "대한민국의 수어를 배우는 사람들이 가장 어려워하는 아주아주긴이름의수어낱말이라는것을보여주려고만든이름" * 2
Row = dict[str, object]


def drawn_clip(number: int, spec: ClipSpec = SPEC, *, noise: int = 0) -> np.ndarray:
    """A bright square that goes its own way over a ground of its own, uint8 I420; `noise` as another encoder adds."""
    rng = np.random.default_rng(number)
    size, frames = spec.size, spec.num_frames
    down, right = np.mgrid[:size, :size] / size
    ground = 60 + 40 * rng.random() + 30 * np.sin(4 * rng.random() * down + 4 * rng.random() * right)
    clip = np.full((frames, size * 3 // 2, size), 128, np.uint8)
    way = (
        np.linspace(rng.random(2), rng.random(2), frames)
        + 0.2 * np.sin(np.linspace(0, 6 * rng.random(), frames))[:, None]
    )
    side = size // 4
    for frame, (y, x) in enumerate(np.clip(way, 0, 1) * (size - side)):
        picture = ground.copy()
        picture[int(y) : int(y) + side, int(x) : int(x) + side] = 220
        clip[frame, :size] = picture
    if noise:
        shaken = clip[:, :size].astype(np.int16) + np.random.default_rng(1).integers(
            -noise, noise + 1, clip[:, :size].shape
        )
        clip[:, :size] = np.clip(shaken, 16, 235)
    return clip


def row_of(number: int, **columns: object) -> Row:
    """The row of a made-up video of its own: four signers by two views, the last signer validating."""
    signer, view = f"REAL{number // 2 % 4 + 1:02d}", "FL"[number % 2]
    name = f"NIA_SL_WORD{number // 8 + 1:04d}_{signer}_{view}"
    start = 0.5 + number % 5 / 10
    return {
        "segment_id": f"{name}#0",
        "video": f"video/{name}.mp4",
        "video_hash": f"{number:032x}",
        "start_seconds": start,
        "end_seconds": start + 1.0,
        "clip_start_seconds": start,
        "clip_end_seconds": start + 1.0,
        "gloss": ("왼쪽", "오른쪽", "3.1절")[number // 8 % 3],
        "item": f"WORD{number // 8 + 1:04d}",
        "source": "REAL",
        "signer": signer,
        "view": view,
        "take": f"{signer}_WORD{number // 8 + 1:04d}",
        "split": "val" if signer == "REAL04" else "train",
        "status": OK,
        "error": None,
        "sampled_seconds": [start + (frame + 0.5) / 8 for frame in range(8)],
    } | columns


def write_cache(
    root: Path,
    rows: Sequence[Row],
    clip_of: Callable[[int], np.ndarray] = drawn_clip,
    *,
    spec: ClipSpec = SPEC,
    glosses: Sequence[str] = (),
    clips_per_shard: int = 64,
) -> Cache:
    """Write a cache of these rows and open it; rows that are not ok have no clip."""
    vocabulary = Vocabulary.of([*glosses, *(str(row["gloss"]) for row in rows if row["status"] != "removed")])
    info = CacheInfo(
        clip_spec=spec,
        codec="lz4hc",
        vocabulary=vocabulary,
        num_positions=len(rows),
        clips_per_shard=clips_per_shard,
        provenance={"preprocessing_version": 1, "decoder": "pyav", "versions": {}},
    )
    labels, objects, table = vocabulary.labels(), {}, []
    for shard in range(info.num_shards):
        chunks: list[bytes | None] = []
        first = shard * clips_per_shard
        for position, row in enumerate(rows[first : first + clips_per_shard], start=first):
            chunk = info.clip_codec.encode(clip_of(position)) if row["status"] == OK else None
            chunks.append(chunk)
            label = labels[str(row["gloss"])] if row["status"] != "removed" else None
            table.append(row | {"position": position, "label": label, "stored_bytes": len(chunk or b"")})
        if any(chunks):
            data = shard_bytes(chunks, clips_per_shard)
            write_atomically(root / shard_path(info, shard), data)
            objects[shard_path(info, shard)] = CacheObject.of(data)
    write_state(root, info, index=index_table(table), objects=objects, plan_digest="made").write(root)
    return open_cache(root)


def failed(number: int, reason: str = "truncated or damaged at 0.733 s (Invalid data)", **columns: object) -> Row:
    """The row of a video that could not be decoded."""
    row = row_of(number, **columns)
    none = {"clip_start_seconds": None, "clip_end_seconds": None, "sampled_seconds": None}
    return row | none | {"status": "failed", "error": f"{row['video']}: {reason}"}


def troubled_rows() -> list[Row]:
    """48 rows of a cache that has everything wrong that an index can tell."""
    rows = [row_of(number) for number in range(48)]
    rows[1] = failed(1)
    rows[9] = failed(9, "truncated or damaged at 1.250 s (Invalid data)")
    rows[12] = failed(12, "does not open as a video (Invalid data)")
    rows[3] = row_of(3, status="removed", clip_start_seconds=None, clip_end_seconds=None, sampled_seconds=None)
    for number in (16, 17, 18):
        rows[number] |= {"gloss": HOSTILE}
    rows[20] |= {"gloss": QUOTING, "signer": "<b>김</b>", "video": "video/<i>a</i>.mp4"}
    rows[22] |= {"gloss": LONG, "video": f"video/{LONG}.mp4"}
    rows[23] |= {"gloss": LONG, "signer": None, "view": None, "split": None}
    rows[24] |= {"split": "val"}  # its take is in both splits
    rows[30] |= {"video_hash": rows[29]["video_hash"]}
    rows[32] |= {"video_hash": rows[40]["video_hash"], "gloss": "왼쪽", "video": "video/copy.mp4"}
    rows[33] |= {"clip_end_seconds": 0.9, "end_seconds": 1.8}
    rows[34] |= {"clip_end_seconds": 0.9, "end_seconds": 0.9, "sampled_seconds": [0.8] * 8}
    rows[35] |= {"clip_end_seconds": 6.0, "end_seconds": 6.0}
    return rows


def troubled_clip(position: int) -> np.ndarray:
    """The clip of a troubled row: 38 is 27 coded again, 41 stands still, 42 is dark."""
    if position == 38:
        return drawn_clip(27, noise=2)
    clip = drawn_clip(position)
    if position == 41:
        clip[:] = clip[:1]
    if position == 42:
        clip[:, : SPEC.size] = clip[:, : SPEC.size] // 40 + 16
    return clip

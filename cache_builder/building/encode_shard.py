"""One task of a build: decode, encode and store one shard, then its index part. Runs in a worker process.

In: a `ShardTask` of plain data. Out: a shard where the task's store puts it and, after it, an index part whose
existence says that the shard is complete. Clips are encoded as they come: memory holds one video's clips and the
shard's compressed bytes.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from signprep.cache_builder.building.clip_pool import POOLED_COLUMNS, ClipIdentity, ClipPool, PooledClip
from signprep.cache_builder.building.plan import ShardPlan
from signprep.cache_builder.folder.transaction import delete_torn_writes
from signprep.cache_builder.format.codec import use_one_thread
from signprep.cache_builder.format.index import FAILED, OK, index_table, parquet_bytes
from signprep.cache_builder.format.layout import (
    BUILD_FOLDER,
    CacheInfo,
    CacheObject,
    require_object,
    shard_path,
    write_atomically,
)
from signprep.cache_builder.format.shard import chunk_checksum, shard_bytes, stored_chunks
from signprep.cache_builder.remote.published import BUILDING, OBJECTS
from signprep.cache_builder.remote.storage import MissingError, RemoteFolder
from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.clips import Clip, extract_clips, span_to_cut
from signprep.pipeline.datasets.annotations import Segment
from signprep.pipeline.datasets.files.names import is_landmark_file, is_sequence
from signprep.pipeline.datasets.files.video_files import DataRoots, content_hash
from signprep.pipeline.errors import AnnotationError, CacheCorruptError, CacheError, DecodeError
from signprep.pipeline.landmarks.files import clips_of_landmark_file
from signprep.pipeline.landmarks.keypoints import clips_of_keypoints
from signprep.pipeline.landmarks.maker import TwinClips, TwinFrames, makes_clips
from signprep.pipeline.landmarks.points import seen_fraction
from signprep.pipeline.video.image_sequence import ImageSequence
from signprep.pipeline.video.preprocess import preprocessing_version_of


@dataclass(frozen=True, kw_only=True)
class FolderStore:
    """The shards and index parts of a build in a folder, which all its workers see under the same path."""

    root: Path
    new_objects: Path
    """Folder that new shards go to: the cache itself, or a folder beside it."""

    def part_names(self) -> set[str]:
        """Return the names of the parts that are there."""
        delete_torn_writes(self.root)
        # Listed, not asked for one by one: a network drive remembers for a while that a file was not there.
        return {path.name for path in (self.root / BUILD_FOLDER).iterdir()}

    def read_part(self, name: str) -> bytes | None:
        """Return a part of the build, None if it is not there."""
        path = self.root / BUILD_FOLDER / name
        return path.read_bytes() if path.exists() else None

    def write_part(self, name: str, data: bytes) -> None:
        """Store a part of the build, whole or not at all."""
        write_atomically(self.root / BUILD_FOLDER / name, data)

    def write_shard(self, path: str, data: bytes) -> None:
        """Store a shard under its path inside the cache, whole or not at all."""
        write_atomically(self.new_objects / path, data)

    @contextmanager
    def shard_file(self, path: str, entry: CacheObject) -> Iterator[Path]:
        """Give the file of a shard that the cache has already. Raises CacheCorruptError as `require_object`."""
        require_object(self.root / path, entry)
        yield self.root / path

    @contextmanager
    def counter(self, number: int) -> Iterator[Callable[[], object]]:
        """Give what counts a shard's clips: a file of as many bytes, which needs no channel to who watches."""
        file = self.root / BUILD_FOLDER / f"{number:06d}.progress"
        try:
            with file.open("wb", buffering=0) as done:
                yield lambda: done.write(b".")
        except OSError as error:
            raise CacheError(f"{file}: cannot be written ({error.strerror})") from error
        file.unlink(missing_ok=True)  # a worker whose build was killed may still be at the same shard


@dataclass(frozen=True, kw_only=True)
class RemoteStore:
    """The shards and index parts of a build behind a URL, to which all its workers can write."""

    remote: RemoteFolder
    prefix: str
    """Start of the parts' names, which tells what is built, and from which state of the cache."""

    def part_names(self) -> set[str]:
        """Return the names of the parts that are there."""
        names = self.remote.sizes(BUILDING)
        return {name.removeprefix(self.prefix) for name in names if name.startswith(self.prefix)}

    def read_part(self, name: str) -> bytes | None:
        """Return a part of the build, None if it is not there."""
        try:
            return self.remote.read(f"{BUILDING}/{self.prefix}{name}")
        except MissingError:
            return None

    def write_part(self, name: str, data: bytes) -> None:
        """Store a part of the build, whole or not at all."""
        self.remote.upload(data, f"{BUILDING}/{self.prefix}{name}")

    def write_shard(self, _: str, data: bytes) -> None:
        """Store a shard under its hash, whole or not at all."""
        self.remote.upload(data, f"{OBJECTS}/{CacheObject.of(data).hash}")

    @contextmanager
    def shard_file(self, _: str, entry: CacheObject) -> Iterator[Path]:
        """Fetch a shard that is published. Raises CacheCorruptError if it is not what its manifest says."""
        with TemporaryDirectory(prefix="signprep-") as folder:
            file = Path(folder) / "shard"
            self.remote.download(f"{OBJECTS}/{entry.hash}", file)
            if not entry.matches(file):
                raise CacheCorruptError(f"{self.remote}: its object {entry.hash} is damaged; push it again")
            yield file

    @contextmanager
    def counter(self, _: int) -> Iterator[Callable[[], object]]:
        """Count nothing: clips count when their shard has arrived."""
        yield lambda: None


ShardStore = FolderStore | RemoteStore
"""The place where the shards and index parts of a build lie: plain data, so that workers anywhere can use it."""


@dataclass(frozen=True, kw_only=True)
class ShardTask:
    """One shard to build: plain data; the worker opens its own files."""

    plan: ShardPlan
    info: CacheInfo
    roots: DataRoots
    strict: bool
    store: ShardStore
    kept: CacheObject | None
    """The shard behind whose clips the new ones go; None if there is no file of it."""
    pool: ClipPool | None = None
    """Clips that others have cut; those that are cut here are put there."""
    twin: ClipPool | None = None
    """Landmarks of the clips that are cut here are put there, found in the same decoded frames."""


@dataclass(frozen=True, kw_only=True)
class ShardResult:
    """The outcome of one task."""

    number: int
    num_ok: int
    num_failed: int
    num_bytes: int
    num_pooled: int = 0
    pool_error: str | None = None


@dataclass(frozen=True, kw_only=True)
class EncodedShard:
    """A shard in memory."""

    path: str
    data: bytes | None
    """Contents of its file; None if not one of its clips could be built: there is no file then."""
    part: bytes
    result: ShardResult


def part_name(number: int) -> str:
    """Return the name of a shard's index part; it exists if and only if the shard is complete."""
    return f"{number:06d}.parquet"


def build_shard(task: ShardTask) -> ShardResult:
    """Decode, encode and store one shard, then its index part."""
    number, store = task.plan.number, task.store
    # A cluster runs a task again if its worker dies before its result is fetched.
    if (part := store.read_part(part_name(number))) is not None:
        table = pq.read_table(pa.BufferReader(part), columns=["status"])
        num_ok = table["status"].to_pylist().count(OK)
        num_bytes = int((table.schema.metadata or {}).get(b"num_bytes", 0))
        return ShardResult(number=number, num_ok=num_ok, num_failed=table.num_rows - num_ok, num_bytes=num_bytes)
    kept: list[bytes | None] = [None] * task.plan.num_kept
    if task.kept is not None:
        with store.shard_file(shard_path(task.info, number), task.kept) as file:
            kept = stored_chunks(file, task.info.clips_per_shard, task.plan.num_kept)
    with store.counter(number) as count:
        shard = encode_shard(task, kept, count)
        if shard.data is not None:
            store.write_shard(shard.path, shard.data)
        store.write_part(part_name(number), shard.part)
    return shard.result


def encode_shard(task: ShardTask, kept: Sequence[bytes | None], count: Callable[[], object]) -> EncodedShard:
    """Decode and encode one shard."""
    use_one_thread()
    rows: list[dict[str, Any]] = []
    chunks = list(kept)
    hashes: dict[str, str | None] = {}
    pool_hashes: dict[str, str | None] = {}
    pooled: Mapping[ClipIdentity, PooledClip] = {}
    if task.pool is not None:
        videos = dict.fromkeys(segment.video for segment in task.plan.segments)
        hashes = {video: task.roots.content_hash(video) for video in videos}
        pool_hashes = {video: _pool_hash(task.roots, video, video_hash) for video, video_hash in hashes.items()}
        wanted = (_identity(segment, pool_hashes[segment.video]) for segment in task.plan.segments)
        pooled = task.pool.get([identity for identity in wanted if identity is not None])
    cut: dict[ClipIdentity, PooledClip] = {}
    twins: dict[ClipIdentity, PooledClip] = {}
    num_pooled = 0
    for segment, row, chunk in _encoded_clips(task, pooled, hashes, pool_hashes, twins):
        rows.append(row)
        chunks.append(chunk)
        count()
        identity = _identity(segment, pool_hashes.get(segment.video))
        if chunk is None or identity is None:
            continue
        if identity in pooled:
            num_pooled += 1
        else:
            cut[identity] = PooledClip(chunk, {name: row[name] for name in POOLED_COLUMNS})
    path = shard_path(task.info, task.plan.number)
    data, stored = None, {}
    if any(chunk is not None for chunk in chunks):
        data = shard_bytes(chunks, task.info.clips_per_shard)
        entry = CacheObject.of(data)
        stored = {"path": path, "num_bytes": str(entry.num_bytes), "hash": entry.hash}
        stored |= {"blake3": entry.blake3} if entry.blake3 else {}
    part = parquet_bytes(index_table(rows).replace_schema_metadata(stored))
    num_ok = sum(row["status"] == OK for row in rows)
    if task.twin is not None:
        task.twin.put(twins)
    result = ShardResult(
        number=task.plan.number,
        num_ok=num_ok,
        num_failed=len(rows) - num_ok,
        num_bytes=len(data or b""),
        num_pooled=num_pooled,
        pool_error=_put(task.pool, cut) if task.pool else None,
    )
    return EncodedShard(path=path, data=data, part=part, result=result)


def _put(pool: ClipPool, cut: Mapping[ClipIdentity, PooledClip]) -> str | None:
    """Put clips into the pool; return why that failed: the build goes on without it."""
    try:
        pool.put(cut)
    except CacheError as error:
        return str(error)
    return None


def _pool_hash(roots: DataRoots, video: str, video_hash: str | None) -> str | None:
    """Return how a clip pool knows a video: by its hash, and by its version of the preprocessing where that is not 1.

    So pools of version 1 stay of use, but for the videos that it cut in another way.
    """
    if video_hash is None or is_sequence(video) or is_landmark_file(video):
        return video_hash
    with roots.opened(video) as source:
        version = 1 if isinstance(source, ImageSequence) else preprocessing_version_of(source, video) or 1
    return video_hash if version == 1 else f"{video_hash}-{version}"


def _identity(segment: Segment, video_hash: str | None, *, of_landmarks: bool = False) -> ClipIdentity | None:
    """Return a clip's identity in a pool; the box of its label, which decides pixels only, is part of the content."""
    if video_hash is None:
        return None
    if segment.box is not None and not of_landmarks:
        video_hash = f"{video_hash}-{','.join(map(repr, segment.box))}"
    return ClipIdentity(video_hash, segment.start_seconds, segment.end_seconds)


def _encoded_clips(
    task: ShardTask,
    pooled: Mapping[ClipIdentity, PooledClip],
    hashes: Mapping[str, str | None],
    pool_hashes: Mapping[str, str | None],
    twins: dict[ClipIdentity, PooledClip],
) -> Iterator[tuple[Segment, dict[str, Any], bytes | None]]:
    """Yield each of the shard's segments with its index row and its inner chunk, in order of position.

    `twins` takes the landmarks of the clips that are cut, if the task has a place for them.
    """
    codec, labels = task.info.clip_codec, task.info.vocabulary.labels()
    position = itertools.count(task.plan.first_position)
    for video, group in itertools.groupby(task.plan.segments, key=lambda segment: segment.video):
        segments = list(group)
        name, video_hash = task.roots.display_name(video), hashes.get(video)
        found = {
            s: pooled[i] for s in segments if (i := _identity(s, pool_hashes.get(video))) is not None and i in pooled
        }
        missing = [segment for segment in segments if segment not in found]
        clips: list[Clip | DecodeError] = []
        if missing:
            twin = None if task.twin is None else task.twin.info
            clips, video_hash = clips_of_video(task.roots, task.info, video, missing, twin)
            if task.twin is not None and video_hash is not None:
                clips = _parted(task, video, missing, clips, _pool_hash(task.roots, video, video_hash), twins)
        cut = dict(zip(missing, clips, strict=True))
        for segment in segments:
            label = labels[segment.gloss]
            row = segment.to_dict() | {"position": next(position), "label": label, "video_hash": video_hash}
            if segment in found:
                chunk, columns = found[segment]
                yield segment, row | columns | _stored_columns(chunk), chunk
                continue
            clip = cut[segment]
            if isinstance(clip, DecodeError):
                if task.strict:
                    raise clip
                # Only the part of the path that everybody shares goes into the cache.
                failed = {"status": FAILED, "error": str(clip).replace(name, video), "stored_bytes": 0}
                yield segment, row | failed, None
            else:
                chunk = codec.encode(clip.frames)
                yield segment, row | _clip_columns(clip, task.info.clip_spec) | _stored_columns(chunk), chunk


def _parted(
    task: ShardTask,
    video: str,
    segments: Sequence[Segment],
    clips: Sequence[Clip | DecodeError],
    pool_hash: str | None,
    twins: dict[ClipIdentity, PooledClip],
) -> list[Clip | DecodeError]:
    """Return the clips of pixels of twins; their landmarks go to `twins`, encoded."""
    assert task.twin is not None
    codec, pixels = task.twin.info.clip_codec, []
    for segment, clip in zip(segments, clips, strict=True):
        identity = _identity(segment, pool_hash, of_landmarks=True)
        if isinstance(clip, Clip):
            frames = cast(TwinFrames, clip.frames)
            if identity is not None:
                landmarks = replace(clip, frames=frames.landmarks.frames, crop_box=frames.landmarks.crop_box)
                columns = _clip_columns(landmarks, task.twin.info.clip_spec)
                twins[identity] = PooledClip(codec.encode(landmarks.frames), columns)
            clip = replace(clip, frames=frames.pixels)
        pixels.append(clip)
    return pixels


def clips_of_video(
    roots: DataRoots, info: CacheInfo, video: str, segments: Sequence[Segment], twin: CacheInfo | None = None
) -> tuple[list[Clip | DecodeError], str | None]:
    """Return the clip of each segment of a video, and the video's content hash, None where it cannot be read.

    With the info of a `twin`, a cache of landmarks of the same clips, the frames of a clip are `TwinFrames`.
    """
    spec, name = info.clip_spec, roots.display_name(video)
    spans = [span_to_cut(s.start_seconds, s.end_seconds, spec) for s in segments]
    try:
        if is_sequence(video):
            files = roots.frame_files(video)
            return clips_of_keypoints(files, spans, spec, name), files.content_hash()
        with roots.opened(video) as file:
            video_hash = content_hash(file)
            if is_landmark_file(video) and not isinstance(file, ImageSequence):
                return clips_of_landmark_file(file, spans, spec, name), video_hash
            decoder = info.provenance["decoder"]
            make = makes_clips(spec) if twin is None else partial(TwinClips, twin.clip_spec)
            boxes = [segment.box for segment in segments]
            return extract_clips(file, spans, spec, boxes=boxes, name=name, decoder=decoder, make=make), video_hash
    except FileNotFoundError:
        reason = f"{name}: there is no such video file"
    except (AnnotationError, DecodeError) as error:
        reason = str(error)
    except OSError as error:
        reason = f"{name}: cannot be read ({error.strerror})"
    return [DecodeError(reason)] * len(spans), None


def _stored_columns(chunk: bytes) -> dict[str, Any]:
    return {"status": OK, "stored_bytes": len(chunk), "stored_crc32c": chunk_checksum(chunk)}


def _clip_columns(clip: Clip, spec: ClipSpec) -> dict[str, Any]:
    return {
        "clip_start_seconds": clip.span.start_seconds,
        "clip_end_seconds": clip.span.end_seconds,
        "sampled_seconds": clip.sampled_seconds,
        "crop_box": clip.crop_box,
        "seen_fraction": seen_fraction(clip.frames) if spec.content == "landmarks" else None,
    }

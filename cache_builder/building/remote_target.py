"""A place behind a URL that a cache is built at: workers, wherever they are, write there, and it is published at once.

Nothing is locked: shards are named by their bytes and index parts by what is built, so that two builders cannot harm
each other, and one that is late to publish is told. The trade-off: what an abandoned build has left stays there.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa

from signprep.cache_builder.building.encode_shard import RemoteStore, ShardResult
from signprep.cache_builder.building.workers import RunOptions, Watch
from signprep.cache_builder.folder.local_records import VIDEO_STAMPS, VideoStamp, decode_stamps, encode_stamps
from signprep.cache_builder.folder.transaction import write_state
from signprep.cache_builder.format.consistency import check_manifest
from signprep.cache_builder.format.layout import METADATA, CacheInfo, CacheManifest, CacheObject
from signprep.cache_builder.options import StreamOptions
from signprep.cache_builder.reader import Cache
from signprep.cache_builder.remote.published import BUILDING
from signprep.cache_builder.remote.push import confirm_visibility, publish, published_manifest, send_objects
from signprep.cache_builder.remote.storage import MissingError, RemoteFolder
from signprep.cache_builder.remote.streaming import open_streamed
from signprep.cache_builder.remote.transfer import PARALLEL
from signprep.pipeline.clip_spec import PREPROCESSING_VERSION
from signprep.pipeline.errors import CacheError


class RemoteTarget:
    """A cache that is built behind a URL: parts lie there under the plan's digest until it is published.

    Its attributes and methods are those of `FolderTarget`.
    """

    stamps_part = "seen.parquet"

    def __init__(
        self, remote: RemoteFolder, plan_digest: str, old: Cache | None, published: CacheManifest | None, scratch: Path
    ) -> None:
        self.old, self.scratch = old, scratch
        self._remote, self._plan_digest, self._published = remote, plan_digest, published

    def stamps(self) -> Mapping[str, VideoStamp]:
        """Return what is known of the videos: nothing if the cache was pushed, not built there."""
        try:
            return decode_stamps(self._remote.read(VIDEO_STAMPS))
        except MissingError:
            return {}

    def begun_info(self, info: CacheInfo) -> CacheInfo:
        """Return the info of the new cache: parts of an older version lie under other names."""
        return info

    def store(self, changes: Sequence[object] | None) -> RemoteStore:
        """Return the store of these changes."""
        decides = [PREPROCESSING_VERSION, changes]
        digest = hashlib.blake2b(json.dumps(decides).encode(), digest_size=8).hexdigest()
        return RemoteStore(remote=self._remote, prefix=f"{self._plan_digest}-{digest}-")

    @contextmanager
    def watched(self, run: RunOptions, num_reused: int, _: int) -> Iterator[Watch]:
        """Tell `run.progress` of clips whose shards have arrived."""
        num_done = num_reused

        def tell(result: ShardResult) -> None:
            nonlocal num_done
            num_done += result.num_ok + result.num_failed
            if run.progress is not None:
                run.progress(num_done)

        yield tell, ()

    def keep(self, stamps: Mapping[str, VideoStamp]) -> None:
        """Leave the published cache as it is, and note what is known of the videos."""
        self._remote.upload(encode_stamps(stamps), VIDEO_STAMPS)
        self.abandon()

    def publish(
        self, info: CacheInfo, index: pa.Table, objects: Mapping[str, CacheObject], stamps: Mapping[str, VideoStamp]
    ) -> None:
        """Publish all that was built, unless somebody else has published another state meanwhile."""
        remote = self._remote
        manifest = write_state(self.scratch, info, index=index, objects=objects, plan_digest=self._plan_digest)
        check_manifest(manifest, remote)
        send_objects(self.scratch, manifest, list(METADATA), remote)
        remote.upload(encode_stamps(stamps), VIDEO_STAMPS)
        if published_manifest(remote) != self._published:
            raise CacheError(
                f"{remote}: somebody else has published there meanwhile; the same command goes on from that"
            )
        publish(remote, manifest)
        self.abandon()

    def abandon(self) -> None:
        """Delete the parts of this plan's builds."""
        ours = (self._plan_digest, f".{self._plan_digest}")  # the second ones are torn
        names = [f"{BUILDING}/{name}" for name in self._remote.sizes(BUILDING) if name.startswith(ours)]
        with ThreadPoolExecutor(PARALLEL) as pool:
            list(pool.map(lambda name: self._remote.delete([name]), names))


@contextmanager
def opened_url(url: str, plan_digest: str, *, overwrite: bool) -> Iterator[RemoteTarget]:
    """Give the place behind a URL while the block runs; with `overwrite`, what is published there does not count.

    Raises CacheError if it holds something else, or cannot be written.
    """
    remote = _writable(url)
    published = published_manifest(remote)
    with TemporaryDirectory(prefix="signprep-") as folder:
        scratch, old = Path(folder), None
        if published is not None and not overwrite:
            old = open_streamed(url, StreamOptions(folder=scratch / "published"))
            published = old.manifest
        yield RemoteTarget(remote, plan_digest, old, published, scratch)


def _writable(url: str) -> RemoteFolder:
    """Return the place behind a URL. Raises CacheError if nothing can be built there."""
    remote = RemoteFolder(url)
    if remote.is_read_only:
        raise CacheError(f"{remote}: nothing can be built on a web server; build in a folder that it serves")
    return remote


def check_url(url: str, confirm: Callable[[str], None] | None = None) -> None:
    """Raise CacheError if nothing can be built at a URL; `confirm` is told who may read it, as for `push`."""
    remote = _writable(url)
    confirm_visibility(remote, published_manifest(remote), confirm)

"""Pull: a cache comes from a folder or a URL into a folder here, only what differs, and takes its place all at once.

Objects arrive under their hash in the build's folder, are
compared with the manifest, and are put in place together at the end, as every change of a cache is: until then the
cache that is here stays what it was. A pull that was cut goes on with what has arrived.
"""

import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from signprep.cache_builder.folder.local_records import note_synced, synced_fingerprints
from signprep.cache_builder.folder.transaction import (
    PLAN,
    CacheChange,
    changed_cache,
    check_free_bytes,
    refuse_foreign_folder,
)
from signprep.cache_builder.format.layout import (
    BUILD_FOLDER,
    METADATA,
    UNFINISHED_SUFFIX,
    CacheInfo,
    CacheManifest,
    CacheObject,
    finished_manifest,
)
from signprep.cache_builder.options import location_of
from signprep.cache_builder.remote.published import PublishedCache, at_once, open_published
from signprep.cache_builder.remote.storage import Progress
from signprep.cache_builder.remote.transfer import TransferResult, transfer_all
from signprep.cache_builder.remote.untrusted import validate_metadata
from signprep.pipeline.errors import CacheError
from signprep.pipeline.runtime.paths import StrPath, as_path

_FETCHED = "fetched"


def pull(
    location: StrPath,
    out: StrPath,
    *,
    check: bool = False,
    overwrite: bool = False,
    dry_run: bool = False,
    command: str = "pull",
) -> TransferResult:
    """Make a folder the same cache as the finished one at a location.

    Args:
        location: a folder or a URL.
        out: a new folder, or a copy of the cache that is brought to the same state.
        check: also hash what is here already, and fetch again what is damaged.
        overwrite: replace a cache that nobody else has.
        dry_run: only say what would travel.
        command: `pull`, or `push` for which it works.

    Raises:
        CacheError: there is no finished cache or cannot be read, or `out` holds something else.
        CacheCorruptError: what came is not what the manifest says, or the manifest is none of a cache.
    """
    location = location_of(location)
    out = as_path(out)
    published = open_published(location)
    manifest = published.manifest
    if isinstance(location, Path) and out.exists() and out.resolve() == location.resolve():
        raise CacheError(f"{out}: is the cache itself")
    if dry_run:
        refuse_foreign_folder(out)
        return TransferResult.of(dict(manifest.objects), _differing(out, manifest, check=check))
    with changed_cache(out, command) as change:
        refuse_other_state(out, published, overwrite=overwrite)
        change.note_command()
        differing = _differing(out, manifest, check=check)
        if differing or finished_manifest(out) != manifest:
            _fetch(published, change, differing, f"{command.capitalize()}ing")
            # Before it is in place: killed in between, it is not taken for somebody's own work.
            note_synced(out, manifest.fingerprint)
            _stage(published, change, differing)
            change.commit(manifest)
        else:
            note_synced(out, manifest.fingerprint)
            change.discard()
        return TransferResult.of(dict(manifest.objects), differing)


def refuse_other_state(out: Path, published: PublishedCache, *, overwrite: bool) -> None:
    """Raise CacheError if a folder holds an unfinished build, or a cache that nobody else has."""
    manifest = finished_manifest(out)
    if manifest is None and (out / BUILD_FOLDER / PLAN).exists():
        raise CacheError(f"{out}: holds a build that has not ended; finish it with its own command, or pull elsewhere")
    if overwrite or manifest is None:
        return
    if manifest.fingerprint not in (published.manifest.fingerprint, *synced_fingerprints(out)):
        raise CacheError(
            f"{out}: holds a cache that was built or changed here and is nowhere else, as far as this folder tells; "
            "pull to another folder (`signprep merge` makes one of both), or --overwrite to lose it"
        )


def fetched_folder(out: Path) -> Path:
    """Return the folder of fetched objects, named by their hash, until all of them are there."""
    return out / BUILD_FOLDER / _FETCHED


def _fetch_object(published: PublishedCache, path: str, folder: Path, progress: Progress | None = None) -> Path:
    """Fetch an object into a folder under its hash, and compare it; return its file."""
    digest = published.manifest.objects[path].digest
    beside = folder / f".{digest}{UNFINISHED_SUFFIX}"
    try:
        published.fetch(path, beside, progress)
        return beside.replace(folder / digest)
    except BaseException:
        with suppress(OSError):  # what went wrong before is what has to be known
            beside.unlink(missing_ok=True)
        raise


def _differing(out: Path, manifest: CacheManifest, *, check: bool) -> list[str]:
    """Return the paths of objects that are not here, or not as they should be."""
    old = finished_manifest(out)
    here = old.objects if old else {}
    return sorted(
        path
        for path, entry in manifest.objects.items()
        if here.get(path) != entry or not _is(out / path, entry, check=check)
    )


def _fetch(published: PublishedCache, change: CacheChange, paths: list[str], description: str) -> None:
    """Bring objects into the fetched folder, metadata first, so that a hostile cache is refused before its shards."""
    out, objects, folder = change.root, published.manifest.objects, fetched_folder(change.root)
    folder.mkdir(parents=True, exist_ok=True)
    arrived = _arrived(change, {path: objects[path] for path in paths})
    missing = list({objects[path].digest: path for path in paths if objects[path].digest not in arrived}.values())
    check_free_bytes(out, sum(objects[path].num_bytes for path in missing))

    def fetch(path: str, progress: Progress) -> None:
        _fetch_object(published, path, folder, progress)

    fetch_metadata(published, out)
    rest = [path for path in missing if path not in METADATA]
    transfer_all(rest, fetch, description=description, num_bytes=sum(objects[path].num_bytes for path in rest))


def _arrived(change: CacheChange, wanted: Mapping[str, CacheObject]) -> set[str]:
    """Return the hashes of objects that a pull that was cut has fetched; all else in the build's folder is deleted."""
    folder, staged = fetched_folder(change.root), change.new_objects
    for path, entry in wanted.items():
        if (staged / path).is_file():
            (staged / path).replace(folder / entry.digest)
    shutil.rmtree(staged, ignore_errors=True)
    by_digest = {entry.digest: entry for entry in wanted.values()}
    arrived = set()
    for file in folder.iterdir():
        # Hashed again: a machine that lost its power may have lost the bytes of a file that it had named.
        if file.name in by_digest and by_digest[file.name].matches(file):
            arrived.add(file.name)
        else:
            file.unlink()
    return arrived


def fetch_metadata(published: PublishedCache, out: Path) -> tuple[CacheInfo, Path]:
    """Fetch the metadata and the index of a cache, unless they are here, and refuse what does not fit.

    Returns the cache's info, and a folder with the metadata at their paths inside a cache.

    Raises as `validate_metadata`.
    """
    fetched, together = fetched_folder(out), out / BUILD_FOLDER / "metadata"
    fetched.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(together, ignore_errors=True)
    entries = {path: published.manifest.objects[path] for path in METADATA}
    here = {
        path: next((file for file in (fetched / entry.digest, out / path) if _is(file, entry)), None)
        for path, entry in entries.items()
    }
    missing = {entries[path].digest: path for path, file in here.items() if file is None}
    at_once(missing.values(), lambda path, progress: _fetch_object(published, path, fetched, progress))
    for path, file in here.items():
        (together / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file or fetched / entries[path].digest, together / path)
    return validate_metadata(together, published.manifest, published), together


def _is(file: Path, entry: CacheObject, *, check: bool = True) -> bool:
    """Return True if a file is an object, judged by its size and, with `check`, its hash."""
    if not file.is_file() or file.stat().st_size != entry.num_bytes:
        return False
    return not check or entry.matches(file)


def _stage(published: PublishedCache, change: CacheChange, paths: list[str]) -> None:
    """Move what has arrived to where it will be, at its paths inside the cache."""
    staged, objects = change.new_objects, published.manifest.objects
    last_use = {objects[path].digest: path for path in paths}
    for path in paths:
        fetched = fetched_folder(change.root) / objects[path].digest
        (staged / path).parent.mkdir(parents=True, exist_ok=True)
        if last_use[objects[path].digest] == path:
            fetched.replace(staged / path)
        else:
            shutil.copyfile(fetched, staged / path)

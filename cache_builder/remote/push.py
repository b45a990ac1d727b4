"""Push: a finished cache goes to a folder or behind a URL, only what is not there yet, and is published all at once.

Behind a URL objects are named by their hash: what is there is known
by its name, two versions share what they have in common, a push that was cut goes on where it was, and readers of the
version before are not disturbed. Each object is hashed as it leaves: damage on this disk does not spread. The
trade-off: what no version names any more stays there until `--prune`.
"""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from enum import Enum
from io import BytesIO, FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from signprep.cache_builder.folder.local_records import VIDEO_STAMPS, note_synced, synced_fingerprints
from signprep.cache_builder.format.layout import (
    GROUP_METADATA,
    CacheManifest,
    CacheObject,
    finished_manifest,
    parse_manifest,
    read_info,
    read_manifest,
)
from signprep.cache_builder.options import location_of
from signprep.cache_builder.remote.published import BUILDING, OBJECTS, PUBLISHED
from signprep.cache_builder.remote.pull import pull
from signprep.cache_builder.remote.storage import S3, MissingError, Progress, RemoteFolder
from signprep.cache_builder.remote.transfer import TransferResult, torn_uploads, transfer_all
from signprep.cache_builder.remote.untrusted import MAX_MANIFEST_BYTES, refuse_links, validate_metadata
from signprep.pipeline.errors import CacheCorruptError, CacheError
from signprep.pipeline.runtime.paths import StrPath, as_path

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


def push(
    cache: StrPath,
    destination: StrPath,
    *,
    prune: bool = False,
    overwrite: bool = False,
    dry_run: bool = False,
    confirm: Callable[[str], None] | None = None,
) -> TransferResult:
    """Bring a finished cache to a destination; readers there see the old cache or the new one, never anything between.

    Args:
        cache: in a folder of this machine.
        destination: a folder, which becomes the same cache; or a URL.
        overwrite: replace what somebody else has put there meanwhile.
        prune: delete what older versions left there and this one does not name.
        dry_run: only say what would travel.
        confirm: called, before anything is sent, with who can read the destination if that is everybody or not known;
            it raises to cancel.

    Raises CacheError if it is no finished cache, an object of it is damaged, or the destination cannot be written.
    """
    cache = as_path(cache)
    destination = location_of(destination)
    read_info(cache)
    manifest = read_manifest(cache)
    validate_metadata(cache, manifest, cache)
    if isinstance(destination, Path):
        if not overwrite and (there := finished_manifest(destination)) is not None:
            _refuse_other_state(cache, manifest, there, destination)
        report = pull(cache, destination, overwrite=overwrite, dry_run=dry_run, command="push")
        if not dry_run:
            _note_pushed(cache, manifest)
        return report
    remote = RemoteFolder(destination)
    if remote.is_read_only:
        raise CacheError(f"{remote}: nothing can be pushed to a web server; `signprep pull` reads from one")
    with ThreadPoolExecutor(1, thread_name_prefix="signprep-transfer") as pool:
        listed = pool.submit(remote.sizes, OBJECTS)  # over a long line, a round trip less
        published = published_manifest(remote)
    if published and not overwrite:
        _refuse_other_state(cache, manifest, published, remote)
    present = listed.result()
    wanted = {entry.hash: path for path, entry in manifest.objects.items()}
    missing = sorted(path for path in wanted.values() if not _is_there(present, manifest.objects[path]))
    if dry_run:
        return TransferResult.of(dict(manifest.objects), missing)
    confirm_visibility(remote, published, confirm)
    send_objects(cache, manifest, missing, remote)
    publish(remote, manifest)
    _note_pushed(cache, manifest)
    pruned = sorted(remote.sizes(OBJECTS).keys() - wanted.keys()) if prune else []
    remote.delete(f"{OBJECTS}/{name}" for name in pruned)
    if prune:  # an unfinished build counts on objects that are gone now
        remote.delete(f"{BUILDING}/{name}" for name in remote.sizes(BUILDING))
    return TransferResult.of(dict(manifest.objects), missing, num_pruned=len(pruned))


def _note_pushed(cache: Path, manifest: CacheManifest) -> None:
    """Note in a copy that its state is elsewhere too; one that may only be read has no work that could be lost."""
    with suppress(CacheError, OSError):
        note_synced(cache, manifest.fingerprint)


def confirm_visibility(
    remote: RemoteFolder, published: CacheManifest | None, confirm: Callable[[str], None] | None
) -> None:
    """Tell `confirm`, if there is one, who may read a place, where that is not the team alone for certain."""
    if confirm is None:
        return
    readers = visibility_of(remote)
    if readers is Visibility.EVERYBODY or (readers is Visibility.UNKNOWN and published is None):
        confirm(f"{remote}: {readers.value}")


def send_objects(cache: Path, manifest: CacheManifest, paths: list[str], remote: RemoteFolder) -> None:
    """Upload objects of a cache under their hashes."""

    def send(path: str, progress: Progress) -> None:
        refuse_links(cache, path)
        entry, file = manifest.objects[path], cache / path
        contents: Path | BytesIO = file
        try:
            if remote.takes_at_once(file.stat().st_size):
                contents = BytesIO()
                is_whole = entry.matches(_Copied(file, contents))
            else:
                is_whole = entry.matches(file)
        except OSError as error:
            raise CacheError(f"{file}: cannot be read ({error.strerror})") from error
        if not is_whole:
            raise CacheCorruptError(
                f"{file}: is not what was written; `signprep verify {cache}` tells more; nothing is published"
            )
        remote.upload(contents, f"{OBJECTS}/{entry.hash}", progress)

    num_bytes = sum(manifest.objects[path].num_bytes for path in paths)
    transfer_all(paths, send, description="Pushing", num_bytes=num_bytes)


class _Copied(FileIO):
    """A file that is copied to memory as it is read: what was hashed is what is sent, and the file is read once."""

    def __init__(self, path: Path, copy: BytesIO) -> None:
        super().__init__(path)
        self._copy = copy

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        length = super().readinto(buffer)
        self._copy.write(memoryview(buffer)[:length])
        return length


def publish(remote: RemoteFolder, manifest: CacheManifest) -> None:
    """Make a manifest the cache that readers see, if all its objects are there."""
    present = remote.sizes(OBJECTS)
    lost = sorted(path for path, entry in manifest.objects.items() if not _is_there(present, entry))
    if lost:
        raise CacheError(
            f"{remote}: {len(lost)} objects did not arrive, {lost[0]} among them; the same command goes on"
        )
    data = manifest.to_json().encode()
    remote.upload(data, PUBLISHED)
    if remote.read(PUBLISHED, limit=MAX_MANIFEST_BYTES) != data:
        raise CacheError(f"{remote}: somebody else has published another cache there meanwhile; look, and try again")
    if not remote.is_atomic:
        hashes = {entry.hash for entry in manifest.objects.values()}
        remote.delete(f"{OBJECTS}/{name}" for name in torn_uploads(present, hashes))
        remote.delete(torn_uploads(remote.sizes(""), {PUBLISHED, VIDEO_STAMPS}))


def _is_there(present: dict[str, int], entry: CacheObject) -> bool:
    return present.get(entry.hash) == entry.num_bytes


def published_manifest(remote: RemoteFolder) -> CacheManifest | None:
    """Return the manifest that is published there, None if there is none. Raises CacheError at another layout."""
    try:
        return parse_manifest(remote.read(PUBLISHED, limit=MAX_MANIFEST_BYTES), remote)
    except MissingError:
        pass
    try:
        remote.read(GROUP_METADATA, limit=MAX_MANIFEST_BYTES)
    except MissingError:
        return None
    raise CacheError(f"{remote}: holds a cache as a plain folder, or another Zarr store; take a place of its own")


def _refuse_other_state(
    cache: Path, manifest: CacheManifest, published: CacheManifest, place: RemoteFolder | Path
) -> None:
    """Raise CacheError if what is published does not come from this copy: somebody's work would be gone."""
    if published.fingerprint not in (manifest.fingerprint, *synced_fingerprints(cache)):
        raise CacheError(
            f"{place}: holds a cache that this copy does not come from; push to another place, pull it and merge "
            "(`signprep merge`), or --overwrite to replace it"
        )


_EVERYBODY = (
    "http://acs.amazonaws.com/groups/global/AllUsers",
    "http://acs.amazonaws.com/groups/global/AuthenticatedUsers",
)
"""Groups in a bucket's access list that anybody belongs to. Source: Amazon S3 user guide, access control lists."""


class Visibility(Enum):
    """The people who may read a place, in words for people."""

    KNOWN = "people with an account there may read it"
    UNKNOWN = "who may read it cannot be seen from here"
    EVERYBODY = "anybody may read it"


def visibility_of(remote: RemoteFolder) -> Visibility:
    """Return the visibility of a place, as far as its driver can tell."""
    if remote.protocol in S3:
        return _visibility_of_bucket(remote)
    if remote.protocol in ("sftp", "ssh", "smb", "memory"):
        return Visibility.KNOWN
    return Visibility.UNKNOWN


def _visibility_of_bucket(remote: RemoteFolder) -> Visibility:
    fs, root = remote.driver()
    bucket = root.split("/", 1)[0]
    try:
        grants = fs.call_s3("get_bucket_acl", Bucket=bucket).get("Grants", [])
        if any(grant.get("Grantee", {}).get("URI") in _EVERYBODY for grant in grants):
            return Visibility.EVERYBODY
    except Exception:  # the key may not look, or the server does not know the question
        return Visibility.UNKNOWN
    try:
        policy = json.loads(fs.call_s3("get_bucket_policy", Bucket=bucket)["Policy"])
    except FileNotFoundError:
        return Visibility.KNOWN  # it has none
    except Exception as error:
        return Visibility.KNOWN if "NoSuchBucketPolicy" in repr(error) + repr(error.__cause__) else Visibility.UNKNOWN
    return Visibility.EVERYBODY if _is_for_everybody(policy) else Visibility.KNOWN


def _is_for_everybody(policy: Any) -> bool:
    """Return True if a bucket's policy allows something to everybody without a condition.

    >>> _is_for_everybody({"Statement": [{"Effect": "Allow", "Principal": {"AWS": ["*"]}, "Action": "s3:GetObject"}]})
    True
    """
    statements = policy.get("Statement", [])
    for statement in statements if isinstance(statements, list) else [statements]:
        principal = statement.get("Principal")
        named = principal.get("AWS", []) if isinstance(principal, dict) else principal
        if statement.get("Effect") == "Allow" and not statement.get("Condition") and "*" in (named or ()):
            return True
    return False

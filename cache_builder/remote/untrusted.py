"""A cache that came from elsewhere is untrusted input: what is checked before a byte of it is believed.

In: a manifest and metadata as they arrived. Out: nothing, or a `CacheError` that says what was refused. Objects have
exactly the names that format 1 gives them, so that no name leaves the folder; sizes are bounded before memory or disk
is taken; bytes are hashed while they arrive, and each clip's are checked again when they are read. A cache of this
machine is checked in the same way, by `signprep.cache_builder.format.consistency`.
"""

from pathlib import Path, PurePosixPath

from signprep.cache_builder.format.consistency import check_index, checked_columns, read_columns
from signprep.cache_builder.format.index import SCHEMA
from signprep.cache_builder.format.layout import INDEX, CacheInfo, CacheManifest, read_info
from signprep.pipeline.errors import CacheError

MAX_MANIFEST_BYTES = 2**28
"""About two million shards."""


def validate_metadata(folder: Path, manifest: CacheManifest, where: object) -> CacheInfo:
    """Refuse metadata and an index that do not fit each other and their manifest, all columns of the index included.

    Raises:
        CacheVersionError: a newer format.
        CacheError: absurd shapes, other Zarr metadata than signprep writes, rows that do not fit.
    """
    info = read_info(folder)
    checked_columns(folder, info, manifest, where)
    check_index(read_columns(folder / INDEX, SCHEMA.names, where), info, manifest, where)
    return info


def refuse_links(root: Path, path: str) -> None:
    """Raise CacheError if an object of a cache in a folder, or a folder on the way to it, is a symbolic link."""
    current = root
    for part in PurePosixPath(path).parts:
        current /= part
        if current.is_symlink():
            raise CacheError(f"{current}: is a link; a cache that is passed on has none; refused")

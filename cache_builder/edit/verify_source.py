"""Is what lies behind a URL what was pushed? Every object is fetched once, hashed, and thrown away."""

import tempfile
from pathlib import Path

from signprep.cache_builder.edit.verify import Fault
from signprep.cache_builder.remote.published import open_source
from signprep.cache_builder.remote.storage import Progress
from signprep.cache_builder.remote.transfer import transfer_all
from signprep.pipeline.errors import CacheError


def verify_source(url: str) -> tuple[list[Fault], int]:
    """Return what is wrong with the objects of a cache behind a URL, and how many there are.

    Raises:
        CacheError: there is no finished cache, or its manifest is none of a cache.
    """
    source = open_source(url)

    with tempfile.TemporaryDirectory(prefix="signprep-") as folder:

        def check(path: str, progress: Progress) -> list[Fault]:
            target = Path(folder) / path.replace("/", "-")
            try:
                source.fetch(path, target, progress)
            except CacheError as error:
                return [Fault(path=path, message=str(error))]
            target.unlink()
            return []

        num_bytes = sum(entry.num_bytes for entry in source.manifest.objects.values())
        paths = sorted(source.manifest.objects)
        found = transfer_all(paths, check, description="Verifying", num_bytes=num_bytes)
    return [fault for faults in found for fault in faults], len(paths)

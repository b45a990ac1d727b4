"""Tars of clips, as the packages webdataset and datasets read them.

A split is SPLIT-000000.tar, SPLIT-000001.tar, ...; a clip is three files of one name in it, its position in the cache:
the clip (.mp4 or .npy), its label as a number (.cls), and all that is known of it (.json). Readers of tars shuffle
within a buffer only, so the clips of a split are mixed here, always in the same way.
"""

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from signprep.cache_builder.export.clips import Export
from signprep.pipeline.runtime.text import json_text

_SEED = 0


def write_web_dataset(export: Export, folder: Path, progress: Callable[[int], None]) -> None:
    """Write the tars of all splits into a folder. Raises CacheCorruptError if a clip is damaged."""
    most, ending, done = export.options.clips_per_tar, "mp4" if export.is_video else "npy", 0
    for split, positions in export.splits.items():
        mixed = np.random.default_rng(_SEED).permutation(positions).tolist()
        for number, first in enumerate(range(0, len(mixed), most)):
            with tarfile.open(folder / f"{split}-{number:06d}.tar", "w") as tar:
                for position, clip in export.in_order(export.file, mixed[first : first + most]):
                    told = export.told(position)
                    _add(tar, f"{position:09d}.{ending}", clip)
                    _add(tar, f"{position:09d}.cls", str(told["label"]).encode())
                    _add(tar, f"{position:09d}.json", json_text(told, indent=None).encode())
                    done += 1
                    progress(done)


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)  # of no owner and no time, so that the same contents are the same tar
    entry.size = len(data)
    tar.addfile(entry, io.BytesIO(data))

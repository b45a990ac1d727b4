"""A folder of MP4 files a class, SPLIT/CLASS/POSITION.mp4, as torchvision and Hugging Face's videofolder read it.

SPLIT/metadata.csv has a row a clip, with its label and its class as it is written. Folders are called like the classes
as far as file systems can call them so; classes without clips in a split have empty folders there, so that readers
which number folders number them alike in all splits.
"""

import csv
import re
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path

from signprep.cache_builder.export.clips import Export
from signprep.pipeline.runtime.text import printable

METADATA = "metadata.csv"
LONGEST_BYTES = 120
"""Of a folder's name in UTF-8; file systems take 143 to 255."""
_FORBIDDEN = re.compile(r'[<>:"/\\|?*\ufffd]')
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
"""Names of devices of Windows."""


def write_video_folder(export: Export, folder: Path, progress: Callable[[int], None]) -> None:
    """Write the videos of all splits into a folder. Raises CacheCorruptError if a clip is damaged."""
    names, done = class_folders(export.cache.vocabulary.glosses), 0
    for split, positions in export.splits.items():
        for name in names:
            (folder / split / name).mkdir(parents=True)
        with (folder / split / METADATA).open("w", encoding="utf-8", newline="") as file:
            table = csv.DictWriter(file, ["file_name", *export.told(positions[0])])
            table.writeheader()
            for position, clip in export.in_order(export.file, positions):
                told = export.told(position)
                file_name = f"{names[told['label']]}/{position:09d}.mp4"
                (folder / split / file_name).write_bytes(clip)
                table.writerow({"file_name": file_name} | told)
                done += 1
                progress(done)


def class_folders(glosses: Sequence[str]) -> list[str]:
    """Return a folder's name for each gloss: the gloss itself if every file system takes it and no other is like it.

    Else what cannot be is replaced by _, a long name is cut, and ~ and the label follow.

    >>> class_folders(["왼쪽", "1/2", "..", "Yes", "yes", "con"])
    ['왼쪽', '1_2~1', '_~2', 'Yes', 'yes~4', '_con~5']
    """
    taken, names = {METADATA}, [""] * len(glosses)
    safe = [_safe(gloss) for gloss in glosses]
    # Names that stay as they are come first, so that no other one takes them.
    for label in sorted(range(len(glosses)), key=lambda label: safe[label] != _normal(glosses[label])):
        name = safe[label]
        if name != _normal(glosses[label]) or name.casefold() in taken:
            name = f"{name}~{label}"
            while name.casefold() in taken:
                name += "_"
        taken.add(name.casefold())
        names[label] = name
    return names


def _normal(gloss: str) -> str:
    return unicodedata.normalize("NFC", gloss)


def _safe(gloss: str) -> str:
    name = _FORBIDDEN.sub("_", printable(_normal(gloss)))
    name = name.encode()[:LONGEST_BYTES].decode(errors="ignore").strip(" ")
    name = name.rstrip(".") or "_"
    return f"_{name}" if name.startswith(".") or _RESERVED.fullmatch(name) else name

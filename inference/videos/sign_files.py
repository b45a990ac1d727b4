"""The files of many videos' timelines: subtitles of each one in a folder, and a table of the signs of all.

In: videos, and the signs of each as they are found. Out: files named as the videos, in folders as theirs, so that
videos of one name in two folders have two; and a table that a spreadsheet opens. A file that is there already is never
replaced unasked: somebody may have corrected it.
"""

import csv
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import chain, count
from pathlib import Path, PurePath
from typing import Any, TypeAlias
from unicodedata import normalize

from signprep.inference.options import Outputs
from signprep.inference.timeline.segments import TimelineSegment
from signprep.inference.timeline.subtitles import write_subtitles
from signprep.inference.videos.results import cell
from signprep.inference.videos.window_predictions import Video, VideoPredictions
from signprep.pipeline.datasets.files.names import is_read_archive, is_video
from signprep.pipeline.errors import SignprepError
from signprep.pipeline.runtime.atomic_files import atomic_write, require_writable

COLUMNS = ("video", "start", "end", "gloss", "confidence", "error")
"""Of the table of signs; the first four are those of a table of labels."""

AddSigns: TypeAlias = Callable[[VideoPredictions, Sequence[TimelineSegment]], None]


@contextmanager
def sign_files(videos: Sequence[Video], outputs: Outputs) -> Iterator[AddSigns]:
    """Give a function that takes the signs of one video after the other, and writes them as the outputs ask.

    The table is there when the block ends without an error; subtitles of a video are as soon as it was added.

    Raises SignprepError if a file is there and `Outputs.overwrite` is False, or if one cannot be written.
    """
    folder, suffixes = outputs.subtitles_dir, outputs.subtitle_suffixes
    names = names_below(videos) if folder is not None else {}
    paths = {video: [Path(f"{folder / name}{end}") for end in suffixes] for video, name in names.items() if folder}
    if not outputs.overwrite:
        _require_free([*([outputs.signs] if outputs.signs else []), *chain.from_iterable(paths.values())])
    if folder is not None:
        _make_folder(folder)
        require_writable(folder / "0.eaf")
    with ExitStack() as stack:
        rows = None
        if outputs.signs is not None:
            beside = stack.enter_context(atomic_write(outputs.signs))
            # Excel knows Korean by the byte-order mark.
            rows = csv.writer(stack.enter_context(beside.open("w", encoding="utf-8-sig", newline="")))
            rows.writerow(COLUMNS)

        def add(found: VideoPredictions, segments: Sequence[TimelineSegment]) -> None:
            if found.predictions:  # a file without signs would say that none are made
                for path in paths.get(found.video.path, ()):
                    _make_folder(path.parent)
                    write_subtitles(path, segments, found.video.path)
            if rows is not None:
                rows.writerows(map(cell, row) for row in _rows(found, segments))

        yield add


def _require_free(paths: Sequence[Path]) -> None:
    """Raise SignprepError if there is anything at one of the paths."""
    there = [path for path in paths if os.path.lexists(path)]
    if there:
        more = f", and so are {len(there) - 1} other files" if len(there) > 2 else ""
        if len(there) == 2:
            more = f", and so is {there[1]}"
        raise SignprepError(
            f"{there[0]}: is there already{more}; it may have corrections: choose another place, or --overwrite to "
            "replace what is there"
        )


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SignprepError(f"{folder}: cannot be made a folder ({error.strerror})") from error


def _rows(found: VideoPredictions, segments: Sequence[TimelineSegment]) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of a video: its signs, then for each reason the span that has no answer because of it."""
    name = found.video.path
    for segment in segments:
        times = round(segment.start_seconds, 3), round(segment.end_seconds, 3)
        yield name, *times, segment.gloss, round(segment.confidence, 4), ""
    spans: dict[str, list[float]] = {}
    for missing in found.missing:
        spans.setdefault(missing.reason, []).extend(missing.span or ())
    for reason, seconds in spans.items():
        yield name, *((round(min(seconds), 3), round(max(seconds), 3)) if seconds else ("", "")), "", "", reason


def names_below(videos: Sequence[Video]) -> dict[str, PurePath]:
    """Return for each video, by its path, what files about it are called without their endings.

    Names begin below the folder that all videos are in. They lack the video's ending, and a zip's is a folder; videos
    that this does not tell apart keep the endings, or get a number.
    """
    root = _common_folder(videos)
    whole = {video.path: _parts(video, root) for video in videos}
    short = {path: [*map(_without_ending, parts)] for path, parts in whole.items()}
    numbers = Counter(map(_key, short.values()))
    taken: set[str] = set()
    names: dict[str, PurePath] = {}
    for path in sorted(
        whole, key=lambda path: numbers[_key(short[path])] > 1
    ):  # those that keep their short names first
        forms = [] if numbers[_key(short[path])] > 1 else [short[path]]
        *folders, last = whole[path]
        numbered = ([*folders, f"{last}-{number}"] for number in count(2))
        free = next(form for form in chain(forms, [whole[path]], numbered) if _key(form) not in taken)
        taken.add(_key(free))
        names[path] = PurePath(*free)
    return names


def _common_folder(videos: Sequence[Video]) -> str | None:
    try:
        return os.path.commonpath([_absolute(video.folder) for video in videos])
    except ValueError:  # on several drives of Windows
        return None


def _absolute(folder: Path) -> str:
    return os.path.abspath(folder)  # noqa: PTH100  (Path.resolve would leave a link for what it points to)


def _parts(video: Video, root: str | None) -> list[str]:
    """Return the folders and the file name of a video below a folder, all of them if it is None; none leads out."""
    folder = PurePath(_absolute(video.folder))
    above = folder.relative_to(root).parts if root is not None else (folder.drive.rstrip(":"), *folder.parts[1:])
    inside = [part.removesuffix("!") if is_read_archive(part[:-1]) else part for part in video.name.split("/")]
    return [part for part in (*above, *inside) if part not in ("", ".", "..")]


def _without_ending(part: str) -> str:
    return PurePath(part).stem if is_video(part) or is_read_archive(part) else part


def _key(parts: Sequence[str]) -> str:
    """Return what two names have in common that are one file on some systems."""
    return normalize("NFC", "/".join(parts)).casefold()

"""Segments of a table, CSV or Parquet: a path in, segments out, and a problem for each row without one.

A table has the columns `video` (path relative to the table's folder) and `gloss`, and perhaps `start` and `end`,
`item`, `source`, `signer`, `view`, `take`, `split`, `fps` and a box; `TableOptions` gives them other names and units.
Without `start` and `end` a row means its whole video.
"""

import difflib
import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa

from signprep.pipeline.clip_spec import LabelBox
from signprep.pipeline.datasets.annotations import (
    WHOLE_VIDEO_END,
    Segment,
    decoded,
    finite_number,
    is_text,
    label_box,
    normal_gloss,
)
from signprep.pipeline.datasets.files.archives import open_archive
from signprep.pipeline.datasets.files.data_root import ROW_OF_ERROR, OnProblem, Problem, split_member
from signprep.pipeline.datasets.files.image_files import holds_pictures
from signprep.pipeline.datasets.files.names import LANDMARK_SUFFIXES, VIDEO_SUFFIXES, is_landmark_file, is_video
from signprep.pipeline.datasets.tables.class_map import ClassMap, read_class_map
from signprep.pipeline.datasets.tables.options import (
    BOX,
    FRAMES,
    FRAMES_FROM_1,
    MILLISECONDS,
    OPTIONAL,
    REQUIRED,
    SECONDS,
    TableOptions,
)
from signprep.pipeline.datasets.tables.rows import CsvForm, csv_rows, parquet_rows
from signprep.pipeline.errors import AnnotationError
from signprep.pipeline.runtime.text import counted, first_of

TABLE_SUFFIXES = frozenset({".csv", ".tsv", ".parquet"})
SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val"}
SPLITS |= {"development": "val", "test": "test", "testing": "test"}
"""Words for splits, in lower case, and the split that each of them means."""
_OTHER_SPLIT = {"train": "test", "val": "train", "test": "train"}
"""The split of rows that are not in this one, where a column only tells whether they are in it."""
_TRUTHS = {word: True for word in ("true", "yes", "1", "1.0")}
_TRUTHS |= {word: False for word in ("false", "no", "0", "0.0")}
_ABSENT = frozenset({"na", "n/a", "#n/a", "<na>", "nan", "nat", "null", "none", "-", ""})
"""Words for a time or a split that is not there, in lower case, as pandas, R and Excel write them."""
_CLOCK = re.compile(r"(?:(\d{1,6}):)?([0-5]?\d):([0-5]?\d(?:[.,]\d*)?)")
"""Hours, minutes and seconds, as in 00:01:30.5 or 1:30."""
_LIKELY = {"video": ("path", "file", "filename", "filepath", "videopath"), "gloss": ("label", "word", "sign", "class")}
"""What else columns that must be there are often called, in lower case."""
APPENDED = (".mp4", *sorted(VIDEO_SUFFIXES - {".mp4"}))
"""Suffixes that are tried behind names that have none."""


@dataclass(frozen=True, kw_only=True)
class RowMeaning:
    """What the values of all rows of a table have in common."""

    time_unit: str = SECONDS
    fps: float | None = None
    """Frames a second, where a row does not tell it."""
    split_flag: str | None = None
    """The split that rows with `True` as their split are in, as the column's name tells."""
    glosses: ClassMap | None = None
    """What codes of glosses mean."""


def table_segments(
    path: Path,
    on_problem: OnProblem,
    *,
    landmark_files: bool = False,
    options: TableOptions = TableOptions(),
    fps: float | None = None,
    on_note: Callable[[str], None] = lambda note: None,
) -> Iterator[Segment]:
    """Yield the segments of a table; a row that makes no segment is a problem that tells its number.

    A box that means nothing is one, too, and costs the row no more than the box.

    With `landmark_files` a row means the landmark file beside its video, or in its place, and no video is needed.
    `fps` is the rate of frames where a row does not tell it. `on_note` takes a line about the table, at its end.

    Raises AnnotationError if the table cannot be read, lacks a column or has one twice.
    """
    meaning, by_name = _meaning(options, fps), options.names
    header: list[str] = []

    def places(names: Sequence[str]) -> dict[str, int]:
        header.extend(names)
        return _places(path, by_name, names)

    try:
        if path.suffix.lower() == ".parquet":
            rows = parquet_rows(path, places)
        else:
            usual = "\t" if path.suffix.lower() == ".tsv" else ","
            rows = csv_rows(path.read_bytes(), path, CsvForm(known=tuple(by_name.values()), usual=usual), places)
        root = options.video_root or path.parent
        number = 0
        for number, name, row in rows:
            try:
                if isinstance(row, str):
                    raise ValueError(row)
                text = {field: found for field, value in row.items() if (found := _text(field, value))}
                if not text.get("gloss") and (reason := text.get("error")):
                    message = f"{path}: {name}: {text.get('video')} has no sign there: {reason}"
                    on_problem(Problem(kind=ROW_OF_ERROR, path=path.name, message=message))
                    continue
                video = _video(text, root, landmark_files)
                segment = segment_of(text, number, video, meaning)
            except ValueError as error:
                message = f"{path}: {name}: {error}"
                on_problem(Problem(kind="row-unusable", path=path.name, message=message))
                continue
            try:
                box = box_of(text)
            except ValueError as error:
                on_problem(Problem(kind="box-unusable", path=path.name, message=f"{path}: {name}: {error}"))
                box = None
            yield segment if box is None else replace(segment, box=box)
        on_note(_note(path, number, header, _places(path, by_name, header)))
    except (OSError, pa.ArrowException) as error:
        raise AnnotationError(f"{path}: cannot be read as a table ({error})") from error


def _note(path: Path, num_rows: int, header: Sequence[str], by_field: Mapping[str, int]) -> str:
    """Return the line that says what was read of a table, and what was not."""
    line = f"read as the table {path.name}: {counted(num_rows, 'row')}"
    if not by_field.keys() & {"start", "end"}:
        line += "; each is its whole video, since there are no columns start and end"
    elif "start" not in by_field:
        line += "; each begins where its video begins, since there is no column start"
    elif "end" not in by_field:
        line += "; each ends where its video ends, since there is no column end"
    unread = [name for place, name in enumerate(header) if place not in by_field.values()]
    line += f"; not read: its columns {first_of(unread, 8)}" if unread else ""
    slips = ((field, _nearest(field, unread)) for field in OPTIONAL if field not in by_field and field not in BOX)
    meant = [f"{field}={name}" for field, name in slips if name]
    return line + (f"; if one is only misspelt: --columns {','.join(meant)}" if meant else "")


def _meaning(options: TableOptions, fps: float | None) -> RowMeaning:
    flag = _FLAGS.get(options.names["split"].lower())
    glosses = None if options.class_map is None else read_class_map(options.class_map)
    return RowMeaning(time_unit=options.time_unit, fps=fps, split_flag=flag, glosses=glosses)


def _places(path: Path, by_name: Mapping[str, str], header: Sequence[str]) -> dict[str, int]:
    """Return the place of each field's column. Raises AnnotationError if one is missing, or there twice.

    `by_name` has the name of each field's column. `Start` is `start`: it would be a pity to miss the times.
    """
    for field in (*REQUIRED, "start", "end"):
        likely = [name for name in header if name.lower() == field]
        if by_name[field] == field and field not in header and len(likely) == 1:
            by_name = {**by_name, field: likely[0]}
    missing = [name for field, name in by_name.items() if name not in header and (field in REQUIRED or name != field)]
    if missing:
        expected, cure = "", ""
        if any(name in REQUIRED for name in missing):
            expected = f"expected {', '.join(REQUIRED)} and perhaps {', '.join(OPTIONAL)}; "
            lacking = [field for field in REQUIRED if by_name[field] in missing]
            named = ",".join(f"{field}={_likely(field, header)}" for field in lacking)
            cure = f"; --columns {named} gives columns of other names" if header else ""
        shown = ", ".join(header)[:300] or "nothing"
        raise AnnotationError(f"{path}: has no column {', '.join(missing)[:200]}; {expected}found {shown}{cure}")
    found = {field: name for field, name in by_name.items() if name in header}
    if {"confidence", "error"} <= set(header):  # the table of `infer --signs`
        found["error"] = "error"
    for name in found.values():
        if (count := list(header).count(name)) > 1:
            raise AnnotationError(f"{path}: has {count} columns named {name}; rename or delete all but one of them")
    return {field: list(header).index(name) for field, name in found.items()}


def _likely(field: str, header: Sequence[str]) -> str:
    """Return the column that a field probably has in a table, as it is typed; NAME if there is none."""
    usual = (name for name in header if "".join(filter(str.isalnum, name.lower())) in _LIKELY[field])
    found = next(usual, None) or _nearest(field, header) or ""
    return found if re.fullmatch(r"\w{1,40}", found) else "NAME"


def _nearest(field: str, header: Iterable[str]) -> str | None:
    """Return the column whose name is the field's but for a slip of the pen; None if there is none."""
    by_word = {name.lower(): name for name in header if re.fullmatch(r"\w{1,40}", name)}
    return next((by_word[word] for word in difflib.get_close_matches(field, by_word, 1, 0.75)), None)


def _text(column: str, value: Any) -> str:
    """Return a value as text, empty if there is none. Raises ValueError if it is no text."""
    if isinstance(value, bytes):
        value = decoded(value)
    if isinstance(value, str):
        text = value.strip()
    elif value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    elif isinstance(value, list | dict | tuple | Exception):
        raise ValueError(f"its {column} is no text ({str(value)[:80]})")
    else:
        text = str(value)
    if not is_text(text):
        raise ValueError(f"its {column} has characters of another encoding; save the table as UTF-8")
    return text


def segment_of(text: Mapping[str, str], number: int, video: PurePosixPath, meaning: RowMeaning) -> Segment:
    """Return the segment of a row.

    Args:
        text: values by the names of `COLUMNS`; absent or empty ones are not there. `gloss` is.
        number: of the row, from 1.
        video: relative to the data root, as it lies on disk.
        meaning: what the values of all rows have in common.

    Raises ValueError if it makes none.
    """
    start_seconds, end_seconds = _span(text, meaning)
    if not 0 <= start_seconds < end_seconds:
        raise ValueError(
            f"runs from {start_seconds} to {end_seconds} s, but must start at 0 or later and end after that"
        )
    gloss = text["gloss"] if meaning.glosses is None else meaning.glosses.gloss(text["gloss"])
    kept: dict[str, Any] = {field: text.get(field) for field in _KEPT}
    return Segment(
        segment_id=f"{video.stem}#{number}",
        video=str(video),
        start_seconds=start_seconds,
        end_seconds=end_seconds,
        gloss=normal_gloss(gloss),
        take=text.get("take") or video.with_suffix("").as_posix(),
        split=split_of_word(text.get("split", ""), meaning.split_flag),
        **kept,
    )


_KEPT = ("item", "source", "signer", "view")
_FLAGS = {f"{before}{word}": split for before in ("", "is_", "is ") for word, split in SPLITS.items()}
"""Names of columns that tell whether a row is in a split, and the split."""


def split_of_word(word: str, flag: str | None = None) -> str | None:
    """Return the split that a word means; None if it means none.

    Args:
        word: a name of a split in any case, or a truth value.
        flag: the split of rows with `True`.

    Raises ValueError if it means nothing.

    >>> split_of_word("Validation"), split_of_word("False", flag="train"), split_of_word("NA")
    ('val', 'test', None)
    """
    word = word.lower()
    if word in _ABSENT:
        return None
    if word in SPLITS:
        return SPLITS[word]
    expected = ", ".join(dict.fromkeys(SPLITS.values()))
    if word not in _TRUTHS:
        raise ValueError(f"its split {word[:40]!r} is none of {expected}")
    if flag is None:
        raise ValueError(f"its split {word[:40]!r} tells nothing; its column must be named {expected}")
    return flag if _TRUTHS[word] else _OTHER_SPLIT[flag]


def box_of(text: Mapping[str, str]) -> LabelBox | None:
    """Return a row's box, None if it has none. Raises ValueError if it means nothing."""
    cells = [text.get(name, "") for name in BOX]
    return None if all(cell.lower() in _ABSENT for cell in cells) else label_box(cells)


def _video(text: Mapping[str, str], root: Path, landmark_files: bool) -> PurePosixPath:
    """Return a row's video, or its landmark file, as it lies on disk: macOS decomposes letters.

    Raises ValueError if there is none.
    """
    video, gloss = text.get("video"), text.get("gloss")
    if not video or not gloss:
        raise ValueError(f"has no {'gloss' if video else 'video'}")
    name = PurePosixPath(video.replace("\\", "/"))
    if name.is_absolute() and name.is_relative_to(root.absolute()):
        name = name.relative_to(root.absolute())
    names = file_names(name, landmark_files)
    for one in names:
        if (found := _on_disk(root, one)) is not None:
            return found
    what = "landmark file" if landmark_files else "video"
    told = " or ".join(str(root / name) for name in (names if landmark_files else names[:1]))
    raise ValueError(f"there is no {what} {told}")


def file_names(name: PurePosixPath, landmark_files: bool) -> list[PurePosixPath]:
    """Return the names that a row's file may have: its own, with a suffix if it has none, or of its landmarks."""
    has_suffix = is_landmark_file(name.name) or is_video(name.name)
    if not name.name or (has_suffix and not landmark_files) or is_landmark_file(name.name):
        return [name]
    stem = name.with_suffix("") if has_suffix else name
    suffixes = LANDMARK_SUFFIXES if landmark_files else APPENDED
    appended = [stem.with_name(stem.name + suffix) for suffix in suffixes]
    return appended if landmark_files else [name, *appended]


def _on_disk(root: Path, name: PurePosixPath) -> PurePosixPath | None:
    if name.is_absolute() or ".." in name.parts:
        raise ValueError(
            f"its video {str(name)!r} leaves the table's folder {root}; --video-root DIR names the folder of all videos"
        )
    on_disk, member = split_member(str(name))
    try:
        if member is not None and not is_video(member) and holds_pictures(root / on_disk, member):
            return name
        if member is not None and member in open_archive(root / on_disk).members:
            return name
        for form in (None, "NFC", "NFD"):
            spelt = PurePosixPath(unicodedata.normalize(form, str(name))) if form else name
            if (root / spelt).is_file() or (not is_video(name.name) and holds_pictures(root / spelt)):
                return spelt
    except AnnotationError as error:
        raise ValueError(str(error)) from None
    except OSError:  # too long for the disk
        pass
    return None


def _span(text: Mapping[str, str], meaning: RowMeaning) -> tuple[float, float]:
    """Return a row's start and end in seconds, half-open; -1 as the end is that of the video."""
    start, end = (_number(text, name, meaning.time_unit) for name in ("start", "end"))
    end = None if end == -1 else end
    start = None if start == -1 and end is None else start
    per_second, first = 1000.0 if meaning.time_unit == MILLISECONDS else 1.0, 0
    if (start, end) == (None, None):
        return 0.0, WHOLE_VIDEO_END
    if meaning.time_unit in (FRAMES, FRAMES_FROM_1):
        fps = _number(text, "fps", "frames a second") or meaning.fps
        if fps is None or fps <= 0:
            raise ValueError("its times are frames, and no frame rate is given: a column fps has it, or --fps")
        per_second, first = fps, int(meaning.time_unit == FRAMES_FROM_1)
    start_seconds = 0.0 if start is None else (start - first) / per_second
    return start_seconds, WHOLE_VIDEO_END if end is None else end / per_second


def _number(text: Mapping[str, str], column: str, unit: str) -> float | None:
    if text.get(column, "").lower() in _ABSENT:
        return None
    if unit == SECONDS and (clock := _CLOCK.fullmatch(text[column])):
        hours, minutes, seconds = clock.groups()
        return int(hours or 0) * 3600 + int(minutes) * 60 + float(seconds.replace(",", "."))
    try:
        return finite_number(text[column])
    except ValueError:
        told = f"its {column} {text[column][:40]!r} is no number of {unit}"
        raise ValueError(f"{told} such as 90.5, nor a time such as 00:01:30.5" if unit == SECONDS else told) from None

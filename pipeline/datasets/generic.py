"""Data sets of any make: a table of segments, CSV or Parquet, as WLASL has it, or a folder of videos for each gloss.

A table has the columns `video` (path relative to the table's folder), `start`, `end` (seconds) and `gloss`, and perhaps
`item`, `source`, `signer`, `view`, `take` and `split` (train, val or test). Empty `start` and `end` mean the whole
video. In folders `GLOSS/clip.mp4` each video is one segment.
"""

import math
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from signprep.pipeline.datasets.annotations import (
    WHOLE_VIDEO_END,
    DatasetOptions,
    Segment,
    is_further_video,
    is_video,
    normal_gloss,
    parse_name,
)
from signprep.pipeline.datasets.files import FoundFile, OnProblem, Problem, split_member, walk_files
from signprep.pipeline.errors import AnnotationError

TABLE_SUFFIXES = frozenset({".csv", ".tsv", ".parquet"})
REQUIRED = ("video", "start", "end", "gloss")
OPTIONAL = ("item", "source", "signer", "view", "take", "split")
SPLITS = ("train", "val", "test")


def table_segments(path: Path, on_problem: OnProblem) -> Iterator[Segment]:
    """Yield the segments of a table; a row that makes no segment is a problem that tells its number.

    Raises AnnotationError if the table cannot be read or lacks a column.
    """
    table = _read_table(path)
    missing = [name for name in REQUIRED if name not in table.column_names]
    if missing:
        raise AnnotationError(
            f"{path}: has no column {', '.join(missing)}; expected {', '.join(REQUIRED)} and perhaps "
            f"{', '.join(OPTIONAL)}; found {', '.join(table.column_names)}"
        )
    columns = [name for name in (*REQUIRED, *OPTIONAL) if name in table.column_names]
    number = 0
    for batch in table.select(columns).to_batches(max_chunksize=4096):
        for row in batch.to_pylist():
            number += 1
            try:
                yield _segment(row, number, path.parent)
            except ValueError as error:
                message = f"{path}: row {number}: {error}"
                on_problem(Problem(kind="row-unusable", path=path.name, message=message))


def _read_table(path: Path) -> pa.Table:
    try:
        suffix = path.suffix.lower()
        if suffix == ".parquet":
            return pq.read_table(path)
        parse = pa.csv.ParseOptions(delimiter="\t" if suffix == ".tsv" else ",", newlines_in_values=True)
        # All columns as text, so that a gloss `3.10`, a gloss `null` or a signer `007` stays what it is.
        names = pa.csv.open_csv(path, parse_options=parse).schema.names
        convert = pa.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), null_values=[])
        return pa.csv.read_csv(path, parse_options=parse, convert_options=convert)
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise AnnotationError(f"{path}: cannot be read as a table ({error})") from error


def _segment(row: dict[str, Any], number: int, root: Path) -> Segment:
    """Return a row's segment. Raises ValueError if it makes none."""
    text = {name: str(value).strip() for name, value in row.items() if value is not None and str(value).strip()}
    video, gloss = text.get("video"), text.get("gloss")
    if not video or not gloss:
        raise ValueError("has no video or no gloss")
    name = PurePosixPath(video.replace("\\", "/"))
    if name.is_absolute() or ".." in name.parts:
        raise ValueError(f"its video {video!r} leaves the table's folder")
    if split_member(str(name))[1] is None and not (root / name).is_file():
        raise ValueError(f"there is no video {root / name}")
    start_seconds, end_seconds = _seconds(text, "start", 0.0), _seconds(text, "end", WHOLE_VIDEO_END)
    if not (math.isfinite(start_seconds + end_seconds) and 0 <= start_seconds < end_seconds):
        raise ValueError(f"runs from {start_seconds} to {end_seconds} s")
    split = text.get("split")
    if split is not None and split not in SPLITS:
        raise ValueError(f"its split {split!r} is none of {', '.join(SPLITS)}")
    return Segment(
        segment_id=f"{name.stem}#{number}",
        video=str(name),
        start_seconds=start_seconds,
        end_seconds=end_seconds,
        gloss=normal_gloss(gloss),
        take=text.get("take") or name.with_suffix("").as_posix(),
        **{column: text.get(column) for column in OPTIONAL if column != "take"},
    )


def _seconds(text: dict[str, str], column: str, otherwise: float) -> float:
    if column not in text:
        return otherwise
    try:
        return float(text[column])
    except ValueError:
        raise ValueError(f"its {column} {text[column]!r} is no number of seconds") from None


def class_folder_segments(root: Path, options: DatasetOptions, on_problem: OnProblem) -> Iterator[Segment]:
    """Yield a segment for each video below a folder named by its gloss. Raises AnnotationError if there is none."""
    empty = True
    for file in _one_of_each_name(walk_files(root, on_problem, wanted=is_video), root, on_problem):
        name = PurePosixPath(file.name)
        if len(name.parts) < 2:
            message = f"{root / file.name}: lies in no class folder"
            on_problem(Problem(kind="video-without-label", path=file.name, message=message))
            continue
        empty = False
        names = parse_name(Path(file.file_name).stem, options.pattern)
        folder = re.sub(r"\.zip!$", "", name.parts[-2], flags=re.IGNORECASE)
        # Two folders may hold files of one name: the whole path makes ids and takes unique.
        path = unicodedata.normalize("NFC", name.with_suffix("").as_posix())
        names = names if names.signer else replace(names, take=path)
        yield Segment(
            segment_id=f"{path}#0",
            video=file.name,
            start_seconds=0.0,
            end_seconds=WHOLE_VIDEO_END,
            gloss=normal_gloss(folder),
            **asdict(names),
        )
    if empty:
        raise AnnotationError(f"{root}: holds no video in a class folder; expected GLOSS/clip.mp4")


def _one_of_each_name(files: Iterator[FoundFile], root: Path, on_problem: OnProblem) -> Iterator[FoundFile]:
    """Yield all files but those of `FURTHER_VIDEO_SUFFIXES` that another one beside them was made from."""
    further: list[FoundFile] = []
    paths: set[PurePosixPath] = set()
    for file in files:
        if is_further_video(file.name):
            further.append(file)
            continue
        paths.add(PurePosixPath(file.name).with_suffix(""))
        yield file
    for file in further:
        path = PurePosixPath(file.name).with_suffix("")
        if path in paths:
            message = f"{root / file.name}: has the name of another video beside it, which is taken"
            on_problem(Problem(kind="same-name", path=file.name, message=message))
            continue
        paths.add(path)
        yield file

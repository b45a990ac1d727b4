"""Segments of a published data set as it is unpacked: a folder and a preset in, segments out, and what is missing.

Videos that are not there are one problem each, of the kind `video-missing`: dead links are normal in these sets.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path

from signprep.pipeline.clip_spec import LabelBox
from signprep.pipeline.datasets.annotations import (
    WHOLE_VIDEO_END,
    DatasetOptions,
    Segment,
    finite_number,
    is_text,
    label_box,
)
from signprep.pipeline.datasets.files.data_root import OnProblem, Problem
from signprep.pipeline.datasets.presets.copies import Copies
from signprep.pipeline.datasets.presets.listing import Listing
from signprep.pipeline.datasets.presets.rows import NamedRow, Row, Rows
from signprep.pipeline.datasets.presets.spec import JSON, VIDEOS, Preset, find_preset
from signprep.pipeline.datasets.presets.template import Template, first_filled
from signprep.pipeline.datasets.tables.segments import RowMeaning, segment_of
from signprep.pipeline.errors import AnnotationError
from signprep.pipeline.runtime.text import counted, first_of

VIDEO_MISSING = "video-missing"
OnNote = Callable[[str], None]
_PEEKED_ROWS = 1000


def preset_segments(
    root: Path, video_root: Path, options: DatasetOptions, on_problem: OnProblem, on_note: OnNote
) -> Iterator[Segment]:
    """Yield the segments of the rows that a preset finds; `on_note` takes lines about what was read.

    Args:
        root: the folder, or one file of labels in it.
        video_root: the folder that videos lie in, at any depth.
        options: `options.preset` is the name of a preset, or the path of one.
        on_problem: takes rows that make no segment.
        on_note: takes lines about what was read, behind the last segment.

    Raises AnnotationError if the preset means nothing, or if the folder is not as it says.
    """
    assert options.preset is not None
    preset = find_preset(options.preset)
    landmark_files = options.landmarks == "files"
    pictures = not landmark_files and (preset.picture_fps or options.fps) is not None
    listing = Listing(root, video_root, preset, on_problem, landmark_files=landmark_files, pictures=pictures)
    rows = Rows(root, preset, listing)
    found = iter(rows)
    peeked = list(islice(found, _PEEKED_ROWS))
    _require_fields(preset, peeked, rows.columns)
    maker = _Maker(preset, listing, Copies(video_root, preset), options.fps)
    num_rows = num_missing = num_segments = 0
    for num_rows, (where, row) in enumerate(chain(peeked, found), start=1):
        try:
            if isinstance(row, str):
                raise ValueError(row)
            segment = maker.segment(row, num_rows)
            num_segments += 1
        except _MissingVideoError as missing:
            num_missing += 1
            message = f"{where}: there is no {'landmark file' if landmark_files else 'video'} {missing}"
            on_problem(Problem(kind=VIDEO_MISSING, path=str(missing), message=message))
        except ValueError as error:
            file = where.split(": row ")[0]
            path = Path(file).name if file != where else where
            on_problem(Problem(kind="row-unusable", path=path, message=f"{where}: {error}"))
        else:
            try:
                box = _box(preset, row)
            except ValueError as error:
                on_problem(Problem(kind="box-unusable", path=segment.video, message=f"{where}: {error}"))
                box = None
            yield segment if box is None else replace(segment, box=box)
    for note in _notes(rows, preset, num_rows, num_missing, maker.copies.num_ignored, num_segments):
        on_note(note)


def _notes(
    rows: Rows, preset: Preset, num_rows: int, num_missing: int, num_ignored: int, num_segments: int
) -> Iterator[str]:
    names = [name for _, names in rows.files for name in names]
    for patterns in rows.absent:
        yield f"there is no file {' or '.join(patterns)}, and nothing of it"
    in_others = frozenset[str]().union(*rows.used_columns.values())
    for name, columns in rows.used_columns.items():
        if lacking := sorted(in_others - columns):
            yield f"{name} has no column {', '.join(lacking)}, as others have: its rows are without what it tells"
    for copy, of in rows.copies:
        yield f"{copy} has the content of {of}, and is not read"
    of_videos = any(source.form == VIDEOS for source, _ in rows.files)
    what = first_of(names, 4) if names else "names of videos" if of_videos else "nothing"
    missing = f", {num_missing:,} of them without a video" if num_missing else ""
    yield f"read as {preset.name}: {what}, {counted(num_rows, 'row')}{missing}"
    if num_ignored:
        rows_of = counted(num_ignored, "row")
        yield f"the times of {rows_of} are ignored: their lengths tell that the videos were cut to the sign before"
    if preset.sentences and num_segments:
        yield "each segment is a sentence, and its gloss all of it: nothing to train a classifier on"


class _MissingVideoError(ValueError):
    """The message is the end of the path of a video that is not there."""


class _Maker:
    """Makes segments of rows."""

    def __init__(self, preset: Preset, listing: Listing, copies: Copies, fps: float | None) -> None:
        self._preset, self._listing, self.copies = preset, listing, copies
        self._meaning = RowMeaning(time_unit=preset.time_unit, fps=fps)
        self._split_of = preset.split.lookup if preset.split is not None and preset.split.values is not None else None
        self._values = {name: templates for name, templates in preset.values.items() if templates}
        self._values |= {"start": preset.start, "end": preset.end, "fps": preset.fps}

    def segment(self, row: Row, number: int) -> Segment:
        """Return a row's segment. Raises ValueError if it makes none."""
        preset = self._preset
        text = {name: found for name, templates in self._values.items() if (found := first_filled(templates, row))}
        if "gloss" not in text:
            raise ValueError(f"has no gloss: {_shown(preset.values['gloss'])} is empty")
        if strange := next((name for name, value in text.items() if not is_text(value)), None):
            raise ValueError(f"its {strange} has characters of another encoding; save the file as UTF-8")
        ends = [filled for template in preset.videos if (filled := template.fill(row)) is not None]
        if not ends:
            raise ValueError(f"has no video: {_shown(preset.videos)} is empty")
        path = next((lies for end in ends if (lies := self._listing.video(end)) is not None), None)
        if path is None:
            raise _MissingVideoError(ends[0])
        if preset.split is not None and (word := first_filled(preset.split.of, row)) is not None:
            text["split"] = word if self._split_of is None else (self._split_of(word) or "")
        segment = segment_of(text, number, path, self._meaning)
        if self.copies.are_times_ignored(segment):
            segment = replace(segment, start_seconds=0.0, end_seconds=WHOLE_VIDEO_END)
        return segment


def _box(preset: Preset, row: Row) -> LabelBox | None:
    """Return a row's box, None if it has none. Raises ValueError if it means nothing."""
    numbers = (first_filled(preset.box, row) or "").split()
    if preset.box_is_size and len(numbers) == 4:
        x0, y0, width, height = map(finite_number, numbers)
        return label_box((x0, y0, x0 + width, y0 + height))
    return label_box(numbers) if numbers else None


def _shown(templates: tuple[Template, ...]) -> str:
    return " or ".join(map(str, templates))


def _require_fields(preset: Preset, rows: list[NamedRow], columns: set[str]) -> None:
    """Raise AnnotationError if the preset names a field that no row has: it may be misspelt.

    Objects of JSON need not have all fields, so of those only the fields of video and gloss are missed.
    """
    known = {field for _, row in rows if isinstance(row, dict) for field in row}
    if not known:
        return
    extracts = [*preset.extracts, *(one for source in preset.sources for one in source.extracts)]
    extracts += [one for join in preset.joins for one in join.source.extracts]
    known.update(field for extract in extracts for field in extract.fields)
    known.update(
        field for source in preset.sources if source.pattern is not None for field in source.pattern.groupindex
    )
    is_json = any(source.form == JSON for source in preset.sources)
    optional = any(not join.required for join in preset.joins)
    for key, templates in preset.templates.items():
        if not templates or ((is_json or optional) and key not in ("video", "gloss")):
            continue
        if not any(set(template.fields) <= known for template in templates):
            raise AnnotationError(
                f"{preset.path}: {key}: {_shown(templates)} names a field that the rows do not have; they have "
                f"{', '.join(sorted(known | columns - {'row'}))[:300]}"
            )

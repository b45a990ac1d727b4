"""One function for all kinds of data sets: a data root and options in, segments and problems out.

With `idle_class` there are further segments of people who are not signing, before and between the signs of their
videos, from which a model of continuous signing learns to tell signs from rests.
"""

import hashlib
import os
import statistics
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from signprep.pipeline.datasets.aihub import LABEL_SUFFIX, aihub_segments, may_be_label
from signprep.pipeline.datasets.annotations import (
    WHOLE_VIDEO_END,
    DataRootOptions,
    DatasetOptions,
    Segment,
    is_selected,
    parse_kind,
)
from signprep.pipeline.datasets.class_folders import class_folder_segments
from signprep.pipeline.datasets.files.data_root import OnProblem, Problem, is_picture_folder, path_on_disk, read_head
from signprep.pipeline.datasets.files.names import is_landmark_file, is_sequence, is_video
from signprep.pipeline.datasets.files.video_files import DataRoots
from signprep.pipeline.datasets.presets.read import VIDEO_MISSING, preset_segments
from signprep.pipeline.datasets.presets.spec import find_preset
from signprep.pipeline.datasets.presets.suggest import hint_at_folder, suggestions
from signprep.pipeline.datasets.sign_script import HEAD_BYTES, is_script
from signprep.pipeline.datasets.tables.segments import TABLE_SUFFIXES, table_segments
from signprep.pipeline.datasets.timed_text.segments import is_timed_text, timed_text_segments
from signprep.pipeline.errors import AnnotationError
from signprep.pipeline.runtime.paths import StrPath, as_path, spelt_otherwise
from signprep.pipeline.runtime.text import counted, first_of


@dataclass(frozen=True, kw_only=True)
class Annotations:
    """The segments of a data set, and the problems met while reading it."""

    roots: DataRoots
    """The folders that the segments' videos lie in."""
    segments: tuple[Segment, ...]
    """In the order of their videos' base names and their starts."""
    problems: tuple[Problem, ...]
    notes: tuple[str, ...] = ()
    """Lines about what was read, for people: `read as the table words.csv, 500 rows`."""


def layout_of(root: Path, options: DatasetOptions) -> str:
    """Return aihub, table, classes, subtitles or preset: the layout that was asked for, or the one that is there.

    Raises AnnotationError if there is nothing at this path, a file that is no table, or if options contradict it.
    """
    if not root.exists():
        expected = "a table" if root.suffix.lower() in TABLE_SUFFIXES else "a folder with video/ and label/ in it"
        expected = expected if options.preset is None else "the folder of the unpacked data set"
        raise AnnotationError(f"{root}: there is no such data root; {spelt_otherwise(root) or f'expected {expected}'}")
    if options.preset is not None:
        given = [name for name in options.table.given if name != "--video-root"] + ["--tier"] * bool(options.tiers)
        if options.layout != "auto" or given:
            other = "--layout" if options.layout != "auto" else ", ".join(given)
            raise AnnotationError(f"{root}: --preset says how it is read; leave {other} out")
        return "preset"
    if root.is_file():
        if options.tiers:
            raise AnnotationError(f"{root}: --tier is for folders with ELAN files, and this is a file; leave it out")
        if options.layout in ("auto", "table") and root.suffix.lower() in TABLE_SUFFIXES:
            return "table"
        raise AnnotationError(
            f"{root}: is a file but no table; expected {', '.join(sorted(TABLE_SUFFIXES))} or a folder; "
            f"{hint_at_folder(root)}"
        )
    if options.table.given:
        raise AnnotationError(
            f"{root}: is a folder, and {', '.join(options.table.given)} tells how to read a table; give the table, "
            f"{', '.join(sorted(TABLE_SUFFIXES))}, as the data root"
        )
    if options.layout == "table":
        raise AnnotationError(f"{root}: is a folder; --layout table takes a file {', '.join(sorted(TABLE_SUFFIXES))}")
    if options.tiers and options.layout not in ("auto", "subtitles"):
        raise AnnotationError(f"{root}: --tier is for --layout subtitles, which reads ELAN files, not {options.layout}")
    if options.layout == "auto":
        return "subtitles" if options.tiers or _holds_timed_text_only(root) else "aihub"
    return options.layout


def _holds_timed_text_only(root: Path) -> bool:
    """Return True for a folder with ELAN or subtitle files, and no label of AIHub's form, nor an archive of them."""
    found = False
    others: list[Path] = []
    for folder, _, names in os.walk(root):
        if any(name.endswith(LABEL_SUFFIX) or ".zip" in name.lower() or ".tar" in name.lower() for name in names):
            return False
        found = found or any(map(is_timed_text, names))
        others += [Path(folder, name) for name in names if may_be_label(name)]
    return found and not any(is_script(read_head(path.parent, path.name, HEAD_BYTES)) for path in others)


def iterate_segments(
    root: StrPath,
    options: DatasetOptions,
    on_problem: OnProblem,
    on_note: Callable[[str], None] = lambda note: None,
) -> Iterator[Segment]:
    """Yield the segments of a data root that the options let through; `on_note` takes lines about what was read.

    Raises AnnotationError if the root is missing or not of its layout; all other problems go to `on_problem`.
    """
    root = as_path(root)
    layout = layout_of(root, options)
    folder = video_root(root, options)
    if not folder.is_dir():
        raise AnnotationError(f"{folder}: there is no such folder of videos, which --video-root names")
    if options.landmarks == "aihub" and layout != "aihub":
        raise AnnotationError(
            f"{root}: keypoints are paired with AIHub's labels; for a table or class folders make landmark files of "
            "them (--landmarks files), or find landmarks in the videos (--landmarks mediapipe)"
        )
    if layout == "table":
        landmark_files = options.landmarks == "files"
        found = table_segments(
            root,
            on_problem,
            landmark_files=landmark_files,
            options=options.table,
            fps=options.fps,
            on_note=on_note,
        )
    elif layout == "preset":
        found = preset_segments(root, folder, options, on_problem, on_note)
    elif layout == "classes":
        found = _with_note(class_folder_segments(root, options, on_problem), root, layout, on_note)
    elif layout == "subtitles":
        found = _with_note(timed_text_segments(root, options, on_problem), root, layout, on_note)
    else:
        found = _with_note(aihub_segments(root, options, on_problem), root, layout, on_note)
    if picture_rate(options) is None:
        found = _without_pictures(found, folder, on_problem)
    return _selected(found, options)


def _selected(segments: Iterator[Segment], options: DatasetOptions) -> Iterator[Segment]:
    """Yield the segments that the options' filters let through, with glosses as `class_by` asks."""
    for segment in segments:
        if is_selected(segment, options) and (not options.glosses or segment.gloss in options.glosses):
            by_item = options.class_by == "item" and segment.item
            yield replace(segment, gloss=f"{segment.gloss} ({segment.item})") if by_item else segment


def _with_note(
    segments: Iterator[Segment], root: Path, layout: str, on_note: Callable[[str], None]
) -> Iterator[Segment]:
    """Yield the segments of a folder, and say what it was taken for, and what else it could be."""
    with told_what_else(root):
        yield from segments
    on_note(note_of(root, layout))


@contextmanager
def told_what_else(root: Path) -> Iterator[None]:
    """Add to an AnnotationError what else a folder could be."""
    try:
        yield
    except AnnotationError as error:
        if (hints := suggestions(root)) and not any(hint in str(error) for hint in hints):
            raise AnnotationError(f"{error}; but {'; '.join(hints)}") from error
        raise


def note_of(root: Path, layout: str) -> str:
    """Return the line that says what a folder was taken for, and what else it could be."""
    what = {
        "aihub": "AIHub's videos and labels",
        "classes": "folders named by their gloss",
        "subtitles": "videos with ELAN files or subtitles",
    }[layout]
    others = suggestions(root, has_labels=True) if layout == "aihub" else []
    return f"read as {what}" + "".join(f"; {other}" for other in others)


def _without_pictures(segments: Iterator[Segment], root: Path, on_problem: OnProblem) -> Iterator[Segment]:
    """Yield the segments but those whose video is a folder: it is one of pictures, which have no rate."""
    for segment in segments:
        has_suffix = is_video(segment.video) or is_landmark_file(segment.video) or is_sequence(segment.video)
        if not has_suffix and is_picture_folder(*path_on_disk(root, segment.video), None):
            message = f"{root / segment.video}: is a folder of pictures; give the rate of their frames, as by --fps 25"
            on_problem(Problem(kind="video-without-rate", path=segment.video, message=message))
        else:
            yield segment


def video_root(root: Path, options: DatasetOptions) -> Path:
    """Return the folder that the segments' videos are relative to: a table's folder, or the root itself."""
    return options.table.video_root or (root.parent if root.is_file() else root)


def picture_rate(options: DatasetOptions) -> float | None:
    """Return the frame rate of folders of pictures that are videos, None if they are none."""
    return options.fps or (None if options.preset is None else find_preset(options.preset).picture_fps)


def read_data_root(root: StrPath, options: DatasetOptions = DatasetOptions()) -> Annotations:
    """Read all segments of a data root.

    Raises AnnotationError if the root is missing or not of its layout, or if no segment is left.
    """
    root = as_path(root)
    problems: list[Problem] = []
    notes: list[str] = []
    segments = tuple(iterate_segments(root, options, problems.append, notes.append))
    if not segments:
        raise AnnotationError(f"{root}: no usable segment; {_why_none(root, options, problems)}")
    roots = DataRoots.single(video_root(root, options), picture_rate(options))
    return Annotations(roots=roots, segments=segments, problems=_told_once(root, problems), notes=tuple(notes))


def _told_once(root: Path, problems: Sequence[Problem]) -> tuple[Problem, ...]:
    """Return problems with one for all videos of a preset that are not there: there may be ten thousand."""
    missing = [problem.path for problem in problems if problem.kind == VIDEO_MISSING]
    if not missing:
        return tuple(problems)
    message = f"{root}: {counted(len(missing), 'row')} without a video: {first_of(missing, 5, ' and {} more')}"
    others = (problem for problem in problems if problem.kind != VIDEO_MISSING)
    return (Problem(kind=VIDEO_MISSING, path=missing[0], message=message), *others)


def read_split_roots(splits: Mapping[str, StrPath], options: DatasetOptions = DatasetOptions()) -> Annotations:
    """Read a data root for each split, `train` and `val`. Their segments belong to it, whatever their own split is.

    Raises AnnotationError as `read_data_root` does.
    """
    folders = {split: as_path(root) for split, root in splits.items()}
    segments: list[Segment] = []
    problems: list[Problem] = []
    notes: list[str] = []
    for split, root in folders.items():
        found = read_data_root(root, options)
        for s in found.segments:
            take = f"{split}/{s.take}" if _is_take_of_file_name(s) else s.take
            video, segment_id = f"{split}/{s.video}", f"{split}/{s.segment_id}"
            segments.append(replace(s, split=split, video=video, segment_id=segment_id, take=take))
        problems += found.problems
        notes += (f"{split}: {note}" for note in found.notes)
    by_split = tuple((split, video_root(root, options)) for split, root in folders.items())
    roots = DataRoots(folders=by_split, fps=picture_rate(options))
    return Annotations(roots=roots, segments=tuple(segments), problems=tuple(problems), notes=tuple(notes))


def read_roots(
    roots: DataRootOptions, options: DatasetOptions = DatasetOptions(), *, idle_class: str | None = None
) -> Annotations:
    """Read the one data root, or that of each split; there is one at least.

    `idle_class` is the gloss of further segments without a sign, from unlabelled time; None for none. Raises
    AnnotationError as `read_data_root` does, or if there is no unlabelled time.
    """

    def read(chosen: DatasetOptions) -> Annotations:
        by_split = roots.by_split
        return read_data_root(by_split[""], chosen) if "" in by_split else read_split_roots(by_split, chosen)

    annotations = read(options)
    if idle_class is None:
        return annotations
    # A sign that the gloss file leaves out is no rest.
    occupied = read(replace(options, glosses=frozenset())).segments if options.glosses else None
    idle = no_sign_segments(annotations.segments, idle_class, occupied=occupied)
    return replace(annotations, segments=(*annotations.segments, *idle))


def videos_of(roots: DataRootOptions, options: DatasetOptions = DatasetOptions()) -> DataRoots:
    """Return the folders of the videos that `read_roots` names."""
    by_split = tuple((split, video_root(root, options)) for split, root in roots.by_split.items())
    return DataRoots(folders=by_split, fps=options.fps)


def _is_take_of_file_name(segment: Segment) -> bool:
    """Return True if only its file's name tells a take, since another folder may have a file of that name."""
    path = unicodedata.normalize("NFC", PurePosixPath(segment.video).with_suffix("").as_posix())
    return segment.signer is None and f"/{path}".endswith(f"/{segment.take}")


_FILTERS: dict[str, tuple[str, Callable[[Segment], str | None]]] = {
    "kinds": ("--kind", lambda segment: parse_kind(segment.item)),
    "sources": ("--source", lambda segment: segment.source),
    "views": ("--view", lambda segment: segment.view),
    "signers": ("--signer", lambda segment: segment.signer),
    "glosses": ("--gloss-file", lambda segment: segment.gloss),
}
"""The filters of `DatasetOptions` by field: the option, and the value of a segment that it looks at."""


def _why_none(root: Path, options: DatasetOptions, problems: Sequence[Problem]) -> str:
    """Name the filter that leaves no segment, or the first problem if there was none before the filters either."""
    if told := why_filters_leave_none(root, options):
        return told
    if problems:
        first = _told_once(root, problems)[0]
        elsewhere = first.kind == VIDEO_MISSING and options.table.video_root is None
        cure = " (--video-root DIR names the folder of videos if they lie elsewhere)" if elsewhere else ""
        return f"the first problem: {first.message}{cure}"
    return "it has no rows" if root.is_file() else "it has no labels"


def why_filters_leave_none(root: Path, options: DatasetOptions) -> str | None:
    """Name the filter that lets no segment of a data root through; None if there would be none without filters."""
    given = {name: values for name in _FILTERS if (values := getattr(options, name))}
    if not given:
        return None
    unfiltered = replace(options, **dict.fromkeys(given, frozenset()))  # type: ignore[arg-type]
    everything = list(iterate_segments(root, unfiltered, lambda problem: None))
    if not everything:
        return None
    for name, values in given.items():
        option, of = _FILTERS[name]
        found = {value for segment in everything if (value := of(segment))}
        if not found & values:
            shown = first_of(sorted(found), 5)
            return f"{option} asks for {', '.join(sorted(values)[:5])}, and there is {shown or 'none'}"
    return f"the filters leave none of {len(everything)} segments: {', '.join(_FILTERS[name][0] for name in given)}"


NO_SIGN_GLOSS = "(쉼)"
"""The word for a rest, in brackets because it is not a sign."""


def no_sign_segments(
    segments: Sequence[Segment], gloss: str = NO_SIGN_GLOSS, *, occupied: Sequence[Segment] | None = None
) -> list[Segment]:
    """Return segments without a sign, in the order of the data set's.

    They are as long as the median sign and as many as the most frequent gloss has. The time after the last sign is not
    used, because labels do not tell reliably where a video ends. `occupied` are all signs of the videos if `segments`
    are only some of them, since the others are no rests either.

    Raises AnnotationError if the data have that gloss already, or if no video has enough time without a sign.
    """
    if any(segment.gloss == gloss for segment in segments):
        raise AnnotationError(f"the data have a gloss {gloss!r} already; give the idle class another name")
    lengths = [s.end_seconds - s.start_seconds for s in segments if s.end_seconds < WHOLE_VIDEO_END]
    if not lengths:
        raise AnnotationError("segments that are whole videos leave no time for an idle class")
    length = round(statistics.median(lengths), 3)
    videos = {segment.video for segment in segments}
    signs_of_videos: defaultdict[str, list[Segment]] = defaultdict(list)
    for segment in occupied or segments:
        if segment.video in videos:
            signs_of_videos[segment.video].append(segment)
    found = [idle for signs in signs_of_videos.values() for idle in _between(signs, length, gloss)]
    if not found:
        raise AnnotationError(
            f"no video has {length:.3f} s without a sign before or between its signs, so there is no idle class"
        )
    wanted = max(Counter(segment.gloss for segment in segments).values())
    # A random order, the same in every build.
    drawn = sorted((segment.segment_id for segment in found), key=lambda name: hashlib.sha256(name.encode()).digest())
    kept = set(drawn[:wanted])
    return [segment for segment in found if segment.segment_id in kept]


def _between(signs: Sequence[Segment], length: float, gloss: str) -> Iterator[Segment]:
    """Yield a segment in the middle of each long gap, as far from the movements into signs as possible."""
    free_from = 0.0
    for number, sign in enumerate(sorted(signs, key=lambda sign: sign.start_seconds)):
        if sign.start_seconds - free_from >= length:
            start = max(0.0, round((free_from + sign.start_seconds) / 2 - length / 2, 3))
            name = sign.segment_id.rpartition("#")[0] or sign.segment_id
            yield replace(
                sign,
                segment_id=f"{name}#idle{number}",
                start_seconds=start,
                end_seconds=round(start + length, 3),
                gloss=gloss,
            )
        free_from = max(free_from, sign.end_seconds)

"""A whole scan: a data root in, a database of facts and problems out, from which reports are written.

The stages follow each other: find the files, pair labels and videos, read labels, open videos, compare contents, check.
Each one streams, with one batch of chunks for the workers in memory.
"""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from signprep.pipeline.datasets.aihub import (
    EmptyLabelError,
    base_name_of_label,
    is_label_file,
    may_be_label,
    read_label_file,
    require_files,
    taken_glosses,
)
from signprep.pipeline.datasets.annotations import (
    DatasetOptions,
    NameParts,
    Segment,
    is_selected,
    parse_kind,
    parse_name,
)
from signprep.pipeline.datasets.files.data_root import Problem, walk_files
from signprep.pipeline.datasets.files.names import is_further_video, is_video
from signprep.pipeline.datasets.files.video_files import DataRoots
from signprep.pipeline.datasets.read import (
    iterate_segments,
    layout_of,
    note_of,
    picture_rate,
    told_what_else,
    video_root,
    why_filters_leave_none,
)
from signprep.pipeline.datasets.splits import OTHER_SIDE, split_of_path
from signprep.pipeline.errors import AnnotationError
from signprep.pipeline.options import SAMPLED_VIDEOS, ScanOptions
from signprep.pipeline.runtime.machine import in_processes
from signprep.pipeline.runtime.paths import StrPath, as_path
from signprep.pipeline.runtime.progress import progress_bar, progress_without_total
from signprep.pipeline.scan.checks import check_all
from signprep.pipeline.scan.database import Row, ScanDatabase, temporary_database, without_name
from signprep.pipeline.scan.findings import ERROR, FINDINGS, SEVERITIES, WARNING, Finding
from signprep.pipeline.scan.landmarks import ORIGINS, Origin, collect_landmark_facts
from signprep.pipeline.scan.videos import COLUMNS, collect_hashes, probe_videos
from signprep.pipeline.scan.views import pair_views

LABELS_A_CHUNK, VIDEOS_A_CHUNK, DEEP_VIDEOS_A_CHUNK = 250, 32, 2

PARTIAL_DOWNLOAD = re.compile(r"\.(part\d*|crdownload|aria2|download|tmp)$", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Scan:
    """A finished scan. Its database lives as long as the block that made it."""

    data_root: Path
    layout: str
    options: ScanOptions
    database: ScanDatabase
    seconds: float
    split_rule: str
    """The rule that tells the audited splits apart; `none` without splits."""
    notes: tuple[str, ...] = ()
    """Lines about what the data root was taken for."""
    origin: Origin | None
    """Where the landmarks come from; None if none were looked for or found."""

    def found(self) -> list[tuple[Finding, int]]:
        """Return the findings and how many files each concerns, worst first."""
        counts: dict[str, int] = dict(self.database.execute("SELECT kind, COUNT(*) FROM problems GROUP BY kind"))
        return [(finding, counts[finding.kind]) for finding in FINDINGS if finding.kind in counts]

    def num_by_severity(self) -> dict[str, int]:
        """Return how many problems of each severity there are."""
        counts = dict.fromkeys(SEVERITIES, 0)
        for finding, count in self.found():
            counts[finding.severity] += count
        return counts

    @property
    def num_cuts(self) -> int:
        """The number of segments whose video, or file of landmarks, is there."""
        has_file = "video_id IS NOT NULL OR landmarks_id IS NOT NULL"
        return int(self.database.value(f"SELECT COUNT(*) FROM segments WHERE {has_file}"))

    @property
    def num_failing(self) -> int:
        """The number of problems that `--strict` fails on: errors and warnings."""
        counts = self.num_by_severity()
        return counts[ERROR] + counts[WARNING]


@contextmanager
def scanned(data_root: StrPath, dataset: DatasetOptions, options: ScanOptions) -> Iterator[Scan]:
    """Scan a data root, with progress on stderr.

    AIHub's keypoints are looked at wherever there are any, or with `dataset.landmarks`; `files` are in their place.

    Raises AnnotationError if the root is missing or holds nothing of its layout.
    """
    data_root = as_path(data_root)
    started = time.monotonic()
    layout, folder = layout_of(data_root, dataset), video_root(data_root, dataset)
    videos = DataRoots.single(folder, picture_rate(dataset))
    notes: list[str] = []
    with temporary_database() as database:
        if layout == "aihub":
            with told_what_else(data_root):
                _collect_files(data_root, dataset, database)
            notes.append(note_of(data_root, layout))
            _pair_files(database)
            _collect_labels(data_root, dataset, options.workers, database)
        else:
            _collect_segments(data_root, videos, dataset, database, notes.append)
        _require_selected(data_root, dataset, database)
        origin = None
        if dataset.landmarks is not None or database.value("SELECT COUNT(*) FROM landmarks"):
            origin = ORIGINS[dataset.landmarks or "aihub"]
            collect_landmark_facts(folder, origin, options, database)
        _collect_video_facts(videos, options, database)
        collect_hashes(videos, options.workers, database)
        by_gloss = dataset.class_by != "item"
        split_rule = check_all(database, num_frames=options.num_frames, layout=layout, by_gloss=by_gloss, origin=origin)
        yield Scan(
            data_root=data_root,
            layout=layout,
            options=options,
            database=database,
            seconds=time.monotonic() - started,
            split_rule=split_rule,
            origin=origin,
            notes=tuple(notes),
        )


def _collect_files(root: Path, options: DatasetOptions, database: ScanDatabase) -> None:
    """Note the videos, landmarks and labels of an AIHub root.

    Raises AnnotationError as `build-cache` does if there are none.
    """

    is_of_landmarks = ORIGINS[options.landmarks or "aihub"].is_one

    def wanted(name: str) -> bool:
        return (
            may_be_label(name) or is_video(name) or is_of_landmarks(name) or PARTIAL_DOWNLOAD.search(name) is not None
        )

    num_labels = num_named = num_videos = num_landmarks = 0
    files = walk_files(root, lambda problem: _add_problem(problem, root, database), wanted=wanted)
    for file in progress_without_total("Finding files", files):
        if is_label_file(root, file):
            base_name = base_name_of_label(file.file_name)
            parts = parse_name(base_name, options.pattern)
            num_labels += 1
            # Labels with names of their own may be paired by their metaData: those stay.
            if parts.item is None or is_selected(parts, options):
                row = (file.name, base_name, file.num_bytes, parts.signer, split_of_path(file.name))
                columns = "name, base, num_bytes, signer, split"
                database.execute(f"INSERT INTO labels ({columns}) VALUES (?, ?, ?, ?, ?)", row)
        elif is_of_landmarks(file.file_name):
            parts = parse_name(file.base_name, options.pattern)
            num_landmarks, num_named = num_landmarks + 1, num_named + (parts.item is not None)
            if is_selected(parts, options):
                _add_video(file.name, file.base_name, file.num_bytes or None, parts, database, table="landmarks")
        elif is_video(file.file_name):
            parts = parse_name(file.base_name, options.pattern)
            num_videos, num_named = num_videos + 1, num_named + (parts.item is not None)
            # Labels may tell of videos whose names do not.
            if parts.item is None or is_selected(parts, options):
                _add_video(file.name, file.base_name, file.num_bytes, parts, database)
        elif PARTIAL_DOWNLOAD.search(file.file_name):
            database.add_problems([("partial-download", file.name, f"{file.num_bytes:,} bytes")])
    first = database.value("SELECT path || ': ' || message FROM problems LIMIT 1")
    reason = f"; the first problem: {first}" if first else ""
    # Videos with names of AIHub's are worth a scan before their labels are there.
    require_files(root, num_videos or num_landmarks, num_labels or num_named, reason)


def _require_selected(root: Path, options: DatasetOptions, database: ScanDatabase) -> None:
    """Raise AnnotationError, as `build-cache` does, if the filters leave nothing of a root that holds something."""
    if not database.value("SELECT EXISTS (SELECT 1 FROM videos) OR EXISTS (SELECT 1 FROM landmarks)") and (
        told := why_filters_leave_none(root, options)
    ):
        raise AnnotationError(f"{root}: no usable segment; {told}")


def _add_problem(problem: Problem, root: Path, database: ScanDatabase) -> None:
    database.add_problems([(problem.kind, problem.path, without_name(problem.message, root, problem.path))])


def _add_video(
    name: str,
    base_name: str,
    num_bytes: int | None,
    parts: NameParts | Segment,
    database: ScanDatabase,
    table: str = "videos",
) -> int | None:
    """Add a row of `videos` or `landmarks` and return its id."""
    kind = parse_kind(parts.item)
    # Takes and words are compared by AIHub's kinds; other names have none.
    names = (parts.item, kind if kind in ("WORD", "SEN", "FS") else None, parts.source, parts.signer, parts.view)
    return database.execute(
        f"INSERT INTO {table} ({_NAMED}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (name, base_name, num_bytes, *names, parts.take, split_of_path(name), is_further_video(name)),
    ).lastrowid


_NAMED = "name, base, num_bytes, item, kind, source, signer, view, take, split, further"
"""Columns that a file's name tells."""


def _pair_files(database: ScanDatabase) -> None:
    """Keep the first file of each base name, as `build-cache` does; landmarks are as videos where there are none."""
    database.index()
    _part_sides(database)
    for table, rank in (("landmarks", "id"), ("videos", "further, id"), ("labels", "id")):
        first = f"(SELECT id FROM {table} WHERE base = this.base ORDER BY {rank} LIMIT 1)"
        database.find(
            "same-name",
            f"""SELECT name AS path, 'has the base name of ' || (SELECT name FROM {table} WHERE id = {first})
                || ', which is taken' AS message FROM {table} AS this WHERE id <> {first}""",
        )
        if table != "labels":
            database.execute(f"UPDATE {table} AS this SET used = id = {first}")
    database.execute("DELETE FROM labels AS this WHERE id > (SELECT MIN(id) FROM labels WHERE base = this.base)")
    if not database.value("SELECT COUNT(*) FROM videos"):
        query = f"INSERT INTO videos ({_NAMED}, of_landmarks) SELECT {_NAMED}, 1 FROM landmarks WHERE used ORDER BY id"
        database.execute(query)


def _part_sides(database: ScanDatabase) -> None:
    """Give files of validation other base names than files of training that are called like them, as a build does."""
    both = "SELECT base FROM {} WHERE split IN ('train', 'val') GROUP BY base HAVING COUNT(DISTINCT split) = 2"
    database.execute(
        f"""CREATE TEMP TABLE apart AS {both.format("labels")}
        INTERSECT SELECT base FROM ({both.format("videos")} UNION {both.format("landmarks")})"""
    )
    where = "split = 'val' AND base IN (SELECT base FROM apart)"
    database.execute(f"UPDATE labels SET base = '{OTHER_SIDE}' || base WHERE {where}")
    for table in ("videos", "landmarks"):
        columns = f"base = '{OTHER_SIDE}' || base, take = '{OTHER_SIDE}' || take"
        database.execute(f"UPDATE {table} SET {columns} WHERE {where}")


def _collect_labels(root: Path, options: DatasetOptions, workers: int, database: ScanDatabase) -> None:
    """Read all labels and join them with videos and landmarks: by base name, else by the one in their metaData."""
    total = database.value("SELECT COUNT(*) FROM labels")
    query = "SELECT id, name FROM labels WHERE id > :after ORDER BY id LIMIT :size"
    calls = ((root, rows, options) for rows in database.chunks(query, LABELS_A_CHUNK))
    with progress_bar("Reading labels", total, "labels") as progress:
        done = 0
        for labels, segments, views, problems in in_processes(read_labels, calls, workers):
            database.executemany("UPDATE labels SET named_base = ?, seconds = ?, readable = ? WHERE id = ?", labels)
            columns = "label_id, number, place, start_seconds, end_seconds, gloss, raw_gloss, is_weak"
            database.executemany(f"INSERT INTO segments ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", segments)
            database.executemany("INSERT INTO views VALUES (?, ?, ?, ?, ?, ?, ?)", views)
            database.add_problems(problems)
            progress(done := done + len(labels))
    for name in ("base", "named_base"):
        for table, column in (("videos", "video_id"), ("landmarks", "landmarks_id")):
            database.execute(
                f"UPDATE labels SET {column} = (SELECT id FROM {table} WHERE used AND base = labels.{name})"
                f" WHERE {column} IS NULL AND readable"
            )
    for column in ("video_id", "landmarks_id") if database.value("SELECT MAX(id) FROM landmarks") else ("video_id",):
        database.execute(f"UPDATE segments SET {column} = (SELECT {column} FROM labels WHERE id = segments.label_id)")
    pair_views(database)
    _keep_selected(options, database)
    _keep_glosses(options, database)


def read_labels(root: Path, files: list[tuple[int, str]], options: DatasetOptions) -> tuple[list[Row], ...]:
    """Read label files, given as (id, name), in a worker process.

    Returns:
        rows of labels (named_base, seconds, readable, id), of segments (label_id, number, place, start_seconds,
        end_seconds, gloss, raw_gloss where it differs, is_weak), of views as the table has them, and of problems (kind,
        path, message).
    """
    labels: list[Row] = []
    segments: list[Row] = []
    views: list[Row] = []
    problems: list[Row] = []
    for label_id, name in files:
        try:
            label = read_label_file(root, name, name, directions=options.class_by == "direction")
        except AnnotationError as error:
            kind = "label-empty" if isinstance(error, EmptyLabelError) else "label-unreadable"
            problems.append((kind, name, without_name(str(error), root, name)))
            labels.append((None, None, False, label_id))
            continue
        labels.append((label.video_base_name, label.duration_seconds, True, label_id))
        if label.script is not None:
            for rank, names in enumerate(label.possible_videos("")):
                for base_name, view in names.items():
                    parts = label.parts(base_name, view, options)
                    views.append((label_id, rank, base_name, parts.item, parts.signer, parts.view, parts.take))
        problems += [("label-incomplete", name, message) for message in label.problems]
        for annotation in label.annotations:
            number, glosses = annotation.number, annotation.glosses
            if len(glosses) > 1:
                problems.append(("several-attributes", name, f"segment {number}: {', '.join(glosses)}"))
            span = annotation.start_seconds, annotation.end_seconds
            for place, gloss in enumerate(taken_glosses(glosses, options.attributes)):
                written = annotation.written_glosses[place]
                raw = written if written != gloss else None
                segments.append((label_id, number, place, *span, gloss, raw, annotation.hand == "weak"))
    return labels, segments, views, problems


def _keep_selected(options: DatasetOptions, database: ScanDatabase) -> None:
    """Drop the videos, with their segments, that the options' filters do not let through by what labels tell."""
    if not (options.kinds or options.sources or options.views or options.signers):
        return
    rows = database.execute("SELECT id, item, source, signer, view FROM videos").fetchall()
    named = ((row[0], NameParts(take="", item=row[1], source=row[2], signer=row[3], view=row[4])) for row in rows)
    dropped = [(video_id,) for video_id, parts in named if not is_selected(parts, options)]
    database.executemany("DELETE FROM segments WHERE video_id = ?", dropped)
    database.executemany("DELETE FROM videos WHERE id = ?", dropped)
    unpaired = "video_id IS NOT NULL AND video_id NOT IN (SELECT id FROM videos)"
    first = "(SELECT MIN(video_id) FROM segments WHERE label_id = labels.id)"
    database.execute(f"UPDATE labels SET video_id = {first} WHERE {unpaired}")
    database.execute("DELETE FROM labels WHERE readable AND video_id IS NULL AND id IN (SELECT label_id FROM views)")


def _keep_glosses(options: DatasetOptions, database: ScanDatabase) -> None:
    if not options.glosses:
        return
    database.execute("CREATE TEMP TABLE wanted (gloss TEXT PRIMARY KEY)")
    database.executemany("INSERT INTO wanted VALUES (?)", ((gloss,) for gloss in options.glosses))
    unwanted = "SELECT label_id FROM segments GROUP BY label_id HAVING SUM(gloss IN (SELECT gloss FROM wanted)) = 0"
    for table, column in (("videos", "video_id"), ("landmarks", "landmarks_id")):
        database.execute(f"DELETE FROM {table} WHERE id IN (SELECT {column} FROM labels WHERE id IN ({unwanted}))")
    database.execute(f"DELETE FROM labels WHERE id IN ({unwanted})")
    database.execute("DELETE FROM segments WHERE gloss NOT IN (SELECT gloss FROM wanted)")


def _collect_segments(
    root: Path, videos: DataRoots, options: DatasetOptions, database: ScanDatabase, on_note: Callable[[str], None]
) -> None:
    """Note the segments and videos of a table or of class folders; landmark files stand in the videos' place."""
    database.execute("CREATE UNIQUE INDEX videos_name ON videos (name)")
    segments = iterate_segments(root, options, lambda problem: _add_problem(problem, root, database), on_note)
    for segment in progress_without_total("Reading segments", segments):
        video_id = database.value("SELECT id FROM videos WHERE name = ?", (segment.video,))
        if video_id is None:
            num_bytes = videos.num_bytes(segment.video)
            video_id = _add_video(segment.video, Path(segment.video).stem, num_bytes, segment, database)
        number = int(segment.segment_id.rpartition("#")[2])  # of the row, or of the annotation in its file
        row = (video_id, number, segment.start_seconds, segment.end_seconds, segment.gloss, segment.split)
        columns = "video_id, number, place, start_seconds, end_seconds, gloss, split"
        database.execute(f"INSERT INTO segments ({columns}) VALUES (?, ?, 0, ?, ?, ?, ?)", row)
    if options.landmarks is not None:
        database.execute(f"INSERT INTO landmarks (id, {_NAMED}) SELECT id, {_NAMED} FROM videos")
        database.execute("UPDATE videos SET of_landmarks = 1")
        database.execute("UPDATE segments SET landmarks_id = video_id")
    database.index()


def _collect_video_facts(roots: DataRoots, options: ScanOptions, database: ScanDatabase) -> None:
    """Open the videos, all of them or a sample, and note what they tell."""
    if options.probe == "none":
        return
    total = database.value("SELECT COUNT(*) FROM videos WHERE NOT of_landmarks")
    step = max(1, total // SAMPLED_VIDEOS) if options.probe == "sample" else 1
    query = (
        "SELECT id, name, num_bytes FROM videos WHERE NOT of_landmarks"
        f" AND id > :after AND id % {step} = 0 ORDER BY id LIMIT :size"
    )
    size = DEEP_VIDEOS_A_CHUNK if options.deep else VIDEOS_A_CHUNK
    calls = ((roots, rows, options.deep) for rows in database.chunks(query, size))
    update = f"UPDATE videos SET probed = 1, {', '.join(f'{name} = ?' for name in COLUMNS)} WHERE id = ?"
    with progress_bar("Decoding" if options.deep else "Opening videos", total // step, "videos") as progress:
        done = 0
        for videos, problems in in_processes(probe_videos, calls, options.workers):
            database.executemany(update, videos)
            database.add_problems(problems)
            progress(done := done + len(videos))

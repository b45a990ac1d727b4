"""A whole scan: a data root in, a database of facts and problems out, from which reports are written."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from signprep.pipeline.datasets.annotations import SourceOptions
from signprep.pipeline.datasets.read import layout_of, video_root
from signprep.pipeline.scan.checks import check_all
from signprep.pipeline.scan.collect import (
    collect_files,
    collect_labels,
    collect_segments,
    collect_video_facts,
    pair_files,
)
from signprep.pipeline.scan.database import ScanDatabase, temporary_database
from signprep.pipeline.scan.options import ScanOptions
from signprep.pipeline.scan.report import num_of_severity
from signprep.pipeline.scan.twins import collect_hashes


@dataclass(frozen=True, kw_only=True)
class Scan:
    """A finished scan. Its database lives as long as the block that made it."""

    data_root: Path
    layout: str
    options: ScanOptions
    database: ScanDatabase
    seconds: float

    @property
    def split_rule(self) -> str:
        """By what the audited splits were told; `none` without splits."""
        return str(self.database.value("SELECT value FROM facts WHERE name = 'split_rule'"))

    @property
    def num_failing(self) -> int:
        """Problems that `--strict` fails on: errors and warnings."""
        found = num_of_severity(self.database)
        return found["error"] + found["warning"]


@contextmanager
def scanned(data_root: Path, source: SourceOptions, options: ScanOptions) -> Iterator[Scan]:
    """Scan a data root, with progress on stderr.

    Raises:
        AnnotationError: the root is missing, or holds nothing of its layout.
    """
    started = time.monotonic()
    layout, videos_root = layout_of(data_root, source), video_root(data_root)
    with temporary_database() as database:
        if layout == "aihub":
            collect_files(data_root, source, database)
            pair_files(database)
            collect_labels(data_root, source, options.workers, database)
        else:
            collect_segments(data_root, videos_root, source, database)
        collect_video_facts(videos_root, options, database)
        collect_hashes(videos_root, options.workers, database)
        check_all(database, num_frames=options.num_frames, layout=layout, by_gloss=source.class_by == "gloss")
        yield Scan(
            data_root=data_root,
            layout=layout,
            options=options,
            database=database,
            seconds=time.monotonic() - started,
        )

"""What the index says of single clips that cannot be right: failures, leaks, and the same seconds labelled twice."""

import re
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from signprep.cache_builder.report.columns import ClipColumns
from signprep.cache_builder.report.duplicates import same_spans, same_videos
from signprep.cache_builder.report.findings import LOOK, NOTE, WRONG, Finding
from signprep.pipeline.datasets.splits import leaks
from signprep.pipeline.runtime.text import counted
from signprep.pipeline.video.demux import GET_AGAIN


def failure_reason(columns: ClipColumns, row: int) -> str:
    """Return why a clip failed, without its video's name and with N for every number: the same reason in other videos.

    A reason `a.mp4: truncated or damaged at 1.700 s` becomes `truncated or damaged at N s`.
    """
    error, video = columns.error.of(row) or "no reason is known", columns.video.of(row) or ""
    return re.sub(r"\d[\d,]*(?:\.\d+)?", "N", error.replace(video, "").lstrip(": ").removesuffix(GET_AGAIN))


def failures(columns: ClipColumns) -> Iterator[Finding]:
    """Find clips that could not be decoded, by reason."""
    by_reason: dict[str, list[int]] = {}
    for row in np.flatnonzero(~columns.is_ok).tolist():
        by_reason.setdefault(failure_reason(columns, row), []).append(row)
    for reason, rows in sorted(by_reason.items(), key=lambda pair: -len(pair[1])):
        yield Finding(
            kind="failed",
            gravity=WRONG,
            title=f"{counted(len(rows), 'clip')} could not be decoded ({reason})",
            meaning="Not in the cache. Get the videos again, then run the same build-cache.",
            rows=np.array(rows, np.int64),
            lines=tuple(columns.error.of(row) or "" for row in rows),
        )


def leaking(columns: ClipColumns) -> Iterator[Finding]:
    """Find takes, video contents and signers that are in both splits."""
    named = {"take": columns.take, "video content": columns.content, "signer": columns.signer}
    rows_of = [columns.split, *named.values()]
    names = [np.array(column.names, object)[column.codes].tolist() for column in rows_of]
    for leak in leaks(zip(*names, strict=True)):
        column = named[leak.kind]
        leaked = set(leak.names)
        codes = [code for code, name in enumerate(column.names) if name in leaked]
        rows = np.flatnonzero(np.isin(column.codes, codes))
        yield Finding(
            kind=f"leak-{leak.kind.replace(' ', '-')}",
            gravity=WRONG if leak.forbidden else LOOK,
            title=f"{counted(len(leak.names), leak.kind)} both in train and in val",
            meaning=(
                "Training refuses this cache: validation would ask about what was learnt by heart. Build it with "
                "--split-by auto, or correct the splits in the table it was built from."
                if leak.forbidden
                else "Accuracy says nothing about people not seen in training; --split-by signer keeps them apart."
            ),
            rows=rows,
            lines=_videos(columns, rows) if column is columns.content else leak.names,
        )


def _videos(columns: ClipColumns, rows: NDArray[np.int64]) -> tuple[str, ...]:
    """Return the names of videos, each once, in place of the hashes of their bytes: a line for each content."""
    names: dict[int, dict[str, None]] = {}
    for row in rows.tolist():
        names.setdefault(int(columns.content.codes[row]), {})[columns.video.of(row) or ""] = None
    return tuple(" = ".join(videos) for videos in names.values())


def same_labels(columns: ClipColumns) -> Iterator[Finding]:
    """Find labels that claim the same seconds of the same video."""
    pairs = same_spans(columns)
    for is_contradiction in (True, False):
        chosen = [pair for pair in pairs if pair.is_contradiction == is_contradiction]
        if chosen:
            yield Finding(
                kind="two-glosses" if is_contradiction else "labelled-twice",
                gravity=WRONG if is_contradiction else LOOK,
                title=f"{counted(len(chosen), 'pair')} of labels claim the same seconds of the same video"
                + (" for two glosses" if is_contradiction else ""),
                meaning=(
                    "A model cannot be right about both. It is meant so only where a segment has several names "
                    "(--attributes all)."
                    if is_contradiction
                    else "The same clip counts twice."
                ),
                rows=np.unique([row for pair in chosen for row in pair.rows]),
                lines=tuple(
                    f"{' / '.join(dict.fromkeys(pair.glosses))}: "
                    f"{' = '.join(dict.fromkeys(columns.where(row) for row in pair.rows))}"
                    for pair in chosen
                ),
            )


def same_footage(columns: ClipColumns) -> Iterator[Finding]:
    """Find videos of the same bytes under several names."""
    if groups := same_videos(columns):
        yield Finding(
            kind="same-video",
            gravity=LOOK,
            title=f"{counted(len(groups), 'video')} under several names, byte for byte",
            meaning="The same footage counts more than once. Delete the copies, or find the video that belongs there.",
            rows=np.unique(np.concatenate([group.rows for group in groups])),
            lines=tuple(f"{' = '.join(group.videos)} ({', '.join(group.glosses)})" for group in groups),
        )


def removed(columns: ClipColumns) -> Iterator[Finding]:
    """Find clips that an update removed."""
    if columns.num_removed:
        yield Finding(
            kind="removed",
            gravity=NOTE,
            title=f"{counted(columns.num_removed, 'clip')} removed since the cache was built",
            meaning="Their videos or labels are gone from the data. `signprep compact` gives back their bytes.",
        )

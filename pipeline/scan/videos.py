"""Videos to facts, in worker processes: from the container alone, or with `deep` from every frame; and equal videos.

Without `deep` a video costs 1 to 2 ms: an MP4's index lists every frame with time, place and size, which tells variable
rates and truncation. Of Matroska and others the first and last packets are read, and streams without an index (MPEG-TS
and program streams, FLV) whole: nothing else tells where they end. Only `deep` finds damaged pictures. It decodes as
`build-cache` does and so finds the clips that would fail there, at about a tenth of a second for each second of 1080p.
"""

from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import numpy as np
from av import Packet
from av.container import InputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from signprep.pipeline.datasets.files.video_files import DataRoots
from signprep.pipeline.errors import AnnotationError, DecodeError
from signprep.pipeline.runtime.machine import in_processes
from signprep.pipeline.runtime.progress import progress_bar
from signprep.pipeline.runtime.text import counted
from signprep.pipeline.scan.database import Row, ScanDatabase, without_name
from signprep.pipeline.scan.keypoints import SHOWN_GAPS
from signprep.pipeline.video.bitstreams import is_whole
from signprep.pipeline.video.demux import (
    GET_AGAIN,
    PacketTimes,
    missing_index,
    mp4_boxes,
    open_stream,
    orientation_of,
    packet_times,
)
from signprep.pipeline.video.frame_times import LOOKAHEAD_PACKETS, MissingFrame, declared_seconds
from signprep.pipeline.video.image_sequence import ImageSequence, ImageSequenceReader
from signprep.pipeline.video.packets import CUT_OFF_SECONDS, READ_ERRORS
from signprep.pipeline.video.preprocess import display_matrix
from signprep.pipeline.video.pyav_reader import open_video

UNEVEN_FRACTION = 0.05
"""A rate is variable if frame durations differ by more than this from their median; less is rounding."""

WITHOUT_INDEX = frozenset({"mpegts", "mpeg", "flv"})
"""Containers whose packets are all read: where they end, and what is shown when, is told nowhere else."""
DECLARE_NOTHING = frozenset({"mpegts", "mpeg"})
"""Containers whose length is FFmpeg's guess, and no claim of the file."""
LOOKED_AT_PACKETS = 500
"""At the start and at the end, where the header contradicts itself or is not to be believed."""


@dataclass(kw_only=True)
class VideoFacts:
    """The facts about one video, None where they are unknown."""

    codec: str | None = None
    width: int | None = None
    height: int | None = None
    orientation: str | None = None
    rate: float | None = None
    variable_rate: str | None = None
    seconds: float | None = None
    num_frames: int | None = None
    problems: list[tuple[str, str]] = field(default_factory=list)
    """Kind and message of each."""


COLUMNS = ("codec", "width", "height", "orientation", "rate", "variable_rate", "seconds", "num_frames")


def probe_videos(roots: DataRoots, files: list[tuple[int, str, int | None]], deep: bool) -> tuple[list[Row], list[Row]]:
    """Look into videos, given as (id, name, bytes; None for one that is gone).

    Returns:
        rows of videos (`COLUMNS`, then id) and of problems (kind, path, message).
    """
    videos: list[Row] = []
    problems: list[Row] = []
    for video_id, name, num_bytes in files:
        facts = video_facts(roots, name, num_bytes, deep)
        videos.append((*(getattr(facts, column) for column in COLUMNS), video_id))
        problems += [(kind, name, message) for kind, message in facts.problems]
    return videos, problems


def video_facts(roots: DataRoots, name: str, num_bytes: int | None, deep: bool) -> VideoFacts:
    """Return the facts about one video and its problems; a bad video raises nothing."""
    facts = VideoFacts()
    if num_bytes == 0:
        facts.problems.append(("video-unreadable", "the file is empty"))
        return facts
    try:
        with roots.opened(name) as source:
            if num_bytes is None:
                raise AnnotationError("did not open at first; scan again")
            if isinstance(source, ImageSequence):
                _from_pictures(facts, source, name, deep)
            else:
                _fill(facts, source, name, num_bytes, deep)
            _tell_orientation(facts)
    except (AnnotationError, DecodeError, OSError) as error:
        folder, _ = roots.locate(name)
        facts.problems.append(("video-unreadable", without_name(str(error), folder, name).removesuffix(GET_AGAIN)))
    return facts


def _from_pictures(facts: VideoFacts, sequence: ImageSequence, name: str, deep: bool) -> None:
    """Take facts from the first picture, and from the numbers of all; with `deep`, decode all."""
    with ImageSequenceReader(sequence, name=name) as reader:
        first = reader.first
        facts.codec, (facts.width, facts.height) = first.codec, first.size
        matrix = display_matrix(first.frame)
        facts.orientation = orientation_of(*matrix) if matrix else None
        facts.rate, facts.seconds, facts.num_frames = float(sequence.fps), reader.duration_seconds, reader.num_frames
        if gaps := [(one.name, other.name) for one, other in sequence.missing()]:
            between = ", ".join(f"{one} and {other}" for one, other in gaps[:SHOWN_GAPS])
            facts.problems.append(("video-missing-pictures", f"{counted(len(gaps), 'gap')}, between {between}"))
        for shown in reader.answers_at(reader.starts_seconds) if deep else ():
            if isinstance(shown, MissingFrame):
                facts.problems.append(("video-damaged", str(shown.error).removeprefix(f"{name}: ")))
                break


def _fill(facts: VideoFacts, source: Path | BinaryIO, name: str, num_bytes: int, deep: bool) -> None:
    boxes = mp4_boxes(source)
    if (missing := missing_index(boxes, num_bytes)) is not None:
        facts.problems.append(("video-truncated", missing))
        return
    container, stream = open_stream(source, name, decodes=False)
    with container:
        if "matroska" in container.format.name and is_whole(source) is False:
            facts.problems.append(("video-truncated", f"ends after {num_bytes:,} bytes, before its last cluster does"))
        _from_container(facts, container, stream, num_bytes)
    if boxes is not None:
        facts.orientation = boxes.orientation
    if deep or container.format.name in WITHOUT_INDEX or facts.seconds is None:
        times = packet_times(source, name)
        _from_packets(facts, times, container.format.name)
        if deep:
            _from_frames(facts, source, name, times.starts_ns / 1e9)
    if facts.variable_rate is not None:
        facts.problems.append(("variable-rate", facts.variable_rate))


def _tell_orientation(facts: VideoFacts) -> None:
    if facts.orientation is not None:
        degrees = facts.orientation.removeprefix("mirrored ")
        words = f"turned by {degrees} degrees clockwise" if degrees != "0" else "as stored"
        mirrored = "mirrored, then " if facts.orientation.startswith("mirrored") else ""
        facts.problems.append(("rotation", f"is shown {mirrored}{words}"))


def _from_container(facts: VideoFacts, container: InputContainer, stream: VideoStream, num_bytes: int) -> None:
    codec, time_base = stream.codec_context, float(stream.time_base or 0)
    facts.codec, facts.width, facts.height = codec.codec.canonical_name, codec.width, codec.height
    rate = stream.average_rate or stream.base_rate
    facts.rate = float(rate) if rate else None
    facts.seconds = declared_seconds(container, stream) or None
    facts.num_frames = stream.frames or None
    start_seconds = (stream.start_time or 0) * time_base
    if "mp4" in container.format.name and len(stream.index_entries):
        _from_index(facts, stream, num_bytes)
    elif container.format.name not in WITHOUT_INDEX:
        _from_ends(facts, container, stream)
    if abs(start_seconds) > 0.5 / (facts.rate or 30.0):
        facts.problems.append(("edit-list", f"its first frame is shown at {start_seconds:.3f} s of the file's time"))


def _from_ends(facts: VideoFacts, container: InputContainer, stream: VideoStream) -> None:
    """Take facts from the first and last packets. Raises DecodeError if there are none."""
    packets = _next_packets(container, stream, 1)
    if not packets:
        raise DecodeError("its video stream holds no frame")
    time_base = float(stream.time_base or 0)
    if stream.base_rate and stream.average_rate:
        # The base rate is that of the shortest frames; twice the average is what interlaced pictures give.
        ratio = float(stream.base_rate / stream.average_rate)
        if min(abs(ratio - 1), abs(ratio - 2)) > UNEVEN_FRACTION:
            packets += _next_packets(container, stream, LOOKED_AT_PACKETS - 1)
            starts = np.sort([packet.pts * time_base for packet in packets if packet.pts is not None])
            starts = starts[: LOOKED_AT_PACKETS - LOOKAHEAD_PACKETS]  # some before the last ones come behind them
            facts.variable_rate = uneven(starts, time_base)
            if ratio < 1 and len(starts) > 1:  # there is no average above the most
                facts.rate = 1 / max(time_base, float(np.median(np.diff(starts))))
            elif len(packets) == LOOKED_AT_PACKETS:
                facts.variable_rate = (
                    f"{float(stream.average_rate):.2f} frames/s on average, {float(stream.base_rate):.2f} at most"
                )
    if facts.seconds:
        end = round(facts.seconds / time_base) + (stream.start_time or 0)
        last = _next_packets(container, stream, LOOKED_AT_PACKETS, behind=end)
        ends = [(packet.pts + (packet.duration or 0)) * time_base for packet in last if packet.pts is not None]
        if ends and len(last) < LOOKED_AT_PACKETS:
            _compare_length(facts, max(ends) - (stream.start_time or 0) * time_base)


def _next_packets(container: InputContainer, stream: VideoStream, most: int, behind: int | None = None) -> list[Packet]:
    """Return the next packets that hold something, or those from the last key frame before a time on.

    There are none where the file cannot be read or sought.
    """
    try:
        if behind is not None:
            container.seek(behind, stream=stream)
        return list(islice((packet for packet in container.demux(stream) if packet.size), most))
    except READ_ERRORS:
        return []


def _compare_length(facts: VideoFacts, seconds: float) -> None:
    """Note a declared length that is not that of the frames, which counts."""
    is_cut_off = any(kind == "video-truncated" for kind, _ in facts.problems)
    if facts.seconds and abs(facts.seconds - seconds) > CUT_OFF_SECONDS and not is_cut_off:
        message = f"declares {facts.seconds:,.3f} s, its frames last {seconds:,.3f} s"
        facts.problems.append(("declared-length", message))
        facts.seconds = seconds


def _from_index(facts: VideoFacts, stream: VideoStream, num_bytes: int) -> None:
    """Take facts from the list of frames in an MP4's index: decode times, places in the file, and hidden frames."""
    entries = stream.index_entries
    num_entries = len(entries)
    rows = [(entry.timestamp, entry.pos + entry.size, entry.is_discard) for entry in entries]
    numbers = np.array(rows, np.int64)
    times, ends, hidden = numbers[:, 0], numbers[:, 1], int(numbers[:, 2].sum())
    facts.variable_rate = uneven(times * float(stream.time_base or 0), float(stream.time_base or 0))
    if hidden:
        facts.problems.append(("edit-list", f"its edit list hides {hidden} of {num_entries} frames"))
        facts.num_frames = num_entries - hidden
    behind = int((ends > num_bytes).sum())
    if behind:
        message = f"{behind} of {num_entries} frames lie behind its end: {num_bytes:,} of {int(ends.max()):,} bytes"
        facts.problems.append(("video-truncated", message))


def _from_packets(facts: VideoFacts, times: PacketTimes, container_format: str) -> None:
    """Take facts from all packets."""
    if times.cut is not None and container_format in WITHOUT_INDEX:
        facts.problems.append(("video-truncated", f"is cut off at {times.cut_ns / 1e9:.3f} s ({times.cut})"))
    elif container_format not in DECLARE_NOTHING:
        _compare_length(facts, times.duration_seconds)
    if times.num_left_out:
        lost = f"its first {counted(times.num_left_out, 'frame')} cannot be decoded: time 0 is the first that can"
        facts.problems.append(("edit-list", lost))
    if times.ends_early is not None:
        facts.problems.append(("joined-recordings", f"{times.ends_early}: what lies behind is not read"))
    starts = times.starts_ns / 1e9
    facts.num_frames, facts.seconds = len(starts), times.duration_seconds
    # Of the last ones before a joint or a cut some may be missing.
    is_whole_video = times.ends_early is None and times.cut is None
    facts.variable_rate = uneven(starts if is_whole_video else starts[:-LOOKAHEAD_PACKETS], 0.001)


def _from_frames(facts: VideoFacts, source: Path | BinaryIO, name: str, starts: NDArray[np.float64]) -> None:
    """Decode every frame, as a build would; note where that fails."""
    try:
        with open_video(source, name=name) as reader:
            for shown in reader.frames_at(starts):
                if not shown.time_index:
                    matrix = display_matrix(shown.frame)
                    facts.orientation = orientation_of(*matrix) if matrix else None
            _ = reader.duration_seconds  # raises if more is declared than there is
    except DecodeError as error:
        if not any(kind == "video-truncated" for kind, _ in facts.problems):
            facts.problems.append(("video-damaged", str(error).removeprefix(f"{name}: ")))


def uneven(starts: NDArray[np.floating], tick_seconds: float) -> str | None:
    """Describe frame durations that vary beyond rounding; None if they are even.

    >>> uneven(np.array([0.0, 0.033, 0.067, 0.1, 0.133]), 0.001) is None
    True
    >>> uneven(np.array([0.0, 0.02, 0.04, 0.1, 0.12]), 0.001)
    'frames last 20.0 to 60.0 ms'
    """
    durations = np.diff(starts)
    if len(durations) < 2:
        return None
    median = float(np.median(durations))
    if np.abs(durations - median).max() <= max(2.5 * tick_seconds, UNEVEN_FRACTION * median):
        return None
    return f"frames last {durations.min() * 1e3:.1f} to {durations.max() * 1e3:.1f} ms"


HASHED_VIDEOS_A_CHUNK = 32
HEAD_BYTES = 2**16
"""Files of equal size are first compared by so many bytes: among 500,000 videos most sizes come twice by chance."""


def collect_hashes(roots: DataRoots, workers: int, database: ScanDatabase) -> None:
    """Hash the videos that may equal another one: equal sizes first, then equal heads, then whole files."""
    stages = (
        ("head_hash", "num_bytes", "num_bytes > 0 AND NOT of_landmarks", HEAD_BYTES),
        ("hash", "num_bytes, head_hash", f"num_bytes > {HEAD_BYTES}", None),
    )
    for column, same, condition, limit in stages:
        equal = f"SELECT {same} FROM videos GROUP BY {same} HAVING COUNT(*) > 1"
        database.execute("DROP TABLE IF EXISTS candidates")
        database.execute(
            "CREATE TEMP TABLE candidates AS"
            f" SELECT id, name FROM videos WHERE {condition} AND ({same}) IN ({equal}) ORDER BY id"
        )
        query = "SELECT rowid, id, name FROM candidates WHERE rowid > :after ORDER BY rowid LIMIT :size"
        calls = ((roots, [row[1:] for row in rows], limit) for rows in database.chunks(query, HASHED_VIDEOS_A_CHUNK))
        if total := database.value("SELECT COUNT(*) FROM candidates"):
            with progress_bar("Comparing contents", total, "videos") as progress:
                done = 0
                for rows in in_processes(_hash_videos, calls, workers):
                    database.executemany(f"UPDATE videos SET {column} = ? WHERE id = ?", rows)
                    progress(done := done + len(rows))
        # The head of a small file is all of it.
        database.execute(f"UPDATE videos SET hash = head_hash WHERE num_bytes <= {HEAD_BYTES}")
    database.execute("CREATE INDEX videos_hash ON videos (hash)")


def _hash_videos(roots: DataRoots, files: list[tuple[int, str]], limit: int | None) -> list[tuple[str | None, int]]:
    """Return the content hash of each file, or of its first `limit` bytes, with its id; None if it cannot be read."""
    return [(roots.content_hash(name, limit), video_id) for video_id, name in files]

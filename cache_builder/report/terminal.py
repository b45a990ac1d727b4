"""A cache, or one of its clips, in the terminal: tables with bars, findings, and frames as pictures.

In: figures and findings, or a clip. Out: text on a rich console. Names come from label files: they are text, never
markup. Frames are shown by kitty's or iTerm2's protocol, or as coloured half blocks, two pixels a character.
"""

import base64
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.color import Color
from rich.console import Console
from rich.segment import Segment, Segments
from rich.style import Style
from rich.table import Table
from rich.text import Text

from signprep.cache_builder.format.index import FAILED, REMOVED
from signprep.cache_builder.options import Location
from signprep.cache_builder.reader import Cache
from signprep.cache_builder.report.clip_table import ClipTable
from signprep.cache_builder.report.findings import ClipFinding
from signprep.cache_builder.report.overlay import Overlay
from signprep.cache_builder.report.pictures import (
    FRAME_GAP,
    animated_webp,
    clip_frames,
    clip_seconds,
    contact_sheet,
    mp4,
    picture_file,
)
from signprep.cache_builder.report.statistics import Balance, Durations, balances, clip_shape, durations, seen_text
from signprep.pipeline.errors import SignprepError
from signprep.pipeline.landmarks.points import SEEN_PARTS
from signprep.pipeline.runtime.atomic_files import atomic_write, require_writable
from signprep.pipeline.runtime.language import translated
from signprep.pipeline.runtime.paths import StrPath, as_path
from signprep.pipeline.runtime.text import byte_size, counted, printable
from signprep.pipeline.scan.findings import print_finding

BAR_WIDTH = 32
COLOURS = ("blue", "yellow", "green", "magenta", "white")
"""Colours of the splits, in their order."""
FILLS = "█▒░▓▚"
"""Characters of the splits: where there are no colours, bars still tell them apart."""
LEVELS = "▁▂▃▄▅▆▇█"
SHOWN_NAMES = 10
"""Names of a column, those with the most clips."""
SHOWN_LINES = 3
"""Examples of a finding."""

FRAMES_A_ROW = 8
SHOWN_FRAMES = 16
_TOLD = ("segment_id", "gloss", "signer", "view", "split", "take", "video", "video_hash")
_KITTY_BLOCK = 4096


def print_cache(
    description: dict[str, Any], table: ClipTable, findings: Sequence[ClipFinding], console: Console
) -> None:
    """Print a cache's settings, clips by name and split, durations and findings."""
    is_pixels = table.cache.clip_spec.content == "pixels"
    ratio = description["ratio_to_raw_rgb" if is_pixels else "ratio_to_raw"]
    raw = "as raw RGB" if is_pixels else "without compression"
    size = byte_size(description["stored_bytes"]) + (f", {ratio:.3f} of their size {raw}" if ratio else "")
    overview = [
        ("cache", description["path"]),
        ("format", f"{description['format_version']}, codec {description['codec']}"),
        ("clips", f"{description['clips']:,} of {description['positions']:,}, in {description['shards']:,} shards"),
        ("clip", clip_shape(table.cache.clip_spec)),
        ("classes", f"{description['classes']:,}"),
        ("videos", f"{description['videos']:,}, of {counted(description['takes'], 'take')}"),
        ("size", size),
        ("fingerprint", description["fingerprint"]),
    ]
    if seen := description.get("seen_fraction"):
        overview.insert(4, ("seen", seen_text(seen)))
    print_facts(overview, console)
    for balance in balances(table).values():
        _print_balance(balance, table.split.names, console)
    if found := durations(table):
        _print_durations(found, console)
    for finding in findings:
        print_finding(finding, printable(finding.title), console)
        for line in finding.examples(table, SHOWN_LINES):
            console.print(Text(f"  {printable(line)}"), soft_wrap=True)
        if (num_more := finding.count - SHOWN_LINES) > 0:
            console.print(Text(f"  ... and {num_more:,} more", style="dim"))


def print_facts(rows: Sequence[tuple[str, str]], console: Console) -> None:
    """Print names, which are bold, and their values."""
    facts = Table(show_header=False, box=None, pad_edge=False)
    for name, value in rows:
        facts.add_row(Text(translated(name), style="bold"), Text(printable(translated(value, may_be_name=True))))
    console.print(facts)


def _print_balance(balance: Balance, splits: Sequence[str | None], console: Console) -> None:
    """Print the names with the most clips, each with a bar of its splits."""
    totals = balance.totals
    order = np.argsort(-totals, kind="stable").tolist()
    is_of_splits = balance.column == "split"
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column(f"{balance.column} ({len(totals):,})", min_width=12, overflow="fold", header_style="bold")
    table.add_column("clips", justify="right")
    if not is_of_splits:
        for place, split in enumerate(splits):
            fill, colour = FILLS[place % len(FILLS)], COLOURS[place % len(COLOURS)]
            table.add_column(Text(f"{fill} {printable(split or '-')}"), justify="right", header_style=colour)
    table.add_column("")
    for place in order[:SHOWN_NAMES]:
        parts = balance.clips[place].tolist()
        numbers = [] if is_of_splits else [f"{number:,}" for number in parts]
        bar = _bar(parts, int(totals.max()))
        table.add_row(Text(printable(balance.names[place] or "-")), f"{totals[place]:,}", *numbers, bar)
    if rest := order[SHOWN_NAMES:]:
        numbers = [] if is_of_splits else [f"{number:,}" for number in balance.clips[rest].sum(axis=0).tolist()]
        table.add_row(Text(f"... {len(rest):,} more", style="dim"), f"{int(totals[rest].sum()):,}", *numbers, "")
    console.print()
    console.print(table)


def _bar(parts: Sequence[int], longest: int) -> Text:
    """Return a bar of parts, a colour each, as long as their sum is of `longest`."""
    bar, total = Text(), 0
    for place, part in enumerate(parts):
        before, total = total, total + part
        length = round(BAR_WIDTH * total / max(1, longest)) - round(BAR_WIDTH * before / max(1, longest))
        bar.append(FILLS[place % len(FILLS)] * length, style=COLOURS[place % len(COLOURS)])
    return bar if bar.plain or not total else Text("▏")


def _print_durations(found: Durations, console: Console) -> None:
    least, _, median, _, most = found.quantiles_seconds
    heights = np.ceil(found.clips / max(1, found.clips.max()) * (len(LEVELS) - 1)).astype(int)
    drawn = "".join(LEVELS[height] for height in heights.tolist())
    ends = f"  {least:.2f} ", (drawn, "blue"), f" {most:.2f}, median {median:.2f}"
    console.print()
    console.print(Text.assemble(("seconds a clip", "bold"), *ends))


def clip_row(cache: Cache, position: int) -> dict[str, Any]:
    """Return the index row of a clip that can be looked at.

    Raises SignprepError if there is none at this position, it failed, or it was removed.
    """
    if not 0 <= position < len(cache):
        raise SignprepError(f"{cache}: has no clip {position}; its clips are 0 to {len(cache) - 1}")
    [row] = cache.index.slice(position, 1).to_pylist()
    if row["status"] == FAILED:
        raise SignprepError(f"{cache}: clip {position} could not be decoded: {row['error']}")
    if row["status"] == REMOVED:
        raise SignprepError(f"{cache}: clip {position} ({row['segment_id']}) was removed")
    return row


def show_clip(
    cache: Cache, position: int, output: StrPath | None, console: Console, landmarks: Location | None = None
) -> None:
    """Print what is known about a clip, and its frames: into a file, or where a person sits at the terminal.

    `landmarks` is a cache whose points are drawn over them. Raises SignprepError as `clip_row` and `Overlay`, or if the
    file cannot be written.
    """
    output = None if output is None else as_path(output)
    row = clip_row(cache, position)
    if output is not None:
        require_writable(output)
    clip = cache.read([position])[0]
    points = _points(cache, row, landmarks)
    facts = [
        ("clip", str(position)),
        *((name, row[name]) for name in _TOLD if row[name] is not None),
        ("seconds", f"{row['clip_start_seconds']:.3f} to {row['clip_end_seconds']:.3f}"),
        ("stored", f"{row['stored_bytes']:,} bytes"),
    ]
    if row["seen_fraction"] is not None:
        facts.append(("seen", seen_text(dict(zip(SEEN_PARTS, row["seen_fraction"], strict=True)))))
    print_facts(facts, console)
    if output is not None:
        picture = contact_sheet(clip_frames(cache, clip, points=points), min(FRAMES_A_ROW, len(clip)))
        with atomic_write(output) as part:
            part.write_bytes(picture_file(picture, output.suffix.lower()))
        console.print(Text(f"{output}: {len(clip)} frames, from left to right"))
    elif console.is_terminal:
        _show_in_terminal(cache, clip, console, points)


def _points(cache: Cache, row: Mapping[str, Any], landmarks: Location | None) -> NDArray[np.float32] | None:
    """Return the points to draw over the clip of an index row, if a cache of them is given."""
    return None if landmarks is None else Overlay(cache, landmarks).require(row["position"], row["segment_id"])


def _show_in_terminal(cache: Cache, clip: Any, console: Console, points: NDArray[np.float32] | None) -> None:
    protocol = terminal_pictures(os.environ)
    num_frames = min(SHOWN_FRAMES, len(clip))
    if protocol == "blocks":
        columns, cells = cells_a_frame(console.width, num_frames)
        frames = clip_frames(cache, clip, most=num_frames, side=cells, points=points)
        print_blocks(contact_sheet(frames, columns), console)
        return
    frames = clip_frames(cache, clip, most=num_frames, side=128, points=points)
    png = picture_file(contact_sheet(frames, min(FRAMES_A_ROW, num_frames)), ".png")
    console.file.write(kitty_picture(png) if protocol == "kitty" else iterm_picture(png))


def play_clip(cache: Cache, position: int, output: StrPath, speed: float, landmarks: Location | None = None) -> str:
    """Write a clip as a moving picture, and return what was written, for people.

    `landmarks` and errors are those of `show_clip`.
    """
    output = as_path(output)
    row = clip_row(cache, position)
    require_writable(output)
    frames = clip_frames(cache, cache.read([position])[0], points=_points(cache, row, landmarks))
    seconds = clip_seconds(cache, position) / speed
    data = mp4(frames, seconds) if output.suffix.lower() == ".mp4" else animated_webp(frames, seconds, 85)
    with atomic_write(output) as part:
        part.write_bytes(data)
    return f"{output}: clip {position} ({printable(row['gloss'])}), {len(frames)} frames in {seconds:.2f} s"


def terminal_pictures(environment: Mapping[str, str]) -> str:
    """Return the way in which a terminal shows pictures, by its environment: `kitty`, `iterm` or `blocks`.

    >>> terminal_pictures({"TERM": "xterm-kitty"}), terminal_pictures({"TERM": "xterm-256color"})
    ('kitty', 'blocks')
    """
    term, program = environment.get("TERM", ""), environment.get("TERM_PROGRAM", "")
    if "TMUX" in environment or term.startswith("screen"):
        return "blocks"  # it lets no pictures through
    if "KITTY_WINDOW_ID" in environment or "kitty" in term or "ghostty" in term:
        return "kitty"
    return "iterm" if program in ("iTerm.app", "WezTerm", "mintty") else "blocks"


def kitty_picture(png: bytes) -> str:
    """Return a PNG in the terminal graphics protocol of kitty, which takes blocks of 4,096 characters."""
    data = base64.b64encode(png).decode("ascii")
    parts = []
    for first in range(0, len(data), _KITTY_BLOCK):
        head, has_more = "" if first else "a=T,f=100,", first + _KITTY_BLOCK < len(data)
        parts.append(f"\x1b_G{head}m={int(has_more)};{data[first : first + _KITTY_BLOCK]}\x1b\\")
    return "".join(parts) + "\n"


def iterm_picture(png: bytes) -> str:
    """Return a PNG in the inline images protocol of iTerm2."""
    return f"\x1b]1337;File=inline=1;size={len(png)}:{base64.b64encode(png).decode('ascii')}\x07\n"


def cells_a_frame(console_width: int, num_frames: int) -> tuple[int, int]:
    """Return how many frames go side by side in a terminal, and how many characters each is wide, an even number.

    A frame is 18 characters wide or more if there is room. Rows are full: 16 frames are never shown as 5, 5, 5 and 1.

    >>> cells_a_frame(80, 16)
    (4, 18)
    """
    most = max(1, (console_width + FRAME_GAP) // (18 + FRAME_GAP))
    columns = max(number for number in range(1, min(most, num_frames) + 1) if num_frames % number == 0)
    width = min(64, (console_width + FRAME_GAP) // columns - FRAME_GAP)
    return columns, max(2, width - width % 2)


def print_blocks(picture: NDArray[np.uint8], console: Console) -> None:
    """Print a picture, uint8 [H, W, 3], a character for two pixels above one another."""
    if len(picture) % 2:
        picture = np.concatenate([picture, np.zeros_like(picture[:1])])
    segments = []
    for above, below in zip(picture[::2].tolist(), picture[1::2].tolist(), strict=True):
        for top, bottom in zip(above, below, strict=True):
            style = Style(color=Color.from_rgb(*top), bgcolor=Color.from_rgb(*bottom))
            segments.append(Segment("▀", style))
        segments.append(Segment.line())
    console.print(Segments(segments), end="")

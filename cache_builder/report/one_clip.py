"""One clip of a cache: what is known about it, and its frames as a file or in the terminal.

A clip that is not there (out of range, failed, removed) is one clear line.
"""

import os
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from signprep.cache_builder.format.index import FAILED, REMOVED
from signprep.cache_builder.reader import Cache
from signprep.cache_builder.report import stills
from signprep.cache_builder.report.clip_images import animated_webp, clip_frames, clip_seconds, mp4
from signprep.pipeline.errors import SignprepError
from signprep.pipeline.runtime.atomic_files import require_writable, written_whole

FRAMES_A_ROW = 8
WEBP_QUALITY = 85
_TOLD = ("segment_id", "gloss", "signer", "view", "split", "take", "video", "video_hash")


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


def show_clip(cache: Cache, position: int, output: Path | None, console: Console) -> None:
    """Print what is known about a clip, and its frames: into a file, or where a person sits at the terminal.

    Raises SignprepError as `clip_row`, or if the file cannot be written.
    """
    row = clip_row(cache, position)
    if output is not None:
        require_writable(output)
    clip = cache.read([position])[0]
    facts = Table(show_header=False, box=None, pad_edge=False)
    seconds = f"{row['clip_start_seconds']:.3f} to {row['clip_end_seconds']:.3f}"
    named = [("clip", str(position)), *((name, row[name]) for name in _TOLD), ("seconds", seconds)]
    for name, value in [*named, ("stored", f"{row['stored_bytes']:,} bytes")]:
        if value is not None:
            facts.add_row(Text(name, style="bold"), Text(value))
    console.print(facts)
    if output is not None:
        picture = stills.sheet(clip_frames(cache, clip), min(FRAMES_A_ROW, len(clip)))
        with written_whole(output) as part:
            part.write_bytes(stills.picture_file(picture, output.suffix.lower()))
        console.print(Text(f"{output}: {len(clip)} frames, from left to right"))
    elif console.is_terminal:
        _show_in_terminal(cache, clip, console)


def _show_in_terminal(cache: Cache, clip: Any, console: Console) -> None:
    protocol = stills.terminal_pictures(os.environ)
    num_frames = min(stills.SHOWN_FRAMES, len(clip))
    if protocol == "blocks":
        columns, cells = stills.cells_a_frame(console.width, num_frames)
        frames = clip_frames(cache, clip, most=num_frames, side=cells)
        stills.print_blocks(stills.sheet(frames, columns), console)
        return
    frames = clip_frames(cache, clip, most=num_frames, side=128)
    png = stills.picture_file(stills.sheet(frames, min(FRAMES_A_ROW, num_frames)), ".png")
    console.file.write(stills.kitty_picture(png) if protocol == "kitty" else stills.iterm_picture(png))


def play_clip(cache: Cache, position: int, output: Path, speed: float) -> str:
    """Write a clip as a moving picture, and return what was written, for people.

    Raises SignprepError as `clip_row`, or if the file cannot be written.
    """
    row = clip_row(cache, position)
    require_writable(output)
    frames = clip_frames(cache, cache.read([position])[0])
    seconds = clip_seconds(cache, position) / speed
    data = mp4(frames, seconds) if output.suffix.lower() == ".mp4" else animated_webp(frames, seconds, WEBP_QUALITY)
    with written_whole(output) as part:
        part.write_bytes(data)
    return f"{output}: clip {position} ({row['gloss']}), {len(frames)} frames in {seconds:.2f} s"

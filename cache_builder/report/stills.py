"""The frames of one clip, side by side: as a picture file, or in the terminal.

In: a clip's frames. Out: the bytes of a PNG, JPEG or WebP, or text for a terminal: its own pictures where it is known
to have them (kitty's and iTerm2's protocols), else coloured half blocks, two pixels a character.
"""

import base64
import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import cast

import av
import numpy as np
from numpy.typing import NDArray
from rich.color import Color
from rich.console import Console
from rich.segment import Segment
from rich.style import Style

CODECS: Mapping[str, tuple[str, str]] = {
    ".png": ("png", "rgb24"),
    ".jpg": ("mjpeg", "yuvj420p"),
    ".jpeg": ("mjpeg", "yuvj420p"),
    ".webp": ("libwebp", "yuv420p"),
}
"""FFmpeg's encoder and pixels by the suffix of a file."""
GAP = 2
"""Pixels between frames."""
SHOWN_FRAMES = 16
_KITTY_BLOCK = 4096
_FEWEST_CELLS = 18
"""Characters that a frame is wide at least, drawn with half blocks."""


def sheet(frames: Sequence[av.VideoFrame], columns: int) -> NDArray[np.uint8]:
    """Return frames in rows, from left to right, uint8 [H, W, 3], on black."""
    side = frames[0].width
    rows = math.ceil(len(frames) / columns)
    shape = (rows * (side + GAP) - GAP, columns * (side + GAP) - GAP, 3)
    whole = np.zeros(shape, np.uint8)
    for number, frame in enumerate(frames):
        row, column = divmod(number, columns)
        top, left = row * (side + GAP), column * (side + GAP)
        whole[top : top + side, left : left + side] = frame.to_ndarray(format="rgb24")
    return whole


def picture_file(picture: NDArray[np.uint8], suffix: str) -> bytes:
    """Return a picture, uint8 [H, W, 3], as a file of a suffix of `CODECS`."""
    codec, pixels = CODECS[suffix]
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pixels)
    context = cast(av.VideoCodecContext, av.CodecContext.create(codec, "w"))
    context.width, context.height, context.pix_fmt = frame.width, frame.height, pixels
    context.time_base = Fraction(1)
    return b"".join(bytes(packet) for packet in [*context.encode(frame), *context.encode(None)])


def terminal_pictures(environment: Mapping[str, str]) -> str:
    """Return how a terminal shows pictures, by its environment: `kitty`, `iterm` or `blocks`.

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
    blocks = [data[first : first + _KITTY_BLOCK] for first in range(0, len(data), _KITTY_BLOCK)]
    parts = []
    for number, block in enumerate(blocks):
        head = "a=T,f=100," if number == 0 else ""
        parts.append(f"\x1b_G{head}m={int(number < len(blocks) - 1)};{block}\x1b\\")
    return "".join(parts) + "\n"


def iterm_picture(png: bytes) -> str:
    """Return a PNG in the inline images protocol of iTerm2."""
    return f"\x1b]1337;File=inline=1;size={len(png)}:{base64.b64encode(png).decode('ascii')}\x07\n"


def cells_a_frame(console_width: int, num_frames: int) -> tuple[int, int]:
    """Return how many frames go side by side in a terminal, and how many characters each is wide, an even number.

    Rows are full: 16 frames are never shown as 5, 5, 5 and 1.


    >>> cells_a_frame(80, 16)
    (4, 18)
    """
    most = max(1, (console_width + GAP) // (_FEWEST_CELLS + GAP))
    columns = max(number for number in range(1, min(most, num_frames) + 1) if num_frames % number == 0)
    width = min(64, (console_width + GAP) // columns - GAP)
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
    console.print(_Segments(segments), end="")


class _Segments:
    def __init__(self, segments: list[Segment]) -> None:
        self._segments = segments

    def __rich_console__(self, *_: object) -> list[Segment]:
        return self._segments

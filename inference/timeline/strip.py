"""The strip under a rendered video: the sign that is made now, large, and a bar of all signs with a cursor.

In: segments, the video's length and width. Out: the strip at a time, as I420 planes. The trade-off: the bar is
drawn once, its text once a segment, by Pillow; for each frame only the cursor is painted into a copy. The font must
have a glyph for every character: Korean fonts are tried by their usual file names, since asking for fonts differs on
every system.
"""

import colorsys
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from signprep.inference.timeline.segments import TimelineSegment
from signprep.inference.timeline.subtitles import one_line
from signprep.pipeline.errors import SignprepError

Planes = tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]
"""Y [H, W], U and V [H/2, W/2], uint8, of limited-range BT.601."""
Colour = tuple[int, int, int]

BACKGROUND: Colour = (18, 20, 24)
EMPTY_BAR: Colour = (52, 56, 64)
BRIGHT: Colour = (245, 246, 248)
DIM: Colour = (160, 166, 176)
DARK: Colour = (16, 18, 20)
GOLDEN_RATIO = 0.618034
"""Share of a turn of hue from one label to the next: neighbours are far apart, and all labels differ."""
CURSOR_LUMA = 235
ELLIPSIS = "..."

Font = ImageFont.FreeTypeFont

KOREAN_FONTS = (
    "NanumGothicBold.ttf", "NanumGothic.ttf", "NanumBarunGothicBold.ttf", "NanumBarunGothic.ttf",
    "NotoSansCJK-Bold.ttc", "NotoSansCJK-Regular.ttc", "NotoSansCJKkr-Bold.otf", "NotoSansCJKkr-Regular.otf",
    "NotoSansKR-Bold.otf", "NotoSansKR-Bold.ttf", "NotoSansKR-Regular.otf", "NotoSansKR-Regular.ttf",
    "malgunbd.ttf", "malgun.ttf", "AppleSDGothicNeo.ttc", "AppleGothic.ttf", "UnDotum.ttf",
    "DroidSansFallbackFull.ttf",
)  # fmt: skip
"""Searched in the system's font folders, in this order."""
_NO_CHARACTER = "\uffff"
"""Every font draws this with its sign for missing glyphs."""
_PROBE_SIZE = 20


def find_font(text: str, path: Path | None = None) -> Font:
    """Return a font that can write all characters of a text, from a file or, without one, from the system.

    The system's Korean fonts are tried first, then Pillow's own. Raises SignprepError if the file is no font, or no
    font has the characters.
    """
    if path is not None and not path.is_file():
        raise SignprepError(f"{path}: there is no such font file; --font takes a .ttf, .otf or .ttc file")
    missing = text
    for name in (*KOREAN_FONTS, None) if path is None else (str(path),):
        try:
            font = _opened(name)
        except OSError as error:
            if path is None:
                continue
            raise SignprepError(f"{path}: is no font ({error}); --font takes a .ttf, .otf or .ttc file") from error
        missing = missing_characters(text, font)
        if not missing:
            return font
    some = missing if len(missing) <= 8 else f"{missing[:8]}..."
    if path is not None:
        raise SignprepError(f"{path}: this font cannot write {some}; name a Korean font with --font")
    raise SignprepError(
        f"no font on this machine can write {some}; install a Korean font, such as NanumGothic or Noto Sans CJK, or "
        "name a font file with --font"
    )


def _opened(name: str | None) -> Font:
    """Open a font by its file, or its file name in the system's folders; None for Pillow's own. Raises OSError."""
    if name is not None:
        return ImageFont.truetype(name, _PROBE_SIZE, layout_engine=ImageFont.Layout.BASIC)
    font = ImageFont.load_default(_PROBE_SIZE)
    if not isinstance(font, Font):
        raise OSError("this Pillow was built without FreeType")
    return font


def missing_characters(text: str, font: Font) -> str:
    """Return the characters of a text that a font has no glyph for, each once, in their order."""
    # A font without a glyph draws a box and says nothing, so boxes are compared.
    none = bytes(font.getmask(_NO_CHARACTER))
    characters = dict.fromkeys(character for character in text if not character.isspace())
    return "".join(character for character in characters if bytes(font.getmask(character)) in (none, b""))


class TimelineStrip:
    """Draws the strip of one video."""

    def __init__(
        self,
        segments: Sequence[TimelineSegment],
        *,
        duration_seconds: float,
        width: int,
        picture_height: int,
        font: Path | None = None,
    ) -> None:
        """Lay out the strip, `width` pixels wide (even), under a picture of `picture_height` pixels.

        Raises SignprepError if no font can write the glosses: the file `font`, or any of the system without one.
        """
        self._segments, self._duration = segments, duration_seconds
        self._glosses = [one_line(segment.gloss) for segment in segments]
        self._font = find_font("".join(self._glosses) + f"0123456789 %{ELLIPSIS}", font)
        unit = max(12, round(min(width, picture_height) * 0.075))
        self.width, self.picture_height = width, picture_height
        self.height = round(unit * 2.6) // 2 * 2
        self._text_pixels = unit
        self._margin = unit // 2
        self._bar_top = round(unit * 1.6)
        self._bar_bottom = self.height - round(unit * 0.3)
        self._starts = np.array([segment.start_seconds for segment in segments], np.float64)
        self._bar = self._drawn_bar()
        self._at = lru_cache(maxsize=4)(self._drawn)

    def planes(self, seconds: float) -> Planes:
        """Return the strip as it is at a time of the video."""
        y, u, v = (plane.copy() for plane in self._at(self.segment_at(seconds)))
        middle = self.x_of(seconds)
        half = max(1, self._text_pixels // 20)
        left, right = max(0, middle - half), min(self.width, middle + half)
        overhang = max(2, self._text_pixels // 8)
        top, bottom = self._bar_top - overhang, min(self.height, self._bar_bottom + overhang)
        y[top:bottom, left:right] = CURSOR_LUMA
        for plane in (u, v):
            plane[top // 2 : bottom // 2, left // 2 : (right + 1) // 2] = 128
        return y, u, v

    def segment_at(self, seconds: float) -> int | None:
        """Return the number of the segment that holds a time, None between segments."""
        number = int(np.searchsorted(self._starts, seconds, side="right")) - 1
        return number if number >= 0 and seconds < self._segments[number].end_seconds else None

    def x_of(self, seconds: float) -> int:
        """Return where a time is on the bar, in pixels from the left."""
        share = min(1.0, max(0.0, seconds / self._duration)) if self._duration > 0 else 0.0
        return self._margin + round(share * (self.width - 2 * self._margin))

    def _drawn(self, current: int | None) -> Planes:
        image = self._bar.copy()
        if current is not None:
            self._draw_gloss(ImageDraw.Draw(image), current)
        frame = av.VideoFrame.from_ndarray(np.asarray(image), format="rgb24")
        return split_planes(np.asarray(frame.reformat(format="yuv420p").to_ndarray(), np.uint8))

    def _drawn_bar(self) -> Image.Image:
        image = Image.new("RGB", (self.width, self.height), BACKGROUND)
        draw = ImageDraw.Draw(image)
        top, bottom = self._bar_top, self._bar_bottom
        draw.rectangle((self.x_of(0), top, self.x_of(self._duration) - 1, bottom - 1), fill=EMPTY_BAR)
        small = self._font.font_variant(size=max(8, round((bottom - top) * 0.72)))
        for segment, text in zip(self._segments, self._glosses, strict=True):
            left, right = self._sides(segment)
            draw.rectangle((left, top, right, bottom - 1), fill=colour_of(segment.label))
            if small.getlength(text) <= right - left - 4:
                place = ((left + right) / 2, (top + bottom) / 2)
                draw.text(place, text, font=small, fill=DARK, anchor="mm")
        return image

    def _sides(self, segment: TimelineSegment) -> tuple[int, int]:
        """Return the first and the last pixel of a sign; one pixel parts neighbours, the shortest sign has one."""
        left, right = self.x_of(segment.start_seconds), self.x_of(segment.end_seconds)
        return left, max(left, right - 2)

    def _draw_gloss(self, draw: ImageDraw.ImageDraw, current: int) -> None:
        segment = self._segments[current]
        (left, right), bottom = self._sides(segment), self._bar_bottom
        draw.rectangle((left, bottom, right, bottom + max(1, self._text_pixels // 10)), fill=BRIGHT)
        percent = f"{segment.confidence:.0%}"
        small = self._font.font_variant(size=max(9, round(self._text_pixels * 0.55)))
        gap = self._text_pixels // 2
        room = self.width - 2 * self._margin - gap - small.getlength(percent)
        text, large = fitted(self._glosses[current], self._font, self._text_pixels, room)
        length = large.getlength(text)
        text_left = (self.width - length - gap - small.getlength(percent)) / 2
        baseline = round(self._text_pixels * 1.15)
        draw.text((text_left, baseline), text, font=large, fill=BRIGHT, anchor="ls")
        draw.text((text_left + length + gap, baseline), percent, font=small, fill=DIM, anchor="ls")


def colour_of(label: int) -> Colour:
    """Return the colour of a label, the same in every video."""
    red, green, blue = colorsys.hls_to_rgb((0.58 + label * GOLDEN_RATIO) % 1.0, 0.66, 0.62)
    return round(red * 255), round(green * 255), round(blue * 255)


def fitted(text: str, font: Font, pixels: int, room: float) -> tuple[str, Font]:
    """Return a text and the size in which it fits: smaller down to half, then cut short."""
    for size in range(pixels, max(8, pixels // 2) - 1, -1):
        font = font.font_variant(size=size)
        if font.getlength(text) <= room:
            return text, font
    kept = len(text)
    while kept and font.getlength(text[:kept] + ELLIPSIS) > room:
        kept -= 1
    return text[:kept] + ELLIPSIS, font


def split_planes(i420: NDArray[np.uint8]) -> Planes:
    """Return views of the planes of an I420 picture [3H/2, W]."""
    height, width = i420.shape[0] * 2 // 3, i420.shape[1]
    flat = i420.reshape(-1)
    luma, chroma = height * width, height * width // 4
    u, v = flat[luma : luma + chroma], flat[luma + chroma :]
    return i420[:height], u.reshape(height // 2, width // 2), v.reshape(height // 2, width // 2)

"""A font that has a glyph for every character of a text, Korean ones first.

In: a text, and a font file if the user names one. Out: a font of any size. Fonts without a glyph draw a box and say
nothing, so each character is compared with a character that no font has. The trade-off: system fonts are found by
the file names of the usual Korean fonts, not by asking the system, which differs on every one.
"""

from functools import lru_cache
from pathlib import Path

from PIL import ImageFont

from signprep.pipeline.errors import SignprepError

Font = ImageFont.FreeTypeFont

KOREAN_FONTS = (
    "NanumGothicBold.ttf",
    "NanumGothic.ttf",
    "NanumBarunGothicBold.ttf",
    "NanumBarunGothic.ttf",
    "NotoSansCJK-Bold.ttc",
    "NotoSansCJK-Regular.ttc",
    "NotoSansCJKkr-Bold.otf",
    "NotoSansCJKkr-Regular.otf",
    "NotoSansKR-Bold.otf",
    "NotoSansKR-Bold.ttf",
    "NotoSansKR-Regular.otf",
    "NotoSansKR-Regular.ttf",
    "malgunbd.ttf",
    "malgun.ttf",
    "AppleSDGothicNeo.ttc",
    "AppleGothic.ttf",
    "UnDotum.ttf",
    "DroidSansFallbackFull.ttf",
)
"""Searched in the system's font folders, in this order."""
NO_CHARACTER = "\uffff"
"""What every font draws as its sign for missing glyphs."""
_PROBE_SIZE = 20


class TextFont:
    """A font in every size."""

    def __init__(self, name: str | None) -> None:
        """`name`: a file, or the file name of a font in the system's folders; None for Pillow's own font."""
        self._name = name

    @lru_cache(maxsize=64)  # noqa: B019  one font lives as long as a video is rendered
    def at(self, pixels: int) -> Font:
        """Return the font in a size. Raises OSError if there is no such font."""
        if self._name is not None:
            return ImageFont.truetype(self._name, pixels, layout_engine=ImageFont.Layout.BASIC)
        font = ImageFont.load_default(pixels)
        if not isinstance(font, Font):
            raise OSError("this Pillow was built without FreeType")
        return font

    def missing(self, text: str) -> str:
        """Return the characters of a text that the font has no glyph for, each once, in their order."""
        font = self.at(_PROBE_SIZE)
        none = bytes(font.getmask(NO_CHARACTER))
        characters = dict.fromkeys(character for character in text if not character.isspace())
        return "".join(character for character in characters if bytes(font.getmask(character)) in (none, b""))


def find_font(text: str, font: Path | None = None) -> TextFont:
    """Return a font that can write a text.

    Args:
        text: all characters that will be written.
        font: a font file; without one, the system's Korean fonts are tried, then Pillow's own.

    Raises:
        SignprepError: that file is no font or lacks characters, or no font was found that has them.
    """
    if font is not None:
        return _given(text, font)
    for name in (*KOREAN_FONTS, None):
        found = TextFont(name)
        try:
            if not found.missing(text):
                return found
        except OSError:
            continue
    raise SignprepError(
        f"no font on this machine can write {_some(TextFont(None).missing(text))}; install a Korean font, such as "
        "NanumGothic or Noto Sans CJK, or name a font file with --font"
    )


def _given(text: str, path: Path) -> TextFont:
    found = TextFont(str(path))
    if not path.is_file():
        raise SignprepError(f"{path}: there is no such font file; --font takes a .ttf, .otf or .ttc file")
    try:
        missing = found.missing(text)
    except OSError as error:
        raise SignprepError(f"{path}: is no font ({error}); --font takes a .ttf, .otf or .ttc file") from error
    if missing:
        raise SignprepError(f"{path}: this font cannot write {_some(missing)}; name a Korean font with --font")
    return found


def _some(characters: str) -> str:
    return characters if len(characters) <= 8 else f"{characters[:8]}..."

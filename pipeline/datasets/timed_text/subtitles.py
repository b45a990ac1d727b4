"""Subtitles, SubRip (.srt) and WebVTT (.vtt), to signs with times: each cue is a sign.

In: the bytes of a file. Out: cues in seconds, their text without marks of style. A cue that cannot be read costs itself
alone. Sources: the WebVTT specification, 4 and 6; for SubRip, which has none, what players read.
"""

import html
import re
from collections.abc import Iterator

from signprep.pipeline.datasets.annotations import decoded, is_text
from signprep.pipeline.datasets.timed_text.signs import TimedSign, TimedText
from signprep.pipeline.errors import AnnotationError

_TIME = r"(?:(\d{1,6}):)?(\d{1,2}):(\d{1,2})[.,](\d{1,3})"
_TIMES = re.compile(rf"\s*{_TIME}\s*-->\s*{_TIME}(?:\s.*)?")
_LINES = re.compile(r"\r\n|\r|\n")
_VTT_TAGS, _SRT_TAGS = re.compile(r"<[^>]*>"), re.compile(r"<[^>]*>|\{\\[^}]*\}")
_ARROW = "-->"


def read_subtitles(data: bytes, path: str) -> TimedText:
    """Return the cues of a file.

    Args:
        data: contents of the file, in UTF-8, UTF-16 or cp949.
        path: its name, whose suffix tells the format; errors begin with it.

    Raises AnnotationError if it holds no cue, or a .vtt file does not begin as one.
    """
    is_vtt = path.lower().endswith(".vtt")
    lines = _LINES.split(decoded(data))
    if is_vtt and not lines[0].lstrip("\ufeff").startswith("WEBVTT"):
        raise AnnotationError(f"{path}: is no WebVTT file; it has to begin with WEBVTT")
    signs: list[TimedSign] = []
    problems: list[str] = []
    num_cues = num_empty = 0
    for line, times, texts in _cues(lines):
        num_cues += 1
        match = _TIMES.fullmatch(times)
        text = (_VTT_TAGS if is_vtt else _SRT_TAGS).sub("", " ".join(texts))
        text = " ".join((html.unescape(text) if is_vtt else text).split())
        if match is None:
            problems.append(f"line {line} has no times of the form 00:00:01,500 --> 00:00:02,000")
        elif not is_text(text):
            problems.append(f"the text behind line {line} has characters of another encoding; save the file as UTF-8")
        elif not text:
            num_empty += 1
        else:
            start, end = _seconds(match.groups()[:4]), _seconds(match.groups()[4:])
            signs.append(TimedSign(num_cues - 1, start, end, text))
    if not num_cues:
        raise AnnotationError(f"{path}: holds no cue (00:00:01,500 --> 00:00:02,000 and the gloss below)")
    return TimedText(signs, problems, f"{num_empty} of {num_cues} cues are empty, and left out" if num_empty else "")


def _cues(lines: list[str]) -> Iterator[tuple[int, str, list[str]]]:
    """Yield the number of each line with times, from 1, that line, and the lines of its text.

    Text ends at an empty line, or before the next cue where that line was forgotten.
    """
    starts = [place for place, line in enumerate(lines) if _ARROW in line]
    for start, following in zip(starts, [*starts[1:], len(lines) + 1], strict=False):
        texts: list[str] = []
        for line in lines[start + 1 : following]:
            if not line.strip():
                break
            texts.append(line)
        else:
            if texts and following < len(lines) and texts[-1].strip().isdigit():
                texts.pop()  # the number of the next cue
        yield start + 1, lines[start], texts


def _seconds(parts: tuple[str | None, ...]) -> float:
    hours, minutes, seconds, fraction = parts
    milliseconds = int((fraction or "0").ljust(3, "0"))
    return (int(hours or 0) * 3600 + int(minutes or 0) * 60 + int(seconds or 0)) + milliseconds / 1000

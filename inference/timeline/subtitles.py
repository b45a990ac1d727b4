"""The signs of a video as a file that players and annotation tools open: SubRip, WebVTT or ELAN.

In: timeline segments, whose glosses come from a checkpoint and are not trusted. Out: a UTF-8 file, its format chosen
by its ending, times in whole milliseconds. Where a format has no way to write a character as it is, one that looks
the same takes its place, so that no gloss can end its line, open a tag or become a time.

Sources: the WebVTT specification, 4; the schema of ELAN's annotation format 3.0 (EAFv3.0.xsd).
"""

import mimetypes
import os
import unicodedata
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from xml.sax.saxutils import escape

from signprep.inference.timeline.segments import TimelineSegment
from signprep.pipeline.errors import SignprepError
from signprep.pipeline.runtime.atomic_files import atomic_write
from signprep.pipeline.runtime.paths import StrPath, as_path

_SUBRIP_LOOKALIKES = str.maketrans({"<": "\uff1c", ">": "\uff1e", "{": "\uff5b", "}": "\uff5d"})
"""SubRip has no escapes. Players read <i> as a tag, {\\an8} as a place, and --> as a new time."""
_SCHEMA_INSTANCE = "http://www.w3.org/2001/XMLSchema-instance"
_SCHEMA = "http://www.mpi.nl/tools/elan/EAFv3.0.xsd"
_ASSOCIATION = "Symbolic_Association"
"""ELAN's word for a tier of one annotation for each of another tier, which have their times."""
_GLOSS_TYPE, _CONFIDENCE_TYPE = "default-lt", "confidence"
CONFIDENCE_TIER = "confidence"


def write_subtitles(path: StrPath, segments: Sequence[TimelineSegment], video_name: str) -> None:
    """Write the segments as .srt, .vtt or .eaf, which names the video so that ELAN opens it as well.

    Raises SignprepError if the path has another ending, or cannot be written.
    """
    path = as_path(path)
    require_subtitle_ending(path)
    content = _FORMATS[path.suffix.lower()](segments, video_name, path)
    with atomic_write(path) as beside:
        beside.write_bytes(content.encode("utf-8"))


def subtitles_beside(ending: str, segments: Sequence[TimelineSegment], video_name: str) -> str:
    """Return the content of a file that is to lie in its video's folder, wherever that is.

    Raises SignprepError if no format has the ending, as ".srt".
    """
    path = Path(f"subtitles{ending}")
    require_subtitle_ending(path)
    return _FORMATS[path.suffix.lower()](segments, video_name.replace("\\", "/").rpartition("/")[2], None)


def require_subtitle_ending(path: StrPath) -> None:
    """Raise SignprepError unless the path ends as one of the formats does."""
    path = as_path(path)
    if path.suffix.lower() not in _FORMATS:
        raise SignprepError(
            f"{path}: subtitles end in .srt (SubRip), .vtt (WebVTT) or .eaf (ELAN), not in {path.suffix or 'nothing'!r}"
        )


def one_line(gloss: str) -> str:
    r"""Return a gloss as one line of text that UTF-8 and XML can hold; a question mark for an empty one.

    >>> one_line("왼쪽\n\n--> \x00 위")
    '왼쪽 --> 위'
    """
    return " ".join(_writable(gloss).split()) or "?"


def _writable(text: str) -> str:
    """Return a text with spaces for control characters, and U+FFFD for what UTF-8 and XML cannot hold."""
    replacements = {"Cc": " ", "Zl": " ", "Zp": " ", "Cs": "\ufffd", "Cn": "\ufffd"}  # by Unicode category
    return "".join(replacements.get(unicodedata.category(character), character) for character in text)


def subtitle_part(suffix: str, number: int, segment: TimelineSegment | None) -> str:
    """Return what stands in a .srt or .vtt file for its sign of a number, from 1; for 0, and no sign, its beginning."""
    if segment is None:
        return "WEBVTT\n" if suffix == ".vtt" else ""
    text = one_line(segment.gloss)
    if suffix == ".vtt":
        return f"\n{_times(segment, '.')}\n{escape(text)}\n"
    between = "\n" if number > 1 else ""
    return f"{between}{number}\n{_times(segment, ',')}\n{text.translate(_SUBRIP_LOOKALIKES)}\n"


def _parts(suffix: str, segments: Sequence[TimelineSegment]) -> str:
    return "".join(subtitle_part(suffix, number, segment) for number, segment in enumerate([None, *segments]))


def _subrip(segments: Sequence[TimelineSegment], video_name: str, path: Path | None) -> str:
    return _parts(".srt", segments)


def _webvtt(segments: Sequence[TimelineSegment], video_name: str, path: Path | None) -> str:
    return _parts(".vtt", segments)


def _milliseconds(segment: TimelineSegment) -> tuple[int, int]:
    """Return start and end; no sign is of no time, which players and the formats do not allow."""
    start = round(segment.start_seconds * 1000)
    return start, max(start + 1, round(segment.end_seconds * 1000))


def _times(segment: TimelineSegment, decimal_sign: str) -> str:
    start, end = _milliseconds(segment)
    return f"{_clock(start, decimal_sign)} --> {_clock(end, decimal_sign)}"


def _clock(milliseconds: int, decimal_sign: str) -> str:
    """Return hours, minutes, seconds and milliseconds.

    >>> _clock(3725040, ",")
    '01:02:05,040'
    """
    minutes, milliseconds = divmod(milliseconds, 60_000)
    whole, milliseconds = divmod(milliseconds, 1000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{whole:02d}{decimal_sign}{milliseconds:03d}"


def _elan(segments: Sequence[TimelineSegment], video_name: str, path: Path | None) -> str:
    """Return an ELAN document: a tier of time-aligned glosses, one of how sure each is, and where the video is.

    The second is a tier of the first: who moves or deletes a gloss in ELAN does so with its confidence.
    """
    root = ET.Element(
        "ANNOTATION_DOCUMENT",
        {
            "xmlns:xsi": _SCHEMA_INSTANCE,
            "xsi:noNamespaceSchemaLocation": _SCHEMA,
            "AUTHOR": "signprep",
            "DATE": datetime.now(UTC).isoformat(timespec="seconds"),
            "FORMAT": "3.0",
            "VERSION": "3.0",
        },
    )
    header = ET.SubElement(root, "HEADER", MEDIA_FILE="", TIME_UNITS="milliseconds")
    ET.SubElement(header, "MEDIA_DESCRIPTOR", _media(video_name, path))
    ET.SubElement(header, "PROPERTY", NAME="lastUsedAnnotationId").text = str(2 * len(segments))
    time_order = ET.SubElement(root, "TIME_ORDER")
    glosses = ET.SubElement(root, "TIER", LINGUISTIC_TYPE_REF=_GLOSS_TYPE, TIER_ID="gloss")
    sure = ET.SubElement(
        root, "TIER", LINGUISTIC_TYPE_REF=_CONFIDENCE_TYPE, PARENT_REF="gloss", TIER_ID=CONFIDENCE_TIER
    )
    for number, segment in enumerate(segments, start=1):
        slots, name = (f"ts{2 * number - 1}", f"ts{2 * number}"), f"a{number}"
        for slot, milliseconds in zip(slots, _milliseconds(segment), strict=True):
            ET.SubElement(time_order, "TIME_SLOT", TIME_SLOT_ID=slot, TIME_VALUE=str(milliseconds))
        aligned = {"ANNOTATION_ID": name, "TIME_SLOT_REF1": slots[0], "TIME_SLOT_REF2": slots[1]}
        _annotate(glosses, "ALIGNABLE_ANNOTATION", aligned, one_line(segment.gloss))
        refers = {"ANNOTATION_ID": f"a{len(segments) + number}", "ANNOTATION_REF": name}
        _annotate(sure, "REF_ANNOTATION", refers, f"{segment.confidence:.2f}")
    ET.SubElement(
        root, "LINGUISTIC_TYPE", GRAPHIC_REFERENCES="false", LINGUISTIC_TYPE_ID=_GLOSS_TYPE, TIME_ALIGNABLE="true"
    )
    ET.SubElement(
        root,
        "LINGUISTIC_TYPE",
        CONSTRAINTS=_ASSOCIATION,
        GRAPHIC_REFERENCES="false",
        LINGUISTIC_TYPE_ID=_CONFIDENCE_TYPE,
        TIME_ALIGNABLE="false",
    )
    ET.SubElement(root, "CONSTRAINT", DESCRIPTION="one for each annotation of its parent", STEREOTYPE=_ASSOCIATION)
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _annotate(tier: ET.Element, kind: str, attributes: dict[str, str], value: str) -> None:
    annotation = ET.SubElement(ET.SubElement(tier, "ANNOTATION"), kind, attributes)
    ET.SubElement(annotation, "ANNOTATION_VALUE").text = value


def _media(video_name: str, path: Path | None) -> dict[str, str]:
    """Return where ELAN looks for the video: at its full path, then from the .eaf's folder.

    Names stay as they are, without percent signs for Korean: ELAN takes them for file names.
    """
    video = Path(_writable(video_name))
    if path is None:  # of somebody else's machine
        return {
            "MEDIA_URL": f"file:///{video.name}",
            "MIME_TYPE": mimetypes.guess_type(video.name)[0] or "video/mp4",
            "RELATIVE_MEDIA_URL": f"./{video.name}",
        }
    video = video.absolute()
    try:
        relative = Path(os.path.relpath(video, path.absolute().parent)).as_posix()
    except ValueError:  # on another drive of Windows
        relative = video.name
    return {
        "MEDIA_URL": f"file:///{video.as_posix().lstrip('/')}",
        "MIME_TYPE": mimetypes.guess_type(video.name)[0] or "video/mp4",
        "RELATIVE_MEDIA_URL": relative if relative.startswith("../") else f"./{relative}",
    }


_FORMATS = {".srt": _subrip, ".vtt": _webvtt, ".eaf": _elan}

"""Labels with a `sign_script`: sentences whose gestures have a gloss, times and a hand (AIHub 636, the NIKL corpora).

In: a JSON document. Out: its gestures in the order of their times, and what it says of its video. One label stands for
all views of a recording. The trade-off: sentences, directions and non-manual signals stay in the label files, except
that a gloss may be told apart by its direction; the landmarks in such labels are not read.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from signprep.pipeline.datasets.annotations import decoded, finite_number, is_text

MAX_SCRIPT_BYTES = 2**26
"""Labels of this form may hold the landmarks of all frames, some megabytes; larger files are refused."""
HEAD_BYTES = 2**16
"""The keys that tell the form are looked for in so many bytes from a file's start."""
_KEYS = ('"sign_script"', '"krlgg_sntenc"', '"vido_file_nm"', '"nms_script"')

TIERS = {"sign_gestures_both": "both", "sign_gestures_strong": "strong", "sign_gestures_weak": "weak"}
"""The lists of gestures, and the hands that make them."""
SAME_SECONDS = 0.1
"""A sign of two hands may stand in two lists, with times that are no further apart than this."""

_VIEWS = {"": None} | {f"_{view}": view for view in "FUDLRC"}
_VIEWS_OF_CORPORA = {"": None, "R": "R", "L": "L"} | _VIEWS
"""What stands behind a label's name in that of a video, and the view that it means."""
VIEW_ENDS = tuple(_VIEWS_OF_CORPORA)
"""What may stand there, if nothing is known of a label."""
_ITEM = re.compile(r"NIA_SL_G\d+_(?P<item>[A-Z]+\d+)_")
"""AIHub 636: the kind of disaster and the number of the sentence, of which there may be several translations."""


class Gesture(NamedTuple):
    """One gesture of a label, not yet checked against its video."""

    number: int
    """Its place in the lists of both hands, the strong one and the weak one, counted through."""
    start_seconds: float
    end_seconds: float
    gloss: str
    hand: str
    """both, strong or weak."""


@dataclass(frozen=True, kw_only=True)
class SignScript:
    """One label of this form."""

    gestures: tuple[Gesture, ...]
    """In the order of their starts; none twice."""
    video_names: tuple[str, ...]
    """Names without view that the label gives its video, likely ones first."""
    signer: str | None
    item: str | None
    views: Mapping[str, str | None]
    """The view by what stands behind the label's name in a video's."""


def is_script(head: bytes) -> bool:
    """Return True if the first `HEAD_BYTES` of a JSON file are those of a label of this form."""
    text = decoded(head)
    return any(key in text for key in _KEYS) or ('"korean_text"' in text and '"metadata"' in text)


def script_of(document: Any) -> Mapping[str, Any] | None:
    """Return the object of a document that has a `sign_script`, which may lie in another one; None if there is none."""
    if not isinstance(document, dict):
        return None
    inner = (value for value in document.values() if isinstance(value, dict))
    return next((found for found in (document, *inner) if isinstance(found.get("sign_script"), dict)), None)


def read_script(document: Mapping[str, Any], base_name: str, problems: list[str], *, directions: bool) -> SignScript:
    """Return the gestures of a label; an entry that is of no use costs itself, and is added to `problems`.

    Args:
        document: as `script_of` returns it.
        base_name: of the label file.
        problems: takes a line about each entry that is left out.
        directions: make a gloss of its own of each direction, `돕다1 (1>2)`.
    """
    found: list[Gesture] = []
    number = 0
    for tier, hand in TIERS.items():
        entries = document["sign_script"].get(tier)
        if entries is not None and not isinstance(entries, list):
            problems.append(f"{tier} is {str(entries)[:80]!r}, no list")
        for place, entry in enumerate(entries if isinstance(entries, list) else ()):
            gesture = _gesture(number, entry, hand, f"{tier} {place}", problems, directions)
            found += [] if gesture is None or _is_known(gesture, found) else [gesture]
            number += 1
    metadata = document.get("metadata") or document.get("metaData")
    metadata = metadata if isinstance(metadata, dict) else {}
    told = (document.get("vido_file_nm"), metadata.get("id"), document.get("id"))
    names = (base_name, *(_stem(name) for name in told if isinstance(name, str) and is_text(name) and name.strip()))
    item = next((match["item"] for name in names if (match := _ITEM.match(name))), None)
    return SignScript(
        gestures=tuple(sorted(found, key=lambda gesture: (gesture.start_seconds, gesture.end_seconds, gesture.number))),
        video_names=tuple(dict.fromkeys(names)),
        signer=_signer((metadata, document)),
        item=item,
        views=_VIEWS_OF_CORPORA if "vido_file_nm" in document else _VIEWS,
    )


def _gesture(number: int, entry: Any, hand: str, place: str, problems: list[str], directions: bool) -> Gesture | None:
    """Return a gesture, or None if it is of no use."""
    try:
        times = entry["start"], entry["end"]
        if any(isinstance(time, bool) for time in times):
            raise TypeError(f"its times are {times}")
        start_seconds, end_seconds = map(finite_number, times)
        gloss = entry["gloss_id"]
    except (KeyError, TypeError, ValueError) as error:
        problems.append(f"{place} is not of the form {{start, end, gloss_id}} with finite times ({str(error)[:80]})")
        return None
    gloss = str(gloss) if type(gloss) is int else gloss
    if not isinstance(gloss, str) or not gloss.strip() or not is_text(gloss):
        problems.append(f"{place} has the gloss {str(gloss)[:80]!a}, which is no text")
        return None
    direction = entry.get("direction") if directions else None
    if isinstance(direction, dict):
        ends = [_written(direction.get(end)) for end in ("source", "target")]
        gloss += f" ({'>'.join(ends)})" if any(ends) else ""
    return Gesture(number, start_seconds, end_seconds, gloss, hand)


def _written(value: Any) -> str:
    return str(value).strip() if isinstance(value, str | int | float) and is_text(str(value)) else ""


def _is_known(gesture: Gesture, found: Iterable[Gesture]) -> bool:
    """Return True for a gesture that is among those of another list already."""
    return any(
        other.gloss == gesture.gloss
        and other.hand != gesture.hand
        and abs(other.start_seconds - gesture.start_seconds) <= SAME_SECONDS
        and abs(other.end_seconds - gesture.end_seconds) <= SAME_SECONDS
        for other in found
    )


def _signer(places: Sequence[Mapping[str, Any]]) -> str | None:
    """Return who signs: AIHub's labels tell it of the signer, some of the translator only."""
    for key in ("signer", "translator"):
        for place in places:
            value = place.get(key)
            value = value.get("id") if isinstance(value, dict) else value
            if (
                isinstance(value, str | int)
                and not isinstance(value, bool)
                and str(value).strip()
                and is_text(str(value))
            ):
                return unicodedata.normalize("NFC", str(value).strip())
    return None


def _stem(name: str) -> str:
    """Return the base name of a video as a label gives it: with a suffix or without, with folders or without."""
    name = unicodedata.normalize("NFC", name.strip()).replace("\\", "/").rpartition("/")[2]
    return re.sub(r"\.(mp4|mov|mkv|avi|json)$", "", name, flags=re.IGNORECASE)

"""ELAN's annotation files (.eaf) to signs with times, and the names of the videos that they are about.

In: the bytes of a file. Out: tiers of annotations in seconds. The file is read once from start to end, without a tree
of it in memory. Times that only follow from others are made as ELAN shows them: an annotation that refers to another
one has its time, several that refer to one share it evenly, and points without a time lie evenly between their
neighbours on the tier.

Source: the schema of ELAN's annotation format 3.0 (EAFv3.0.xsd), and "EAF Annotation Format" of the ELAN project.
"""

import codecs
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import NamedTuple
from urllib.parse import unquote
from xml.parsers import expat

from signprep.pipeline.datasets.aihub import EmptyLabelError
from signprep.pipeline.datasets.annotations import decoded
from signprep.pipeline.datasets.timed_text.signs import TimedSign, TimedText
from signprep.pipeline.errors import AnnotationError

OWN_TIER = "gloss"
"""The tier that `infer --subtitles NAME.eaf` writes."""
_UNREADABLE = "\U0010fffd"
"""Stands for a byte of another encoding, since XML holds no lone surrogates: a character that nobody uses."""
_DECLARED = re.compile(rb"<\?xml[^>]*\bencoding\s*=\s*[\"']([\w.:-]+)")


def _milliseconds(text: str | None) -> int | None:
    return int(text) if text is not None and re.fullmatch(r"-?[0-9]{1,15}", text.strip()) else None


class _Annotation(NamedTuple):
    id: str
    slots: tuple[str, str] | None
    """Of its start and end, where it is aligned itself."""
    refers_to: str | None
    previous: str | None
    value: str


@dataclass
class _Tier:
    name: str
    annotations: list[_Annotation] = field(default_factory=list)


class _Reader:
    """What expat calls while it reads a file."""

    def __init__(self) -> None:
        self.tiers: list[_Tier] = []
        self.slots: dict[str, int | None] = {}
        """Milliseconds by name; None for a point without a time."""
        self.media: list[tuple[str, int]] = []
        """File names of videos, and milliseconds that their time is later by."""
        self.root = ""
        self.units = "milliseconds"
        self._current: dict[str, str] = {}
        self._value: list[str] | None = None

    def start(self, name: str, values: dict[str, str]) -> None:
        name = name.rpartition(":")[2]
        self.root = self.root or name
        if name == "TIER":
            self.tiers.append(_Tier(unicodedata.normalize("NFC", values.get("TIER_ID", ""))))
        elif name == "TIME_SLOT":
            self.slots[values.get("TIME_SLOT_ID", "")] = _milliseconds(values.get("TIME_VALUE"))
        elif name in ("ALIGNABLE_ANNOTATION", "REF_ANNOTATION"):
            self._current = values
        elif name == "ANNOTATION_VALUE":
            self._value = []
        elif name == "HEADER":
            self.units = values.get("TIME_UNITS", self.units)
        elif name == "MEDIA_DESCRIPTOR":
            later = _milliseconds(values.get("TIME_ORIGIN")) or 0
            for url in (values.get("RELATIVE_MEDIA_URL"), values.get("MEDIA_URL")):
                if url and (found := PurePosixPath(unquote(url).replace("\\", "/")).name):
                    media = unicodedata.normalize("NFC", found), later
                    self.media += [] if media in self.media else [media]

    def text(self, data: str) -> None:
        if self._value is not None:
            self._value.append(data)

    def end(self, name: str) -> None:
        name = name.rpartition(":")[2]
        if name not in ("ALIGNABLE_ANNOTATION", "REF_ANNOTATION") or not self.tiers:
            return
        values, slots = self._current, None
        if name == "ALIGNABLE_ANNOTATION":
            slots = values.get("TIME_SLOT_REF1", ""), values.get("TIME_SLOT_REF2", "")
        self.tiers[-1].annotations.append(
            _Annotation(
                id=values.get("ANNOTATION_ID", ""),
                slots=slots,
                refers_to=values.get("ANNOTATION_REF"),
                previous=values.get("PREVIOUS_ANNOTATION"),
                value="".join(self._value or ()),
            )
        )
        self._value = None


def read_elan(data: bytes, path: str, tiers: frozenset[str] = frozenset()) -> TimedText:
    """Return the annotations of a file's tiers, in the order of the file.

    Args:
        data: contents of the file.
        path: what errors call it.
        tiers: names of the wanted tiers; none for the one that signprep writes, or the only one that has annotations.

    Raises AnnotationError, which begins with the path, if it is no well-formed XML or no annotation document, or if it
    has none of these tiers, or several and none is chosen: the error lists what there is. EmptyLabelError if nothing is
    annotated.
    """
    read = _parsed(data, path)
    chosen = _chosen(read.tiers, tiers, path)
    times = _Times(read)
    signs: list[TimedSign] = []
    problems: list[str] = []
    num_empty, number = 0, 0
    for tier in chosen:
        for annotation in tier.annotations:
            number += 1
            if not annotation.value.strip():
                num_empty += 1
                continue
            span = times.of(annotation)
            if _UNREADABLE in annotation.value:
                problems.append(f"annotation {annotation.id} has characters of another encoding than the file declares")
                continue
            if span is None:
                problems.append(f"annotation {annotation.id} of the tier {tier.name} has no time, nor one by others")
                continue
            signs.append(TimedSign(number - 1, span[0] / 1000, span[1] / 1000, annotation.value))
    empty = f"{num_empty} of {number} annotations are empty, and left out" if num_empty else ""
    return TimedText(signs, problems, empty, [(name, later / 1000) for name, later in read.media])


def _parsed(data: bytes, path: str) -> _Reader:
    """Read a file. Raises AnnotationError if it is no annotation document."""
    read, parser = _Reader(), expat.ParserCreate("utf-8")
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler = read.start, read.end
    parser.CharacterDataHandler = read.text
    parser.EntityDeclHandler = _refuse_entity
    try:
        # Whatever encoding the file declares, the parser gets UTF-8.
        parser.Parse(_text(data).encode("utf-8"), True)
    except expat.ExpatError as error:
        raise AnnotationError(f"{path}: is no well-formed XML ({error})") from error
    except _EntityError as error:
        line = parser.CurrentLineNumber
        raise AnnotationError(f"{path}: declares an entity in line {line}, which ELAN never does: not read") from error
    if read.root != "ANNOTATION_DOCUMENT":
        raise AnnotationError(f"{path}: is a document {read.root}, no ANNOTATION_DOCUMENT of ELAN")
    if read.units != "milliseconds":
        raise AnnotationError(f"{path}: counts time in {read.units}; save it in milliseconds by a recent ELAN")
    return read


class _EntityError(Exception):
    """A file declares an entity, by which a few bytes may become gigabytes."""


def _refuse_entity(*_: object) -> None:
    raise _EntityError


def _text(data: bytes) -> str:
    """Return the text of an XML file, in the encoding that it declares or else the one that fits."""
    declared = _DECLARED.match(data[:200])
    name = declared[1].decode() if declared else "utf-8"
    try:
        if codecs.lookup(name).name not in ("utf-8", "utf-16", "ascii"):
            return data.decode(name)
    except (LookupError, UnicodeError):
        pass
    return re.sub("[\ud800-\udfff]", _UNREADABLE, decoded(data))


def _chosen(tiers: list[_Tier], wanted: frozenset[str], path: str) -> list[_Tier]:
    """Return the wanted tiers. Raises AnnotationError if there are none, or none is chosen among several."""
    filled = [tier for tier in tiers if tier.annotations]
    names = {unicodedata.normalize("NFC", name) for name in wanted} or {OWN_TIER}
    found = [tier for tier in tiers if tier.name in names]
    if not found and not wanted and len(filled) == 1:
        found = filled
    if not filled:
        raise EmptyLabelError(f"{path}: has no annotation")
    if not found:
        listed = ", ".join(f"{tier.name} ({len(tier.annotations)})" for tier in tiers) or "none"
        what = f"has no tier {', '.join(sorted(names))}" if wanted else "has several tiers, and none is chosen"
        raise AnnotationError(f"{path}: {what}; it has {listed}: give --tier NAME")
    if not any(tier.annotations for tier in found):
        raise EmptyLabelError(f"{path}: its tier {', '.join(tier.name for tier in found)} has no annotation")
    return found


class _Times:
    """The times of a document's annotations, in milliseconds."""

    def __init__(self, read: _Reader) -> None:
        self._slots = dict(read.slots)
        self._by_id: dict[str, _Annotation] = {}
        self._shares: dict[str, tuple[int, int]] = {}
        """By its id, an annotation's place among those that share the time of another one, and how many they are."""
        for tier in read.tiers:
            self._by_id |= {annotation.id: annotation for annotation in tier.annotations}
            for group in _groups(tier):
                self._shares |= {id_: (place, len(group)) for place, id_ in enumerate(group)}
            self._interpolate(tier)

    def _interpolate(self, tier: _Tier) -> None:
        """Give the points without a time on a tier theirs: evenly between the neighbours that have one."""
        follows = {a.slots[0]: a.slots[1] for a in tier.annotations if a.slots is not None}
        for first in [slot for slot in follows if self._slots.get(slot) is not None]:
            between: dict[str, None] = {}
            slot = follows[first]
            while self._slots.get(slot) is None and slot in follows and slot not in between:
                between[slot] = None
                slot = follows[slot]
            start, end = self._slots[first], self._slots.get(slot)
            if start is None or end is None:
                continue
            for place, name in enumerate(between, start=1):
                self._slots[name] = round(start + (end - start) * place / (len(between) + 1))

    def of(self, annotation: _Annotation) -> tuple[float, float] | None:
        """Return start and end, None if they are not known."""
        shares: list[tuple[int, int]] = []
        seen: set[str] = set()
        while annotation.id not in seen:
            seen.add(annotation.id)
            if annotation.slots is not None:
                start, end = (self._slots.get(slot) for slot in annotation.slots)
                if start is None or end is None:
                    return None
                span = float(start), float(end)
                for place, count in reversed(shares):
                    length = (span[1] - span[0]) / count
                    span = span[0] + place * length, span[0] + (place + 1) * length
                return span
            shares.append(self._shares.get(annotation.id, (0, 1)))
            parent = self._by_id.get(annotation.refers_to or "")
            if parent is None:
                return None
            annotation = parent
        return None  # they refer to each other in a circle


def _groups(tier: _Tier) -> Iterator[list[str]]:
    """Yield the ids of the annotations of a tier that refer to one and the same, each in its order."""
    by_parent: dict[str, list[_Annotation]] = {}
    for annotation in tier.annotations:
        if annotation.refers_to is not None:
            by_parent.setdefault(annotation.refers_to, []).append(annotation)
    for children in by_parent.values():
        behind = {child.previous: child.id for child in children}
        ordered: dict[str, None] = {}
        last = None
        while (following := behind.get(last)) is not None and following not in ordered:
            ordered[following] = None
            last = following
        # Where none is said to be behind another, the order of the file counts.
        yield list(ordered) if len(ordered) == len(children) else [child.id for child in children]

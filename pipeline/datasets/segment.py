"""A data set in two parts: labelled segments of videos, and the ordered list of their glosses."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

WHOLE_VIDEO_END = 86_400.0
"""End in seconds of a segment that is its whole video; the build clips every span to the video."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """One annotated span of one video: [start_seconds, end_seconds), during which `gloss` is signed."""

    segment_id: str
    """The video's base name and the segment's number, `NIA_SL_WORD0001_REAL01_F#0`; unique in its data set."""
    video: str
    """Path of the video relative to its data root, with forward slashes."""
    start_seconds: float
    """Seconds from the first presented frame, >= 0."""
    end_seconds: float
    """Exclusive, > start_seconds. May lie past the video's end: labels do."""
    gloss: str
    """Class name, Unicode NFC, without spaces around it."""
    item: str | None = None
    """AIHub's number of the word or sentence, `WORD0001`. Several items may share one gloss."""
    source: str | None = None
    """REAL, SYN or CROWD."""
    signer: str | None = None
    """Source and number, `REAL17`, since every source counts from 1."""
    view: str | None = None
    """Camera: F, U, D, L or R."""
    take: str = ""
    """One performance, seen by all views: source, item and signer. A data set without them has one a video."""
    split: str | None = None
    """`train`, `val`, `test`, or None before splits are assigned."""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """Inverse of `to_dict`."""
        return cls(**fields)


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """Ordered glosses; a label is a gloss's index among them. It is stored with data and models, not derived again."""

    glosses: tuple[str, ...]

    @classmethod
    def of(cls, glosses: Iterable[str]) -> Self:
        """Return the vocabulary of these glosses in the order of their first appearance.

        >>> Vocabulary.of(["위", "아래", "위"]).glosses
        ('위', '아래')
        """
        return cls(glosses=tuple(dict.fromkeys(glosses)))

    def __len__(self) -> int:
        return len(self.glosses)

    def labels(self) -> dict[str, int]:
        """Return each gloss's label."""
        return {gloss: label for label, gloss in enumerate(self.glosses)}

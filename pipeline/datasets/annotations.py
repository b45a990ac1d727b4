"""Types and options that all readers of data sets share: filters, glosses, texts of files, and the result."""

import codecs
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self, cast

from signprep.pipeline.clip_spec import WHOLE_VIDEO_END as WHOLE_VIDEO_END
from signprep.pipeline.clip_spec import LabelBox
from signprep.pipeline.datasets.tables.options import TableOptions
from signprep.pipeline.errors import AnnotationError
from signprep.pipeline.options import Options, option
from signprep.pipeline.runtime.paths import StrPath, as_path

AIHUB_NAME = re.compile(
    r"NIA_SL_(?P<item>(?:WORD|SEN|FS)\d+)_(?P<source>REAL|SYN|CROWD)(?P<signer>\d+)_(?P<view>[FUDLR])"
)
NAME_FIELDS = ("item", "source", "signer", "view")

SHARED_NAME = "shared-name"
"""The kind of problem that is a second label of a video, or a second video of a name: both count."""


_PRESETS = (
    "wlasl", "nslt", "msasl", "asl-citizen", "sem-lex", "popsign", "how2sign", "lsa64", "autsl", "bosphorus", "slovo",
    "gsl", "phoenix-2014t", "include", "csl", "devisign",
)  # fmt: skip


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
    box: LabelBox | None = None
    """Where the signer is, as a table tells it: see `label_box`. None where it is found in the clip."""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """Inverse of `to_dict`."""
        box = fields.get("box")  # a list in JSON and in an index
        return cls(**{**fields, "box": None if box is None else tuple(box)})


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


def normal_gloss(text: str) -> str:
    """Return a gloss in Unicode NFC without spaces around it."""
    return unicodedata.normalize("NFC", text.strip())


_NO_CHARACTER = re.compile("[\ud800-\udfff]")
"""A lone surrogate, which stands for bytes of another encoding, or was written as an escape into JSON."""


def decoded(data: bytes) -> str:
    """Return the text of a file in UTF-8, UTF-16 or cp949, whichever fits: Excel and Windows in Korea write all three.

    Bytes that fit none become lone surrogates, so that they cost only the value that they are part of: `is_text`.

    >>> decoded("왼쪽".encode("cp949")), decoded("왼쪽".encode("utf-16")), decoded("왼쪽".encode("utf-8-sig"))
    ('왼쪽', '왼쪽', '왼쪽')
    """
    # JSON and the header of a table begin with an ASCII character.
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in data[:2]:
        is_big = data.startswith((codecs.BOM_UTF16_BE, b"\0"))
        whole = data[: len(data) // 2 * 2]
        return whole.decode("utf-16-be" if is_big else "utf-16-le", "surrogatepass").removeprefix("\ufeff")
    text = data.decode("utf-8-sig", "surrogateescape")
    if is_text(text):
        return text
    # One wrong byte in UTF-8 makes no other encoding of it.
    return min((text, data.decode("cp949", "surrogateescape")), key=lambda text: len(_NO_CHARACTER.findall(text)))


def is_text(text: str) -> bool:
    """Return True for text without lone surrogates, which no file in UTF-8 can hold."""
    return text.isascii() or _NO_CHARACTER.search(text) is None


def finite_number(value: Any) -> float:
    """Return a number, or one that is written as text. Raises TypeError or ValueError if it is none or not finite."""
    # float takes the underscores of Python's own numbers.
    try:
        number = math.nan if isinstance(value, str) and "_" in value else float(value)
    except OverflowError:  # an integer of more than 308 digits
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"{str(value)[:40]!r} is no finite number")
    return number


def label_box(numbers: Iterable[Any]) -> LabelBox:
    """Return x0, y0, x1, y1 as a box: `LabelBox` says in which unit. Raises ValueError if they are none.

    >>> label_box(["0.25", "0.1", "0.75", "1"]), label_box([170, 40, 493, 480])
    ((0.25, 0.1, 0.75, 1.0), (170.0, 40.0, 493.0, 480.0))
    """
    numbers = list(numbers)
    try:
        x0, y0, x1, y1 = (finite_number(number) for number in numbers)
    except (TypeError, ValueError):
        x0, y0, x1, y1 = (math.nan,) * 4
    if not (x0 < x1 and y0 < y1):
        told = ", ".join(str(number)[:20] for number in numbers)
        raise ValueError(f"its box {told} is none; expected x0 < x1 and y0 < y1 in parts of the picture, or in pixels")
    return x0, y0, x1, y1


def read_gloss_file(path: StrPath) -> frozenset[str]:
    """Return the glosses of a text file, one a line. Raises AnnotationError if there are none."""
    path = as_path(path)
    try:
        lines = decoded(path.read_bytes()).splitlines()
    except OSError as error:
        raise AnnotationError(f"{path}: cannot be read as a list of glosses ({error})") from error
    glosses = frozenset(normal_gloss(line) for line in lines if line.strip() and is_text(line))
    if not glosses:
        raise AnnotationError(f"{path}: lists no gloss; expected one a line")
    return glosses


def gloss_file_option(help_: str = "Take only the glosses of this text file, one a line.") -> Any:
    """Return the field of glosses that a text file lists."""
    return option(
        frozenset(),
        help_,
        name="--gloss-file",
        type=Path,
        read=read_gloss_file,
        show=lambda glosses: None,
        metavar="FILE",
        group="Data",
    )


def fps_option(help_: str = "Take folders of pictures for videos of this frame rate.") -> Any:
    """Return the field of the rate of pictures, in frames a second."""
    return option(None, help_, minimum=0.01, maximum=1000, group="Data")


@dataclass(frozen=True, kw_only=True)
class DataRootOptions(Options, group="Data"):
    """The data roots of a command. Raises ValueError if one split has none."""

    data_root: Path | None = option(None, "Read videos and labels from this folder, or segments from this table.")
    train_data_root: Path | None = option(None, "Train on the data of this folder or table instead of --data-root.")
    val_data_root: Path | None = option(None, "Validate on the data of this folder or table instead of --data-root.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if None in self.by_split.values():
            raise ValueError("--train-data-root and --val-data-root go together, or with --data-root")

    @property
    def by_split(self) -> dict[str, Path]:
        """The roots by split, one root for all splits as "", or nothing; a split without its own has --data-root."""
        if self.train_data_root is None and self.val_data_root is None:
            return {} if self.data_root is None else {"": self.data_root}
        roots = {"train": self.train_data_root or self.data_root, "val": self.val_data_root or self.data_root}
        return cast(dict[str, Path], roots)  # without None, as is checked on creation


@dataclass(frozen=True, kw_only=True)
class DatasetOptions(Options, group="Data"):
    """The segments to take, and the names of their classes. Raises ValueError on values that mean nothing.

    An empty set takes all.
    """

    layout: str = option(
        "auto",
        "Read the data as AIHub's folders, a table, folders named by their gloss (classes), or videos with ELAN files "
        "or subtitles beside them (subtitles); auto looks.",
        choices=("auto", "aihub", "table", "classes", "subtitles"),
    )
    name_pattern: str | None = option(
        None,
        "Find item, source, signer and view in base names by this regular expression with groups of these names.",
        metavar="REGEX",
    )
    """None: AIHub's names."""
    class_by: str = option(
        "gloss",
        "Make a class of each gloss, of each gloss and item, which keeps homonyms apart, or of each gloss and the "
        "direction in which it is signed, where labels tell it.",
        choices=("gloss", "item", "direction"),
    )
    attributes: str = option(
        "first", "Take the first gloss of a segment, or a clip for each.", choices=("first", "all")
    )
    kinds: frozenset[str] = option(
        frozenset(), "Take only WORD, SEN or FS; repeat it for several.", name="--kind", metavar="KIND"
    )
    sources: frozenset[str] = option(
        frozenset(), "Take only REAL, SYN or CROWD; repeat it for several.", name="--source", metavar="SOURCE"
    )
    views: frozenset[str] = option(
        frozenset(), "Take only the view F, U, D, L or R; repeat it for several.", name="--view", metavar="VIEW"
    )
    signers: frozenset[str] = option(
        frozenset(), "Take only this signer, such as REAL01; repeat it for several.", name="--signer", metavar="SIGNER"
    )
    glosses: frozenset[str] = gloss_file_option()
    table: TableOptions = TableOptions()
    preset: str | None = option(
        None,
        f"Read a published data set as it is unpacked: {', '.join(_PRESETS)}; or as a file .yaml describes it.",
        metavar="NAME|FILE",
        suggested=_PRESETS,
        is_path=True,
    )
    fps: float | None = fps_option(
        "Take folders of pictures for videos of this frame rate, and make seconds of a table's frames by it, if it has "
        "no column fps."
    )
    tiers: frozenset[str] = option(
        frozenset(),
        "Take the annotations of this tier of ELAN files; repeat it for several. By default it is the tier gloss, "
        "which `infer --subtitles` writes, or the only one.",
        name="--tier",
        metavar="TIER",
    )
    landmarks: str | None = None
    """Pair labels with landmarks instead of videos: keypoints, files that are one a frame (aihub), or `files` of
    `LANDMARK_SUFFIXES`. `mediapipe` finds them in videos."""

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            groups = self.pattern.groupindex
        except re.error as error:
            raise ValueError(f"name_pattern {self.name_pattern!r} is no regular expression ({error})") from error
        unknown = set(groups) - set(NAME_FIELDS)
        if unknown or not groups:
            raise ValueError(
                f"name_pattern {self.name_pattern!r} must have groups named among {', '.join(NAME_FIELDS)}"
            )

    @property
    def pattern(self) -> re.Pattern[str]:
        """The pattern that base names are matched with, as a whole."""
        return AIHUB_NAME if self.name_pattern is None else re.compile(self.name_pattern)


@dataclass(frozen=True, kw_only=True)
class NameParts:
    """The fields of a segment that a base name tells."""

    take: str
    item: str | None = None
    source: str | None = None
    signer: str | None = None
    """Source and number, `REAL17`, as in `Segment`."""
    view: str | None = None


def parse_name(base_name: str, pattern: re.Pattern[str] = AIHUB_NAME) -> NameParts:
    """Return the fields that a base name tells; a name that does not match is a take of its own.

    >>> parse_name("NIA_SL_WORD0001_REAL17_F").take
    'REAL17_WORD0001'
    >>> parse_name("video1")
    NameParts(take='video1', item=None, source=None, signer=None, view=None)
    """
    match = pattern.fullmatch(base_name)
    if match is None:
        return NameParts(take=base_name)
    parts = {name: value for name, value in match.groupdict().items() if value}
    signer = (parts.get("source", "") + parts["signer"]) if "signer" in parts else None
    # Without a view in the name every file is a take; with one, the take is what its views share.
    take = "_".join(part for part in (signer, parts.get("item")) if part) if "view" in parts else base_name
    return NameParts(**(parts | {"take": take or base_name, "signer": signer}))


def is_selected(names: NameParts | Segment, options: DatasetOptions) -> bool:
    """Return True for a file or a segment that the options' filters by name let through."""
    return (
        (not options.kinds or parse_kind(names.item) in options.kinds)
        and (not options.sources or names.source in options.sources)
        and (not options.views or names.view in options.views)
        and (not options.signers or names.signer in options.signers)
    )


def parse_kind(item: str | None) -> str | None:
    """Return the letters that an item starts with: `WORD0001` -> `WORD`."""
    return re.split(r"\d", item, maxsplit=1)[0] if item else None

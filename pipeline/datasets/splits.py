"""Training and validation segments, split so that no take, no signer and no video content is on both sides.

The views of a take are filmed at once, so that a split by file leaks. Segments that share a take, a signer or a content
are one group, which validates or trains as a whole, in an order fixed by hash: accuracy on signers who are known from
training says nothing about others. Each gloss gets its fraction as nearly as groups allow, and no gloss loses its last
training clip.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from signprep.pipeline.datasets.annotations import Segment, normal_gloss
from signprep.pipeline.errors import AnnotationError
from signprep.pipeline.options import Options, option
from signprep.pipeline.runtime.text import counted, first_of

OFFICIAL_VALIDATION_SIGNERS = frozenset({"REAL17", "REAL18"})
"""AIHub's own validation signers; signers 01-16 train."""

_SPLIT_FOLDER = re.compile(
    r"(?<![a-z])(?:(?P<train>train)(?:ing)?|(?P<val>val(?:id|idation)?|dev(?:elopment)?)|(?P<test>test)(?:ing)?)(?![a-z])",
    re.IGNORECASE,
)

OTHER_SIDE = "val/"
"""What names of files of validation begin with where files of training have the same name."""

SPLIT_BY = ("auto", "official", "signer", "take", "column")


@dataclass(frozen=True, kw_only=True)
class SplitOptions(Options, group="Data"):
    """The way to split segments. Raises ValueError on values that split nothing."""

    by: str = option(
        "auto",
        "Validate on folders named Validation or on AIHub's signers 17 and 18 (official), on a fraction of the signers "
        "or takes, or as the table says (column); auto takes the first of column, official, signer and take that the "
        "data allow, and part of train where there are train and test alone.",
        name="--split-by",
        choices=SPLIT_BY,
    )
    validation_fraction: float = option(
        0.2,
        "Validate on this fraction of each gloss's clips, as nearly as whole signers or takes allow.",
        above=0,
        below=1,
    )
    """At least one signer or take validates."""
    duplicates: str = option(
        "keep",
        "Take copies of a video as they are, leave out clips that another one is a copy of (drop), or bring copies "
        "that a table has in two splits to one of them (together).",
        choices=("keep", "drop", "together"),
    )


def assign_splits(
    segments: Sequence[Segment],
    options: SplitOptions = SplitOptions(),
    *,
    content_hashes: Mapping[str, str] | None = None,
) -> list[Segment]:
    """Return the segments of one data set with their split set.

    `content_hashes` has, by `Segment.video`, the hash of each video that may equal another one. If `duplicates` is
    drop, there may be fewer segments than before. Raises AnnotationError if the data cannot be split as asked.
    """
    by = options.by
    if by == "official" or (by == "auto" and not any(segment.split for segment in segments)):
        in_folders = _split_by_folders(segments, is_asked_for=by == "official")
        segments, by = (in_folders, "column") if in_folders else (segments, by)
    by = by if by != "auto" else _automatic(segments)
    _require_possible(segments, by)
    hashes = content_hashes or {}
    if options.duplicates == "drop":
        segments = _without_copies(segments, hashes, by)
    if by == "column":
        told = list(segments) if options.duplicates == "keep" else _together(segments, hashes)
        return _with_validation(told, options.validation_fraction, hashes) if options.by == "auto" else told
    grouped = _with_groups(segments, hashes, with_signers=by != "take")
    if by == "official":
        validation = {group for segment, group in grouped if segment.signer in OFFICIAL_VALIDATION_SIGNERS}
    else:
        validation = _stratified_groups(grouped, options.validation_fraction, by_signer=by == "signer")
    return [replace(segment, split="val" if group in validation else "train") for segment, group in grouped]


def _with_validation(segments: list[Segment], fraction: float, content_hashes: Mapping[str, str]) -> list[Segment]:
    """Return segments of train and test alone with a part of train as val, by signer if it has several."""
    if {segment.split for segment in segments} != {"train", "test"}:
        return segments
    train = [replace(segment, split=None) for segment in segments if segment.split == "train"]
    by_signer = _automatic(train) == "signer"
    grouped = _with_groups(train, content_hashes, with_signers=by_signer)
    validation = _stratified_groups(grouped, fraction, by_signer=by_signer)
    splits = iter("val" if group in validation else "train" for _, group in grouped)
    return [segment if segment.split == "test" else replace(segment, split=next(splits)) for segment in segments]


def split_of_path(name: str, gloss: str = "") -> str | None:
    """Return the split that the folders of a path name; the innermost folder counts, unless it is that of a gloss.

    >>> split_of_path("1.Training/REAL/01_train_video.zip!/01/a.mp4")
    'train'
    >>> split_of_path("2.Validation/a.mp4"), split_of_path("strain/test.mp4"), split_of_path("val/train/a.mp4", "train")
    ('val', None, 'val')
    """
    return _split_of_folder(name.rpartition("/")[0], gloss)


@lru_cache(maxsize=2**14)
def _split_of_folder(folders: str, gloss: str) -> str | None:
    names = folders.split("/")
    for folder in reversed(names[:-1] if gloss and normal_gloss(names[-1]) == gloss else names):
        if match := _SPLIT_FOLDER.search(folder.replace("_", " ")):
            return match.lastgroup
    return None


def _split_by_folders(segments: Sequence[Segment], *, is_asked_for: bool) -> list[Segment]:
    """Return the segments with the splits that their videos' folders name; none unless all have one, as of AIHub.

    Where that is not asked for, folders count only if no take is in two of them, and train and test may be alone.
    """
    found = [replace(segment, split=split_of_path(segment.video, segment.gloss)) for segment in segments]
    splits = {segment.split for segment in found}
    if None in splits or "train" not in splits or not splits & ({"val"} if is_asked_for else {"val", "test"}):
        return []
    is_leaking = any(leak.kind == "take" for leak in leaks((s.split, s.take, None, None) for s in found))
    return [] if is_leaking and not is_asked_for else found


def _require_possible(segments: Sequence[Segment], by: str) -> None:
    """Raise AnnotationError if the segments have no splits or signers to split by."""
    missing = [segment.segment_id for segment in segments if segment.split is None]
    if by == "column" and missing:
        raise AnnotationError(
            f"{counted(len(missing), 'segment')} without a split, {missing[0]} among them: fill the table's column "
            "`split`, or choose another --split-by"
        )
    signers = {segment.signer for segment in segments}
    if by == "official" and not (signers & OFFICIAL_VALIDATION_SIGNERS and signers - OFFICIAL_VALIDATION_SIGNERS):
        raise AnnotationError(
            "the official split needs all videos in folders of Training and Validation, or AIHub's signers REAL17 or "
            "REAL18, and others to train on"
        )
    if by == "signer" and len(signers - {None, ""}) < 2:
        raise AnnotationError("a split by signer needs at least two signers; --split-by take splits without them")


def _automatic(segments: Sequence[Segment]) -> str:
    if any(segment.split for segment in segments):
        return "column"
    signers = {segment.signer for segment in segments if segment.signer}
    if signers & OFFICIAL_VALIDATION_SIGNERS and signers - OFFICIAL_VALIDATION_SIGNERS:
        return "official"
    return "signer" if len(signers) > 1 else "take"


def _stratified_groups(grouped: Sequence[tuple[Segment, int]], fraction: float, *, by_signer: bool) -> set[int]:
    """Return the groups that validate. A group is taken if at least half of its clips are still wanted."""
    members: dict[int, Counter[str]] = {}
    names: dict[int, str] = {}
    for segment, group in grouped:
        members.setdefault(group, Counter())[segment.gloss] += 1
        name = (by_signer and segment.signer) or segment.take
        names[group] = min(names.get(group, name), name)
    if len(members) < 2:
        return set()
    left = Counter(segment.gloss for segment, _ in grouped)
    wanted = {gloss: fraction * count for gloss, count in left.items()}
    # A random order, the same for the same names.
    ranked = sorted(members, key=lambda group: hashlib.blake2b(names[group].encode(), digest_size=8).digest())
    validation: set[int] = set()
    for group in ranked:
        counts = members[group]
        gain = sum(min(count, max(0.0, wanted[gloss])) for gloss, count in counts.items())
        if gain >= counts.total() / 2 and all(left[gloss] > count for gloss, count in counts.items()):
            validation.add(group)
            left.subtract(counts)
            for gloss, count in counts.items():
                wanted[gloss] -= count
    if not validation:
        keeps_all = (g for g in ranked if all(left[gloss] > count for gloss, count in members[g].items()))
        validation.add(next(keeps_all, ranked[0]))
    return validation


_GIVES_WAY = {"test": 0, "val": 1, "train": 2}
"""Copies stay in the first of these splits: what is tested is what was to be tested, and no copy of it trains."""


def _rank(segment: Segment, by: str) -> int:
    if by == "official":
        return 1 if segment.signer in OFFICIAL_VALIDATION_SIGNERS else 2
    return _GIVES_WAY.get(segment.split or "", len(_GIVES_WAY))


def _without_copies(segments: Sequence[Segment], content_hashes: Mapping[str, str], by: str) -> list[Segment]:
    """Return the segments without those that show the same seconds of the same content as another video's.

    The one that stays is in the split that gives way last, and the first of those.
    """
    ranks: dict[str, int] = {}
    for segment in segments:
        ranks[segment.video] = min(ranks.get(segment.video, len(_GIVES_WAY)), _rank(segment, by))
    kept: dict[tuple[str, float, float], str] = {}
    # Sorting keeps the order of segments of one rank.
    for segment in sorted(segments, key=lambda segment: ranks[segment.video]):
        if segment.video in content_hashes:
            kept.setdefault(_shown(segment, content_hashes), segment.video)
    return [s for s in segments if s.video not in content_hashes or kept[_shown(s, content_hashes)] == s.video]


def _shown(segment: Segment, content_hashes: Mapping[str, str]) -> tuple[str, float, float]:
    return content_hashes[segment.video], segment.start_seconds, segment.end_seconds


def _together(segments: Sequence[Segment], content_hashes: Mapping[str, str]) -> list[Segment]:
    """Return the segments of given splits, with those of a content on one side of them.

    Their takes go with them, so that other views of a copy are on no other side than it is.
    """
    grouped = _with_groups(segments, content_hashes, with_signers=False)
    splits_of: dict[str, set[str | None]] = {}
    for segment in segments:
        if segment.video in content_hashes:
            splits_of.setdefault(content_hashes[segment.video], set()).add(segment.split)
    moving = {group for segment, group in grouped if len(splits_of.get(content_hashes.get(segment.video, ""), ())) > 1}
    side: dict[int, str | None] = {}
    for segment, group in sorted(grouped, key=lambda pair: _rank(pair[0], "column")):
        if group in moving:
            side.setdefault(group, segment.split)
    return [replace(segment, split=side.get(group, segment.split)) for segment, group in grouped]


def changed_by_duplicates(before: Sequence[Segment], after: Sequence[Segment]) -> str | None:
    """Return in words how many clips were left out, or moved out of a given split, None if there was none.

    Args:
        before: the segments as they were read.
        after: those of them that `assign_splits` returned.
    """
    splits = {segment.segment_id: segment.split for segment in after}
    told = []
    if num_left_out := len(before) - len(after):
        told.append(f"{counted(num_left_out, 'clip')} left out, being copies of others")
    moved = Counter(
        (segment.split, splits[segment.segment_id])
        for segment in before
        if segment.split and segment.segment_id in splits and splits[segment.segment_id] != segment.split
    )
    told += [f"{counted(count, 'clip')} moved from {old} to {new} to its copies" for (old, new), count in moved.items()]
    return "; ".join(told) or None


@dataclass(frozen=True, kw_only=True)
class Leak:
    """Takes, video contents or signers that are in training and in validation."""

    kind: str
    """`take`, `video content` or `signer`."""
    names: tuple[str, ...]

    @property
    def forbidden(self) -> bool:
        """True if training refuses it. Signers on both sides only make accuracy say less."""
        return self.kind != "signer"

    @property
    def warning(self) -> str:
        """The message to people who build a cache that has it."""
        cure = " (--duplicates drop or together)" if self.kind == "video content" else ""
        return f"training will refuse this: {self}{cure}" if self.forbidden else f"take care: {self}"

    def __str__(self) -> str:
        return f"{counted(len(self.names), self.kind)} in both splits: {first_of(self.names, 3)}"


def leaks(segments: Iterable[tuple[str | None, ...]]) -> list[Leak]:
    """Return the takes, contents and signers that are both in `train` and in `val`.

    Segments are given as split, take, content hash and signer; empty values do not count.
    """
    sides: dict[str, dict[str, set[str]]] = {"take": {}, "video content": {}, "signer": {}}
    for split, *values in segments:
        if split in ("train", "val"):
            for kind, value in zip(sides, values, strict=True):
                if value:
                    sides[kind].setdefault(value, set()).add(split)
    offenders = {
        kind: tuple(sorted(value for value, splits in splits_of.items() if len(splits) > 1))
        for kind, splits_of in sides.items()
    }
    return [Leak(kind=kind, names=names) for kind, names in offenders.items() if names]


def _with_groups(
    segments: Sequence[Segment], content_hashes: Mapping[str, str], *, with_signers: bool
) -> list[tuple[Segment, int]]:
    """Return segments with group numbers, the same for all that share a take, content or signer (union-find)."""
    parents: list[int] = []
    keys: dict[tuple[str, str], int] = {}

    def find(node: int) -> int:
        while parents[node] != node:
            parents[node] = parents[parents[node]]
            node = parents[node]
        return node

    def group_of(key: tuple[str, str]) -> int:
        if key not in keys:
            keys[key] = len(parents)
            parents.append(keys[key])
        return keys[key]

    first_nodes = []
    for segment in segments:
        # The first node of a segment stands for it; the others are joined with it.
        nodes = [group_of(("take", segment.take)), group_of(("video", segment.video))]
        if segment.signer and with_signers:
            nodes.append(group_of(("signer", segment.signer)))
        if segment.video in content_hashes:
            nodes.append(group_of(("content", content_hashes[segment.video])))
        for node in nodes[1:]:
            parents[find(node)] = find(nodes[0])
        first_nodes.append(nodes[0])
    return [(segment, find(node)) for segment, node in zip(segments, first_nodes, strict=True)]

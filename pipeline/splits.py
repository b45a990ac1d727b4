"""Which segments train and which validate, so that no take, no signer and no video content is on both sides.

AIHub's five views of a take are filmed at once and share their times: a split by file leaks. Signers must be apart
too, or accuracy says nothing about people whom the model has not seen. Groups are whole: a group goes to validation
or stays in training, chosen by hash, so that adding data moves nobody.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from signprep.pipeline.segment import Segment

OFFICIAL_VALIDATION_SIGNERS = frozenset({"REAL17", "REAL18"})
"""AIHub's own validation signers; 01-16 train."""

DEFAULT_VALIDATION_FRACTION = 0.2


def assign_splits(
    segments: Sequence[Segment],
    *,
    content_hashes: Mapping[str, str] | None = None,
    validation_fraction: float = DEFAULT_VALIDATION_FRACTION,
) -> list[Segment]:
    """Return the segments with their split set to `train` or `val`.

    Official signers validate where there are others to train on; else a fraction of the signers; else, without
    signers, a fraction of the takes. Whatever shares a take or a video's content follows it to the same side.

    Args:
        segments: of one data set.
        content_hashes: hash of each video that may have a twin, by `Segment.video`.
        validation_fraction: of the groups, at least one.
    """
    groups = _connected_groups(segments, content_hashes or {})
    members: dict[int, set[str]] = {}
    for segment, group in zip(segments, groups, strict=True):
        members.setdefault(group, set()).add(segment.signer or segment.take)
    official = {group for group, names in members.items() if names & OFFICIAL_VALIDATION_SIGNERS}
    if official and len(official) < len(members):
        validation = official
    else:
        ranked = sorted(members, key=lambda group: _rank(min(members[group])))
        count = max(1, math.floor(len(ranked) * validation_fraction + 0.5)) if len(ranked) > 1 else 0
        validation = set(ranked[:count])
    return [
        replace(segment, split="val" if group in validation else "train")
        for segment, group in zip(segments, groups, strict=True)
    ]


def leaks(segments: Iterable[tuple[str | None, ...]]) -> list[str]:
    """Return a line for each kind of thing that is both in `train` and in `val`, with its first offenders.

    Args:
        segments: (split, take, signer, content hash) of each; empty values do not count.
    """
    sides: dict[str, dict[str, set[str]]] = {"take": {}, "signer": {}, "video content": {}}
    for split, *values in segments:
        if split in ("train", "val"):
            for kind, value in zip(sides, values, strict=True):
                if value:
                    sides[kind].setdefault(value, set()).add(split)
    lines = []
    for kind, splits_of in sides.items():
        offenders = sorted(value for value, splits in splits_of.items() if len(splits) > 1)
        if offenders:
            names = ", ".join(offenders[:3]) + (", ..." if len(offenders) > 3 else "")
            lines.append(f"{len(offenders)} {kind}{'s' * (len(offenders) > 1)} in both splits: {names}")
    return lines


def _rank(name: str) -> bytes:
    return hashlib.blake2b(name.encode(), digest_size=8).digest()


def _connected_groups(segments: Sequence[Segment], content_hashes: Mapping[str, str]) -> list[int]:
    """Return a group number for each segment; those that share signer, take or content share it (union-find)."""
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
        nodes = [group_of(("take", segment.take))]
        if segment.signer:
            nodes.append(group_of(("signer", segment.signer)))
        if segment.video in content_hashes:
            nodes.append(group_of(("content", content_hashes[segment.video])))
        for node in nodes[1:]:
            parents[find(node)] = find(nodes[0])
        first_nodes.append(nodes[0])
    return [find(node) for node in first_nodes]

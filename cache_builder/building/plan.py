"""From segments to a build plan: which clip goes to which position, and which positions make a shard.

A pure function of segments and options, so that the same data and options always give the same cache, and a build
that was stopped finds its finished shards again by the plan's digest.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from signprep.cache_builder.format.layout import CacheInfo
from signprep.cache_builder.options import BuildOptions
from signprep.pipeline.clip_spec import PREPROCESSING_VERSION, SIGNER
from signprep.pipeline.datasets.annotations import Segment, Vocabulary
from signprep.pipeline.datasets.files.video_files import DataRoots
from signprep.pipeline.landmarks.maker import require_models
from signprep.pipeline.runtime.machine import package_version

MAX_CLIPS_PER_SHARD = 128
"""About 50 MB of 16 x 256 x 256 clips: large enough for few files, small enough to lose to a crash."""

SEGMENT_FIELDS = tuple(field.name for field in fields(Segment))
"""Columns of the index that come from the label."""

SPLIT_ORDER = {"train": 0, "val": 1, "test": 2, None: 3}


@dataclass(frozen=True, kw_only=True)
class ShardPlan:
    """One task of a build, and one file of the cache."""

    number: int
    first_position: int
    segments: tuple[Segment, ...]
    num_kept: int = 0
    """Number of clips at the start of the shard that exist already, and are copied unchanged."""


@dataclass(frozen=True, kw_only=True)
class BuildPlan:
    """A whole build."""

    roots: DataRoots
    """Folders of the videos; no part of the cache."""
    info: CacheInfo
    shards: tuple[ShardPlan, ...]

    @property
    def num_clips(self) -> int:
        """Positions to fill."""
        return self.info.num_positions

    def videos(self) -> list[str]:
        """Return the names of all videos, each once."""
        return list(dict.fromkeys(segment.video for shard in self.shards for segment in shard.segments))

    def digest(self) -> str:
        """Return the hash of everything that decides the cache; the data root's place does not.

        Nor does the version of the preprocessing: a build that an older one has begun goes on, and the next build cuts
        again what has to be.
        """
        digest = hashlib.blake2b(digest_size=16)
        info = self.info.to_dict()
        info["provenance"] = info["provenance"] | {"preprocessing_version": 1}
        for part in (info, *(_label_of(segment) for shard in self.shards for segment in shard.segments)):
            digest.update(json.dumps(part, ensure_ascii=False, sort_keys=True).encode() + b"\n")
        return digest.hexdigest()


def _label_of(segment: Segment) -> list[object]:
    """Return what a label tells, without a box where there is none: digests of older versions stay what they are."""
    return [getattr(segment, name) for name in SEGMENT_FIELDS if name != "box" or segment.box is not None]


def clips_per_shard(num_clips: int) -> int:
    """Return the default shard size: a power of two between 4 and 128, about a sixteenth of the clips.

    >>> [clips_per_shard(n) for n in (10, 120, 1000, 500_000)]
    [4, 4, 32, 128]
    """
    size = 4
    while size < MAX_CLIPS_PER_SHARD and size * 32 <= num_clips:
        size *= 2
    return size


def plan_build(roots: DataRoots, segments: Sequence[Segment], options: BuildOptions) -> BuildPlan:
    """Return the plan for segments that have their splits.

    Labels follow the order in which glosses first appear. Positions are ordered by split, then by video, so that a
    split can be fetched alone and a video's segments share one pass. Boxes of labels that decide no clip are left out.

    Raises SignprepError if landmarks are to be found in videos, and the models or LiteRT are not there.
    """
    if options.clip_spec.crop != SIGNER or options.clip_spec.content != "pixels":
        segments = [segment if segment.box is None else replace(segment, box=None) for segment in segments]
    ordered = sorted(segments, key=lambda s: (SPLIT_ORDER[s.split], s.video, s.start_seconds, s.segment_id))
    size = options.clips_per_shard or clips_per_shard(len(ordered))
    packages = ["signprep", options.decoder.replace("pyav", "av"), "numcodecs", "zarr"]
    if options.clip_spec.landmarks == "mediapipe":
        require_models()
        packages += ["ai-edge-litert", "opencv-python-headless"]
    info = CacheInfo(
        clip_spec=options.clip_spec,
        codec=options.codec,
        num_positions=len(ordered),
        clips_per_shard=size,
        provenance={
            "preprocessing_version": PREPROCESSING_VERSION,
            "decoder": options.decoder,
            "versions": {name: found for name in packages if (found := package_version(name))},
        },
        vocabulary=Vocabulary.of(segment.gloss for segment in segments),
    )
    shards = tuple(
        ShardPlan(number=number, first_position=first, segments=tuple(ordered[first : first + size]))
        for number, first in enumerate(range(0, len(ordered), size))
    )
    return BuildPlan(roots=roots, info=info, shards=shards)

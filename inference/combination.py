"""Several models that answer together: the weighted mean of their log-probabilities, each at its own temperature.

Their clips may be of several kinds, pixels and landmarks among them; their glosses are the same, in any order. A file
of JSON names checkpoints and their weights, and stands for them: `evaluate --fit-weights` writes it.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from signprep.cache_builder.format.codec import StoredClip
from signprep.inference.options import WEIGHTS_SUFFIX
from signprep.inference.recognizer import Recognizer
from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.errors import CheckpointError
from signprep.pipeline.runtime.atomic_files import write_json
from signprep.pipeline.runtime.text import first_line, first_of

_NAMED_GLOSSES = 3
COMBINATION_VERSION = 1
_LARGEST_BYTES = 1 << 20


class CombinedRecognizer(Recognizer):
    """Several recognizers as one, with the glosses of the first; its logits are log-probabilities."""

    def __init__(self, members: Sequence[Recognizer], weights: Sequence[float] = ()) -> None:
        """Put recognizers together.

        Args:
            members: at least one, on one device.
            weights: how much each counts beside the others; equally by default.

        Raises:
            CheckpointError: two of them know different glosses.
            ValueError: the weights are not as many, or one is negative or no number, or all are 0.
        """
        first = members[0]
        self.members = tuple(members)
        self.weights = normalised_weights(weights, len(members))
        metadata = replace(first.metadata, temperature=1.0, calibrated_views=None)
        models = nn.ModuleList(member.model for member in members)
        super().__init__(metadata, models, first.device, first.precision)
        self.label = ", ".join(member.label for member in members)
        self._orders = [_order(member, first) for member in members]

    @property
    def clip_specs(self) -> tuple[ClipSpec, ...]:
        """The different kinds of clips that the members were trained on."""
        return tuple(dict.fromkeys(member.metadata.clip_spec for member in self.members))

    @property
    def num_views(self) -> int:
        """How many views of each clip every member is asked about."""
        return self.members[0].num_views

    def use_views(self, number: int) -> None:
        """Let every member answer by so many views; raises as `Recognizer.use_views`."""
        for member in self.members:
            member.use_views(number)

    def use_trace(self) -> None:
        """Let every member answer by a trace; see `Recognizer.use_trace`."""
        for member in self.members:
            member.use_trace()

    def calibration_note(self) -> str | None:
        """Return the sentences of the members."""
        return "\n".join(filter(None, (member.calibration_note() for member in self.members))) or None

    def logits(self, clips: Tensor) -> Tensor:
        """Return log-probabilities of clips that all members take; see `Recognizer.logits`."""
        return self.combined([member.logits(clips) for member in self.members])

    def combined(self, logits: Sequence[Tensor]) -> Tensor:
        """Return log-probabilities, float32 [B, classes], of the members' own logits, [B, classes] each."""
        total = torch.zeros(())
        for weight, known in zip(self.weights, self.calibrated(logits), strict=True):
            total = total.to(known.device) + weight * known
        return torch.log_softmax(total, dim=1)

    def calibrated(self, logits: Sequence[Tensor]) -> list[Tensor]:
        """Return the members' log-probabilities, [B, classes] each in the order of `glosses`, of their own logits."""
        return [
            torch.log_softmax(found / member.metadata.temperature, dim=1)[:, order]
            for member, order, found in zip(self.members, self._orders, logits, strict=True)
        ]

    def probabilities(self, clips: Sequence[StoredClip]) -> NDArray[np.float32]:
        """Do as `Recognizer.probabilities`; raises ValueError if the members take different clips."""
        if len(self.clip_specs) > 1:
            raise ValueError("the models take different clips of a window: give `window_probabilities` one of each")
        return self.window_probabilities([(clip,) for clip in clips])

    def window_probabilities(self, windows: Sequence[Sequence[StoredClip]]) -> NDArray[np.float32]:
        """Return class probabilities, float32 [B, classes], of windows that have a clip for each of `clip_specs`."""
        if not windows:
            return np.empty((0, len(self.glosses)), np.float32)
        clips = dict(zip(self.clip_specs, zip(*windows, strict=True), strict=True))
        logits = [member.logits(member.stacked(clips[member.metadata.clip_spec])) for member in self.members]
        return self.softmax(self.combined(logits))


def normalised_weights(weights: Sequence[float], number: int) -> tuple[float, ...]:
    """Return the weights of so many models with a sum of 1; equal ones if none are given.

    >>> normalised_weights((1, 3), 2), normalised_weights((), 2)
    ((0.25, 0.75), (0.5, 0.5))
    """
    given = np.array(weights or [1.0] * number, np.float64)
    if len(given) != number or not np.isfinite(given).all() or (given < 0).any() or not given.sum() > 0:
        raise ValueError(
            f"weights are {', '.join(f'{weight:g}' for weight in given)} for {number} checkpoints; they must be a "
            "number of 0 or more for each of them, and not all 0"
        )
    return tuple((given / given.sum()).tolist())


def _order(member: Recognizer, first: Recognizer) -> list[int]:
    """Return the label that each of the first model's glosses has in another model."""
    labels = member.metadata.vocabulary.labels()
    missing = [gloss for gloss in first.glosses if gloss not in labels]
    others = [gloss for gloss in member.glosses if gloss not in first.metadata.vocabulary.labels()]
    if missing or others:
        lacks = [f"lacks {first_of(missing, _NAMED_GLOSSES)}"] if missing else []
        has = [f"has {first_of(others, _NAMED_GLOSSES)} besides"] if others else []
        raise CheckpointError(
            f"{member.label}: knows other glosses than {first.label}: it {' and '.join([*lacks, *has])}; models that "
            "answer together are trained on the same glosses"
        )
    return [labels[gloss] for gloss in first.glosses]


@dataclass(frozen=True, kw_only=True)
class Combination:
    """Checkpoints that answer together, as a file names them."""

    checkpoints: tuple[Path, ...]
    weights: tuple[float, ...]


def is_combination(path: Path) -> bool:
    """Return whether a file that is given as a checkpoint is named as a combination of them."""
    return path.suffix.lower() == WEIGHTS_SUFFIX


def names_below(path: Path, checkpoints: Sequence[Path]) -> list[str]:
    """Return the checkpoints' names as a combination at `path` has them, so that its folder can be moved as a whole.

    Raises CheckpointError if one does not lie in the combination's folder, or in one below it.
    """
    folder = path.resolve().parent
    for checkpoint in checkpoints:
        if not checkpoint.resolve().is_relative_to(folder):
            raise CheckpointError(
                f"{path}: names checkpoints of its own folder and of those below it, so that they are passed on "
                f"together; {checkpoint} lies elsewhere: copy the checkpoints to where the file is to be"
            )
    return [checkpoint.resolve().relative_to(folder).as_posix() for checkpoint in checkpoints]


def write_combination(
    path: Path, checkpoints: Sequence[Path], weights: Sequence[float], fitted_on: dict[str, Any]
) -> None:
    """Write the file that stands for checkpoints and their weights; `fitted_on` tells people of what they come from.

    Raises CheckpointError as `names_below`, SignprepError if it cannot be written.
    """
    members = [
        {"checkpoint": name, "weight": weight, "sha256": _sha256(checkpoint)}
        for name, weight, checkpoint in zip(names_below(path, checkpoints), weights, checkpoints, strict=True)
    ]
    write_json(path, {"combination_version": COMBINATION_VERSION, "members": members, "fitted_on": fitted_on})


def read_combination(path: Path) -> Combination:
    """Return what `write_combination` wrote.

    Raises CheckpointError if the file is not there or is something else, or a checkpoint is not the one of then.
    """
    expected = "expected a checkpoint, or what `evaluate --fit-weights` writes"
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            raise ValueError("it is too large")
        document = json.loads(path.read_text(encoding="utf-8"))
        version, members = document["combination_version"], document["members"]
        named = [(str(one["checkpoint"]), float(one["weight"]), str(one["sha256"])) for one in members]
        if not named:
            raise ValueError("it has none")
        weights = normalised_weights([weight for _, weight, _ in named], len(named))
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path}: names no checkpoints ({first_line(error)}); {expected}") from error
    if version != COMBINATION_VERSION:
        raise CheckpointError(f"{path}: is of version {version!r:.20}; this signprep reads {COMBINATION_VERSION}")
    checkpoints = tuple(path.parent / name for name, _, _ in named)
    names_below(path, checkpoints)
    for checkpoint, (_, _, sha256) in zip(checkpoints, named, strict=True):
        if not checkpoint.is_file():
            raise CheckpointError(f"{path}: names {checkpoint}, which is not there; put it beside the file again")
        if _sha256(checkpoint) != sha256:
            raise CheckpointError(
                f"{path}: {checkpoint} has changed since the weights were fitted; fit them again: "
                "`evaluate --fit-weights`"
            )
    return Combination(checkpoints=checkpoints, weights=weights)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

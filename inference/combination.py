"""Several models that answer together: the weighted mean of their log-probabilities, each at its own temperature.

Their clips may be of several kinds, pixels and landmarks among them; their glosses are the same, in any order.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from signprep.cache_builder.format.codec import StoredClip
from signprep.inference.recognizer import Recognizer
from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.errors import CheckpointError
from signprep.pipeline.runtime.text import first_of

_NAMED_GLOSSES = 3


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
        metadata, models = replace(first.metadata, temperature=1.0), nn.ModuleList(member.model for member in members)
        super().__init__(metadata, models, first.device, first.precision)
        self.label = ", ".join(member.label for member in members)
        self._orders = [_order(member, first) for member in members]

    @property
    def clip_specs(self) -> tuple[ClipSpec, ...]:
        """The different kinds of clips that the members were trained on."""
        return tuple(dict.fromkeys(member.metadata.clip_spec for member in self.members))

    def logits(self, clips: Tensor) -> Tensor:
        """Return log-probabilities of clips that all members take; see `Recognizer.logits`."""
        return self.combined([member.logits(clips) for member in self.members])

    def combined(self, logits: Sequence[Tensor]) -> Tensor:
        """Return log-probabilities, float32 [B, classes], of the members' own logits, [B, classes] each."""
        total = torch.zeros(())
        for member, weight, order, found in zip(self.members, self.weights, self._orders, logits, strict=True):
            known = torch.log_softmax(found / member.metadata.temperature, dim=1)[:, order]
            total = total.to(known.device) + weight * known
        return torch.log_softmax(total, dim=1)

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

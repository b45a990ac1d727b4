"""ModelMetadata: the part of a checkpoint that says what its weights are for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.datasets.annotations import Vocabulary
from signprep.training.model_spec import ModelSpec

CHECKPOINT_KEY = "signprep"
CHECKPOINT_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class ModelMetadata:
    """All that must travel with the weights; plain data under the checkpoint's key "signprep"."""

    model_spec: ModelSpec
    clip_spec: ClipSpec
    vocabulary: Vocabulary
    cache_fingerprint: str
    """Fingerprint of the cache that the model was trained on."""
    temperature: float = 1.0
    """Divisor of the logits that makes confidences true on average; `signprep evaluate --calibrate` fits it."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types, which torch.load(weights_only=True) takes."""
        return {
            "checkpoint_version": CHECKPOINT_VERSION,
            "model_spec": self.model_spec.to_dict(),
            "clip_spec": self.clip_spec.to_dict(),
            "glosses": list(self.vocabulary.glosses),
            "cache_fingerprint": self.cache_fingerprint,
            "temperature": self.temperature,
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """Inverse of `to_dict`. Raises KeyError, TypeError or ValueError on anything else."""
        return cls(
            model_spec=ModelSpec.from_dict(fields["model_spec"]),
            clip_spec=ClipSpec.from_dict(fields["clip_spec"]),
            vocabulary=Vocabulary(glosses=tuple(fields["glosses"])),
            cache_fingerprint=fields["cache_fingerprint"],
            temperature=float(fields.get("temperature", 1.0)),
        )

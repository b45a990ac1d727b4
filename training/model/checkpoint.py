"""Checkpoints: what they say about their model, their safe loading, and the check that a run can go on from one."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch

from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.datasets.annotations import Vocabulary
from signprep.pipeline.errors import CheckpointError
from signprep.pipeline.runtime.text import first_line
from signprep.training.config import TrainConfig
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


def read_checkpoint(path: Path) -> tuple[dict[str, Any], ModelMetadata]:
    """Return the contents of a checkpoint of `signprep train`, and its metadata.

    Tensors are mapped, not read, until they are used.

    Raises:
        CheckpointError: there is no such file, it is no signprep checkpoint, or one of another version.
    """
    if path.is_dir():
        raise CheckpointError(f"{path}: is a folder; give the checkpoint in it, such as {path / 'best.ckpt'}")
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such checkpoint; `signprep train` writes best.ckpt and last.ckpt")
    with path.open("rb") as file:
        is_zip = file.read(4) == b"PK\x03\x04"  # as every file of torch.save is
    if not is_zip:
        raise CheckpointError(
            f"{path}: is no signprep checkpoint, nor any file of torch; `signprep train` writes best.ckpt and last.ckpt"
        )
    try:
        contents = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        fields = contents[CHECKPOINT_KEY]
        require_version(str(path), fields)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or first_line(error)})") from error
    except CheckpointError:
        raise
    except Exception as error:  # on damaged files torch raises a dozen kinds, AssertionError among them
        raise CheckpointError(
            f"{path}: is no signprep checkpoint, or it was cut off; copy it again: `signprep train` writes best.ckpt "
            "and last.ckpt"
        ) from error
    try:
        return contents, ModelMetadata.from_dict(fields)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: its model card is damaged ({error})") from error


def require_version(label: str, fields: dict[str, Any]) -> None:
    """Raise CheckpointError unless a checkpoint's metadata are of the version that is read here; `label` names it."""
    version = fields["checkpoint_version"]
    if version != CHECKPOINT_VERSION:
        raise CheckpointError(
            f"{label}: is a checkpoint of version {version}; this signprep reads version {CHECKPOINT_VERSION}"
        )


def model_weights(contents: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Return the weights of the model by its own names, without Lightning's prefix."""
    named, prefix = contents["state_dict"].items(), "model."
    return {name.removeprefix(prefix): value for name, value in named if name.startswith(prefix)}


def check_resumable(path: Path, metadata: ModelMetadata, config: TrainConfig) -> None:
    """Raise CheckpointError unless the checkpoint is of a run with this model, these classes, clips and options."""
    contents, earlier = read_checkpoint(path)
    try:
        options = TrainConfig.from_dict(contents[CHECKPOINT_KEY]["train_config"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: its options are not those of this signprep ({error})") from error
    difference = _difference(earlier, metadata)
    changed = [f"{name} {getattr(options, name)} -> {getattr(config, name)}" for name in options.differences(config)]
    if difference is None and changed:
        difference = f"was written with other options ({', '.join(changed)}); give the same ones, or"
    if difference is not None:
        raise CheckpointError(f"{path}: {difference} --pretrained {path} starts a new run with its weights")


def _difference(earlier: ModelMetadata, metadata: ModelMetadata) -> str | None:
    """Return why one run's model cannot go on as another's, up to the advice that follows; None if it can."""
    if earlier.vocabulary != metadata.vocabulary:
        sizes = f"{len(earlier.vocabulary)} glosses and this cache has {len(metadata.vocabulary)}"
        return f"was trained on {sizes}, not the same ones in the same order;"
    if earlier.model_spec != metadata.model_spec:
        theirs, ours = (
            f"{spec.name} with {spec.num_frames} frames of {spec.crop_size}, dropout {spec.dropout_rate:g}"
            for spec in (earlier.model_spec, metadata.model_spec)
        )
        return f"is of {theirs}, this run of {ours}; give the same options, or"
    if earlier.cache_fingerprint != metadata.cache_fingerprint:
        return "the cache has changed since it was written, and so has the order of its clips;"
    return None

"""Checkpoints: what they say about their model, written whole, loaded safely, and whether a run can go on from one."""

import io
import os
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch

from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.datasets.annotations import Vocabulary
from signprep.pipeline.errors import CheckpointError, SignprepError, TrainingError
from signprep.pipeline.options import check_types
from signprep.pipeline.runtime.atomic_files import atomic_write
from signprep.pipeline.runtime.paths import StrPath, as_path
from signprep.pipeline.runtime.text import byte_size, first_line
from signprep.training.config import TrainConfig
from signprep.training.model_spec import ModelSpec, model_spec

CHECKPOINT_KEY = "signprep"
CHECKPOINT_VERSION = 1
_OF_A_RUN = ("epoch", "global_step", "loops", "optimizer_states", "lr_schedulers", "callbacks")
"""What Lightning puts into a checkpoint beside the weights, and would begin anew where it is missing."""
LARGEST = 1e3
"""Bound of means, deviations and temperatures, far beyond any that is trained or fitted; of the last two also of their
inverse: divided by next to nothing, pixels and logits would be infinite."""
NOT_A_CARD = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError, TrainingError)
"""What `from_dict` of metadata raises where values from a file are not those that were written."""


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
    calibrated_views: int | None = None
    """Views of each clip that the temperature was fitted with; None if none was fitted."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types, which torch.load(weights_only=True) takes."""
        calibrated = {} if self.calibrated_views is None else {"calibrated_views": self.calibrated_views}
        return calibrated | {
            "checkpoint_version": CHECKPOINT_VERSION,
            "model_spec": self.model_spec.to_dict(),
            "clip_spec": self.clip_spec.to_dict(),
            "glosses": list(self.vocabulary.glosses),
            "cache_fingerprint": self.cache_fingerprint,
            "temperature": self.temperature,
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """Inverse of `to_dict`. Raises one of `NOT_A_CARD` on anything else, and on values that cannot answer."""
        spec, clips = ModelSpec.from_dict(fields["model_spec"]), ClipSpec.from_dict(fields["clip_spec"])
        glosses = fields["glosses"]
        if not isinstance(glosses, list) or not all(isinstance(gloss, str) for gloss in glosses):
            raise TypeError(f"glosses are {glosses!r:.60}; they must be a list of texts")
        if not glosses or len(set(glosses)) < len(glosses):
            raise ValueError(f"there are {len(glosses)} glosses, {len(set(glosses))} of them different")
        found = cls(
            model_spec=spec,
            clip_spec=clips,
            vocabulary=Vocabulary(glosses=tuple(glosses)),
            cache_fingerprint=fields["cache_fingerprint"],
            temperature=(temperature := fields.get("temperature", 1.0)),
            # Older versions knew one view, and did not say so.
            calibrated_views=fields.get("calibrated_views", None if temperature == 1 else 1),
        )
        for values in (spec, clips, found):
            check_types(values)
        # Refuses sizes that no model has, and that would take all memory.
        model_spec(spec.name, num_frames=spec.num_frames, crop_size=spec.crop_size, dropout_rate=spec.dropout_rate)
        if clips.content != spec.content:
            raise ValueError(f"clips are of {clips.content}, and the model reads {spec.content}")
        if clips.num_frames < spec.num_frames:
            raise ValueError(f"clips have {clips.num_frames} frames, and the model takes {spec.num_frames}")
        numbers = {"mean": spec.mean, "std": spec.std, "temperature": found.temperature}
        for name, value in numbers.items():
            least = -LARGEST if name == "mean" else 1 / LARGEST
            if not least <= value <= LARGEST:
                raise ValueError(f"{name} is {value}; it must be between {least:g} and {LARGEST:g}")
        if found.calibrated_views is not None and found.calibrated_views < 1:
            raise ValueError(f"calibrated_views is {found.calibrated_views}; it must be 1 or more")
        for part in ("model_spec", "clip_spec"):  # a default is not what the model was trained with
            if missing := found.to_dict()[part].keys() - fields[part].keys():
                raise KeyError(f"{part} has no {', '.join(sorted(missing))}")
        return found


def read_checkpoint(path: StrPath) -> tuple[dict[str, Any], ModelMetadata]:
    """Return the contents of a checkpoint of `signprep train`, and its metadata.

    Tensors are mapped, not read, until they are used; before, the checksums of the file's parts are compared.

    Raises:
        CheckpointError: there is no such file, it is no signprep checkpoint, one of another version, or damaged.
    """
    path = as_path(path)
    if (path / "zarr.json").is_file():
        raise CheckpointError(f"{path}: is a cache, not a checkpoint; `signprep train {path}` writes best.ckpt")
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
        require_whole(path)
        is_mapped = os.name != "nt"  # where a file that is mapped cannot be replaced by the run that goes on from it
        contents = torch.load(path, map_location="cpu", weights_only=True, mmap=is_mapped)
        if not isinstance(contents, dict):
            raise TypeError  # a tensor would take a text as its index, with a warning
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
    except NOT_A_CARD as error:
        raise CheckpointError(f"{path}: its model card is damaged ({error})") from error


def write_checkpoint(path: Path, contents: Mapping[str, Any]) -> None:
    """Write a checkpoint beside the one that is there, and then in its place.

    Raises SignprepError, which says its size, if its disk is full or cannot be written.
    """
    # In memory first: on a full disk torch's own writer ends the whole program.
    data = io.BytesIO()
    torch.save(contents, data)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as beside, beside.open("wb") as file:
            file.write(data.getbuffer())
            file.flush()
            os.fsync(file.fileno())
    except (SignprepError, OSError) as error:
        raise SignprepError(f"{error}; a checkpoint takes {byte_size(len(data.getbuffer()))}. Make room") from error


def require_whole(path: Path) -> None:
    """Compare every part of a file of torch.save or torch.jit.save with its checksum, which torch itself does not.

    Raises:
        CheckpointError: a part is not what was written.
        OSError, zipfile.BadZipFile: the file cannot be read, or is no archive.
    """
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise CheckpointError(f"{path}: its part {damaged} is damaged: its checksum is another one; copy it again")


def require_version(label: str, fields: dict[str, Any]) -> None:
    """Raise CheckpointError unless a checkpoint's metadata are of the version that is read here; `label` names it."""
    version = fields["checkpoint_version"]
    if version != CHECKPOINT_VERSION:
        raise CheckpointError(
            f"{label}: is a checkpoint of version {version}; this signprep reads version {CHECKPOINT_VERSION}"
        )


def model_weights(contents: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Return the weights of the model by its own names, without Lightning's prefix.

    Raises AttributeError, KeyError or TypeError where contents, which may come from anywhere, are of another kind.
    """
    named, prefix = contents["state_dict"].items(), "model."
    return {name.removeprefix(prefix): value for name, value in named if name.startswith(prefix)}


def check_resumable(path: Path, metadata: ModelMetadata, config: TrainConfig) -> dict[str, Any]:
    """Return the contents of a checkpoint that a run with this model, these classes, clips and options can go on from.

    Raises CheckpointError if it is of another run.
    """
    contents, earlier = read_checkpoint(path)
    if missing := [name for name in _OF_A_RUN if name not in contents]:
        raise CheckpointError(
            f"{path}: has no {', '.join(missing)}, so no run can go on from it; --pretrained {path} begins a new one "
            "with its weights"
        )
    try:
        options = TrainConfig.from_dict(contents[CHECKPOINT_KEY]["train_config"])
    except NOT_A_CARD as error:
        raise CheckpointError(f"{path}: its options are not those of this signprep ({error})") from error
    difference = _difference(earlier, metadata)
    changed = [f"{name} {getattr(options, name)} -> {getattr(config, name)}" for name in options.differences(config)]
    if difference is None and changed:
        difference = f"was written with other options ({', '.join(changed)}); give the same ones, or"
    if difference is not None:
        raise CheckpointError(f"{path}: {difference} --pretrained {path} starts a new run with its weights")
    return contents


def precision_of(path: Path) -> str | None:
    """Return the precision of the run that a checkpoint is of; None where no run can go on from it."""
    with suppress(CheckpointError, *NOT_A_CARD):
        return TrainConfig.from_dict(read_checkpoint(path)[0][CHECKPOINT_KEY]["train_config"]).precision
    return None


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

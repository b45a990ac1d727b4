"""From a checkpoint to one file that answers without signprep: TorchScript, in fp32 or int8.

In: float clips [1, 3, T, H, W], normalised as in training; out: logits [1, classes]. The file carries `signprep.json`
(glosses, ModelSpec, ClipSpec, input) among its extra files. It is written beside its place, loaded again and compared
with the checkpoint on random and stored clips; only then is it renamed. It is frozen: 15 % smaller in fp32 and 37 % in
int8, for the price that its weights can no longer be trained.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from signprep.cache_builder.reader import Cache
from signprep.inference.checkpoint import Recognizer, load_checkpoint
from signprep.inference.deployable import (
    X86_ENGINE,
    deployable,
    int8_engine,
    quantized,
    quiet,
    usual_int8_engine,
)
from signprep.inference.output import require_writable, written_whole
from signprep.inference.same_clips import require_same_clips
from signprep.inference.threads import torch_threads
from signprep.pipeline.errors import CheckpointError, SignprepError

LARGEST_DIFFERENCE = 1e-4
"""Of a probability, between an fp32 file and its checkpoint."""
CALIBRATION_CLIPS = 64
"""At most, from the training split; observing one takes about a quarter of a second."""
CHECKED_CLIPS = 64
"""At most, from the validation split."""
RANDOM_CLIPS = 4
EXTRA_FILE = "signprep.json"
EXPORT_VERSION = 1
"""Of `signprep.json` inside the file."""
MOBILE_FAMILY = "efficient_x3d"
NOT_OPTIMIZED = "optimize_for_mobile was left out: "
FASTER_INT8 = (
    "on desktops with x86 CPUs set torch.backends.quantized.engine = 'onednn' before loading it: several times faster"
)


@dataclass(frozen=True, kw_only=True)
class ExportReport:
    """What was written, and how it compares with its checkpoint."""

    output: Path
    num_bytes: int
    input_shape: tuple[int, ...]
    """[1, 3, T, H, W]."""
    num_classes: int
    int8: bool
    largest_difference: float
    """Of probabilities from the checkpoint's; of int8 over stored clips, of fp32 over random ones too."""
    num_stored: int
    """Stored clips that were compared."""
    num_agreeing: int
    """Of them, those with the same first answer."""
    notes: tuple[str, ...]
    """What a user should know."""

    def __str__(self) -> str:
        compared = f"{self.num_stored} stored clips" if self.num_stored else f"{RANDOM_CLIPS} random clips"
        lines = [
            f"{self.output}: {self.num_bytes / 1e6:.1f} MB of TorchScript in {'int8' if self.int8 else 'fp32'}",
            f"input: float {list(self.input_shape)}, normalised as in training; output: logits [1, {self.num_classes}]",
            f"largest difference of probabilities from the checkpoint: {self.largest_difference:.1e} over {compared}",
        ]
        if self.num_stored:
            lines.append(f"same first answer as the checkpoint: {self.num_agreeing} of {self.num_stored} stored clips")
        return "\n".join(lines)


def export_torchscript(
    checkpoint: Path, output: Path, *, int8: bool, calibration: Cache | None, own_model: str | None = None
) -> ExportReport:
    """Write a checkpoint's model as a TorchScript file.

    Args:
        checkpoint: of `signprep train`.
        output: the file, replaced if it is there; its folder must be there.
        int8: quantize an EfficientX3D; needs `calibration`.
        calibration: the cache that the model was trained on, or one like it. Its training split calibrates int8; on its
            validation split the file is compared with the checkpoint.
        own_model: as `load_checkpoint` takes it.

    Raises:
        CheckpointError: the checkpoint does not open, has no int8 form, or was trained on clips of another kind.
        SignprepError: the file cannot be written, or does not answer as the checkpoint does; there is no file then.
    """
    require_writable(output)
    recognizer = load_checkpoint(checkpoint, own_model=own_model)
    _require_exportable(checkpoint, recognizer, int8, calibration)
    inputs = _Inputs(recognizer, calibration)
    engine = usual_int8_engine() if int8 else None
    with int8_engine(engine), torch_threads(1 if _is_mobile(recognizer) else torch.get_num_threads()):
        form = deployable(recognizer.model, inputs.random[0])
        if engine is not None:
            form = quantized(form, inputs.stored("train", CALIBRATION_CLIPS))
        module, notes = _torchscript(form, inputs.random[0], mobile=_is_mobile(recognizer))
        with written_whole(output) as beside:
            reloaded = _saved_and_reloaded(module, beside, _document(recognizer, inputs.shape, engine))
            num_bytes = beside.stat().st_size
            answers = inputs.answers((reloaded, form, recognizer.model))
            difference = _checked_difference(output, *answers, int8=int8)
    written, _, trained = answers
    agreeing = (written.argmax(1) == trained.argmax(1))[RANDOM_CLIPS:]
    return ExportReport(
        output=output,
        num_bytes=num_bytes,
        input_shape=inputs.shape,
        num_classes=len(recognizer.card.vocabulary),
        int8=int8,
        largest_difference=difference,
        num_stored=len(agreeing),
        num_agreeing=int(agreeing.sum()),
        notes=(*notes, FASTER_INT8) if engine == X86_ENGINE else notes,
    )


def _is_mobile(recognizer: Recognizer) -> bool:
    """Whether the model is made for phones: of a thousand small operators, which threads only slow down."""
    return recognizer.card.model_spec.name.startswith(MOBILE_FAMILY)


def _require_exportable(checkpoint: Path, recognizer: Recognizer, int8: bool, cache: Cache | None) -> None:
    card = recognizer.card
    if int8 and not _is_mobile(recognizer):
        raise CheckpointError(
            f"{checkpoint}: is of model {card.model_spec.name}; only {MOBILE_FAMILY} models have an int8 form"
        )
    if int8 and cache is None:
        raise SignprepError("int8 needs real clips to calibrate with: give --calibration-cache")
    if cache is not None:
        require_same_clips(cache, card.clip_spec)


@dataclass
class _Inputs:
    """Clips as the model sees them, float [1, 3, T, H, W]: random ones, and a cache's, one at a time."""

    recognizer: Recognizer
    cache: Cache | None
    random: list[Tensor] = field(init=False)

    def __post_init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.random = [torch.randn(self.shape, generator=generator) for _ in range(RANDOM_CLIPS)]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one input."""
        spec = self.recognizer.card.model_spec
        return 1, 3, spec.num_frames, spec.crop_size, spec.crop_size

    def stored(self, split: str, at_most: int) -> Iterator[Tensor]:
        """Yield evenly spaced clips of a split, or of the whole cache where it has no such clips."""
        if self.cache is None:
            return
        positions = self.cache.positions(split)
        if not len(positions):
            positions = self.cache.positions()
        if not len(positions):
            raise SignprepError(f"{self.cache}: has no clips to calibrate or compare with")
        for place in np.linspace(0, len(positions) - 1, min(len(positions), at_most)).round().astype(int):
            yield self.recognizer.transform(torch.from_numpy(self.cache.read([int(positions[place])]))).contiguous()

    def answers(self, models: Sequence[nn.Module]) -> list[Tensor]:
        """Return each model's logits, float [N, classes], of the random clips and then of the validation clips."""
        rows = []
        with torch.inference_mode():
            for clips in (*self.random, *self.stored("val", CHECKED_CLIPS)):
                rows.append([model(clips) for model in models])
        return [torch.cat(column) for column in zip(*rows, strict=True)]


def _torchscript(form: nn.Module, example: Tensor, *, mobile: bool) -> tuple[torch.jit.ScriptModule, tuple[str, ...]]:
    """Return the model traced and frozen, optimised for phones where this torch can do it, and notes for the user."""
    notes: tuple[str, ...] = ()
    with quiet(), torch.no_grad():
        traced = torch.jit.trace(form, example, check_trace=False).eval()
        if mobile:
            try:
                from torch.utils.mobile_optimizer import optimize_for_mobile

                return optimize_for_mobile(traced), notes
            except (ImportError, RuntimeError) as error:
                found = "this torch is built without XNNPACK" if "XNNPACK is not enabled" in str(error) else str(error)
                notes = (NOT_OPTIMIZED + found,)
        return torch.jit.freeze(traced), notes


def _document(recognizer: Recognizer, shape: tuple[int, ...], engine: str | None) -> dict[str, object]:
    """Return what `signprep.json` inside the file says."""
    spec = recognizer.card.model_spec
    return recognizer.card.to_dict() | {
        "export_version": EXPORT_VERSION,
        "input": {"shape": shape, "layout": "NCTHW", "dtype": "float32", "mean": spec.mean, "std": spec.std},
        "output": "logits",
        "int8_engine": engine,
    }


def _saved_and_reloaded(module: torch.jit.ScriptModule, path: Path, document: dict[str, object]) -> nn.Module:
    text = json.dumps(document, ensure_ascii=False)
    with quiet():
        torch.jit.save(module, str(path), _extra_files={EXTRA_FILE: text})
        return torch.jit.load(str(path))


def _checked_difference(output: Path, written: Tensor, exact: Tensor, trained: Tensor, *, int8: bool) -> float:
    """Return the largest difference of probabilities from the checkpoint's.

    Args:
        output: names the file in errors.
        written: logits of the file, [N, classes].
        exact: of the model that it was written from.
        trained: of the checkpoint.
        int8: whether it may differ from the checkpoint, but not by a bit from what it was written from.

    Raises:
        SignprepError: the file does not answer as it must.
    """
    differences = (written.softmax(1) - trained.softmax(1)).abs()
    if int8:
        if not torch.equal(written, exact):
            raise SignprepError(f"{output}: the int8 model answers otherwise once it is saved; no file is left")
        return float(differences[RANDOM_CLIPS:].max())
    largest = float(differences.max())
    if not largest <= LARGEST_DIFFERENCE:  # nor if it is no number
        raise SignprepError(
            f"{output}: its probabilities are up to {largest:.1e} off the checkpoint's, more than "
            f"{LARGEST_DIFFERENCE:.0e}; no file is left"
        )
    return largest

"""A trained model ready to predict: the checkpoint of `signprep train` is opened, and stored clips are fed to it.

Everything that asks a model about clips goes through `Recognizer.logits`: device, precision and the error for too
little memory are decided there, and `cache_logits` is the one loop over the clips of a cache. Nothing of a checkpoint
is unpickled but tensors and plain data.
"""

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from signprep.cache_builder.format.codec import StoredClip
from signprep.cache_builder.reader import Cache
from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.errors import CheckpointError, SignprepError
from signprep.pipeline.runtime.paths import StrPath
from signprep.pipeline.runtime.text import counted, first_line
from signprep.training.loader import ClipLoader
from signprep.training.model.checkpoint import ModelMetadata, read_checkpoint
from signprep.training.model.pretrained import load_own_weights
from signprep.training.model_spec import build_model, channels_last, is_custom
from signprep.training.model_spec.folding import with_folded_norms
from signprep.training.model_spec.tracing import traced
from signprep.training.runtime.memory import is_out_of_memory
from signprep.training.transforms import ClipTransform, LandmarkTransform, View, num_views, transform_of, views_of

_AUTOCAST = {"32": None, "16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}


class Recognizer:
    """A model with everything that a prediction needs: specs, vocabulary, temperature, transform."""

    is_exported = False
    """True for a file of `signprep export`, which can be neither calibrated nor exported again."""
    label = "the model"
    """Names the file in errors."""

    def __init__(self, metadata: ModelMetadata, model: nn.Module, device: torch.device, precision: str = "32") -> None:
        if precision not in _AUTOCAST:
            raise ValueError(f"precision is {precision!r}; it must be one of {', '.join(_AUTOCAST)}")
        self.metadata = metadata
        self.device = device
        self.precision = precision
        self.model: nn.Module = channels_last(model).to(device).eval()
        self.transform: Callable[[Tensor], Tensor] = transform_of(metadata.model_spec)
        """Turns clips as they are stored, [B, T, ...], into the model's input."""
        self._views: list[View] = []
        self._answering: nn.Module | None = None
        """The model as it is asked; it is made when the first clips are there."""

    @property
    def card(self) -> ModelMetadata:
        """The model's metadata, under its former name."""
        return self.metadata

    @property
    def num_views(self) -> int:
        """How many views of each clip the model is asked about."""
        return max(1, len(self._views))

    def use_views(self, number: int) -> None:
        """Answer by the mean probabilities of so many views of a clip, as `views_of` orders them; 1 is the plain one.

        Raises CheckpointError if a clip of the model does not have so many, or an exported file shows none but one.
        """
        clips, spec = self.metadata.clip_spec, self.metadata.model_spec
        in_time, in_space = num_views(clips, spec)
        if not 1 <= number <= in_time * in_space:
            size = f" of {clips.size} x {clips.size}" if clips.content == "pixels" else ""
            raise CheckpointError(
                f"{self.label}: {number} views asked for; clips of {clips.num_frames} frames{size} have "
                f"{in_time * in_space} different ones for its {spec.input_size}: {in_time} of frames times {in_space} "
                f"of the picture; give --views {in_time * in_space} or fewer"
            )
        if number > 1 and not isinstance(self.transform, ClipTransform | LandmarkTransform):
            raise CheckpointError(
                f"{self.label}: was exported with its preprocessing, which shows one view; give its checkpoint, or "
                "leave out --views"
            )
        self._views = views_of(clips, spec, number) if number > 1 else []

    def calibration_note(self) -> str | None:
        """Return a sentence where the temperature was fitted with another number of views than answer now."""
        fitted, now = self.metadata.calibrated_views, self.num_views
        if fitted is None or fitted == now:
            return None
        return (
            f"{self.label}: its temperature was fitted with {counted(fitted, 'view')} of each clip, and "
            f"{counted(now, 'view')} answer here, so confidences may be off; fit it again: "
            f"evaluate --calibrate --views {now}"
        )

    @property
    def glosses(self) -> tuple[str, ...]:
        """The names of the classes, in the order of their labels."""
        return self.metadata.vocabulary.glosses

    @property
    def clip_specs(self) -> tuple[ClipSpec, ...]:
        """The different kinds of clips that are wanted of each window of a video."""
        return (self.metadata.clip_spec,)

    def logits(self, clips: Tensor) -> Tensor:
        """Return logits, float32 [B, classes] on the model's device, of clips as they are stored, [B, T, ...].

        With several views they are the logarithm of the views' mean probabilities, before any temperature.

        Raises:
            SignprepError: there is no memory for so many clips.
        """
        try:
            with torch.inference_mode():  # no autocast yet: pixels are shown as they were in training
                return self._logits(clips.to(self.device))
        except (RuntimeError, MemoryError) as error:
            if is_out_of_memory(error):
                raise SignprepError(
                    f"a batch of {len(clips)} clips does not fit into memory; lower --batch-size"
                ) from error
            raise

    def _logits(self, clips: Tensor) -> Tensor:
        if not self._views:
            return self.logits_of_inputs(self.transform(clips))
        assert isinstance(self.transform, ClipTransform | LandmarkTransform)
        total = torch.full((), -torch.inf, device=self.device)
        for view in self._views:  # one by one: they take the memory of one
            logits = self.logits_of_inputs(self.transform(clips, view=view))
            total = torch.logaddexp(total, torch.log_softmax(logits, dim=1))
        return total - math.log(len(self._views))

    def use_trace(self) -> None:
        """Answer by a trace of the model, which lets other threads go on while it computes; it takes a second to make.

        Nothing changes on a GPU, with 16 bits, or for a model that cannot be traced. Answers differ by rounding.
        """
        if self.is_exported or not self._is_plain:
            return
        spec = self.metadata.clip_spec
        values = np.random.default_rng(0).random((3, *spec.clip_shape)) * (255 if spec.landmarks is None else 1)
        with torch.inference_mode():
            inputs = self.transform(torch.from_numpy(values.astype(spec.dtype)))
            self._answering = traced(self._model_for(inputs), inputs)

    def logits_of_inputs(self, inputs: Tensor) -> Tensor:
        """Return logits, float32 [B, classes], of clips that are transformed already."""
        with torch.inference_mode(), self._autocast():
            logits: Tensor = self._model_for(inputs)(inputs)
            return logits.float()

    @property
    def _is_plain(self) -> bool:
        return self.device.type == "cpu" and self.precision == "32"

    def _model_for(self, inputs: Tensor) -> nn.Module:
        """Return the model as it answers soonest; what it is shown first tells how it computes."""
        if self._answering is None:
            folds = self._is_plain and len(inputs) > 0
            self._answering = with_folded_norms(self.model, inputs[:1]) if folds else self.model
        return self._answering

    def _autocast(self) -> torch.autocast:
        dtype = _AUTOCAST[self.precision]
        return torch.autocast(self.device.type, dtype=dtype, enabled=dtype is not None)

    def softmax(self, logits: Tensor) -> NDArray[np.float32]:
        """Return class probabilities, float32 [B, classes], at the checkpoint's temperature.

        Raises CheckpointError if they are no numbers: weights are damaged, or the precision is too low for them.
        """
        found = np.asarray(torch.softmax(logits / self.metadata.temperature, dim=1).cpu(), np.float32)
        if not np.isfinite(found).all():
            advice = "use another file" if self.precision == "32" else "try --precision 32"
            raise CheckpointError(f"{self.label}: its answers are no numbers; {advice}")
        return found

    def probabilities(self, clips: Sequence[StoredClip]) -> NDArray[np.float32]:
        """Return class probabilities, float32 [B, classes], of clips as they are stored, [T, ...] each.

        Raises ValueError for clips of another shape or type, and as `logits` and `softmax`.
        """
        stacked = self.stacked(clips)
        return self.softmax(self.logits(stacked)) if len(stacked) else np.empty((0, len(self.glosses)), np.float32)

    def window_probabilities(self, windows: Sequence[Sequence[StoredClip]]) -> NDArray[np.float32]:
        """Return class probabilities, float32 [B, classes], of windows that have a clip for each of `clip_specs`."""
        return self.probabilities([clip for [clip] in windows])

    def stacked(self, clips: Sequence[StoredClip]) -> Tensor:
        """Return clips as they are stored as one tensor, [B, T, ...]. Raises ValueError for another shape or type."""
        shape, dtype = self.metadata.clip_spec.clip_shape, self.metadata.clip_spec.dtype
        stacked = np.stack(clips) if len(clips) else np.empty((0, *shape), dtype)
        if stacked.dtype != dtype or stacked.shape[1:] != shape:
            raise ValueError(
                f"clips are {stacked.dtype} {list(stacked.shape)}; expected {dtype} [B, {', '.join(map(str, shape))}], "
                "as `Cache.read` and `extract_clips` give them"
            )
        return torch.from_numpy(stacked)


def load_checkpoint(
    path: StrPath, device: str = "cpu", *, own_model: str | None = None, precision: str = "32"
) -> Recognizer:
    """Open a checkpoint.

    Args:
        path: the file.
        device: cpu, cuda, cuda:1, ..., or auto for a GPU where there is one.
        own_model: package.module:factory, for the checkpoint of a custom model. It is code that runs, so the name in
            the checkpoint, which may come from anywhere, is not enough.
        precision: 32, 16-mixed or bf16-mixed.

    Raises:
        CheckpointError: there is no such file, it is no signprep checkpoint, it is damaged or of another version, its
            weights do not fit its model or are no numbers, or `own_model` does not name its custom model.
        TrainingError: the custom model does not build.
    """
    contents, metadata = read_checkpoint(path)
    name = metadata.model_spec.name
    if is_custom(name) and name != own_model:
        raise CheckpointError(
            f"{path}: is of a model of one's own, made by the code {name}; give --model-name {name} if you trust it"
        )
    try:
        model = build_model(metadata.model_spec, len(metadata.vocabulary))
    except (TypeError, ValueError, RuntimeError) as error:  # of a library's model that does not go with such sizes
        raise CheckpointError(f"{path}: its model cannot be built ({first_line(error)})") from error
    load_own_weights(model, metadata.model_spec, contents, str(path))
    used = device if device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    try:
        recognizer = Recognizer(metadata, model, torch.device(used), precision)
    except (RuntimeError, AssertionError) as error:  # torch built without CUDA asserts
        raise CheckpointError(
            f"{path}: its model cannot be put on the device {device!r} ({first_line(error)})"
        ) from error
    recognizer.label = str(path)
    return recognizer


def check_cache_compatible(cache: Cache, trained: ClipSpec) -> None:
    """Raise CheckpointError unless a cache's clips are made as those that a checkpoint was trained on."""
    has, wants = cache.clip_spec.content, trained.content
    if has != wants:
        raise CheckpointError(
            f"{cache}: stores {has}, but the checkpoint was trained on {wants}; give a cache of {wants}"
        )
    stored, asked = cache.clip_spec.to_dict(), trained.to_dict()
    others = [
        f"{name} {stored.get(name)} instead of {asked.get(name)}"
        for name in dict.fromkeys([*asked, *stored])
        if stored.get(name) != asked.get(name)
    ]
    if others:
        raise CheckpointError(
            f"{cache}: stores other clips than the checkpoint was trained on: {'; '.join(others)}; "
            "build a cache with the options of the training cache"
        )


def cache_logits(
    recognizer: Recognizer, cache: Cache, positions: NDArray[np.int64], *, batch_size: int, num_workers: int
) -> Generator[Tensor]:
    """Yield the logits of each batch of a cache's clips, float32 [B, classes] on the model's device.

    Clips, by their ascending positions, are read ahead in `num_workers` threads, and go through the model as training's
    validation feeds them: nothing is augmented.

    Raises:
        CacheCorruptError: a clip's bytes are damaged.
        SignprepError: there is no memory for a batch.
    """
    loader = ClipLoader(cache=cache, positions=positions, batch_size=batch_size, num_workers=num_workers)
    with closing(loader):
        for batch in loader:
            yield recognizer.logits(batch.to(recognizer.device).clips)


@contextmanager
def torch_threads(number: int) -> Iterator[None]:
    """Let torch use so many threads inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)

"""The Lightning module: a video model with its loss, metrics and optimiser, and the contents of its checkpoints."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import signprep.training.runtime.torchvision_operators  # noqa: F401

import numpy as np
import torch
from lightning import LightningModule
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer
from torchmetrics import Metric
from torchmetrics.classification import MulticlassAccuracy

from signprep.pipeline.datasets.annotations import Vocabulary
from signprep.pipeline.errors import TrainingError
from signprep.training.config import TrainConfig
from signprep.training.loader import Batch
from signprep.training.model.checkpoint import CHECKPOINT_KEY, ModelMetadata
from signprep.training.model.pretrained import keep_frozen_in_eval
from signprep.training.model.recipe import Taken
from signprep.training.model_spec import head_name
from signprep.training.transforms import AugmentFunction, flipped, mix, transform_of

_RANDOM_STATE = "random_state"
_UNIT = re.compile(r"[^.]+(\.[0-9]+)?")
_EMBEDDING = re.compile(r"pos_embed|position|cls_token")
_COLUMNS = ("positions", "labels", "predicted", "confidence", "ranks", "losses")


@dataclass(frozen=True, kw_only=True)
class Validation:
    """Predictions for the validation clips, in the order of their positions; arrays of [N]."""

    positions: NDArray[np.int64]
    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    confidence: NDArray[np.float32]
    """Probability of the predicted class."""
    ranks: NDArray[np.int64]
    """Number of classes that were rated above the correct one."""
    losses: NDArray[np.float32]
    num_classes: int

    def figures(self) -> dict[str, float]:
        """Return accuracies, 0 to 1, and the mean loss; the mean over classes is over those that have clips."""
        correct = self.ranks == 0
        counts = np.bincount(self.labels, minlength=self.num_classes)
        hits = np.bincount(self.labels[correct], minlength=self.num_classes)
        return {
            "accuracy": float(correct.mean()),
            "top5_accuracy": float((self.ranks < 5).mean()),
            "mean_class_accuracy": float((hits[counts > 0] / counts[counts > 0]).mean()),
            "loss": float(self.losses.mean()),
        }

    def confusion(self) -> NDArray[np.int64]:
        """Return how often each class (row) was taken for each (column), int64 [classes, classes]."""
        cells = self.labels * self.num_classes + self.predicted
        return np.bincount(cells, minlength=self.num_classes**2).reshape(self.num_classes, self.num_classes)

    def mistaken(self) -> NDArray[np.int64]:
        """Return the places, in the arrays, of the wrong predictions, the surest first."""
        wrong = np.flatnonzero(self.ranks > 0)
        return wrong[np.argsort(-self.confidence[wrong], kind="stable")]


class ValidationPredictions(Metric):
    """Gathers the predictions of all batches and all ranks."""

    full_state_update = False

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        for name in _COLUMNS:
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, logits: Tensor, labels: Tensor, positions: Tensor) -> None:
        """Add a batch: logits [B, classes], labels [B], positions [B]."""
        scores = logits.float()
        confidence, predicted = torch.softmax(scores, dim=1).max(dim=1)
        own = scores.gather(1, labels[:, None])
        # "Not below or equal", so that no score (NaN) is a wrong one; of equal scores, the predicted class comes first.
        ranks = (~(scores <= own)).sum(dim=1) + ((predicted != labels) & (scores.amax(dim=1) == own[:, 0]))
        losses = functional.cross_entropy(scores, labels, reduction="none")
        values = (positions.to(labels.device), labels, predicted, confidence, ranks, losses)
        for name, value in zip(_COLUMNS, values, strict=True):
            getattr(self, name).append(value)

    def compute(self) -> dict[str, NDArray[Any]]:
        """Return the columns of all predictions, in the order of their positions."""
        values = {name: getattr(self, name) for name in _COLUMNS}
        # Between ranks torchmetrics has joined the batches already.
        joined = {name: torch.cat(found) if isinstance(found, list) else found for name, found in values.items()}
        columns = {name: value.cpu().numpy() for name, value in joined.items()}
        order = np.argsort(columns["positions"])
        return {name: column[order] for name, column in columns.items()}

    def validation(self) -> Validation:
        """Return all predictions of all ranks."""
        return Validation(num_classes=self.num_classes, **self.compute())


class SignClassifier(LightningModule):
    """Trains a model on batches of stored clips."""

    class_weights: Tensor | None
    flip_labels: Tensor

    def __init__(
        self,
        metadata: ModelMetadata,
        config: TrainConfig,
        model: nn.Module,
        *,
        total_steps: int,
        class_weights: Tensor | None = None,
        augment: AugmentFunction | None = None,
        taken: Taken | None = None,
        frame_spacing: float | None = None,
    ) -> None:
        """Wrap a model.

        Args:
            metadata: goes into the checkpoints.
            config: options of the run.
            model: float [B, 3, t, C, C] -> logits [B, classes].
            total_steps: steps of the optimiser in the whole run.
            class_weights: factors on the losses, float [classes].
            augment: custom augmentation.
            taken: the recipe that gave values of `config`; goes into the checkpoints.
            frame_spacing: seconds from one frame that the model sees to the next; goes into the checkpoints.
        """
        super().__init__()
        self.metadata = metadata
        self.config = config
        self.model = model
        self.total_steps = total_steps
        self.taken, self.frame_spacing = taken, frame_spacing
        layout = torch.contiguous_format if config.channels_last is False else torch.channels_last_3d
        self.transform = transform_of(metadata.model_spec, config.augmentation, augment, layout)
        num_classes = len(metadata.vocabulary)
        self.register_buffer("class_weights", class_weights, persistent=False)
        self.register_buffer("flip_labels", flip_labels(metadata.vocabulary, config.flip_map or {}), persistent=False)
        self.train_accuracy = MulticlassAccuracy(num_classes=num_classes, average="micro")
        self.predictions = ValidationPredictions(num_classes)
        self.validation: Validation | None = None
        """Result of the last validation."""

    def forward(self, clips: Tensor) -> Tensor:
        """Return logits [B, classes] of clips as they are stored, [B, T, ...]."""
        return self._logits(clips)

    def _logits(self, clips: Tensor, *, frames_chosen: bool = False) -> Tensor:
        logits: Tensor = self.model(self._shown(clips, frames_chosen=frames_chosen))
        return logits

    def _shown(
        self, clips: Tensor, draws: Tensor | None = None, *, seed: int = 0, frames_chosen: bool = False
    ) -> Tensor:
        """Return the model's input, in 32 bits whatever the model computes in.

        Within autocast, the places that pixels are taken from would be rounded to bfloat16, which is up to a pixel off,
        and a model would be validated on other pixels than it is used on.
        """
        with torch.autocast(clips.device.type, enabled=False):
            return self.transform(clips, draws, seed=seed, frames_chosen=frames_chosen)

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Move a batch as `Batch.to` does; Lightning does not know its type."""
        return batch.to(device)

    def on_train_epoch_start(self) -> None:
        """Keep the statistics of frozen norms as they are."""
        keep_frozen_in_eval(self.model)

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Return the `loss` of one batch of augmented clips, its `mean_loss`, and how many answers were `correct`.

        Lightning divides the first one by the number of batches whose gradients are added up.
        """
        clips = self._shown(batch.clips, batch.draws, seed=batch.mixing_seed, frames_chosen=batch.frames_chosen)
        labels = batch.labels
        if self.config.augmentation.flip_probability:
            mirrored = flipped(batch.draws, self.config.augmentation).to(labels.device, non_blocking=True)
            labels = torch.where(mirrored, self.flip_labels[labels], labels)
        mixed = mix(clips, mixup=self.config.mixup, cutmix=self.config.cutmix, seed=batch.mixing_seed)
        logits = self.model(mixed.clips)
        loss = mixed.loss(self._loss, logits, labels)
        self.train_accuracy(logits, labels)
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=len(batch), sync_dist=True)
        self.log("train/accuracy", self.train_accuracy, on_step=False, on_epoch=True, batch_size=len(batch))
        correct = (logits.detach().argmax(1) == labels).sum()
        return {"loss": loss * batch.weight, "mean_loss": loss.detach(), "correct": correct}

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(
            logits, labels, weight=self.class_weights, label_smoothing=self.config.label_smoothing
        )

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Predict one batch. Of fewer clips than ranks, some ranks have none, and take part with none."""
        none = torch.zeros((0, len(self.metadata.vocabulary)), device=self.device)
        logits = self._logits(batch.clips, frames_chosen=batch.frames_chosen) if len(batch) else none
        self.predictions.update(logits, batch.labels, batch.positions)

    def on_validation_epoch_end(self) -> None:
        """Log the figures of all predictions."""
        self.validation = self.predictions.validation()
        self.predictions.reset()
        for name, value in self.validation.figures().items():
            self.log(f"val/{name}", value)  # the same on all ranks

    def configure_optimizers(self) -> Any:
        """Return the optimiser, and its learning rate by step."""
        config, total = self.config, self.total_steps
        is_even = config.backbone_rate == config.layer_decay == 1
        head = "" if is_even else head_name(self.model, self.metadata.model_spec, len(self.metadata.vocabulary))
        optimizer = make_optimizer(self.model, config, head)

        # No `partial`: a checkpoint holds the attributes of such callables.
        def factor(step: int) -> float:
            return learning_rate_factor(step, total=total, scheduler=config.scheduler, warm_up=config.warm_up)

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Put the model's metadata, the run's options and the random state into the checkpoint."""
        of_run = {"train_config": self.config.to_dict(), "frame_spacing_seconds": self.frame_spacing}
        if self.taken is not None:
            of_run["recipe"] = self.taken.card()
        checkpoint[CHECKPOINT_KEY] = self.metadata.to_dict() | of_run
        checkpoint[_RANDOM_STATE] = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            checkpoint[_RANDOM_STATE]["cuda"] = torch.cuda.get_rng_state(self.device)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the random state, which decides dropout, from the checkpoint that the run goes on from."""
        self._random_state = checkpoint.get(_RANDOM_STATE, {})

    def on_train_start(self) -> None:
        """Set the random state of a run that goes on; within an epoch Lightning calls no `on_train_epoch_start`."""
        keep_frozen_in_eval(self.model)
        state = getattr(self, "_random_state", {})
        if "cpu" in state:
            torch.set_rng_state(state["cpu"].cpu())
        if "cuda" in state and self.device.type == "cuda":
            torch.cuda.set_rng_state(state["cuda"].cpu(), self.device)


def flip_labels(vocabulary: Vocabulary, flip_map: Mapping[str, str]) -> Tensor:
    """Return each class's label after mirroring, int64 [classes]; pairs of glosses that are not there are passed over.

    Raises:
        TrainingError: a gloss changes places with two others, or with one that is not in the vocabulary.
    """
    labels = {gloss: label for label, gloss in enumerate(vocabulary.glosses)}
    mirrored = list(range(len(labels)))
    for one, other in [*flip_map.items(), *((other, one) for one, other in flip_map.items())]:
        if one not in labels:
            continue
        if other not in labels:
            raise TrainingError(f"the flip map gives {one} for {other}, which the data do not have")
        if mirrored[labels[one]] not in (labels[one], labels[other]):
            raise TrainingError(f"the flip map gives {one} two partners, {other} one of them")
        mirrored[labels[one]] = labels[other]
    return torch.tensor(mirrored)


def make_optimizer(model: nn.Module, config: TrainConfig, head: str = "") -> Optimizer:
    """Return the optimiser of the trainable parameters, in a group for each rate, the highest first.

    Norms and biases, of one dimension, do not decay, nor do embeddings of positions where a recipe says so. `head` is
    the name of the last layer, as of `head_name`.
    """
    parameters = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    units = list(dict.fromkeys(map(_unit, parameters)))
    of_group: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in parameters.items():
        is_head = not head or name.startswith(f"{head}.")
        rate = 1.0 if is_head else config.backbone_rate
        rate *= config.layer_decay ** (len(units) - 1 - units.index(_unit(name)))
        decays = parameter.ndim > 1 and (config.decay_embeddings or not _EMBEDDING.search(name))
        of_group.setdefault((-rate, not decays), []).append(parameter)
    groups = [
        {"params": group, "lr": config.learning_rate * -rate, "weight_decay": 0.0 if is_free else config.weight_decay}
        for (rate, is_free), group in sorted(of_group.items(), key=lambda found: found[0])
    ]
    fused = config.fused_optimizer or None
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.learning_rate, momentum=0.9, nesterov=True, fused=fused)
    kind = torch.optim.Adam if config.optimizer == "adam" else torch.optim.AdamW
    return kind(groups, lr=config.learning_rate, fused=fused)


def _unit(name: str) -> str:
    """Return the layer of the model, or of its list of layers, that a parameter is of.

    >>> _unit("blocks.3.attn.qkv.weight"), _unit("patch_embed.patch_model.weight")
    ('blocks.3', 'patch_embed')
    """
    found = _UNIT.match(name)
    assert found is not None
    return found[0]


def learning_rate_factor(step: int, *, total: int, scheduler: str, warm_up: float) -> float:
    """Return the factor on the learning rate: linear warm-up, then the schedule's shape.

    >>> [round(learning_rate_factor(n, total=100, scheduler="cosine", warm_up=0.1), 3) for n in (0, 9, 10, 55, 100)]
    [0.1, 1.0, 1.0, 0.5, 0.0]
    >>> [round(learning_rate_factor(n, total=90, scheduler="step", warm_up=0.0), 3) for n in (0, 29, 30, 60, 89)]
    [1.0, 1.0, 0.1, 0.01, 0.01]
    """
    rise = round(total * warm_up)
    if step < rise:
        return (step + 1) / rise
    if scheduler == "cosine":
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rise) / max(1, total - rise))))
    if scheduler == "step":
        return float(0.1 ** min(2, 3 * step // max(1, total)))
    return 1.0

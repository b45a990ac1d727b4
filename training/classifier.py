"""The Lightning module: a video model, its loss, its metrics, its optimiser, and what a checkpoint carries."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn import functional

import signprep.training.torchvision_operators  # noqa: F401  (before lightning)

from lightning import LightningModule  # isort: skip
from torchmetrics.classification import MulticlassAccuracy  # isort: skip

from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.segment import Vocabulary
from signprep.training.config import TrainConfig
from signprep.training.model_spec import ModelSpec, build_model, channels_last
from signprep.training.transforms import ClipTransform

CHECKPOINT_KEY = "signprep"
CHECKPOINT_VERSION = 1
WARM_UP_PART = 0.1
"""Part of the steps over which the learning rate rises from zero."""


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """What must travel with the weights, as plain data under the checkpoint's key "signprep"."""

    model_spec: ModelSpec
    clip_spec: ClipSpec
    vocabulary: Vocabulary
    cache_fingerprint: str
    """Of the cache that the model was trained on."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types, which torch.load(weights_only=True) takes."""
        return {
            "checkpoint_version": CHECKPOINT_VERSION,
            "model_spec": self.model_spec.to_dict(),
            "clip_spec": self.clip_spec.to_dict(),
            "glosses": list(self.vocabulary.glosses),
            "cache_fingerprint": self.cache_fingerprint,
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """Inverse of `to_dict`. Raises KeyError, TypeError or ValueError on anything else."""
        return cls(
            model_spec=ModelSpec.from_dict(fields["model_spec"]),
            clip_spec=ClipSpec.from_dict(fields["clip_spec"]),
            vocabulary=Vocabulary(glosses=tuple(fields["glosses"])),
            cache_fingerprint=fields["cache_fingerprint"],
        )


class SignClassifier(LightningModule):
    """Trains a model on batches of stored clips."""

    def __init__(self, card: ModelCard, config: TrainConfig) -> None:
        super().__init__()
        self.card = card
        self.config = config
        self.model = channels_last(build_model(card.model_spec, len(card.vocabulary)))
        self.train_transform = ClipTransform(card.model_spec, generator=torch.Generator().manual_seed(config.seed))
        self.eval_transform = ClipTransform(card.model_spec)
        self.train_accuracy = MulticlassAccuracy(num_classes=len(card.vocabulary), average="micro")
        self.val_accuracy = MulticlassAccuracy(num_classes=len(card.vocabulary), average="micro")

    def forward(self, clips: Tensor) -> Tensor:
        """Return logits [B, classes] of stored clips, uint8 [B, T, ...]."""
        logits: Tensor = self.model(self.eval_transform(clips).to(memory_format=torch.channels_last_3d))
        return logits

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Return the loss of one batch of augmented clips."""
        clips = self.train_transform(batch["clips"]).to(memory_format=torch.channels_last_3d)
        logits = self.model(clips)
        loss = functional.cross_entropy(logits, batch["labels"], label_smoothing=self.config.label_smoothing)
        self.train_accuracy(logits, batch["labels"])
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=len(clips))
        self.log("train/accuracy", self.train_accuracy, on_step=False, on_epoch=True, batch_size=len(clips))
        return loss

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Score one batch."""
        logits = self(batch["clips"])
        self.val_accuracy(logits, batch["labels"])
        loss = functional.cross_entropy(logits, batch["labels"])
        self.log("val/loss", loss, on_epoch=True, batch_size=len(logits))
        self.log("val/accuracy", self.val_accuracy, on_epoch=True, batch_size=len(logits))

    def configure_optimizers(self) -> Any:
        """Return the optimiser, and a schedule by step or by epoch."""
        config = self.config
        optimizers = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
        options = {"momentum": 0.9, "nesterov": True} if config.optimizer == "sgd" else {}
        optimizer = optimizers[config.optimizer](
            self.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, **options
        )
        if config.scheduler == "none":
            return optimizer
        if config.scheduler == "step":
            schedule = torch.optim.lr_scheduler.StepLR(optimizer, max(1, config.epochs // 3), gamma=0.1)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "epoch"}}
        total = int(self.trainer.estimated_stepping_batches)
        cosine = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: warm_up_cosine(step, total))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": cosine, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Put the model card and the run's options into the checkpoint."""
        checkpoint[CHECKPOINT_KEY] = self.card.to_dict() | {"train_config": self.config.to_dict()}


def warm_up_cosine(step: int, total: int) -> float:
    """Return the factor on the learning rate: linear warm-up, then half a cosine to zero.

    >>> [round(warm_up_cosine(step, 100), 3) for step in (0, 9, 10, 55, 100)]
    [0.1, 1.0, 1.0, 0.5, 0.0]
    """
    warm_up = max(1, round(total * WARM_UP_PART))
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warm_up) / max(1, total - warm_up))))

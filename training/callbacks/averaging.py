"""The moving average of a model's weights, which is validated and kept in their place."""

from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging
from torch import Tensor


class MovingAverage(EMAWeightAveraging):
    """Lightning's average, on the model's own device and without a wait for it.

    Lightning makes its copy while the model still lies on the CPU, and leaves it there: every step then copies every
    weight from the GPU. Its update asks the average's own count of steps, too, and goes from tensor to tensor.
    """

    def __init__(self, decay: float) -> None:
        """Average with a decay, 0 to 1: the share of the average that a step leaves."""
        super().__init__(decay=decay)
        self._decay = decay

    @property
    def state_key(self) -> str:
        """The name of its state in checkpoints, that of Lightning's, as older ones have it."""
        return EMAWeightAveraging.__qualname__

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Make the average where the model will be."""
        self._device = trainer.strategy.root_device
        super().setup(trainer, pl_module, stage)
        assert self._average_model is not None
        # The count of steps is looked at in each of them, which on a GPU would wait for all queued work.
        self._average_model.n_averaged = torch.zeros_like(self._average_model.n_averaged, device="cpu")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Update the average after each step of the optimiser."""
        if trainer.global_step <= self._latest_update_step:
            return
        assert self._average_model is not None
        averages, values = _tensors(self._average_model.module), _tensors(pl_module)
        update_average(averages, values, decay=self._decay if self._average_model.n_averaged else 0.0)
        self._average_model.n_averaged += 1
        self._latest_update_step = trainer.global_step


@torch.no_grad()
def update_average(averages: list[Tensor], values: list[Tensor], *, decay: float) -> None:
    """Make each average decay * average + (1 - decay) * value, in few kernels for all tensors together.

    Whole numbers, as counts of batches and tables of labels are, become the values: a part of a count is none. The
    first average, of decay 0, is the values themselves.
    """
    mixed = [bool(decay) and average.is_floating_point() for average in averages]
    own = [average for average, is_mixed in zip(averages, mixed, strict=True) if is_mixed]
    new = [value for value, is_mixed in zip(values, mixed, strict=True) if is_mixed]
    if own:
        # Not one `lerp`, which rounds otherwise: a run goes on from older checkpoints with the same bits.
        torch._foreach_mul_(own, decay)
        torch._foreach_add_(own, torch._foreach_mul(new, 1 - decay))
    for average, value, is_mixed in zip(averages, values, mixed, strict=True):
        if not is_mixed:
            average.copy_(value)


def _tensors(model: torch.nn.Module) -> list[Tensor]:
    return [*model.parameters(), *model.buffers()]

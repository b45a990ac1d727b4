"""A Lightning trainer of one's own on a cache, with a model of signprep and an optimiser of one's own.

    python lightning_trainer.py CACHE [EPOCHS]

Batches come as the cache stores them, read ahead by threads; the transform makes a model's input of them on the device.
"""

import sys

from signprep.training import ClipDataModule  # first: it lets PyPI's torchvision load beside a CPU torch

# isort: split
import torch
from lightning import LightningModule, Trainer

from signprep.training.loader import Batch
from signprep.training.model_spec import build_model, model_spec
from signprep.training.transforms import transform_of


class MyClassifier(LightningModule):
    """Trains a small video network by SGD."""

    def __init__(self, num_classes: int, num_frames: int, size: int) -> None:
        super().__init__()
        spec = model_spec("efficient_x3d_xs", num_frames=num_frames, crop_size=size)
        self.model, self.transform = build_model(spec, num_classes), transform_of(spec)

    def training_step(self, batch: Batch) -> torch.Tensor:
        """Return the loss of a batch."""
        return torch.nn.functional.cross_entropy(self.model(self.transform(batch.clips)), batch.labels)

    def validation_step(self, batch: Batch) -> None:
        """Log the accuracy."""
        predicted = self.model(self.transform(batch.clips)).argmax(dim=1)
        self.log("accuracy", (predicted == batch.labels).float().mean(), batch_size=len(batch), prog_bar=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimiser."""
        return torch.optim.SGD(self.parameters(), lr=0.01, momentum=0.9)


def main(cache: str, epochs: int = 10) -> None:
    """Train, and print what comes of it."""
    data = ClipDataModule(cache, batch_size=8, num_workers=2)
    spec = data.cache.clip_spec
    model = MyClassifier(len(data.cache.vocabulary), spec.num_frames, spec.size)
    trainer = Trainer(max_epochs=epochs, logger=False, enable_checkpointing=False)
    trainer.fit(model, data)
    print(f"validation accuracy {trainer.callback_metrics['accuracy']:.2f}")


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))

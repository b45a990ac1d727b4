"""ClipDataModule: a Lightning trainer of one's own, with a model of one's own, on a cache."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import LightningModule, Trainer
from torch import Tensor, nn

from signprep.cache_builder.reader import Cache
from signprep.pipeline.errors import TrainingError
from signprep.training import ClipDataModule
from signprep.training.loader import Batch
from tests.cache_builder.report.made import row_of, write_cache


class Brightness(LightningModule):
    """Tells glosses by how bright the clips are, and notes the positions that it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(1, 2)
        self.seen: dict[str, list[int]] = {"train": [], "val": []}

    def _loss(self, batch: Batch, split: str) -> Tensor:
        self.seen[split] += batch.positions.tolist()
        loss = nn.functional.cross_entropy(
            self.head(batch.clips.float().mean(dim=(1, 2, 3))[:, None] / 255), batch.labels
        )
        self.log(f"{split}/loss", loss, on_epoch=True, batch_size=len(batch))
        return loss

    def training_step(self, batch: Batch) -> Tensor:
        return self._loss(batch, "train")

    def validation_step(self, batch: Batch) -> None:
        self._loss(batch, "val")

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trainer(folder: Path, **options: Any) -> Trainer:
    return Trainer(
        max_epochs=2, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        default_root_dir=folder, num_sanity_val_steps=0, **options,
    )  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_a_trainer_of_ones_own_sees_each_clip_once_an_epoch(cache: Cache, tmp_path: Path) -> None:
    model, data = Brightness(), ClipDataModule(str(cache.path), batch_size=3, seed=1)
    trainer(tmp_path, enable_checkpointing=False).fit(model, data)
    train, val = (cache.positions(split).tolist() for split in ("train", "val"))
    first, second = model.seen["train"][: len(train)], model.seen["train"][len(train) :]
    assert sorted(first) == sorted(second) == train and first != second
    assert model.seen["val"] == [*val, *val]


@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_clips_that_cannot_be_trained_on_are_refused_when_the_trainer_begins(tmp_path: Path) -> None:
    one = write_cache(tmp_path / "a.zarr", [row_of(0, split="train"), row_of(1, split="train", take="other")])
    with pytest.raises(TrainingError, match="has no clips in its split 'val'"):
        trainer(tmp_path, enable_checkpointing=False).fit(Brightness(), ClipDataModule(one))
    with pytest.raises(TypeError, match="cache is None, of type NoneType; expected Cache, or the path or URL of one"):
        ClipDataModule(None)  # type: ignore[arg-type]


def test_it_travels_to_the_processes_of_a_trainer(cache: Cache) -> None:
    assert len(pickle.loads(pickle.dumps(ClipDataModule(cache))).cache) == len(cache)

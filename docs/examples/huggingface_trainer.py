"""A video model of Hugging Face's transformers, trained on a cache by their Trainer.

    python huggingface_trainer.py CACHE [EPOCHS]

Needs transformers, accelerate and datasets. The model is a small VideoMAE, from scratch; its `from_pretrained` begins
with weights of others. CACHE has an even number of frames, and a size that 16 divides.
"""

import sys
from typing import Any

import signprep.training.runtime.torchvision_operators  # noqa: F401  (for PyPI's torchvision beside a CPU torch)

# isort: split
import numpy as np
import torch
from transformers import Trainer, TrainingArguments, VideoMAEConfig, VideoMAEForVideoClassification

from signprep.training import ClipDataset


def collate(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """Make a batch of rows: float [B, T, 3, H, W] around 0, and labels."""
    clips = torch.from_numpy(np.stack([row["clip"] for row in rows])).permute(0, 1, 4, 2, 3)
    return {"pixel_values": clips.float() / 127.5 - 1, "labels": torch.tensor([row["label"] for row in rows])}


def main(cache: str, epochs: int = 10, folder: str = "outputs/huggingface") -> None:
    """Train, and print what comes of it."""
    train, val = (ClipDataset(cache, split).to_huggingface() for split in ("train", "val"))
    names, (num_frames, size, *_) = train.features["label"].names, train[0]["clip"].shape
    config = VideoMAEConfig(
        image_size=size, num_frames=num_frames, num_labels=len(names), id2label=dict(enumerate(names)),
        hidden_size=96, num_hidden_layers=4, num_attention_heads=4, intermediate_size=192,
    )  # fmt: skip
    arguments = TrainingArguments(
        folder, num_train_epochs=epochs, per_device_train_batch_size=8, learning_rate=3e-4, report_to=[],
        remove_unused_columns=False, save_strategy="no", eval_strategy="epoch", dataloader_num_workers=0,
    )  # fmt: skip
    trainer = Trainer(
        VideoMAEForVideoClassification(config), arguments, data_collator=collate, train_dataset=train, eval_dataset=val,
        compute_metrics=lambda found: {"accuracy": float((found.predictions.argmax(1) == found.label_ids).mean())},
    )  # fmt: skip
    trainer.train()
    print(f"validation accuracy {trainer.evaluate()['eval_accuracy']:.2f}")


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))

"""A training loop of one's own in plain PyTorch: a cache, a DataLoader, a model, and accuracy after each epoch.

    python own_training_loop.py CACHE [EPOCHS]

CACHE is of `signprep build-cache`. The model is a small convolutional network, to be replaced by your own.
"""

import sys
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from signprep.training import ClipDataset


def to_input(clip: Tensor) -> Tensor:
    """Make a model's input of a clip: float [3, T, H, W] around 0, of uint8 [T, 3, H, W]."""
    return clip.transpose(0, 1).float() / 127.5 - 1


def small_model(num_classes: int) -> nn.Module:
    """Return a network of three convolutions over time and place."""
    channels, layers = (3, 16, 32, 64), []
    for before, after in pairwise(channels):
        layers += [nn.Conv3d(before, after, 3, stride=(1, 2, 2), padding=1), nn.BatchNorm3d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(channels[-1], num_classes))


def accuracy(model: nn.Module, loader: DataLoader, device: torch.device) -> float:
    """Return the part of a loader's clips whose sign the model names."""
    model.eval()
    with torch.no_grad():
        correct = [(model(clips.to(device)).argmax(dim=1).cpu() == labels) for clips, labels in loader]
    return torch.cat(correct).float().mean().item()


def main(cache: str, epochs: int = 10) -> None:
    """Train, and print what comes of it."""
    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    train, val = (ClipDataset(cache, split, transform=to_input) for split in ("train", "val"))
    print(train)
    workers = {"num_workers": 2, "persistent_workers": True}
    train_loader = DataLoader(train, batch_size=8, shuffle=True, pin_memory=device.type == "cuda", **workers)
    val_loader = DataLoader(val, batch_size=8, **workers)
    model = small_model(len(train.classes)).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for epoch in range(1, epochs + 1):
        model.train()
        for clips, labels in train_loader:
            loss = nn.functional.cross_entropy(model(clips.to(device)), labels.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch}: validation accuracy {accuracy(model, val_loader, device):.2f}")


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))

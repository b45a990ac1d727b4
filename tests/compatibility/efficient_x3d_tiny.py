"""A model of one's own for files that stay small: it has what checkpoints and exports differ by, in 300 weights.

Its module is named like a model for phones: of a model of one's own, only such a one has an int8 form in TorchScript.
"""

from torch import Tensor, nn


class Tiny(nn.Module):
    """One convolution of each frame, with a norm that keeps statistics, and one linear layer of all of them."""

    def __init__(self, num_classes: int, num_frames: int, crop_size: int, dropout_rate: float) -> None:
        super().__init__()
        # No bias: before a norm its gradient is rounding alone, which Adam makes large, on each machine another way.
        self.frames = nn.Sequential(
            nn.Conv2d(3, 4, 4, stride=4, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.AvgPool2d(2)
        )
        self.dropout = nn.Dropout(dropout_rate)
        self.num_features = 4 * num_frames * (crop_size // 8) ** 2
        self.projection = nn.Linear(self.num_features, num_classes)

    def forward(self, clips: Tensor) -> Tensor:
        frames = self.frames(clips.transpose(1, 2).flatten(0, 1))  # float [B * T, 4, C / 8, C / 8]
        logits: Tensor = self.projection(self.dropout(frames.reshape(-1, self.num_features)))
        return logits


def tiny(*, num_classes: int, num_frames: int, crop_size: int, dropout_rate: float) -> nn.Module:
    """Return a model as `--model-name package.module:factory` asks for it."""
    return Tiny(num_classes, num_frames, crop_size, dropout_rate)

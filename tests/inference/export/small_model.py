"""A model of one's own that is exported in a moment, where a test is about what surrounds it."""

from torch import nn


def small(*, num_classes: int, num_frames: int, crop_size: int, dropout_rate: float) -> nn.Module:
    cells = (crop_size // 8) ** 2
    return nn.Sequential(nn.AvgPool3d((num_frames, 8, 8)), nn.Flatten(), nn.Linear(3 * cells, num_classes))

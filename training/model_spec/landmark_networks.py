"""Networks over landmarks: [B, T, 75, 3] in the order `signer75`, x and y in sides of the picture -> logits.

Normalisation is part of them, so that training and inference cannot differ: points are centred on the shoulders and
scaled by their distance, hands are given once more relative to their wrists and the face to the nose, with the
movement since the frame before; a point that was not seen is zero everywhere, and a mask says so.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from signprep.pipeline.landmarks.points import NUM_POINTS, PARTS, SIGNER75
from signprep.training.model_spec.spec import ModelSpec

_LEFT_SHOULDER, _RIGHT_SHOULDER = SIGNER75.index("left_shoulder"), SIGNER75.index("right_shoulder")
_ORIGINS = (
    (PARTS["left_hand"], PARTS["left_hand"].start),  # its wrist
    (PARTS["right_hand"], PARTS["right_hand"].start),
    (PARTS["face"], SIGNER75.index("nose")),
)
"""Parts that are also given relative to one of the points."""
NUM_FEATURES = NUM_POINTS * 5 + sum(2 * (part.stop - part.start) for part, _ in _ORIGINS)
_USUAL_SHOULDERS = 0.3
"""Distance of the shoulders in sides of the picture where they are never seen."""
_MOVEMENT_SCALE = 4.0
"""Between neighbouring frames points move about a quarter as far as they spread."""


def landmark_features(landmarks: Tensor) -> Tensor:
    """Return what a network sees of landmarks [B, T, 75, 3]: float [B, T, NUM_FEATURES], finite whatever comes."""
    points, confidence = landmarks[..., :2], landmarks[..., 2:]
    is_seen = (confidence > 0) & points.isfinite().all(dim=-1, keepdim=True)
    seen = is_seen.to(points.dtype)
    points = torch.where(is_seen, points, torch.zeros_like(points))
    left, right = points[:, :, _LEFT_SHOULDER], points[:, :, _RIGHT_SHOULDER]
    both = seen[:, :, _LEFT_SHOULDER] * seen[:, :, _RIGHT_SHOULDER]
    centre = _mean_where(both, (left + right) / 2)
    distance = _mean_where(both, ((left - right).square().sum(dim=-1, keepdim=True) + 1e-12).sqrt())
    scale = torch.where(distance > 1e-3, distance, torch.full_like(distance, _USUAL_SHOULDERS))
    placed = (points - centre[:, :, None]) / scale[:, :, None] * seen
    features = [placed, seen]
    for part, origin in _ORIGINS:
        pair = seen[:, :, part] * seen[:, :, origin : origin + 1]
        features.append((placed[:, :, part] - placed[:, :, origin : origin + 1]) * pair)
    moved = (placed[:, 1:] - placed[:, :-1]) * seen[:, 1:] * seen[:, :-1]
    features.append(functional.pad(moved, (0, 0, 0, 0, 1, 0)) * _MOVEMENT_SCALE)
    return torch.cat([feature.flatten(2) for feature in features], dim=-1)


def _mean_where(mask: Tensor, values: Tensor) -> Tensor:
    """Return the mean over the frames [B, 1, C] of values [B, T, C] where the mask [B, T, 1] is 1; 0 if it never is."""
    return (values * mask).sum(dim=1, keepdim=True) / mask.sum(dim=1, keepdim=True).clamp(min=1)


class _Convolution(nn.Module):
    """A residual block over time: each channel's own filter, then two layers over the channels of a frame."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.filter = nn.Conv1d(width, width, 5, padding=2, groups=width)
        self.norm = nn.LayerNorm(width)
        self.mix = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Dropout(dropout), nn.Linear(2 * width, width)
        )

    def forward(self, frames: Tensor) -> Tensor:
        filtered = self.filter(frames.transpose(1, 2)).transpose(1, 2)
        mixed: Tensor = frames + self.mix(self.norm(filtered))
        return mixed


class _Attention(nn.Module):
    """A layer of a transformer that looks at all frames, normalised before each of its two steps."""

    def __init__(self, width: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads, self.dropout = num_heads, dropout
        self.norm, self.mix_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_key_value, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mix = nn.Sequential(
            nn.Linear(width, 2 * width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(2 * width, width),
            nn.Dropout(dropout),
        )

    def forward(self, frames: Tensor) -> Tensor:
        heads = self.query_key_value(self.norm(frames)).unflatten(-1, (3, self.num_heads, -1))
        query, key, value = heads.permute(2, 0, 3, 1, 4).unbind()
        dropout = self.dropout if self.training else 0.0
        found = functional.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
        frames = frames + self.out(found.transpose(1, 2).flatten(2))
        mixed: Tensor = frames + self.mix(self.mix_norm(frames))
        return mixed


class LandmarkNetwork(nn.Module):
    """Convolutions over time, then attention between all frames, then the mean and the maximum of the frames."""

    def __init__(
        self, num_classes: int, *, num_convolutions: int, num_attentions: int, dropout_rate: float, width: int = 192
    ) -> None:
        super().__init__()
        self.enter = nn.Sequential(nn.LayerNorm(NUM_FEATURES), nn.Dropout(0.2), nn.Linear(NUM_FEATURES, width))
        convolutions = [_Convolution(width, 0.2) for _ in range(num_convolutions)]
        self.layers = nn.Sequential(*convolutions, *(_Attention(width, 4, 0.2) for _ in range(num_attentions)))
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout_rate)
        self.head = nn.Linear(2 * width, num_classes)

    def forward(self, landmarks: Tensor) -> Tensor:
        """Return logits [B, classes] of landmarks, float [B, T, 75, 3]."""
        frames = self.enter(landmark_features(landmarks))
        frames = self.norm(self.layers(frames + _places(frames)))
        logits: Tensor = self.head(self.dropout(torch.cat([frames.mean(dim=1), frames.amax(dim=1)], dim=-1)))
        return logits


def _places(frames: Tensor) -> Tensor:
    """Return waves [T, C] that tell the place of each of the frames [B, T, C] within the clip.

    Their periods go from the whole clip to two frames, so that clips of any number of frames have them. Source: the
    positional encoding of Vaswani et al., "Attention Is All You Need" (2017), over the fraction of the clip.
    """
    num_frames, width = frames.shape[1], frames.shape[2]
    place = torch.arange(num_frames, device=frames.device, dtype=torch.float32)[:, None] / num_frames
    periods = torch.logspace(0, math.log10(32), width // 2, device=frames.device)[None]
    angles = 2 * math.pi * place * periods / 2
    return torch.cat([angles.sin(), angles.cos()], dim=-1).to(frames.dtype)


def build_landmark_transformer(spec: ModelSpec, num_classes: int) -> nn.Module:
    """Return a network of two convolutions and two layers of attention, about a million parameters."""
    return LandmarkNetwork(num_classes, num_convolutions=2, num_attentions=2, dropout_rate=spec.dropout_rate)


def build_landmark_conv(spec: ModelSpec, num_classes: int) -> nn.Module:
    """Return a network of four convolutions, which looks at 17 frames at once; about 0.7 million parameters."""
    return LandmarkNetwork(num_classes, num_convolutions=4, num_attentions=0, dropout_rate=spec.dropout_rate)

"""The optimiser and its learning rate, step by step."""

import math

import torch
from torch import nn
from torch.optim import Optimizer

from signprep.training.config import TrainConfig


def make_optimizer(model: nn.Module, config: TrainConfig) -> Optimizer:
    """Return the optimiser of the trainable parameters; norms and biases, of one dimension, do not decay."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [parameter for parameter in trainable if parameter.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [parameter for parameter in trainable if parameter.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.learning_rate, momentum=0.9, nesterov=True)
    kind = torch.optim.Adam if config.optimizer == "adam" else torch.optim.AdamW
    return kind(groups, lr=config.learning_rate)


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

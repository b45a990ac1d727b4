"""TrainConfig: what a training run was asked for, apart from its data and its model."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Options of a run. Raises ValueError on values that cannot train."""

    epochs: int = 50
    batch_size: int = 8
    learning_rate: float = 1e-3
    optimizer: str = "adam"
    """adam, adamw or sgd."""
    scheduler: str = "cosine"
    """cosine (after a linear warm-up), step (a tenth after each third of the epochs) or none."""
    weight_decay: float = 1e-4
    label_smoothing: float = 0.0
    precision: str = "32"
    """32, 16-mixed or bf16-mixed."""
    num_workers: int = 2
    """Threads that read clips."""
    pin_memory: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate is {self.learning_rate}; it must be positive")
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing is {self.label_smoothing}; it must be in [0, 1)")

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """Inverse of `to_dict`."""
        return cls(**fields)

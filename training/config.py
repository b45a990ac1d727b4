"""TrainConfig: what a training run was asked for, apart from its data and its model."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from signprep.training.data.augmentation import Augmentation

FREE_ON_RESUME = frozenset({"epochs", "num_workers", "pin_memory", "early_stopping", "save_top_k", "save_minutes"})
"""Fields that may change when a run is resumed: they decide no batch. More epochs raise the learning rates to come."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Options of a run. Raises ValueError on values that cannot train."""

    epochs: int = 50
    batch_size: int = 8
    """Clips a step on each device."""
    learning_rate: float = 1e-3
    """Highest, reached after the warm-up."""
    optimizer: str = "adam"
    """adam, adamw or sgd (with Nesterov's momentum 0.9)."""
    scheduler: str = "cosine"
    """cosine (to zero), step (a tenth after each third of the epochs) or none; each after the warm-up."""
    warm_up: float = 0.1
    """Part of all steps over which the learning rate rises from zero."""
    weight_decay: float = 1e-4
    """Of weights; norms and biases have none."""
    label_smoothing: float = 0.0
    class_weights: str = "none"
    """none, or balanced: losses weighted by the inverse of the classes' numbers of clips."""
    balanced_sampling: bool = False
    """Every class equally often in an epoch."""
    gradient_clip: float | None = None
    """Largest norm of the gradient."""
    accumulate_batches: int = 1
    """Batches whose gradients are added up before a step."""
    ema_decay: float | None = None
    """Of the moving average of the weights, which then is what is validated and kept."""
    early_stopping: int | None = None
    """Epochs without a better validation accuracy after which training ends."""
    save_top_k: int = 1
    """Checkpoints kept of the best epochs; the best of them is best.ckpt."""
    save_minutes: float = 30.0
    """After which last.ckpt is written, besides at the end of each epoch."""
    precision: str = "32"
    """32, 16-mixed or bf16-mixed."""
    augmentation: Augmentation = field(default_factory=Augmentation)
    augment: str | None = None
    """One's own augmentation, package.module:function."""
    flip_map: Mapping[str, str] | None = None
    """Glosses that change places when a clip is mirrored."""
    mixup: float = 0.0
    """Both parameters of the beta distribution of mixup; 0 for none."""
    cutmix: float = 0.0
    pretrained: str | None = None
    """k400, or the path of a checkpoint."""
    freeze_backbone: bool = False
    """Train the last layer only."""
    compile: bool = False
    deterministic: bool = False
    num_workers: int = 2
    """Threads that read clips."""
    pin_memory: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "accumulate_batches", "save_top_k"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("early_stopping", "gradient_clip", "ema_decay", "learning_rate"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} is {value}; it must be positive")
        for name in ("weight_decay", "mixup", "cutmix", "save_minutes", "num_workers", "seed"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must not be negative")
        if self.seed >= 2**32:
            raise ValueError(f"seed is {self.seed}; it must be less than {2**32}")
        for name in ("label_smoothing", "warm_up", "ema_decay"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < 1:
                raise ValueError(f"{name} is {value}; it must be in [0, 1)")
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is {getattr(self, name)!r}; it must be one of {', '.join(allowed)}")

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Self:
        """Inverse of `to_dict`."""
        return cls(**{**document, "augmentation": Augmentation.from_dict(document["augmentation"])})

    def differences(self, other: "TrainConfig") -> list[str]:
        """Return the names of the fields that keep a run from going on as another one."""
        return [
            field.name
            for field in fields(self)
            if field.name not in FREE_ON_RESUME and getattr(self, field.name) != getattr(other, field.name)
        ]


_CHOICES = {
    "optimizer": ("adam", "adamw", "sgd"),
    "scheduler": ("cosine", "step", "none"),
    "class_weights": ("none", "balanced"),
    "precision": ("32", "16-mixed", "bf16-mixed"),
}

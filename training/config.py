"""Options of a training run apart from its data and its model; light, since the command line is made from them."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from signprep.pipeline.errors import TrainingError
from signprep.pipeline.runtime.text import counted

FREE_ON_RESUME = frozenset({"epochs", "num_workers", "pin_memory", "early_stopping", "save_top_k", "save_minutes"})
"""Fields that may change when a run is resumed: they decide no batch. More epochs raise the learning rates to come."""


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Limits of the random changes to a training clip. Raises ValueError on impossible ones.

    The defaults leave a sign what it is: hands stay in the picture, and nothing is mirrored.
    """

    tempo: float = 0.8
    """Smallest part of the clip's time that is shown, 0 to 1; frames are drawn evenly from it, with jitter."""
    crop_scale: float = 0.8
    """Smallest side of the crop, as a part of the stored side."""
    aspect: float = 1.1
    """Largest ratio between the crop's sides."""
    rotation_degrees: float = 5.0
    """Largest rotation to either side."""
    brightness: float = 0.2
    """Largest change, as a part of the full range."""
    contrast: float = 0.2
    saturation: float = 0.2
    erase_probability: float = 0.1
    """That a rectangle of 2 to 15 % of the picture is greyed in all frames of a clip."""
    flip_probability: float = 0.0
    """That a clip is mirrored. Mirrored, 왼쪽 is 오른쪽: see `flip_labels` of the classifier."""

    def __post_init__(self) -> None:
        for name in ("tempo", "crop_scale"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be above 0 and at most 1")
        for name in ("erase_probability", "flip_probability", "brightness", "contrast", "saturation"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be in 0 to 1")
        if self.aspect < 1:
            raise ValueError(f"aspect is {self.aspect}; it must be at least 1")
        if not 0 <= self.rotation_degrees <= 45:
            raise ValueError(f"rotation_degrees is {self.rotation_degrees}; it must be in 0 to 45")

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """Return what `dataclasses.asdict` has taken apart."""
        return cls(**fields)


NO_AUGMENTATION = Augmentation(
    tempo=1.0, crop_scale=1.0, aspect=1.0, rotation_degrees=0.0, brightness=0.0, contrast=0.0, saturation=0.0,
    erase_probability=0.0,
)  # fmt: skip
"""Only the jitter of frames is left."""


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


@dataclass(frozen=True, kw_only=True)
class Devices:
    """The devices that a run trains on."""

    gpus: int = 0
    """GPUs on each machine; 0 trains on the CPU."""
    processes: int = 1
    """Processes on each machine, where there are no GPUs."""
    num_nodes: int = 1
    """Machines that train together."""

    @property
    def per_node(self) -> int:
        """Ranks on each machine."""
        return self.gpus or self.processes

    @property
    def num_ranks(self) -> int:
        """Processes that train together."""
        return self.per_node * self.num_nodes

    def __str__(self) -> str:
        kind = counted(self.gpus, "GPU") if self.gpus else "CPU"
        processes = f", {self.processes} processes" if self.processes > 1 and not self.gpus else ""
        return kind + processes + (f", on each of {self.num_nodes} machines" if self.num_nodes > 1 else "")


def read_flip_map(path: Path) -> dict[str, str]:
    """Return the pairs of a file such as {"왼쪽": "오른쪽"}; each pair needs to be there once only.

    Raises TrainingError if the file does not read, or is not of that shape.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise TrainingError(f"{path}: cannot be read as JSON ({error})") from error
    if not isinstance(document, dict) or not all(isinstance(value, str) for value in document.values()):
        raise TrainingError(f'{path}: expected an object of glosses, such as {{"왼쪽": "오른쪽"}}')
    return document

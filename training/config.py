"""Options of a run apart from its data and model, and its formats of export; light, as the command line needs."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any, Self

from signprep.pipeline.errors import CheckpointError, SignprepError, TrainingError
from signprep.pipeline.options import FRACTION, Options, machine_option, option
from signprep.pipeline.runtime.installation import require_extra
from signprep.pipeline.runtime.paths import StrPath, as_path
from signprep.pipeline.runtime.text import counted

TORCHSCRIPT, ONNX, EXECUTORCH = "torchscript", "onnx", "executorch"
EXPORT_FORMATS = (TORCHSCRIPT, ONNX, EXECUTORCH)
_ENDINGS = {".onnx": ONNX, ".pte": EXECUTORCH} | dict.fromkeys(
    ("", ".pt", ".pth", ".ptl", ".ts", ".torchscript"), TORCHSCRIPT
)
_EXTRAS = {ONNX: ("onnx", "onnx", "onnxruntime", "onnxscript"), EXECUTORCH: ("executorch", "executorch")}
"""Names of the extra of signprep and of the packages that it installs."""

TENSORBOARD, CSV, WANDB, MLFLOW, NO_LOGGER = "tensorboard", "csv", "wandb", "mlflow", "none"
LOGGERS = (TENSORBOARD, CSV, WANDB, MLFLOW, NO_LOGGER)

AUTO, SCRATCH, FINETUNE, PLAIN = "auto", "scratch", "finetune", "none"
RECIPES = (AUTO, SCRATCH, FINETUNE, PLAIN)
_BY_RECIPE = "by the recipe"
_augmenting = partial(option, group="Augmentation")
recipe_option = partial(option, shown_default=_BY_RECIPE)
_augmenting_of_recipe = partial(_augmenting, shown_default=_BY_RECIPE)
FREE_ON_RESUME = frozenset(
    {"epochs", "num_workers", "pin_memory", "early_stopping", "save_top_k", "save_minutes"}
    | {"cudnn_benchmark", "tf32", "fused_optimizer", "channels_last"}
)
"""Fields that may change when a run is resumed: they decide no batch, and of a step on a GPU no more than its rounding.
More epochs raise the learning rates to come."""


@dataclass(frozen=True, kw_only=True)
class Augmentation(Options, group="Augmentation"):
    """Limits of the random changes to a training clip. Raises ValueError on impossible ones.

    The defaults leave a sign what it is: hands stay in the picture, and nothing is mirrored.
    """

    tempo: float = recipe_option(
        0.8, "Show a random part of each clip's time, at least this fraction.", above=0, maximum=1
    )
    """Frames are drawn evenly from the part, with jitter."""
    speed: float = recipe_option(
        1.0, "Play each clip at random up to so many times faster or slower.", minimum=1, maximum=4
    )
    """Around the middle of what is shown; a faster clip stays at its first and last frame."""
    boundary_shift: float = recipe_option(
        0.0, "Let each clip begin later and end earlier at random, each by up to this fraction.", minimum=0, below=0.5
    )
    crop_scale: float = recipe_option(
        0.8, "Crop clips at random to at least this fraction of the side.", above=0, maximum=1
    )
    aspect: float = option(1.1, minimum=1)
    """Largest ratio between the crop's sides."""
    rotation_degrees: float = recipe_option(
        5.0, "Rotate clips by up to this angle to either side.", minimum=0, maximum=45
    )
    brightness: float = recipe_option(0.2, "Change the brightness by up to this fraction of the range.", **FRACTION)
    contrast: float = recipe_option(0.2, "Change the contrast by up to this fraction.", **FRACTION)
    saturation: float = recipe_option(0.2, "Change the saturation by up to this fraction.", **FRACTION)
    erase_probability: float = recipe_option(
        0.1, "Grey a rectangle in all frames of this fraction of the clips.", **FRACTION
    )
    """The rectangle has 2 to 15 % of the picture."""
    flip_probability: float = option(
        0.0, "Mirror this fraction of the clips, which makes another sign of many; half with --flip-map.", **FRACTION
    )
    """Mirrored, 왼쪽 is 오른쪽: see `flip_labels` of the classifier."""

    @property
    def changes_time(self) -> bool:
        """Return whether speed or boundaries change, for which clips need random numbers besides."""
        return self.speed > 1 or self.boundary_shift > 0


NO_AUGMENTATION = Augmentation(
    tempo=1.0, crop_scale=1.0, aspect=1.0, rotation_degrees=0.0, brightness=0.0, contrast=0.0, saturation=0.0,
    erase_probability=0.0,
)  # fmt: skip
"""Only the jitter of frames is left."""


def read_flip_map(path: StrPath) -> dict[str, str]:
    """Return the pairs of a file such as {"왼쪽": "오른쪽"}; each pair needs to be there once only.

    Raises TrainingError if the file does not read, or is not of that shape.
    """
    path = as_path(path)
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise TrainingError(f"{path}: cannot be read as JSON ({error})") from error
    if not isinstance(document, dict) or not all(isinstance(value, str) for value in document.values()):
        raise TrainingError(f'{path}: expected an object of glosses, such as {{"왼쪽": "오른쪽"}}')
    return document


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Options, group="Optimisation"):
    """Options of a run. Raises ValueError on values that cannot train."""

    epochs: int = option(50, "Train for this many epochs.", minimum=1)
    batch_size: int = option(8, "Take this many clips a step on each device.", minimum=1)
    learning_rate: float = recipe_option(1e-3, "Rise to this learning rate during the warm-up.", above=0)
    backbone_rate: float = recipe_option(
        1.0, "Multiply the learning rate by this for all layers but the last.", above=0, maximum=1
    )
    layer_decay: float = recipe_option(
        1.0, "Multiply the learning rate by this once more for each layer before the last.", above=0, maximum=1
    )
    optimizer: str = recipe_option("adam", "Use this optimizer.", choices=("adam", "adamw", "sgd"))
    """sgd has Nesterov's momentum of 0.9."""
    scheduler: str = recipe_option(
        "cosine",
        "After the warm-up, lower the learning rate to zero along a cosine, to a tenth after each third of the epochs "
        "(step), or not at all.",
        choices=("cosine", "step", "none"),
    )
    warm_up: float = recipe_option(
        0.1, "Raise the learning rate from zero over this fraction of steps.", minimum=0, below=1
    )
    weight_decay: float = recipe_option(
        1e-4, "Decay all weights but biases and those of norms by this factor.", minimum=0
    )
    decay_embeddings: bool = option(True)
    """Decay embeddings of positions, too; a recipe does not."""
    label_smoothing: float = recipe_option(
        0.0, "Spread this fraction of each label over all glosses.", minimum=0, below=1
    )
    class_weights: str = option(
        "none", "Weight losses by the inverse number of clips of a class (balanced).", choices=("none", "balanced")
    )
    balanced_sampling: bool = option(False, "Show every class equally often in an epoch.")
    gradient_clip: float | None = recipe_option(None, "Shorten gradients to this norm; 0 leaves them.", minimum=0)
    accumulate_batches: int = option(1, "Add up the gradients of this many batches for each step.", minimum=1)
    ema_decay: float | None = recipe_option(
        None,
        "Validate and keep a moving average of the weights with this decay, such as 0.999; 0 keeps none.",
        minimum=0,
        below=1,
    )
    early_stopping: int | None = option(None, "End after so many epochs without better validation accuracy.", minimum=1)
    save_top_k: int = option(1, "Keep the checkpoints of this many best epochs.", minimum=1, group="Run")
    """The best of them is best.ckpt."""
    save_minutes: float = option(
        30.0, "Write last.ckpt every so many minutes, besides at the end of each epoch.", minimum=0, group="Run"
    )
    precision: str | None = machine_option(
        None,
        "Compute with this precision, by default bf16-mixed on a GPU that has it, else 32.",
        choices=("32", "16-mixed", "bf16-mixed"),
    )
    augmentation: Augmentation = field(default_factory=Augmentation)
    augment: str | None = _augmenting(
        None, "Apply a custom augmentation after the others.", metavar="package.module:function"
    )
    flip_map: Mapping[str, str] | None = _augmenting(
        None, "Exchange the glosses that this JSON file pairs when a clip is mirrored.", type=Path, read=read_flip_map
    )
    mixup: float = _augmenting_of_recipe(
        0.0, "Mix clips with weights from a beta distribution of this shape; 0 is off.", minimum=0
    )
    cutmix: float = _augmenting_of_recipe(
        0.0, "Paste boxes between clips with sizes from a beta distribution of this shape; 0 is off.", minimum=0
    )
    pretrained: str | None = option(
        None,
        "Begin with the weights of Kinetics-400, or of a checkpoint.",
        metavar="k400|PATH",
        group="Model",
        suggested=("k400",),
        is_path=True,
    )
    freeze_backbone: bool = option(False, "Train the last layer only.", group="Model")
    sync_batchnorm: bool = machine_option(
        False, "Let norms over batches take the clips of all GPUs together, where each has few."
    )
    compile: bool = machine_option(False, "Compile the model with torch.compile.")
    deterministic: bool = machine_option(False, "Train the same weights from the same seed on a GPU, too.")
    num_workers: int | None = machine_option(
        None,
        "Read clips in this many threads, by default 2, or for a GPU one a core up to 16.",
        name="--workers",
        aliases=("--num-workers",),
        minimum=0,
    )
    pin_memory: bool | None = machine_option(
        None, "Read into page-locked memory, for faster copies to a GPU: the default there."
    )
    cudnn_benchmark: bool | None = machine_option(
        None, "Have cuDNN try its algorithms on the first batches: the default on a GPU without --deterministic."
    )
    tf32: bool | None = machine_option(
        None, "Round what a GPU multiplies in 32 bits to TF32: the default where it can; not the clips themselves."
    )
    fused_optimizer: bool | None = machine_option(
        None, "Take a GPU's optimizer steps in one kernel: the default there, but for 16-mixed with --gradient-clip."
    )
    channels_last: bool | None = machine_option(
        None, "Lay clips and weights out with channels last: the default on a CPU, where it is the faster way."
    )
    seed: int = option(0, "Draw all random numbers from this seed.", minimum=0, maximum=2**32 - 1, group="Run")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.fused_optimizer and self.precision == "16-mixed" and self.gradient_clip:
            raise ValueError(
                "fused_optimizer unscales gradients of 16-mixed in its step, behind gradient_clip; leave one out"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Self:
        """Inverse of `to_dict`."""
        return cls(**{**document, "augmentation": Augmentation(**document["augmentation"])})

    def differences(self, other: "TrainConfig") -> list[str]:
        """Return the names of the fields that keep a run from going on as another one."""
        return [
            field.name
            for field in fields(self)
            if field.name not in FREE_ON_RESUME and getattr(self, field.name) != getattr(other, field.name)
        ]


@dataclass(frozen=True, kw_only=True)
class Recipe(Options, group="Optimisation"):
    """The recipe that is asked for; `training.model.recipe` has what it gives."""

    name: str = option(
        AUTO,
        "Take the values for learning from scratch, for loaded weights, or (auto) those that fit; none takes the plain "
        "defaults.",
        name="--recipe",
        choices=RECIPES,
    )
    given: frozenset[str] = frozenset()
    """Names of those of its values that are options of the run, and stay as they are."""


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


def format_of(output: StrPath, asked: str | None = None) -> str:
    """Return the format of a file to be written: the one asked for, else the one of its ending.

    Raises SignprepError if none is asked for, and the ending is of no format.

    >>> format_of(Path("sign.onnx")), format_of(Path("mobile.pt"))
    ('onnx', 'torchscript')
    """
    output = as_path(output)
    ending = output.suffix.lower()
    if asked is None and ending not in _ENDINGS:
        known = ", ".join(filter(None, _ENDINGS))
        raise SignprepError(f"{output}: ends in {ending}, which tells no format; end it in {known}, or give --format")
    return asked or _ENDINGS[ending]


def is_named_as(path: Path, format_: str) -> bool:
    """Return whether a file's name says that it is a program of this format, or has no ending and says nothing."""
    return _ENDINGS.get(path.suffix.lower()) == format_ or not path.suffix


def require_named_as(path: Path, format_: str) -> None:
    """Raise CheckpointError unless `is_named_as`: who opens best.ckpt means data, and a program runs."""
    if not is_named_as(path, format_):
        endings = [ending for ending, of in _ENDINGS.items() if of == format_ and ending]
        raise CheckpointError(
            f"{path}: is a program, a file of {format_}, under the name of something else; if you trust where it comes "
            f"from, let its name end in {' or '.join(endings)}"
        )


def require_installed(format_: str) -> None:
    """Raise SignprepError, with the command that helps, unless what a format needs is installed."""
    if format_ in _EXTRAS:
        require_extra(*_EXTRAS[format_])

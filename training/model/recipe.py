"""Recipes: values of the options that decide how well a model learns, by what it begins with.

In: the options of a run with the names of those that were given, its model, and how many clips make a step. Out: the
same options with a recipe's values where none was given, and from where each value comes. A run that goes on keeps the
values that it began with, whatever the recipe has become since; runs of versions without recipes go on with the plain
defaults.

The rate of a recipe is for steps of `REFERENCE_BATCH` clips. It grows with the clips of a step, those of all devices
and of all accumulated batches: linearly for SGD (Goyal et al., "Accurate, Large Minibatch SGD", 2017), with the square
root for Adam and AdamW (Malladi et al., "On the SDEs and Scaling Rules for Adaptive Gradient Algorithms", 2022). A rate
that is given stays.
"""

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

from signprep.pipeline.errors import CheckpointError
from signprep.training.config import (
    AUTO,
    FINETUNE,
    NO_AUGMENTATION,
    PLAIN,
    RECIPES,
    SCRATCH,
    Augmentation,
    Recipe,
    TrainConfig,
)
from signprep.training.model.checkpoint import CHECKPOINT_KEY, NOT_A_CARD, read_checkpoint
from signprep.training.model_spec import ModelSpec, is_custom

REFERENCE_BATCH = 8
"""Clips of the step that a recipe's learning rate is for."""
SHORT_RUN = 10_000
"""Clips shown in all epochs, below which a model from scratch sees them as they are but for their time: changing them
keeps a model from learning by heart, which one that has learned little yet does not."""
AUGMENTATIONS = frozenset(field.name for field in fields(Augmentation)) - {"flip_probability"}
"""Mirroring is not a recipe's to choose: it makes another sign of many."""
OPTIMISATION = (
    "optimizer", "learning_rate", "backbone_rate", "layer_decay", "scheduler", "warm_up", "weight_decay",
    "decay_embeddings", "label_smoothing", "gradient_clip", "ema_decay", "mixup", "cutmix",
)  # fmt: skip
DROPOUT = "dropout_rate"
VALUES = (*OPTIMISATION, DROPOUT, *sorted(AUGMENTATIONS))
"""Names of all values that a recipe sets: fields of `TrainConfig`, `ModelSpec` and `Augmentation`."""
_APPEARANCE = ("crop_scale", "rotation_degrees", "brightness", "contrast", "saturation", "erase_probability")
_RATES = {"adam": 1e-3, "adamw": 3e-3, "sgd": 3e-2}
_DECAYS = {"adam": 1e-4, "adamw": 0.05, "sgd": 1e-4}
"""Adam and SGD add the decay to the gradient, where AdamW takes it off the weights beside the step."""


@dataclass(frozen=True, kw_only=True)
class Begun:
    """The values of a run that goes on, as its checkpoint has them."""

    recipe: Recipe
    values: Mapping[str, Any]

    @classmethod
    def at(cls, path: Path) -> "Begun | None":
        """Return those of a checkpoint; None where no run can go on from it, which is said later."""
        with suppress(CheckpointError, *NOT_A_CARD):
            return cls.of_card(read_checkpoint(path)[0][CHECKPOINT_KEY])
        return None

    @classmethod
    def of_card(cls, card: Mapping[str, Any]) -> Self:
        """Return those of a checkpoint's metadata; without a recipe among them, of an older run's plain defaults.

        Raises one of `NOT_A_CARD` where they are damaged.
        """
        config, spec = TrainConfig.from_dict(card["train_config"]), ModelSpec.from_dict(card["model_spec"])
        values, plain = _values_of(config, spec), _plain_values()
        told = card.get("recipe")
        if told is None:
            given = frozenset(name for name, value in values.items() if value != plain[name])
            return cls(recipe=Recipe(name=PLAIN, given=given), values=values)
        if told["name"] not in RECIPES:
            raise ValueError(f"there is no recipe {told['name']!r}")
        return cls(recipe=Recipe(name=told["name"], given=frozenset(told["given"])), values=values)


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What was taken, and from where."""

    recipe: Recipe
    """With the name that AUTO stood for."""
    values: Mapping[str, Any]
    rule: str
    """How the learning rate came about, as words."""

    def card(self) -> dict[str, Any]:
        """Return what a checkpoint keeps beside the values themselves, as plain JSON types."""
        return {"name": self.recipe.name, "given": sorted(self.recipe.given)}

    def to_dict(self) -> dict[str, Any]:
        """Return the record in run.json: the recipe's name, and each value with `recipe` or `option`."""
        values = {
            name: {"value": value, "from": "option" if name in self.recipe.given else "recipe"}
            for name, value in self.values.items()
        }
        return {"name": self.recipe.name, "learning_rate_rule": self.rule, "values": values}

    def lines(self) -> list[str]:
        """Return what tells people of it: the values that are not plain defaults, and those that were given."""
        plain = _plain_values()
        told = {False: f"recipe: {self.recipe.name}", True: "as given"}
        for is_given, label in told.items():
            names = [name for name in VALUES if (name in self.recipe.given) == is_given]
            listed = [
                f"{name.replace('_', ' ')} {_shown(self.values[name])}"
                for name in names
                if name != "learning_rate" and (is_given or self.values[name] != plain[name])
            ]
            told[is_given] = f"{label}: {', '.join(listed)}" if listed else "" if is_given else label
        return [*filter(None, told.values()), f"learning rate: {self.rule}"]


def settled(
    asked: Recipe,
    spec: ModelSpec,
    config: TrainConfig,
    *,
    step_clips: int,
    clips_shown: int,
    begun: Begun | None = None,
) -> tuple[ModelSpec, TrainConfig, Taken]:
    """Return a model and options with a recipe's values where none was given, and the record of it.

    Args:
        asked: the recipe, and the values that stay as they are in `spec` and `config`.
        spec: the model.
        config: the options of the run.
        step_clips: clips of a step, on all devices and in all accumulated batches.
        clips_shown: clips of all steps of the run.
        begun: the run that goes on, if one does: it keeps its recipe and that one's values.
    """
    name = asked.name
    if name == AUTO:
        name = _of_model(spec, config) if begun is None else begun.recipe.name
    own = _values_of(config, spec)
    given = {field: own[field] for field in asked.given}
    values = {**recipe_values(name, spec, given, is_short=clips_shown < SHORT_RUN), **given}
    rule = f"{values['learning_rate']:.3g}, as given"
    if begun is not None and begun.recipe.name == name:
        values |= {field: begun.values[field] for field in VALUES if field not in begun.recipe.given | asked.given}
        rule = f"{values['learning_rate']:.3g}, as the run began with"
    elif "learning_rate" not in given and name == PLAIN:
        rule = f"{values['learning_rate']:.3g}, whatever the clips of a step"
    elif "learning_rate" not in given:
        values["learning_rate"], rule = scaled_rate(values["learning_rate"], values["optimizer"], step_clips)
    augmentation = replace(config.augmentation, **{field: values[field] for field in AUGMENTATIONS})
    config = replace(config, augmentation=augmentation, **{field: values[field] for field in OPTIMISATION})
    spec = replace(spec, dropout_rate=values[DROPOUT])
    recipe = Recipe(name=name, given=asked.given)
    return spec, config, Taken(recipe=recipe, values={field: values[field] for field in VALUES}, rule=rule)


def _of_model(spec: ModelSpec, config: TrainConfig) -> str:
    """Return what AUTO stands for: that SCRATCH is better has been seen in short runs on generated signing alone.

    What suits a model of one's own, nobody knows.
    """
    return PLAIN if config.pretrained is None or is_custom(spec.name) else FINETUNE


def recipe_values(name: str, spec: ModelSpec, given: Mapping[str, Any], *, is_short: bool) -> dict[str, Any]:
    """Return all values of a recipe; rates and decay are those of the optimiser, if that is given."""
    values = _plain_values()
    if name == PLAIN or (name == SCRATCH and spec.content == "landmarks"):
        return values  # landmark models reach what can be reached with the plain ones
    optimizer = given.get("optimizer", "adamw")
    values |= {
        "optimizer": optimizer,
        "weight_decay": _DECAYS[optimizer],
        "decay_embeddings": False,
        "label_smoothing": 0.1,
        DROPOUT: 0.2 if name == FINETUNE else 0.0,
    }
    if name == SCRATCH and is_short:
        values |= {field: getattr(NO_AUGMENTATION, field) for field in _APPEARANCE}
    is_mvit = spec.name.startswith("mvit")
    if is_mvit:
        values |= {"gradient_clip": 1.0, DROPOUT: 0.5}
    if name == FINETUNE:
        values |= {"layer_decay": 0.75} if is_mvit else {"backbone_rate": 0.1}
    share = 0.1 if is_mvit else 1 / 3 if name == FINETUNE or spec.name.startswith("slow") else 1
    return values | {"learning_rate": round(_RATES[optimizer] * share, 6)}


def scaled_rate(rate: float, optimizer: str, step_clips: int) -> tuple[float, str]:
    """Return the learning rate for steps of so many clips, and how it came about.

    >>> scaled_rate(0.002, "adamw", 32)
    (0.004, '0.004 = 0.002 x the square root of 32 / 8, the clips of a step')
    >>> scaled_rate(0.02, "sgd", 32)
    (0.08, '0.08 = 0.02 x 32 / 8, the clips of a step')
    """
    ratio, how = step_clips / REFERENCE_BATCH, f"{step_clips} / {REFERENCE_BATCH}"
    if optimizer != "sgd":
        ratio, how = math.sqrt(ratio), f"the square root of {how}"
    return rate * ratio, f"{rate * ratio:.3g} = {rate:.3g} x {how}, the clips of a step"


def _plain_values() -> dict[str, Any]:
    """Return the defaults of `TrainConfig`, which are those of versions without recipes."""
    return _values_of(TrainConfig(), ModelSpec(name="", num_frames=1, crop_size=1))


def _values_of(config: TrainConfig, spec: ModelSpec) -> dict[str, Any]:
    sources = {**vars(config), **vars(config.augmentation), DROPOUT: spec.dropout_rate}
    return {name: sources[name] for name in VALUES}


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else "none" if value is None else str(value)

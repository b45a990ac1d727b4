"""The data and the options of a run, as values of `settings.html`.

In: a cache, and the record of a run. Out: tables of text.
"""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from signprep.cache_builder.reader import Cache
from signprep.cache_builder.report.clip_table import ClipTable, clip_table
from signprep.cache_builder.report.statistics import cache_name, clip_shape
from signprep.pipeline.options import description_of
from signprep.pipeline.runtime.language import translated
from signprep.pipeline.runtime.text import first_of
from signprep.training.config import Augmentation, TrainConfig

SPLIT_COLUMNS = ("split", "clips", "failed", "classes", "clips of a class", "signers", "views", "takes")
OPTION_COLUMNS = ("option", "value", "default", "where from")
SHOWN_SIGNERS = 30
_ABSENT = "\N{EN DASH}"


def data_values(cache: Cache) -> dict[str, Any]:
    """Return what there is in a cache, split by split."""
    table = clip_table(cache)
    splits = [(name or _ABSENT, table.split.codes == code) for code, name in enumerate(table.split.names)]
    return {
        "facts": [
            ("Cache", cache_name(cache)),
            ("Fingerprint", cache.fingerprint),
            ("Clips", clip_shape(cache.clip_spec)),
            ("Classes", f"{len(cache.vocabulary):,}"),
        ],
        "columns": SPLIT_COLUMNS,
        "splits": [_split_row(table, name, rows) for name, rows in splits],
        "signers": [(name, signers) for name, rows in splits if (signers := _signers(table, rows))],
    }


def _split_row(table: ClipTable, name: str, rows: NDArray[np.bool_]) -> tuple[str, ...]:
    ok = rows & table.is_ok
    counts = table.gloss.counts(ok)
    present = counts[counts > 0]
    each = f"{present.min():,} to {present.max():,}, median {int(np.median(present)):,}" if len(present) else _ABSENT
    numbers = [
        int((table.named(column).counts(ok)[: len(table.named(column).known)] > 0).sum())
        for column in ("signer", "view", "take")
    ]
    failed = int((rows & ~table.is_ok).sum())
    return (
        name,
        f"{int(ok.sum()):,}",
        f"{failed:,}",
        f"{len(present):,}",
        each,
        *(f"{number:,}" for number in numbers),
    )


def _signers(table: ClipTable, rows: NDArray[np.bool_]) -> str:
    counts = table.signer.counts(rows & table.is_ok)
    names = [f"{name} ({count:,})" for name, count in zip(table.signer.names, counts, strict=True) if name and count]
    return first_of(names, SHOWN_SIGNERS, " and {} more")


def option_values(document: Mapping[str, Any], record: Path) -> dict[str, Any] | None:
    """Return the options of a run's record, which lies there; those that are no defaults apart. None if it has none."""
    options, command = document.get("options"), document.get("command") or {}
    if not isinstance(options, dict):
        return None
    typed = dict(command.get("options") or {})
    values, defaults = _flat(options), _flat(TrainConfig().to_dict())
    recipe = document.get("recipe") or {}
    of_recipe = {name for name, found in (recipe.get("values") or {}).items() if found.get("from") == "recipe"}
    others = {name: value for name, value in typed.items() if name not in values}
    changed = [(_typed(name), _shown(value), _ABSENT, translated("given")) for name, value in others.items()]
    for name, value in values.items():
        default = defaults.get(name)
        if name in typed:
            changed.append((_option(name), _shown(value), _shown(default), translated("given")))
        elif value != default and name in of_recipe:
            changed.append((_option(name), _shown(value), _shown(default), f"recipe {recipe.get('name')}"))
        elif value != default and default is not None:  # where the default is None, the machine decides
            changed.append((_option(name), _shown(value), _shown(default), translated("given")))
    return {
        "columns": OPTION_COLUMNS,
        "changed": changed,
        "all": [(_option(name), _shown(value)) for name, value in values.items()],
        "command": shlex.join(["signprep", str(command["name"]), "--config", str(record)])
        if "name" in command
        else None,
        "facts": _facts(document),
    }


def _facts(document: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    model, recipe = document.get("model") or {}, document.get("recipe") or {}
    parameters = document.get("parameters") or {}
    versions = document.get("versions") or {}
    found = {
        "Model": ", ".join(f"{name.replace('_', ' ')} {_shown(value)}" for name, value in model.items()),
        "Parameters": ", ".join(f"{name} {count:,}" for name, count in parameters.items()),
        "Recipe": f"{recipe['name']}; learning rate {recipe['learning_rate_rule']}"
        if "learning_rate_rule" in recipe
        else "",
        "Versions": ", ".join(f"{name} {version}" for name, version in versions.items() if version),
    }
    return [(name, told) for name, told in found.items() if told]


def _flat(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a TrainConfig and of its augmentation as one dictionary."""
    inner = options.get("augmentation") or {}
    return {name: value for name, value in options.items() if name != "augmentation"} | dict(inner)


_NAMES = {
    field.name: described.name or f"--{field.name.replace('_', '-')}"
    for kind in (TrainConfig, Augmentation)
    for field in fields(kind)
    if (described := description_of(field)) is not None and described.help
}
"""Names of options on the command line; other fields have none."""


def _option(name: str) -> str:
    return _NAMES.get(name, name)


def _typed(name: str) -> str:
    return name if name == "cache" else f"--{name.replace('_', '-')}"


def _shown(value: Any) -> str:
    """Return a value as people read it.

    >>> _shown(None), _shown(True), _shown(1e-3), _shown({"왼쪽": "오른쪽"})
    ('–', 'yes', '0.001', '{"왼쪽": "오른쪽"}')
    """
    if value is None:
        return _ABSENT
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)[:200]
    return str(value)

"""Everything that `signprep evaluate` says of a split of a cache, as one plain dictionary.

In: a recognizer, a cache, the logits of its clips. Out: plain JSON types; docs/evaluation.md explains each key. Every
table comes from the same logits, and confidences are those that `infer` gives: the checkpoint's temperature is applied.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from signprep.cache_builder.reader import Cache
from signprep.inference.evaluation.logits import SplitClips
from signprep.inference.evaluation.metrics import (
    Interval,
    Shown,
    accuracy_by,
    bootstrap_over_takes,
    confidences,
    confused_pairs,
    describe_calibration,
    mean_over_classes,
    performances,
    probabilities,
    ranks,
    share_of,
)
from signprep.inference.recognizer import Recognizer

EVALUATION_VERSION = 1
LISTED_PAIRS, LISTED_MISTAKES = 50, 100

_COLUMNS = ("segment_id", "video", "start_seconds", "item", "source", "signer", "view", "take")
_BY_ITEM = re.compile(r"(?P<word>.+) \((?P<item>[^()]+)\)")
"""The name that `--class-by item` gives a class: `걷다 (WORD0012)`."""


@dataclass(frozen=True, kw_only=True)
class _Evaluated:
    """The predictions of a model for N clips, beside the columns of the clips' index rows."""

    glosses: Sequence[str]
    """The model's glosses."""
    clips: SplitClips
    logits: NDArray[np.float32]
    temperature: float
    columns: dict[str, list[Any]]
    predicted: NDArray[np.int64]
    """The predicted labels, [N]."""
    ranks: NDArray[np.int64]
    """The places of the correct classes, [N]; 0 is a correct prediction."""
    correct: NDArray[np.bool_]


def describe_evaluation(
    recognizer: Recognizer, cache: Cache, split: str, clips: SplitClips, logits: NDArray[np.float32], *, top_k: int = 5
) -> dict[str, Any]:
    """Return all figures of an evaluation on a split of a cache.

    The recognizer gave these logits, [N, classes], for the clips. A prediction also counts as correct among `top_k`.
    """
    metadata, rows = recognizer.metadata, cache.index.take(pa.array(clips.positions))
    places = ranks(logits, clips.labels)
    evaluated = _Evaluated(
        glosses=metadata.vocabulary.glosses,
        clips=clips,
        logits=logits,
        temperature=metadata.temperature,
        columns={name: rows[name].to_pylist() for name in _COLUMNS},
        predicted=logits.argmax(axis=1),
        ranks=places,
        correct=places == 0,
    )
    correct = evaluated.correct
    return {
        "evaluation_version": EVALUATION_VERSION,
        "checkpoint": None,
        "cache": str(cache),
        "cache_fingerprint": cache.fingerprint,
        "trained_on_this_cache": cache.fingerprint == metadata.cache_fingerprint,
        "split": split,
        "model_name": metadata.model_spec.name,
        "clip_views": recognizer.num_views,
        "classes": len(metadata.vocabulary),
        "classes_with_clips": len(np.unique(clips.labels)),
        "clips": len(clips.labels),
        "takes": len(set(evaluated.columns["take"])),
        "left_out": {
            "failed": clips.num_failed,
            "removed": clips.num_removed,
            "unknown_gloss": sum(clips.unknown_glosses.values()),
            "unknown_glosses": clips.unknown_glosses,
        },
        "figures": _figures(evaluated, top_k),
        "homonyms": _homonyms(evaluated, cache),
        "views": _views(evaluated),
        "by": {
            **{name: accuracy_by(evaluated.columns[name], correct) for name in ("signer", "view", "source")},
            "gloss": accuracy_by([evaluated.glosses[label] for label in clips.labels], correct),
        },
        "confused": _confused(evaluated),
        "mistaken": _mistaken(evaluated),
        "calibration": describe_calibration(logits, clips.labels, correct, metadata.temperature)
        | {"views": metadata.calibrated_views},
        "calibrated": None,
    }


def _figures(evaluated: _Evaluated, top_k: int) -> dict[str, Any]:
    """Return the headline: accuracies over clips and classes, with their intervals."""
    correct, labels = evaluated.correct, evaluated.clips.labels
    takes = np.unique(np.array(evaluated.columns["take"]), return_inverse=True)[1]
    near = evaluated.ranks < top_k
    first, among = bootstrap_over_takes(correct, labels, takes), bootstrap_over_takes(near, labels, takes)
    is_telling = top_k < len(evaluated.glosses)
    return {
        "top_1": share_of(correct) | _over_takes(first, 0),
        "top_k": {"k": top_k} | share_of(near) | _over_takes(among, 0) if is_telling else None,
        "mean_over_classes": {"accuracy": mean_over_classes(correct, labels)} | _over_takes(first, 1),
    }


def _over_takes(intervals: tuple[Interval, Interval] | None, place: int) -> dict[str, Any]:
    return {"take_interval": list(intervals[place]) if intervals else None}


def _homonyms(evaluated: _Evaluated, cache: Cache) -> dict[str, Any] | None:
    """Return the accuracy if a class of the same word is correct too; None unless classes are items that share words.

    A class is taken for an item's only where the cache's rows say so: its name ends with the item of every clip.
    """
    items: dict[str, set[str | None]] = {}
    names = pa.table({name: cache.index[name].cast(pa.string()) for name in ("gloss", "item")})
    for row in names.group_by(["gloss", "item"]).aggregate([]).to_pylist():
        items.setdefault(row["gloss"], set()).add(row["item"])
    words = []
    for gloss in evaluated.glosses:
        match = _BY_ITEM.fullmatch(gloss)
        words.append(match["word"] if match and items.get(gloss) == {match["item"]} else gloss)
    numbers = {word: number for number, word in enumerate(dict.fromkeys(words))}
    if len(numbers) == len(words):
        return None
    word_of = np.array([numbers[word] for word in words])
    unknown = sum(gloss not in items for gloss in evaluated.glosses)
    correct = word_of[evaluated.predicted] == word_of[evaluated.clips.labels]
    return {"words": len(numbers), "classes_not_in_cache": unknown} | share_of(correct)


def _views(evaluated: _Evaluated) -> dict[str, Any] | None:
    """Return the accuracy of the views' mean probabilities beside that of single views; None without several views."""
    take, view, video, start = (evaluated.columns[name] for name in ("take", "view", "video", "start_seconds"))
    groups = performances(list(map(Shown, take, view, evaluated.clips.labels.tolist(), video, start)))
    if not groups:
        return None
    logits = evaluated.logits
    means = [probabilities(logits[group], evaluated.temperature).mean(axis=0).argmax() for group in groups]
    together = np.array(means) == evaluated.clips.labels[[group[0] for group in groups]]
    single = [float(evaluated.correct[group].mean()) for group in groups]
    return {
        "performances": len(groups),
        "clips": sum(map(len, groups)),
        "single_view_accuracy": float(np.mean(single)),
        "averaged_right": int(together.sum()),
        "averaged_accuracy": float(together.mean()),
        "averaged_interval": share_of(together)["interval"],
    }


def _confused(evaluated: _Evaluated) -> list[dict[str, Any]]:
    glosses, pairs = evaluated.glosses, confused_pairs(evaluated.clips.labels, evaluated.predicted, most=LISTED_PAIRS)
    return [
        {"right": glosses[correct], "answered": glosses[predicted], "times": times, "of": of}
        for correct, predicted, times, of in pairs
    ]


def _mistaken(evaluated: _Evaluated) -> list[dict[str, Any]]:
    """Return the clips whose prediction is wrong, the surest first."""
    sure = confidences(evaluated.logits, evaluated.temperature)
    wrong = np.flatnonzero(~evaluated.correct)
    rows = []
    for place in wrong[np.argsort(-sure[wrong], kind="stable")][:LISTED_MISTAKES].tolist():
        row = {"position": int(evaluated.clips.positions[place])}
        row |= {name: evaluated.columns[name][place] for name in ("segment_id", "signer", "view", "take")}
        row["right"] = evaluated.glosses[evaluated.clips.labels[place]]
        row["answered"] = evaluated.glosses[evaluated.predicted[place]]
        rows.append(row | {"confidence": float(sure[place])})
    return rows

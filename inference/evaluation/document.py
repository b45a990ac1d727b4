"""Everything that `signprep evaluate` says of a split of a cache, as one plain dictionary.

In: a recognizer, a cache, the logits of its clips. Out: plain JSON types; docs/evaluation.md explains each key. Every
table comes from the same logits, and confidences are those that `infer` gives: the checkpoint's temperature is applied.
"""

import re
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from signprep.cache_builder.reader import Cache
from signprep.inference.evaluation.logits import SplitClips
from signprep.inference.evaluation.metrics import (
    Shown,
    confidences,
    describe_calibration,
    performances,
    probabilities,
    ranks,
)
from signprep.inference.recognizer import Recognizer
from signprep.training.report.answers import Answers
from signprep.training.report.measures import share_of

EVALUATION_VERSION = 1
_BY_ITEM = re.compile(r"(?P<word>.+) \((?P<item>[^()]+)\)")
"""The name that `--class-by item` gives a class: `걷다 (WORD0012)`."""


def describe_evaluation(
    recognizer: Recognizer, cache: Cache, split: str, clips: SplitClips, logits: NDArray[np.float32], *, top_k: int = 5
) -> dict[str, Any]:
    """Return all figures of an evaluation on a split of a cache.

    The recognizer gave these logits, [N, classes], for the clips. A prediction also counts as correct among `top_k`.
    """
    metadata = recognizer.metadata
    answers = Answers.of(
        cache,
        metadata.vocabulary.glosses,
        clips.positions,
        labels=clips.labels,
        predicted=logits.argmax(axis=1),
        ranks=ranks(logits, clips.labels),
        confidence=confidences(logits, metadata.temperature),
    )
    described = answers.describe(top_k)
    of_clips = {name: described.pop(name) for name in ("classes", "classes_with_clips", "clips", "takes")}
    return {
        "evaluation_version": EVALUATION_VERSION,
        "checkpoint": None,
        "cache": str(cache),
        "cache_fingerprint": cache.fingerprint,
        "trained_on_this_cache": cache.fingerprint == metadata.cache_fingerprint,
        "split": split,
        "model_name": metadata.model_spec.name,
        "clip_views": recognizer.num_views,
        **of_clips,
        "left_out": {
            "failed": clips.num_failed,
            "removed": clips.num_removed,
            "unknown_gloss": sum(clips.unknown_glosses.values()),
            "unknown_glosses": clips.unknown_glosses,
        },
        "figures": described.pop("figures"),
        "homonyms": _homonyms(answers, cache),
        "views": _views(answers, logits, metadata.temperature),
        **described,
        "calibration": describe_calibration(logits, clips.labels, answers.correct, metadata.temperature)
        | {"views": metadata.calibrated_views},
        "calibrated": None,
    }


def _homonyms(answers: Answers, cache: Cache) -> dict[str, Any] | None:
    """Return the accuracy if a class of the same word is correct too; None unless classes are items that share words.

    A class is taken for an item's only where the cache's rows say so: its name ends with the item of every clip.
    """
    items: dict[str, set[str | None]] = {}
    names = pa.table({name: cache.index[name].cast(pa.string()) for name in ("gloss", "item")})
    for row in names.group_by(["gloss", "item"]).aggregate([]).to_pylist():
        items.setdefault(row["gloss"], set()).add(row["item"])
    words = []
    for gloss in answers.glosses:
        match = _BY_ITEM.fullmatch(gloss)
        words.append(match["word"] if match and items.get(gloss) == {match["item"]} else gloss)
    numbers = {word: number for number, word in enumerate(dict.fromkeys(words))}
    if len(numbers) == len(words):
        return None
    word_of = np.array([numbers[word] for word in words])
    unknown = sum(gloss not in items for gloss in answers.glosses)
    correct = word_of[answers.predicted] == word_of[answers.labels]
    return {"words": len(numbers), "classes_not_in_cache": unknown} | share_of(correct)


def _views(answers: Answers, logits: NDArray[np.float32], temperature: float) -> dict[str, Any] | None:
    """Return the accuracy of the views' mean probabilities beside that of single views; None without several views."""
    take, view, video, start = (answers.columns[name] for name in ("take", "view", "video", "start_seconds"))
    groups = performances(list(map(Shown, take, view, answers.labels.tolist(), video, start)))
    if not groups:
        return None
    means = [probabilities(logits[group], temperature).mean(axis=0).argmax() for group in groups]
    together = np.array(means) == answers.labels[[group[0] for group in groups]]
    single = [float(answers.correct[group].mean()) for group in groups]
    return {
        "performances": len(groups),
        "clips": sum(map(len, groups)),
        "single_view_accuracy": float(np.mean(single)),
        "averaged_right": int(together.sum()),
        "averaged_accuracy": float(together.mean()),
        "averaged_interval": share_of(together)["interval"],
    }

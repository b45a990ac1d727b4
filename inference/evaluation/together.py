"""Evaluation of several models that answer together, each on the cache that stores its clips.

In: a CombinedRecognizer and caches, of pixels and landmarks of the same segments for example. Out: the dictionary of
`describe_evaluation`, of the combined answers, with each model's own accuracy beside them.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from signprep.cache_builder.reader import Cache
from signprep.inference.combination import CombinedRecognizer, names_below, write_combination
from signprep.inference.evaluation.document import describe_evaluation
from signprep.inference.evaluation.logits import SplitClips, predict_logits, split_clips
from signprep.inference.evaluation.weights import fit_weights
from signprep.inference.options import EvaluationOptions
from signprep.inference.recognizer import Recognizer, check_cache_compatible
from signprep.pipeline.errors import CacheError, CheckpointError
from signprep.pipeline.runtime.progress import progress_bar
from signprep.pipeline.runtime.text import first_of


def evaluate_together(
    recognizer: CombinedRecognizer, checkpoints: Sequence[object], caches: Sequence[Cache], options: EvaluationOptions
) -> dict[str, Any]:
    """Return all figures of models that answer together, on the clips that the split of every cache has.

    With `fit_weights` a file of fitted weights is written; the figures are those of the recognizer's own ones.

    Raises:
        CheckpointError: a model was trained on clips that no cache stores, or a cache stores clips for no model, or
            the checkpoints do not lie beside or below the file of weights.
        CacheError: the caches have no clip in common, or two of them label one otherwise.
        SignprepError: as `evaluate_checkpoint`.
    """
    members = [Path(member.label) for member in recognizer.members]
    if options.fit_weights is not None:
        names_below(options.fit_weights, members)
    own_caches = caches_of(recognizer.members, caches)
    first = own_caches[0]
    common = _common_clips(list(dict.fromkeys(own_caches)), options.split)
    clips = split_clips(first, options.split, recognizer)
    keep = np.isin(clips.positions, common.positions[first])
    clips = replace(clips, positions=clips.positions[keep], labels=clips.labels[keep])
    kept = np.isin(common.positions[first], clips.positions)
    order = np.argsort(common.positions[first][kept])
    logits: list[NDArray[np.float32]] = []
    with progress_bar("Evaluating", len(own_caches) * len(clips.positions), "clips") as progress:
        for member, cache in zip(recognizer.members, own_caches, strict=True):
            of_cache = replace(clips, positions=common.positions[cache][kept][order])
            before = len(logits) * len(clips.positions)
            logits.append(_logits(member, cache, of_cache, options, partial(_told, progress, before)))
    own_logits = [torch.from_numpy(found) for found in logits]
    together = recognizer.combined(own_logits).numpy()
    document = describe_evaluation(recognizer, first, options.split, clips, together, top_k=options.top_k)
    names = [member.metadata.model_spec.name for member in recognizer.members]
    fingerprints = [member.metadata.cache_fingerprint for member in recognizer.members]
    known = [cache.fingerprint for cache in own_caches]
    return document | {
        "checkpoint": ", ".join(map(str, checkpoints)),
        "model_name": " + ".join(names),
        "trained_on_this_cache": fingerprints == known,
        "combined": {
            "members": [
                {
                    "checkpoint": member.label,
                    "model_name": name,
                    "cache": str(cache),
                    "weight": weight,
                    "temperature": member.metadata.temperature,
                    "calibrated_views": member.metadata.calibrated_views,
                    "accuracy": _accuracy(member, recognizer, clips, found),
                }
                for name, cache, weight, member, found in zip(
                    names, own_caches, recognizer.weights, recognizer.members, logits, strict=True
                )
            ],
            "missing": common.missing,
            "fitted": None if options.fit_weights is None else _fit(options, recognizer, clips, own_logits, document),
        },
    }


def _fit(
    options: EvaluationOptions,
    recognizer: CombinedRecognizer,
    clips: SplitClips,
    logits: Sequence[torch.Tensor],
    document: dict[str, Any],
) -> dict[str, Any]:
    """Write the weights that suit the clips best, and return them beside the better model alone."""
    assert options.fit_weights is not None
    found, better = fit_weights([known.numpy() for known in recognizer.calibrated(logits)], clips.labels)
    fitted_on = {name: document[name] for name in ("cache", "cache_fingerprint", "split", "clips", "clip_views")}
    checkpoints = [Path(member.label) for member in recognizer.members]
    write_combination(options.fit_weights, checkpoints, found.weights, fitted_on)
    return {
        "file": str(options.fit_weights),
        "weights": list(found.weights),
        "accuracy": found.accuracy,
        "nll": found.nll,
        "better_alone": {
            "checkpoint": recognizer.members[better.weights.index(1.0)].label,
            "accuracy": better.accuracy,
            "nll": better.nll,
        },
    }


def caches_of(members: Sequence[Recognizer], caches: Sequence[Cache]) -> list[Cache]:
    """Return for each model the cache that stores clips as it was trained on.

    Raises CheckpointError if there is none, or several, or a cache is for none of the models.
    """
    found = []
    for member in members:
        fitting = [cache for cache in caches if cache.clip_spec == member.metadata.clip_spec]
        if not fitting and len(caches) == 1:
            check_cache_compatible(caches[0], member.metadata.clip_spec)
        if len(fitting) != 1:
            which = ", ".join(map(str, fitting)) if fitting else f"none of {', '.join(map(str, caches))}"
            stores = "store" if len(fitting) > 1 else "stores"
            raise CheckpointError(
                f"{member.label}: {which} {stores} clips as it was trained on; give one cache for each kind of clips"
            )
        found.append(fitting[0])
    for cache in caches:
        if cache not in found:
            raise CheckpointError(f"{cache}: no checkpoint was trained on clips as it stores; leave it out")
    return found


@dataclass(frozen=True, kw_only=True)
class _Common:
    """The clips that a split of every cache has."""

    positions: dict[Cache, NDArray[np.int64]]
    """Of each cache, [N], in one order of the clips."""
    missing: dict[str, list[str]]
    """Clips of other caches that a cache lacks, by its name: their segment ids."""


def _common_clips(caches: Sequence[Cache], split: str) -> _Common:
    """Find clips by their segment ids. Raises CacheError if there are none, or one has two glosses."""
    places = {cache: _places(cache, split) for cache in caches}
    every = dict.fromkeys(name for found in places.values() for name in found)
    common = [name for name in every if all(name in found for found in places.values())]
    if not common:
        have = ", ".join(f"{cache} has {first_of(list(found), 2) or 'none'}" for cache, found in places.items())
        raise CacheError(
            f"not one clip of split {split!r} is in all caches ({have}); build them from the same labels with the same "
            "splits"
        )
    glosses = {cache: _column(cache, "gloss", (found[name] for name in common)) for cache, found in places.items()}
    first = caches[0]
    for cache in caches[1:]:
        for name, one, other in zip(common, glosses[first], glosses[cache], strict=True):
            if one != other:
                raise CacheError(
                    f"{cache}: labels {name} as {other}, and {first} as {one}; build both from the same labels"
                )
    missing = {str(cache): [name for name in every if name not in found] for cache, found in places.items()}
    return _Common(
        positions={cache: np.array([found[name] for name in common], np.int64) for cache, found in places.items()},
        missing={cache: names for cache, names in missing.items() if names},
    )


def _places(cache: Cache, split: str) -> dict[str, int]:
    """Return the position of each readable clip of a split by its segment id."""
    positions = cache.positions(split).tolist()
    return dict(zip(_column(cache, "segment_id", positions), positions, strict=True))


def _column(cache: Cache, name: str, positions: Iterable[int]) -> list[str]:
    found: list[str] = cache.index[name].take(pa.array(positions, pa.int64())).to_pylist()
    return found


def _told(progress: Callable[[int], None], before: int, done: int) -> None:
    progress(before + done)


def _logits(
    member: Recognizer, cache: Cache, clips: SplitClips, options: EvaluationOptions, advance: Callable[[int], None]
) -> NDArray[np.float32]:
    """Return a model's own logits for clips of its cache, [N, classes], whatever the order of their positions."""
    order = np.argsort(clips.positions)
    sizes = {"batch_size": options.batch_size, "num_workers": options.num_workers}
    found = predict_logits(member, cache, replace(clips, positions=clips.positions[order]), advance=advance, **sizes)
    in_order = np.empty_like(found)
    in_order[order] = found
    return in_order


def _accuracy(
    member: Recognizer, recognizer: CombinedRecognizer, clips: SplitClips, logits: NDArray[np.float32]
) -> float:
    glosses, answers = recognizer.glosses, logits.argmax(axis=1)
    right = [member.glosses[answer] == glosses[label] for answer, label in zip(answers, clips.labels, strict=True)]
    return float(np.mean(right))

"""Predictions for the clips of a cache, as a build stored them: nothing is decoded."""

import itertools
from collections.abc import Iterator
from contextlib import closing

from signprep.cache_builder.reader import Cache
from signprep.inference.prediction import Prediction, keeper, prediction
from signprep.inference.recognizer import Recognizer
from signprep.inference.same_clips import require_same_clips
from signprep.pipeline.clips import Span
from signprep.pipeline.errors import CacheError
from signprep.pipeline.runtime.progress import progress_bar
from signprep.training.loader import ClipLoader


def predict_cache(
    recognizer: Recognizer,
    cache: Cache,
    split: str | None,
    *,
    top_k: int = 1,
    with_probabilities: bool = False,
    batch_size: int = 8,
    num_workers: int = 2,
) -> Iterator[Prediction]:
    """Yield the predictions for the clips of a split, in the order of their positions.

    Args:
        recognizer: an opened checkpoint.
        cache: whose clips are made as the model's.
        split: train, val, ...; None for all clips.
        top_k: most probable glosses to give.
        with_probabilities: whether predictions hold the probability of every gloss.
        batch_size: clips that go through the model together.
        num_workers: threads that read.

    Raises:
        CheckpointError: the clips are not made as those that the model was trained on.
        CacheError: there are none in the split.
    """
    require_same_clips(cache, recognizer.card.clip_spec)
    positions = cache.positions(split)
    if not len(positions):
        raise CacheError(f"{cache}: has no clips{f' in its split {split!r}' if split else ''}")
    rows = cache.index.select(["video", "start_seconds", "end_seconds", "segment_id"]).take(positions).to_pylist()
    keep = keeper(recognizer, top_k=top_k, probabilities=with_probabilities)
    loader = ClipLoader(cache=cache, positions=positions, batch_size=batch_size, num_workers=num_workers)
    answered = itertools.count()
    with closing(loader), progress_bar("Answering", len(rows), "clips") as progress:
        for batch in loader:
            for probabilities in recognizer.probabilities(list(batch.clips.numpy())):
                number = next(answered)
                row = rows[number]
                span = Span(row["start_seconds"], row["end_seconds"])
                found = prediction(
                    recognizer,
                    row["video"],
                    span,
                    keep(probabilities),
                    clip_duration=round(span.end_seconds - span.start_seconds, 9),
                    with_probabilities=with_probabilities,
                )
                yield _with_segment(found, row["segment_id"])
                progress(number + 1)


def _with_segment(found: Prediction, segment_id: str) -> Prediction:
    return Prediction(**{**vars(found), "segment_id": segment_id})

"""Predictions for the clips of a cache, as a build stored them: nothing is decoded."""

from collections.abc import Iterator
from contextlib import closing

from signprep.cache_builder.reader import Cache
from signprep.inference.options import InferOptions
from signprep.inference.recognizer import Recognizer, cache_logits, check_cache_compatible
from signprep.inference.videos.results import Prediction
from signprep.inference.videos.windows import rounded
from signprep.pipeline.errors import CacheError
from signprep.pipeline.runtime.progress import progress_bar


def predict_cache(
    recognizer: Recognizer, cache: Cache, split: str | None, options: InferOptions
) -> Iterator[Prediction]:
    """Yield the predictions for the clips of a split (None for all), in the order of their positions.

    Raises:
        CheckpointError: the clips are not made as those that the model was trained on.
        CacheError: there are none in the split.
    """
    check_cache_compatible(cache, recognizer.metadata.clip_spec)
    positions = cache.positions(split)
    if not len(positions):
        raise CacheError(f"{cache}: has no clips{f' in its split {split!r}' if split else ''}")
    columns = ["video", "start_seconds", "end_seconds", "segment_id"]
    rows = iter(cache.index.select(columns).take(positions).to_pylist())
    sizes = {"batch_size": options.batch_size, "num_workers": options.num_workers}
    batches = cache_logits(recognizer, cache, positions, **sizes)
    done = 0
    with closing(batches), progress_bar("Answering", len(positions), "clips") as progress:
        for logits in batches:
            for probabilities, row in zip(recognizer.softmax(logits), rows, strict=False):  # rows go on
                yield Prediction.of(
                    probabilities,
                    recognizer.glosses,
                    options,
                    video_path=row.pop("video"),
                    clip_duration=rounded(row["end_seconds"] - row["start_seconds"]),
                    **row,
                )
                done += 1
                progress(done)

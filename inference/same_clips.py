"""Whether a cache's clips are those that a model understands."""

from signprep.cache_builder.reader import Cache
from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.errors import CheckpointError


def require_same_clips(cache: Cache, trained: ClipSpec) -> None:
    """Raise CheckpointError unless a cache's clips are made as those that a checkpoint was trained on."""
    stored = cache.clip_spec.to_dict()
    others = [
        f"{name} {stored[name]} for {value}" for name, value in trained.to_dict().items() if stored[name] != value
    ]
    if others:
        raise CheckpointError(
            f"{cache}: stores other clips than the checkpoint was trained on: {', '.join(others)}; "
            "build a cache with the options of the training cache"
        )

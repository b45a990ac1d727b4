"""When the memory is too small for a batch: the largest one that fits, found by trying."""

import gc

import torch
from torch import nn
from torch.nn import functional

from signprep.pipeline.errors import TrainingError
from signprep.training.model_spec import ModelSpec


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that there was no memory: the GPU's, or the machine's."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def fits(model: nn.Module, spec: ModelSpec, batch_size: int, device: torch.device) -> bool:
    """Return whether a training step of this many clips has memory enough."""
    shape = (batch_size, 3, spec.num_frames, spec.crop_size, spec.crop_size)
    try:
        clips = torch.zeros(shape, device=device).to(memory_format=torch.channels_last_3d)
        labels = torch.zeros(batch_size, dtype=torch.int64, device=device)
        functional.cross_entropy(model(clips), labels).backward()
    except (RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            return False
        raise
    finally:
        model.zero_grad(set_to_none=True)
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
    return True


def out_of_memory(model: nn.Module, spec: ModelSpec, batch_size: int, device: torch.device) -> TrainingError:
    """Return the error that names a batch size that fits, half, a quarter, ... of the one that did not."""
    where = "the GPU's memory" if device.type == "cuda" else "memory"
    smaller = batch_size // 2
    while smaller and not fits(model, spec, smaller, device):
        smaller //= 2
    problem = f"a batch of {batch_size} clips of {spec.name} does not fit into {where}"
    if not smaller:
        return TrainingError(f"{problem}, nor does a single one; try --precision 16-mixed or a smaller --crop-size")
    batches = -(-batch_size // smaller)
    return TrainingError(
        f"{problem}; --batch-size {smaller} does, and with --accumulate-batches {batches} it takes about the same "
        "steps. --precision 16-mixed needs about half the memory"
    )

"""Memory of training steps: what is freed is kept for the next step, and a batch size that fits is found by trying."""

import ctypes
import gc
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from signprep.pipeline.errors import TrainingError


def keep_freed_memory() -> bool:
    """Have glibc keep what is freed: a fifth less time for a training step on a CPU. Return False elsewhere.

    By default glibc gives large blocks back to the system at once, and the system hands them out again page by page,
    each filled with zeros: for a model's activations that takes as long as much of the arithmetic. The price is that
    the memory of the largest step stays with the process.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    trim_threshold, mmap_max = -1, -4  # source: malloc.h of glibc
    return bool(mallopt(mmap_max, 0) and mallopt(trim_threshold, 2**31 - 1))


def is_out_of_memory(error: BaseException) -> bool:
    """Return True for an error that says that memory was missing, the GPU's or the machine's."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def fits(model: nn.Module, input_shape: Sequence[int], batch_size: int, device: torch.device) -> bool:
    """Return True if there is memory for a training step of this many clips of [3, T, H, W]."""
    try:
        clips = torch.zeros((batch_size, *input_shape), device=device).to(memory_format=torch.channels_last_3d)
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


def out_of_memory(
    model: nn.Module, name: str, input_shape: Sequence[int], batch_size: int, device: torch.device
) -> TrainingError:
    """Return the error that names a batch size that fits: a half, a quarter, ... of the one that did not."""
    where = "the GPU's memory" if device.type == "cuda" else "memory"
    smaller = batch_size // 2
    while smaller and not fits(model, input_shape, smaller, device):
        smaller //= 2
    problem = f"a batch of {batch_size} clips of {name} does not fit into {where}"
    if not smaller:
        return TrainingError(f"{problem}, nor does a single one; try --precision 16-mixed or a smaller --size")
    batches = -(-batch_size // smaller)
    return TrainingError(
        f"{problem}; --batch-size {smaller} does, and with --accumulate-batches {batches} it takes about the same "
        "steps. --precision 16-mixed needs about half the memory"
    )

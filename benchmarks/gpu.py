"""What a GPU runs: whether it is right, and how fast. At most five minutes on one GPU; each part stands alone.

Right: pixels within bfloat16 and TF32 beside those of 32 bits; batches out of page-locked memory, with a control that
leaves out the event they wait for; a run that goes on, and one that is made again, bit for bit; gradients of bfloat16
and float16; models that `--deterministic` and a compiler take. Fast: x3d_s and slow_r50 trained from the cache beside
the same batches that are on the device already, contiguous and with channels last, compiled; how long they wait; the
moving average beside Lightning's; reading by threads; copies; the transform. With `--toy` it runs on a CPU, too. A part
that fails says so, and the others go on.

A machine that no registry reaches needs Python, torch for CUDA and NumPy. Carry this checkout with the links that
`make types` makes, and one folder of packages, made by pip for that machine's Python and processor; what is there
already may be left out of it:

    pip install --no-deps --target carried av click donfig fsspec fvcore google-crc32c iopath joblib lightning
    pip install --no-deps --target carried lightning-utilities markdown-it-py mdurl numcodecs packaging portalocker
    pip install --no-deps --target carried protobuf pyarrow pygments pytorchvideo==0.1.5 pyyaml rich tabulate
    pip install --no-deps --target carried tensorboard termcolor torchmetrics torchvision tqdm zarr
    PYTHONPATH=.types:carried python -m benchmarks gpu
"""

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import signprep.training.runtime.torchvision_operators  # noqa: F401

import torch

from benchmarks import _gpu_right, _gpu_speed
from benchmarks._gpu import Bench, NotRightError
from benchmarks._report import print_line, print_machine
from benchmarks._signing import signing_cache
from benchmarks._size import Size
from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.options import SampleSpec

SECONDS = 270
"""A part that would begin later is left out, and said to be."""

PARTS: tuple[Callable[[Bench], None], ...] = (
    _gpu_right.pixels, _gpu_right.batches_in_flight, _gpu_right.going_on, _gpu_right.gradients,
    _gpu_right.deterministic, _gpu_right.compiled, _gpu_speed.training, _gpu_speed.averaging, _gpu_speed.reading,
    _gpu_speed.copying, _gpu_speed.transforming,
)  # fmt: skip


def run(size: Size) -> None:
    """Run all parts, each of which prints what it finds, and fail at the end if one of them has."""
    print_machine(["torch", "lightning", "pytorchvideo", "numcodecs"])
    toy, on_gpu = size is Size.TOY, torch.cuda.is_available()
    if not on_gpu and not toy:
        print_line("no GPU that torch can use was at hand: nothing of this was measured")
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # before the first product, for deterministic ones
    device = torch.device("cuda" if on_gpu else "cpu")
    print_line(torch.cuda.get_device_name() if on_gpu else "on the CPU, at toy size: that it runs")
    started, failed = time.monotonic(), []
    sample = SampleSpec(words=5, signers=6, frame_size=(640, 360))
    if toy:
        sample = SampleSpec(words=2, signers=3, frame_size=(160, 96))
    cache = signing_cache(sample, ClipSpec())
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(cache, Path(name), device, toy)
        for part in PARTS:
            if time.monotonic() - started > SECONDS:
                print_line(f"{part.__name__}: left out, since {SECONDS} s are over")
                continue
            try:
                part(bench)
            except Exception as error:  # the parts after it still tell something
                print_line(f"{part.__name__} FAILED: {type(error).__name__}: {error}")
                failed.append(part.__name__)
    print_line(f"all in {time.monotonic() - started:.0f} s")
    if failed:
        raise NotRightError(f"failed: {', '.join(failed)}")

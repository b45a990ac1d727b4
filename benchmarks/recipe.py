"""A model from scratch: the recipe beside the plain defaults, for the same epochs.

By default the five words of `signprep demo`; with `--full` 60 words of signers who are rendered small, somewhere else
in each video, before clutter, by a noisy camera, and whose clips are cut by `--crop signer`. The last two signers
validate.
EfficientX3D-XS trains for the same epochs by `--recipe none` and by `--recipe scratch`, from the same seeds, on one
thread of torch; what the whole training took of the CPU stands beside. Accuracy is the best epoch's, as of best.ckpt.
Generated people differ less than real ones do: read rows against each other.
"""

import statistics
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import signprep.training.runtime.torchvision_operators  # noqa: F401

from benchmarks._report import Bar, chart, figure, print_line, print_machine, print_table
from benchmarks._signing import hard_signing, rendered
from benchmarks._size import Size
from signprep.cache_builder import open_cache
from signprep.cache_builder.building.run import build_from_annotations
from signprep.cache_builder.options import BuildOptions
from signprep.cache_builder.reader import Cache
from signprep.inference.recognizer import torch_threads
from signprep.pipeline.clip_spec import SIGNER, ClipSpec
from signprep.pipeline.datasets.read import read_data_root
from signprep.pipeline.options import SampleSpec
from signprep.training.config import PLAIN, SCRATCH, Recipe, TrainConfig
from signprep.training.model_spec import model_spec
from signprep.training.run import train

WAYS = {PLAIN: "plain defaults", SCRATCH: "recipe: scratch"}


@dataclass(frozen=True, kw_only=True)
class Found:
    """What one training came to."""

    accuracy: float
    cpu_seconds: float


def run(size: Size) -> None:
    print_machine(["torch", "lightning"])
    words, signers, takes = size.pick((2, 3, 1), (5, 6, 6), (60, 8, 2))
    crop, epochs, seeds = size.pick((32, 1, 1), (64, 14, 3), (64, 12, 3))
    stored, frame_size = size.pick((64, (84, 64)), (96, (128, 96)), (96, (192, 144)))
    sample = SampleSpec(words=words, signers=signers, takes=takes, frame_size=frame_size)
    is_easy = size is Size.MEDIUM
    data, clips = rendered(sample) if is_easy else hard_signing(sample), ClipSpec(size=stored)
    clips = clips if is_easy else replace(clips, crop=SIGNER)
    with tempfile.TemporaryDirectory() as name, torch_threads(1):
        folder = Path(name)
        build_from_annotations(read_data_root(data), folder / "c.zarr", BuildOptions(clip_spec=clips))
        cache = open_cache(folder / "c.zarr")
        config = TrainConfig(epochs=epochs)
        found: dict[str, list[Found]] = {way: [] for way in WAYS}
        for seed in range(seeds):  # one after the other, so that a change of the machine meets both
            for way in WAYS:
                one = trained(cache, crop, replace(config, seed=seed), way, folder / f"{way}-{seed}")
                print(f"  seed {seed}, {WAYS[way]}: {one.accuracy:.3f}, {one.cpu_seconds:.0f} s of CPU", flush=True)
                found[way].append(one)
    counts = f"{words} words, {len(cache.positions('train'))} clips, {len(cache.positions('val'))} unseen, {crop} px"
    header = (f"{counts}, {epochs} epochs", *(f"seed {seed}" for seed in range(seeds)), "mean", "s of CPU each")
    print_table([header, *(row(WAYS[way], values) for way, values in found.items())])
    plain, ours = (means(found[way]) for way in WAYS)
    gain, cpu = 100 * (ours.accuracy - plain.accuracy), ours.cpu_seconds / plain.cpu_seconds
    print_line(f"the recipe is {gain:+.1f} points better, with {cpu:.2f} of the CPU")
    bars = [Bar(name=WAYS[way], value=means(found[way]).accuracy, ours=way == SCRATCH) for way in WAYS]
    chart("Words of unseen people that are recognised, from scratch", "share", bars, more_is_better=True)
    figure("recipe.gain", gain)
    figure("recipe.cpu", cpu)


def trained(cache: Cache, crop: int, config: TrainConfig, way: str, folder: Path) -> Found:
    """Train as `train --recipe` does where nothing else is given."""
    spec = model_spec("efficient_x3d_xs", crop_size=crop)
    started = time.process_time()
    result = train(cache, spec, config, folder, recipe=Recipe(name=way), log=lambda line: None)
    return Found(accuracy=result.best_val_accuracy, cpu_seconds=time.process_time() - started)


def means(values: list[Found]) -> Found:
    """Return the means over the seeds."""
    return Found(
        accuracy=statistics.fmean(value.accuracy for value in values),
        cpu_seconds=statistics.fmean(value.cpu_seconds for value in values),
    )


def row(name: str, values: list[Found]) -> tuple[str, ...]:
    """Return a row of the table."""
    mean = means(values)
    return name, *(f"{each.accuracy:.3f}" for each in values), f"{mean.accuracy:.3f}", f"{mean.cpu_seconds:.0f}"

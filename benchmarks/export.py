"""Exported files beside PyTorch: what they lose, how large they are, how long a clip takes.

The model is the demo's EfficientX3D-XS, trained by the demo's own code; every figure is of the report that an export
writes itself. Clips are those of two signers whom the model has never seen, five times as many as the demo has of them,
so that a clip that is answered otherwise is a third of a point. Times are of one clip on this machine's
cores, never of a phone; with several threads they say how the machine copes with many small operators. Full: the same
at the size that the model was designed for, too.
"""

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from unittest import mock

import torch

from benchmarks._report import Bar, chart, figure, print_line, print_machine, print_missing, print_table
from benchmarks._signing import signing_cache
from benchmarks._size import Size
from signprep.cache_builder import open_cache
from signprep.cache_builder.building.run import build_from_annotations
from signprep.cache_builder.options import BuildOptions
from signprep.cache_builder.reader import Cache
from signprep.inference.cli.first_steps import CLIPS, SAMPLE, run_demo
from signprep.inference.export.run import ExportOptions, ExportReport, export_model
from signprep.inference.export.verification import FILE
from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.datasets.read import read_data_root
from signprep.pipeline.datasets.synthetic import dataset
from signprep.pipeline.datasets.synthetic.dataset import render_dataset
from signprep.pipeline.errors import SignprepError
from signprep.pipeline.options import SampleSpec
from signprep.pipeline.runtime.text import counted
from signprep.training.config import EXECUTORCH, ONNX, TORCHSCRIPT, TrainConfig, require_installed
from signprep.training.model.checkpoint import CHECKPOINT_KEY
from signprep.training.model_spec import MODEL_SPECS, model_spec
from signprep.training.run import train

MODEL = "efficient_x3d_xs"
TAKES = 30
"""Of each word, by each signer whom the model has never seen: 300 clips."""
WAYS = {
    "TorchScript fp32": ExportOptions(format=TORCHSCRIPT),
    "TorchScript INT8": ExportOptions(format=TORCHSCRIPT, int8=True, max_drop=1.0),
    "ONNX fp32": ExportOptions(format=ONNX),
    "ONNX INT8": ExportOptions(format=ONNX, int8=True, max_drop=1.0),
    "ExecuTorch fp32": ExportOptions(format=EXECUTORCH),
}
"""INT8 may lose anything here: what it lost is what is asked."""


def run(size: Size) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print_machine(["torch", "onnx", "onnxscript", "onnxruntime", "executorch"])
        cache, checkpoint = trained(folder, size)
        reports = exported(folder, checkpoint, cache)
        compared(reports)
        timed(reports, "the demo's 8 frames of 64 pixels" if size is not Size.TOY else "toy")
        goals(reports)
        if size is Size.FULL:
            spec = MODEL_SPECS[MODEL]
            own_size = at_its_own_size(checkpoint, folder / "larger.ckpt")
            larger = exported(folder, own_size, cache, but=("ExecuTorch",), max_clips=8)  # for times only
            timed(larger, f"{spec.num_frames} frames of {spec.crop_size} pixels, what the model was designed for")


def trained(folder: Path, size: Size) -> tuple[Cache, Path]:
    """Return the demo's checkpoint, and its cache with more takes of the signers whom it has never seen."""
    if size is not Size.TOY:
        run_demo(folder)
        return with_more_takes(folder), folder / "training" / "checkpoints" / "best.ckpt"
    sample = SampleSpec(words=2, signers=3, takes=1, frame_size=(160, 96))
    cache = signing_cache(sample, ClipSpec(num_frames=2, size=32))
    model = model_spec(MODEL, num_frames=1, crop_size=32)
    result = train(cache, model, TrainConfig(epochs=1, batch_size=2), folder / "training", log=lambda line: None)
    return cache, result.best_checkpoint


def with_more_takes(folder: Path) -> Cache:
    """Return a cache of the demo's clips and of further ones, of the two signers who are in no training split."""
    data, demo = folder / "more", folder / "data"
    with mock.patch.object(
        dataset, "signer_numbers", lambda count: [17, 18]
    ):  # which plans the videos, in this process
        render_dataset(replace(SAMPLE, signers=2, takes=TAKES), data)
    for path in (*demo.glob("video/*"), *demo.glob("label/*")):
        shutil.copyfile(path, data / path.relative_to(demo))
    build_from_annotations(read_data_root(data), folder / "more.zarr", BuildOptions(clip_spec=CLIPS))
    cache = open_cache(folder / "more.zarr")
    of_demo, unseen = (len(open_cache(folder / "demo.zarr").positions("train")), 2 * SAMPLE.words * TAKES)
    assert (len(cache.positions("train")), len(cache.positions("val"))) == (of_demo, unseen)
    return cache


def at_its_own_size(checkpoint: Path, target: Path) -> Path:
    """Copy a checkpoint, for the clips that its model was designed for: its weights fit any size, for times only."""
    contents = torch.load(checkpoint, weights_only=True)
    contents[CHECKPOINT_KEY]["model_spec"] = MODEL_SPECS[MODEL].to_dict()
    torch.save(contents, target)
    return target


def exported(
    folder: Path, checkpoint: Path, cache: Cache, but: tuple[str, ...] = (), max_clips: int = 1000
) -> dict[str, ExportReport]:
    reports = {}
    for name, options in WAYS.items():
        if name.startswith(but) and but:
            continue
        try:
            require_installed(options.format)
        except SignprepError as error:
            print_missing(name, error)
            continue
        reports[name] = export_model(checkpoint, folder / "model", replace(options, max_clips=max_clips), cache)
    return reports


def compared(reports: dict[str, ExportReport]) -> None:
    first = next(iter(reports.values()))
    rows = [("", "MB", "largest difference", "mean difference", "same answer", "accuracy", "points lost")]
    for name, report in reports.items():
        for found in report.verification.comparisons:
            rows.append(
                (
                    name + (f", {found.engine}" if found.engine else ""),
                    f"{report.num_bytes / 1e6:.2f}",
                    f"{found.largest_difference:.1e}",
                    f"{found.mean_difference:.1e}",
                    f"{found.num_agreeing} of {report.num_clips}",
                    f"{found.accuracy:.3f}",
                    f"{100 * ((report.verification.checkpoint_accuracy or 0) - (found.accuracy or 0)):.2f}",
                )
            )
    print_table(rows)
    print_line(
        f"the checkpoint's accuracy: {first.verification.checkpoint_accuracy:.3f} on {first.num_clips} validation clips"
    )


def timed(reports: dict[str, ExportReport], input_: str) -> None:
    """Print and draw times; a file's checkpoint is timed in turns with it, so that only ratios of a row compare."""
    threads = sorted(next(iter(reports.values())).verification.latencies)
    heading = [cell for number in threads for cell in (f"ms, {counted(number, 'thread')}", "PyTorch", "file / PyTorch")]
    rows = [[f"one clip, {input_}", *heading]]
    bars = []
    for name, report in reports.items():
        for found in report.verification.comparisons:
            row, ours_is = [name + (f", {found.engine}" if found.engine else "")], found.engine or FILE
            for number in threads:
                taken = report.verification.latencies[number]
                ours, torchs = taken[ours_is], taken["checkpoint"]
                row += [f"{ours:.1f}", f"{torchs:.1f}", f"{ours / torchs:.2f}"]
            one = report.verification.latencies[1]
            note = f"{one[ours_is] / one['checkpoint']:.2f} of PyTorch's"
            bars.append(Bar(name=row[0], value=one[ours_is], ours=True, note=note))
            rows.append(row)
    print_table(rows)
    reference = next(iter(reports.values())).verification.latencies[1]["checkpoint"]
    bars.sort(key=lambda bar: not bar.name.startswith("ONNX INT8"))
    chart(f"one clip on one thread, {input_}", "ms", [*bars, Bar(name="PyTorch fp32", value=reference)])


def goals(reports: dict[str, ExportReport]) -> None:
    int8 = {name: report for name, report in reports.items() if name.endswith("INT8")}
    fp32 = [report for name, report in reports.items() if name.endswith("fp32")]
    figure("export.fp32", min(report.verification.comparisons[0].num_agreeing / report.num_clips for report in fp32))
    lost = [
        (report.verification.checkpoint_accuracy or 0) - (found.accuracy or 0)
        for report in int8.values()
        for found in report.verification.comparisons
    ]
    figure("export.int8", 100 * max(lost))
    figure("export.torchscript_mb", int8["TorchScript INT8"].num_bytes / 1e6)
    if "ONNX INT8" in int8:
        onnx = int8["ONNX INT8"]
        figure("export.onnx_mb", onnx.num_bytes / 1e6)
        figure("export.onnx", onnx.verification.latencies[1]["file"] / onnx.verification.latencies[1]["checkpoint"])

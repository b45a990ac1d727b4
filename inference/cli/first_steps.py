"""The first commands that people try: `doctor` looks at the machine, `demo` goes the whole way on generated videos."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from signprep.pipeline.cli.next_step import free_path, next_step
from signprep.pipeline.cli.options import command
from signprep.pipeline.cli.printing import echo, echo_data
from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.options import SampleSpec, json_option, output_option
from signprep.pipeline.runtime.installation import require_extra
from signprep.pipeline.runtime.language import translated
from signprep.pipeline.runtime.text import byte_size, json_text
from signprep.training.config import TrainConfig

if TYPE_CHECKING:
    from signprep.cache_builder.reader import Cache
    from signprep.inference.prediction import Prediction

SAMPLE = SampleSpec(words=5, signers=6, takes=6, frame_size=(640, 360))
CLIPS = ClipSpec(num_frames=16, size=128)
CONFIG = TrainConfig(
    epochs=14, batch_size=8, learning_rate=4e-3, optimizer="adamw", weight_decay=0.05, label_smoothing=0.1
)


@command("doctor", "Look whether this machine can do all of it.")
def doctor(as_json: bool = json_option("Print JSON instead of a table, for programs.")) -> None:
    """Look whether this machine can do all that signprep does; exit code 1 if something needed is broken.

    \b
    Examples:
      signprep doctor
      signprep doctor --json
    """
    from rich.table import Table
    from rich.text import Text

    from signprep.pipeline.runtime.doctor import BROKEN, MISSING, OK, SLOW, check_machine
    from signprep.pipeline.runtime.terminal import Terminal
    from signprep.training.cli.doctor import check_training

    checks = [*check_machine(), *check_training()]
    if as_json:
        echo_data(json_text([check.to_dict() for check in checks]))
    else:
        marks = {OK: ("ok", "green"), SLOW: ("slow", "yellow"), MISSING: ("missing", "dim"), BROKEN: ("BROKEN", "red")}
        table = Table.grid(padding=(0, 2))
        width = None if sys.stdout.isatty() else 1000  # a command to copy stays on its line
        for check in checks:
            mark, style = marks[check.state]
            found = Text(translated(check.found))
            if check.advice:
                found.append(f"\n{translated(check.advice)}", style="bold" if check.state in (SLOW, BROKEN) else "dim")
            table.add_row(Text(translated(mark), style=style), Text(translated(check.name)), found)
        console = Terminal(width=width)
        with console.capture() as printed:
            console.print(table)
        for line in printed.get().splitlines():
            echo_data(line.rstrip())
    if any(check.state == BROKEN for check in checks):
        sys.exit(1)
    if not as_json:
        can_train = all(check.state == OK for check in checks if check.name in ("training", "models"))
        next_step("demo") if can_train else next_step("make-sample", free_path(Path("sample")))


@command("demo", "Show the whole way on generated videos.")
def demo(
    out: Path = output_option(Path("outputs/demo"), "Put videos, cache and model into this folder.", metavar="DIR"),
) -> None:
    """Show the whole way on generated videos: cache, training, a prediction for a signer never seen.

    \b
    Example:
      signprep demo
    """
    require_extra("train", "torch", "lightning", "pytorchvideo")
    run_demo(out)


def run_demo(out: Path) -> None:
    """Render, cache, train and predict below `out`; the steps go to stderr, the results to stdout."""
    from signprep.cache_builder import open_cache
    from signprep.cache_builder.building.run import build_from_annotations
    from signprep.cache_builder.options import BuildOptions
    from signprep.pipeline.datasets.read import read_data_root
    from signprep.pipeline.datasets.synthetic.dataset import render_dataset
    from signprep.training.model_spec import model_spec
    from signprep.training.run import train

    started = time.monotonic()
    if (out / "demo.zarr").exists():
        echo(f"an earlier demo in {out} is replaced", err=True)
    _step(1, "Rendering signing figures in AIHub's shape")
    written = render_dataset(SAMPLE, out / "data")
    _step(2, "Caching the labelled segments as clips")
    summary = build_from_annotations(
        read_data_root(out / "data"), out / "demo.zarr", BuildOptions(clip_spec=CLIPS), overwrite=True
    )
    _step(3, "Training on four signers")
    spec = model_spec("efficient_x3d_xs", num_frames=8, crop_size=64, dropout_rate=0.0)
    cache = open_cache(out / "demo.zarr")
    result = train(cache, spec, CONFIG, out / "training", overwrite=True, log=lambda line: echo(line, err=True))
    _step(4, "Asking the model about a signer whom it has never seen")
    prediction, gloss = _held_out_prediction(cache, out / "data", result.best_checkpoint)
    echo(
        f"\nrendered  {written.num_videos} videos, {byte_size(written.num_bytes)}, in {out / 'data'}\n"
        f"cached    {summary}\n"
        f"trained   {spec.name}, {result.epochs} epochs in {result.seconds:.0f} s: accuracy "
        f"{result.best_val_accuracy:.3f} on signers never seen in training (chance: {1 / len(cache.vocabulary):.2f})\n"
        f"          {result.best_checkpoint}\n"
        f"predicted a video of {gloss}:\n{json_text(prediction.to_dict())}\n"
        f"all of it in {time.monotonic() - started:.0f} s; for videos of your own: `signprep scan --data-root DIR`\n"
    )
    next_step("inspect", out / "demo.zarr", "--html", free_path(Path("demo.html")))


def _step(number: int, what: str) -> None:
    echo(f"\n[{number}/4] {what}", err=True)


def _held_out_prediction(cache: "Cache", data_root: Path, checkpoint: Path) -> "tuple[Prediction, str]":
    """Return the prediction for the first validation segment, from its video, and its true gloss."""
    import pyarrow.compute as pc

    from signprep.inference.prediction import predict_window
    from signprep.inference.recognizer import load_checkpoint

    row = cache.index.filter(pc.equal(cache.index["split"].cast("string"), "val")).slice(0, 1).to_pylist()[0]
    prediction = predict_window(
        load_checkpoint(checkpoint),
        data_root / row["video"],
        start_seconds=row["start_seconds"],
        clip_duration=round(row["end_seconds"] - row["start_seconds"], 3),
    )
    return prediction, row["gloss"]

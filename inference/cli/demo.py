"""Commands of this floor: `demo`; `infer`, `evaluate` and `export` have files of their own."""

from pathlib import Path

import click

from signprep.pipeline.runtime.machine import require_extra


@click.command("demo", short_help="Show the whole way on generated videos.")
@click.option(
    "--out",
    default="outputs/demo",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Folder for the demo's videos, cache and model.",
)
def demo(out: Path) -> None:
    """Show the whole way on generated videos: cache, training, a prediction for a signer never seen.

    \b
    Example:
      signprep demo
    """
    require_extra("train", "torch", "lightning", "pytorchvideo")
    from signprep.inference.cli.run_demo import run_demo

    run_demo(out)

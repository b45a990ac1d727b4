"""The command that writes a cache for other libraries: `export-dataset`."""

from pathlib import Path

from signprep.cache_builder.options import CACHE_ARGUMENT, DatasetExportOptions, Location, location_option
from signprep.pipeline.cli.next_step import next_step
from signprep.pipeline.cli.options import command, reject_unused
from signprep.pipeline.cli.printing import echo
from signprep.pipeline.options import REQUIRED, option


@command("export-dataset", "Write a cache's clips as a data set that other libraries read.")
def export_dataset(
    *,
    cache: Location = location_option(REQUIRED, "The folder of the cache, or its URL.", **CACHE_ARGUMENT),
    out: Path = option(REQUIRED, "The folder to write, which must not be there.", positional=True),
    options: DatasetExportOptions,
    overwrite: bool = option(False, "Replace a data set that was exported to OUT before.", group="Output"),
) -> None:
    """Write the clips of a cache, with their labels and a data-set card, as a data set that other libraries read.

    Videos are H.264. They are lossless with --crf 0; otherwise the card says how near they are to the cache, measured.
    Landmarks are no videos: they go into tars as arrays, or to LeRobot as states.

    OUT is there as a whole or not at all: stopped, nothing is left.

    \b
    Examples:
      signprep export-dataset aihub.zarr aihub-videos --to imagefolder-of-mp4
      signprep export-dataset aihub.zarr aihub-tars --to webdataset --clips npy
      signprep export-dataset aihub.zarr aihub-lossless --to webdataset --crf 0
      signprep export-dataset aihub.zarr aihub-lerobot --to lerobot --split train
    """
    if options.clips == "npy":
        reject_unused(["crf"], "videos; --clips npy writes arrays, which are lossless")
    if options.to != "webdataset":
        reject_unused(["clips_per_tar", "clips"], "--to webdataset")

    from signprep.cache_builder.export.run import export_dataset as export

    echo(export(cache, out, options, overwrite=overwrite))
    next_step(out / "README.md", program="more")

"""The options of a scan; light, for the command line."""

from dataclasses import dataclass

from signprep.pipeline.options import Options, option, workers_option

SAMPLED_VIDEOS = 1000
"""About so many are opened by `--probe sample`, evenly spread over the folders."""


@dataclass(frozen=True, kw_only=True)
class ScanOptions(Options):
    """How to scan. Raises ValueError on values that mean nothing."""

    num_frames: int = option(16, "Report segments that have fewer frames than this.", aliases=("--frames",), minimum=1)
    probe: str = option(
        "all",
        f"Open all videos (1 to 2 ms each), about {SAMPLED_VIDEOS} of them, or none.",
        choices=("all", "sample", "none"),
        group="Run",
    )
    deep: bool = option(False, "Decode every frame of the opened videos to find damage, which is slow.", group="Run")
    workers: int = workers_option()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.deep and self.probe == "none":
            raise ValueError("--deep decodes videos, --probe none opens none: choose one of them")

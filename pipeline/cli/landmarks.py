"""The command `landmarks`: the models that find a signer's body, hands and face."""

from pathlib import Path

from signprep.pipeline.cli.next_step import next_step
from signprep.pipeline.cli.options import command, reject_unused
from signprep.pipeline.cli.printing import echo
from signprep.pipeline.landmarks.mediapipe.models import LICENCE, VERSION, LandmarkModels, fetch_models, model_paths
from signprep.pipeline.options import option


@command("landmarks", "Bring the models that find landmarks, once.")
def landmarks(
    models: LandmarkModels,
    fetch: bool = option(False, "Download MediaPipe's models (36 MB, of which 16 MB are kept) unless they are there."),
    wheel: Path | None = option(None, "Take them out of this wheel of mediapipe instead of downloading it."),
) -> None:
    """Tell whether the models are there that find landmarks in videos; with --fetch, bring them once.

    They are MediaPipe's, under the licence Apache-2.0, out of the wheel that the package registry has. pip downloads it
    with the settings that it has on this machine.

    \b
    Examples:
      signprep landmarks --fetch
      signprep landmarks --fetch --wheel mediapipe-0.10.21-cp311-cp311-manylinux_2_28_x86_64.whl
    """
    folder = models.root()
    brought = False
    if fetch:
        brought = fetch_models(folder, wheel)
    else:
        reject_unused(["wheel"], "--fetch")
    model_paths(folder)
    there = "are now" if brought else "are"
    echo(f"the models of MediaPipe {VERSION} (licence {LICENCE}) {there} in {folder}")
    next_step("build-cache", "--help")

"""The door to models: open a checkpoint of `signprep train` or a file of `signprep export`, whichever it is."""

from collections.abc import Sequence

from signprep.inference.combination import CombinedRecognizer, is_combination, read_combination
from signprep.inference.export.runtime import exported_format, open_exported
from signprep.inference.recognizer import Recognizer, load_checkpoint
from signprep.pipeline.errors import CheckpointError
from signprep.pipeline.runtime.paths import StrPath, as_path
from signprep.training.config import require_named_as


def open_models(
    paths: Sequence[StrPath],
    device: str = "cpu",
    *,
    own_model: str | None = None,
    precision: str = "32",
    weights: Sequence[float] = (),
    views: int = 1,
) -> Recognizer:
    """Open one model as `open_model` does, or several that answer together, with equal weights unless some are given.

    With several `views`, each answers by the mean probabilities of so many views of a clip (`Recognizer.use_views`).
    A file of `evaluate --fit-weights`, given alone, stands for its checkpoints and their weights.

    Raises as `open_model`, and CheckpointError if they know different glosses or clips have not so many views.
    """
    if any(is_combination(as_path(path)) for path in paths):
        if len(paths) > 1:
            raise CheckpointError(
                f"{', '.join(map(str, paths))}: a .json file of weights names all checkpoints that answer together; "
                "give it alone"
            )
        named = read_combination(as_path(paths[0]))
        paths, weights = named.checkpoints, named.weights
    opened = [open_model(path, device, own_model=own_model, precision=precision) for path in paths]
    found = opened[0] if len(opened) == 1 else CombinedRecognizer(opened, weights)
    found.use_views(views)
    return found


def open_model(
    path: StrPath, device: str = "cpu", *, own_model: str | None = None, precision: str = "32"
) -> Recognizer:
    """Open a checkpoint as `load_checkpoint` does, or an exported file, which runs on the CPU in its own precision.

    Raises CheckpointError if it is neither, if an exported file was asked for another device or precision, or is not
    named as one: it is a program, which runs.
    """
    path = as_path(path)
    format_ = exported_format(path)
    if format_ is None:
        return load_checkpoint(path, device, own_model=own_model, precision=precision)
    require_named_as(path, format_)
    if device not in ("auto", "cpu") or precision != "32":
        raise CheckpointError(
            f"{path}: is an exported file, which answers on the CPU in the precision that it was written in; leave out "
            "--device and --precision, or give the checkpoint"
        )
    return open_exported(path, format_)

"""A model on a split of a cache: its clips are read and answered, and it is calibrated if that is wanted.

In: a checkpoint's file, a cache, options. Out: the dictionary that docs/evaluation.md explains; with `calibrate`, a
temperature in the file.
"""

from pathlib import Path
from typing import Any

from signprep.cache_builder.reader import Cache
from signprep.inference.evaluation.calibration import (
    TEMPERATURES,
    describe_calibration,
    fit_temperature,
    write_temperature,
)
from signprep.inference.evaluation.document import describe_evaluation
from signprep.inference.evaluation.logits import Answers, answer, split_clips
from signprep.inference.evaluation.metrics import ranks
from signprep.inference.export.runtime import ExportedRecognizer
from signprep.inference.open_model import open_model
from signprep.inference.options import EvaluationOptions
from signprep.pipeline.errors import CheckpointError
from signprep.pipeline.runtime.progress import progress_bar


def evaluate_checkpoint(checkpoint: Path, cache: Cache, options: EvaluationOptions) -> dict[str, Any]:
    """Ask a checkpoint's model about a split, calibrate it if that is wanted, and return all figures.

    Raises:
        CheckpointError: the file is no checkpoint, or one for other clips or glosses.
        CacheError: the split has no clips, or one of them is damaged.
        SignprepError: there is no memory for a batch, or the checkpoint cannot be written.
    """
    recognizer = open_model(checkpoint, options.device, own_model=options.own_model)
    if options.calibrate and isinstance(recognizer, ExportedRecognizer):
        raise CheckpointError(f"{checkpoint}: is an exported file; calibrate its checkpoint, and export that again")
    clips = split_clips(cache, options.split, recognizer)
    with progress_bar("Evaluating", len(clips.positions), "clips") as advance:
        answers = answer(
            recognizer, cache, clips, batch_size=options.batch_size, num_workers=options.num_workers, advance=advance
        )
    document = describe_evaluation(recognizer, cache, options.split, answers, top_k=options.top_k)
    document["checkpoint"] = str(checkpoint)
    if options.calibrate:
        document["calibrated"] = _calibrate(checkpoint, answers)
    return document


def _calibrate(checkpoint: Path, answers: Answers) -> dict[str, Any] | None:
    """Write the best temperature into a checkpoint; return its calibration, None if there is no best one."""
    labels = answers.clips.labels
    temperature = fit_temperature(answers.logits, labels)
    if temperature is None:
        return None
    write_temperature(checkpoint, temperature)
    return describe_calibration(answers.logits, labels, ranks(answers.logits, labels) == 0, temperature)


def require_calibrated(document: dict[str, Any]) -> None:
    """Raise CheckpointError if an evaluation that was to calibrate found no temperature."""
    if document["calibrated"] is None:
        raise CheckpointError(
            f"{document['checkpoint']}: was not calibrated: no temperature from {TEMPERATURES[0]} to "
            f"{TEMPERATURES[1]} fits these {document['clips']:,} clips best, as where every answer is right; calibrate "
            "on a split with more clips"
        )

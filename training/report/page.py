"""The report of a run: report.html, which needs no other file, and learning_curves.png, in the run's folder.

In: a run's record and table of epochs, as they lie in its folder, and the predictions of its best validation, which
training has made anyway: a report costs a second or two, for the pictures of mistaken clips. Out: the files.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from signprep.cache_builder.reader import Cache
from signprep.pipeline.html.page import render_page
from signprep.pipeline.runtime.atomic_files import atomic_write
from signprep.pipeline.runtime.text import counted, time_span
from signprep.training.report.answers import Answers
from signprep.training.report.curves import Epoch, best_epoch, learning_curves, read_epochs, write_png
from signprep.training.report.parts import SCRIPTS, WEB, answer_values, cards, mistaken_pictures, percent
from signprep.training.report.settings import data_values, option_values
from signprep.training.runtime.run_folder import CURVES, METRICS, REPORT, RUN, read_run

_STATES = {
    "stopped": "The run was stopped: the report is of what was there; it goes on with the same command.",
    "failed": "The run has failed: the report is of what was there before.",
}


def now() -> str:
    """Return date and time of this place, as people read them."""
    return f"{datetime.now().astimezone():%Y-%m-%d %H:%M %Z}"


def write_run_report(run_folder: Path, cache: Cache, answers: Answers | None, *, epoch: int, seconds: float) -> None:
    """Write both files.

    Args:
        run_folder: of the run, with its record and its table of epochs.
        cache: that it was trained on.
        answers: to the validation clips, in the best epoch; None if none was validated.
        epoch: the epoch of the answers.
        seconds: since the run began, or went on.

    Raises SignprepError if a file cannot be written or a clip cannot be fetched.
    """
    document, epochs = read_run(run_folder), read_epochs(run_folder / METRICS)
    if epochs:
        write_png(epochs, run_folder / CURVES)
    described = None if answers is None else answers.describe()
    pictures = [] if described is None else mistaken_pictures(described, cache)
    page = run_page(run_folder / RUN, cache, document, epochs, described, pictures, epoch=epoch, seconds=seconds)
    with atomic_write(run_folder / REPORT) as part:
        part.write_text(page, encoding="utf-8")


def run_page(
    record: Path,
    cache: Cache,
    document: Mapping[str, Any],
    epochs: Sequence[Epoch],
    described: dict[str, Any] | None,
    pictures: Sequence[str | None],
    *,
    epoch: int,
    seconds: float,
) -> str:
    """Return the page of a run with this record (run.json), as of `write_run_report`; `described` is of `Answers`."""
    curves = learning_curves(epochs)
    contents = [("curves", "Learning curves")] if curves else []
    if described is not None:
        contents += [("classes", "Accuracy by class"), ("confusion", "What was taken for what")]
        contents += [("mistaken", "Mistaken clips")] if any(pictures) else []
    contents += [("data", "Data"), ("options", "Options"), ("time", "Time")]
    return render_page(
        WEB,
        "run.html",
        scripts=SCRIPTS,
        title=f"Training of {record.parent.name}",
        heading=f"Training: {record.parent.name}",
        about_run=_about(document, described, epoch),
        remarks=_remarks(document, epochs, described, epoch),
        contents=contents,
        figures=_figures(epochs, described),
        curves=curves,
        has_answers=described is not None,
        data=data_values(cache),
        options=option_values(document, record),
        time=_time(document, cache, epochs, seconds),
        **({} if described is None else answer_values(described, pictures)),
    )


def _about(document: Mapping[str, Any], described: Mapping[str, Any] | None, epoch: int) -> list[tuple[str, str]]:
    model = document.get("model") or {}
    about = [("Model", str(model.get("name", "-"))), ("Date", now())]
    if described is not None:
        clips = f"{counted(described['clips'], 'clip')} of {counted(described['takes'], 'take')}"
        classes = f"{described['classes']:,}, {described['classes_with_clips']:,} of them with clips"
        about += [("Validated", f"{clips}, with the weights of epoch {epoch}"), ("Classes", classes)]
    return about


def _remarks(
    document: Mapping[str, Any], epochs: Sequence[Epoch], described: Mapping[str, Any] | None, epoch: int
) -> list[str]:
    """Return what a reader must know to believe the figures."""
    found = [_STATES[status]] if (status := document.get("status")) in _STATES else []
    best = best_epoch(epochs)
    if described is None:
        return [*found, "No validation has ended in this process: there are no answers to show."]
    if best is not None and best.number != epoch:
        found.append(
            f"Epoch {best.number} is better, but was validated before this run went on, by a version that kept no "
            f"answers: those shown are of epoch {epoch}. signprep evaluate --html shows those of best.ckpt."
        )
    found.append("The best epoch was chosen by these very clips, which flatters it a little.")
    if described["takes"] < described["clips"]:
        found.append(
            "Clips of one take are correct or wrong together, so intervals over clips are too narrow: believe those "
            "over takes."
        )
    return found


def _figures(epochs: Sequence[Epoch], described: dict[str, Any] | None) -> list[tuple[str, str, list[str]]]:
    best = best_epoch(epochs)
    figures = [] if described is None else cards(described)
    if best is not None:
        figures.append(("best epoch", f"{best.number:,}", [f"of {epochs[-1].number:,}"]))
        trained = best.figures.get("train/accuracy")
        figures.append(("training accuracy", percent(trained), ["of augmented clips, in that epoch"]))
    return figures


def _time(document: Mapping[str, Any], cache: Cache, epochs: Sequence[Epoch], seconds: float) -> list[tuple[str, str]]:
    """Return how long what took, by name; epochs before the run went on count, except for the whole."""
    num_clips = len(cache.positions("train"))
    steps = waited = 0.0
    for epoch in epochs:
        rate = epoch.figures.get("train/clips_per_second", 0.0)
        lasted = num_clips / rate if rate > 0 else 0.0
        steps += lasted
        waited += lasted * epoch.figures.get("train/data_wait_percent", 0.0) / 100
    share = f", {100 * waited / steps:.1f} % of it waiting for data" if steps else ""
    speed = f", {num_clips * len(epochs) / steps:,.1f} clips/s" if steps else ""
    return [
        ("Epochs", f"{len(epochs):,}"),
        ("Training steps", f"{time_span(steps)}{share}{speed}"),
        ("From start to end", f"{time_span(seconds)}, since the run began or went on"),
        ("Device", str(document.get("devices", "-"))),
    ]

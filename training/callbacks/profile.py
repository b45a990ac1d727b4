"""Where the time of training steps goes: a table by phase, and a trace of a few steps of torch's profiler.

Phases lie between marks that callbacks and two wrapped functions set; on a GPU a mark is an event of its stream, so
that times are those of its work, not of its being queued. Nothing waits for a device before the table is made.
"""

import time
from collections import defaultdict
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from signprep.training.callbacks.checkpoints import TRACE
from signprep.training.loader import Batch
from signprep.training.model.classifier import SignClassifier
from signprep.training.model.datamodule import ClipData

WARM_UP_STEPS, MEASURED_STEPS, TRACED_STEPS = 3, 20, 3
"""Batches: the first ones compile and fill memory, the last ones are slowed down by being traced."""

WAIT, COPY, TRANSFORM, FORWARD = "waiting for data", "copy", "transform", "forward"
BACKWARD, OPTIMISER, CALLBACKS = "backward", "optimiser", "callbacks"
_SMALLER = "the model is what is slow: fewer --num-frames, a smaller --size or another --model-name"
ADVICE = {
    WAIT: "reading is what is slow: keep the cache on a local disk (signprep pull), or give more --workers",
    COPY: "copies to the GPU are what is slow: --pin-memory, or a cache with no more pixels than the model takes",
    TRANSFORM: "the augmentation is what is slow: a smaller --size, or a custom --augment that does less",
    FORWARD: f"{_SMALLER}; on a GPU --precision bf16-mixed and --compile",
    BACKWARD: f"{_SMALLER}, or --freeze-backbone; on a GPU --precision bf16-mixed and --compile",
    OPTIMISER: "steps are what is slow: a larger --batch-size, or --accumulate-batches",
    CALLBACKS: "what comes between steps is slow: a larger --batch-size or --save-minutes",
}
"""What to do about each phase, in the order in which a step has them."""

_Mark = tuple[str, float, Any]
"""The phase that ends, the clock's seconds, and the GPU's event."""


class StepProfile(Callback):
    """Measures steps, prints the table, and traces a few more. It comes before all other callbacks."""

    def __init__(self, run_folder: Path, data: ClipData, log: Callable[[str], None]) -> None:
        self._trace_path, self._data, self._log = run_folder / TRACE, data, log
        self._marks: list[_Mark] = []
        self._steps: list[tuple[list[_Mark], float]] = []
        """Marks of each measured step, and the seconds that it waited for data."""
        self._seen, self._waited = 0, 0.0
        self._is_cuda = self._has_told = False
        self._profiler: torch.profiler.profile | None = None

    @property
    def last(self) -> Callback:
        """What comes behind all other callbacks, and tells where they end."""
        return _Last(self)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Wrap the two functions that no callback is called around."""
        assert isinstance(pl_module, SignClassifier)
        if not trainer.is_global_zero:
            self._seen = WARM_UP_STEPS + MEASURED_STEPS + TRACED_STEPS  # the others keep step, and say nothing
            self._has_told = True
            return
        self._is_cuda = pl_module.device.type == "cuda"
        pl_module.transform = self._between(pl_module.transform, CALLBACKS, TRANSFORM)
        pl_module.transfer_batch_to_device = self._between(  # type: ignore[method-assign]
            pl_module.transfer_batch_to_device, CALLBACKS, COPY
        )

    def _between(self, function: Any, before: str, phase: str) -> Any:
        def marked(*arguments: Any, **options: Any) -> Any:
            self.mark(before)
            result = function(*arguments, **options)
            self.mark(phase)
            return result

        return marked

    def mark(self, phase: str) -> None:
        """Note that a phase ends here."""
        if self._seen >= WARM_UP_STEPS + MEASURED_STEPS:
            return
        event = None
        if self._is_cuda:
            event = torch.cuda.Event(enable_timing=True)
            event.record()
        self._marks.append((phase, time.perf_counter(), event))

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin anew: what lies between two epochs is part of no step."""
        self._marks.clear()

    on_validation_start = on_train_epoch_start

    def on_before_zero_grad(self, *_: Any) -> None:
        """End the forward pass, with the loss."""
        self.mark(FORWARD)

    def on_before_backward(self, *_: Any) -> None:
        """End the setting of gradients to zero, or the forward pass where they add up over batches."""
        self.mark(OPTIMISER if self._marks and self._marks[-1][0] == FORWARD else FORWARD)

    def on_after_backward(self, *_: Any) -> None:
        """End the backward pass."""
        self.mark(BACKWARD)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """End the step of the optimiser, with that of the schedule."""
        self.mark(OPTIMISER)

    def step_ends(self) -> None:
        """Keep the marks of a step that began with the end of another one; trace when all are measured."""
        self.mark(CALLBACKS)
        self._seen += 1
        waited = self._data.wait_seconds
        if len(self._marks) > 1 and self._marks[0][0] == "" and self._seen > WARM_UP_STEPS:
            self._steps.append((self._marks, waited - self._waited))
        if self._marks:
            self._marks = [("", *self._marks[-1][1:])]
        self._waited = waited
        if self._seen == WARM_UP_STEPS + MEASURED_STEPS:
            self._tell()
            self._trace()
        elif self._profiler is not None and self._seen >= WARM_UP_STEPS + MEASURED_STEPS + TRACED_STEPS:
            self._write_trace()

    def _tell(self) -> None:
        if self._has_told:
            return
        self._has_told = True
        if not self._steps:
            self._log(
                f"--profile measured nothing: {WARM_UP_STEPS} batches pass first, and an epoch needs two; give "
                "more --epochs, or a smaller --batch-size"
            )
            return
        if self._is_cuda:
            torch.cuda.synchronize()
        for line in table([(_seconds(marks), waited) for marks, waited in self._steps]):
            self._log(line)
        self._steps = []

    def _trace(self) -> None:
        activities = [torch.profiler.ProfilerActivity.CPU]
        if self._is_cuda:
            activities.append(torch.profiler.ProfilerActivity.CUDA)
        self._profiler = torch.profiler.profile(activities=activities)
        self._profiler.start()

    def _write_trace(self) -> None:
        assert self._profiler is not None
        self._profiler.stop()
        self._profiler.export_chrome_trace(str(self._trace_path))
        self._profiler = None
        self._log(f"{self._trace_path}: a trace of {TRACED_STEPS} steps, for https://ui.perfetto.dev")

    def on_train_end(self, *_: Any, **__: Any) -> None:
        """Tell of the steps that there were, where they are fewer."""
        self._tell()
        if self._profiler is not None:
            self._write_trace()

    on_exception = on_train_end


class _Last(Callback):
    """Tells a profile where the callbacks end."""

    def __init__(self, profile: StepProfile) -> None:
        self._profile = profile

    def on_train_batch_end(self, *_: Any) -> None:
        """End the step."""
        self._profile.step_ends()


def _seconds(marks: list[_Mark]) -> dict[str, float]:
    """Return how long each phase between the marks of a step took, on the GPU where they have its events."""
    found: dict[str, float] = defaultdict(float)
    for (_, begun, begin), (phase, ended, end) in pairwise(marks):
        found[phase] += ended - begun if end is None else begin.elapsed_time(end) / 1e3
    return found


def table(steps: list[tuple[dict[str, float], float]]) -> list[str]:
    """Return the lines of the table, and the advice for the largest phase.

    Args:
        steps: seconds of each phase of each step, and those of them that the loop waited for data; a GPU that still
            has work does not wait, so that no more of them count than the loop itself took.
    """
    totals = dict.fromkeys(ADVICE, 0.0)
    for seconds, waited in steps:
        for phase, number in seconds.items():
            totals[phase] += number
        waiting = min(waited, seconds.get(CALLBACKS, 0.0))
        totals[WAIT] += waiting
        totals[CALLBACKS] -= waiting
    whole = max(1e-12, sum(totals.values()))
    lines = [f"where the time of a step goes (mean of {len(steps)}):"]
    for phase, number in totals.items():
        lines.append(f"  {phase:<17} {1e3 * number / len(steps):9.2f} ms {100 * number / whole:5.1f} %")
    lines.append(f"  {'all':<17} {1e3 * whole / len(steps):9.2f} ms")
    largest = max(totals, key=lambda phase: totals[phase])
    return [*lines, f"{largest} takes most: {ADVICE[largest]}"]

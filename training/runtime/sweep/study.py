"""The study of a sweep: which values a trial gets, and what came of it, in an SQLite file that survives a kill.

Optuna draws the values. Those of a trial depend on the seed, its number and the trials before it, and not on how often
the sweep was interrupted: each trial has a sampler of its own.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial, Trial, TrialState

from signprep.pipeline.errors import TrainingError
from signprep.pipeline.runtime.text import first_line
from signprep.training.runtime.sweep.options import HYPERBAND, MEDIAN, SweepOptions
from signprep.training.runtime.sweep.space import Choices, Range, Space

STUDY = "study.db"
_NAME, _SPACE, _ERROR, _EPOCHS = "sweep", "signprep.space", "signprep.error", "signprep.epochs"
COMPLETE, PRUNED, FAILED, RUNNING = "complete", "pruned", "failed", "running"
_STATES = {
    TrialState.COMPLETE: COMPLETE,
    TrialState.PRUNED: PRUNED,
    TrialState.FAIL: FAILED,
    TrialState.RUNNING: RUNNING,
    TrialState.WAITING: RUNNING,
}


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """What is known of a trial."""

    number: int
    """From 1 on; Optuna counts from 0."""
    values: Mapping[str, Any]
    """Of the options that trials differ in."""
    state: str
    value: float | None
    """The best one of all epochs, also of a trial that was pruned."""
    epochs: int
    error: str
    """What a trial failed with."""

    @property
    def name(self) -> str:
        """The name of the folder of its run."""
        return f"trial-{self.number}"


class Study:
    """Trials that were, and the next one."""

    def __init__(self, folder: Path, space: Space, options: SweepOptions) -> None:
        """Open the study of a folder, or begin one.

        Raises TrainingError if the folder has a study of other options or ranges, or one that does not read.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._space, self._options = space, options
        path = folder / STUDY
        try:
            storage = optuna.storages.RDBStorage(f"sqlite:///{path.resolve()}")
            self._study = optuna.create_study(
                storage=storage,
                study_name=_NAME,
                direction="minimize" if options.is_lower_better else "maximize",
                load_if_exists=True,
                pruner=_pruner(options.pruner),
            )
            asked = space.to_dict() | {"metric": options.metric}
            before = self._study.user_attrs.get(_SPACE)
            if before is None:
                self._study.set_user_attr(_SPACE, asked)
        except Exception as error:  # of SQLAlchemy and its drivers, whose classes differ
            raise TrainingError(f"{path}: is no study that can be read ({first_line(error):.200})") from error
        if before is not None and (changed := _changed(before, asked)):
            raise TrainingError(
                f"{folder}: has a sweep with another {', '.join(changed)}; it goes on with what it began with, another "
                f"experiment-name in {space.path} begins a new one"
            )

    def next_trial(self) -> TrialRecord:
        """Return the trial that an earlier process has not ended, or a new one."""
        trials = self._study.get_trials(deepcopy=False)
        unfinished = [trial for trial in trials if trial.state in (TrialState.RUNNING, TrialState.WAITING)]
        if unfinished:
            return self._record(unfinished[0])
        # A sampler that is made anew would draw the same first values again, so that each trial gets its own seed.
        self._study.sampler = TPESampler(seed=(self._options.seed * 100_003 + len(trials)) % 2**32)
        asked = self._study.ask({name: _distribution(varied) for name, varied in self._space.varied.items()})
        return self._record(self._study.get_trials(deepcopy=False)[asked.number])

    def is_bad(self, trial: TrialRecord, epoch: int, value: float) -> bool:
        """Note a value of an epoch; return True if the trial is not worth going on with."""
        frozen = self._study.get_trials(deepcopy=False)[trial.number - 1]
        asked = Trial(self._study, frozen._trial_id)
        if epoch not in frozen.intermediate_values:
            asked.report(value, epoch)
        return bool(asked.should_prune())

    def end(self, trial: TrialRecord, state: str, value: float | None, *, epochs: int, error: str = "") -> None:
        """Note what came of a trial."""
        frozen = self._study.get_trials(deepcopy=False)[trial.number - 1]
        asked = Trial(self._study, frozen._trial_id)
        asked.set_user_attr(_EPOCHS, epochs)
        if error:
            asked.set_user_attr(_ERROR, error)
        if state == COMPLETE:
            self._study.tell(frozen.number, value)
        else:
            self._study.tell(frozen.number, state=TrialState.PRUNED if state == PRUNED else TrialState.FAIL)

    def trials(self) -> list[TrialRecord]:
        """Return all trials by their numbers."""
        return [self._record(trial) for trial in self._study.get_trials(deepcopy=False)]

    def ended(self) -> list[TrialRecord]:
        """Return the trials that have ended in one way or another."""
        return [trial for trial in self.trials() if trial.state != RUNNING]

    def best_of(self, values: Sequence[float]) -> float | None:
        """Return the best of the values of epochs, None if there is none that is a number."""
        finite = [value for value in values if math.isfinite(value)]
        return (min if self._options.is_lower_better else max)(finite) if finite else None

    def best(self) -> TrialRecord | None:
        """Return the best trial of those that were trained to their end."""
        complete = [trial for trial in self.trials() if trial.state == COMPLETE and trial.value is not None]
        return min(complete, key=self.rank) if complete else None

    def rank(self, trial: TrialRecord) -> tuple[bool, float]:
        """Return a key by which better trials come first, and those without a value last."""
        value = trial.value
        return (True, 0.0) if value is None else (False, value if self._options.is_lower_better else -value)

    def _record(self, trial: FrozenTrial) -> TrialRecord:
        values = {
            name: varied.labels.get(trial.params[name]) if isinstance(varied, Choices) else trial.params[name]
            for name, varied in self._space.varied.items()
            if name in trial.params
        }
        state, best = _STATES[trial.state], min if self._options.is_lower_better else max
        seen = list(trial.intermediate_values.values())
        return TrialRecord(
            number=trial.number + 1,
            values=values,
            state=state,
            value=trial.value if state == COMPLETE else best(seen) if seen else None,
            epochs=trial.user_attrs.get(_EPOCHS, len(seen)),
            error=trial.user_attrs.get(_ERROR, ""),
        )


def _distribution(varied: Range | Choices) -> BaseDistribution:
    if isinstance(varied, Choices):
        return CategoricalDistribution(tuple(varied.labels))
    if varied.is_whole:
        return IntDistribution(int(varied.low), int(varied.high), log=varied.log, step=int(varied.step or 1))
    return FloatDistribution(varied.low, varied.high, log=varied.log, step=varied.step)


def _pruner(name: str) -> BasePruner:
    if name == MEDIAN:
        return MedianPruner(n_warmup_steps=2)  # of the first epoch nothing can be said: rates are still rising
    return HyperbandPruner() if name == HYPERBAND else NopPruner()


def _changed(before: Mapping[str, Any], asked: Mapping[str, Any]) -> Sequence[str]:
    """Return the names of options that a study was begun with otherwise."""
    asked = json.loads(json.dumps(asked))  # tuples are lists in a study
    changed = ["metric"] if before["metric"] != asked["metric"] else []
    for part in ("options", "ranges"):
        old, new = before[part], asked[part]
        changed += [name for name in {**old, **new} if name not in old or name not in new or old[name] != new[name]]
    return [name.replace("_", "-") for name in changed]

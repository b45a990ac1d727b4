"""The options of a sweep; light, as the command line needs."""

from dataclasses import dataclass

from signprep.pipeline.options import Options, option

MEDIAN, HYPERBAND, NO_PRUNER = "median", "hyperband", "none"
METRICS = ("val/accuracy", "val/mean_class_accuracy", "val/top5_accuracy", "val/loss")


@dataclass(frozen=True, kw_only=True)
class SweepOptions(Options, group="Run"):
    """How many trials, and which of them are good."""

    trials: int = option(20, "Have so many trials in all, those of earlier calls included.", minimum=1)
    metric: str = option(
        METRICS[0],
        f"Look for the trial that has the best value of this in any epoch: {', '.join(METRICS[:-1])} or {METRICS[-1]}.",
        choices=METRICS,
        metavar="NAME",
    )
    pruner: str = option(
        MEDIAN,
        "End a trial early that is worse than the median of the others at the same epoch (median, from the sixth trial "
        "on), or in a contest of brackets (hyperband).",
        choices=(MEDIAN, HYPERBAND, NO_PRUNER),
    )
    seed: int = option(0, "Draw the values of trials from this seed.", minimum=0, maximum=2**32 - 1)

    @property
    def is_lower_better(self) -> bool:
        """True where the best value is the lowest."""
        return self.metric == "val/loss"

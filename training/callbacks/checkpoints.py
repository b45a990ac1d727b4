"""Which epochs are kept: the best by validation accuracy, and those next to it."""

from pathlib import Path
from typing import Any

import signprep.training.runtime.torchvision_operators  # noqa: F401  (before lightning)

from lightning.pytorch.callbacks import ModelCheckpoint  # isort: skip


class BestCheckpoint(ModelCheckpoint):
    """best.ckpt; it knows its score after the run's folder was moved, too, which Lightning would forget."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the state of the run that goes on, its files sought in the folder where they are now."""

        def here(path: str) -> str:
            return str(Path(str(self.dirpath), Path(path).name)) if path else path

        state = {**state_dict, "dirpath": self.dirpath}
        for name in ("best_model_path", "kth_best_model_path", "last_model_path"):
            state[name] = here(state[name])
        state["best_k_models"] = {here(path): score for path, score in state["best_k_models"].items()}
        super().load_state_dict(state)


class BestEpochs(BestCheckpoint):
    """The best epochs beside best.ckpt; a class of its own, because Lightning tells callbacks apart by it."""

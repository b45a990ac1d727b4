"""Answers of a model that was never asked, as many as a test needs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from signprep.cache_builder.reader import Cache
from signprep.training.config import TrainConfig
from signprep.training.report.answers import Answers
from signprep.training.report.curves import Epoch
from signprep.training.report.page import run_page

RECORD: dict[str, Any] = {
    "status": "finished",
    "options": {**TrainConfig(epochs=3, label_smoothing=0.1, batch_size=4).to_dict(), "precision": "32"},
    "recipe": {"name": "scratch", "values": {"label_smoothing": {"value": 0.1, "from": "recipe"}}},
    "model": {"name": "x3d_xs", "num_frames": 4},
    "devices": "CPU",
    "versions": {"signprep": "0.1.0"},
    "command": {"name": "train", "options": {"cache": "a.zarr", "model_name": "x3d_xs", "batch_size": 4}},
}


def made_answers(
    glosses: Sequence[str], clips_each: int = 10, *, accuracy: float = 0.7, positions: int = 12
) -> Answers:
    """Answers of which about so many are right; the others are of the next class, or of any."""
    random = np.random.default_rng(0)
    num = len(glosses)
    labels = np.repeat(np.arange(num), clips_each)
    is_wrong = random.random(len(labels)) > accuracy
    others = np.where(random.random(len(labels)) < 0.7, (labels + 1) % num, random.integers(0, num, len(labels)))
    predicted = np.where(is_wrong, others, labels)
    places = range(len(labels))
    return Answers(
        glosses=glosses,
        positions=np.arange(len(labels)) % positions,
        labels=labels,
        predicted=predicted,
        ranks=np.where(predicted == labels, 0, 2),
        confidence=random.random(len(labels)),
        columns={
            "segment_id": [f"clip{place}" for place in places],
            "take": [f"take{place // 5}" for place in places],
            "signer": [f"REAL{17 + place % 2}" for place in places],
            "view": ["FL"[place % 2] for place in places],
            "source": ["REAL" for _ in places],
        },
    )


def made_epochs(num_epochs: int = 3) -> list[Epoch]:
    """Epochs of which the one before the last is the best."""
    return [
        Epoch(
            number=number,
            step=10 * number,
            figures={
                "train/loss": 2 / number,
                "train/accuracy": number / num_epochs,
                "val/loss": 2.5 / number,
                "val/accuracy": 0.8 if number == num_epochs - 1 else 0.4,
                "train/clips_per_second": 8.0,
                "train/data_wait_percent": 50.0,
            },
        )
        for number in range(1, num_epochs + 1)
    ]


def made_page(cache: Cache, answers: Answers | None, pictures: Sequence[str | None] = (), **changes: Any) -> str:
    """The page of a run with these answers in its second epoch of three."""
    given: dict[str, Any] = {
        "document": RECORD,
        "epochs": made_epochs(),
        "epoch": 2,
        "seconds": 90.0,
        "record": Path("runs/1/run.json"),
    }
    described = None if answers is None else answers.describe()
    return run_page(**{**given, **changes}, cache=cache, described=described, pictures=pictures)

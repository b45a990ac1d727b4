"""What a run learns by: rates, decay, weights of classes, labels of mirrored signs."""

import numpy as np
import pytest

from signprep.cache_builder.reader import Cache
from signprep.pipeline.errors import TrainingError
from signprep.training.config import TrainConfig
from signprep.training.model.classifier import flip_labels, learning_rate_factor, make_optimizer
from signprep.training.model.datamodule import balanced_class_weights
from signprep.training.model_spec import build_model
from tests.training.small_runs import TINY


def test_norms_and_biases_do_not_decay() -> None:
    model = build_model(TINY, 3)
    optimizer = make_optimizer(model, TrainConfig(weight_decay=0.3))
    decayed, free = optimizer.param_groups
    assert decayed["weight_decay"] == 0.3 and all(parameter.ndim > 1 for parameter in decayed["params"])
    assert free["weight_decay"] == 0 and all(parameter.ndim == 1 for parameter in free["params"])
    assert len(decayed["params"]) + len(free["params"]) == len(list(model.parameters()))


@pytest.mark.parametrize("scheduler", ["cosine", "step", "none"])
def test_the_learning_rate_rises_then_follows_its_schedule(scheduler: str) -> None:
    rates = [learning_rate_factor(step, total=100, scheduler=scheduler, warm_up=0.2) for step in range(100)]
    assert np.allclose(rates[:20], np.arange(1, 21) / 20)
    assert max(rates) == 1 and all(np.diff(rates[20:]) <= 0)
    end = {"cosine": 0.0, "step": 0.01, "none": 1.0}[scheduler]
    assert rates[-1] == pytest.approx(end, abs=1e-3)


def test_rare_classes_weigh_more(cache: Cache) -> None:
    positions = np.flatnonzero(cache.labels() == 0)[:1]
    positions = np.concatenate([positions, np.flatnonzero(cache.labels() == 1)[:3]])
    weights = balanced_class_weights(cache, positions)
    assert weights.tolist() == pytest.approx([2.0, 2 / 3])


def test_a_flip_map_swaps_labels_both_ways(cache: Cache) -> None:
    assert flip_labels(cache.vocabulary, {}).tolist() == [0, 1]
    assert flip_labels(cache.vocabulary, {"왼쪽": "오른쪽"}).tolist() == [1, 0]
    assert flip_labels(cache.vocabulary, {"앞": "뒤"}).tolist() == [0, 1]
    with pytest.raises(TrainingError, match="앞, which the data do not have"):
        flip_labels(cache.vocabulary, {"왼쪽": "앞"})


@pytest.mark.parametrize(
    "fields",
    [
        {"epochs": 0}, {"batch_size": 0}, {"learning_rate": 0.0}, {"label_smoothing": 1.0}, {"ema_decay": 1.0},
        {"early_stopping": 0}, {"accumulate_batches": 0}, {"mixup": -1.0}, {"optimizer": "lion"}, {"precision": "16"},
        {"warm_up": 1.0}, {"gradient_clip": -1.0}, {"seed": -1},
    ],
)  # fmt: skip
def test_options_that_cannot_train_are_refused(fields: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(fields))):
        TrainConfig(**fields)

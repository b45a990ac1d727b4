import numpy as np
import pytest
import torch
from torch.nn import functional

from signprep.cache_builder.reader import Cache
from signprep.training.callbacks.record import confused_table, confusion_image
from signprep.training.config import TrainConfig
from signprep.training.loader import ClipLoader
from signprep.training.model.checkpoint import ModelMetadata
from signprep.training.model.classifier import SignClassifier, ValidationPredictions
from signprep.training.model_spec import build_model
from tests.training.small_runs import TINY


def predictions_of(logits: list[list[float]], labels: list[int], num_classes: int) -> ValidationPredictions:
    predictions = ValidationPredictions(num_classes)
    scores, correct = torch.tensor(logits), torch.tensor(labels)
    predictions.update(scores[2:], correct[2:], torch.arange(len(labels))[2:])
    predictions.update(scores[:2], correct[:2], torch.arange(len(labels))[:2])
    return predictions


def test_figures_are_over_clips_and_over_classes() -> None:
    logits = [[3.0, 1, 0], [3, 1, 0], [3, 1, 0], [0, 2, 1]]
    validation = predictions_of(logits, [0, 0, 0, 2], 3).validation()
    assert validation.positions.tolist() == [0, 1, 2, 3]
    figures = validation.figures()
    assert figures["accuracy"] == 0.75
    assert figures["mean_class_accuracy"] == 0.5  # class 1 has no clips and does not count
    assert figures["top5_accuracy"] == 1
    assert figures["loss"] == pytest.approx(
        float(functional.cross_entropy(torch.tensor(logits), torch.tensor([0, 0, 0, 2])))
    )
    assert validation.confusion().tolist() == [[3, 0, 0], [0, 0, 0], [0, 1, 0]]
    assert validation.mistaken().tolist() == [3]


def test_top_5_counts_classes_above_the_right_one() -> None:
    scores = torch.arange(10.0).repeat(10, 1)
    validation = predictions_of(scores.tolist(), list(range(10)), 10).validation()
    assert validation.ranks.tolist() == list(range(9, -1, -1))
    assert validation.figures()["top5_accuracy"] == 0.5


@pytest.mark.parametrize("value", [float("nan"), 0.0])
def test_a_model_that_says_nothing_is_not_right(value: float) -> None:
    validation = predictions_of([[value] * 4] * 4, [0, 1, 2, 3], 4).validation()
    assert validation.figures()["accuracy"] <= 0.25
    assert ((validation.predicted == validation.labels) >= (validation.ranks == 0)).all()


def test_the_surest_mistakes_come_first_and_pairs_are_listed() -> None:
    logits = [[3.0, 0, 0], [9, 0, 0], [0, 0, 5], [0, 4, 0]]
    validation = predictions_of(logits, [1, 1, 2, 0], 3).validation()
    assert validation.mistaken().tolist() == [1, 3, 0]
    table = confused_table(validation.confusion(), ["가", "나", "다|라"]).splitlines()
    assert table[2] == "| 나 | 가 | 2 | 2 |" and table[3] == "| 가 | 나 | 1 | 1 |" and len(table) == 4


def test_the_confusion_image_is_bright_where_answers_are() -> None:
    picture = confusion_image(np.array([[4, 0], [1, 3]]))
    assert picture.dtype == np.uint8 and picture.shape == (512, 512, 3)
    assert picture[0, 0].tolist() == [255, 214, 92] and picture[0, -1].tolist() == [20, 24, 40]
    assert 100 < picture[-1, 0, 0] < 255
    assert confusion_image(np.eye(2771, dtype=np.int64)).shape == (2771, 2771, 3)


def test_a_rank_without_a_validation_clip_takes_part_with_none(cache: Cache) -> None:
    some = cache.positions("val")[:3]
    loaders = [ClipLoader(cache=cache, positions=some, batch_size=2, rank=rank, num_ranks=5) for rank in range(5)]
    batches = [next(iter(loader)) for loader in loaders]
    assert [len(batch) for batch in batches] == [1, 1, 1, 0, 0]
    glosses = cache.vocabulary
    metadata = ModelMetadata(model_spec=TINY, clip_spec=cache.clip_spec, vocabulary=glosses, cache_fingerprint="")
    classifier = SignClassifier(metadata, TrainConfig(), build_model(TINY, len(glosses)), total_steps=1).eval()
    for batch in batches:
        classifier.validation_step(batch, 0)
    assert classifier.predictions.validation().positions.tolist() == some.tolist()

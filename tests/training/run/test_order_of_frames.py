"""A model of landmarks reads the movement: words that pass through the same poses in opposite order."""

from pathlib import Path

import numpy as np
import pytest
import torch

from signprep.cache_builder import open_cache
from signprep.cache_builder.building.run import build_from_annotations
from signprep.cache_builder.options import BuildOptions
from signprep.cache_builder.reader import Cache
from signprep.inference.recognizer import Recognizer, load_checkpoint
from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.datasets.annotations import DatasetOptions
from signprep.pipeline.datasets.read import read_data_root
from signprep.pipeline.datasets.synthetic import dataset
from signprep.pipeline.options import SampleSpec
from signprep.training.config import TrainConfig
from signprep.training.model_spec import model_spec
from tests.training.small_runs import run

SAMPLE = SampleSpec(words=4, signers=8, takes=2, frame_size=(64, 64), keypoints=True)
"""왼쪽 and 오른쪽, 위 and 아래: the hand of one word takes the way of the other backwards."""
QUICK = TrainConfig(epochs=16, batch_size=16, learning_rate=2e-3)


@pytest.fixture(scope="module")
def landmarks(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    folder = tmp_path_factory.mktemp("movement")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dataset, "draw_figure", lambda *drawn: None)  # which takes most of the time; nobody looks at it
        dataset.render_dataset(SAMPLE, folder / "data", workers=1)
    clips = ClipSpec(landmarks="aihub", keypoint_size="64x64")
    annotations = read_data_root(folder / "data", DatasetOptions(landmarks="aihub"))
    build_from_annotations(annotations, folder / "movement.zarr", BuildOptions(clip_spec=clips))
    return open_cache(folder / "movement.zarr")


def accuracy(recognizer: Recognizer, clips: np.ndarray, labels: np.ndarray) -> float:
    found = recognizer.logits(torch.from_numpy(clips)).argmax(dim=1).numpy()
    return float((found == labels).mean())


@pytest.mark.parametrize("name", ["landmark_transformer", "landmark_conv"])
def test_shuffled_or_a_single_frame_a_word_is_not_told_from_its_opposite(
    landmarks: Cache, tmp_path: Path, name: str
) -> None:
    trained = run(landmarks, tmp_path / "run", QUICK, model_spec(name, dropout_rate=0.2))
    recognizer = load_checkpoint(trained.best_checkpoint)
    positions = landmarks.positions("val")
    clips, labels = landmarks.read(positions), landmarks.labels()[positions]
    assert accuracy(recognizer, clips, labels) >= 0.9
    generator = np.random.default_rng(0)
    shuffled = [accuracy(recognizer, clips[:, generator.permutation(clips.shape[1])], labels) for _ in range(20)]
    repeated = [accuracy(recognizer, clips[:, [frame] * clips.shape[1]], labels) for frame in range(clips.shape[1])]
    # What is left tells sideways from up and down, and guesses which way: a half is chance.
    assert np.mean(shuffled) <= 0.6
    assert np.mean(repeated) <= 0.6

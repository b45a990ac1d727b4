"""A tiny trained model, made once a test run."""

from pathlib import Path

import pytest

from signprep.cache_builder.reader import Cache
from signprep.training.config import TrainConfig
from signprep.training.model_spec import model_spec
from signprep.training.run import train


@pytest.fixture(scope="session")
def checkpoint(cache: Cache, tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = model_spec("efficient_x3d_xs", num_frames=2, crop_size=32)
    config = TrainConfig(epochs=1, batch_size=4)
    return train(cache, spec, config, tmp_path_factory.mktemp("run")).best_checkpoint

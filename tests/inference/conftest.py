"""Tiny trained models, made once a test run: of pixels, and of pixels and landmarks of the same signs."""

from pathlib import Path

import pytest

from signprep.cache_builder import open_cache
from signprep.cache_builder.building.run import build_from_annotations
from signprep.cache_builder.options import BuildOptions
from signprep.cache_builder.reader import Cache
from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.datasets.annotations import DatasetOptions
from signprep.pipeline.datasets.read import read_data_root
from signprep.pipeline.datasets.synthetic.dataset import render_dataset
from signprep.pipeline.options import SampleSpec
from signprep.training.config import TrainConfig
from signprep.training.model_spec import model_spec
from signprep.training.run import train


@pytest.fixture(scope="session")
def checkpoint(cache: Cache, tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = model_spec("efficient_x3d_xs", num_frames=2, crop_size=32)
    config = TrainConfig(epochs=1, batch_size=4)
    return train(cache, spec, config, tmp_path_factory.mktemp("run")).best_checkpoint


SIGNS = SampleSpec(words=2, signers=3, takes=2, frame_size=(128, 96), keypoints=True)


@pytest.fixture(scope="session")
def signs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Generated signing, with keypoints."""
    root = tmp_path_factory.mktemp("signs") / "수어"
    render_dataset(SIGNS, root, workers=1)
    return root


@pytest.fixture(scope="session")
def landmark_cache(signs: Path, tmp_path_factory: pytest.TempPathFactory) -> Cache:
    out = tmp_path_factory.mktemp("landmarks") / "landmarks.zarr"
    spec = ClipSpec(num_frames=8, landmarks="aihub", keypoint_size="128x96")
    build_from_annotations(read_data_root(signs, DatasetOptions(landmarks="aihub")), out, BuildOptions(clip_spec=spec))
    return open_cache(out)


@pytest.fixture(scope="session")
def pixel_cache(signs: Path, tmp_path_factory: pytest.TempPathFactory) -> Cache:
    """The clips of `landmark_cache` as pixels."""
    out = tmp_path_factory.mktemp("pixels") / "pixels.zarr"
    build_from_annotations(read_data_root(signs), out, BuildOptions(clip_spec=ClipSpec(num_frames=4, size=64)))
    return open_cache(out)


@pytest.fixture(scope="session")
def landmark_checkpoint(landmark_cache: Cache, tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = model_spec("landmark_conv", num_frames=4)
    config = TrainConfig(epochs=4, batch_size=4, learning_rate=1e-3, optimizer="adamw")
    return train(landmark_cache, spec, config, tmp_path_factory.mktemp("run")).best_checkpoint


@pytest.fixture(scope="session")
def pixel_checkpoint(pixel_cache: Cache, tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = model_spec("efficient_x3d_xs", num_frames=2, crop_size=32)
    return train(pixel_cache, spec, TrainConfig(epochs=1, batch_size=4), tmp_path_factory.mktemp("run")).best_checkpoint

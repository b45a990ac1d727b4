"""Training runs as small as tests need."""

from pathlib import Path

import torch

from signprep.cache_builder.reader import Cache
from signprep.training.config import TrainConfig
from signprep.training.model_spec import ModelSpec, model_spec
from signprep.training.run import TrainResult, train

TINY = model_spec("efficient_x3d_xs", num_frames=2, crop_size=32)
QUICK = TrainConfig(epochs=1, batch_size=4)


def quiet(line: str) -> None:
    pass


def run(
    cache: Cache, folder: Path, config: TrainConfig = QUICK, spec: ModelSpec = TINY, **options: object
) -> TrainResult:
    return train(cache, spec, config, folder, log=quiet, **options)  # type: ignore[arg-type]


def weights_of(checkpoint: Path) -> dict[str, torch.Tensor]:
    return torch.load(checkpoint, weights_only=True)["state_dict"]

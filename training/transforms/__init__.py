"""From stored batches to model input, on the device. The draws of augmentation are the loader's."""

import torch

from signprep.training.config import Augmentation
from signprep.training.model_spec.spec import ModelSpec
from signprep.training.transforms.draws import (
    FrameChoice as FrameChoice,
)
from signprep.training.transforms.draws import (
    flipped as flipped,
)
from signprep.training.transforms.draws import (
    frame_positions as frame_positions,
)
from signprep.training.transforms.draws import (
    jittered_frame_positions as jittered_frame_positions,
)
from signprep.training.transforms.draws import (
    num_draws as num_draws,
)
from signprep.training.transforms.draws import (
    sampling_matrices as sampling_matrices,
)
from signprep.training.transforms.landmarks import LandmarkTransform as LandmarkTransform
from signprep.training.transforms.mixing import LossFunction as LossFunction
from signprep.training.transforms.mixing import Mixed as Mixed
from signprep.training.transforms.mixing import mix as mix
from signprep.training.transforms.pixels import (
    AugmentFunction as AugmentFunction,
)
from signprep.training.transforms.pixels import (
    ClipTransform as ClipTransform,
)
from signprep.training.transforms.pixels import (
    chroma_grid as chroma_grid,
)
from signprep.training.transforms.pixels import (
    erased_boxes as erased_boxes,
)
from signprep.training.transforms.pixels import (
    i420_planes as i420_planes,
)
from signprep.training.transforms.pixels import (
    sampled as sampled,
)
from signprep.training.transforms.pixels import (
    tones as tones,
)
from signprep.training.transforms.views import View as View
from signprep.training.transforms.views import num_views as num_views
from signprep.training.transforms.views import views_of as views_of


def transform_of(
    spec: ModelSpec,
    augmentation: Augmentation | None = None,
    augment: AugmentFunction | None = None,
    memory_format: torch.memory_format = torch.channels_last_3d,
) -> ClipTransform | LandmarkTransform:
    """Return the transform of a model's clips, of pixels or of landmarks; the arguments are those of pixels."""
    if spec.content == "landmarks":
        return LandmarkTransform(spec, augmentation, augment)
    return ClipTransform(spec, augmentation, augment, memory_format)

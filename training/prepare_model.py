"""A model as a run wants it: built, filled with weights from elsewhere, frozen, laid out, compiled."""

from torch import nn

from signprep.pipeline.datasets.segment import Vocabulary
from signprep.training.config import TrainConfig
from signprep.training.model.pretrained import freeze_backbone, load_pretrained
from signprep.training.model_spec import ModelSpec, build_model, channels_last


def prepare_model(spec: ModelSpec, config: TrainConfig, vocabulary: Vocabulary) -> nn.Module:
    """Return the model that a run trains.

    Raises:
        TrainingError: a model of one's own does not build.
        CheckpointError: its first weights do not load or do not fit.
    """
    model = build_model(spec, len(vocabulary))
    if config.pretrained is not None:
        load_pretrained(model, spec, config.pretrained, vocabulary=vocabulary)
    if config.freeze_backbone:
        freeze_backbone(model, spec, len(vocabulary))
    model = channels_last(model)
    if config.compile:
        model.compile()
    return model

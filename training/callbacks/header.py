"""The lines at the start of a run that tell what is trained on what, and with which values."""

import numpy as np
from numpy.typing import NDArray

from signprep.cache_builder.reader import Cache
from signprep.training.config import Devices
from signprep.training.model.classifier import SignClassifier
from signprep.training.model_spec import ModelSpec, parameter_counts, weights_have_size
from signprep.training.runtime.device import choices

FAR_OFF = 2.0
"""Frames this many times as close, or as far apart, as those that weights were trained on are warned of."""


def header(
    cache: Cache,
    classifier: SignClassifier,
    train: NDArray[np.int64],
    val: NDArray[np.int64],
    devices: Devices,
    pretrained_spacing: float | None = None,
) -> list[str]:
    """Return the lines; `pretrained_spacing` is as of `load_pretrained`."""
    spec, config = classifier.metadata.model_spec, classifier.config
    total, trainable = parameter_counts(classifier.model)
    glosses = list(cache.vocabulary.glosses)
    shown = str(glosses[:20])[:-1] + (f", ... {len(glosses) - 20} more]" if len(glosses) > 20 else "]")
    stored = cache.clip_spec.size
    enlarged = f", enlarged from {stored} x {stored}" if spec.crop_size > stored else ""
    each = f" on each of {devices.num_ranks}" if devices.num_ranks > 1 else ""
    return [
        f"cache: {cache}",
        f"training clips: {len(train)}, validation clips: {len(val)}",
        f"classes: {len(glosses)}",
        f"class list: {shown}",
        f"model: {spec.name}, {spec.input_size}{enlarged}",
        f"   parameters: {total:,}",
        f"   trainable parameters: {trainable:,}",
        *spacing_lines(
            spec, classifier.frame_spacing, config.pretrained, pretrained_spacing, cache.clip_spec.num_frames
        ),
        f"batch size: {config.batch_size}{each}, epochs: {config.epochs}, on {devices}",
        choices(config, devices),
        *([] if classifier.taken is None else classifier.taken.lines()),
    ]


def spacing_lines(
    spec: ModelSpec, spacing: float | None, pretrained: str | None, of_weights: float | None, num_stored: int
) -> list[str]:
    """Return what tells how far apart the frames are, beside those that weights were trained on, and the warning."""
    if spacing is None:
        return []
    told = f"frames: {spacing:.2f} s apart, the median of the training clips"
    if pretrained is None:
        return [told]
    if of_weights is None:
        return [f"{told}; {pretrained} does not tell those of its weights"]
    told += f"; {of_weights:.2f} s apart when the weights were trained"
    ratio = spacing / of_weights
    if 1 / FAR_OFF < ratio < FAR_OFF:
        return [told]
    wanted, how = round(spec.num_frames * ratio), "as far apart" if ratio > 1 else "as close"
    advice = f"--clip-duration {spec.num_frames * of_weights:.1f} of a build brings them there"
    if 1 <= wanted <= num_stored and not weights_have_size(spec.name):
        advice = f"--num-frames {wanted} brings them there"
    return [told, f"warning: frames are {max(ratio, 1 / ratio):.1f} times {how} as those of the weights; {advice}"]

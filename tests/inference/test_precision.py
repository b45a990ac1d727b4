"""Predictions in bfloat16 are of the pixels that predictions in 32 bits are of."""

import numpy as np
import torch

from signprep.cache_builder.reader import Cache
from signprep.inference.recognizer import Recognizer
from signprep.training.model.checkpoint import ModelMetadata
from signprep.training.model_spec import model_spec
from tests.training.run.test_precision import Watching


def test_a_recognizer_in_bfloat16_sees_the_pixels_of_32_bits(cache: Cache) -> None:
    spec = model_spec("tests.training.run.test_precision:watching", num_frames=2, crop_size=32)
    card = ModelMetadata(
        model_spec=spec, clip_spec=cache.clip_spec, vocabulary=cache.vocabulary, cache_fingerprint=cache.fingerprint
    )
    clips = torch.from_numpy(cache.read(np.arange(3)))
    Watching.seen.clear()
    for precision in ("32", "bf16-mixed"):
        Recognizer(card, Watching(len(cache.vocabulary)), torch.device("cpu"), precision).logits(clips)
    expected, found = Watching.seen
    assert torch.equal(found, expected)

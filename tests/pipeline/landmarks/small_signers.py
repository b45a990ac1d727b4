"""Generated data whose signers are small, and somewhere in the picture."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from signprep.pipeline.datasets.synthetic import dataset, signers
from signprep.pipeline.options import SampleSpec


def write_small_signers(root: Path, monkeypatch: pytest.MonkeyPatch, spec: SampleSpec) -> None:
    """Write a sample, with keypoints, of signers of 0.4 to 0.75 of their size, off the centre."""

    def small(seed: int, number: int) -> signers.Signer:
        rng = np.random.default_rng([seed, number, 9])
        look, size = signers.signer_look(seed, number), rng.uniform(0.4, 0.75)
        half = spec.frame_size[0] / min(spec.frame_size) / 2 - 0.42 * size
        centre = rng.choice([-1, 1]) * rng.uniform(0.4, 1) * half, rng.uniform(size / 2 - 0.57, 0.43 - 0.45 * size)
        return replace(look, body_scale=look.body_scale * size, centre=centre)

    monkeypatch.setattr(dataset, "signer_look", small)
    dataset.render_dataset(spec, root, workers=1)
    monkeypatch.undo()

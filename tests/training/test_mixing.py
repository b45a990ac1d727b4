import pytest
import torch
from torch.nn import functional

from signprep.training.transforms import mix

CLIPS = torch.rand((3, 3, 2, 8, 8), generator=torch.Generator().manual_seed(0))


def test_nothing_is_mixed_unless_asked_for_or_alone() -> None:
    assert mix(CLIPS, mixup=0, cutmix=0, seed=1).clips is CLIPS
    assert mix(CLIPS[:1], mixup=1, cutmix=1, seed=1).own_fraction == 1


def test_mixup_blends_each_clip_with_its_neighbour_and_the_loss_with_its_label() -> None:
    mixed = mix(CLIPS, mixup=0.4, cutmix=0, seed=1)
    part = mixed.own_fraction
    assert 0 < part < 1
    assert torch.allclose(mixed.clips[1], part * CLIPS[1] + (1 - part) * CLIPS[0])
    logits, labels = torch.randn(3, 4), torch.tensor([0, 1, 2])
    loss = mixed.loss(functional.cross_entropy, logits, labels)
    targets = part * functional.one_hot(labels, 4) + (1 - part) * functional.one_hot(labels.roll(1), 4)
    assert loss == pytest.approx(float(functional.cross_entropy(logits, targets)))
    assert (
        mix(CLIPS, mixup=0.4, cutmix=0, seed=1).own_fraction
        == part
        != mix(CLIPS, mixup=0.4, cutmix=0, seed=2).own_fraction
    )


def test_cutmix_pastes_a_square_of_the_neighbour_and_counts_its_area() -> None:
    for seed in range(20):
        mixed = mix(CLIPS, mixup=0, cutmix=1.0, seed=seed)
        pasted = (mixed.clips[1] != CLIPS[1]).all(0).all(0)
        assert float(pasted.float().mean()) == pytest.approx(1 - mixed.own_fraction)
        assert torch.equal(mixed.clips[1][:, :, pasted], CLIPS[0][:, :, pasted])


def test_both_kinds_take_turns_by_chance() -> None:
    kinds = {bool((mix(CLIPS, mixup=1, cutmix=1, seed=seed).clips == CLIPS).any()) for seed in range(20)}
    assert kinds == {True, False}

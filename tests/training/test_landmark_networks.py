"""Networks over landmarks: what they see and what they do not."""

import pytest
import torch
from torch import Tensor

from signprep.pipeline.landmarks.points import NUM_POINTS, PARTS, SIGNER75
from signprep.training.config import NO_AUGMENTATION, Augmentation
from signprep.training.model_spec import build_model, model_spec
from signprep.training.model_spec.landmark_networks import NUM_FEATURES, landmark_features
from signprep.training.transforms import LandmarkTransform, num_draws, sampling_matrices
from signprep.training.transforms.draws import ERASE, FLIP
from signprep.training.transforms.landmarks import MIRRORED

NAMES = ["landmark_transformer", "landmark_conv"]


def clips(num_clips: int = 2, num_frames: int = 8) -> Tensor:
    """Landmarks of a signer who is seen as a whole, in the middle of the picture."""
    generator = torch.Generator().manual_seed(0)
    landmarks = torch.rand((num_clips, num_frames, NUM_POINTS, 3), generator=generator)
    landmarks[..., :2] = 0.3 + 0.4 * landmarks[..., :2]
    landmarks[..., 2] = 1
    landmarks[:, :, SIGNER75.index("left_shoulder"), :2] = torch.tensor([0.65, 0.4])
    landmarks[:, :, SIGNER75.index("right_shoulder"), :2] = torch.tensor([0.35, 0.4])
    return landmarks


@pytest.mark.parametrize("name", NAMES)
def test_place_and_size_of_the_signer_do_not_matter(name: str) -> None:
    model = build_model(model_spec(name, num_frames=8), 5).eval()
    here = clips()
    there = here.clone()
    there[..., :2] = here[..., :2] * 0.5 + torch.tensor([0.3, -0.1])
    with torch.no_grad():
        torch.testing.assert_close(model(there), model(here), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_frames_matters(name: str) -> None:
    model = build_model(model_spec(name, num_frames=8), 5).eval()
    with torch.no_grad():
        assert (model(clips()) - model(clips().flip(1))).abs().max() > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_points_that_were_not_seen_do_not_matter_whatever_stands_there(name: str) -> None:
    model = build_model(model_spec(name, num_frames=8), 5).eval()
    unseen, nonsense = clips(), clips()
    unseen[:, 3:5, PARTS["left_hand"]] = torch.tensor([torch.nan, torch.nan, 0.0])
    nonsense[:, 3:5, PARTS["left_hand"]] = torch.tensor([9e4, -torch.inf, 0.0])
    with torch.no_grad():
        assert torch.equal(model(unseen), model(nonsense))
        assert not torch.equal(model(unseen), model(clips()))


def test_nobody_in_the_picture_gives_finite_features() -> None:
    nobody = torch.full((1, 4, NUM_POINTS, 3), torch.nan)
    nobody[..., 2] = 0
    features = landmark_features(nobody)
    assert features.shape == (1, 4, NUM_FEATURES)
    assert torch.equal(features, torch.zeros_like(features))


def test_a_clip_of_other_frames_than_the_model_was_built_for_is_read() -> None:
    model = build_model(model_spec("landmark_transformer", num_frames=8), 5).eval()
    with torch.no_grad():
        assert model(clips(num_frames=5)).shape == (2, 5)


def middle_draws(num_clips: int, num_frames: int) -> Tensor:
    return torch.full((num_clips, num_draws(num_frames)), 0.5)


def test_points_move_as_the_pixels_below_them_would() -> None:
    limits = Augmentation(crop_scale=0.5, rotation_degrees=30.0, aspect=1.3, erase_probability=0.0, tempo=1.0)
    draws = torch.rand((2, num_draws(8)), generator=torch.Generator().manual_seed(1))
    shown = LandmarkTransform(model_spec("landmark_conv", num_frames=8), limits)(clips(), draws)
    matrices = sampling_matrices(draws, limits)
    # The map leads from a place of the new picture to the place of the old one that is shown there.
    new = torch.cat([shown[..., :2] * 2 - 1, torch.ones_like(shown[..., :1])], dim=-1)
    old = torch.einsum("bij,btpj->btpi", matrices, new)
    torch.testing.assert_close((old + 1) / 2, clips()[..., :2], atol=1e-5, rtol=1e-5)


def test_a_mirrored_signer_has_exchanged_hands() -> None:
    limits = Augmentation(**{**NO_AUGMENTATION.__dict__, "flip_probability": 1.0})
    draws = middle_draws(2, 8)
    draws[:, FLIP] = 0
    shown = LandmarkTransform(model_spec("landmark_conv", num_frames=8), limits)(clips(), draws)
    left, right = SIGNER75.index("left_wrist"), SIGNER75.index("right_wrist")
    torch.testing.assert_close(shown[:, :, left, 0], 1 - clips()[:, :, right, 0])
    assert all(MIRRORED[MIRRORED[point]] == point for point in range(NUM_POINTS))
    assert SIGNER75[MIRRORED[SIGNER75.index("left_brow_1")]] == "right_brow_5"


def test_a_lost_hand_is_unseen_for_some_frames_only() -> None:
    limits = Augmentation(**{**NO_AUGMENTATION.__dict__, "erase_probability": 1.0})
    draws = middle_draws(1, 8)
    draws[:, ERASE] = 0
    shown = LandmarkTransform(model_spec("landmark_conv", num_frames=8), limits)(clips(1), draws)
    seen = shown[0, :, :, 2] > 0
    assert 0 < (~seen[:, PARTS["right_hand"]]).all(dim=1).sum() < 8
    assert seen[:, PARTS["left_hand"]].all()

"""From stored landmarks to model input, on the device: frames are chosen, and in training the signer is moved.

In: float16 [B, T, 75, 3] as the cache stores them. Out: float32 [B, t, 75, 3]; normalisation is the model's.
"""

import torch
from torch import Generator, Tensor

from signprep.pipeline.landmarks.points import PARTS, SIGNER75
from signprep.training.config import Augmentation
from signprep.training.model_spec.spec import ModelSpec
from signprep.training.transforms.draws import (
    ERASE,
    ERASED,
    FrameChoice,
    exact,
    flipped,
    sampling_matrices,
    shown_frames,
)
from signprep.training.transforms.pixels import AugmentFunction
from signprep.training.transforms.views import View


def _mirrored(name: str) -> str:
    """Return the name of the point that takes a point's place in a mirrored picture."""
    side, _, rest = name.partition("_")
    if rest.startswith("brow"):  # numbered from the picture's left
        rest = f"brow_{6 - int(rest[-1])}"
    swapped = {"left": "right", "right": "left"}
    if side in swapped:
        return f"{swapped[side]}_{rest}"
    before, _, last = name.rpartition("_")
    return f"{before}_{swapped[last]}" if last in swapped else name


MIRRORED = tuple(SIGNER75.index(_mirrored(name)) for name in SIGNER75)
"""For each point, the one that takes its place when the picture is mirrored."""
_LONGEST_LOSS = 0.5
"""A hand is lost for up to this fraction of the frames."""


class LandmarkTransform:
    """Callable from stored landmarks to model input: plain, or augmented where draws are given."""

    def __init__(
        self, spec: ModelSpec, augmentation: Augmentation | None = None, augment: AugmentFunction | None = None
    ) -> None:
        """Make the transform of a model.

        Args:
            spec: the model's frames.
            augmentation: limits; the defaults if None. Of an erased clip one hand is lost for a while; colours are
                not there to be changed.
            augment: custom augmentation of landmarks [B, t, 75, 3], called after the others.
        """
        self._limits = augmentation or Augmentation()
        self._augment = augment
        self.frame_choice = FrameChoice(num_frames=spec.num_frames, limits=self._limits)
        """The frames that are shown; who applies it to clips beforehand says so by `frames_chosen`."""

    def __call__(
        self,
        clips: Tensor,
        draws: Tensor | None = None,
        *,
        seed: int = 0,
        view: View | None = None,
        frames_chosen: bool = False,
    ) -> Tensor:
        """Return float32 [B, t, 75, 3] of stored landmarks, float16 [B, T, 75, 3], on the clips' device.

        Args:
            clips: as stored.
            draws: the clips' random numbers, on the CPU; without them, nothing is augmented.
            seed: seeds the generator of the custom augmentation.
            view: the frames that are shown where nothing is augmented; evenly spaced ones if None.
            frames_chosen: the clips' frames are those that are shown, chosen by `frame_choice` before.
        """
        landmarks = (clips if frames_chosen else shown_frames(clips, draws, self.frame_choice, view)).float()
        if draws is None:
            return landmarks
        matrices = sampling_matrices(draws, self._limits).to(landmarks.device, non_blocking=True)
        landmarks = moved(landmarks, matrices)
        for place in flipped(draws, self._limits).nonzero()[:, 0].tolist():
            landmarks[place] = landmarks[place][:, list(MIRRORED)]
        for place, hand, frames in lost_hands(draws, self._limits, landmarks.shape[1]):
            landmarks[place, frames, hand] = landmarks.new_tensor((torch.nan, torch.nan, 0.0))
        if self._augment is not None:
            landmarks = self._augment(landmarks, Generator(landmarks.device).manual_seed(seed))
        return landmarks


def moved(landmarks: Tensor, matrices: Tensor) -> Tensor:
    """Return landmarks [B, t, 75, 3] where a picture sampled by these maps [B, 2, 3] shows them.

    The maps lead from the new picture to the old one, as `sampling_matrices` makes them, in coordinates of -1 to 1;
    points go the other way.
    """
    matrices = exact(matrices)
    turn, shift = matrices[:, :, :2], matrices[:, :, 2]
    old = landmarks[..., :2] * 2 - 1 - shift[:, None, None]
    new = torch.einsum("bij,btpj->btpi", torch.linalg.inv(turn), old).to(landmarks.dtype)
    return torch.cat([(new + 1) / 2, landmarks[..., 2:]], dim=-1)


def lost_hands(draws: Tensor, limits: Augmentation, num_frames: int) -> list[tuple[int, slice, slice]]:
    """Return, for each clip that loses a hand, its place in the batch, the hand's points and the frames."""
    lost = []
    for place in (draws[:, ERASE] < limits.erase_probability).nonzero()[:, 0].tolist():
        which, length, start, _ = draws[place, list(ERASED)].tolist()
        frames = max(1, round(_LONGEST_LOSS * length * num_frames))
        first = round(start * (num_frames - frames))
        hand = PARTS["left_hand" if which < 0.5 else "right_hand"]
        lost.append((place, hand, slice(first, first + frames)))
    return lost

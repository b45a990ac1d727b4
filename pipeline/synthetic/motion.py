"""What happens when: the timeline of a take, and the palms at every frame.

In: seed, signer, item and its motions. Out: a `Performance`, the same for all views, whose spans are exactly the
label's, and arrays of palm positions. Raising, lowering and changing hands happen outside the labelled spans.
"""

from dataclasses import dataclass

import numpy as np

from signprep.pipeline.synthetic.motions import SHAPES, Floats, Motion, ease, palm_positions
from signprep.pipeline.synthetic.signers import Signer

FRAMES_PER_SECOND = 30
REST_PALMS = np.array([[-0.215, 0.33, 0.05], [0.215, 0.33, 0.05]])
"""Palms [2, 3] of hanging arms, in the coordinates of `motions`."""
_TRANSITION_SECONDS = 0.42


@dataclass(frozen=True, kw_only=True)
class Stroke:
    """One sign of a performance."""

    motion: Motion
    start_seconds: float
    """To the millisecond, as the label says it."""
    end_seconds: float
    amplitude: float
    """Size of the motion, about 1."""
    shift: tuple[float, float, float]
    """Displacement of the path, in sides of the picture's square."""


@dataclass(frozen=True, kw_only=True)
class Performance:
    """One take: what its five views film."""

    num_frames: int
    strokes: tuple[Stroke, ...]
    sway_phase: float
    """Radians."""

    @property
    def duration_seconds(self) -> float:
        """Length of the video."""
        return self.num_frames / FRAMES_PER_SECOND


@dataclass(frozen=True, kw_only=True)
class Poses:
    """Both hands at every frame."""

    palms: Floats
    """[N, 2, 3]: x, y, z of each palm."""
    raised: Floats
    """[N, 2] in [0, 1]: 0 hanging with the fingers along the arm, 1 signing with the fingers up."""
    shapes: tuple[tuple[str, str], ...]
    """N pairs of a key of `motions.SHAPES`."""


def perform_word(rng: np.random.Generator, signer: Signer, motion: Motion) -> Performance:
    """One sign of 0.7-1.5 s over 20-40 % of a video of 90-150 frames, starting at 1-2 s."""
    sign_seconds = float(np.clip(1.06 * signer.tempo * rng.uniform(0.88, 1.12), 0.75, 1.45))
    seconds = np.clip(sign_seconds / rng.uniform(0.24, 0.37), 3.0, 5.0)
    num_frames = int(np.ceil(seconds * FRAMES_PER_SECOND))
    latest = min(2.0, num_frames / FRAMES_PER_SECOND - sign_seconds - _TRANSITION_SECONDS - 0.2)
    start_seconds = float(rng.uniform(1.0, latest))
    stroke = _stroke(rng, motion, start_seconds, sign_seconds)
    return Performance(num_frames=num_frames, strokes=(stroke,), sway_phase=float(rng.uniform(0, 2 * np.pi)))


def perform_sentence(rng: np.random.Generator, signer: Signer, motions: tuple[Motion, ...]) -> Performance:
    """Several signs, a little quicker, with pauses of 0.25-0.5 s between them."""
    strokes: list[Stroke] = []
    now = float(rng.uniform(1.0, 1.6))
    for motion in motions:
        sign_seconds = float(np.clip(0.85 * signer.tempo * rng.uniform(0.85, 1.15), 0.6, 1.2))
        strokes.append(_stroke(rng, motion, now, sign_seconds))
        now = strokes[-1].end_seconds + float(rng.uniform(0.25, 0.5))
    seconds = strokes[-1].end_seconds + float(rng.uniform(0.9, 1.5))
    return Performance(
        num_frames=int(np.ceil(seconds * FRAMES_PER_SECOND)),
        strokes=tuple(strokes),
        sway_phase=float(rng.uniform(0, 2 * np.pi)),
    )


def _stroke(rng: np.random.Generator, motion: Motion, start_seconds: float, sign_seconds: float) -> Stroke:
    x, y, z = rng.normal(0, 0.01, 3).clip(-0.02, 0.02).tolist()
    return Stroke(
        motion=motion,
        start_seconds=round(start_seconds, 3),
        end_seconds=round(start_seconds + sign_seconds, 3),
        amplitude=float(rng.uniform(0.92, 1.06)),
        shift=(x, y, z),
    )


def poses(performance: Performance, *, dominant_arm: int) -> Poses:
    """Hands at every frame: rest, the strokes, and the quickest smooth way between them."""
    seconds = np.arange(performance.num_frames) / FRAMES_PER_SECOND
    palms = np.broadcast_to(REST_PALMS, (len(seconds), 2, 3)).copy()
    raised = np.zeros((len(seconds), 2))
    shapes = [(SHAPES[0], SHAPES[0])] * len(seconds)
    before = (-np.inf, REST_PALMS, np.zeros(2))
    for stroke in performance.strokes:
        ends, up = _stroke_palms(stroke, np.array([0.0, 1.0]), dominant_arm)
        _move(seconds, palms, raised, before, (stroke.start_seconds, ends[0], up))
        within = (stroke.start_seconds <= seconds) & (seconds < stroke.end_seconds)
        u = (seconds[within] - stroke.start_seconds) / (stroke.end_seconds - stroke.start_seconds)
        palms[within] = _stroke_palms(stroke, u, dominant_arm)[0]
        raised[within] = up
        # A hand takes its shape while it is on its way, and keeps it until the next stroke's.
        for frame in np.flatnonzero(seconds >= stroke.start_seconds - _TRANSITION_SECONDS / 2):
            shapes[frame] = _hand_shapes(stroke.motion, dominant_arm)
        before = (stroke.end_seconds, ends[1], up)
    _move(seconds, palms, raised, before, (np.inf, REST_PALMS, np.zeros(2)))
    return Poses(palms=palms, raised=raised, shapes=tuple(shapes))


def _stroke_palms(stroke: Stroke, u: Floats, dominant_arm: int) -> tuple[Floats, Floats]:
    """Palms [N, 2, 3] at times u of a stroke, and which arms are raised [2]."""
    palms = palm_positions(stroke.motion, u, dominant_arm=dominant_arm) * stroke.amplitude + stroke.shift
    palms[..., 2] += 0.16  # hands are held before the body
    up = ~np.isnan(palms[0, :, 0])
    return np.where(up[:, None], palms, REST_PALMS), up.astype(float)


def _hand_shapes(motion: Motion, dominant_arm: int) -> tuple[str, str]:
    if motion.hands not in ("one", "on-base"):
        return (motion.shape, motion.shape)
    return (motion.shape, SHAPES[0]) if dominant_arm == 0 else (SHAPES[0], motion.shape)


def _move(
    seconds: Floats,
    palms: Floats,
    raised: Floats,
    before: tuple[float, Floats, Floats],
    after: tuple[float, Floats, Floats],
) -> None:
    """Fill the frames between two (seconds, palms [2, 3], raised [2]), in place."""
    start_seconds, end_seconds = before[0], after[0]
    if np.isinf(start_seconds):
        start_seconds = end_seconds - _TRANSITION_SECONDS
    if np.isinf(end_seconds):
        end_seconds = start_seconds + _TRANSITION_SECONDS
    frames = (start_seconds <= seconds) & (seconds < end_seconds)
    progress = ease((seconds[frames] - start_seconds) / (end_seconds - start_seconds))[:, None]
    palms[frames] = before[1] + progress[..., None] * (after[1] - before[1])
    # Hands that travel go around the body, not through it.
    bulge = 0.3 * np.linalg.norm(after[1] - before[1], axis=-1).clip(0, 0.2)
    palms[frames, :, 2] += bulge * np.sin(np.pi * progress)
    raised[frames] = before[2] + progress * (after[2] - before[2])

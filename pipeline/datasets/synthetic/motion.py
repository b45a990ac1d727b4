"""Signs as hand paths, and the timeline of a take: the palms at every frame.

Palm positions are x to the picture's right, y down, z to the camera, in sides of the picture's largest square, about a
point before the chest. The trade-off: stylised strokes over 30-45 % of the picture instead of real signs, so that four
frames of 112 x 112 tell them apart and time matters: 왼쪽/오른쪽 and 위/아래 pass through the same poses in opposite
order. From the sixth gloss on the motions are made up: nobody should learn sign language from them.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_WORDS = """
왼쪽, 오른쪽, 위, 아래, 중앙, 어쩔 수 없다, 3.1절, 걷다, 가족, 감사
학교, 병원, 사랑, 시간, 오늘, 내일, 어제, 아침, 저녁, 친구
물, 밥, 집, 길, 비, 눈, 바람, 하늘, 바다, 산
강, 나무, 꽃, 해, 달, 별, 봄, 여름, 가을, 겨울
월요일, 화요일, 수요일, 목요일, 금요일, 토요일, 일요일, 8.15 광복절, 할 수 있다, 할 수 없다
필요 없다, 관계 없다, 가다, 오다, 먹다, 마시다, 자다, 일어나다, 앉다, 서다
뛰다, 읽다, 쓰다, 듣다, 말하다, 보다, 알다, 모르다, 배우다, 가르치다
만나다, 헤어지다, 기다리다, 찾다, 주다, 받다, 사다, 팔다, 열다, 닫다
시작, 끝, 아버지, 어머니, 할아버지, 할머니, 형, 누나, 동생, 아기
남자, 여자, 사람, 선생님, 학생, 의사, 간호사, 경찰, 소방관, 운전사
요리사, 농부, 어부, 가수, 화가, 기자, 버스, 지하철, 택시, 기차
비행기, 배, 자전거, 자동차, 역, 공항, 정류장, 도로, 다리, 신호등
은행, 시장, 식당, 약국, 도서관, 우체국, 교회, 회사, 공원, 박물관
극장, 호텔, 경찰서, 소방서, 편의점, 백화점, 화장실, 주차장, 엘리베이터, 계단
빨강, 파랑, 노랑, 초록, 검정, 하양, 보라, 분홍, 크다, 작다
많다, 적다, 길다, 짧다, 높다, 낮다, 빠르다, 느리다, 덥다, 춥다
기쁘다, 슬프다, 화나다, 무섭다, 아프다, 건강, 피곤, 행복, 걱정, 미안
축하, 약속, 생일, 결혼, 여행, 운동, 음악, 영화, 사진, 컴퓨터
전화, 편지, 신문, 책, 연필, 종이, 가방, 옷, 신발, 모자
안경, 시계, 우산, 열쇠, 지갑, 돈, 우유, 커피, 과일, 김치
"""
GLOSSES = tuple(re.split(", |\n", _WORDS.strip()))

Floats = NDArray[np.float64]

AMPLITUDE = 0.2
"""Half the length of a full stroke, in sides of the picture's square."""

_PI = np.pi

# Each path: progress s in [0, 1] -> x, y, z in [-1, 1].
PATHS: dict[str, Callable[[Floats], tuple[Floats, Floats, Floats]]] = {
    "left": lambda s: (1 - 2 * s, 0 * s, 0 * s),
    "right": lambda s: (2 * s - 1, 0 * s, 0 * s),
    "up": lambda s: (0 * s, 1 - 2 * s, 0 * s),
    "down": lambda s: (0 * s, 2 * s - 1, 0 * s),
    "circle-clockwise": lambda s: (0.8 * np.sin(2 * _PI * s), -0.8 * np.cos(2 * _PI * s), 0 * s),
    "shake": lambda s: (0.9 * np.sin(4 * _PI * s), 0 * s, 0 * s),
    "up-left": lambda s: (0.8 - 1.6 * s, 0.8 - 1.6 * s, 0 * s),
    "arch-right": lambda s: (-0.9 * np.cos(_PI * s), 0.5 - np.sin(_PI * s), 0 * s),
    "zigzag-down": lambda s: (0.8 * np.cos(3 * _PI * s), 1.8 * s - 0.9, 0 * s),
    "push": lambda s: (0 * s, 0.35 - 0.7 * s, 1.6 * s - 0.6),
    "down-right": lambda s: (1.6 * s - 0.8, 1.6 * s - 0.8, 0 * s),
    "circle-counterclockwise": lambda s: (-0.8 * np.sin(2 * _PI * s), -0.8 * np.cos(2 * _PI * s), 0 * s),
    "there-and-back": lambda s: (-np.cos(2 * _PI * s), 0 * s, 0 * s),
    "nod": lambda s: (0 * s, 0.9 * np.sin(4 * _PI * s), 0 * s),
    "up-right": lambda s: (1.6 * s - 0.8, 0.8 - 1.6 * s, 0 * s),
    "arch-left": lambda s: (0.9 * np.cos(_PI * s), 0.5 - np.sin(_PI * s), 0 * s),
    "eight": lambda s: (0.9 * np.sin(2 * _PI * s), 0.7 * np.sin(4 * _PI * s), 0 * s),
    "zigzag-up": lambda s: (0.8 * np.cos(3 * _PI * s), 0.9 - 1.8 * s, 0 * s),
    "down-left": lambda s: (0.8 - 1.6 * s, 1.6 * s - 0.8, 0 * s),
    "bowl-right": lambda s: (-0.9 * np.cos(_PI * s), np.sin(_PI * s) - 0.5, 0 * s),
    "pull": lambda s: (0 * s, 0.7 * s - 0.35, 1 - 1.6 * s),
    "bowl-left": lambda s: (0.9 * np.cos(_PI * s), np.sin(_PI * s) - 0.5, 0 * s),
}

# Height of the place's centre (y down) and how far strokes go there.
PLACES = {"chest": (0.0, 1.0), "face": (-0.14, 0.75), "belly": (0.12, 0.75)}

HANDS = ("one", "mirrored", "parallel", "on-base", "alternating")
SHAPES = ("flat", "point", "fist")

# Where a way of using both hands would look like another one: without sideways motion mirrored hands are
# parallel ones, and a sideways stroke that alternates is parallel or (there-and-back) mirrored.
_SAME_AS_ANOTHER = {
    *((path, "mirrored") for path in ("up", "down", "nod", "push", "pull")),
    *((path, "alternating") for path in ("left", "right", "shake", "there-and-back")),
}


@dataclass(frozen=True, kw_only=True)
class Motion:
    """The motion that signs one gloss: a key of `PATHS` and of `PLACES`, a value of `HANDS` and of `SHAPES`."""

    gloss: str
    path: str
    place: str
    hands: str
    shape: str


def ease(u: Floats) -> Floats:
    """Return the progress along a path at time u; it starts and ends at rest, the same forwards and backwards.

    >>> ease(np.array([0.0, 0.5, 1.0])).tolist()
    [0.0, 0.5, 1.0]
    """
    return (1 - np.cos(_PI * u)) / 2


def palm_positions(motion: Motion, u: Floats, *, dominant_arm: int) -> Floats:
    """Return the palms [N, 2, 3] at times u [N], NaN for a hanging arm; arm 0 is at the picture's left.

    The direction is the picture's for every signer; handedness only chooses the arm.
    """
    s = ease(u)
    place_y, extent = PLACES[motion.place]
    moving = np.stack(PATHS[motion.path](s), axis=-1)
    palms = np.full((len(u), 2, 3), np.nan)
    if motion.hands in ("one", "on-base"):
        palms[:, dominant_arm] = moving
        if motion.hands == "on-base":
            other_arm = 1 - dominant_arm
            palms[:, other_arm] = (0.5 * (2 * other_arm - 1), 0.75, 0.2)
    elif motion.hands == "parallel":
        palms[:, 0] = moving * (0.6, 1, 1) - (0.38, 0, 0)
        palms[:, 1] = moving * (0.6, 1, 1) + (0.38, 0, 0)
    else:
        other = moving if motion.hands == "mirrored" else np.stack(PATHS[motion.path](1 - s), axis=-1)
        palms[:, 0] = moving * (0.5, 1, 1) - (0.6, 0, 0)
        palms[:, 1] = other * (-0.5, 1, 1) + (0.6, 0, 0)
    palms *= AMPLITUDE * extent
    palms[..., 1] += place_y
    return palms


def _all_motions() -> tuple[Motion, ...]:
    chosen = [(path, "chest", "one") for path in ("left", "right", "up", "down")]
    chosen.append(("there-and-back", "chest", "mirrored"))
    for number in range(len(PATHS) * len(PLACES) * len(HANDS)):
        # Neighbours in the list differ in everything; 3 places and 5 uses of hands are coprime, so none comes twice.
        path = tuple(PATHS)[number % len(PATHS)]
        turn = number + number // len(PATHS)
        place = tuple(PLACES)[turn % len(PLACES)]
        hands = HANDS[turn % len(HANDS)]
        if (path, hands) not in _SAME_AS_ANOTHER and (path, place, hands) not in chosen:
            chosen.append((path, place, hands))
    return tuple(
        Motion(gloss=gloss, path=path, place=place, hands=hands, shape=SHAPES[max(0, number - 4) % len(SHAPES)])
        for number, (gloss, (path, place, hands)) in enumerate(zip(GLOSSES, chosen, strict=False))
    )


MOTIONS = _all_motions()
"""One motion per gloss, in the order of `GLOSSES`; no two trajectories are alike."""


FRAMES_PER_SECOND = 30
REST_PALMS = np.array([[-0.215, 0.33, 0.05], [0.215, 0.33, 0.05]])
"""Palms [2, 3] of hanging arms."""
_TRANSITION_SECONDS = 0.42


@dataclass(frozen=True, kw_only=True)
class Stroke:
    """One sign of a performance."""

    motion: Motion
    start_seconds: float
    """Rounded to milliseconds, as in the label."""
    end_seconds: float
    amplitude: float
    """Size of the motion, about 1."""
    shift: tuple[float, float, float]
    """Displacement of the path, in sides of the picture's square."""


@dataclass(frozen=True, kw_only=True)
class Performance:
    """One take, as all five views film it, with exactly the spans of the label; hands are raised outside them."""

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
    """N pairs of values of `SHAPES`."""


def perform_word(rng: np.random.Generator, tempo: float, motion: Motion) -> Performance:
    """Return one sign of 0.7-1.5 s over 20-40 % of a video of 90-150 frames, starting at 1-2 s."""
    sign_seconds = float(np.clip(1.06 * tempo * rng.uniform(0.88, 1.12), 0.75, 1.45))
    seconds = np.clip(sign_seconds / rng.uniform(0.24, 0.37), 3.0, 5.0)
    num_frames = int(np.ceil(seconds * FRAMES_PER_SECOND))
    latest = min(2.0, num_frames / FRAMES_PER_SECOND - sign_seconds - _TRANSITION_SECONDS - 0.2)
    start_seconds = float(rng.uniform(1.0, latest))
    stroke = _stroke(rng, motion, start_seconds, sign_seconds)
    return Performance(num_frames=num_frames, strokes=(stroke,), sway_phase=float(rng.uniform(0, 2 * np.pi)))


def perform_sentence(rng: np.random.Generator, tempo: float, motions: tuple[Motion, ...]) -> Performance:
    """Return several signs, a little quicker, with pauses of 0.25-0.5 s between them."""
    strokes: list[Stroke] = []
    now = float(rng.uniform(1.0, 1.6))
    for motion in motions:
        sign_seconds = float(np.clip(0.85 * tempo * rng.uniform(0.85, 1.15), 0.6, 1.2))
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
    """Return the hands at every frame: at rest, in the strokes, and on the quickest smooth way between them."""
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
    """Return the palms [N, 2, 3] at times u of a stroke, and 1 for each raised arm [2]."""
    palms = palm_positions(stroke.motion, u, dominant_arm=dominant_arm) * stroke.amplitude + stroke.shift
    palms[..., 2] += 0.16  # hands are held before the body
    up = ~np.isnan(palms[0, :, 0])
    return np.where(up[:, None], palms, REST_PALMS), up.astype(float)


def _hand_shapes(motion: Motion, dominant_arm: int) -> tuple[str, str]:
    if motion.hands not in ("one", "on-base"):
        return (motion.shape, motion.shape)
    return (motion.shape, SHAPES[0]) if dominant_arm == 0 else (SHAPES[0], motion.shape)


_Moment = tuple[float, Floats, Floats]
"""Seconds, palms [2, 3] and raised arms [2]."""


def _move(seconds: Floats, palms: Floats, raised: Floats, before: _Moment, after: _Moment) -> None:
    """Fill the frames between two moments, in place."""
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

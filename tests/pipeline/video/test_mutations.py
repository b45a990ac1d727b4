"""Damaged videos are read or refused: no crash, no hang, no error but DecodeError. Seeded, so that it repeats."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.clips import Clip, Span, extract_clips
from signprep.pipeline.errors import DecodeError
from tests.generated_videos import GOPS, write_video

SPEC = ClipSpec(num_frames=4, size=32)
SPANS = [Span(0.0, 0.3), Span(0.2, 0.7), Span(0.5, 2.0)]
SHAPES = ("h264 B-pyramid", "h264 closed GOPs", "hevc B-pyramid", "vp9", "av1", "mpeg4 B", "mpeg4 in AVI", "vp8")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("videos")
    whole = {}
    for number, shape in enumerate(SHAPES):
        codec, options, suffix = GOPS[shape]
        faststart = {"movflags": "faststart"} if suffix == ".mp4" and number % 2 else None
        path = folder / f"{number}{suffix}"
        write_video(path, 20, codec=codec, options=options, width=64, height=48, container_options=faststart)
        whole[shape] = path.read_bytes()
    return whole


def mutate(data: bytes, rng: np.random.Generator) -> tuple[str, bytes]:
    """Return what was done, and the damaged bytes."""
    kind = str(rng.choice(["truncated", "bits flipped", "block zeroed", "block random", "blocks swapped", "head"]))
    changed = bytearray(data)
    size = int(rng.integers(1, max(2, len(data) // 8)))
    first, second = (int(rng.integers(0, len(data) - size)) for _ in range(2))
    if kind == "truncated":
        del changed[int(rng.integers(0, len(data))) :]
    elif kind == "bits flipped":
        for position in rng.integers(0, len(data), int(rng.integers(1, 20))):
            changed[position] ^= 1 << int(rng.integers(8))
    elif kind == "block zeroed":
        changed[first : first + size] = bytes(size)
    elif kind == "block random":
        changed[first : first + size] = rng.bytes(size)
    elif kind == "blocks swapped":
        changed[first : first + size], changed[second : second + size] = (
            data[second : second + size],
            data[first : first + size],
        )
    else:
        # Where containers keep their sizes and offsets: the first and the last bytes.
        for position in rng.integers(0, 600, 4):
            changed[position if rng.integers(2) else len(data) - 1 - position] = int(rng.choice([0, 1, 127, 255]))
    return kind, bytes(changed)


def outcomes(videos: dict[str, bytes], seeds: range) -> Iterator[tuple[str, Clip | DecodeError]]:
    for seed in seeds:
        rng = np.random.default_rng(seed)
        kind, data = mutate(videos[SHAPES[seed % len(SHAPES)]], rng)
        for clip in extract_clips(io.BytesIO(data), SPANS, SPEC, name="mutated video"):
            yield kind, clip


def check(videos: dict[str, bytes], seeds: range) -> None:
    num_clips, num_errors = 0, 0
    for kind, clip in outcomes(videos, seeds):
        if isinstance(clip, DecodeError):
            assert "mutated video" in str(clip)
            num_errors += 1
        else:
            assert clip.frames.shape == SPEC.clip_shape
            if kind == "truncated" and clip.span.end_seconds - clip.span.start_seconds > 8 / 30:
                assert len(set(clip.sampled_seconds.tolist())) == SPEC.num_frames
            num_clips += 1
    assert num_clips > len(seeds) // 4 and num_errors > len(seeds) // 4


def test_600_damaged_videos_are_read_or_refused(videos: dict[str, bytes]) -> None:
    check(videos, range(600))


@pytest.mark.slow
def test_1000_more_damaged_videos_are_read_or_refused(videos: dict[str, bytes]) -> None:
    check(videos, range(600, 1600))


def test_a_damaged_path_is_named(videos: dict[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / "NIA_SL_WORD0001_REAL01_F.mp4"
    path.write_bytes(videos["hevc B-pyramid"][:900])
    [clip] = extract_clips(path, [Span(0.0, 0.5)], SPEC)
    assert isinstance(clip, DecodeError) and path.name in str(clip)

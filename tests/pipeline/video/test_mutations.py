"""Damaged videos are read or refused: no crash, no hang, no error but DecodeError. Seeded, so that it repeats."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.clips import Clip, Span, extract_clips
from signprep.pipeline.datasets.files.video_files import DataRoots
from signprep.pipeline.errors import DecodeError
from signprep.pipeline.scan.videos import video_facts
from tests.generated_videos import GOPS, write_video
from tests.pipeline.video.field_coded import h264_pictures, write_fields

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


OPEN = {"x264-params": "keyint=10:bframes=2:open-gop=1:scenecut=0"}
MPEG2 = {"bf": "2", "b": "1M"}


@pytest.fixture(scope="module")
def streams(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Streams without an index, and frames in single fields."""
    folder = tmp_path_factory.mktemp("streams")
    small = {"width": 64, "height": 48}
    hevc = {"x265-params": "log-level=none:keyint=10"}
    written = [
        write_video(folder / "a.ts", 30, options=OPEN, **small),
        write_video(folder / "b.ts", 30, codec="libx265", options=hevc, **small),
        write_video(folder / "c.ts", 30, codec="mpeg2video", options=MPEG2, **small),
        write_video(folder / "d.mpg", 30, codec="mpeg2video", options=MPEG2, **small),
        write_video(folder / "e.flv", 30, **small),
        write_fields(folder / "f.ts", "libx264", h264_pictures(10, reordered=True), joined=False, form="mpegts"),
        write_fields(folder / "g.mkv", "libx264", h264_pictures(10, reordered=False), joined=False, form="matroska"),
    ]
    return {path.name: path.read_bytes() for path in written}


def check_streams(folder: Path, streams: dict[str, bytes], seeds: range) -> None:
    """Cut a third of them at their start too; none crashes, and each is told about by scan or served."""
    num_clips, names = 0, sorted(streams)
    for seed in seeds:
        rng = np.random.default_rng(seed)
        name = names[seed % len(names)]
        data = streams[name]
        _, data = mutate(data[int(rng.integers(0, len(data) // 2)) :] if seed % 3 == 0 else data, rng)
        (folder / name).write_bytes(data)
        clips = extract_clips(folder / name, SPANS, SPEC)
        num_clips += sum(isinstance(clip, Clip) for clip in clips)
        assert all(isinstance(clip, Clip) or name in str(clip) for clip in clips)
        for deep in (False, True):
            video_facts(DataRoots.single(folder), name, len(data), deep)
    assert num_clips > len(seeds) // 4


def test_100_damaged_streams_are_scanned_and_read_or_refused(tmp_path: Path, streams: dict[str, bytes]) -> None:
    check_streams(tmp_path, streams, range(100))


@pytest.mark.slow
def test_1000_more_damaged_streams_are_scanned_and_read_or_refused(tmp_path: Path, streams: dict[str, bytes]) -> None:
    check_streams(tmp_path, streams, range(100, 1100))

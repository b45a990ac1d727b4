import builtins
import multiprocessing
import threading
from pathlib import Path

import numpy as np
import pytest

from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.clips import Clip, Span, extract_clips
from signprep.pipeline.errors import DecodeError, SignprepError
from signprep.pipeline.video.pyav_reader import open_video
from tests.generated_videos import number_of, write_video
from tests.waiting import HANG_SECONDS

pytest.importorskip("decord", exc_type=ImportError)
SPEC = ClipSpec(num_frames=8, size=96)


def both(video: Path, span: Span, spec: ClipSpec = SPEC) -> tuple[Clip, Clip]:
    clips = [extract_clips(video, [span], spec, decoder=decoder)[0] for decoder in ("pyav", "decord")]
    assert isinstance(clips[0], Clip) and isinstance(clips[1], Clip), clips
    return clips[0], clips[1]


def test_a_variable_rate_and_a_late_start_give_the_same_frames(tmp_path: Path) -> None:
    gaps = np.random.default_rng(0).choice([1, 2, 3, 10], 59)
    timestamps = (3 + np.concatenate([[0], np.cumsum(gaps)]) / 60).tolist()
    video = write_video(tmp_path / "vfr.mkv", 60, timestamps=timestamps)
    clip, other = both(video, Span(0.3, timestamps[-1] - 3))
    assert [number_of(frame) for frame in clip.frames] == [number_of(frame) for frame in other.frames]
    assert np.array_equal(clip.sampled_seconds, other.sampled_seconds)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_turned_videos_are_upright_and_keep_their_aspect(tmp_path: Path, degrees: int) -> None:
    video = write_video(tmp_path / "turned.mp4", 12, display_degrees=degrees)
    clip, other = both(video, Span(0.0, 0.4), ClipSpec(num_frames=2, size=96, crop="full"))
    assert np.abs(clip.frames.astype(int) - other.frames).mean() < 2.5
    bars = clip.frames[0][2] if degrees == 180 else clip.frames[0][:96, 2]
    assert bars.max() <= 16


def test_a_file_object_is_read_and_left_at_its_start(tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mp4", 30)
    expected, _ = both(video, Span(0.0, 1.0))
    with video.open("rb") as file:
        file.seek(100)
        [clip] = extract_clips(file, [Span(0.0, 1.0)], SPEC, name="zip!a.mp4", decoder="decord")
        assert isinstance(clip, Clip) and file.tell() == 0
    assert np.array_equal(clip.sampled_seconds, expected.sampled_seconds)


def test_a_cut_file_fails_whole_or_gives_no_frame_behind_the_cut(tmp_path: Path) -> None:
    """decord indexes a file to its end at once: of a cut MP4 it gives nothing, the pyav reader its start."""
    video = write_video(tmp_path / "a.mp4", 90, container_options={"movflags": "faststart"})
    video.write_bytes(video.read_bytes()[: video.stat().st_size * 6 // 10])
    before, behind = extract_clips(video, [Span(0.0, 0.4), Span(2.0, 3.0)], SPEC, decoder="decord")
    assert isinstance(before, DecodeError) and isinstance(behind, DecodeError)
    assert "a.mp4" in str(behind)


def test_a_reader_of_another_thread_is_refused(tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mp4", 30)
    errors: list[Exception] = []

    def use() -> None:
        try:
            list(reader.frames_at([0.5]))
        except DecodeError as error:
            errors.append(error)

    with open_video(video, decoder="decord") as reader:
        thread = threading.Thread(target=use)
        thread.start()
        thread.join(HANG_SECONDS)
    assert len(errors) == 1 and "another thread" in str(errors[0])


def _use_inherited(reader: object, results: object) -> None:
    try:
        list(reader.frames_at([0.5]))
    except DecodeError as error:
        results.put(str(error))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_reader_inherited_over_fork_is_refused_and_does_not_hang(tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mp4", 30)
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    with open_video(video, decoder="decord") as reader:
        child = context.Process(target=_use_inherited, args=(reader, results))
        child.start()
        child.join(HANG_SECONDS)
        alive = child.is_alive()
        if alive:
            child.kill()
        assert not alive and "another thread or process" in results.get(timeout=HANG_SECONDS)
        assert len(list(reader.frames_at([0.5]))) == 1


def test_decord_missing_is_said_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without_decord(name: str, *args: object, **kwargs: object) -> object:
        if name == "decord":
            raise ImportError("No module named 'decord'")
        return real(name, *args, **kwargs)

    video = write_video(tmp_path / "a.mp4", 5)
    monkeypatch.setattr(builtins, "__import__", without_decord)
    with pytest.raises(SignprepError, match="pip install decord"):
        open_video(video, decoder="decord")


def test_an_unknown_decoder_is_a_mistake_of_the_caller(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="pyav, decord"):
        open_video(tmp_path / "a.mp4", decoder="ffms2")

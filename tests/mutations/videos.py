"""Damaged videos: each clip is refused, or its pictures are some of a plain decode of all frames."""

import io
import random
from pathlib import Path

import av

from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.clips import Clip, Span, extract_clips
from signprep.pipeline.errors import DecodeError
from signprep.pipeline.video.preprocess import FramePreprocessor
from signprep.pipeline.video.pyav_reader import open_video
from tests.generated_videos import GOPS, write_video
from tests.mutations.damage import damaged
from tests.pipeline.video.kinds import CODECS, CONTAINERS, Kind, RefusedError, write_kind

SPEC = ClipSpec(num_frames=4, size=32)
SPANS = (Span(0.0, 0.3), Span(0.2, 0.7), Span(0.5, 2.0), Span(0.9, 86_400.0))


def make(folder: Path) -> None:
    """Write the whole videos."""
    for name, (codec, options, suffix) in GOPS.items():
        write_video(folder / f"{name.replace(' ', '_')}{suffix}", 40, codec=codec, options=options, width=64, height=48)
    for codec in CODECS:
        for container in CONTAINERS:
            try:
                write_kind(folder, Kind(container, codec, "constant"))
            except RefusedError:
                continue


def check(folder: Path, rng: random.Random, work: Path) -> str:
    """Damage one video and cut it; return what became of it. Fails where a picture is none of the video's."""
    source = rng.choice(sorted(folder.iterdir()))
    data = damaged(source.read_bytes(), rng)
    clips = extract_clips(io.BytesIO(data), SPANS, SPEC, name="damaged video")
    for clip in clips:
        if isinstance(clip, DecodeError):
            assert str(clip).startswith("damaged video"), f"an error does not name its video: {clip}"
        else:
            assert clip.frames.shape == SPEC.clip_shape
            assert (clip.sampled_seconds[1:] >= clip.sampled_seconds[:-1]).all(), "frames go backwards"
    whole = [clip for clip in clips if isinstance(clip, Clip)]
    # Of damaged VP8 frames FFmpeg's decoder may leave out parts without an error: what the memory held is shown there.
    if whole and "vp8" not in source.name:
        # A plain decode carries damage on that a clip may have left out with the frames that it did not need.
        known = [pictures(data), pictures(source.read_bytes())]
        # Damage may move a picture to another time, and hide the one before it from the plain decode alone.
        in_both = known[1] | known[0]
        for clip in whole:
            require_pictures(clip, known, source.name)
            if source.suffix != ".avi":  # it has no times of presentation, and a plain decode guesses them
                require_times(clip, [*known, in_both], source.name)
    return "refused" if not whole else "read" if len(whole) == len(clips) else "read in part"


Shown = dict[bytes, set[float]]
"""The pictures of a decode, each with the seconds at which it is shown."""


def require_pictures(clip: Clip, known: list[Shown], name: str) -> None:
    """Fail where a clip has a picture that none of these decodes gives."""
    for picture, seconds in zip(clip.frames, clip.sampled_seconds, strict=True):
        assert any(picture.tobytes() in times for times in known), f"{name}: the picture at {seconds:.3f} s is made up"


def require_times(clip: Clip, known: list[Shown], name: str) -> None:
    """Fail unless a clip's pictures are at the times of one of these decodes, or all of them as much later."""
    for times in known:
        places = [times.get(picture.tobytes(), set()) for picture in clip.frames]
        shifts = [
            {round(place - seconds, 2) for place in found}
            for found, seconds in zip(places, clip.sampled_seconds.tolist(), strict=True)
        ]
        if any(all(abs(shift - other) < 0.015 for other in near) for shift, near in _nearest(shifts)):
            return
    raise AssertionError(f"{name}: the pictures of {clip.span} are not at their times {clip.sampled_seconds}")


def _nearest(shifts: list[set[float]]) -> list[tuple[float, list[float]]]:
    """Return each shift of the first picture with the shifts of the others that are nearest to it."""
    return [
        (shift, [min(others, key=lambda other: abs(other - shift), default=float("inf")) for others in shifts])
        for shift in shifts[0]
    ]


def pictures(data: bytes) -> Shown:
    """Return all pictures of a video, as clips have them, with the seconds at which a plain decode shows each."""
    known: Shown = {}
    with open_video(io.BytesIO(data)) as reader:
        preprocess = FramePreprocessor(SPEC, reader.pixel_aspect)
    with av.open(io.BytesIO(data), metadata_errors="ignore") as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1  # of slices that are damaged, several threads make other pictures
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets, None)
                if packet is None:
                    return known
                for frame in packet.decode():
                    seconds = float("inf") if frame.pts is None else float(frame.pts * frame.time_base)
                    known.setdefault(preprocess(frame).tobytes(), set()).add(seconds)
            except (av.error.FFmpegError, ValueError, EOFError):
                continue
            except IndexError:  # PyAV's, where a stream appears in the middle of a file
                continue

"""A generated data set in AIHub's shape: `video/*.mp4`, `label/*_morpheme.json` and, if asked for, `keypoint/*/*.json`.

In: a `SampleSpec`. Out: files, and a `SampleSummary`. The same spec gives the same bytes on any number of workers:
each video draws from its own generator, seeded by item, signer and view. A label is written before its video, and both
by rename, so that a video in the folder is complete and known to be generated: nothing else is ever overwritten.
"""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from pathlib import Path
from typing import Any

import av
import numpy as np
from joblib import Parallel, delayed

from signprep.pipeline.datasets.synthetic.keypoints import keypoint_documents, keypoints_of
from signprep.pipeline.datasets.synthetic.motion import (
    FRAMES_PER_SECOND,
    MOTIONS,
    Performance,
    perform_sentence,
    perform_word,
)
from signprep.pipeline.datasets.synthetic.person import Canvas, Plane, draw_figure, noise_field, studio
from signprep.pipeline.datasets.synthetic.signers import VIEW_DEGREES, Signer, film, signer_look, signer_numbers
from signprep.pipeline.errors import AnnotationError
from signprep.pipeline.options import SampleSpec
from signprep.pipeline.runtime.installation import install_packages
from signprep.pipeline.runtime.machine import run_in, start_workers
from signprep.pipeline.runtime.paths import StrPath, as_path
from signprep.pipeline.runtime.progress import progress_bar
from signprep.pipeline.runtime.text import json_text

GENERATED_URL = "signprep:make-sample"
"""`metaData.url` of generated labels; real ones have another."""

# Videos are like AIHub's: H.264 High, 30 fps, one keyframe, B-pyramid, moov last, no audio. The preset superfast needs
# half the time of veryfast at the same size, and keeps B-frames and the 8 x 8 transform.
# 8 Mbit/s at 1920x1080 as in AIHub. Small pictures need more bits a pixel, hence the least rate.
_BITS_PER_PIXEL = 8e6 / (1920 * 1080)
_LEAST_BITS_PER_SECOND = 150_000
_X264 = (
    "keyint=250:min-keyint=250:scenecut=0:bframes=3:b-adapt=0:b-pyramid=normal:weightp=0"
    ":threads=1:lookahead-threads=1:sliced-threads=0"
)


@dataclass(frozen=True, kw_only=True)
class SampleSummary:
    """The number of written videos, and the bytes of videos and labels."""

    num_videos: int
    num_bytes: int


@dataclass(frozen=True, kw_only=True)
class VideoTask:
    """One video to render, with all that a worker needs as plain values."""

    spec: SampleSpec
    out: Path
    item: str
    """WORD0001, SEN0001."""
    motion_numbers: tuple[int, ...]
    """Positions in `MOTIONS`, one for each segment."""
    signer_number: int
    view: str

    @property
    def base_name(self) -> str:
        """File name without its suffix."""
        return f"NIA_SL_{self.item}_REAL{self.signer_number:02d}_{self.view}"

    @property
    def video(self) -> Path:
        """Path of the video."""
        return self.out / "video" / f"{self.base_name}.mp4"

    @property
    def keypoints(self) -> Path:
        """Path of the folder of its keypoints, a file a frame."""
        return self.out / "keypoint" / self.base_name

    @property
    def label(self) -> Path:
        """Path of its label."""
        return self.out / "label" / f"{self.base_name}_morpheme.json"


def render_dataset(spec: SampleSpec, out: StrPath, *, workers: int = -1) -> SampleSummary:
    """Render all videos and labels of a spec below `out`, in parallel; -1 workers are all cores.

    Raises AnnotationError if `out` cannot be written or holds files that this did not generate, ValueError if
    `workers` is neither -1 nor positive.
    """
    out = as_path(out)
    if workers < 1 and workers != -1:
        raise ValueError(f"workers is {workers}; expected -1 for all cores, or at least 1")
    tasks = list(plan_videos(spec, out))
    _prepare_folder(out, tasks)
    start_workers(min(workers, len(tasks)))
    written = Parallel(n_jobs=min(workers, len(tasks)), return_as="generator_unordered")(
        delayed(run_in)(Path.cwd(), render_task, task) for task in tasks
    )
    num_bytes = 0
    with progress_bar("Rendering", len(tasks), "videos") as progress:
        for num_done, size in enumerate(written, start=1):
            num_bytes += size
            progress(num_done)
    return SampleSummary(num_videos=len(tasks), num_bytes=num_bytes)


def plan_videos(spec: SampleSpec, out: Path) -> Iterator[VideoTask]:
    """Yield a task for each video: item by item, signer by signer, view by view."""
    items: list[tuple[str, tuple[int, ...]]] = [
        (f"WORD{take * spec.words + word + 1:04d}", (word,)) for take in range(spec.takes) for word in range(spec.words)
    ]
    items += [(f"SEN{number + 1:04d}", _sentence(spec, number)) for number in range(spec.sentences)]
    for (item, motion_numbers), signer_number, view in product(items, signer_numbers(spec.signers), spec.views):
        yield VideoTask(
            spec=spec, out=out, item=item, motion_numbers=motion_numbers, signer_number=signer_number, view=view
        )


def _sentence(spec: SampleSpec, number: int) -> tuple[int, ...]:
    """Return the 3-8 motions of a sentence, the same for all signers; no sign follows itself if there are others."""
    rng = np.random.default_rng([spec.seed, number, 4])
    chosen = [int(rng.integers(spec.words))]
    for _ in range(int(rng.integers(2, 8))):
        step = int(rng.integers(1, spec.words)) if spec.words > 1 else 0
        chosen.append((chosen[-1] + step) % spec.words)
    return tuple(chosen)


def render_task(task: VideoTask) -> int:
    """Write one label and its video, and return their bytes; runs in a worker."""
    signer = signer_look(task.spec.seed, task.signer_number)
    performance = _perform(task, signer)
    # The names are hidden, so that the rest of a stopped rendering is not taken for an unfinished download.
    beside = task.video.with_name(f".{task.video.name}.part")
    label_beside = task.label.with_name(f".{task.label.name}.part")
    try:
        label_beside.write_text(json_text(label_document(task, performance)) + "\n", encoding="utf-8")
        label_beside.replace(task.label)
        if task.spec.keypoints:
            _write_keypoints(task, performance, signer)
        _encode(beside, _pictures(task, performance, signer), task.spec.frame_size)
        beside.replace(task.video)
        return task.video.stat().st_size + task.label.stat().st_size
    except OSError as error:
        raise AnnotationError(
            f"{task.video}: cannot be written ({error.strerror or error}); "
            "free some space or choose another folder, and run make-sample again"
        ) from error


def _write_keypoints(task: VideoTask, performance: Performance, signer: Signer) -> None:
    beside = task.keypoints.with_name(f".{task.base_name}.part")
    for folder in (beside, task.keypoints):
        shutil.rmtree(folder, ignore_errors=True)
    beside.mkdir(parents=True)
    keypoints = keypoints_of(film(performance, signer, task.view), signer, task.spec.frame_size)
    for number, document in enumerate(keypoint_documents(keypoints)):
        (beside / f"{task.base_name}_{number:012d}_keypoints.json").write_text(document, encoding="utf-8")
    beside.replace(task.keypoints)


def _perform(task: VideoTask, signer: Signer) -> Performance:
    # The view is no part of this seed: all views film the same performance.
    rng = np.random.default_rng(_seeds(task))
    motions = tuple(MOTIONS[number] for number in task.motion_numbers)
    if task.item.startswith("SEN"):
        return perform_sentence(rng, signer.tempo, motions)
    return perform_word(rng, signer.tempo, motions[0])


def _seeds(task: VideoTask) -> list[int]:
    return [task.spec.seed, task.signer_number, 2, *task.item.encode()]


def _encode(path: Path, pictures: Iterator[av.VideoFrame], frame_size: tuple[int, int]) -> None:
    """Write pictures to `path`, whatever its suffix: the same bytes in every run, with one thread and no date."""
    width, height = frame_size
    with av.open(str(path), "w", format="mp4") as container:
        try:
            stream = container.add_stream("libx264", rate=FRAMES_PER_SECOND)
        except ValueError as error:  # PyAV's UnknownCodecError is one
            raise AnnotationError(
                f"{path}: cannot be encoded: this FFmpeg has no libx264; PyAV's own wheels do: "
                + install_packages("--force-reinstall", "--only-binary", "av", "av")
            ) from error
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.bit_rate = max(_LEAST_BITS_PER_SECOND, round(_BITS_PER_PIXEL * width * height))
        stream.thread_count = 1
        stream.options = {"preset": "superfast", "profile": "high", "x264-params": _X264}
        for number, picture in enumerate(pictures):
            picture.pts, picture.time_base = number, Fraction(1, FRAMES_PER_SECOND)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def _pictures(task: VideoTask, performance: Performance, signer: Signer) -> Iterator[av.VideoFrame]:
    rng = np.random.default_rng([*_seeds(task), sorted(VIEW_DEGREES).index(task.view)])
    width, height = frame_size = task.spec.frame_size
    joints = film(performance, signer, task.view)
    backdrop = studio(signer.background, frame_size, rng)
    noise = noise_field(frame_size)
    luma = np.empty_like(backdrop.y)
    for number in range(performance.num_frames):
        picture = av.VideoFrame(width, height, "yuv420p")
        y, u, v = (_plane(picture, index) for index in range(3))
        luma[...], u[...], v[...] = backdrop.y, backdrop.u, backdrop.v
        draw_figure(Canvas(y=luma, u=u, v=v), joints, number, signer)
        # Noise is the sensor's, so it lies over figure and background alike; chroma's would be denoised by a camera.
        down, right = rng.integers(0, 64, 2)
        np.add(luma, noise[down : down + height, right : right + width], out=y)
        yield picture


def _plane(picture: av.VideoFrame, index: int) -> Plane:
    """Return a writable view of a frame's plane, without the padding of its lines."""
    plane = picture.planes[index]
    return np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]


def label_document(task: VideoTask, performance: Performance) -> dict[str, Any]:
    """Return the morpheme JSON of a video, in AIHub's form."""
    return {
        "metaData": {
            "url": GENERATED_URL,
            "name": task.video.name,
            "duration": round(performance.duration_seconds, 3),
            "exportedOn": "2020/12/10",
        },
        "data": [
            {
                "start": stroke.start_seconds,
                "end": stroke.end_seconds,
                "attributes": [{"name": stroke.motion.gloss}],
            }
            for stroke in performance.strokes
        ],
    }


def _prepare_folder(out: Path, tasks: list[VideoTask]) -> None:
    """Make `video` and `label` below `out`; refuse a folder where anything else would be mixed in or overwritten."""
    advice = "choose an empty or new folder for make-sample"
    planned = {path.name for task in tasks for path in (task.video, task.label, task.keypoints)}
    folders = ("video", "label", *(("keypoint",) if tasks[0].spec.keypoints else ()))
    try:
        for entry in sorted(out.iterdir()) if out.exists() else ():
            # Caches may lie beside their data, and desktops leave hidden files.
            if entry.name not in folders and entry.suffix != ".zarr" and not entry.name.startswith("."):
                raise AnnotationError(f"{entry}: is not part of a generated data set; {advice}")
        for folder in (out / name for name in folders):
            folder.mkdir(parents=True, exist_ok=True)
            for path in sorted(folder.iterdir()):
                if path.name not in planned and not path.name.startswith("."):
                    raise AnnotationError(f"{path}: is not one of the files that these options give; {advice}")
        for task in tasks:
            if (task.video.exists() or task.label.exists()) and not _is_generated(task.label):
                raise AnnotationError(f"{task.video}: was not made by make-sample and stays as it is; {advice}")
        probe = out / "video" / f".{tasks[0].video.name}.part"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise AnnotationError(
            f"{error.filename or out}: cannot be written ({error.strerror or error}); choose a folder you may write to"
        ) from error


def _is_generated(label: Path) -> bool:
    try:
        return bool(json.loads(label.read_bytes())["metaData"]["url"] == GENERATED_URL)
    except (OSError, ValueError, KeyError, TypeError):
        return False

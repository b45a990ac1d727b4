"""A data set in LeRobot's format 3.0: Parquet files of frames, and long videos in which clips follow one another.

An episode is a clip, its task the gloss; episodes of a split follow one another, and `meta/info.json` says which. A row
of `data/` is a frame. LeRobot counts time by one rate, so clips that last longer or shorter than the median play at
another speed here; `seconds` has the time of each frame in its video. Points are `observation.state`, those that were
not seen 0 with confidence 0.
"""

import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from signprep.cache_builder.export.clips import MEASURED_CLIPS, Export, Fidelity, decoded_clip
from signprep.cache_builder.report.pictures import h264_stream
from signprep.pipeline.landmarks.points import SIGNER75
from signprep.pipeline.runtime.atomic_files import write_json

VERSION = "v3.0"
CAMERA, STATE = "observation.images.clip", "observation.state"
CLIPS_A_FILE, FILES_A_CHUNK = 100, 1000
_FILE = "chunk-{chunk_index:03d}/file-{file_index:03d}"
_COUNTED: dict[str, str] = {
    "timestamp": "float32", "frame_index": "int64", "episode_index": "int64", "index": "int64", "task_index": "int64",
    "label": "int64", "seconds": "float64",
}  # fmt: skip
"""Columns of a frame that are one number; the first five are those that LeRobot asks for."""


def write_lerobot(export: Export, folder: Path, progress: Callable[[int], None]) -> None:
    """Write all splits into a folder, and measure the videos. Raises CacheCorruptError if a clip is damaged."""
    positions, num_frames = export.positions, export.cache.clip_spec.num_frames
    lengths = [export.told(position)["seconds"] for position in positions]
    fps = max(1, round(num_frames / statistics.median(lengths)))
    groups = [positions[first : first + CLIPS_A_FILE] for first in range(0, len(positions), CLIPS_A_FILE)]
    totals: list[dict[str, NDArray[np.float64]]] = []
    for number, found in export.in_order(
        lambda number: _write_group(export, folder, number, groups[number], fps), range(len(groups))
    ):
        totals.append(found)
        progress(sum(map(len, groups[: number + 1])))
    if export.is_video:
        written = decoded_clip((folder / _path("videos", 0)).read_bytes(), export.cache.clip_spec.pixels)
        clips = written.reshape(-1, num_frames, *written.shape[1:])[:MEASURED_CLIPS]
        export.fidelity = Fidelity.of(zip(export.cache.read(groups[0][:MEASURED_CLIPS]), clips, strict=True))
    _write_meta(export, folder, groups, fps, totals)


def _write_group(
    export: Export, folder: Path, number: int, positions: list[int], fps: int
) -> dict[str, NDArray[np.float64]]:
    """Write the frames of some clips, and the video of them; return the sums that the statistics are made of."""
    cache, num_frames = export.cache, export.cache.clip_spec.num_frames
    first, count = number * CLIPS_A_FILE, len(positions)
    labels = np.repeat(cache.labels()[positions].astype(np.int64), num_frames)
    frame = np.tile(np.arange(num_frames), count)
    columns: dict[str, Any] = {
        "timestamp": (frame / fps).astype(np.float32),
        "frame_index": frame,
        "episode_index": np.repeat(np.arange(first, first + count), num_frames),
        "index": np.arange(first * num_frames, (first + count) * num_frames),
        "task_index": labels,
        "label": labels,
        "seconds": np.concatenate([_seconds(export, position) for position in positions]),
    }
    numbers = {name: np.asarray(values, np.float64)[:, None] for name, values in columns.items()}
    table = pa.table(columns)
    if export.is_video:
        video = folder / _path("videos", number)
        video.parent.mkdir(parents=True, exist_ok=True)
        numbers[CAMERA] = _write_video(export, video, positions, fps)
    else:
        points = np.nan_to_num(cache.read(positions).astype(np.float32)).reshape(count * num_frames, -1)
        states = pa.FixedSizeListArray.from_arrays(pa.array(points.ravel()), points.shape[1])
        table = table.append_column(STATE, states.cast(pa.list_(pa.float32())))
        numbers[STATE] = points.astype(np.float64)
    data = folder / _path("data", number)
    data.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, data)
    return {f"{name}/{kind}": value for name, values in numbers.items() for kind, value in _sums(values).items()}


def _write_video(export: Export, path: Path, positions: list[int], fps: int) -> NDArray[np.float64]:
    """Write clips one after another, each from a key frame on; return pixels of each first frame, 0 to 1, [N, 3]."""
    pixels = []
    with av.open(path, "w", format="mp4") as container:
        stream, shown = None, 0
        for position in positions:
            frames = export.frames(position)
            if stream is None:
                every = {"g": str(len(frames)), "keyint_min": str(len(frames)), "sc_threshold": "0"}
                stream = h264_stream(container, frames[0], fps, export.options.crf, **every)
            pixels.append(frames[0].to_ndarray(format="rgb24").reshape(-1, 3) / 255)
            for frame in frames:
                frame.colorspace, frame.color_range = stream.codec_context.colorspace, stream.codec_context.color_range
                frame.pts, frame.time_base = shown, 1 / stream.codec_context.framerate
                container.mux(stream.encode(frame))
                shown += 1
        assert stream is not None
        container.mux(stream.encode(None))
    return np.concatenate(pixels)


def _seconds(export: Export, position: int) -> NDArray[np.float64]:
    """Return when each frame is shown in its video, by the index, float64 [T]."""
    sampled = export.cache.index["sampled_seconds"][position].as_py()
    num_frames, told = export.cache.clip_spec.num_frames, export.told(position)
    if sampled is not None and len(sampled) == num_frames:
        return np.array(sampled, np.float64)
    return told["start_seconds"] + (np.arange(num_frames) + 0.5) * told["seconds"] / num_frames


def _sums(values: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Return what the statistics of many groups are made of, of values [N, columns]."""
    made = {"min": values.min(0), "max": values.max(0), "sum": values.sum(0), "squares": (values**2).sum(0)}
    return made | {"count": np.array([len(values)], np.float64)}


def _write_meta(
    export: Export, folder: Path, groups: list[list[int]], fps: int, totals: list[dict[str, NDArray[np.float64]]]
) -> None:
    """Write tasks, episodes, statistics, and last the info, without which LeRobot finds no data set."""
    spec, glosses = export.cache.clip_spec, export.cache.vocabulary.glosses
    meta, num_clips = folder / "meta", len(export.positions)
    episodes = meta / "episodes" / f"{_FILE.format(chunk_index=0, file_index=0)}.parquet"
    episodes.parent.mkdir(parents=True)
    pq.write_table(_tasks(glosses), meta / "tasks.parquet")
    pq.write_table(_episodes(export, groups, fps), episodes)
    write_json(meta / "stats.json", _statistics(totals, CAMERA if export.is_video else STATE))
    ends = np.cumsum([0, *map(len, export.splits.values())]).tolist()
    features: dict[str, Any] = {name: {"dtype": dtype, "shape": [1], "names": None} for name, dtype in _COUNTED.items()}
    if export.is_video:
        features[CAMERA] = _camera(export, fps)
    else:
        names = [f"{point}.{axis}" for point in SIGNER75 for axis in ("x", "y", "confidence")]
        features[STATE] = {"dtype": "float32", "shape": [len(names)], "names": names}
    info = {
        "codebase_version": VERSION,
        "robot_type": None,
        "total_episodes": num_clips,
        "total_frames": num_clips * spec.num_frames,
        "total_tasks": len(glosses),
        "chunks_size": FILES_A_CHUNK,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "fps": fps,
        "splits": {split: f"{ends[place]}:{ends[place + 1]}" for place, split in enumerate(export.splits)},
        "data_path": f"data/{_FILE}.parquet",
        "video_path": f"videos/{{video_key}}/{_FILE}.mp4" if export.is_video else None,
        "features": features,
    }
    write_json(meta / "info.json", info)


def _camera(export: Export, fps: int) -> dict[str, Any]:
    [like, *_], size = export.frames(export.positions[0]), export.cache.clip_spec.size
    told = {
        "height": size, "width": size, "codec": "h264", "pix_fmt": "yuv420p" if like.format.name != "rgb24" else "gbrp",
        "is_depth_map": False, "fps": fps, "channels": 3,
    }  # fmt: skip
    video = {f"video.{name}": value for name, value in told.items()} | {"has_audio": False}
    return {"dtype": "video", "shape": [size, size, 3], "names": ["height", "width", "channels"], "info": video}


def _tasks(glosses: tuple[str, ...]) -> pa.Table:
    """Return the tasks by number, with the glosses as what pandas takes for the index."""
    index = "__index_level_0__"
    described = {
        "index_columns": [index],
        "column_indexes": [],
        "columns": [
            {"name": "task_index", "field_name": "task_index", "pandas_type": "int64", "numpy_type": "int64"},
            {"name": None, "field_name": index, "pandas_type": "unicode", "numpy_type": "object"},
        ],
        "pandas_version": "2.0.0",
    }
    columns = {"task_index": pa.array(range(len(glosses)), pa.int64()), index: pa.array(glosses, pa.string())}
    return pa.table(columns).replace_schema_metadata({"pandas": json.dumps(described)})


def _episodes(export: Export, groups: list[list[int]], fps: int) -> pa.Table:
    num_frames, glosses = export.cache.clip_spec.num_frames, export.cache.vocabulary.glosses
    labels = export.cache.labels()[export.positions].tolist()
    number = np.arange(len(labels))
    group = number // CLIPS_A_FILE
    chunk, file, within = group // FILES_A_CHUNK, group % FILES_A_CHUNK, number % CLIPS_A_FILE
    told = [export.told(position) for group in groups for position in group]
    columns: dict[str, Any] = {
        "episode_index": number,
        "tasks": pa.array([[glosses[label]] for label in labels], pa.list_(pa.string())),
        "length": np.full(len(labels), num_frames),
        "data/chunk_index": chunk,
        "data/file_index": file,
        "dataset_from_index": number * num_frames,
        "dataset_to_index": (number + 1) * num_frames,
        "meta/episodes/chunk_index": np.zeros(len(labels), np.int64),
        "meta/episodes/file_index": np.zeros(len(labels), np.int64),
    }
    if export.is_video:
        columns |= {
            f"videos/{CAMERA}/chunk_index": chunk,
            f"videos/{CAMERA}/file_index": file,
            f"videos/{CAMERA}/from_timestamp": within * num_frames / fps,
            f"videos/{CAMERA}/to_timestamp": (within + 1) * num_frames / fps,
        }
    names = ("position", "split", "segment_id", "source_video", "signer", "view", "take", "seconds")
    return pa.table(columns | {f"clip/{name}": [known[name] for known in told] for name in names})


def _statistics(totals: list[dict[str, NDArray[np.float64]]], contents: str) -> dict[str, Any]:
    """Return minimum, maximum, mean and standard deviation of each column; of pictures by colour, shape [3, 1, 1]."""
    found: dict[str, Any] = {}
    for name in [*_COUNTED, contents]:
        of = {kind: [total[f"{name}/{kind}"] for total in totals] for kind in ("min", "max", "sum", "squares", "count")}
        count = np.sum(of["count"])
        mean = np.sum(of["sum"], axis=0) / count
        std = np.sqrt(np.maximum(np.sum(of["squares"], axis=0) / count - mean**2, 0))
        figures = {"min": np.min(of["min"], axis=0), "max": np.max(of["max"], axis=0), "mean": mean, "std": std}
        shape = (3, 1, 1) if name == CAMERA else (-1,)
        found[name] = {kind: value.reshape(shape).tolist() for kind, value in figures.items()} | {"count": [int(count)]}
    return found


def _path(kind: str, number: int) -> str:
    chunk, file = divmod(number, FILES_A_CHUNK)
    place = _FILE.format(chunk_index=chunk, file_index=file)
    return f"videos/{CAMERA}/{place}.mp4" if kind == "videos" else f"data/{place}.parquet"

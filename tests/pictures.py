"""Folders of pictures for tests, each of which shows its number in colour, and lossless videos of the same frames."""

import io
import zipfile
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy as np
from av.filter import Graph
from numpy.typing import NDArray
from PIL import Image

FPS = 25


@cache
def picture(number: int, width: int = 160, height: int = 96) -> NDArray[np.uint8]:
    """Return an RGB picture [H, W, 3] with coloured edges and grain that tells its number: it moves by one pixel."""
    rows, columns = np.mgrid[:height, :width]
    grain = np.random.default_rng(1).integers(0, 40, (height, width, 3))
    waves = np.stack([columns * 3 + number * 5, rows * 5 + columns, (rows - columns) * 7 + number * 11], axis=-1) % 200
    return np.roll(waves + grain, number, axis=1).astype(np.uint8)


def encoded(pixels: NDArray[np.uint8], suffix: str, **options: object) -> bytes:
    """Return an RGB picture [H, W, 3] as a file of this suffix."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, {".png": "PNG", ".webp": "WEBP"}.get(suffix, "JPEG"), **options)
    return file.getvalue()


_ENCODED: dict[tuple[object, ...], bytes] = {}


def write_pictures(
    folder: Path,
    num_frames: int = 20,
    suffix: str = ".png",
    *,
    first: int = 0,
    name: Callable[[int], str] | None = None,
    **how: object,
) -> Path:
    """Write a folder of pictures, by default `frame0001.png` and so on."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(num_frames):
        called = name(number) if name else f"frame{number + 1:04d}"
        key = first + number, suffix, *how.items()
        if key not in _ENCODED:
            _ENCODED[key] = encoded(picture(first + number), suffix, **how)
        (folder / f"{called}{suffix}").write_bytes(_ENCODED[key])
    return folder


def zip_folder(folder: Path, archive: Path, *, compression: int = zipfile.ZIP_STORED, prefix: str = "") -> Path:
    """Write what is below a folder into a zip."""
    with zipfile.ZipFile(archive, "w", compression) as packed:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                packed.write(path, f"{prefix}{path.relative_to(folder).as_posix()}")
    return archive


def lossless_video(path: Path, files: Sequence[Path], *, scale: str, full_range: bool = False, rate: int = FPS) -> Path:
    """Write pictures as lossless H.264 in yuv420p, converted by FFmpeg's scale filter with these options."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"qp": "0", "preset": "ultrafast"})
        stream.pix_fmt = "yuv420p"
        if full_range:
            stream.codec_context.color_range = 2
        for number, file in enumerate(files):
            with av.open(str(file)) as opened:
                frame = next(opened.decode(video=0))
            graph = Graph()
            nodes = [
                graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1))
            ]
            nodes += [graph.add("scale", scale), graph.add("format", "yuv420p"), graph.add("buffersink")]
            graph.link_nodes(*nodes).configure()
            graph.push(frame)
            converted = graph.vpull()
            converted.pts, converted.time_base = number, Fraction(1, rate)
            if not number:
                stream.width, stream.height = converted.width, converted.height
            container.mux(stream.encode(converted))
        container.mux(stream.encode(None))
    return path

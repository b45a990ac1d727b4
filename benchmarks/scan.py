"""How long `signprep scan` takes, and how much memory, for 10,000 and for 100,000 label files (medium: 2,000, 20,000).

In: nothing; it writes AIHub-shaped label files, and a video of 4 KB beside each with `--videos`, to a temporary
folder. Out: wall time and peak memory (of the scanning process and of its largest worker) at both sizes, and the ratio
of the peaks: flat memory gives about 1. Every scan is the command itself, in a process of its own.

    python -m benchmarks.scan
    python -m benchmarks.scan --labels 1000 10000 --videos
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import islice, product
from pathlib import Path

import av
import numpy as np

from benchmarks._report import Bar, chart, print_line, print_machine, print_table
from benchmarks._size import Size

MEASURE = """
import json, resource, sys
from joblib.externals.loky import get_reusable_executor
from benchmarks._report import peak_memory_mib
from signprep.pipeline.cli import main
try:
    main(sys.argv[1:])
except SystemExit as stop:
    assert not stop.code, stop.code
get_reusable_executor().shutdown(wait=True)  # only children that have ended are counted
workers = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(json.dumps({"own_kib": peak_memory_mib() * 1024, "largest_worker_kib": workers}), file=sys.stderr)
"""


def write_labels(root: Path, num_labels: int, *, videos: bool) -> None:
    """Write label files for 3,000 words, one folder a signer and take, and perhaps the same tiny video for each."""
    video = _tiny_video(root) if videos else b""
    names = product(range(1, 21), range(1, 3001), "FUDLR")
    for folder in ("video", "label"):
        for signer in range(1, 21):
            (root / folder / f"{signer:02d}").mkdir(parents=True)
    for number, (signer, word, view) in enumerate(islice(names, num_labels)):
        name = f"NIA_SL_WORD{word:04d}_REAL{signer:02d}_{view}"
        start = 1.5 + (number // 5 % 50) / 100
        label = {
            "metaData": {"url": f"https://example.org/{name}.mp4", "name": f"{name}.mp4", "duration": 4.0},
            "data": [{"start": start, "end": start + 1.06, "attributes": [{"name": f"단어{word}"}]}],
        }
        text = json.dumps(label, ensure_ascii=False)
        (root / "label" / f"{signer:02d}" / f"{name}_morpheme.json").write_text(text, encoding="utf-8")
        # Numbered, so that all contents differ: appended bytes are no part of the video.
        content = video + number.to_bytes(8, "big") * (1 + number % 97) if videos else b""
        (root / "video" / f"{signer:02d}" / f"{name}.mp4").write_bytes(content)


def _tiny_video(folder: Path) -> bytes:
    """Return an MP4 of 120 frames."""
    path = folder / "tiny.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        grey = av.VideoFrame.from_ndarray(np.full((96, 64), 128, np.uint8), format="yuv420p")
        for number in range(120):
            grey.pts = number
            container.mux(stream.encode(grey))
        container.mux(stream.encode())
    data = path.read_bytes()
    path.unlink()
    return data


def measure(root: Path, *, videos: bool, workers: int) -> dict[str, float]:
    """Scan in a process of its own; return wall seconds and peak KiB."""
    command = ["scan", "--data-root", str(root), "--json", "--workers", str(workers)]
    command += [] if videos else ["--probe", "none"]
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", MEASURE, *command], capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - started
    counts = json.loads(done.stdout)["counts"]
    memory = json.loads(done.stderr.strip().splitlines()[-1])
    return {"labels": counts["labels"], "segments": counts["segments"], "wall_seconds": seconds, **memory}


def compare(sizes: Sequence[int], *, videos: bool, workers: int) -> None:
    """Measure each size in a temporary folder of its own and print a table."""
    rows = []
    for size in sizes:
        with tempfile.TemporaryDirectory(prefix="signprep-bench-") as folder:
            write_labels(Path(folder), size, videos=videos)
            rows.append(measure(Path(folder), videos=videos, workers=workers))
    print_machine(["av", "joblib"])
    print_line(f"{workers} workers, {'every video opened' if videos else 'no video opened'}")
    header = ["label files", "wall s", "labels/s", "peak MiB", "of the largest worker"]
    table = [
        [
            f"{row['labels']:,}",
            f"{row['wall_seconds']:.1f}",
            f"{row['labels'] / row['wall_seconds']:,.0f}",
            f"{row['own_kib'] / 1024:.0f}",
            f"{row['largest_worker_kib'] / 1024:.0f}",
        ]
        for row in rows
    ]
    print_table([header, *table])
    first, last = rows[0], rows[-1]
    ratio = last["own_kib"] / first["own_kib"]
    chart(
        "Peak memory of `signprep scan`",
        "MiB, of the scanning process",
        [Bar(name=f"{row['labels']:,} label files", value=row["own_kib"] / 1024, ours=True) for row in rows],
    )
    print_line(f"peak memory at {last['labels']:,} label files is {ratio:.2f} times that at {first['labels']:,}")


def run(size: Size) -> None:
    """Compare few and ten times as many label files."""
    sizes = size.pick([10, 40], [2_000, 20_000], [10_000, 100_000])
    compare(sizes, videos=size is Size.TOY, workers=2)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=int, nargs="+", default=[10_000, 100_000], help="sizes to compare")
    parser.add_argument("--videos", action="store_true", help="write a tiny video for each label, and open them all")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args(arguments)
    compare(options.labels, videos=options.videos, workers=options.workers)


if __name__ == "__main__":
    main()

"""Reading published data sets by their presets: seconds and memory for 100,000 rows of each (medium: 20,000).

In: nothing; labels are written in each set's shape, with as many files under the names of its videos. Out: the seconds
in which `scan` and `build-cache` have the segments of a set, its files found, and the videos opened whose copies may be
cut. Each set is read in a process of its own. Nothing else reads these sets, so that there is no peer.
"""

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks._report import Bar, chart, peak_memory_mib, print_machine, print_table
from benchmarks._size import Size
from signprep.pipeline.datasets.annotations import DatasetOptions
from signprep.pipeline.datasets.presets.spec import builtin_presets
from signprep.pipeline.datasets.read import iterate_segments
from tests.generated_videos import write_video

_LINKS = 20_000
"""A file system allows so many names of one file, and more."""


@dataclass(frozen=True)
class Shape:
    """A set's label files by name, and its videos; {n} is a row's number, {c} one of 500 classes, {s} a signer."""

    files: dict[str, tuple[str, str, str]]
    """What stands before the rows, a row, and what stands behind them."""
    video: str


_YOUTUBE = '"url": "https://www.youtube.com/watch?v={n:011d}"'
_TIMES = '"fps": 25, "frame_start": 26, "frame_end": 50'
SHAPES = {
    "wlasl": Shape(
        {
            "WLASL_v0.3.json": (
                '[{"gloss": "a", "instances": [',
                '{{"bbox": [1, 2, 30, 40], "video_id": "{n:05d}", "signer_id": {s}, "source": "x", "split": "train", '
                f'"variation_id": 0, {_YOUTUBE}, {_TIMES}}}}},',
                "{}]}]",
            )
        },
        "videos/{n:05d}.mp4",
    ),
    "nslt": Shape(
        {
            "nslt_2000.json": ("{", '"{n:05d}": {{"subset": "train", "action": [{c}, 26, 50]}},', '"x": {}}'),
            "wlasl_class_list.txt": ("0\tbook", "", "".join(f"\n{c}\tword{c}" for c in range(1, 500))),
        },
        "videos/{n:05d}.mp4",
    ),
    "msasl": Shape(
        {
            "MSASL_train.json": (
                "[",
                '{{"start_time": 1.0, "end_time": 2.0, "label": {c}, "signer_id": {s}, "text": "w{c}", '
                f'"box": [0, 0, 1, 1], {_YOUTUBE}}}}},',
                "{}]",
            )
        },
        "videos/{n:011d}.mp4",
    ),
    "asl-citizen": Shape(
        {"splits/train.csv": ("Participant ID,Video file,Gloss,ASL-LEX Code\n", "P{s},{n}-W.mp4,W{c},A_{c}\n", "")},
        "videos/{n}-W.mp4",
    ),
    "sem-lex": Shape(
        {
            "semlex_metadata.csv": (
                ",video_id,signer_id,duration,split,label_type,label\n",
                "{n},id{n},{s},1543.0,train,asllex,word{c}\n",
                "",
            )
        },
        "train/id{n}.webm",
    ),
    "popsign": Shape({}, "game/train/word{c}/4a.{s}-word-{n}.mp4"),
    "how2sign": Shape(
        {
            "how2sign_realigned_train.csv": (
                "VIDEO_ID\tVIDEO_NAME\tSENTENCE_ID\tSENTENCE_NAME\tSTART_REALIGNED\tEND_REALIGNED\tSENTENCE\n",
                "v{n}\tv{n}-5-rgb_front\tv{n}_1\tv{n}_1-5-rgb_front\t1.5\t2.5\tA sentence, number {n}.\n",
                "",
            )
        },
        "train/raw_videos/v{n}_1-5-rgb_front.mp4",
    ),
    "lsa64": Shape(
        {"lsa64_signs.md": ("", "", "".join(f"{c:02d}|w{c}|R|\n" for c in range(500)))}, "all/{c:03d}_{r:03d}_001.mp4"
    ),
    "autsl": Shape(
        {
            "train_labels.csv": ("", "signer{s}_sample{n},{c}\n", ""),
            "SignList_ClassId_TR_EN.csv": ("ClassId,TR,EN\n", "", "".join(f"{c},w{c},e{c}\n" for c in range(500))),
        },
        "train/signer{s}_sample{n}_color.mp4",
    ),
    "bosphorus": Shape(
        {
            "BosphorusSign22k.csv": (
                "SubsetID,ClassID,ClassName_tr,ClassName_eng,UserID,RepeatID\n",
                "General,{c:04d},w{c},e{c},User_2,{n:03d}\n",
                "",
            )
        },
        "{c:04d}/User_2_{n:03d}.mp4",
    ),
    "csl": Shape(
        {"gloss_label.txt": ("", "", "".join(f"w{c}\n" for c in range(500)))}, "{c:03d}/P01_01_01_{n}._color.mp4"
    ),
    "devisign": Shape(
        {
            "4414To2000(DEVISIGN_L)_ID&Meaning.txt": (
                "Ori_ID\tL_ID\tMeaning (Chinese)\n",
                "",
                "".join(f"{c:04d}\t{c:04d}\tw{c}\n" for c in range(500)),
            )
        },
        "P01_2/P01_{c:04d}_{n}_0_20140708.oni/color.avi",
    ),
    "include": Shape(
        {"train_include.csv": ("Category,Word,Video,FilePath\n", "A,{c}. w{c},M{n}.MOV,A/{c}. w{c}/M{n}.MOV\n", "")},
        "A/{c}. w{c}/M{n}.MOV",
    ),
    "slovo": Shape(
        {
            "annotations.csv": (
                "attachment_id\tuser_id\twidth\theight\tlength\ttext\ttrain\tbegin\tend\n",
                "id{n}\tu{s}\t1440\t1920\t30.0\tw{c}\tTrue\t43\t73\n",
                "",
            )
        },
        "train/id{n}.mp4",
    ),
    "gsl": Shape(
        {
            "train_greek_iso.csv": ("", "p1_signer{s}_rep1_glosses/glosses{n:04d}|w{c}\n", ""),
            "bbox_for_gsl_isolated.txt": (
                "",
                "p1_signer{s}_rep1_glosses/glosses{n:04d} |x1:1, x2:53, y1:4, y2:48\n",
                "",
            ),
        },
        "p1_signer{s}_rep1_glosses/glosses{n:04d}/frame_0001.jpg",
    ),
    "phoenix-2014t": Shape(
        {
            "PHOENIX-2014-T.train.corpus.csv": (
                "name|video|start|end|speaker|orth|translation\n",
                "n{n}|n{n}/1/*.png|-1|-1|Signer{s}|REGEN NORD|es regnet\n",
                "",
            )
        },
        "features/train/n{n}/images0001.png",
    ),
}


def run(size: Size) -> None:
    """Print the table."""
    num_rows = size.pick(50, 20_000, 100_000)
    print_machine(["numpy", "pyarrow"])
    rows = [(f"{num_rows:,} rows of each", "seconds", "of CPU", "peak MiB")]
    bars = []
    for name in builtin_presets():
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.presets", name, str(num_rows)],
            capture_output=True,
            text=True,
            check=True,
        )
        found = json.loads(done.stdout)
        if found["segments"] != num_rows:
            raise RuntimeError(f"{name}: {found['segments']} of {num_rows} rows were read: {found['first_problem']}")
        seconds = found["seconds"]
        rows.append((name, f"{seconds:.2f}", f"{found['cpu_seconds']:.2f}", f"{found['peak_mib']:.0f}"))
        bars.append(Bar(name=name, value=seconds, ours=True))
    print_table(rows)
    chart(f"Reading {num_rows:,} rows of published data sets", "seconds", bars)


def write_set(name: str, folder: Path, num_rows: int) -> None:
    """Write labels and videos of a set; all videos are names of a few files of one second."""
    shape = SHAPES[name]
    numbers = [{"n": n, "c": n % 500, "r": n // 500, "s": n % 40} for n in range(num_rows)]
    for file, (head, row, tail) in shape.files.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        text = head + "".join(row.format(**number) for number in numbers) + tail
        (folder / file).write_text(text, encoding="utf-8")
    source, made = folder.parent / "second.mp4", set[Path]()
    for number in numbers:
        if number["n"] % _LINKS == 0:
            source.unlink(missing_ok=True)
            write_video(source, 25, rate=25, width=64, height=48)
        path = folder / shape.video.format(**number)
        if path.parent not in made:
            path.parent.mkdir(parents=True, exist_ok=True)
            made.add(path.parent)
        path.hardlink_to(source)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="signprep-bench-") as scratch:
        root = Path(scratch) / "data"
        root.mkdir()
        write_set(sys.argv[1], root, int(sys.argv[2]))
        problems: list[str] = []
        started, worked = time.perf_counter(), time.process_time()
        found = iterate_segments(
            root, DatasetOptions(preset=sys.argv[1]), lambda problem: problems.append(problem.message)
        )
        num_segments = sum(1 for _ in found)
        seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - worked
        document = {"segments": num_segments, "seconds": seconds, "cpu_seconds": cpu_seconds}
        print(json.dumps(document | {"peak_mib": peak_memory_mib(), "first_problem": problems[:1]}))

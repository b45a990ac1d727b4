"""Make the files that newer versions are held against: see README.md beside this file.

Run in a checkout of the version that is to make them, with its own Python: python .../make.py FOLDER. Modules that
have other places now are imported by their names of then.
"""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

SIZES = ("--frames", "4", "--size", "32")
"""Of clips; of a repeated option the last one counts."""
MODEL = "efficient_x3d_tiny:tiny"
VARIANTS = {
    "lz4hc": (),
    "zstd": ("--codec", "zstd", "--crop", "full", "--view", "F"),
    "none": ("--codec", "none", "--clip-duration", "0.4", "--size", "16", "--kind", "SEN"),
    "plain": ("--codec", "plain", "--pixels", "rgb24", "--margin-seconds", "0.1", "--kind", "SEN"),
}
TRAINING = (
    *("train", "--cache", "caches/lz4hc", "--model-name", MODEL, "--num-frames", "2", "--crop-size", "32"),
    *("--epochs", "8", "--batch-size", "3", "--optimizer", "adamw", "--learning-rate", "0.05", "--ema-decay", "0.5"),
    *("--label-smoothing", "0.1", "--mixup", "0.2", "--num-workers", "0", "--output-dir", "runs"),
)
POOLED = ("--view", "L")
WINDOWS = ("--clip-duration", "0.25", "--stride", "0.125")
ANY_SIGN = ("--min-confidence", "0", "--min-duration-seconds", "0")
CHECKPOINT = ("--checkpoint", "runs/finished/checkpoints/best.ckpt", "--model-name", MODEL)
SENTENCE = "data/video/NIA_SL_SEN0001_REAL17_F.mp4"
EXPORTS = {
    "fp32.pt": (),
    "int8.pt": ("--int8", "--with-preprocessing", "--max-drop", "1"),
    "fp32.onnx": ("--with-preprocessing",),
    "int8.onnx": ("--int8", "--max-drop", "1"),
}
RESULTS = {
    "one.json": ("infer", *CHECKPOINT, "--video-path", SENTENCE, "--clip-duration", "0.5", "--return-probabilities"),
    "windows.json": ("infer", *CHECKPOINT, "--video-path", SENTENCE, "--multiple-clips", *WINDOWS),
    "all.jsonl": ("infer", *CHECKPOINT, "--video-path", "data/video/*REAL17*.mp4", "--clip-duration", "0.5"),
    "val.csv": ("infer", *CHECKPOINT, "--cache", "caches/lz4hc", "--split", "val"),
    "timeline.json": (
        "infer",
        *CHECKPOINT,
        "--video-path",
        SENTENCE,
        "--timeline",
        *WINDOWS,
        *ANY_SIGN,
        "--switch-cost",
        "0",
    ),
    "evaluation.json": ("evaluate", *CHECKPOINT, "--cache", "caches/lz4hc", "--top-k", "2", "--json"),
    "timelines.json": (
        *("evaluate", *CHECKPOINT, "--data-root", "data", "--kind", "SEN", "--timeline", "--json"),
        *(*WINDOWS, *ANY_SIGN),
    ),
    "scan.json": ("scan", "--data-root", "data", "--frames", "4", "--deep", "--json"),
    "inspect.json": ("inspect", "caches/changed", "--json"),
}
"""Written by --output-path where the ending says a kind of `infer`, and from stdout otherwise."""
SUBTITLES = ("srt", "vtt", "eaf")


def signprep(*arguments: str) -> str:
    """Run a command in this process; return what it printed."""
    from click.testing import CliRunner

    from signprep.pipeline.cli import cli

    result = CliRunner().invoke(cli, list(arguments))
    if result.exception is not None:
        raise result.exception
    return result.stdout


def write_video(name: str, where: Sequence[float], number: int) -> None:
    """Write a bright block at places from 0, left, to 1, half a second each; `number` tells the videos apart."""
    import av
    import numpy as np

    options = {"x264-params": "keyint=250:bframes=3:b-pyramid=normal:scenecut=0", "crf": "23"}
    Path("data/video").mkdir(parents=True, exist_ok=True)
    with av.open(f"data/video/{name}.mp4", "w") as container:
        stream = container.add_stream("libx264", rate=30, options=options)
        stream.width, stream.height, stream.pix_fmt = 80, 48, "yuv420p"
        stream.codec_context.thread_count = 1
        for k in range(15 * len(where)):
            picture = np.full((72, 80), 128, np.uint8)
            picture[:48] = 40 + np.arange(80) // 4 + number
            left = 18 + round(28 * where[k // 15])
            picture[10 + k // 5 + number : 26 + k // 5 + number, left : left + 16] = 220 - k
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="yuv420p")))
        container.mux(stream.encode())


def write_label(name: str, segments: Sequence[tuple[float, float, str]]) -> None:
    data = [{"start": start, "end": end, "attributes": [{"name": gloss}]} for start, end, gloss in segments]
    document = {"metaData": {"url": "", "name": f"{name}.mp4", "duration": segments[-1][1] + 0.2}, "data": data}
    Path("data/label").mkdir(parents=True, exist_ok=True)
    Path(f"data/label/{name}_morpheme.json").write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")


def write_data() -> None:
    """Two words by three signers from two views, one sentence, and one video that is none."""
    number = 0
    for word, gloss in enumerate(("왼쪽", "오른쪽")):
        for signer in ("REAL01", "REAL02", "REAL17"):
            for view in "FL":
                name = f"NIA_SL_WORD{word + 1:04d}_{signer}_{view}"
                write_video(name, [word, word], number)
                write_label(name, [(0.2, 0.8, gloss)])
                number += 1
    write_video(Path(SENTENCE).stem, [0, 0, 1, 1, 0.5, 0], number)
    write_label(Path(SENTENCE).stem, [(0.2, 0.9, "왼쪽"), (1.0, 1.9, "오른쪽"), (2.0, 2.4, "위")])
    Path("data/video/NIA_SL_WORD0001_REAL03_F.mp4").write_text("no video at all")
    write_label("NIA_SL_WORD0001_REAL03_F", [(0.2, 0.8, "왼쪽")])


def build(out: str, data: str = "data", *options: str) -> None:
    signprep("build-cache", "--data-root", data, "--out", out, "--workers", "1", *SIZES, *options)


KILLED = """
import itertools, os, pathlib, signal, sys
from signprep.pipeline.cli import main
replace, calls = pathlib.Path.replace, itertools.count()
def dying(*arguments):
    replace(*arguments)
    if next(calls) == number:
        os.kill(os.getpid(), signal.SIGKILL)
pathlib.Path.replace = dying
main()
"""


def build_killed(number: int, out: str, data: str) -> None:
    """Build a cache in a process that is killed after so many files were put in place."""
    command = [sys.executable, "-c", f"number = {number}\n{KILLED}", "build-cache", "--data-root", data, "--out", out]
    killed = subprocess.run([*command, "--workers", "1", *SIZES], stderr=subprocess.DEVNULL, check=False)
    assert killed.returncode == -signal.SIGKILL


def write_caches() -> None:
    for name, options in VARIANTS.items():
        build(f"caches/{name}", "data", *options)
    build("caches/pooled", "data", *POOLED, "--shelf", "clip-pool")
    shutil.rmtree("caches/pooled")

    # A signer is forgotten, another one's video goes, and a word is labelled otherwise.
    build("caches/changed")
    signprep("forget", "caches/changed", "--signer", "REAL02", "--yes")
    shutil.copytree("data", "less")
    for path in (*Path("less").rglob("*REAL02*"), *Path("less").rglob("*WORD0002_REAL01_L*")):
        path.unlink()
    label = Path("less/label/NIA_SL_WORD0002_REAL17_L_morpheme.json")
    label.write_text(label.read_text(encoding="utf-8").replace("오른쪽", "아래"), encoding="utf-8")
    build("caches/changed", "less")
    shutil.copytree("caches/changed", "again")
    build("again")

    build_killed(7, "unfinished/first", "data")
    for number in range(20):  # until it is killed in the middle of putting things in place
        shutil.copytree("caches/changed", "unfinished/commit")
        build_killed(number, "unfinished/commit", "data")
        if not Path("unfinished/commit/manifest.json").exists():
            break
        shutil.rmtree("unfinished/commit")


def publish() -> None:
    """Push a cache as to an object store; its objects become a folder here."""
    import fsspec

    servers = import_module("tests.cache_builder.sharing.servers")
    os.environ.update(servers.CREDENTIALS)
    with servers.s3_server() as endpoint:
        os.environ["AWS_ENDPOINT_URL"] = endpoint
        servers.make_bucket(endpoint, "team")
        signprep("push", "caches/changed", "s3://team/published", "--yes")
        fsspec.filesystem("s3").get("team/published", "published", recursive=True)


def write_runs() -> None:
    """One run to its end, and one that is stopped in the middle."""
    signprep(*TRAINING, "--experiment-name", "finished")
    from signprep.pipeline.errors import StoppedError

    kind: Any = import_module("signprep.training.callbacks").SaveLast
    whole, seen = kind.on_train_batch_end, []

    def stopping(self: Any, *arguments: object) -> None:
        seen.append(1)
        self.stop_requested = len(seen) == 11
        whole(self, *arguments)

    kind.on_train_batch_end = stopping
    try:
        signprep(*TRAINING, "--experiment-name", "stopped")
    except StoppedError:
        pass
    finally:
        kind.on_train_batch_end = whole


def write_exports() -> None:
    proof: Any = import_module("signprep.inference.export.proof")
    proof.MOST_TURNS, proof.RUNS_A_TURN, proof.WARM_UPS = 1, 1, 0  # times mean nothing here
    Path("exported").mkdir()
    for name, options in EXPORTS.items():
        signprep("export", *CHECKPOINT, "--output-path", f"exported/{name}", "--cache", "caches/lz4hc", *options)


def write_results() -> None:
    Path("results").mkdir()
    for name, arguments in RESULTS.items():
        if arguments[0] == "infer":
            signprep(*arguments, "--output-path", f"results/{name}")
        else:
            Path("results", name).write_text(signprep(*arguments), encoding="utf-8")
    for ending in SUBTITLES:
        signprep(*RESULTS["timeline.json"], "--subtitles", f"results/timeline.{ending}")


def expectations() -> dict[str, object]:
    """Return what is in no file: hashes of each clip as it is read, and what the files were made with."""
    import torch

    from signprep.cache_builder import open_cache
    from signprep.inference.open_model import open_model

    def clips(path: str) -> list[str | None]:
        cache = open_cache(path)
        readable = set(cache.positions().tolist())
        return [
            hashlib.sha256(cache.read([position])[0].tobytes()).hexdigest() if position in readable else None
            for position in range(len(cache))
        ]

    def index(path: str) -> str:
        rows = open_cache(path).index.to_pylist()
        return hashlib.sha256(json.dumps(rows, ensure_ascii=False).encode()).hexdigest()

    cache = open_cache("caches/lz4hc")
    stored = cache.read(cache.positions())
    last = torch.load("runs/finished/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    models = ["runs/finished/checkpoints/best.ckpt", *(f"exported/{name}" for name in EXPORTS)]
    names = sorted(path.name for path in Path("caches").iterdir())
    return {
        "versions": {name: version(name) for name in ("signprep", "av", "numcodecs", "zarr", "pyarrow", "torch")},
        "clips": {name: clips(f"caches/{name}") for name in names},
        "indexes": {name: index(f"caches/{name}") for name in names},
        "updated": json.loads(Path("again/manifest.json").read_text(encoding="utf-8")),
        "probabilities": {
            path: open_model(Path(path), "cpu", own_model=MODEL).probabilities(stored).tolist() for path in models
        },
        "last_weights": {name: value.flatten().tolist() for name, value in last.items()},
    }


def main() -> None:
    sys.path[:0] = [str(Path.cwd()), str(Path(__file__).parent)]  # the checkout's tests; the model of one's own
    out = Path(sys.argv[1]).absolute()
    work = Path(tempfile.gettempdir(), "older-files")  # checkpoints keep the path of their run
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    os.chdir(work)
    write_data()
    write_caches()
    publish()
    write_runs()
    write_exports()
    write_results()
    text = json.dumps(expectations(), ensure_ascii=False, indent=1)
    Path("expected.json").write_text(text + "\n", encoding="utf-8")
    for folder in ("less", "again", *Path("runs").glob("*/tensorboard_logs")):
        shutil.rmtree(folder)
    for path in (*Path().rglob("lock"), Path("runs/finished/checkpoints/last.ckpt")):
        path.unlink()
    shutil.rmtree(out, ignore_errors=True)
    shutil.move(work, out)


if __name__ == "__main__":
    main()

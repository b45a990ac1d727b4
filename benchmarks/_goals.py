"""What the project promised itself, so that a figure that is missed stands beside those that are met."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Goal:
    benchmark: str
    text: str
    bound: float | None
    """None: no goal was set; the figure is shown all the same."""
    at_least: bool = False
    earlier: str = ""
    """What runs of earlier days have found."""

    @property
    def target(self) -> str:
        if self.bound is None:
            return "none was set"
        return f"{'at least' if self.at_least else 'at most'} {self.bound:g}"

    def verdict(self, value: float | None) -> str:
        if value is None:
            return "not measured in this run"
        if self.bound is None:
            return ""
        return "met" if (value >= self.bound if self.at_least else value <= self.bound) else "**missed**"


GOALS = {
    "build.stored": Goal(benchmark="build", text="encoding and writing, of a build's CPU", bound=0.08),
    "costs.cpu": Goal(
        benchmark="costs", text="CPU of builds on a cluster: how far the model of costs is off, of it", bound=0.15
    ),
    "build.workers": Goal(
        benchmark="build", text="clips/s of two workers / one", bound=1.85, at_least=True, earlier="1.63, missed"
    ),
    "build.memory": Goal(benchmark="build", text="peak MiB of a process that builds 1080p", bound=300),
    "crop.overlap": Goal(
        benchmark="crop", text="intersection / union of motion's square and the true one", bound=0.8, at_least=True
    ),
    "crop.cost.1920x1080": Goal(benchmark="crop", text="its cost, of a build's CPU a clip, 1920x1080", bound=0.05),
    "crop.cost.640x360": Goal(benchmark="crop", text="its cost, of a build's CPU a clip, 640x360", bound=0.05),
    "crop.gain": Goal(benchmark="crop", text="accuracy with it - the better one without", bound=0, at_least=True),
    "decode.full": Goal(benchmark="decode", text="decoding that skips frames / decoding every frame", bound=0.80),
    "decode.decord": Goal(benchmark="decode", text="decoding that skips frames / decord", bound=0.70),
    "infer.two": Goal(
        benchmark="infer", text="two videos at a time / decoding or the model alone", bound=1.15, earlier="1.39, missed"
    ),
    "landmarks.frame": Goal(benchmark="landmarks", text="milliseconds of one core a frame", bound=45),
    "landmarks.keypoints": Goal(
        benchmark="landmarks", text="clips/s a core from AIHub's keypoints in a zip", bound=300, at_least=True
    ),
    "landmarks.memory": Goal(
        benchmark="landmarks", text="peak memory of a build from keypoints / of a tenth of the clips", bound=None
    ),
    "landmarks.models": Goal(benchmark="landmarks", text="a frame / the sum of its models", bound=1.15),
    "models.step": Goal(
        benchmark="models",
        text="a training step of efficient_x3d_xs on the CPU / with PyTorchVideo's layers",
        bound=0.85,
    ),
    "models.step.cpu": Goal(benchmark="models", text="the same step, by what all threads take of the CPU", bound=None),
    "read.blosc": Goal(
        benchmark="read",
        text="clips/s of one core of the default codec / Blosc alone",
        bound=0.8,
        at_least=True,
        earlier="0.85",
    ),
    "read.threads": Goal(
        benchmark="read",
        text="clips/s of the default codec, two threads / one",
        bound=1.8,
        at_least=True,
        earlier="1.9",
    ),
    "read.blosc.first": Goal(benchmark="read", text="the same, each checksum verified once", bound=0.8, at_least=True),
    "read.memmap": Goal(
        benchmark="read",
        text="clips/s uncompressed, checksums verified / np.memmap, which verifies none",
        bound=0.8,
        at_least=True,
        earlier="0.61, missed",
    ),
    "read.memmap.first": Goal(benchmark="read", text="the same, each checksum verified once", bound=0.9, at_least=True),
    "read.key_frames": Goal(benchmark="read", text="KB a clip with a key frame each 4 frames / with one", bound=None),
    "recipe.gain": Goal(
        benchmark="recipe", text="points of accuracy of the recipe - of the plain defaults", bound=5, at_least=True
    ),
    "recipe.cpu": Goal(benchmark="recipe", text="CPU of the recipe / of the plain defaults", bound=1.05),
    "recognition.accuracy": Goal(
        benchmark="recognition", text="unseen people's words that landmarks recognise", bound=0.95, at_least=True
    ),
    "recognition.seconds": Goal(benchmark="recognition", text="seconds of training on landmarks", bound=300),
    "recognition.together": Goal(
        benchmark="recognition", text="accuracy of landmarks and pixels together - the better", bound=0, at_least=True
    ),
    "recognition.live": Goal(
        benchmark="recognition", text="live windows/s of one core, landmarks followed", bound=10, at_least=True
    ),
    "scale.batch": Goal(
        benchmark="scale", text="a random batch of 5,000,000 rows / of 5,000", bound=1.1, earlier="1.25, missed"
    ),
    "scale.rows": Goal(benchmark="scale", text="the same in as many shards, which leaves the rows alone", bound=1.1),
    "loader.reader": Goal(benchmark="loader", text="clips/s of the loader / of the reader, two threads", bound=None),
    "train.wait": Goal(benchmark="train", text="part of training's steps that waits for clips", bound=None),
    "train.memory": Goal(benchmark="train", text="an epoch from the cache / from memory", bound=None, earlier="1.003"),
    "serve.pixels": Goal(
        benchmark="serve",
        text="clips/s over HTTP / the model alone, EfficientX3D-XS, a clip a request, the worse of 8 and 32 clients",
        bound=0.8,
        at_least=True,
    ),
    "serve.pixels_many": Goal(
        benchmark="serve",
        text="the same, 32 clips a request, the worse of 1 and 8 clients",
        bound=0.8,
        at_least=True,
    ),
    "serve.landmarks": Goal(
        benchmark="serve",
        text="clips/s over HTTP / the model alone, landmarks, a clip a request, the worse of 8 and 32 clients",
        bound=0.8,
        at_least=True,
        earlier="0.16, missed",
    ),
    "serve.landmarks_many": Goal(
        benchmark="serve",
        text="the same, 32 clips a request, the worse of 1 and 8 clients",
        bound=0.8,
        at_least=True,
    ),
    "serve.wrong": Goal(benchmark="serve", text="mixed requests that are lost or have a wrong answer", bound=0),
    "serve.memory": Goal(
        benchmark="serve", text="the server's memory, last tenth of the mixed requests / first tenth", bound=1.05
    ),
    "serve.files": Goal(benchmark="serve", text="files left over by mixed requests", bound=0),
    "share.push": Goal(
        benchmark="share",
        text="MB/s of push / the driver's own bulk copy, the worse of S3 and SFTP over loopback",
        bound=0.85,
        at_least=True,
        earlier="0.72, missed",
    ),
    "share.pull": Goal(
        benchmark="share",
        text="MB/s of pull / the driver's own bulk copy, the worse of S3 and SFTP over loopback",
        bound=0.85,
        at_least=True,
        earlier="0.54, missed",
    ),
    "stream.wait": Goal(
        benchmark="stream",
        text="part of the first epoch that waits for data, over 1 Gbit/s and 20 ms",
        bound=0.05,
        earlier="0.02",
    ),
    "export.fp32": Goal(
        benchmark="export", text="share of validation clips with the same answer, fp32", bound=1.0, at_least=True
    ),
    "export.int8": Goal(benchmark="export", text="accuracy that INT8 loses, in points", bound=1.6),
    "export.torchscript_mb": Goal(benchmark="export", text="MB of TorchScript INT8", bound=7.5),
    "export.onnx_mb": Goal(benchmark="export", text="MB of ONNX INT8", bound=5.0),
    "export.onnx": Goal(benchmark="export", text="latency of ONNX INT8 / the PyTorch model's", bound=0.6),
}
"""By the name under which a benchmark reports the figure, `figure(name, value)`."""

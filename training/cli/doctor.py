"""Checks of `signprep doctor`: torch, its GPU and the libraries around it, each really tried."""

from collections.abc import Iterator
from importlib.util import find_spec

from signprep.pipeline.runtime.doctor import BROKEN, MISSING, OK, SLOW, Check
from signprep.pipeline.runtime.installation import install_extras
from signprep.pipeline.runtime.machine import package_version

PACKAGES = ("torch", "torchvision", "lightning", "pytorchvideo", "torchmetrics", "tensorboard")
CPU_BUILDS = "--extra-index-url https://download.pytorch.org/whl/cpu"
EXPORTS = {"onnx": "onnx", "onnxruntime": "onnx", "executorch": "executorch"}


def check_training() -> Iterator[Check]:
    """Yield the checks of training, inference and export."""
    missing = [name for name in PACKAGES if package_version(name) is None]
    if missing:
        yield Check(
            name="training",
            state=MISSING,
            found=f"{', '.join(missing)} not installed",
            advice=f"{install_extras('train')}; where there is no GPU, with {CPU_BUILDS} behind it",
        )
        return
    yield Check(name="training", state=OK, found=", ".join(f"{name} {package_version(name)}" for name in PACKAGES))
    yield _model()
    yield _device()
    extras = sorted({extra for name, extra in EXPORTS.items() if not find_spec(name)})
    installed = [f"{name} {package_version(name)}" for name in EXPORTS if find_spec(name)]
    advice = f"optional, not installed: {install_extras(*extras)}" if extras else ""
    yield Check(name="exports", state=OK, found=", ".join(["torchscript", *installed]), advice=advice)


def _model() -> Check:
    """Run the smallest model once: that needs torch, torchvision's operators and pytorchvideo to fit each other."""
    try:
        import torch

        from signprep.training.model_spec import build_model, model_spec

        spec = model_spec("efficient_x3d_xs", num_frames=2, crop_size=32)
        with torch.inference_mode():
            logits = build_model(spec, 2).eval()(torch.zeros(1, 3, 2, 32, 32))
        if not torch.isfinite(logits).all():
            raise FloatingPointError("a model's prediction is no number")
    except Exception as error:
        advice = "torch, torchvision and pytorchvideo do not fit each other: constraints.txt has versions that do"
        return Check(name="models", state=BROKEN, found=f"{type(error).__name__}: {error}", advice=advice)
    return Check(name="models", state=OK, found="efficient_x3d_xs answers")


def _device() -> Check:
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
        found = ", ".join(f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB" for gpu in names)
        return Check(name="GPU", state=OK, found=f"{found}; CUDA {torch.version.cuda}")
    if torch.version.cuda is not None:
        advice = "is there a GPU, and its driver? `nvidia-smi` tells; or install the CPU build of torch"
        return Check(name="GPU", state=SLOW, found=f"none that CUDA {torch.version.cuda} can use", advice=advice)
    advice = "training is on the CPU: efficient_x3d_xs is the model for it"
    return Check(name="GPU", state=SLOW, found=f"none: torch {torch.__version__} has no CUDA", advice=advice)

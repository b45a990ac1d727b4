"""Which sign a video shows, by an exported file and without signprep.

    python answer_video.py FILE VIDEO START_SECONDS DURATION_SECONDS

FILE is of `signprep export`: TorchScript (needs torch) or ONNX (needs onnxruntime). Needs av, numpy and pillow, too.
Pictures are scaled once here and twice by signprep, so that probabilities differ by some hundredths from `infer`'s.
"""

import json
import sys
from collections.abc import Callable

import av
import numpy as np
from PIL import Image

Answer = Callable[[np.ndarray], np.ndarray]


def torchscript(path: str) -> tuple[dict, Answer]:
    """Return what a TorchScript file says of itself, and what answers one clip. It is a program: trust its maker."""
    import torch

    found = {"signprep.json": ""}
    torch.jit.load(path, _extra_files=found)
    document = json.loads(found["signprep.json"])
    if document["int8_engine"] == "x86":
        torch.backends.quantized.engine = "onednn"  # before the file is loaded: it answers four times sooner
    model = torch.jit.load(path).eval()
    torch.set_num_threads(1)  # an EfficientX3D is a thousand small steps, which threads only slow down

    def answer(clip: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return model(torch.from_numpy(clip)).numpy()

    return document, answer


def onnx(path: str) -> tuple[dict, Answer]:
    """Return what an ONNX file says of itself, and what answers clips."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    document = json.loads(session.get_modelmeta().custom_metadata_map["signprep.json"])
    return document, lambda clips: session.run(["logits"], {"clips": clips})[0]


def frames_at(path: str, seconds: list[float], side: int) -> np.ndarray:
    """Return the frames shown at moments, in order: uint8 [T, side, side, 3], the middle square of each."""
    found: list[np.ndarray] = []
    with av.open(path) as container:
        shown = first = None
        for frame in container.decode(video=0):
            first = frame.time if first is None else first
            while len(found) < len(seconds) and shown is not None and frame.time - first > seconds[len(found)]:
                found.append(square(shown, side))
            if len(found) == len(seconds):
                break
            shown = frame
    return np.stack([*found, *[square(shown, side)] * (len(seconds) - len(found))])


def square(frame: av.VideoFrame, side: int) -> np.ndarray:
    """Return the middle square of a frame, scaled."""
    picture, short = frame.to_image(), min(frame.width, frame.height)
    left, top = (frame.width - short) // 2, (frame.height - short) // 2
    return np.asarray(picture.crop((left, top, left + short, top + short)).resize((side, side), Image.Resampling.BOX))


def clip_of(frames: np.ndarray, wanted: dict) -> np.ndarray:
    """Return frames as the file takes them."""
    if wanted["dtype"] == "uint8":  # exported --with-preprocessing
        return frames[None]
    scaled = (frames.astype(np.float32) / 255 - wanted["mean"]) / wanted["std"]
    return np.ascontiguousarray(scaled.transpose(3, 0, 1, 2)[None])


def main(file: str, video: str, start: str, duration: str) -> None:
    """Print the answer."""
    document, answer = onnx(file) if file.endswith(".onnx") else torchscript(file)
    wanted = document["input"]
    moments = [float(start) + fraction * float(duration) for fraction in wanted["frame_fractions"]]
    frames = frames_at(video, moments, document["model_spec"]["crop_size"])
    logits = answer(clip_of(frames, wanted))[0] / document["temperature"]
    probabilities = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    best = int(probabilities.argmax())
    print(f"{document['glosses'][best]} {probabilities[best]:.3f}")


if __name__ == "__main__":
    main(*sys.argv[1:])

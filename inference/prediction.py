"""The door to predictions from Python: for one window of a video, or for all of them."""

from signprep.inference.options import InferOptions, WindowOptions
from signprep.inference.recognizer import Recognizer
from signprep.inference.videos.results import ClassScore, Prediction
from signprep.inference.videos.window_predictions import Video, predict_videos
from signprep.pipeline.errors import DecodeError
from signprep.pipeline.options import require_type
from signprep.pipeline.runtime.paths import StrPath

__all__ = ["ClassScore", "Prediction", "predict_window", "predict_windows"]


def predict_window(
    recognizer: Recognizer,
    video: StrPath,
    *,
    start_seconds: float = 0.0,
    clip_duration: float = 2.0,
    return_probabilities: bool = False,
    fps: float | None = None,
) -> Prediction:
    """Return the prediction for [start_seconds, start_seconds + clip_duration) of a video.

    A folder of pictures is a video of the frame rate `fps`.

    Raises:
        DecodeError: the video does not open, is shorter than that, or is damaged there.
        TypeError: the recognizer is not what `open_model` returns, or the video is no path.
    """
    windows = WindowOptions(start_seconds=start_seconds, clip_duration=clip_duration)
    options = InferOptions(windows=windows, batch_size=1, with_probabilities=return_probabilities)
    [found] = _predictions(recognizer, video, options, fps)
    return found


def predict_windows(
    recognizer: Recognizer,
    video: StrPath,
    *,
    start_seconds: float = 0.0,
    clip_duration: float = 2.0,
    stride: float = 1.0,
    batch_size: int = 8,
    return_probabilities: bool = False,
    fps: float | None = None,
) -> list[Prediction]:
    """Return the predictions for all windows of a video, in their order.

    Args:
        recognizer: the opened model.
        video: path of the video.
        start_seconds: start of the first window.
        clip_duration: length of a window, in seconds.
        stride: seconds from one window's start to the next one's.
        batch_size: windows that go through the model together.
        return_probabilities: let predictions hold the probability of every gloss.
        fps: the frame rate of a folder of pictures.

    Raises:
        DecodeError: the video does not open, is shorter than one window, or is damaged.
    """
    windows = WindowOptions(start_seconds=start_seconds, clip_duration=clip_duration, stride=stride)
    options = InferOptions(windows=windows, batch_size=batch_size, with_probabilities=return_probabilities)
    return _predictions(recognizer, video, options, fps)


def _predictions(recognizer: Recognizer, video: StrPath, options: InferOptions, fps: float | None) -> list[Prediction]:
    require_type("recognizer", recognizer, Recognizer)
    [found] = predict_videos(recognizer, [Video.at(video, fps)], options)
    if found.missing:
        raise DecodeError(found.missing[0].reason)
    return found.predictions

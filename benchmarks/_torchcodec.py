"""torchcodec in an environment of its own: what PyPI has since 0.14 is built against a torch with CUDA.

    python _torchcodec.py SIZE

says "ready VERSION", reads lines of its standard input (a video, and the seconds of its frames, as JSON), and answers
each with the CPU seconds that it took and the shape of the frames, [T, SIZE, SIZE, 3]. Where it cannot be imported, it
says why. signprep is not in this environment.
"""

import json
import sys
import time
from typing import Any


def frames_at(video: str, seconds: list[float], size: int) -> Any:
    """Return a video's frames at some seconds, uint8 [T, size, size, 3], as torchcodec's performance tips advise."""
    from torchcodec.decoders import VideoDecoder
    from torchcodec.transforms import CenterCrop, Resize

    # A decoder has to know the size before it is told to crop; reading the header once more costs next to nothing.
    metadata = VideoDecoder(video, seek_mode="approximate").metadata
    side = min(metadata.height, metadata.width)
    decoder = VideoDecoder(
        video,
        num_ffmpeg_threads=1,
        seek_mode="approximate",
        dimension_order="NHWC",
        transforms=[CenterCrop((side, side)), Resize((size, size))],
    )
    return decoder.get_frames_played_at(seconds).data.numpy()


def main(size: int) -> None:
    try:
        import torchcodec
        import torchcodec.decoders
        import torchcodec.transforms
    except Exception as error:  # of many kinds: a library, a symbol, torch itself
        print(" ".join(str(error).split())[:200], flush=True)
        return
    print("ready", torchcodec.__version__, flush=True)
    for line in sys.stdin:
        video, seconds = json.loads(line)
        started = time.process_time()
        frames = frames_at(video, seconds, size)
        print(json.dumps([time.process_time() - started, frames.shape]), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))

"""torchcodec in an environment of its own: what PyPI has since 0.14 is built against a torch with CUDA.

    python _torchcodec.py SIZE

says "ready VERSION", reads lines of its standard input (a video, and the seconds of its frames, as JSON), and answers
each with the CPU seconds that it took and the shape of the frames, [T, SIZE, SIZE, 3]. Where it cannot be imported, it
says why. signprep is not in this environment.
"""

import json
import sys
import time


def main(size: int) -> None:
    try:
        import torchcodec
        from torchcodec.decoders import VideoDecoder
        from torchcodec.transforms import CenterCrop, Resize
    except Exception as error:  # of many kinds: a library, a symbol, torch itself
        print(" ".join(str(error).split())[:200], flush=True)
        return
    print("ready", torchcodec.__version__, flush=True)
    for line in sys.stdin:
        video, seconds = json.loads(line)
        started = time.process_time()
        metadata = VideoDecoder(video, seek_mode="approximate").metadata
        side = min(metadata.height, metadata.width)
        decoder = VideoDecoder(
            video,
            num_ffmpeg_threads=1,
            seek_mode="approximate",
            dimension_order="NHWC",
            transforms=[CenterCrop((side, side)), Resize((size, size))],
        )
        frames = decoder.get_frames_played_at(seconds).data.numpy()
        print(json.dumps([time.process_time() - started, frames.shape]), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))

"""MosaicML Streaming in an environment of its own: it asks for NumPy below 2.2, and so cannot live with signprep.

    python _mosaic.py CLIPS SHAPE STORE BATCH

writes the raw uint8 clips of the file CLIPS into 64 MB shards, says "ready", and reads an epoch for every line of its
standard input, answering each with the number of clips. Where it cannot be imported, it says why instead.
"""

import runpy
import sys
from pathlib import Path

import numpy as np


def main(file: Path, shape: tuple[int, ...], store: Path, batch: int) -> None:
    try:
        import torch

        # signprep itself is not in this environment.
        runpy.run_path(str(Path(__file__).parents[1] / "training" / "runtime" / "torchvision_operators.py"))
        from streaming import MDSWriter, StreamingDataset
    except ImportError as error:
        print(error, flush=True)
        return
    clips = np.memmap(file, np.uint8, "r", shape=shape)
    with MDSWriter(out=str(store), columns={"clip": "bytes"}, size_limit=2**26) as writer:
        for clip in clips:
            writer.write({"clip": clip.tobytes()})
    dataset = StreamingDataset(local=str(store), shuffle=True, batch_size=batch)

    def collate(items: list[dict[str, bytes]]) -> "torch.Tensor":
        return torch.from_numpy(np.stack([np.frombuffer(item["clip"], np.uint8).reshape(shape[1:]) for item in items]))

    loader = torch.utils.data.DataLoader(dataset, batch_size=batch, collate_fn=collate)
    print("ready", flush=True)
    for _ in sys.stdin:
        print(sum(len(clips) for clips in loader), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), tuple(map(int, sys.argv[2].split(","))), Path(sys.argv[3]), int(sys.argv[4]))

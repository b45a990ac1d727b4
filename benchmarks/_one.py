"""One benchmark in a process of its own: `python -m benchmarks._one NAME SIZE FILE` runs it and records to the file.

So the peak memory of one is not that of all, threads that a peer leaves disturb nobody, and one that fails ends alone.
"""

import importlib
import json
import sys
import traceback
from dataclasses import asdict
from pathlib import Path

from benchmarks._report import RECORDED
from benchmarks._size import Size
from signprep.pipeline.cli import spin_briefly


def main(name: str, size: Size, target: Path) -> int:
    spin_briefly()  # as the command line does
    run = importlib.import_module(f"benchmarks.{name}").run
    error = ""
    try:
        run(size)
    except Exception as failure:
        traceback.print_exc()
        error = " ".join(f"{type(failure).__name__}: {failure}".split())
    sys.stdout.flush()
    target.write_text(json.dumps(asdict(RECORDED) | {"error": error}, ensure_ascii=False), encoding="utf-8")
    return bool(error)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Size(sys.argv[2]), Path(sys.argv[3])))

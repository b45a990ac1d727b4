"""Damage many files and look what becomes of them: no crash, no hang, no raw error, and nothing wrong is returned.

    python -m tests.mutations                          2,000 videos, 1,000 caches, 500 labels, 200 checkpoints
    python -m tests.mutations --videos 50 --caches 0 --labels 0 --checkpoints 0
    python -m tests.mutations --only videos:1234       one case again, in this process, with its traceback

Each case has a number that seeds it. Cases run in processes of their own, so that a crash or a hang is one failure.
"""

import argparse
import importlib
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from tests.mutations.workers import Worker, run_case

KINDS = {"videos": 2000, "caches": 1000, "labels": 500, "checkpoints": 200}


class Failure(NamedTuple):
    """A case in which something happened that may not."""

    kind: str
    number: int
    reason: str


def run_kind(kind: str, numbers: range, folder: Path) -> list[Failure]:
    """Run cases of one kind and print what became of them; return those that failed."""
    (folder / kind).mkdir(exist_ok=True)
    importlib.import_module(f"tests.mutations.{kind}").make(folder / kind)
    outcomes: Counter[str] = Counter()
    failures = []
    worker = Worker(kind, folder)
    for number in numbers:
        is_fine, said = worker.run(number)
        outcomes[said if is_fine else "FAILED"] += 1
        if not is_fine:
            failures.append(Failure(kind, number, said))
            print(f"{kind}:{number}: {said}", flush=True)
        if sys.stderr.isatty():
            print(f"\r{kind}: {number - numbers.start + 1} of {len(numbers)}", end="", file=sys.stderr, flush=True)
    worker.close()
    told = ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()))
    print(f"{len(numbers)} damaged {kind}: {told}", flush=True)
    return failures


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutations", description=__doc__.split("\n", 1)[0])
    for kind, count in KINDS.items():
        parser.add_argument(f"--{kind}", type=int, default=count, help=f"cases of damaged {kind}, {count} by default")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--only", metavar="KIND:NUMBER", help="run one case in this process")
    asked = parser.parse_args()
    failures = []
    with tempfile.TemporaryDirectory(prefix="signprep-mutations-") as name:
        folder = Path(name)
        if asked.only:
            kind, _, number = asked.only.partition(":")
            (folder / kind).mkdir()
            importlib.import_module(f"tests.mutations.{kind}").make(folder / kind)
            print(run_case(kind, int(number), folder))
            return 0
        for kind in KINDS:
            if count := getattr(asked, kind):
                failures += run_kind(kind, range(asked.first, asked.first + count), folder)
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())

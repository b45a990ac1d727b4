"""A small data set in AIHub's shape and its cache, made once a test run."""

import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import hypothesis
import pytest

# Messages are in English, whatever language this machine speaks.
os.environ["LC_ALL"] = ""
os.environ["LC_MESSAGES"] = "C"
# Models as small as the tests' are slower on several threads, ten times so while other work runs on the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Of the cores, tests take one each: a build starts worker processes only where a test asks for two.
os.environ.setdefault("LOKY_MAX_CPU_COUNT", "1")

from signprep.cache_builder import open_cache
from signprep.cache_builder.building.build import build
from signprep.cache_builder.building.plan import BuildPlan, plan_build
from signprep.cache_builder.building.workers import RunOptions
from signprep.cache_builder.options import BuildOptions
from signprep.cache_builder.reader import Cache
from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.clips import Span
from signprep.pipeline.datasets.read import read_data_root
from signprep.pipeline.datasets.splits import assign_splits
from tests.generated_videos import write_video
from tests.interrupted import WITH_MODELS, Interrupter
from tests.waiting import HANG_SECONDS

# A shell that starts tests in the background has them, and all that they start, ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)

# What tests write is made durable, file by file: in memory that waits for no disk.
_MEMORY, _NEEDED_BYTES = Path("/dev/shm"), 8 << 30
if "TMPDIR" not in os.environ and os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _NEEDED_BYTES:
    os.environ["TMPDIR"] = tempfile.tempdir = str(_MEMORY)

hypothesis.settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any machine")

GLOSSES = ("왼쪽", "오른쪽")
SIGNERS = ("REAL01", "REAL02", "REAL17")
CLIP_SPEC = ClipSpec(num_frames=4, size=64)


def write_label(path: Path, segments: list[tuple[float, float, str]], duration: float = 2.0) -> Path:
    """Write a morpheme JSON as AIHub does."""
    document = {
        "metaData": {"url": "", "name": path.name.replace("_morpheme.json", ".mp4"), "duration": duration},
        "data": [{"start": start, "end": end, "attributes": [{"name": name}]} for start, end, name in segments],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")
    return path


def write_data_root(root: Path) -> Path:
    """Two words by three signers from two views; one video of another content each."""
    number = 0
    for word, gloss in enumerate(GLOSSES, start=1):
        for signer in SIGNERS:
            for view in "FL":
                name = f"NIA_SL_WORD{word:04d}_{signer}_{view}"
                write_video(root / "video" / f"{name}.mp4", 30, first_number=30 * number)
                write_label(root / "label" / f"{name}_morpheme.json", [(0.2, 0.8, gloss)], duration=1.0)
                number += 1
    return root


_MEASURE_CLIPS = """
import json, sys
from pathlib import Path
from benchmarks._report import peak_memory_mib
from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.clips import Span
from signprep.pipeline.clips import extract_clips
for path in sys.argv[2:]:
    extract_clips(Path(path), [Span(*span) for span in json.loads(sys.argv[1])], ClipSpec(num_frames=8, size=64))
print(peak_memory_mib())
"""


def peak_mib_of_clips(videos: Sequence[Path], spans: Sequence[Span]) -> float:
    """Cut spans out of videos, good or bad, in a process of its own; return the most memory it held, in MiB."""
    command = [sys.executable, "-c", _MEASURE_CLIPS, json.dumps(spans), *map(str, videos)]
    root = Path(__file__).parents[1]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=HANG_SECONDS, check=True)
    return float(done.stdout)


def plan_of(data_root: Path, spec: ClipSpec = CLIP_SPEC, **options: object) -> BuildPlan:
    """Plan the cache of a data root with default splits."""
    annotations = read_data_root(data_root)
    return plan_build(annotations.roots, assign_splits(annotations.segments), BuildOptions(clip_spec=spec, **options))


def build_test_cache(data_root: Path, out: Path, spec: ClipSpec = CLIP_SPEC, **options: object) -> Cache:
    """Build the cache of a data root in this process and open it."""
    build(plan_of(data_root, spec, **options), out, RunOptions(workers=1))
    return open_cache(out)


_LONGEST = (
    "tests/training/run/test_kills.py",
    "tests/test_documents.py",
    "tests/test_other_systems.py",
    "tests/benchmarks/",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let tests that take many seconds come first: at the end all cores but one would wait for them."""
    items.sort(key=lambda item: not item.nodeid.startswith(_LONGEST))


def pytest_collection_finish() -> None:
    # Of some million objects of torch and of the tests: the collector would look through them again and again.
    gc.freeze()


@pytest.fixture(scope="session")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Spaces and Korean in the path, as users have them.
    return write_data_root(tmp_path_factory.mktemp("data") / "수어 영상")


@pytest.fixture(scope="session")
def cache(data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return build_test_cache(data_root, tmp_path_factory.mktemp("cache") / "test.zarr")


@pytest.fixture(scope="session")
def with_models() -> Iterator[Interrupter]:
    """A process that has imported what trains, evaluates and exports, and runs commands in forks."""
    with Interrupter(*WITH_MODELS) as process:
        yield process


@pytest.fixture(scope="session", autouse=True)
def small_networks() -> Iterator[None]:
    """Small networks, where any test needs torch at all: importing it takes seconds."""
    if "torch" not in sys.modules:
        yield
        return
    from tests.small_networks import hardly_timed, six_blocks

    with six_blocks(), hardly_timed():
        yield


@pytest.fixture
def whole_networks() -> Iterator[None]:
    from tests.small_networks import whole

    with whole():
        yield

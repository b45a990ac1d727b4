"""Every command that changes a cache, killed at each of its file events: the same command ends the work."""

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from signprep.cache_builder import open_cache
from signprep.cache_builder.edit.verify import verify_cache
from signprep.cache_builder.remote.push import push
from signprep.pipeline.clip_spec import ClipSpec
from tests.cache_builder.made_caches import forget_rows, make_cache
from tests.conftest import build_test_cache, write_label
from tests.file_events import DEEDS, KILLED, TORN
from tests.generated_videos import write_video
from tests.interrupted import Interrupter, Seen, folder_in_memory

MODULES = (
    "dateutil.relativedelta",
    "fsspec.implementations.chained",
    "fsspec.implementations.local",
    "numpy.ma",
    "pyarrow.dataset",
    "zarr",
    "signprep.cache_builder.building.run",
    "signprep.cache_builder.edit.compact",
    "signprep.cache_builder.edit.merge",
    "signprep.cache_builder.edit.verify",
    "signprep.cache_builder.remote.partial_pull",
    "signprep.cache_builder.report.terminal",
    "signprep.cache_builder.report.page",
    "signprep.cache_builder.cli.build",
    "signprep.cache_builder.cli.inspect",
    "signprep.cache_builder.cli.maintain",
    "signprep.cache_builder.cli.transfer",
)
TINY = ClipSpec(num_frames=2, size=32)


@pytest.fixture(scope="module")
def interrupter() -> Iterator[Interrupter]:
    with Interrupter(*MODULES) as process:
        yield process


def add_video(data: Path, name: str, gloss: str, number: int) -> None:
    write_video(data / "video" / f"{name}.mp4", 15, first_number=number)
    write_label(data / "label" / f"{name}_morpheme.json", [(0.1, 0.4, gloss)], duration=0.5)


def with_data(folder: Path) -> None:
    """Six videos of two glosses, which make two shards."""
    for number in range(6):
        word, signer = number // 3 + 1, ("REAL01", "REAL02", "REAL17")[number % 3]
        add_video(folder / "data", f"NIA_SL_WORD{word:04d}_{signer}_F", ("왼쪽", "오른쪽")[word - 1], 30 * number)


def with_older_data(folder: Path) -> None:
    """A cache of the data as they were: one label is gone since then, and a video is new."""
    with_data(folder)
    build_test_cache(folder / "data", folder / "c.zarr", TINY)
    (folder / "data" / "label" / "NIA_SL_WORD0001_REAL01_F_morpheme.json").unlink()
    add_video(folder / "data", "NIA_SL_WORD0003_REAL01_F", "위", 900)


def with_bad_data(folder: Path) -> None:
    """Videos that are none."""
    with_data(folder)
    for video in (folder / "data" / "video").iterdir():
        video.write_bytes(b"no video")


def with_damage(folder: Path) -> None:
    """A cache of which the array's metadata and a shard are damaged."""
    with_data(folder)
    build_test_cache(folder / "data", folder / "c.zarr", TINY)
    (folder / "c.zarr" / "clips" / "zarr.json").write_text("{}")
    shard = folder / "c.zarr" / "clips" / "c" / "0" / "0" / "0" / "0"
    shard.write_bytes(shard.read_bytes()[:-3])


def with_gone_clips(folder: Path) -> None:
    forget_rows(make_cache(folder / "c.zarr", range(12)), [1, 2, 9])


def with_two(folder: Path) -> None:
    make_cache(folder / "a.zarr", range(8))
    make_cache(folder / "b.zarr", range(6, 12))


def with_older_copy(folder: Path) -> None:
    make_cache(folder / "a.zarr", range(12))
    make_cache(folder / "c.zarr", range(4, 20))


def with_pushed_copy(folder: Path) -> None:
    with_older_copy(folder)
    push(folder / "c.zarr", f"local://{folder}/pushed")


BUILD = ("build-cache", "--data-root", "data", "--num-frames", "2", "--size", "32", "--workers", "1", "--yes", "--out")


@dataclass(frozen=True)
class Case:
    """A command, and what it finds; paths in it are inside the folder of a test."""

    prepare: Callable[[Path], object]
    command: tuple[str, ...]
    changed: str = "c.zarr"
    """The cache that the command makes or changes."""
    code: int = 0
    name: str | None = None
    """The command that readers are told."""


CASES = {
    "build": Case(with_data, (*BUILD, "c.zarr")),
    "build of nothing": Case(with_bad_data, (*BUILD, "c.zarr"), code=1),
    "update": Case(with_older_data, (*BUILD, "c.zarr")),
    "build anew": Case(with_older_data, (*BUILD, "c.zarr", "--overwrite")),
    "build with a pool": Case(with_data, (*BUILD, "c.zarr", "--clip-pool", "pool")),
    "build with a pool at a URL": Case(with_data, (*BUILD, "c.zarr", "--clip-pool", "local:///pool")),
    "build at a URL": Case(with_data, (*BUILD, "local:///c.zarr"), changed="local:///c.zarr"),
    "compact": Case(with_gone_clips, ("compact", "c.zarr")),
    "forget": Case(lambda f: make_cache(f / "c.zarr", range(12)), ("forget", "c.zarr", "--signer", "REAL02", "--yes")),
    "repair": Case(with_damage, ("verify", "c.zarr", "--repair", "--data-root", "data"), name="verify --repair"),
    "merge": Case(with_two, ("merge", "a.zarr", "b.zarr", "--out", "c.zarr")),
    "merge anew": Case(
        lambda f: (with_two(f), make_cache(f / "c.zarr", range(30, 42))),
        ("merge", "a.zarr", "b.zarr", "--out", "c.zarr", "--overwrite"),
    ),
    "pull": Case(lambda f: make_cache(f / "a.zarr", range(12)), ("pull", "a.zarr", "c.zarr")),
    "pull over another": Case(with_older_copy, ("pull", "a.zarr", "c.zarr", "--overwrite")),
    "pull from a URL": Case(with_pushed_copy, ("pull", "local:///pushed", "d.zarr"), changed="d.zarr"),
    "pull of a part": Case(
        lambda f: make_cache(f / "a.zarr", range(12)), ("pull", "a.zarr", "c.zarr", "--signer", "REAL01")
    ),
    "pull of a part from a URL": Case(
        with_pushed_copy, ("pull", "local:///pushed", "d.zarr", "--signer", "REAL01"), changed="d.zarr"
    ),
    "pull of a part over another": Case(
        with_older_copy, ("pull", "a.zarr", "c.zarr", "--signer", "REAL01", "--overwrite")
    ),
    "push": Case(lambda f: make_cache(f / "a.zarr", range(12)), ("push", "a.zarr", "c.zarr")),
    "push over another": Case(with_older_copy, ("push", "a.zarr", "c.zarr", "--overwrite")),
    "push to a URL": Case(
        lambda f: make_cache(f / "a.zarr", range(12)), ("push", "a.zarr", "local:///new", "--yes"), "local:///new"
    ),
    "push over another at a URL": Case(
        with_pushed_copy,
        ("push", "a.zarr", "local:///pushed", "--yes", "--overwrite", "--prune"),
        changed="local:///pushed",
    ),
}  # fmt: skip


def inside(folder: Path, words: tuple[str, ...]) -> list[str]:
    """Return the words of a command whose paths are inside a folder."""
    is_path = re.compile(r"data|pool|[acd]\.zarr|b\.zarr")
    return [
        word.replace("local://", f"local://{folder}") if word.startswith("local:") else
        str(folder / word) if is_path.fullmatch(word) else word
        for word in words
    ]  # fmt: skip


def problems(case: Case, whole: Seen, seen: Seen) -> Iterator[str]:
    """Yield what is not as it should be after one interruption."""
    name = case.name or case.command[0]
    has_ended = seen.first.code == 0  # what failed was of no use any more
    if (not has_ended and seen.again.code != case.code) or (
        case.code and last_line(seen.again.err) != last_line(whole.again.err)
    ):
        yield f"given again: {seen.again.code} {seen.again.err}"
    differing = {path for path, _ in seen.paths.items() ^ whole.paths.items()}
    # The videos' stamps are of the same videos in another order.
    if differing - {path for path in seen.paths.keys() & whole.paths.keys() if path.endswith(".seen.parquet")}:
        yield f"left or differing: {sorted(differing)}"
    advice = (
        f"`signprep {name}` is at work, or was stopped: then the same command goes on",
        "the command that makes or changes it is at work, or was stopped: then the same command goes on",
        "there is no cache at this path",
        "it has neither manifest.json nor zarr.json",
        "a push or a build that was stopped goes on with the same command",
    )
    if seen.reader.code and not any(words in seen.reader.err for words in advice) and not case.name:
        yield f"a reader: {seen.reader.err}"
    if any("Traceback" in end.err for end in (seen.first, seen.reader, seen.again)):
        yield f"a traceback: {seen.first.err} {seen.reader.err} {seen.again.err}"
    if "Ctrl-C" in seen.deed and seen.first.code not in (130, case.code):
        yield f"stopped: {seen.first.code} {seen.first.err}"
    if seen.deed in ("out of room", "without permission") and (
        seen.first.code not in (0, 1) or seen.first.code != seen.first.err.count("signprep: error: ")
    ):
        yield f"failed: {seen.first.code} {seen.first.err}"


def last_line(text: str) -> str:
    return text.splitlines()[-1]


def check(interrupter: Interrupter, name: str, deeds: Collection[str], most: int | None) -> None:
    case = CASES[name]
    with folder_in_memory() as folder:
        prepared, work = folder / "prepared", folder / "here" / "work"
        prepared.mkdir()
        work.parent.mkdir()
        case.prepare(prepared)
        reader = ["verify", *inside(work, (case.changed,))]
        whole, all_seen = interrupter.interrupt(
            inside(work, case.command), prepared=prepared, work=work, reader=reader, deeds=deeds, most=most
        )
    assert whole.first.code == case.code, whole.first.err
    assert whole.reader.code == 0 or case.code, whole.reader.err
    found = [f"{seen.deed}, {seen.event}: {line}" for seen in all_seen for line in problems(case, whole, seen)]
    assert found == [], "\n".join(found)


@pytest.mark.parametrize("name", CASES)
def test_a_command_killed_at_some_of_its_file_events_is_ended_by_the_same_command(
    interrupter: Interrupter, name: str
) -> None:
    check(interrupter, name, [KILLED], 4)


@pytest.mark.slow
def test_what_lies_there_at_an_event_is_what_a_kill_leaves(interrupter: Interrupter) -> None:
    left = []
    with folder_in_memory() as folder:
        prepared, work = folder / "prepared", folder / "here" / "work"
        work.parent.mkdir()
        with_gone_clips(prepared)
        command, reader = ["compact", str(work / "c.zarr")], ["verify", str(work / "c.zarr")]
        for most in (None, 8):
            _, seen = interrupter.interrupt(
                command, prepared=prepared, work=work, reader=reader, deeds=[KILLED, TORN], most=most
            )
            left.append({(one.deed, one.event.split(",")[0]): (one.first.code, one.state) for one in seen})
    kept, killed = left
    assert len(killed) == 16 and killed.items() <= kept.items()
    assert any(kept[KILLED, event] != (code, state) for (deed, event), (code, state) in killed.items() if deed == TORN)


@pytest.fixture
def shared(interrupter: Interrupter) -> Iterator[Path]:
    """A folder that another user may open, which pytest's own are not."""
    if os.name != "posix" or os.geteuid() != 0:
        pytest.skip("only root can become another user")
    folder = Path(tempfile.mkdtemp())
    (folder / "work").mkdir()
    for path in (folder, folder / "work"):
        path.chmod(0o777)
    yield folder / "work"
    shutil.rmtree(folder)


CLOSED = [".build", ".build/command", "clips", "clips/c/0/0/0/0", "index.parquet", "manifest.json", "zarr.json"]


@pytest.mark.parametrize("closed", CLOSED)
def test_what_another_user_may_not_open_is_one_true_line(interrupter: Interrupter, shared: Path, closed: str) -> None:
    """As where colleagues change one cache, and one of them has umask 077."""
    cache, other = make_cache(shared / "c.zarr", range(8)).path, make_cache(shared / "a.zarr", range(4, 16)).path
    (cache / ".build").mkdir()
    (cache / ".build" / "command").write_text("compact")
    for path in (cache, *cache.rglob("*")):
        path.chmod(0o777)
    (cache / closed).chmod(0o700 if (cache / closed).is_dir() else 0o600)
    for command in (
        ("verify", cache),
        ("inspect", cache),
        ("push", cache, shared / "new.zarr"),
        ("push", other, cache),
        ("merge", cache, other, "--out", shared / "d.zarr"),
        ("pull", other, cache, "--overwrite"),
        ("compact", cache),
    ):
        ended = interrupter.run_as_nobody(command, shared)
        assert "Traceback" not in ended.err and ended.code == ended.err.count("signprep: error: "), (command, ended)
        assert "damaged" not in ended.err and "is no signprep cache" not in ended.err, (command, ended)


def test_a_push_from_a_cache_that_may_only_be_read_has_arrived(interrupter: Interrupter, shared: Path) -> None:
    cache = make_cache(shared / "c.zarr", range(8))
    for place in (shared / "copy.zarr", f"local://{shared}/pushed"):
        ended = interrupter.run_as_nobody(("push", cache.path, place, "--yes"), shared)
        assert ended.code == 0 and " sent" in ended.out and "error" not in ended.err, ended
    assert open_cache(shared / "copy.zarr").fingerprint == cache.fingerprint


def test_a_push_cleans_up_after_one_that_was_killed(tmp_path: Path) -> None:
    """Also after one of an older version, whose parts have other names."""
    cache = make_cache(tmp_path / "c.zarr", range(8))
    torn = [cache.path / "..synced.json.a9f20c37aefa.part", tmp_path / "pushed" / ".published.json.0123abcd.part"]
    torn += [tmp_path / "pushed" / "objects" / f".{cache.manifest.objects['zarr.json'].hash}.0123abcd.part"]
    (tmp_path / "pushed" / "objects").mkdir(parents=True)
    for path in torn:
        path.write_bytes(b"{")
    assert verify_cache(cache.path) == []
    push(cache.path, f"local://{tmp_path}/pushed")
    assert [path for path in torn if path.exists()] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_command_disturbed_at_any_of_its_file_events_is_ended_by_the_same_command(
    interrupter: Interrupter, name: str
) -> None:
    check(interrupter, name, DEEDS, None)

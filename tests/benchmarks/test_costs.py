"""The model of costs is arithmetic that can be done by hand, and the benchmark that measures its constants runs."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import _cost_constants
from benchmarks._costs import (
    Case,
    Constants,
    Line,
    Transfer,
    build_seconds,
    epoch_seconds,
    largest_useful,
    limits,
    plan_seconds,
    publish_seconds,
    push_seconds,
    stream_rates,
)
from benchmarks.costs import shards_of_a_rank
from tests.waiting import HANG_SECONDS

NOTHING, FREE = Line(fixed=0, each=0), Transfer(an_object=0, a_byte=0)
ONE_SECOND_A_CLIP = Constants(
    labels=Line(fixed=1, each=0.001),
    plan=Line(fixed=2, each=0.001),
    plan_bytes=NOTHING,
    decode_seconds=0.9,
    hash_seconds=0,
    store_seconds=0.1,
    shard_seconds=0,
    task=Line(fixed=0.5, each=0),
    scheduler=Line(fixed=0.5, each=0),
    worker_task=NOTHING,
    upkeep=0,
    merge=Line(fixed=3, each=0.001),
    merge_bytes=NOTHING,
    worker_bytes=0,
    push=FREE,
    fetch=FREE,
    codecs={"lz4hc": (1000.0, 0.01)},
)
CASE = Case(num_clips=1000, workers=10, clips_per_shard=10, video_bytes=2000, link=20_000, request_seconds=0)


def test_a_build_takes_as_long_as_its_slowest_part_and_what_comes_before_and_after() -> None:
    assert limits(ONE_SECOND_A_CLIP, CASE) == pytest.approx(
        {"CPU": 100, "reading videos": 100, "writing shards": 50, "giving out tasks": 100}
    )
    assert plan_seconds(ONE_SECOND_A_CLIP, CASE) == 5 and publish_seconds(ONE_SECOND_A_CLIP, CASE) == 4
    assert build_seconds(ONE_SECOND_A_CLIP, replace(CASE, workers=5)) == 200 + 9
    assert build_seconds(ONE_SECOND_A_CLIP, replace(CASE, workers=1000)) == 100 + 9
    assert largest_useful(ONE_SECOND_A_CLIP, CASE) == pytest.approx(
        {"reading videos": 10, "writing shards": 20, "giving out tasks": 10}
    )


def test_a_worker_that_keeps_itself_up_takes_longer() -> None:
    kept = replace(ONE_SECOND_A_CLIP, upkeep=0.2)
    assert limits(kept, CASE)["CPU"] == pytest.approx(100 / 0.8)


def test_workers_take_whole_shards() -> None:
    uneven = replace(CASE, workers=99)
    assert limits(ONE_SECOND_A_CLIP, uneven)["CPU"] == limits(ONE_SECOND_A_CLIP, replace(CASE, workers=50))["CPU"] == 20


def test_small_objects_of_an_object_store_are_waited_for() -> None:
    waited = publish_seconds(ONE_SECOND_A_CLIP, replace(CASE, request_seconds=0.4))
    assert waited == pytest.approx(4 + 2 * 100 * 0.4 / 8)


def test_a_push_takes_what_the_process_or_the_link_takes() -> None:
    assert push_seconds(ONE_SECOND_A_CLIP, CASE) == 50
    slow = replace(ONE_SECOND_A_CLIP, push=Transfer(an_object=1, a_byte=1e-4))
    assert push_seconds(slow, CASE) == pytest.approx(100 + 100)


def test_machines_that_stream_share_the_link_and_each_fetches_all_shards() -> None:
    cpu, link = stream_rates(ONE_SECOND_A_CLIP, replace(CASE, workers=4), threads=2)
    assert cpu == pytest.approx(200) and link == pytest.approx(20_000 / 4 / 1230)
    assert epoch_seconds(ONE_SECOND_A_CLIP, replace(CASE, workers=4)) == 4 * 50
    assert shards_of_a_rank(20_000, 4) == 1.0


@pytest.mark.parametrize("name", _cost_constants.STAGES)
def test_each_stage_of_one_process_runs(name: str, tmp_path: Path) -> None:
    assert _cost_constants.STAGES[name](20, tmp_path)() is not None


@pytest.mark.slow
def test_constants_are_measured_and_held_against_builds_on_a_cluster() -> None:
    command = [sys.executable, "-m", "benchmarks", "--toy", "costs"]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=HANG_SECONDS)
    assert done.returncode == 0, done.stderr
    for part in ("CPU of the workers", "5,000,000 clips, workers", "waits for", "of its shards, a rank of 64 reads"):
        assert part in done.stdout

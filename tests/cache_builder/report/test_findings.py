import re
from pathlib import Path

import numpy as np
import pytest

from signprep.cache_builder import open_cache
from signprep.cache_builder.reader import Cache
from signprep.cache_builder.report.clip_table import clip_table
from signprep.cache_builder.report.findings import CATALOGUE, ClipFinding, index_findings
from signprep.cache_builder.report.near_duplicates import compare_clips, footage_findings
from signprep.cache_builder.report.pictures import shown_rows
from signprep.cache_builder.report.statistics import balances, coverage, durations
from signprep.pipeline.clip_spec import ClipSpec
from tests.cache_builder.report.made import HOSTILE, LONG, QUOTING, drawn_clip, failed, row_of, write_cache


def by_kind(findings: list[ClipFinding]) -> dict[str, list[ClipFinding]]:
    kinds: dict[str, list[ClipFinding]] = {}
    for finding in findings:
        kinds.setdefault(finding.kind, []).append(finding)
    return kinds


def test_a_clean_cache_has_no_findings(tmp_path: Path) -> None:
    clean = write_cache(tmp_path / "c.zarr", [row_of(number) for number in range(48)])
    table = clip_table(clean)
    assert index_findings(table) == []
    assert list(footage_findings(table, compare_clips(table))) == []


def test_everything_that_is_wrong_is_found_with_the_clips_concerned(troubled: Cache) -> None:
    table = clip_table(troubled)
    found = by_kind(index_findings(table))
    positions = {kind: [table.positions[each.rows].tolist() for each in those] for kind, those in found.items()}
    assert positions == {
        "failed": [[1, 9], [12]],
        "leak-take": [[24, 25]],
        "leak-video-content": [[29, 30]],
        "leak-signer": [[0, 1, 8, 9, 16, 17, 24, 25, 32, 33, 40, 41]],
        "two-glosses": [[32, 40]],
        "same-video": [[29, 30, 32, 40]],
        "class-empty": [[]],
        "class-not-in-train": [[22, 23]],
        "class-not-in-val": [[16, 17, 18, 20]],
        "views-missing": [[0, 1, 2, 8, 9, 12, 13]],
        "cut-short": [[33]],
        "frames-repeat": [[34]],
        "very-short": [[33, 34]],
        "very-long": [[35]],
        "no-signer": [[23]],
        "no-split": [[23]],
        "removed": [[]],
    }
    [empty], [two], [missing] = found["class-empty"], found["two-glosses"], found["views-missing"]
    assert empty.lines == ("빈 낱말",)
    assert "3.1절" in two.lines[0] and "왼쪽" in two.lines[0] and "video/copy.mp4" in two.lines[0]
    assert "REAL01_WORD0001: no L" in missing.lines and "REAL03_WORD0002: no F" in missing.lines
    assert found["failed"][0].title == "2 clips could not be decoded (truncated or damaged at N s (Invalid data))"
    assert found["leak-video-content"][0].lines == (
        "video/NIA_SL_WORD0004_REAL03_L.mp4 = video/NIA_SL_WORD0004_REAL04_F.mp4",
    )
    severities = [finding.severity for those in found.values() for finding in those]
    assert severities == sorted(severities, key=["error", "warning", "note"].index)


def test_the_same_footage_coded_again_is_found_and_other_performances_are_not(troubled: Cache) -> None:
    table = clip_table(troubled)
    comparison = compare_clips(table, threads=2)
    [pair] = comparison.pairs
    assert table.positions[list(pair.rows)].tolist() == [27, 38]
    assert (pair.difference, pair.likeness) == ("split", pytest.approx(1.0, abs=0.008))
    assert table.positions[comparison.still_rows].tolist() == [41]
    assert table.positions[comparison.dark_rows].tolist() == [42]
    kinds = [finding.kind for finding in footage_findings(table, comparison)]
    assert kinds == ["alike-across-splits", "still", "dark"]


@pytest.mark.parametrize("size", [16, 60, 64])
def test_clips_of_any_size_and_pixels_are_compared(tmp_path: Path, size: int) -> None:
    spec = ClipSpec(num_frames=5, size=size, pixels="rgb24")

    def clip_of(position: int) -> np.ndarray:
        luma = drawn_clip(position % 4, ClipSpec(num_frames=5, size=size), noise=position // 4)[:, :size]
        return np.repeat(luma[..., np.newaxis], 3, axis=3)

    rows = [row_of(number, sampled_seconds=[0.5] * 5) for number in range(8)]
    table = clip_table(write_cache(tmp_path / "c.zarr", rows, clip_of, spec=spec))
    pairs = compare_clips(table).pairs
    assert {pair.rows for pair in pairs} == {(0, 4), (1, 5), (2, 6), (3, 7)}


def test_a_cache_of_more_clips_is_sampled_and_says_so(tmp_path: Path) -> None:
    made = write_cache(tmp_path / "c.zarr", [row_of(number) for number in range(40)])
    table = clip_table(made)
    [finding] = footage_findings(table, compare_clips(table, most=10))
    assert finding.title == "10 of 40 clips compared with one another" and "6 %" in finding.meaning
    [finding] = footage_findings(table, compare_clips(table, most=0))
    assert finding.title == "clips were not compared with one another"


def test_damaged_clips_are_a_finding_and_no_end(tmp_path: Path) -> None:
    made = write_cache(tmp_path / "c.zarr", [row_of(number) for number in range(40)], clips_per_shard=20)
    shard = next(path for path in (made.path / "clips" / "c").rglob("*") if path.is_file())
    data = bytearray(shard.read_bytes())
    data[100] ^= 1
    shard.write_bytes(data)
    table = clip_table(open_cache(made.path))
    comparison = compare_clips(table)
    [finding] = footage_findings(table, comparison)
    assert (finding.kind, finding.severity, len(finding.rows)) == ("damaged", "error", 1)


def test_figures_count_what_is_there(troubled: Cache) -> None:
    table = clip_table(troubled)
    assert (len(table), int(table.is_ok.sum()), table.num_removed) == (47, 44, 1)
    found = balances(table)
    assert found["split"].names == ("train", "val", None)
    assert found["split"].totals.tolist() == [31, 12, 1]
    counts = dict(zip(found["gloss"].names, found["gloss"].totals.tolist(), strict=True))
    assert counts == {"빈 낱말": 0, "왼쪽": 15, "오른쪽": 13, HOSTILE: 3, "3.1절": 10, QUOTING: 1, LONG: 2}
    lasting = durations(table)
    assert lasting is not None and lasting.clips.sum() == 44
    assert lasting.quantiles_seconds[0] == 0 and lasting.quantiles_seconds[-1] == 5.5
    words = coverage(table)
    assert words is not None and words.views == ("F", "L") and None not in words.signers
    assert words.words[words.signers.index("REAL01")].tolist() == [4, 4]


def test_a_duration_that_its_last_bit_puts_below_the_first_bin_counts(tmp_path: Path) -> None:
    spans = [{"clip_start_seconds": start, "clip_end_seconds": start + 1.0} for start in (0.0, 0.1, 0.7, 0.9)]
    rows = [row_of(number, **span) for number, span in enumerate(spans)]
    table = clip_table(write_cache(tmp_path / "c.zarr", rows))
    assert table.durations_seconds.min() < 1.0
    assert (found := durations(table)) is not None and found.clips.sum() == 4


def test_names_of_ones_own_have_no_signers_views_or_coverage(tmp_path: Path) -> None:
    own = {"signer": None, "view": None, "source": None, "item": None}
    rows = [row_of(number, **own, take=f"take {number}", gloss="하나", split="train") for number in range(6)]
    made = write_cache(tmp_path / "c.zarr", rows)
    table = clip_table(made)
    assert coverage(table) is None
    assert set(balances(table)) == {"split", "gloss"}
    assert [finding.kind for finding in index_findings(table)] == ["no-signer"]


def test_a_cache_in_which_all_failed_is_described(tmp_path: Path) -> None:
    made = write_cache(tmp_path / "c.zarr", [*(failed(number) for number in range(3)), row_of(3, status="removed")])
    table = clip_table(made)
    assert durations(table) is None
    kinds = {finding.kind for finding in index_findings(table)}
    assert {"failed", "class-empty", "removed"} <= kinds
    assert compare_clips(table).pairs == ()


def test_shown_clips_are_of_many_signers_views_and_splits(tmp_path: Path) -> None:
    made = write_cache(tmp_path / "c.zarr", [row_of(number, gloss="왼쪽") for number in range(48)])
    table = clip_table(made)
    [rows] = shown_rows(table, np.array([0]), 4)
    assert len({table.signer.of(row) for row in rows}) == 4
    assert {table.view.of(row) for row in rows} == {"F", "L"}
    assert {table.split.of(row) for row in rows} == {"train", "val"}
    assert shown_rows(table, np.array([0]), 0) == [[]]


def test_docs_name_every_kind_of_finding_with_its_severity() -> None:
    text = (Path(__file__).parents[3] / "docs" / "inspect.md").read_text(encoding="utf-8")
    told = {
        kind: cells[1].strip()
        for line in text.splitlines()
        if line.startswith("| `") and len(cells := line.strip("| ").split("|")) == 3
        for kind in re.findall("`([a-z-]+)`", cells[0])
    }
    assert told == {kind: severity for kind, (severity, *_) in CATALOGUE.items()}

"""What `infer --subtitles` writes is read back as labels: the same signs, to a millisecond."""

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signprep.inference.timeline.segments import TimelineSegment
from signprep.inference.timeline.subtitles import _SUBRIP_LOOKALIKES, one_line, write_subtitles
from signprep.pipeline.datasets.annotations import DatasetOptions
from signprep.pipeline.datasets.read import read_data_root
from tests.generated_videos import write_video

glosses = st.text(min_size=1, max_size=12) | st.sampled_from(
    ["왼쪽", "a<b>&amp;", "12", "{\\an8}", "-->", "어쩔 수 없다", "3.1절"]
)
signs = st.lists(st.tuples(st.floats(0.0, 40_000.0), st.floats(0.0, 20.0), glosses), min_size=1, max_size=8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("수어 영상")
    write_video(root / "talk 1.mp4", 4)
    return root


def expected_gloss(gloss: str, suffix: str) -> str:
    written = one_line(gloss)
    return unicodedata.normalize("NFC", written.translate(_SUBRIP_LOOKALIKES) if suffix == ".srt" else written).strip()


@pytest.mark.parametrize("suffix", [".eaf", ".vtt", ".srt"])
@settings(max_examples=40)
@given(signs=signs)
def test_what_is_written_is_read_back_to_a_millisecond(
    suffix: str, signs: list[tuple[float, float, str]], folder: Path
) -> None:
    segments = [
        TimelineSegment(start_seconds=start, end_seconds=start + length, label=0, gloss=gloss, confidence=1.0)
        for start, length, gloss in signs
    ]
    path = folder / f"talk 1{suffix}"
    write_subtitles(path, segments, str(folder / "talk 1.mp4"))
    try:
        annotations = read_data_root(folder)
    finally:
        path.unlink()
    found = {segment.segment_id: segment for segment in annotations.segments}
    assert not annotations.problems and len(found) == len(segments)
    for number, segment in enumerate(segments):
        read = found[f"talk 1#{number}"]
        assert read.gloss == expected_gloss(segment.gloss, suffix)
        assert read.start_seconds == pytest.approx(segment.start_seconds, abs=0.000501)
        assert read.end_seconds == pytest.approx(max(segment.end_seconds, read.start_seconds + 0.001), abs=0.0011)


def test_a_layout_that_is_asked_for_reads_the_same(folder: Path) -> None:
    segment = TimelineSegment(start_seconds=0.02, end_seconds=0.1, label=0, gloss="위", confidence=1.0)
    write_subtitles(folder / "talk 1.eaf", [segment], "elsewhere.mp4")
    found = read_data_root(folder, DatasetOptions(layout="subtitles", tiers=frozenset({"gloss"}))).segments
    (folder / "talk 1.eaf").unlink()
    assert [(one.video, one.gloss, one.start_seconds, one.end_seconds) for one in found] == [
        ("talk 1.mp4", "위", 0.02, 0.1)
    ]

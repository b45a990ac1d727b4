"""The file itself: that it is whole, closed to the outside, escaped, and small."""

import base64
import gzip
import io
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from signprep.cache_builder.options import ReportOptions
from signprep.cache_builder.reader import Cache
from signprep.cache_builder.report import page as report
from signprep.cache_builder.report.clip_table import clip_table
from signprep.cache_builder.report.page import SCRIPTS, WrittenReport, listed_rows, packed_clips, write_report
from signprep.cache_builder.report.pictures import (
    animated_webp,
    clip_frames,
    clip_seconds,
    make_pictures,
    mp4,
    plan_pictures,
)
from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.errors import SignprepError
from tests.cache_builder.report.chromium import Tab
from tests.cache_builder.report.made import HOSTILE, LONG, drawn_clip, failed, row_of, write_cache
from tests.pipeline.html.parsed import ParsedPage, require_self_contained

ROOT = Path(__file__).parents[3]


def unpacked(html: str) -> dict[str, Any]:
    packed = re.search(r'id="packed-clips">([^<]*)<', html)
    assert packed is not None
    return json.loads(gzip.decompress(base64.b64decode(packed[1])))


def test_the_file_needs_no_other_and_its_policy_allows_its_own_script_alone(troubled_report: WrittenReport) -> None:
    html = troubled_report.path.read_text(encoding="utf-8")
    page = ParsedPage(html)
    require_self_contained(html, page)
    assert "img" not in page.tags and page.tags.count("script") == 3


def test_hostile_names_are_escaped_wherever_they_stand(troubled_report: WrittenReport) -> None:
    html = troubled_report.path.read_text(encoding="utf-8")
    assert HOSTILE not in html and html.count("<script") == 3 and html.count("</script>") == 3
    assert "&lt;script&gt;alert(1)" in html and "<b>김" not in html and "<i>a" not in html
    assert HOSTILE in unpacked(html)["gloss"]["names"] and LONG in unpacked(html)["gloss"]["names"]


def test_every_clip_is_listed_with_its_video_and_seconds(troubled: Cache, troubled_report: WrittenReport) -> None:
    clips = unpacked(troubled_report.path.read_text(encoding="utf-8"))
    rows = [row for row in troubled.index.to_pylist() if row["status"] != "removed"]
    assert clips["position"] == [row["position"] for row in rows]
    for name in ("gloss", "signer", "view", "split", "source", "video", "error"):
        assert [clips[name]["names"][code] for code in clips[name]["codes"]] == [row[name] for row in rows]
    for place, row in enumerate(rows):
        start = row["clip_start_seconds"] if row["clip_start_seconds"] is not None else row["start_seconds"]
        assert clips["start"][place] == pytest.approx(start, abs=0.001)
        assert clips["ok"][place] == (row["status"] == "ok")


def test_no_folder_of_this_machine_is_in_the_file(troubled: Cache, troubled_report: WrittenReport) -> None:
    html = troubled_report.path.read_text(encoding="utf-8")
    assert str(troubled.path.parent) not in html and str(troubled.path.parent) not in json.dumps(unpacked(html))
    assert troubled.path.name in html


def test_three_thousand_classes_stay_under_twenty_megabytes(tmp_path: Path, tab: Tab) -> None:
    spec = ClipSpec(num_frames=4, size=32)
    some = [drawn_clip(number, spec) for number in range(50)]
    rows = [
        row_of(number, gloss=f"낱말 {number // 10}", sampled_seconds=[0.1, 0.2, 0.3, 0.4])
        if number % 997
        else failed(number)
        for number in range(30_000)
    ]
    made = write_cache(tmp_path / "c.zarr", rows, lambda number: some[number % 50], spec=spec, clips_per_shard=1000)
    written = write_report(made, tmp_path / "r.html", ReportOptions(compare=200, clips_per_class=1))
    assert written.num_pictures >= 3000 and written.num_bytes < report.MAX_BYTES
    tab.open(written.path, address="#gloss=낱말 2999")
    assert tab.value("document.getElementById('chosen').textContent") == "10 clips of 1 class"
    assert tab.complaints == []


def test_pictures_fit_into_the_room_there_is(tmp_path: Path) -> None:
    rows = [row_of(number, gloss=f"낱말 {number % 8}") for number in range(64)]
    made = write_cache(tmp_path / "c.zarr", rows)
    table = clip_table(made)
    classes = [list(range(code, 64, 8)) for code in range(8)]
    shown = []
    for room in (1_000_000, 60_000, 12_000, 3_000):
        plan = plan_pictures(table, classes, room, always=[63])
        pictures = make_pictures(table, plan, room, threads=2)
        assert sum(map(len, pictures.values())) <= room
        assert next(iter(pictures)) == 63
        shown.append(len(pictures))
        assert plan.num_asked == 64
    assert shown == sorted(shown, reverse=True) and shown[0] == 64 and shown[-1] >= 1


def test_of_too_many_clips_whole_classes_are_listed(troubled: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signprep.cache_builder.report.page.LISTED_CLIPS", 20)
    table = clip_table(troubled)
    rows = listed_rows(table, np.array([4]))
    assert {table.gloss.of(row) for row in rows} == {"3.1절"}
    document = json.loads(gzip.decompress(base64.b64decode(packed_clips(table, rows, [], "signprep play"))))
    assert len(document["position"]) == 10


def test_chosen_classes_have_more_pictures_and_unknown_ones_are_named(troubled: Cache, tmp_path: Path) -> None:
    written = write_report(troubled, tmp_path / "r.html", ReportOptions(classes=("왼쪽",), compare=0))
    assert written.num_pictures == 15
    with pytest.raises(SignprepError, match="'왼 쪽' is none of the cache's 7 classes"):
        write_report(troubled, tmp_path / "r.html", ReportOptions(classes=("왼 쪽",)))
    written = write_report(troubled, tmp_path / "r.html", ReportOptions(clips_per_class=0))
    assert written.num_pictures == 0


def test_a_cache_behind_a_url_is_not_fetched_whole_for_its_report(
    troubled: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(troubled), "is_streamed", True)
    assert write_report(troubled, tmp_path / "r.html").num_pictures > 0
    monkeypatch.setattr(report, "FREELY_FETCHED_BYTES", 1000)
    written = write_report(troubled, tmp_path / "r.html")
    assert written.num_pictures == 0 and "compared" in {finding.kind for finding in written.findings}
    assert "lie behind a URL" in written.path.read_text(encoding="utf-8")
    assert write_report(troubled, tmp_path / "r.html", ReportOptions(clips_per_class=1)).num_pictures > 0


@pytest.mark.parametrize("pixels", ["yuv420p", "rgb24"])
def test_moving_pictures_play_at_the_speed_of_signing(tmp_path: Path, pixels: str) -> None:
    spec = ClipSpec(num_frames=8, size=64, pixels=pixels)

    def clip_of(number: int) -> np.ndarray:
        clip = drawn_clip(number)
        return clip if pixels == "yuv420p" else np.repeat(clip[:, :64, :, np.newaxis], 3, axis=3)

    made = write_cache(tmp_path / "c.zarr", [row_of(0, clip_end_seconds=1.3)], clip_of, spec=spec)
    seconds = clip_seconds(made, 0)
    assert seconds == pytest.approx(0.8)
    frames = clip_frames(made, made.read([0])[0])
    with av.open(io.BytesIO(mp4(frames, seconds))) as container:
        shown = list(container.decode(video=0))
    assert [round(1000 * frame.time) for frame in shown] == [100 * number for number in range(8)]
    for number, frame in enumerate(shown):
        assert np.abs(frame.to_ndarray(format="rgb24").astype(int) - made.rgb(0)[number]).mean() < 3
    webp = animated_webp(clip_frames(made, made.read([0])[0], most=4, side=32), seconds, 50)
    header = webp[:16] + webp[webp.index(b"ANIM") : webp.index(b"ANIM") + 14]
    assert header[:4] == b"RIFF" and header[8:16] == b"WEBPVP8X" and header[-2:] == b"\0\0"  # repeats without end
    assert webp.count(b"ANMF") == 4
    assert int.from_bytes(webp[webp.index(b"ANMF") + 20 :][:3], "little") == 200


def test_the_wheel_has_every_file_of_the_page() -> None:
    data = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    web = ROOT / "cache_builder" / "report" / "web"
    patterns = data["package-data"]["signprep.cache_builder.report.web"]
    assert {"signprep.cache_builder.report", "signprep.cache_builder.report.web"} < set(data["packages"])
    packed = {path for pattern in patterns for path in web.glob(pattern)}
    assert packed == set(web.iterdir()) and {path.stem for path in packed} == {*SCRIPTS, "report"}

"""Points of a cache of landmarks over the pictures of a cache of pixels: the right clip's, in the right place."""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from signprep.cache_builder.cli.inspect import play
from signprep.cache_builder.options import ReportOptions
from signprep.cache_builder.reader import Cache
from signprep.cache_builder.report.overlay import Overlay
from signprep.cache_builder.report.page import write_report
from signprep.cache_builder.report.pictures import clip_frames
from signprep.pipeline.cli import cli
from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.errors import SignprepError
from signprep.pipeline.landmarks.points import PARTS
from tests.cache_builder.report.chromium import Tab
from tests.cache_builder.report.made import Row, failed, row_of, write_cache

SPEC = ClipSpec(num_frames=8, size=64)
POINTS = replace(SPEC, landmarks="aihub")


def grey(_: int) -> np.ndarray:
    return np.full(SPEC.clip_shape, 128, np.uint8)


def left_hand(number: int) -> np.ndarray:
    """A left hand alone, in a corner of its number, which moves to the right by a fourth of the picture."""
    clip = np.full(POINTS.clip_shape, (np.nan, np.nan, 0), np.float16)
    circle = 0.08 * np.exp(2j * np.pi * np.arange(21) / 21)
    clip[:, PARTS["left_hand"], 0] = 0.125 + 0.5 * (number % 2) + np.linspace(0, 0.25, 8)[:, None] + circle.real
    clip[:, PARTS["left_hand"], 1] = 0.25 + 0.5 * (number // 2 % 2) + circle.imag
    clip[:, PARTS["left_hand"], 2] = 1
    return clip


def rows_of(numbers: list[int]) -> list[Row]:
    return [row_of(number) for number in numbers]


@pytest.fixture
def pixels(tmp_path: Path) -> Cache:
    return write_cache(tmp_path / "pixels.zarr", rows_of([0, 1, 2, 3]), grey, spec=SPEC)


def landmarks(tmp_path: Path, rows: list[Row], spec: ClipSpec = POINTS) -> Path:
    numbers = [int(str(row["video_hash"]), 16) for row in rows]
    write_cache(tmp_path / "점 landmarks.zarr", rows, lambda position: left_hand(numbers[position]), spec=spec)
    return tmp_path / "점 landmarks.zarr"


def place_of_orange(cache: Cache, position: int, points: Any, frame: int) -> np.ndarray:
    """Return the middle of the pixels in the left hand's colour, x and y in sides of the picture."""
    [*frames] = clip_frames(cache, cache.read([position])[0], points=points)
    rgb = frames[frame].to_ndarray(format="rgb24").astype(int)
    y, x = np.nonzero(rgb[..., 0] - rgb[..., 2] > 60)
    assert len(x)
    return np.array([x.min() + x.max() + 1, y.min() + y.max() + 1]) / 2 / cache.clip_spec.size


def test_points_lie_over_the_clip_of_their_segment_whatever_the_order(pixels: Cache, tmp_path: Path) -> None:
    overlay = Overlay(pixels, landmarks(tmp_path, rows_of([3, 1, 0, 2])))
    for position in range(4):
        expected = left_hand(position)
        for frame in (0, 7):
            found = place_of_orange(pixels, position, overlay.points(position), frame)
            assert np.abs(found - expected[frame, PARTS["left_hand"], :2].mean(axis=0)).max() < 0.03
    assert str(overlay) == "Points of 점 landmarks.zarr are drawn over the pictures of 4 clips"


def test_clips_without_a_partner_of_the_same_seconds_have_no_points(tmp_path: Path) -> None:
    rows = rows_of([0, 1, 2, 3])
    rows[3] = failed(3)
    pixels = write_cache(tmp_path / "pixels.zarr", rows, grey, spec=SPEC)
    others = rows_of([0, 1, 3])
    others[0] |= {"start_seconds": 3.0, "end_seconds": 4.0, "clip_start_seconds": 3.0, "clip_end_seconds": 4.0}
    others.insert(0, others[1] | {"status": "removed", "clip_start_seconds": None, "clip_end_seconds": None})
    overlay = Overlay(pixels, landmarks(tmp_path, others))
    assert [overlay.points(position) is not None for position in range(4)] == [False, True, False, False]
    assert str(overlay).endswith("of 1 clip; 2 clips have none")
    written = write_report(pixels, tmp_path / "r.html", ReportOptions(landmarks=tmp_path / "점 landmarks.zarr"))
    assert written.num_pictures == 3 and "2 clips have none" in str(written)


def test_clips_that_each_show_a_part_of_their_own_meet_in_the_picture(tmp_path: Path) -> None:
    own, other = (0.0, 0.0, 0.5, 0.5), (0.25, 0.0, 0.5, 0.25)
    spec = replace(SPEC, crop="signer")
    pixels = write_cache(tmp_path / "p.zarr", [row_of(0, crop_box=list(own))], grey, spec=spec)
    path = landmarks(tmp_path, [row_of(0, crop_box=list(other))], replace(POINTS, crop="signer"))
    x, y = place_of_orange(pixels, 0, Overlay(pixels, path).points(0), 0)
    assert x == pytest.approx((0.25 + 0.125 * 0.25) / 0.5, abs=0.03) and y == pytest.approx(0.25 * 0.25 / 0.5, abs=0.03)


@pytest.mark.parametrize(
    ("spec", "numbers", "said"),
    [
        (replace(POINTS, crop="full"), [0], "was built with --crop full, "),
        (replace(POINTS, num_frames=8, margin_seconds=0.5), [7], "none of its clips has segment id and seconds"),
        (SPEC, [0], "is a cache of pixels; --landmarks takes a cache of landmarks"),
    ],
)
def test_caches_that_do_not_belong_together_are_refused(
    pixels: Cache, tmp_path: Path, spec: ClipSpec, numbers: list[int], said: str
) -> None:
    clip_of = grey if spec.content == "pixels" else left_hand
    write_cache(tmp_path / "other.zarr", rows_of(numbers), clip_of, spec=spec)
    with pytest.raises(SignprepError, match=said):
        Overlay(pixels, tmp_path / "other.zarr")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def test_commands_draw_points(pixels: Cache, tmp_path: Path) -> None:
    path = landmarks(tmp_path, rows_of([0, 1]))
    for number, arguments in enumerate(
        [("inspect", pixels.path, "--clip", 1, "--out"), ("play", pixels.path, 1, "--out")]
    ):
        plain, drawn = (tmp_path / f"{name}{number}.webp" for name in ("plain", "drawn"))
        assert run(*arguments, plain).exit_code == 0
        assert run(*arguments, drawn, "--landmarks", path).exit_code == 0
        assert drawn.read_bytes() != plain.read_bytes()
    result = run("play", pixels.path, 3, "--out", tmp_path / "c.mp4", "--landmarks", path)
    assert result.exit_code == 1 and "has no clip NIA_SL_WORD0001_REAL02_L#0" in str(result.exception)
    result = run("inspect", path, "--html", tmp_path / "r.html", "--landmarks", path)
    assert result.exit_code == 1 and "is a cache of landmarks, which are drawn anyway" in str(result.exception)
    result = run("inspect", pixels.path, "--landmarks", path)
    assert result.exit_code == 2 and "--landmarks goes with --html or --clip" in result.output
    assert not (tmp_path / "c.mp4").exists() and not (tmp_path / "r.html").exists()


def test_the_page_shows_the_points_in_its_moving_pictures(pixels: Cache, tmp_path: Path, tab: Tab) -> None:
    path = landmarks(tmp_path, rows_of([0, 1, 2, 3]))
    written = write_report(pixels, tmp_path / "r.html", ReportOptions(landmarks=path))
    tab.open(written.path)
    orange = """Promise.all([...document.images].map(async (image) => {
        image.loading = 'eager';
        await image.decode();
        const canvas = document.createElement('canvas'), side = image.naturalWidth;
        [canvas.width, canvas.height] = [side, side];
        const context = canvas.getContext('2d');
        context.drawImage(image, 0, 0);
        const { data } = context.getImageData(0, 0, side, side);
        let found = 0;
        for (let at = 0; at < data.length; at += 4) found += data[at] - data[at + 2] > 80;
        return found > 3;
    }))"""
    assert set(tab.value(orange)) == {True}
    assert "drawn over the pictures of 4 clips" in tab.value("document.body.textContent")
    command = tab.value("document.documentElement.innerHTML.match(/signprep play [^<\"]*?clip.mp4/)?.[0] ?? ''")
    if not command:  # until a clip is looked at, its facts are not in the page
        tab.value("document.querySelector('img').click()")
        command = tab.value("document.documentElement.innerHTML.match(/signprep play [^<\"]*?clip.mp4/)?.[0] ?? ''")
    words = shlex.split(command)[2:]
    assert words[1:3] == ["--landmarks", path.name] and str(tmp_path) not in command
    with play.make_context("play", [str(pixels.path), *words[1:2], str(path), *words[3:]]):
        pass
    assert tab.complaints == []

"""Folders of pictures are videos: order, rate, the same clips as a lossless video of the same frames, and damage."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.clips import Clip, extract_clips
from signprep.pipeline.errors import DecodeError
from signprep.pipeline.video.image_sequence import ImageSequence, in_order
from signprep.pipeline.video.pyav_reader import open_video
from tests.pictures import FPS, encoded, lossless_video, picture, write_pictures

SPANS = [(0.0, 0.8), (0.1, 0.35), (0.4, 5.0)]
SPEC = ClipSpec(num_frames=5, size=64)


def names_in_order(names: Sequence[str]) -> list[str]:
    return [picture.name for picture in in_order(names)]


def clips_of(source: Path, spans: Sequence[tuple[float, float]] = SPANS, spec: ClipSpec = SPEC) -> list[Clip]:
    clips = extract_clips(source, spans, spec, fps=FPS)
    assert all(isinstance(clip, Clip) for clip in clips), clips
    return [clip for clip in clips if isinstance(clip, Clip)]


KEPT = "flags=area+accurate_rnd+bitexact"
RGB = f"{KEPT}:out_range=limited:out_color_matrix=bt601"


@pytest.mark.parametrize(
    ("suffix", "how", "scale", "full_range"),
    [
        (".png", {}, RGB, False),
        (".jpg", {"subsampling": 2, "quality": 90}, f"{KEPT}:in_range=full:out_range=full", True),
        (".jpg", {"subsampling": 0, "quality": 90}, f"{KEPT}:in_range=full:out_range=full", True),
        (".jpeg", {"subsampling": 1, "progressive": True}, f"{KEPT}:in_range=full:out_range=full", True),
        (".webp", {"quality": 90}, f"{KEPT}:in_range=limited:out_range=limited", False),
        (".webp", {"lossless": True}, RGB, False),
    ],
)
@pytest.mark.parametrize("spec", [SPEC, ClipSpec(num_frames=5, size=48, crop="full", pixels="rgb24")])
def test_pictures_give_the_clips_of_the_lossless_video_of_the_same_frames(
    suffix: str, how: dict[str, object], scale: str, full_range: bool, spec: ClipSpec, tmp_path: Path
) -> None:
    folder = write_pictures(tmp_path / "그림 folder", suffix=suffix, **how)
    video = lossless_video(tmp_path / "a.mp4", sorted(folder.iterdir()), scale=scale, full_range=full_range)
    for clip, other in zip(clips_of(folder, spec=spec), clips_of(video, spec=spec), strict=True):
        np.testing.assert_array_equal(clip.frames, other.frames)
        assert clip.span == other.span
        assert clip.sampled_seconds.tolist() == other.sampled_seconds.tolist()


def test_the_rate_says_how_long_a_picture_is_shown(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "a", 20)
    with open_video(folder, fps=10) as slow, open_video(folder, fps=29.97) as fast:
        assert slow.duration_seconds == 2.0
        assert fast.duration_seconds == pytest.approx(20 / 29.97, abs=1e-9)
        [shown] = slow.frames_at([0.55])
        assert shown.timestamp_seconds == 0.5
    assert ImageSequence.of_folder(folder, 29.97, "a").fps == Fraction(2997, 100)


def test_numbers_are_in_natural_order_and_need_no_zeros(tmp_path: Path) -> None:
    padded = write_pictures(tmp_path / "a", 12)
    bare = write_pictures(tmp_path / "b", 12, name=lambda number: f"shot{number}")
    assert names_in_order([path.name for path in bare.iterdir()])[-3:] == ["shot9.png", "shot10.png", "shot11.png"]
    for clip, other in zip(clips_of(padded, SPANS[:2]), clips_of(bare, SPANS[:2]), strict=True):
        np.testing.assert_array_equal(clip.frames, other.frames)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["01April_pid0_fn000010-0.png", "01April_pid0_fn000009-0.png"], "01April_pid0_fn000009-0.png"),
        (["a2.png", "a1.png", "cover.jpg", "notes.txt", "._a0.png", "Thumbs.db"], "a1.png"),
        (["scene3_0002.jpg", "scene4_0003.JPG", "scene3_0001.jpg"], "scene3_0001.jpg"),
        (["7.webp"], "7.webp"),
    ],
)
def test_the_number_that_differs_tells_the_order(names: list[str], expected: str) -> None:
    assert names_in_order(names)[0] == expected


@given(st.sets(st.integers(0, 10**6), min_size=1, max_size=30), st.integers(1, 9))
def test_any_numbers_are_sorted_by_value(numbers: set[int], step: int) -> None:
    found = in_order([f"f{number * step}.png" for number in numbers])
    assert [one.number for one in found] == sorted(number * step for number in numbers)
    assert found[0].place == 0
    assert [one.place for one in found] == sorted({one.place for one in found})


@given(st.sets(st.from_regex(r"[a1²_.-]{0,3}[0-9]{0,25}[b0]{0,2}\.(png|jpg|txt)", fullmatch=True), max_size=6))
def test_any_names_are_put_in_an_order_or_refused(names: set[str]) -> None:
    try:
        found = in_order([*names, f"{'7' * 5000}.png"] if len(names) == 5 else names)
    except DecodeError:
        return
    assert [one.place for one in found] == sorted({one.place for one in found})
    assert found[-1].place * 10**9 / 0.01 < 2**63  # of the slowest rate that --fps takes


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ([], "holds no pictures"),
        (["a.txt"], "holds no pictures"),
        (["cover.png", "back.png"], "have no numbers"),
        (["a1.png", "a2.png", "b1.png"], "of 2 kinds of names"),
        (["a1.png", "a01.png"], "two of its pictures have the number 1"),
        (["a1.png", "a1.jpg"], "two of its pictures have the number 1"),
        (["c1_1.png", "c1_2.png", "c2_1.png", "c2_2.png"], "do not tell one order"),
        (["c1_2.png", "c2_1.png"], "do not tell one order"),
        (["163000000000000000.png", "163000000400000001.png", "163000000400000002.png"], "are not those of frames"),
    ],
)
def test_names_that_tell_no_order_are_refused(names: list[str], told: str) -> None:
    with pytest.raises(DecodeError, match=told):
        in_order(names)


def test_a_missing_number_costs_the_clips_that_would_show_it(tmp_path: Path) -> None:
    whole, holed = write_pictures(tmp_path / "a", 20), write_pictures(tmp_path / "b", 20)
    (holed / "frame0012.png").unlink()
    expected, found = clips_of(whole), extract_clips(holed, SPANS, SPEC, fps=FPS)
    assert isinstance(found[2], DecodeError)
    assert "a picture between frame0011.png and frame0013.png is missing" in str(found[2])
    for clip, other in zip(found[:2], expected[:2], strict=True):
        assert isinstance(clip, Clip)
        np.testing.assert_array_equal(clip.frames, other.frames)


def test_every_fifth_picture_is_a_video_of_its_own_rate(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "a", 5, name=lambda number: f"{number * 5:05d}")
    with open_video(folder, fps=5) as reader:
        assert reader.duration_seconds == 1.0
        assert [shown.timestamp_seconds for shown in reader.frames_at([0.1, 0.3, 0.9])] == [0.0, 0.2, 0.8]


def damage(path: Path, how: str) -> None:
    data = path.read_bytes()
    path.write_bytes({"cut": data[: len(data) // 2], "end": data[:-20], "empty": b"", "text": b"not a picture"}[how])


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
@pytest.mark.parametrize("how", ["cut", "end", "empty", "text"])
def test_a_damaged_picture_is_named_and_costs_the_clips_that_would_show_it(
    suffix: str, how: str, tmp_path: Path
) -> None:
    folder = write_pictures(tmp_path / "a", 20, suffix)
    damage(folder / f"frame0012{suffix}", how)
    good, other_good, bad = extract_clips(folder, SPANS, SPEC, fps=FPS)
    assert isinstance(good, Clip) and isinstance(other_good, Clip)
    assert isinstance(bad, DecodeError) and f"its picture frame0012{suffix} cannot be decoded" in str(bad)


def test_a_first_picture_that_is_damaged_costs_itself(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "a", 20)
    damage(folder / "frame0001.png", "cut")
    bad, good, _ = extract_clips(folder, [(0.0, 0.2), *SPANS[1:]], SPEC, fps=FPS)
    assert isinstance(good, Clip)
    assert isinstance(bad, DecodeError) and "frame0001.png cannot be decoded" in str(bad)


def test_a_picture_of_another_size_is_named(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "a", 20)
    (folder / "frame0012.png").write_bytes(encoded(picture(11, 96, 160), ".png"))
    *good, bad = extract_clips(folder, SPANS, SPEC, fps=FPS)
    assert all(isinstance(clip, Clip) for clip in good)
    assert isinstance(bad, DecodeError)
    assert "its picture frame0012.png has 96x160 pixels, but frame0001.png has 160x96" in str(bad)


def test_what_a_file_is_decides_and_not_its_suffix(tmp_path: Path) -> None:
    folder, named_wrongly = write_pictures(tmp_path / "a", 20), tmp_path / "b"
    named_wrongly.mkdir()
    for path in folder.iterdir():
        (named_wrongly / f"{path.stem}.jpg").write_bytes(path.read_bytes())
    for clip, other in zip(clips_of(folder), clips_of(named_wrongly), strict=True):
        np.testing.assert_array_equal(clip.frames, other.frames)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "I;16"])
def test_pictures_of_other_kinds_look_as_they_do_in_rgb(mode: str, tmp_path: Path) -> None:
    from PIL import Image

    folder, plain = tmp_path / "a", tmp_path / "b"
    for one in (folder, plain):
        one.mkdir()
    for number in range(2):
        grey = Image.fromarray(picture(number)).convert("L").quantize(64).convert("L")
        if mode == "I;16":
            converted = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
        else:
            converted = grey.convert("RGB").convert(mode) if mode != "P" else grey.quantize(64)
        converted.save(folder / f"{number}.png")
        grey.convert("RGB").save(plain / f"{number}.png")
    found, expected = (clips_of(one, [(0.0, 1.0)])[0].frames.astype(int) for one in (folder, plain))
    assert np.abs(found - expected).max() <= 2


def test_a_picture_is_turned_upright_as_its_camera_says(tmp_path: Path) -> None:
    from PIL import Image

    folder, upright = tmp_path / "a", tmp_path / "b"
    turn = Image.Exif()
    turn[0x0112] = 6
    write_pictures(folder, 3, ".jpg", quality=95, exif=turn.tobytes())
    upright.mkdir()
    for number in range(3):
        turned = Image.fromarray(picture(number)).transpose(Image.Transpose.ROTATE_270)
        turned.save(upright / f"{number}.jpg", quality=95)
    found, expected = (clips_of(one, [(0.0, 1.0)])[0].frames.astype(int) for one in (folder, upright))
    assert np.abs(found - expected).mean() < 4


def test_a_folder_without_a_rate_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(DecodeError, match="how many are shown in a second, as by --fps 25"):
        open_video(write_pictures(tmp_path / "a", 2))
    with pytest.raises(DecodeError, match="holds no pictures"):
        open_video(tmp_path)
    with pytest.raises(ValueError, match=r"fps is 0; it must be 0\.01 to 1000"):
        open_video(tmp_path / "a", fps=0)


def test_pictures_are_read_only_where_they_are_asked_for(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "a", 20)
    sequence = ImageSequence.of_folder(folder, FPS, "a")
    read, asked = sequence.files.read, list[str]()
    sequence.files.read = lambda name: (asked.append(name), read(name))[1]  # type: ignore[method-assign]
    with open_video(sequence) as reader:
        assert len(list(reader.frames_at([0.4, 0.41, 0.5]))) == 3
    assert sorted(set(asked)) == ["frame0001.png", "frame0011.png", "frame0013.png"]
    assert len(asked) == 3


def test_the_identity_is_that_of_the_frames_and_their_rate(tmp_path: Path) -> None:
    def identity(folder: Path, fps: float = FPS) -> str:
        return ImageSequence.of_folder(folder, fps, "a").content_hash()

    folder = write_pictures(tmp_path / "a", 5)
    renamed = write_pictures(tmp_path / "b", 5, name=lambda number: f"x_{number + 70}")
    (renamed / "notes.txt").write_text("no frame")
    assert identity(folder) == identity(renamed) != identity(folder, 30)
    (renamed / "x_74.png").write_bytes(encoded(picture(9), ".png"))
    assert identity(folder) != identity(renamed)
    (folder / "frame0003.png").unlink()
    holed = identity(folder)
    (folder / "frame0004.png").rename(folder / "frame0003.png")
    assert holed != identity(folder)

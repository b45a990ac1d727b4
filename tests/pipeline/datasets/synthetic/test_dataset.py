"""Generated data sets: AIHub's shape, times that are true, motions that differ, the same bytes for the same seed."""

import hashlib
import itertools
import json
import re
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.frame import PictureType
from click.testing import CliRunner

from signprep.pipeline.cli import cli
from signprep.pipeline.datasets.read import read_data_root
from signprep.pipeline.datasets.synthetic.dataset import plan_videos, render_dataset
from signprep.pipeline.datasets.synthetic.motion import MOTIONS, REST_PALMS, Motion, palm_positions, perform_word, poses
from signprep.pipeline.datasets.synthetic.signers import VIEW_DEGREES, film, signer_look, signer_numbers
from signprep.pipeline.errors import AnnotationError
from signprep.pipeline.options import SampleSpec

SMALL = (128, 96)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """5 words x 3 signers x 1 view, and a sentence of each signer."""
    out = tmp_path_factory.mktemp("sample")
    summary = render_dataset(SampleSpec(signers=3, sentences=1, frame_size=SMALL), out, workers=1)
    assert summary.num_videos == 18
    assert summary.num_bytes == sum(path.stat().st_size for path in out.glob("*/*"))
    return out


def read_labels(out: Path, pattern: str = "*") -> dict[str, Any]:
    return {
        path.name: json.loads(path.read_bytes()) for path in sorted((out / "label").glob(f"{pattern}_morpheme.json"))
    }


def decode(path: Path) -> list[av.VideoFrame]:
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


def digests(out: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(out.glob("*/*"))}


def trajectory(motion: Motion, dominant_arm: int = 0) -> np.ndarray:
    palms = palm_positions(motion, np.linspace(0, 1, 17), dominant_arm=dominant_arm)
    return np.where(np.isnan(palms), REST_PALMS, palms)


def test_names_and_counts_are_aihubs(rendered: Path) -> None:
    videos = sorted(path.stem for path in (rendered / "video").glob("*.mp4"))
    assert len(videos) == 18
    assert all(re.fullmatch(r"NIA_SL_(WORD000[1-5]|SEN0001)_REAL(01|17|18)_F", name) for name in videos)
    assert sorted(read_labels(rendered)) == [f"{name}_morpheme.json" for name in videos]
    assert not list(rendered.glob("*/*.part"))


def test_aihub_reader_finds_no_problem(rendered: Path) -> None:
    annotations = read_data_root(rendered)
    assert not annotations.problems
    assert {segment.gloss for segment in annotations.segments} == {"왼쪽", "오른쪽", "위", "아래", "중앙"}
    assert {segment.signer for segment in annotations.segments} == {"REAL01", "REAL17", "REAL18"}


def test_labels_are_true_and_cover_a_fifth_to_two_fifths(rendered: Path) -> None:
    for name, label in read_labels(rendered, "*WORD*").items():
        assert label["metaData"]["name"] == name.replace("_morpheme.json", ".mp4")
        frames = decode(rendered / "video" / label["metaData"]["name"])
        assert 90 <= len(frames) <= 150
        assert label["metaData"]["duration"] == round(len(frames) / 30, 3)
        (segment,) = label["data"]
        assert segment.keys() == {"start", "end", "attributes"}
        assert 1.0 <= segment["start"] <= 2.0
        sign_seconds = segment["end"] - segment["start"]
        assert 0.7 <= sign_seconds <= 1.5
        assert 0.2 <= sign_seconds / label["metaData"]["duration"] <= 0.4
        assert segment["end"] < label["metaData"]["duration"]
        assert segment["start"] == round(segment["start"], 3)


def test_labels_keep_korean_readable(rendered: Path) -> None:
    assert "왼쪽" in (rendered / "label" / "NIA_SL_WORD0001_REAL01_F_morpheme.json").read_text(encoding="utf-8")


def test_sentences_hold_several_segments_with_pauses(rendered: Path) -> None:
    labels = read_labels(rendered, "*SEN*")
    assert len(labels) == 3
    assert len({tuple(part["attributes"][0]["name"] for part in label["data"]) for label in labels.values()}) == 1
    for label in labels.values():
        assert 3 <= len(label["data"]) <= 8
        assert label["data"][0]["start"] >= 0.9
        assert label["data"][-1]["end"] <= label["metaData"]["duration"] - 0.8
        for before, after in itertools.pairwise(label["data"]):
            assert 0.2 <= after["start"] - before["end"] <= 0.55
            assert before["attributes"] != after["attributes"]


def test_videos_are_h264_with_one_keyframe_and_b_frames(rendered: Path) -> None:
    path = rendered / "video" / "NIA_SL_WORD0001_REAL01_F.mp4"
    with av.open(str(path)) as container:
        assert len(container.streams) == 1
        stream = container.streams.video[0]
        codec = stream.codec_context
        assert (codec.name, codec.profile, codec.pix_fmt) == ("h264", "High", "yuv420p")
        assert (codec.width, codec.height) == SMALL
        assert stream.average_rate == 30
        frames = list(container.decode(stream))
    assert [frame.key_frame for frame in frames].count(True) == 1
    types = [PictureType(frame.pict_type) for frame in frames]
    assert types[0] == PictureType.I and PictureType.B in types
    assert [frame.time for frame in frames] == pytest.approx([number / 30 for number in range(len(frames))])
    content = path.read_bytes()
    assert content.index(b"mdat") < content.rindex(b"moov")
    assert b"keyint=250" in content and b"bframes=3 b_pyramid=2" in content and b"scenecut=0" in content


def test_motion_happens_within_the_labelled_span(rendered: Path) -> None:
    for label in read_labels(rendered, "*WORD*").values():
        frames = [frame.to_ndarray()[: SMALL[1]] for frame in decode(rendered / "video" / label["metaData"]["name"])]
        # Means of blocks, because noise changes everywhere and all the time.
        blocks = np.stack(frames).reshape(len(frames), SMALL[1] // 8, 8, SMALL[0] // 8, 8).mean(axis=(2, 4))
        energy = (np.diff(blocks, axis=0) ** 2).mean(axis=(1, 2))
        (segment,) = label["data"]
        seconds = np.arange(1, len(frames)) / 30
        signing = (segment["start"] + 0.1 < seconds) & (seconds < segment["end"] - 0.1)
        idle = (seconds < segment["start"] - 0.6) | (seconds > segment["end"] + 0.6)
        assert idle.any()
        assert energy[signing].mean() > 8 * energy[idle].mean()


def test_same_seed_gives_the_same_bytes_on_any_number_of_workers(tmp_path: Path) -> None:
    spec = SampleSpec(words=1, signers=2, views="FL", frame_size=(64, 64))
    render_dataset(spec, tmp_path / "a", workers=1)
    render_dataset(spec, tmp_path / "b", workers=2)
    render_dataset(SampleSpec(words=1, signers=2, views="FL", frame_size=(64, 64), seed=1), tmp_path / "c", workers=1)
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    assert not set(digests(tmp_path / "a").values()) & set(digests(tmp_path / "c").values())
    render_dataset(spec, tmp_path / "a", workers=1)
    assert digests(tmp_path / "a") == digests(tmp_path / "b")


def test_views_share_times_and_differ_in_pixels(tmp_path: Path) -> None:
    render_dataset(SampleSpec(words=1, signers=1, views="FUDLR", frame_size=(64, 64)), tmp_path, workers=1)
    labels = read_labels(tmp_path)
    assert len(labels) == 5
    assert len({json.dumps(label["data"]) for label in labels.values()}) == 1
    assert len({label["metaData"]["duration"] for label in labels.values()}) == 1
    assert len(set(digests(tmp_path).values())) == 10


def test_takes_are_word_ids_of_their_own(tmp_path: Path) -> None:
    tasks = list(plan_videos(SampleSpec(words=3, signers=1, takes=2), tmp_path))
    assert [(task.item, task.motion_numbers) for task in tasks] == [
        (f"WORD{number + 1:04d}", (number % 3,)) for number in range(6)
    ]


def test_every_gloss_has_a_motion_of_its_own() -> None:
    assert len({motion.gloss for motion in MOTIONS}) == len(MOTIONS) == 200
    assert {"어쩔 수 없다", "3.1절"} <= {motion.gloss for motion in MOTIONS}
    trajectories = np.stack([trajectory(motion) for motion in MOTIONS])
    # The front view's x and y: on average one palm is apart by a thirtieth of the picture or more.
    apart = np.linalg.norm(trajectories[:, None, ..., :2] - trajectories[None, ..., :2], axis=-1).max(-1).mean(-1)
    np.fill_diagonal(apart, np.inf)
    assert apart.min() > 0.033


@pytest.mark.parametrize(("one", "other"), [(0, 1), (2, 3)])
def test_opposites_pass_the_same_places_in_opposite_order(one: int, other: int) -> None:
    forwards, backwards = trajectory(MOTIONS[one]), trajectory(MOTIONS[other])
    np.testing.assert_allclose(forwards, backwards[::-1], atol=1e-12)
    stroke = forwards[-1] - forwards[0]
    assert 0.3 <= np.abs(stroke).max() <= 0.45


def test_direction_is_the_pictures_for_both_hands() -> None:
    assert MOTIONS[0].gloss == "왼쪽"
    for arm in (0, 1):
        palm_x = trajectory(MOTIONS[0], dominant_arm=arm)[:, arm, 0]
        assert (np.diff(palm_x) < 0).all()


def test_signers_are_aihubs_and_look_different() -> None:
    assert [signer_numbers(count) for count in (1, 2, 3, 6)] == [(1,), (1, 17), (1, 17, 18), (1, 2, 3, 4, 17, 18)]
    assert signer_numbers(18) == tuple(range(1, 19))
    looks = [signer_look(0, number) for number in signer_numbers(18)]
    assert len({(look.clothes, look.background, look.skin) for look in looks}) == 18
    assert signer_look(0, 3) == signer_look(0, 3) != signer_look(1, 3)
    assert {look.dominant_arm for look in looks[:4]} == {look.dominant_arm for look in looks[-2:]} == {0, 1}


@pytest.mark.parametrize("view", VIEW_DEGREES)
def test_head_and_signing_hands_stay_in_the_centre_square(view: str) -> None:
    for number, motion in zip(itertools.cycle(range(1, 19)), MOTIONS, strict=False):
        signer = signer_look(0, number)
        performance = perform_word(np.random.default_rng(number), signer.tempo, motion)
        joints = film(performance, signer, view)
        raised = poses(performance, dominant_arm=signer.dominant_arm).raised > 0.99
        assert np.abs(np.concatenate([joints.palms[raised], joints.fingers[raised]])).max() < 0.48
        assert np.abs(joints.trunk["skull"]).max() < 0.4


def test_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    spec = SampleSpec(words=1, signers=1, frame_size=(64, 64))
    real = tmp_path / "real" / "video" / "NIA_SL_WORD0001_REAL01_F.mp4"
    real.parent.mkdir(parents=True)
    real.write_bytes(b"filmed")
    with pytest.raises(AnnotationError, match="was not made by make-sample"):
        render_dataset(spec, tmp_path / "real", workers=1)
    assert real.read_bytes() == b"filmed"
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(AnnotationError, match="is not part of a generated data set"):
        render_dataset(spec, tmp_path, workers=1)


def test_out_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(AnnotationError, match=r"file.*cannot be written"):
        render_dataset(SampleSpec(words=1, signers=1), tmp_path / "file" / "out", workers=1)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("words", 0), ("words", 201), ("signers", 19), ("views", "FX"), ("views", "FF"), ("views", ""), ("takes", 0),
        ("sentences", -1), ("seed", -1), ("frame_size", (127, 96)), ("frame_size", (32, 96)),
    ],
)  # fmt: skip
def test_bad_spec_says_what_came_and_what_is_expected(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"{field} is .*it must be"):
        SampleSpec(**{field: value})  # type: ignore[arg-type]


def test_command_renders_and_accepts_underscores(tmp_path: Path) -> None:
    arguments = ["make_sample", str(tmp_path / "out"), "--words", "1", "--signers", "1", "--size", "64x64"]
    result = CliRunner().invoke(cli, [*arguments, "--workers", "1"])
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("1 video with labels")
    assert (tmp_path / "out" / "video" / "NIA_SL_WORD0001_REAL01_F.mp4").is_file()


@pytest.mark.parametrize("wrong", [["--views", "FX"], ["--seed", "-1"], ["--workers", "0"], ["--size", "100"]])
def test_command_turns_bad_options_into_usage_errors(tmp_path: Path, wrong: list[str]) -> None:
    result = CliRunner().invoke(cli, ["make-sample", str(tmp_path / "out"), *wrong])
    assert result.exit_code == 2
    assert "Usage:" in result.stderr and "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()

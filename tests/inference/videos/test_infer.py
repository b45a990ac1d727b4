"""`infer` on several videos, folders, zips, caches; damaged and short videos; result files."""

import csv
import json
import zipfile
from pathlib import Path

import av
import pytest
import torch
from click.testing import CliRunner, Result

from signprep.cache_builder.reader import Cache
from signprep.inference.options import InferOptions, WindowOptions
from signprep.inference.prediction import predict_window
from signprep.inference.recognizer import load_checkpoint
from signprep.inference.videos.run import find_videos
from signprep.inference.videos.window_predictions import Video, predict_videos
from signprep.pipeline.cli import cli
from signprep.pipeline.errors import SignprepError
from signprep.training.model.checkpoint import ModelMetadata
from signprep.training.model_spec import model_spec
from tests.generated_videos import write_video
from tests.training.small_models import Linear, signprep_checkpoint


def infer(checkpoint: Path, *arguments: object) -> Result:
    return CliRunner().invoke(cli, ["infer", "--checkpoint", str(checkpoint), *map(str, arguments)])


def answered(checkpoint: Path, *arguments: object) -> object:
    result = infer(checkpoint, *arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two videos of 1 s and one of 2 s; one of them in a zip."""
    root = tmp_path_factory.mktemp("여러 영상")
    write_video(root / "b.mp4", 30)
    write_video(root / "깊이" / "a.mp4", 60, first_number=100)
    inside = write_video(root / "c.mp4", 30, first_number=200)
    with zipfile.ZipFile(root / "more.zip", "w") as archive:
        archive.write(inside, "안/c.mp4")
    inside.unlink()
    (root / "notes.txt").write_text("no video")
    return root


def test_a_zip_in_pieces_is_named_by_itself_or_by_its_pieces(folder: Path, tmp_path: Path) -> None:
    data = (folder / "more.zip").read_bytes()
    for number in range(11):
        piece = data[number * 1000 : (number + 1) * 1000 if number < 10 else None]
        (tmp_path / f"more.zip.part{number}").write_bytes(piece)
    for named in (tmp_path, tmp_path / "more.zip", tmp_path / "more.zip.part3", f"{tmp_path}/more.zip.part*"):
        [video] = find_videos([str(named)], print)
        assert video.path == str(tmp_path / "more.zip!/안/c.mp4")


def test_folders_zips_and_patterns_mean_their_videos_each_once(folder: Path) -> None:
    def names(*named: object) -> list[str]:
        return [Path(video.path).name for video in find_videos(map(str, named), print)]

    assert names(folder) == ["b.mp4", "c.mp4", "a.mp4"]
    assert names(folder / "b.mp4", folder) == ["b.mp4", "c.mp4", "a.mp4"]
    assert names(folder / "more.zip") == ["c.mp4"]
    assert names(f"{folder}/**/*.mp4") == ["b.mp4", "a.mp4"]
    for nothing in (folder / "gone.mp4", f"{folder}/*.avi"):
        with pytest.raises(SignprepError, match="no such video file"):
            names(nothing)
    (folder / "leer").mkdir(exist_ok=True)
    with pytest.raises(SignprepError, match="holds no video"):
        names(folder / "leer")


def test_names_with_colons_are_answered_and_drawn_and_archives_named(
    checkpoint: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("12:30 clip.mp4").write_bytes((folder / "b.mp4").read_bytes())
    arguments = ["--clip-duration", 0.5, "--timeline", "--stride", 0.5, "--render", "out:1.mp4"]
    infer(checkpoint, "--video-path", "12:30 clip.mp4", *arguments)
    with av.open(str(tmp_path / "out:1.mp4")) as drawn:
        assert drawn.streams.video
    (tmp_path / "more.tar.gz").write_bytes(b"")
    told: list[str] = []
    assert [video.path for video in find_videos(["."], told.append)] == ["12:30 clip.mp4", "out:1.mp4"]
    assert told == ["more.tar.gz: is an archive that is not looked into; unpack it"]


def test_several_videos_are_a_list_with_an_entry_each(checkpoint: Path, folder: Path, tmp_path: Path) -> None:
    found = answered(checkpoint, "--video-path", folder, "--clip-duration", 0.5)
    assert isinstance(found, list)
    assert [Path(entry["video_path"]).name for entry in found] == ["b.mp4", "c.mp4", "a.mp4"]
    assert found[1]["video_path"] == f"{folder}/more.zip!/안/c.mp4"
    alone = answered(checkpoint, "--video-path", folder / "b.mp4", "--clip-duration", 0.5)
    assert isinstance(alone, dict)
    assert found[0].pop("confidence") == pytest.approx(alone.pop("confidence"), abs=1e-5)
    assert found[0] == alone
    many = ["--video-path", folder, "--clip-duration", 0.5, "--multiple-clips", "--stride", 0.5, "--batch-size", 3]
    lines = tmp_path / "all.jsonl"
    assert infer(checkpoint, *many, "--output-path", lines).exit_code == 0
    windows = [json.loads(line) for line in lines.read_text(encoding="utf-8").splitlines()]
    assert [len(entry) for entry in windows] == [2, 2, 4]
    table = tmp_path / "all.csv"
    assert infer(checkpoint, *many, "--output-path", table).exit_code == 0
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8 and rows[7]["start_time"] == "1.5" and rows[7]["predicted_class_name"] in ("왼쪽", "오른쪽")


def test_what_was_written_is_told_on_stderr(checkpoint: Path, cache: Cache, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    many = ["--video-path", folder, "--clip-duration", 0.5, "--multiple-clips", "--stride", 0.5, "--output-path", out]
    result = infer(checkpoint, *many)
    assert f"{out}: 8 answers for 3 videos" in result.stderr and not result.stdout
    result = infer(checkpoint, "--cache", cache.path, "--split", "val", "--output-path", out)
    assert f"{out}: 4 answers" in result.stderr and not result.stdout


def test_an_empty_timeline_says_what_was_missing(checkpoint: Path, folder: Path, tmp_path: Path) -> None:
    subtitles = tmp_path / "a.srt"
    windows = ["--clip-duration", 0.5, "--stride", 0.25, "--min-confidence", 1, "--subtitles", subtitles]
    result = infer(checkpoint, "--video-path", folder / "b.mp4", *windows)
    assert result.exit_code == 0, result.exception
    assert json.loads(result.stdout)["timeline"] == [] and subtitles.read_bytes() == b""
    assert f"{subtitles}: 0 signs" in result.stderr
    assert (
        "b.mp4: no sign in 3 windows; the surest is " in result.stderr
        and "smaller --min-confidence (now 1) or " in result.stderr
    )
    found = infer(checkpoint, "--video-path", folder / "b.mp4", *windows[:4], "--timeline", "--min-confidence", 0)
    assert json.loads(found.stdout)["timeline"] and "no sign" not in found.stderr


def test_the_best_glosses_are_given_in_their_order(checkpoint: Path, folder: Path) -> None:
    found = answered(checkpoint, "--video-path", folder / "b.mp4", "--clip-duration", 0.5, "--top-k", 2)
    assert isinstance(found, dict)
    first, second = found["top_k"]
    assert first["confidence"] >= second["confidence"]
    assert first["confidence"] + second["confidence"] == pytest.approx(1)
    assert first["predicted_class_name"] == found["predicted_class_name"] != second["predicted_class_name"]


def test_a_short_video_is_padded_only_if_asked_for(cache: Cache, folder: Path, tmp_path: Path) -> None:
    # A model that sees colours, since a deep one that is hardly trained says the same of nearly all clips.
    spec = model_spec("tests.training.small_models:linear", num_frames=2, crop_size=32)
    card = ModelMetadata(
        model_spec=spec, clip_spec=cache.clip_spec, vocabulary=cache.vocabulary, cache_fingerprint=cache.fingerprint
    )
    fields = card.to_dict()
    checkpoint = Path(
        signprep_checkpoint(tmp_path / "best.ckpt", Linear(len(cache.vocabulary)), fields.pop("glosses"), **fields)
    )
    video = ["--video-path", folder / "b.mp4", "--model-name", spec.name]
    assert "lasts 1.000 s, too short" in str(infer(checkpoint, *video).exception)
    padded = answered(checkpoint, *video, "--pad")
    assert isinstance(padded, dict)
    assert (padded["start_time"], padded["end_time"]) == (0.0, 1.0)
    whole = answered(checkpoint, *video, "--pad", "--clip-duration", 1.0)
    exact = answered(checkpoint, *video, "--clip-duration", 1.0)
    assert whole == exact
    assert padded["confidence"] != exact["confidence"]  # half of its clip is the last frame


def test_what_cannot_be_answered_is_named_and_the_rest_is_answered(
    checkpoint: Path, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"no video at all")
    write_video(tmp_path / "good.mp4", 30)
    out = tmp_path / "out.json"
    result = infer(checkpoint, "--video-path", tmp_path, "--clip-duration", 0.5, "--output-path", out)
    assert (
        result.exit_code == 1
        and "bad.mp4" in str(result.exception)
        and "the result names them all" in str(result.exception)
    )
    bad, good = json.loads(out.read_text(encoding="utf-8"))
    assert bad["clips"] == [] and "bad.mp4" in bad["errors"][0]["error"]
    assert Path(good["video_path"]).name == "good.mp4"
    alone = infer(checkpoint, "--video-path", tmp_path / "bad.mp4", "--output-path", tmp_path / "none.json")
    assert alone.exit_code == 1 and not (tmp_path / "none.json").exists()


def test_windows_before_damage_are_answered_and_those_behind_it_named(checkpoint: Path, tmp_path: Path) -> None:
    video = write_video(tmp_path / "whole.mp4", 90)
    data = bytearray(video.read_bytes())
    start = data.find(b"mdat") + 4
    end = len(data) if data.find(b"moov") < start else data.find(b"moov") - 4
    for place in range(start + (end - start) * 6 // 10, start + (end - start) * 7 // 10):
        data[place] ^= 0x55
    video.write_bytes(data)
    result = infer(checkpoint, "--video-path", video, "--multiple-clips", "--clip-duration", 0.5, "--stride", 0.5)
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    answered_until = [clip["end_time"] for clip in document["clips"]]
    assert answered_until == [0.5, 1.0, 1.5][: len(answered_until)] and len(answered_until) >= 2
    assert document["errors"][0]["start_time"] == answered_until[-1]
    assert all("whole.mp4" in error["error"] for error in document["errors"])
    assert len(document["clips"]) + len(document["errors"]) == 6


def test_a_cache_is_answered_with_segment_ids_as_its_videos_are(
    checkpoint: Path, cache: Cache, data_root: Path, tmp_path: Path
) -> None:
    found = answered(checkpoint, "--cache", cache.path, "--split", "val", "--return-probabilities")
    assert isinstance(found, list) and len(found) == 4
    recognizer = load_checkpoint(checkpoint)
    rows = {row["segment_id"]: row for row in cache.index.to_pylist()}
    for entry in found:
        row = rows[entry["segment_id"]]
        video = predict_window(
            recognizer,
            data_root / row["video"],
            start_seconds=row["start_seconds"],
            clip_duration=row["end_seconds"] - row["start_seconds"],
            return_probabilities=True,
        )
        assert entry["probabilities"] == pytest.approx(video.probabilities, abs=1e-6)
    assert len(answered(checkpoint, cache.path)) == 12  # type: ignore[arg-type]
    assert "no clips in its split 'test'" in str(infer(checkpoint, "--cache", cache.path, "--split", "test").exception)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give INPUT: videos, or one cache"),
        (["--video-path", "x", "--split", "val"], "--split goes with a cache"),
        (["--video-path", "x", "--idle-gloss", "y"], "--idle-gloss goes with --timeline"),
        (["--video-path", "x", "--stride", "0"], "stride"),
        (["--cache", "x", "--timeline"], "a timeline is of videos"),
        (["--cache", "x", "--stride", "0.5"], "--stride goes with videos"),
    ],
)
def test_contradictions_are_usage_errors(checkpoint: Path, arguments: list[str], message: str) -> None:
    result = infer(checkpoint, *arguments)
    assert result.exit_code == 2 and message in result.output


def test_result_paths_are_looked_at_before_the_work(checkpoint: Path, folder: Path, tmp_path: Path) -> None:
    gone = infer(checkpoint, "--video-path", folder, "--output-path", tmp_path / "gone" / "x.json")
    assert "cannot be written" in str(gone.exception)
    strange = infer(checkpoint, "--video-path", folder, "--output-path", tmp_path / "x.xml")
    assert "expected .json, .jsonl, .csv" in str(strange.exception)


def test_a_device_that_is_not_there_is_named(checkpoint: Path, folder: Path) -> None:
    for device in ("cuda:7", "nonsense"):
        result = infer(checkpoint, "--video-path", folder / "b.mp4", "--device", device)
        assert result.exit_code == 1 and f"device '{device}'" in str(result.exception)


def test_a_consumer_that_leaves_early_ends_the_decoding(checkpoint: Path, folder: Path) -> None:
    import threading

    recognizer = load_checkpoint(checkpoint)
    videos = [Video(path=f"{folder}/b.mp4", folder=folder, name="b.mp4")] * 6
    before = set(threading.enumerate())
    windows = WindowOptions(clip_duration=0.3, stride=0.05)
    options = InferOptions(windows=windows, batch_size=2, num_workers=3)
    answers = predict_videos(recognizer, videos, options)
    assert len(next(answers).predictions) == 15
    answers.close()  # type: ignore[attr-defined]
    assert not set(threading.enumerate()) - before


def test_a_timeline_comes_as_json_as_subtitles_and_in_the_picture(
    checkpoint: Path, folder: Path, tmp_path: Path
) -> None:
    contents = torch.load(checkpoint, weights_only=True)
    contents["signprep"]["glosses"] = ["left", "right"]  # which every machine has a font for
    torch.save(contents, checkpoint := tmp_path / "best.ckpt")
    subtitles, rendered = tmp_path / "자막.srt", tmp_path / "talk.mp4"
    some_sign = ["--min-confidence", 0, "--min-duration-seconds", 0]
    windows = ["--timeline", "--clip-duration", 0.5, "--stride", 0.25, *some_sign]
    one = ["--video-path", folder / "b.mp4", *windows, "--subtitles", subtitles, "--render", rendered]
    found = answered(checkpoint, *one)
    assert isinstance(found, dict) and len(found["clips"]) == 3
    [*_, last] = found["timeline"]
    assert last["predicted_class_name"] in subtitles.read_text("utf-8") and " --> " in subtitles.read_text("utf-8")
    with av.open(str(rendered)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 30
    many = answered(checkpoint, "--video-path", folder, *windows)
    assert isinstance(many, list) and all(entry["timeline"] for entry in many)
    refused = infer(checkpoint, "--video-path", folder, *windows, "--subtitles", subtitles)
    assert refused.exit_code == 2 and "are for one video; 3 were found" in refused.output


def test_what_has_no_answer_is_a_row_of_its_own_in_a_table(checkpoint: Path, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "a.mp4").write_text("no video")
    (tmp_path / "videos" / "b.mp4").write_bytes((folder / "b.mp4").read_bytes())
    table = tmp_path / "all.csv"
    result = infer(checkpoint, "--video-path", tmp_path / "videos", "--clip-duration", 0.5, "--output-path", table)
    assert result.exit_code == 1 and "the result names them all" in str(result.exception)
    with table.open(encoding="utf-8") as file:
        damaged, whole = csv.DictReader(file)
    assert "a.mp4" in damaged["error"] and not damaged["predicted_class_name"]
    assert whole["predicted_class_name"] and not whole["error"]

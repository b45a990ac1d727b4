"""The page in a real browser: a dropped video, the camera, corrections, and what is saved of them."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from signprep.cache_builder import open_cache
from signprep.inference.open_model import open_model
from signprep.inference.serve.web.page import page_text
from signprep.pipeline.cli import cli
from signprep.training.config import TrainConfig
from signprep.training.model_spec import model_spec
from signprep.training.run import train
from tests.cache_builder.report.chromium import Tab, chromium, find_chromium
from tests.conftest import build_test_cache
from tests.generated_videos import numbered_frame
from tests.inference.serve.test_answers import inferred
from tests.inference.serve.test_program import running
from tests.waiting import until

WIDTH, HEIGHT = 320, 240
SIGNS = (
    "[...document.querySelectorAll('#signs tr')].map(row => [...row.querySelectorAll('input')].map(one => one.value))"
)


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    """A browser whose camera shows a file."""
    if find_chromium() is None:
        assert not os.environ.get("CI"), "CI must have a Chromium"
        pytest.skip("there is no Chromium on this machine")
    filmed = tmp_path_factory.mktemp("camera") / "camera.y4m"
    with filmed.open("wb") as file:
        file.write(f"YUV4MPEG2 W{WIDTH} H{HEIGHT} F30:1 Ip A1:1 C420jpeg\n".encode())
        for number in range(60):
            file.write(b"FRAME\n" + numbered_frame(number, WIDTH, HEIGHT).tobytes())
    flags = (
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-video-capture={filmed}",
        "--lang=en-US",
    )
    with chromium(tmp_path_factory.mktemp("chromium"), *flags) as opened:
        yield opened


@pytest.fixture(scope="module")
def address(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running(checkpoint, tmp_path_factory.mktemp("serve"), "--workers", "1") as (_, netloc):
        yield f"http://{netloc}/"


@pytest.fixture
def page(tab: Tab, address: str, tmp_path: Path) -> Tab:
    tab.server = address
    tab.open(address)
    tab.save_to(tmp_path)
    return tab


def click(tab: Tab, element: str) -> None:
    tab.value(f"document.getElementById('{element}').click(); 0")


def saved(folder: Path, name: str) -> Path:
    """What the page has saved under a name; the browser gives it that when it is whole."""
    until((folder / name).exists)
    return folder / name


def answered(tab: Tab, video: Path) -> None:
    tab.drop(video)
    tab.when("!document.getElementById('answer').hidden")


def test_on_a_phone_all_of_a_sign_is_on_the_screen(page: Tab, address: str, video: Path, tmp_path: Path) -> None:
    page.open(address, width=390)
    answered(page, video)
    assert page.value("document.getElementById('chosen').textContent") == video.name
    reach = "Math.max(...[...document.querySelectorAll('#signs *')].map(one => one.getBoundingClientRect().right))"
    assert 0 < page.value(reach) <= 390 >= page.value("document.documentElement.scrollWidth")
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video at all")
    page.drop(broken)
    page.when("document.getElementById('failed').textContent.startsWith('broken.mp4: does not open as a video')")
    page.when("document.getElementById('video').hidden")


def test_a_dropped_video_is_answered_as_infer_answers(page: Tab, checkpoint: Path, video: Path, tmp_path: Path) -> None:
    answered(page, video)
    document = inferred(checkpoint, video, "--timeline", "--top-k", 4, "--pad")
    expected = [[sign["predicted_class_name"], sign["start_time"], sign["end_time"]] for sign in document["timeline"]]
    found = [[gloss, float(start), float(end)] for gloss, start, end in page.value(SIGNS)]
    assert expected and [name for name, *_ in found] == [name for name, *_ in expected]
    assert [pytest.approx(times, abs=1e-3) for _, *times in expected] == [times for _, *times in found]
    assert page.value("document.getElementById('told').textContent") == f"Signs: {len(found)}"
    assert page.value("document.querySelectorAll('#signs tr td:nth-child(6) button').length") >= len(found)
    page.when("[...document.querySelectorAll('#signs video')].every(one => one.readyState >= 2)")
    click(page, "save-srt")
    assert expected[0][0] in saved(tmp_path, "세 초.srt").read_text("utf-8")
    click(page, "save-eaf")
    assert "./세 초.mp4" in saved(tmp_path, "세 초.eaf").read_text("utf-8")
    click(page, "save-json")
    assert len(json.loads(saved(tmp_path, "세 초.json").read_text("utf-8"))["timeline"]) == len(expected)
    assert page.complaints == []


def test_a_gloss_that_means_no_sign_is_none_of_the_signs(page: Tab, checkpoint: Path, video: Path) -> None:
    [first, *_] = inferred(checkpoint, video, "--timeline", "--pad")["timeline"]
    gloss = first["predicted_class_name"]
    page.when("document.body.dataset.ready === 'true'")
    told = json.dumps(json.dumps({"glosses": ["왼쪽", "오른쪽"], "idle_gloss": gloss}))
    page.value(
        "(() => { const real = window.fetch;"
        f"window.fetch = (path, how) => path === 'v1/model' ? Promise.resolve(new Response({told})) : real(path, how);"
        "document.getElementById('token-form').requestSubmit(); return 0; })()"  # asks for the model again
    )
    page.when("document.querySelectorAll('#glosses option').length === 1")
    page.drop(video)
    page.when("document.getElementById('told').textContent !== ''")
    page.when("!/[Ss]ending|[Aa]nswer/.test(document.getElementById('told').textContent)")
    document = inferred(checkpoint, video, "--timeline", "--pad", "--idle-gloss", gloss)
    assert [name for name, *_ in page.value(SIGNS)] == [sign["predicted_class_name"] for sign in document["timeline"]]


def test_what_is_wrong_with_a_video_is_told_in_the_page_s_language(page: Tab, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    failed = "document.getElementById('failed').textContent"
    page.drop(broken)
    page.when(failed)
    assert page.value(failed).startswith("broken.mp4: does not open as a video")
    click(page, "language")
    assert page.value("document.documentElement.lang") == "ko"
    assert page.value("document.getElementById('camera').textContent") == "카메라 쓰기"
    page.drop(broken)
    page.when(f"/[가-힣]/.test({failed})")


def correct(tab: Tab, place: int, field: int, value: object) -> None:
    row = f"document.querySelectorAll('#signs tr')[{place}].querySelectorAll('input')[{field}]"
    tab.value(f"{row}.value = {str(value)!r}; {row}.dispatchEvent(new Event('change', {{bubbles: true}})); 0")


def corrected_labels(page: Tab, video: Path, folder: Path) -> Path:
    """A folder with a video and what was corrected of its answer: one sign, from 0.5 to 1.5 s, and another one."""
    answered(page, video)
    for _ in range(len(page.value(SIGNS))):
        page.value("document.querySelector('#signs tr:last-child td:last-child button').click(); 0")
    for gloss, start, end in (("고침", 0.5, 1.5), ("왼쪽", 1.6, 2.4)):
        click(page, "add")
        for field, value in enumerate((gloss, start, end)):
            place = page.value(f"{SIGNS}.findIndex(([gloss]) => gloss === {'' if field == 0 else gloss!r})")
            correct(page, place, field, value)
    click(page, "save-labels")
    click(page, "save-video")
    saved(folder, f"{video.stem}_morpheme.json"), saved(folder, video.name)
    return folder


def test_a_saved_correction_is_what_build_cache_reads(page: Tab, video: Path, tmp_path: Path) -> None:
    folder = corrected_labels(page, video, tmp_path)
    out = tmp_path.with_name("corrected.zarr")
    result = CliRunner().invoke(
        cli, ["build-cache", "--data-root", str(folder), "--out", str(out), "--frames", "4", "--size", "64"]
    )
    assert result.exit_code == 0, result.output
    rows = open_cache(out).index.select(["gloss", "start_seconds", "end_seconds"]).to_pylist()
    assert [tuple(row.values()) for row in rows] == [("고침", 0.5, 1.5), ("왼쪽", 1.6, 2.4)]


@pytest.mark.slow
def test_a_saved_correction_trains(page: Tab, video: Path, data_root: Path, tmp_path: Path) -> None:
    folder = corrected_labels(page, video, tmp_path)
    shutil.copytree(data_root, folder / "others")
    cache = build_test_cache(folder, tmp_path.with_name("trained.zarr"))
    assert {"고침", "왼쪽"} <= set(cache.vocabulary.glosses)
    spec = model_spec("efficient_x3d_xs", num_frames=2, crop_size=32)
    trained = train(cache, spec, TrainConfig(epochs=1, batch_size=4), tmp_path.with_name("run"))
    assert "고침" in open_model(trained.best_checkpoint).glosses


def test_from_a_video_to_its_labels_by_the_keyboard_alone(page: Tab, video: Path, tmp_path: Path) -> None:
    def until_focus(condition: str) -> None:
        for _ in range(80):
            if page.value(f"(() => {{ const one = document.activeElement; return Boolean({condition}); }})()"):
                return
            page.press("Tab")
        pytest.fail(f"the Tab key does not come to {condition}")

    until_focus("one.id === 'file'")  # its dialogue is the browser's
    answered(page, video)
    until_focus("one.matches('#signs tr:first-child input[list]')")
    page.value("document.activeElement.select(); 0")
    page.type("고침")
    page.press("Tab")
    assert page.value(SIGNS)[0][0] == "고침"
    before = float(page.value(SIGNS)[0][1])
    page.press("ArrowUp")
    page.press("Tab")
    assert float(page.value(SIGNS)[0][1]) == pytest.approx(before + 0.01)
    until_focus("one.id === 'save-labels'")
    page.press("Enter")
    labels = json.loads(saved(tmp_path, f"{video.stem}_morpheme.json").read_text("utf-8"))
    assert labels["data"][0]["attributes"] == [{"name": "고침"}] and labels["data"][0]["start"] > before
    assert page.complaints == []


def test_signs_of_the_camera_are_shown_and_its_recording_is_answered(page: Tab, tmp_path: Path) -> None:
    click(page, "camera")
    page.when("document.querySelectorAll('#signs tr').length > 0")
    click(page, "stop")
    page.when("/^Signs: /.test(document.getElementById('told').textContent)")
    assert page.value(SIGNS)
    click(page, "save-video")
    until(lambda: list(tmp_path.glob("signs-*.webm")))
    assert page.complaints == []


@pytest.mark.parametrize(("width", "dark"), [(390, True), (1366, False)])
def test_the_page_fits_a_phone_and_the_dark(page: Tab, address: str, video: Path, width: int, dark: bool) -> None:
    page.open(address, width=width, dark=dark)
    answered(page, video)
    assert page.value("document.documentElement.scrollWidth") <= width
    assert page.complaints == []


def test_the_page_needs_no_network_and_runs_no_other_script(page: Tab) -> None:
    assert "http" not in page_text().replace("http-equiv", "")
    page.value(
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.ran = 1'})); 0"
    )
    assert page.value("window.ran === undefined")

from fractions import Fraction

import av
import numpy as np
import pytest

from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.video import preprocess
from signprep.pipeline.video.preprocess import FramePreprocessor, crop_and_fit, display_matrix, orientation_filters

FIXED = 65536


def color_frame(width: int = 320, height: int = 180) -> av.VideoFrame:
    """Left third red, middle green, right blue, as untagged I420."""
    rgb = np.zeros((height, width, 3), np.uint8)
    for part in range(3):
        rgb[:, part * width // 3 : (part + 1) * width // 3, part] = 220
    frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format="yuv420p")
    frame.pts, frame.time_base = 0, Fraction(1, 30)
    return frame


@pytest.mark.parametrize(("pixels", "shape"), [("yuv420p", (96, 64)), ("rgb24", (64, 64, 3))])
def test_stored_frames_have_the_shape_of_their_spec(pixels: str, shape: tuple[int, ...]) -> None:
    stored = FramePreprocessor(ClipSpec(size=64, pixels=pixels))(color_frame())
    assert stored.shape == shape and stored.dtype == np.uint8


def test_center_crop_keeps_the_middle_square_and_full_adds_black_bars() -> None:
    center = FramePreprocessor(ClipSpec(size=64, pixels="rgb24"))(color_frame()).astype(int)
    full = FramePreprocessor(ClipSpec(size=64, pixels="rgb24", crop="full"))(color_frame()).astype(int)
    assert center[32, 32, 1] > 180 and center[2, 2].max() > 100
    assert center[32, 32, 1] - center[32, 32, 0] > 150
    assert full[2].max() < 20 and full[-3].max() < 20
    assert full[32, 4, 0] > 180 and full[32, -4, 2] > 180


def test_a_box_is_cut_by_fractions_of_the_frame() -> None:
    stored = FramePreprocessor(ClipSpec(size=64, pixels="rgb24", crop="0,0,0.25,0.4"))(color_frame()).astype(int)
    assert stored[32, 32, 0] > 180 and stored[32, 32, 1] < 60


def test_crops_and_fits_are_as_documented() -> None:
    assert crop_and_fit(1920, 1080, ClipSpec()) == ((420, 0, 1080, 1080), (256, 256))
    assert crop_and_fit(406, 720, ClipSpec(crop="full")) == ((0, 0, 406, 720), (144, 256))


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        ((FIXED, 0, 0, FIXED), lambda picture: picture),
        ((-FIXED, 0, 0, -FIXED), lambda picture: np.rot90(picture, 2)),
        ((0, FIXED, -FIXED, 0), lambda picture: np.rot90(picture, -1)),
        ((0, -FIXED, FIXED, 0), lambda picture: np.rot90(picture, 1)),
        ((-FIXED, 0, 0, FIXED), np.fliplr),
        ((FIXED, 0, 0, -FIXED), np.flipud),
        ((0, FIXED, FIXED, 0), lambda picture: picture.swapaxes(0, 1)),
    ],
)
def test_display_matrices_are_applied_as_the_standard_says(matrix: tuple[int, int, int, int], expected) -> None:
    """The filters, run by FFmpeg, against the matrix applied to coordinates by hand."""
    picture = np.zeros((32, 48), np.uint8)
    picture[4:12, 6:20] = 200
    picture[20:28, 30:34] = 90
    graph = av.filter.Graph()
    frame = av.VideoFrame.from_ndarray(picture, format="gray")
    frame.pts, frame.time_base = 0, Fraction(1, 30)
    nodes = [graph.add_buffer(width=48, height=32, format="gray", time_base=frame.time_base)]
    for step in orientation_filters(matrix):
        name, _, arguments = step.partition("=")
        nodes.append(graph.add(name, arguments))
    graph.link_nodes(*nodes, graph.add("buffersink")).configure()
    graph.push(frame)
    assert np.array_equal(graph.pull().to_ndarray(), expected(picture))
    a, b, c, d = (number // FIXED for number in matrix)
    x = a * 6 + c * 4 + (47 if a < 0 else 31 if c < 0 else 0)
    y = b * 6 + d * 4 + (47 if b < 0 else 31 if d < 0 else 0)
    assert picture[4, 6] == 200 and expected(picture)[y, x] == 200


@pytest.mark.parametrize(("matrix", "name"), [(1, "ITU709"), (5, "ITU601")])
@pytest.mark.parametrize("color_range", [1, 2])
def test_other_matrices_and_ranges_become_limited_bt601(matrix: int, name: str, color_range: int) -> None:
    source = color_frame()
    untagged = FramePreprocessor(ClipSpec(size=64))(source).astype(int)
    rgb = source.to_ndarray(format="rgb24")
    tagged = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(
        format="yuv420p", dst_colorspace=name, dst_color_range=color_range
    )
    tagged.pts, tagged.time_base = 0, Fraction(1, 30)
    tagged.colorspace, tagged.color_range = matrix, color_range
    stored = FramePreprocessor(ClipSpec(size=64))(tagged).astype(int)
    # Away from the edges between the colours, where clipping differs; a matrix or range that is ignored is off by 10.
    columns = [5, 6, 7, 24, 32, 40, 57, 58, 59]
    assert np.abs(stored - untagged)[:64, columns].max() <= 2
    assert np.abs(stored - untagged).mean() < 2


def test_crops_start_at_even_pixels_so_that_rgb_and_subsampled_frames_show_the_same() -> None:
    assert crop_and_fit(646, 480, ClipSpec())[0] == (82, 0, 480, 480)
    assert crop_and_fit(101, 99, ClipSpec(crop="0.05,0.03,0.9,1"))[0][:2] == (4, 2)


def test_side_data_that_pyav_does_not_know_leaves_the_turn_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preprocess, "_smallest_copy", lambda frame: frame)

    class Stereo:
        rotation = 90

        @property
        def side_data(self) -> dict[str, object]:
            raise ValueError("29 is not a valid Type")

    assert orientation_filters(display_matrix(Stereo())) == orientation_filters((0, -FIXED, FIXED, 0))

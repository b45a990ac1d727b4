from collections.abc import Sequence
from itertools import pairwise, product
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from signprep.inference.options import TimelineOptions
from signprep.inference.timeline.path import best_path
from signprep.inference.timeline.scores import (
    SegmentScores,
    WordErrors,
    intersection_over_union,
    segment_scores,
    word_errors,
)
from signprep.inference.timeline.segments import TimelineSegment, steps, timeline
from signprep.pipeline.clips import Span
from signprep.pipeline.errors import SignprepError

GLOSSES = ["왼쪽", "위", "아래", "없음"]
PLAIN = TimelineOptions(
    switch_cost=0, smoothing_seconds=0, min_confidence=0, min_duration_seconds=0, merge_gap_seconds=0
)


def of_labels(labels: list[int], confidence: float = 0.9) -> np.ndarray:
    """Return probabilities [W, 4] whose best classes these are."""
    rows = np.full((len(labels), len(GLOSSES)), (1 - confidence) / (len(GLOSSES) - 1), np.float32)
    rows[np.arange(len(labels)), labels] = confidence
    return rows


def spans_every(stride: float, count: int, length: float | None = None) -> list[Span]:
    return [Span(k * stride, k * stride + (length or stride)) for k in range(count)]


def signs(found: list[TimelineSegment]) -> list[tuple[float, float, str]]:
    return [(segment.start_seconds, segment.end_seconds, segment.gloss) for segment in found]


def test_a_window_answers_for_the_time_nearest_to_its_middle() -> None:
    found = timeline(spans_every(0.5, 4, 2.0), of_labels([0, 0, 1, 1]), GLOSSES, PLAIN)
    assert signs(found) == [(0.0, 1.75, "왼쪽"), (1.75, 3.5, "위")]
    assert [segment.confidence for segment in found] == pytest.approx([0.9, 0.9])


def test_confidence_is_the_mean_over_the_time_of_the_segment() -> None:
    scores = np.concatenate([of_labels([0], 0.9), of_labels([0], 0.6)])
    # The middles are 1.0 and 2.25 s: the border is at 1.625 s.
    [found] = timeline([Span(0.0, 2.0), Span(1.0, 3.5)], scores, GLOSSES, PLAIN)
    assert found.confidence == pytest.approx((1.625 * 0.9 + 1.875 * 0.6) / 3.5)


def test_time_that_no_window_shows_is_no_part_of_a_sign() -> None:
    apart = [Span(0.0, 1.0), Span(2.0, 3.0)]
    assert steps(apart) == apart
    assert signs(timeline(apart, of_labels([0, 0]), GLOSSES, PLAIN)) == [(0, 1, "왼쪽"), (2, 3, "왼쪽")]


def test_the_order_of_windows_does_not_matter() -> None:
    spans, scores = spans_every(0.5, 6, 1.0), of_labels([0, 0, 2, 2, 1, 1])
    order = [3, 0, 5, 1, 4, 2]
    assert timeline([spans[k] for k in order], scores[order], GLOSSES, PLAIN) == timeline(spans, scores, GLOSSES, PLAIN)


def test_smoothing_lets_neighbours_overrule_a_slip() -> None:
    spans, scores = spans_every(0.25, 7), of_labels([0, 0, 0, 1, 0, 0, 0], 0.6)
    assert len(timeline(spans, scores, GLOSSES, PLAIN)) == 3
    smoothed = TimelineOptions(
        switch_cost=0, smoothing_seconds=0.6, min_confidence=0, min_duration_seconds=0, merge_gap_seconds=0
    )
    assert signs(timeline(spans, scores, GLOSSES, smoothed)) == [(0.0, 1.75, "왼쪽")]


def test_a_dropped_slip_parts_no_sign() -> None:
    spans, scores = spans_every(0.25, 9), of_labels([0, 0, 0, 0, 1, 0, 0, 0, 0])
    options = TimelineOptions(smoothing_seconds=0, min_duration_seconds=0.3, merge_gap_seconds=0.3)
    [found] = timeline(spans, scores, GLOSSES, options)
    assert signs([found]) == [(0.0, 2.25, "왼쪽")]
    assert found.confidence == pytest.approx(0.9)  # of the steps that show it


def test_short_parts_of_a_sign_are_joined_before_short_ones_are_dropped() -> None:
    scores = of_labels([0, 3, 0, 3, 0])
    options = TimelineOptions(smoothing_seconds=0, min_duration_seconds=0.3, merge_gap_seconds=0.25, idle_gloss="없음")
    assert signs(timeline(spans_every(0.25, 5), scores, GLOSSES, options)) == [(0.0, 1.25, "왼쪽")]


@pytest.mark.parametrize(("gap", "expected"), [(0.5, 1), (0.25, 2)])
def test_a_longer_gap_parts_two_signs(gap: float, expected: int) -> None:
    scores = of_labels([0, 0, 3, 3, 0, 0])
    options = TimelineOptions(smoothing_seconds=0, merge_gap_seconds=gap, idle_gloss="없음")
    assert len(timeline(spans_every(0.25, 6), scores, GLOSSES, options)) == expected


def test_the_idle_gloss_is_silence() -> None:
    scores = of_labels([3, 3, 0, 0, 3, 1, 1, 3])
    found = timeline(spans_every(0.5, 8), scores, GLOSSES, TimelineOptions(smoothing_seconds=0, idle_gloss="없음"))
    assert signs(found) == [(1.0, 2.0, "왼쪽"), (2.5, 3.5, "위")]


def test_the_idle_weight_decides_between_a_sign_and_none() -> None:
    scores = np.array([[0.35, 0.2, 0.0, 0.45]], np.float32)
    options = {"min_confidence": 0.3, "idle_gloss": "없음"}
    [found] = timeline([Span(0, 1)], scores, GLOSSES, TimelineOptions(idle_weight=0.5, **options))
    assert (found.gloss, found.confidence) == ("왼쪽", pytest.approx(0.35))
    assert not timeline([Span(0, 1)], scores, GLOSSES, TimelineOptions(idle_weight=1.0, **options))


def test_a_change_has_to_be_worth_its_cost() -> None:
    spans, scores = spans_every(0.1, 9), of_labels([0, 0, 0, 0, 1, 0, 0, 0, 0], 0.6)
    free, costly = (
        timeline(spans, scores, GLOSSES, TimelineOptions(switch_cost=cost, min_duration_seconds=0, merge_gap_seconds=0))
        for cost in (0.0, 0.25)
    )
    assert [segment.gloss for segment in free] == ["왼쪽", "위", "왼쪽"]
    assert [segment.gloss for segment in costly] == ["왼쪽"]


@given(seed=st.integers(0, 10_000), num_steps=st.integers(1, 5), num_columns=st.integers(1, 3))
def test_no_other_path_is_better_than_the_best(seed: int, num_steps: int, num_columns: int) -> None:
    rng = np.random.default_rng(seed)
    evidence, seconds, cost = rng.normal(size=(num_steps, num_columns)), rng.uniform(0, 1, num_steps), rng.uniform(0, 1)

    def worth(path: Sequence[int]) -> float:
        gains = sum(evidence[step, column] * seconds[step] for step, column in enumerate(path))
        return float(gains - cost * sum(one != other for one, other in pairwise(path)))

    found = worth(best_path(evidence, seconds, cost).tolist())
    assert found == pytest.approx(max(map(worth, product(range(num_columns), repeat=num_steps))))


def test_an_unsure_step_is_silence() -> None:
    scores = np.concatenate([of_labels([0, 0], 0.7), of_labels([1, 2], 0.35), of_labels([1, 1], 0.7)])
    found = timeline(spans_every(0.5, 6), scores, GLOSSES, TimelineOptions(smoothing_seconds=0, min_confidence=0.5))
    assert signs(found) == [(0.0, 1.0, "왼쪽"), (2.0, 3.0, "위")]


def test_no_windows_give_no_signs_and_the_given_scores_stay() -> None:
    assert timeline([], np.empty((0, 4), np.float32), GLOSSES, TimelineOptions()) == []
    scores = of_labels([3, 0, 3])
    before = scores.copy()
    timeline(spans_every(0.5, 3), scores, GLOSSES, TimelineOptions(smoothing_seconds=0, idle_gloss="없음"))
    np.testing.assert_array_equal(scores, before)


def test_an_unknown_idle_gloss_is_an_error_that_names_the_glosses() -> None:
    with pytest.raises(SignprepError, match=r"no gloss 'idle'.*왼쪽, 위, 아래, 없음"):
        timeline([Span(0, 1)], of_labels([0]), GLOSSES, TimelineOptions(idle_gloss="idle"))


@pytest.mark.parametrize(
    "wrong",
    [{"switch_cost": -1.0}, {"smoothing_seconds": -0.1}, {"min_confidence": 1.5}, {"idle_weight": 0.0}],
)
def test_impossible_options_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TimelineOptions(**wrong)


def test_a_segment_is_a_json_object() -> None:
    segment = TimelineSegment(start_seconds=0.5, end_seconds=1.25, label=1, gloss="위", confidence=0.8)
    assert segment.to_dict() == {
        "start_time": 0.5,
        "end_time": 1.25,
        "predicted_class_name": "위",
        "confidence": 0.8,
    }


@st.composite
def answered_videos(draw: st.DrawFn) -> tuple[float, list[Span], np.ndarray]:
    """A length, windows in it of any place and length, and their probabilities."""
    length = draw(st.floats(0.5, 20))
    count = draw(st.integers(0, 25))
    parts = st.floats(0, 1)
    spans = []
    for _ in range(count):
        start, end = sorted((draw(parts) * length, draw(parts) * length))
        spans.append(Span(start, end) if end - start > 1e-3 else Span(0.0, length))
    logits = np.random.default_rng(draw(st.integers(0, 1000))).normal(0, 3, (count, len(GLOSSES)))
    scores = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return length, spans, scores.astype(np.float32)


SECONDS = st.floats(0, 2)


@given(
    video=answered_videos(),
    options=st.builds(
        TimelineOptions,
        switch_cost=st.floats(0, 2),
        smoothing_seconds=SECONDS,
        min_duration_seconds=SECONDS,
        merge_gap_seconds=SECONDS,
        min_confidence=st.floats(0, 1),
        idle_gloss=st.sampled_from([None, "없음"]),
    ),
)
def test_segments_are_ordered_apart_and_in_the_video(
    video: tuple[float, list[Span], np.ndarray], options: TimelineOptions
) -> None:
    length, spans, scores = video
    found = timeline(spans, scores, GLOSSES, options)
    for segment in found:
        assert 0 <= segment.start_seconds < segment.end_seconds <= length
        assert segment.end_seconds - segment.start_seconds >= options.min_duration_seconds - 1e-5
        assert 0 <= segment.confidence <= 1
        assert segment.confidence >= options.min_confidence - 1e-6
        assert segment.gloss == GLOSSES[segment.label] != options.idle_gloss
    for before, after in pairwise(found):
        assert before.end_seconds <= after.start_seconds
        assert before.gloss != after.gloss or after.start_seconds - before.end_seconds > options.merge_gap_seconds


@given(
    lengths=st.lists(st.floats(0.8, 2.0), min_size=1, max_size=6),
    stride=st.sampled_from([0.1, 0.2, 0.25]),
    window=st.sampled_from([0.5, 1.0, 2.0]),
    options=st.sampled_from([PLAIN, TimelineOptions(), TimelineOptions(idle_gloss="없음")]),
)
def test_clean_signs_are_found_to_within_half_a_stride(
    lengths: list[float], stride: float, window: float, options: TimelineOptions
) -> None:
    """Signs 0, 1, 2, 0, ... without pauses, each window answered by the sign at its middle."""
    borders = np.cumsum([0.0, *lengths])
    duration = float(borders[-1])
    middles = np.arange(0.0, duration - 1e-6, stride)
    spans = [Span(middle - window / 2, middle + window / 2) for middle in middles]
    labels = [int(np.searchsorted(borders, middle, side="right") - 1) % 3 for middle in middles]
    found = timeline(spans, of_labels(labels, 1.0), GLOSSES, options)
    assert [segment.label for segment in found] == [k % 3 for k in range(len(lengths))]
    assert [segment.start_seconds for segment in found[1:]] == pytest.approx(list(borders[1:-1]), abs=stride / 2 + 1e-6)
    assert segment_scores(found, truth_of(borders), 0.5).recall >= (len(lengths) - 2) / len(lengths)


def truth_of(borders: np.ndarray) -> list[SimpleNamespace]:
    return [
        SimpleNamespace(start_seconds=start, end_seconds=end, gloss=GLOSSES[k % 3])
        for k, (start, end) in enumerate(pairwise(borders))
    ]


def span(start: float, end: float, gloss: str = "위") -> SimpleNamespace:
    return SimpleNamespace(start_seconds=start, end_seconds=end, gloss=gloss)


def test_intersection_over_union() -> None:
    assert intersection_over_union(span(0, 2), span(1, 3)) == pytest.approx(1 / 3)
    assert intersection_over_union(span(0, 1), span(1, 2)) == 0
    assert intersection_over_union(span(0, 4), span(1, 2)) == 0.25


def test_segments_match_one_to_one_by_gloss_and_overlap() -> None:
    truth = [span(0, 1), span(2, 3), span(4, 5, "아래"), span(6, 7)]
    predicted = [
        span(0.2, 1.2),  # 0.8 of 1.2 s: found
        span(0.1, 0.9),  # 0.8 of 1.0 s: better, and only one may count
        span(2.0, 4.0),  # 1 of 2 s: just enough
        span(4, 5, "위"),  # the wrong gloss
    ]
    scores = segment_scores(predicted, truth)
    assert scores == SegmentScores(num_matched=2, num_predicted=4, num_true=4)
    assert (scores.precision, scores.recall, scores.f1) == (0.5, 0.5, 0.5)
    assert segment_scores(predicted, truth, iou=0.75).num_matched == 1
    assert segment_scores(predicted[:1], truth).precision == 1.0
    assert segment_scores(predicted[:1], truth).recall == 0.25
    assert segment_scores(predicted[:1], truth).f1 == pytest.approx(0.4)


def test_scores_of_nothing_and_of_several_videos() -> None:
    assert segment_scores([], []).f1 == segment_scores([], []).precision == segment_scores([], []).recall == 1.0
    assert segment_scores([span(0, 1)], []).f1 == segment_scores([], [span(0, 1)]).f1 == 0.0
    one, other = segment_scores([span(0, 1)], [span(0, 1)]), segment_scores([], [span(0, 1), span(2, 3)])
    assert sum([one, other], SegmentScores()).recall == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("predicted", "truth", "expected"),
    [
        ("abc", "abc", (0, 0, 0)),
        ("axc", "abc", (1, 0, 0)),
        ("abbc", "abc", (0, 1, 0)),
        ("ac", "abc", (0, 0, 1)),
        ("", "abc", (0, 0, 3)),
        ("abc", "", (0, 3, 0)),
        ("ba", "ab", (0, 1, 1)),  # as few changes as two substitutions, and one gloss is kept
        ("kitten", "sitting", (2, 0, 1)),
    ],
)
def test_word_errors(predicted: str, truth: str, expected: tuple[int, int, int]) -> None:
    errors = word_errors(list(predicted), list(truth))
    assert (errors.substitutions, errors.insertions, errors.deletions) == expected
    assert errors.rate == pytest.approx(sum(expected) / max(1, len(truth)))


def test_word_errors_of_several_videos_add_up() -> None:
    total = sum([word_errors(["a"], ["b"]), word_errors(["a", "b", "c"], ["a", "b", "c"])], WordErrors())
    assert total == WordErrors(substitutions=1, num_true=4)
    assert total.rate == 0.25

import numpy as np

from signprep.inference.evaluation.metrics import Shown, performances, ranks


def test_ranks_count_classes_above_and_break_ties_as_the_answer_does() -> None:
    logits = np.array([[3, 2, 1], [3, 2, 1], [1, 1, 0], [1, 1, 0]], np.float32)
    assert ranks(logits, np.array([0, 2, 0, 1])).tolist() == [0, 2, 0, 1]


def test_views_belong_together_by_take_class_and_order() -> None:
    clips = [
        Shown("a", "F", 0, "a_F", 1.0),
        Shown("a", "L", 0, "a_L", 1.1),
        Shown("a", "F", 0, "a_F", 5.0),  # said again
        Shown("a", "L", 0, "a_L", 5.1),
        Shown("a", "L", 1, "a_L", 2.0),  # of another class, from one view
        Shown("b", None, 0, "b", 1.0),
        Shown("b", "F", 0, "b_F", 1.0),
        Shown("c", "F", 0, "c_F", 1.0),  # twice, and from the other view once: which one is not known
        Shown("c", "F", 0, "c_F", 3.0),
        Shown("c", "L", 0, "c_L", 3.0),
        Shown("d", "F", 0, "d1_F", 1.0),  # from several videos: their order means nothing
        Shown("d", "F", 0, "d2_F", 3.0),
        Shown("d", "L", 0, "d1_L", 1.0),
        Shown("d", "L", 0, "d2_L", 3.0),
    ]
    assert performances(clips) == [[0, 1], [2, 3]]

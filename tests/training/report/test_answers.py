import numpy as np

from signprep.training.report.answers import LISTED_MISTAKES, Answers
from tests.training.report.made import made_answers


def test_the_confusion_matrix_without_its_zeros_is_the_whole_matrix() -> None:
    answers = made_answers([f"낱말{place}" for place in range(30)])
    confusion = answers.describe()["confusion"]
    matrix = np.zeros((30, 30), np.int64)
    np.add.at(matrix, (answers.labels, answers.predicted), 1)
    found = np.zeros_like(matrix)
    places = [int(gloss.removeprefix("낱말")) for gloss in confusion["glosses"]]
    for right, answered, times in zip(confusion["right"], confusion["answered"], confusion["times"], strict=True):
        found[places[right], places[answered]] = times
    assert (found == matrix).all() and min(confusion["times"]) > 0


def test_the_matrix_names_glosses_that_occur_and_no_others() -> None:
    some = made_answers(["a", "b", "c", "d"], 1, accuracy=1.0)
    kept = slice(1, 3)
    few = Answers(
        glosses=some.glosses,
        positions=some.positions[kept],
        labels=some.labels[kept],
        predicted=np.array([1, 0]),
        ranks=np.array([0, 1]),
        confidence=some.confidence[kept],
        columns={name: column[kept] for name, column in some.columns.items()},
    )
    described = few.describe()
    assert described["confusion"] == {
        "glosses": ["a", "b", "c"],
        "right": [1, 2],
        "answered": [1, 0],
        "times": [1, 1],
    }
    assert described["classes"] == 4 and described["classes_with_clips"] == 2
    assert [row["answered"] for row in described["mistaken"]] == ["a"]


def test_mistakes_are_the_surest_first_and_only_so_many() -> None:
    mistaken = made_answers(["a", "b", "c"], 200).describe()["mistaken"]
    sure = [row["confidence"] for row in mistaken]
    assert len(mistaken) == LISTED_MISTAKES and sure == sorted(sure, reverse=True)
    assert all(row["right"] != row["answered"] for row in mistaken)

import numpy as np
import pytest
from neuroprint.evaluation.subjects import Subjects

from neuroprint.errors import NeuroprintError

CENTERS = np.zeros((2, 3))
RIGHT = np.zeros(2, dtype=bool)


@pytest.mark.parametrize(
    ("ids", "centers", "metadata", "said"),
    [
        (("b", "a"), CENTERS, {}, "sort the cases by id"),
        (("a", "a"), CENTERS, {}, "a appears twice"),
        (("a", "b"), np.zeros((3, 3)), {}, "shape"),
        (("a", "b"), np.array([[0, 0, 0], [0, np.inf, 0]]), {}, "case b"),
        (("a", "b"), np.array([[0, 0, 0], [0, np.nan, 0]]), {}, "case b"),
        (("a", "b"), CENTERS, {"grade": np.array(["2"])}, "grade"),
    ],
)
def test_unsound_subjects_are_refused_by_name(ids, centers, metadata, said):
    with pytest.raises(NeuroprintError, match=said):
        Subjects(ids, ("p", "q"), centers, RIGHT, metadata)


def test_a_case_without_a_tumor_is_known_by_its_missing_center():
    centers = np.array([[1.0, 2.0, 3.0], [np.nan] * 3])
    assert Subjects(("a", "b"), ("p", "q"), centers, RIGHT).located.tolist() == [True, False]

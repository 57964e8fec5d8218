import numpy as np
import pytest

from neuroprint.evaluation.ranking import rank


def test_most_similar_first_and_equals_by_id():
    similarity = np.array([[0.5, 0.9, 0.5, 0.5], [0.0, -0.0, 1.0, 0.0]])
    ids = ["d", "c", "b", "a10"]
    named = [[ids[place] for place in row] for row in rank(similarity, ids)]
    assert named == [["c", "a10", "b", "d"], ["b", "a10", "c", "d"]]


def test_ranking_does_not_depend_on_the_order_of_the_gallery():
    rng = np.random.default_rng(0)
    similarity = rng.integers(0, 4, (50, 30)).astype(float)
    ids = np.array([f"case{number}" for number in range(30)])
    order = rng.permutation(30)
    assert np.array_equal(ids[rank(similarity, list(ids))], ids[order][rank(similarity[:, order], list(ids[order]))])


def test_nan_has_no_rank():
    with pytest.raises(ValueError, match="NaN"):
        rank(np.array([[0.0, np.nan]]), ["a", "b"])

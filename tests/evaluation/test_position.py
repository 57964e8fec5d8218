import numpy as np
import pytest
from neuroprint.evaluation.position import errors_mm, r2, side_auc
from sklearn.metrics import r2_score, roc_auc_score


def test_r2_of_one_mean_agrees_with_scikit_learn():
    rng = np.random.default_rng(0)
    true = rng.normal(size=(40, 3)) * [1, 10, 100]
    predicted = true + rng.normal(size=(40, 3)) * [0.5, 9, 20]
    ours = r2(np.square(predicted - true), np.square(true.mean(axis=0) - true))
    assert ours == pytest.approx(r2_score(true, predicted, multioutput="raw_values"))


def test_predicting_the_gallery_mean_scores_exactly_zero():
    baseline = np.square(np.random.default_rng(0).normal(size=(40, 3)))
    assert r2(baseline, baseline).tolist() == [0.0, 0.0, 0.0]


def test_r2_of_an_axis_without_spread_is_undefined():
    assert np.isnan(r2(np.ones((4, 3)), np.array([[1.0, 1.0, 0.0]] * 4))).tolist() == [False, False, True]


def test_errors_are_euclidean():
    assert errors_mm(np.array([[3.0, 4.0, 12.0]]), np.zeros((1, 3))).tolist() == [13.0]


def test_side_auc_agrees_with_scikit_learn_with_ties():
    rng = np.random.default_rng(0)
    for _ in range(200):
        right = rng.random(15) < 0.5
        predicted = rng.integers(-3, 4, 15) + right
        if 0 < right.sum() < 15:
            assert side_auc(right, predicted) == pytest.approx(roc_auc_score(right, predicted))
    assert np.isnan(side_auc(np.ones(5, dtype=bool), np.arange(5.0)))

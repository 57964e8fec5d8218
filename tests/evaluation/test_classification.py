"""The probe's metrics of classes, against scikit-learn."""

import warnings

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from neuroprint.evaluation.classification import CLASS_METRICS, class_auc, macro_auc
from neuroprint.evaluation.metric import Predictions

METRICS = {metric.name: metric for metric in CLASS_METRICS}


def drawn(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores of which many tie, and the true classes; now and then a class has no case."""
    rng = np.random.default_rng(seed)
    n, classes = int(rng.integers(2, 40)), int(rng.integers(2, 6))
    codes = rng.integers(0, classes, n)
    return rng.integers(-3, 4, (n, classes)) + np.eye(classes)[codes], codes


def test_the_auc_of_a_class_agrees_with_scikit_learn_with_ties():
    rng = np.random.default_rng(0)
    for _ in range(500):
        positive = rng.random(15) < 0.5
        scores = rng.integers(-3, 4, 15) + positive
        if 0 < positive.sum() < 15:
            assert class_auc(scores, positive) == pytest.approx(roc_auc_score(positive, scores))


def test_with_folds_only_cases_of_the_same_fold_are_compared():
    rng = np.random.default_rng(0)
    for _ in range(500):
        folds = rng.integers(0, 4, 25)
        positive = rng.random(25) < 0.3
        scores = rng.integers(-3, 4, 25) + positive + 10 * folds
        won = pairs = 0.0
        for fold in range(4):
            mine = folds == fold
            if 0 < positive[mine].sum() < mine.sum():
                here = positive[mine].sum() * (~positive[mine]).sum()
                won, pairs = won + here * roc_auc_score(positive[mine], scores[mine]), pairs + here
        found = class_auc(scores, positive, folds)
        assert found == pytest.approx(won / pairs) if pairs else np.isnan(found)


def test_cases_that_have_no_other_in_their_fold_cannot_be_compared():
    assert np.isnan(class_auc(np.arange(4.0), np.arange(4) > 1, np.arange(4)))


@pytest.mark.parametrize("positive", [np.ones(5, dtype=bool), np.zeros(5, dtype=bool), np.zeros(0, dtype=bool)])
def test_the_auc_of_one_class_alone_is_undefined(positive):
    assert np.isnan(class_auc(np.arange(len(positive), dtype=float), positive))


def test_the_macro_auc_is_scikit_learns_mean_over_the_classes_that_have_one():
    missing = 0
    for seed in range(300):
        scores, codes = drawn(seed)
        one_hot = np.eye(scores.shape[1])[codes]
        defined = [place for place in range(scores.shape[1]) if 0 < one_hot[:, place].sum() < len(codes)]
        missing += len(defined) < scores.shape[1]
        found = macro_auc(scores, one_hot)
        if defined:
            expected = roc_auc_score(one_hot[:, defined], scores[:, defined], average="macro")
            assert found == pytest.approx(expected), seed
        else:
            assert np.isnan(found)
    assert missing > 20


def test_of_two_classes_whose_scores_mirror_each_other_the_macro_auc_is_that_of_either():
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 2, 30)
    score = codes + rng.normal(size=30)
    assert macro_auc(np.stack([-score, score], axis=1), np.eye(2)[codes]) == pytest.approx(roc_auc_score(codes, score))


def test_the_balanced_accuracy_is_scikit_learns():
    for seed in range(300):
        scores, codes = drawn(seed)
        with warnings.catch_warnings():  # a predicted class without a case is no concern of either
            warnings.simplefilter("ignore")
            expected = balanced_accuracy_score(codes, scores.argmax(axis=1))
        one_hot = np.eye(scores.shape[1])[codes]
        found = METRICS["probe/balanced_accuracy"].of(Predictions(scores, one_hot, one_hot))
        assert found == pytest.approx(expected), seed


@pytest.mark.parametrize("seed", range(20))
def test_cases_without_a_class_or_a_prediction_have_no_part_in_the_metrics(seed):
    scores, codes = drawn(seed)
    one_hot = np.eye(scores.shape[1])[codes]
    nothing = np.full((2, scores.shape[1]), np.nan)
    known = Predictions(scores, one_hot, np.full(scores.shape, 0.25))
    more = Predictions(
        np.concatenate([scores, scores[:2], nothing]),
        np.concatenate([one_hot, nothing, one_hot[:2]]),
        np.full((len(scores) + 4, scores.shape[1]), 0.25),
    )
    for metric in CLASS_METRICS:
        assert metric.of(more) == pytest.approx(metric.of(known), nan_ok=True)
        assert metric.chance(more) == metric.chance(known)


def test_guessing_one_class_is_as_good_as_chance_says():
    for classes in (2, 3, 7):
        codes = np.arange(5 * classes + 1) % classes
        one_hot = np.eye(classes)[codes]
        guess = np.tile(np.eye(classes)[0], (len(codes), 1))
        found = Predictions(guess, one_hot, np.zeros_like(guess))
        for metric in CLASS_METRICS:
            assert metric.of(found) == pytest.approx(metric.chance(found)), metric.name
        assert METRICS["probe/balanced_accuracy"].chance(found) == pytest.approx(1 / classes)


def test_a_class_without_a_case_does_not_lower_chance():
    one_hot = np.eye(3)[[0, 1, 0, 1]]
    assert METRICS["probe/balanced_accuracy"].chance(Predictions(one_hot, one_hot, one_hot)) == 0.5


def test_without_a_known_case_nothing_is_defined():
    nothing = np.full((4, 2), np.nan)
    for metric in CLASS_METRICS:
        assert np.isnan(metric.of(Predictions(nothing, nothing, nothing)))

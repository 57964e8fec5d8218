"""Concordance against an independent count of pairs, and the risk it is taken of."""

import numpy as np
import pytest

from neuroprint.evaluation.metric import Predictions
from neuroprint.evaluation.survival import SURVIVAL_METRICS, concordance, risks

(METRIC,) = SURVIVAL_METRICS


def counted(time: np.ndarray, event: np.ndarray, risk: np.ndarray) -> float:
    """Harrell's C, pair by pair."""
    pairs = right = 0.0
    for first in range(len(time)):
        for later in range(len(time)):
            before = time[first] < time[later] or (time[first] == time[later] and not event[later])
            if event[first] and before:
                pairs += 1
                right += 1.0 if risk[first] > risk[later] else 0.5 if risk[first] == risk[later] else 0.0
    return right / pairs if pairs else float("nan")


def test_the_concordance_is_that_of_counting_pairs_with_ties_and_censoring():
    rng = np.random.default_rng(0)
    undefined = 0
    for _ in range(3000):
        n = int(rng.integers(1, 15))
        time, risk = rng.integers(1, 8, n).astype(float), rng.integers(0, 5, n).astype(float)
        event = rng.random(n) < rng.random()
        expected = counted(time, event, risk)
        undefined += bool(np.isnan(expected))
        assert concordance(time, event, risk) == pytest.approx(expected, nan_ok=True), (time, event, risk)
    assert 50 < undefined < 1500


def test_the_risk_is_the_deaths_less_those_expected_at_the_gallerys_rate():
    predicted = np.array([[0.9, 100.0], [0.2, 300.0], [0.5, 200.0]])
    found = Predictions(predicted, predicted, np.tile([0.5, 200.0], (3, 1)))
    rate = 0.5 / 200
    assert risks(found) == pytest.approx([0.9 - 100 * rate, 0.2 - 300 * rate, 0.0])


def test_the_mean_of_any_gallery_is_no_risk_at_all():
    rng = np.random.default_rng(0)
    mean = np.stack([rng.uniform(0.1, 1, 50), rng.uniform(10, 2000, 50)], axis=1)
    true = np.stack([rng.random(50) < 0.5, rng.uniform(10, 2000, 50)], axis=1).astype(float)
    found = Predictions(mean, true, mean)
    assert not risks(found).any()
    assert METRIC.of(found) == 0.5 == METRIC.chance(found)


def test_queries_whose_gallery_has_no_death_have_no_part():
    true = np.array([[1.0, 10.0], [1.0, 20.0], [0.0, 30.0], [1.0, 5.0]])
    predicted = np.array([[1.0, 10.0], [1.0, 20.0], [0.5, 30.0], [1.0, 99.0]])
    baseline = np.array([[0.5, 20.0], [0.5, 20.0], [0.5, 20.0], [0.0, 20.0]])
    assert np.isnan(risks(Predictions(predicted, true, baseline))[3])
    assert METRIC.of(Predictions(predicted, true, baseline)) == 1.0
    assert np.isnan(METRIC.of(Predictions(predicted, true, np.zeros((4, 2)))))


def test_without_a_death_nothing_is_defined():
    alive = np.array([[0.0, 10.0], [0.0, 20.0]])
    assert np.isnan(METRIC.of(Predictions(alive, alive, np.full((2, 2), 0.5))))

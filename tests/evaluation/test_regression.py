"""The probe's metrics of positions and numbers, against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, median_absolute_error, r2_score, roc_auc_score

from neuroprint.evaluation.metric import Predictions
from neuroprint.evaluation.regression import NUMBER_METRICS, POSITION_METRICS, distances, r2

POSITIONS = {metric.name: metric for metric in POSITION_METRICS}
NUMBERS = {metric.name: metric for metric in NUMBER_METRICS}


def predictions(n: int = 40, targets: int = 3, unknown: int = 0, seed: int = 0) -> Predictions:
    """Of a probe that knows something; the first cases lack the target, and all folds have one mean."""
    rng = np.random.default_rng(seed)
    true = rng.normal(size=(n, targets)) * [1, 10, 100][:targets]
    predicted = true + rng.normal(size=(n, targets)) * [0.5, 9, 20][:targets]
    right = true[:, 0] > 0
    true[:unknown] = np.nan
    return Predictions(predicted, true, np.broadcast_to(np.nanmean(true, axis=0), true.shape), {"right": right})


def test_r2_of_one_mean_agrees_with_scikit_learn():
    rng = np.random.default_rng(0)
    true = rng.normal(size=(40, 3)) * [1, 10, 100]
    predicted = true + rng.normal(size=(40, 3)) * [0.5, 9, 20]
    ours = r2(np.square(predicted - true), np.square(true.mean(axis=0) - true))
    assert ours == pytest.approx(r2_score(true, predicted, multioutput="raw_values"))


def test_predicting_the_gallery_mean_scores_exactly_zero():
    baseline = np.square(np.random.default_rng(0).normal(size=(40, 3)))
    assert r2(baseline, baseline).tolist() == [0.0, 0.0, 0.0]


def test_r2_of_a_target_without_spread_is_undefined():
    assert np.isnan(r2(np.ones((4, 3)), np.array([[1.0, 1.0, 0.0]] * 4))).tolist() == [False, False, True]


def test_distances_are_euclidean():
    assert distances(np.array([[3.0, 4.0, 12.0]]), np.zeros((1, 3))).tolist() == [13.0]


@pytest.mark.parametrize("unknown", [0, 5])
def test_metrics_of_positions_agree_with_others_on_the_known_cases(unknown):
    found = predictions(unknown=unknown)
    true, predicted = found.true[unknown:], found.predicted[unknown:]
    each = r2_score(true, predicted, multioutput="raw_values")
    apart = np.linalg.norm(predicted - true, axis=1)
    expected = {
        "probe/r2": each.mean(),
        "probe/r2_x": each[0],
        "probe/r2_y": each[1],
        "probe/r2_z": each[2],
        "probe/error_mm": apart.mean(),
        "probe/error_mm_median": np.median(apart),
        "probe/side_auc": roc_auc_score(found.columns["right"][unknown:], predicted[:, 0]),
    }
    assert {name: metric.value(found) for name, metric in POSITIONS.items()} == pytest.approx(expected)


@pytest.mark.parametrize("unknown", [0, 5])
def test_metrics_of_numbers_agree_with_scikit_learn_on_the_known_cases(unknown):
    found = predictions(targets=1, unknown=unknown)
    true, predicted = found.true[unknown:], found.predicted[unknown:]
    assert NUMBERS["probe/r2"].value(found) == pytest.approx(r2_score(true, predicted))
    assert NUMBERS["probe/mae"].value(found) == pytest.approx(mean_absolute_error(true, predicted))
    assert POSITIONS["probe/error_mm_median"].value(found) == pytest.approx(median_absolute_error(true, predicted))


@pytest.mark.parametrize("metrics", [POSITION_METRICS, NUMBER_METRICS])
def test_what_is_resampled_is_the_metric(metrics):
    for metric in metrics:
        if metric.ratios is None:
            continue
        found = predictions(targets=3 if metrics is POSITION_METRICS else 1, unknown=3)
        ratios = metric.ratios(found)
        mean = (ratios.numerators.sum(axis=0) / ratios.denominators.sum(axis=0)).mean()
        assert metric.value(found) == pytest.approx(1 - mean if ratios.complement else mean), metric.name


@pytest.mark.parametrize("metrics", [POSITION_METRICS, NUMBER_METRICS])
def test_values_of_queries_differ_between_runs_as_the_metric_does(metrics):
    """The same cases predicted by three probes: metric and mean contribution are on one straight line."""
    runs = [predictions(targets=3 if metrics is POSITION_METRICS else 1, unknown=3)]
    runs += [
        Predictions(factor * runs[0].predicted, runs[0].true, runs[0].baseline, runs[0].columns) for factor in (2, 5)
    ]
    for metric in metrics:
        if metric.of_query is None:
            continue
        means = [np.nanmean(metric.of_query(found)) for found in runs]
        values = [metric.value(found) for found in runs]
        assert all(np.isnan(metric.of_query(found)[:3]).all() for found in runs)
        slopes = np.diff(values) / np.diff(means)
        assert slopes[0] == pytest.approx(slopes[1]) and slopes[0] > 0, metric.name


def test_a_probe_that_predicts_nothing_has_no_value():
    found = predictions()
    none = Predictions(np.full_like(found.predicted, np.nan), found.true, found.baseline, found.columns)
    for metric in POSITION_METRICS:
        assert np.isnan(metric.value(none)), metric.name

"""The probe's metrics of positions and numbers, against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, median_absolute_error, r2_score, roc_auc_score

from neuroprint.evaluation.metric import Predictions
from neuroprint.evaluation.ratios import MeanOfRatios
from neuroprint.evaluation.regression import NUMBER_METRICS, POSITION_METRICS, SHARE_METRICS, VOLUME_METRICS, distances

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
    ours = POSITIONS["probe/r2"].of(Predictions(predicted, true, np.broadcast_to(true.mean(axis=0), true.shape)))
    assert ours == pytest.approx(r2_score(true, predicted))


def test_predicting_the_gallery_mean_scores_exactly_zero():
    found = predictions()
    mean = Predictions(found.baseline, found.true, found.baseline)
    assert [POSITIONS[f"probe/r2{axis}"].of(mean) for axis in ("", "_x", "_y", "_z")] == [0.0] * 4


def test_r2_of_a_target_without_spread_is_undefined():
    true = np.random.default_rng(0).normal(size=(4, 3)) * [1, 1, 0]
    found = Predictions(true + 1, true, np.broadcast_to(true.mean(axis=0), true.shape))
    undefined = [bool(np.isnan(POSITIONS[f"probe/r2{axis}"].of(found))) for axis in ("", "_x", "_y", "_z")]
    assert undefined == [True, False, False, True]


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
    assert {name: metric.of(found) for name, metric in POSITIONS.items()} == pytest.approx(expected)


@pytest.mark.parametrize("unknown", [0, 5])
def test_metrics_of_numbers_agree_with_scikit_learn_on_the_known_cases(unknown):
    found = predictions(targets=1, unknown=unknown)
    true, predicted = found.true[unknown:], found.predicted[unknown:]
    assert NUMBERS["probe/r2"].of(found) == pytest.approx(r2_score(true, predicted))
    assert NUMBERS["probe/mae"].of(found) == pytest.approx(mean_absolute_error(true, predicted))
    assert POSITIONS["probe/error_mm_median"].of(found) == pytest.approx(median_absolute_error(true, predicted))


@pytest.mark.parametrize("unknown", [0, 5])
def test_metrics_of_volumes_and_shares_agree_with_scikit_learn_on_the_known_cases(unknown):
    found = predictions(targets=1, unknown=unknown)
    true, predicted = found.true[unknown:], found.predicted[unknown:]
    volumes = {metric.name: metric.of(found) for metric in VOLUME_METRICS}
    mae = mean_absolute_error(true, predicted)
    assert volumes == pytest.approx(
        {"probe/r2": r2_score(true, predicted), "probe/mae": mae, "probe/error_factor": 10**mae}
    )
    found = predictions(unknown=unknown)
    true, predicted = found.true[unknown:], found.predicted[unknown:]
    each = r2_score(true, predicted, multioutput="raw_values")
    shares = {metric.name: metric.of(found) for metric in SHARE_METRICS}
    expected = {f"probe/r2_{name}": r2 for name, r2 in zip(("necrosis", "edema", "enhancement"), each, strict=True)}
    expected |= {"probe/r2": each.mean(), "probe/mae": 100 * mean_absolute_error(true, predicted)}
    assert shares == pytest.approx(expected)


@pytest.mark.parametrize("metrics", [POSITION_METRICS, NUMBER_METRICS])
def test_the_parts_of_queries_sum_to_what_changes_in_the_metric(metrics):
    """Less the parts of nothing they sum to 0; and a small change of the predictions is the sum of its parts."""
    found = predictions(targets=3 if metrics is POSITION_METRICS else 1, unknown=3)
    step = 1e-6 * np.random.default_rng(1).normal(size=found.predicted.shape)
    moved = Predictions(found.predicted + step, found.true, found.baseline, found.columns)
    for metric in metrics:
        if metric.ratios is None:
            continue
        ratios, after = metric.ratios(found), metric.ratios(moved)
        nothing = MeanOfRatios(np.zeros_like(ratios.numerators), np.zeros_like(ratios.denominators))
        own = ratios.parts(nothing)
        assert own.sum() == pytest.approx(0.0, abs=1e-12) and own[3:].all() and not own[:3].any(), metric.name
        change = metric.of(found) - metric.of(moved)
        assert ratios.parts(after).sum() == pytest.approx(change, rel=1e-3), metric.name


def test_a_probe_that_predicts_nothing_has_no_value():
    found = predictions()
    none = Predictions(np.full_like(found.predicted, np.nan), found.true, found.baseline, found.columns)
    for metric in POSITION_METRICS:
        assert np.isnan(metric.of(none)), metric.name

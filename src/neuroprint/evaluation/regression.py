"""Metrics of the probe for positions and other numbers: predicted against true values."""

from __future__ import annotations

import numpy as np

from neuroprint.evaluation.arrays import Array
from neuroprint.evaluation.classification import class_auc
from neuroprint.evaluation.metric import Predictions, ProbeMetric
from neuroprint.evaluation.ratios import MeanOfRatios


def distances(predicted: Array, true: Array) -> Array:
    """(n, d), (n, d) -> (n,) Euclidean distances of predicted to true values."""
    distance: Array = np.sqrt(np.square(predicted - true).sum(axis=1))
    return distance


def _errors(found: Predictions) -> Array:
    return np.where(found.known, distances(found.predicted, found.true), 0.0)


def _mean_error(found: Predictions) -> MeanOfRatios:
    return MeanOfRatios(_errors(found)[:, None], found.known[:, None].astype(np.float64))


def _mean_share_error(found: Predictions) -> MeanOfRatios:
    off = np.where(found.known[:, None], np.abs(found.predicted - found.true), 0.0).mean(axis=1, keepdims=True)
    return MeanOfRatios(100.0 * off, found.known[:, None].astype(np.float64))


def _error_factor(found: Predictions) -> float:
    return float(10.0 ** _mean_error(found).value)


def _median_error(found: Predictions) -> float:
    return float(np.median(_errors(found)[found.known])) if found.known.any() else np.nan


def _side_auc(found: Predictions) -> float:
    right = found.columns["right"].astype(bool)
    return class_auc(found.above_baseline[found.known, 0], right[found.known], found.folds[found.known])


def _r2(found: Predictions, places: slice = slice(None)) -> MeanOfRatios:
    """R² per target, pooled over folds, so that predicting the gallery's mean scores exactly 0; the mean over targets."""
    errors, baseline = found.squared_errors[:, places], found.squared_baseline_errors[:, places]
    return MeanOfRatios(errors, baseline, complement=True)


def _r2_of_target(name: str, label: str, place: int) -> ProbeMetric:
    return ProbeMetric(name, label, highest=1.0, ratios=lambda found: _r2(found, slice(place, place + 1)))


POSITION_METRICS: tuple[ProbeMetric, ...] = (
    ProbeMetric("probe/r2", "R² of the tumor's center", headline=True, shown=True, highest=1.0, ratios=_r2),
    _r2_of_target("probe/r2_x", "R² of the center, left-right", 0),
    _r2_of_target("probe/r2_y", "R² of the center, back-front", 1),
    _r2_of_target("probe/r2_z", "R² of the center, down-up", 2),
    ProbeMetric(
        "probe/error_mm",
        "mean error of the center",
        lower_is_better=True,
        unit="mm",
        headline=True,
        shown=True,
        lowest=0.0,
        ratios=_mean_error,
    ),
    ProbeMetric(
        "probe/error_mm_median",
        "median error of the center",
        lower_is_better=True,
        unit="mm",
        compared=False,
        value=_median_error,
    ),
    ProbeMetric(
        "probe/side_auc",
        "AUC of left against right",
        lowest=0.0,
        highest=1.0,
        value=_side_auc,
        chance=lambda found: 0.5,
    ),
)
"""Of targets that are positions, (x, y, z) in mm; the side is in the column ``right``."""

NUMBER_METRICS: tuple[ProbeMetric, ...] = (
    ProbeMetric("probe/r2", "R²", headline=True, shown=True, highest=1.0, ratios=_r2),
    ProbeMetric(
        "probe/mae",
        "mean absolute error",
        lower_is_better=True,
        headline=True,
        shown=True,
        lowest=0.0,
        ratios=_mean_error,
    ),
)
"""Of one target that is a number."""

VOLUME_METRICS: tuple[ProbeMetric, ...] = (
    ProbeMetric("probe/r2", "R² of log10 of the volume", headline=True, shown=True, highest=1.0, ratios=_r2),
    ProbeMetric(
        "probe/mae",
        "mean absolute error of log10 of the volume",
        lower_is_better=True,
        headline=True,
        shown=True,
        lowest=0.0,
        ratios=_mean_error,
    ),
    ProbeMetric(
        "probe/error_factor",
        "factor between predicted and true volume",
        lower_is_better=True,
        shown=True,
        compared=False,
        lowest=1.0,
        value=_error_factor,
    ),
)
"""Of one target, the decimal logarithm of a volume. The factor is 10 to the power of the mean absolute error: 2 says that
predictions are typically off by half or double."""

SHARE_METRICS: tuple[ProbeMetric, ...] = (
    ProbeMetric("probe/r2", "R² of the shares", headline=True, shown=True, highest=1.0, ratios=_r2),
    _r2_of_target("probe/r2_necrosis", "R² of the share of necrosis", 0),
    _r2_of_target("probe/r2_edema", "R² of the share of edema", 1),
    _r2_of_target("probe/r2_enhancement", "R² of the share of enhancement", 2),
    ProbeMetric(
        "probe/mae",
        "mean absolute error of the shares",
        lower_is_better=True,
        unit="percentage points",
        headline=True,
        shown=True,
        lowest=0.0,
        ratios=_mean_share_error,
    ),
)
"""Of targets that are shares of necrosis, edema and enhancement, from 0 to 1; the error is the mean over the three."""

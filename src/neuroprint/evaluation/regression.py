"""Metrics of the probe for positions and other numbers: predicted against true values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from neuroprint.evaluation.arrays import Array
from neuroprint.evaluation.classification import class_auc
from neuroprint.evaluation.metric import Predictions, ProbeMetric
from neuroprint.evaluation.statistics import MeanOfRatios


def r2(squared_errors: Array, squared_baseline_errors: Array) -> Array:
    """R² per target, pooled over folds: 1 - SSE / SST, so that predicting the gallery's mean scores exactly 0.

    Args:
        squared_errors: (n, targets) of the out-of-fold predictions.
        squared_baseline_errors: (n, targets) of the mean of each fold's gallery side.

    Returns:
        (targets,), NaN where the baseline makes no error.
    """
    sse, sst = squared_errors.sum(axis=0), squared_baseline_errors.sum(axis=0)
    return np.where(sst > 0, 1.0 - sse / np.where(sst > 0, sst, 1.0), np.nan)


def distances(predicted: Array, true: Array) -> Array:
    """(n, d), (n, d) -> (n,) Euclidean distances of predicted to true values."""
    distance: Array = np.sqrt(np.square(predicted - true).sum(axis=1))
    return distance


def _errors(found: Predictions) -> Array:
    return np.where(found.known, distances(found.predicted, found.true), 0.0)


def _mean_error(found: Predictions) -> float:
    return float(_errors(found)[found.known].mean()) if found.known.any() else np.nan


def _median_error(found: Predictions) -> float:
    return float(np.median(_errors(found)[found.known])) if found.known.any() else np.nan


def _side_auc(found: Predictions) -> float:
    right = found.columns["right"].astype(bool)
    return class_auc(found.predicted[found.known, 0], right[found.known])


def _r2_of_query(found: Predictions, places: Sequence[int]) -> Array:
    """Contributions to a mean R²: minus the squared error over the sum of the mean predictor's, averaged over targets."""
    chosen = list(places)
    baseline = found.squared_baseline_errors[:, chosen].sum(axis=0)
    parts = found.squared_errors[:, chosen] / np.where(baseline > 0, baseline, np.nan)
    return np.where(found.known, -parts.mean(axis=1), np.nan)


def _r2_of_target(name: str, label: str, place: int) -> ProbeMetric:
    return ProbeMetric(
        name,
        label,
        value=lambda found: float(r2(found.squared_errors, found.squared_baseline_errors)[place]),
        of_query=lambda found: _r2_of_query(found, [place]),
    )


R2 = ProbeMetric(
    "probe/r2",
    "R² of the tumor's center",
    headline=True,
    shown=True,
    value=lambda found: float(r2(found.squared_errors, found.squared_baseline_errors).mean()),
    ratios=lambda found: MeanOfRatios(
        found.squared_errors, found.squared_baseline_errors, complement=True, highest=1.0
    ),
    of_query=lambda found: _r2_of_query(found, range(found.true.shape[1])),
)

POSITION_METRICS: tuple[ProbeMetric, ...] = (
    R2,
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
        value=_mean_error,
        ratios=lambda found: MeanOfRatios(_errors(found)[:, None], found.known[:, None].astype(np.float64), lowest=0.0),
        of_query=lambda found: np.where(found.known, _errors(found), np.nan),
    ),
    ProbeMetric(
        "probe/error_mm_median",
        "median error of the center",
        lower_is_better=True,
        unit="mm",
        value=_median_error,
        in_queries=False,
    ),
    ProbeMetric(
        "probe/side_auc", "AUC of left against right", value=_side_auc, chance=lambda found: 0.5, in_queries=False
    ),
)
"""Of targets that are positions, (x, y, z) in mm; the side is in the column ``right``."""

NUMBER_METRICS: tuple[ProbeMetric, ...] = (
    ProbeMetric(
        "probe/r2",
        "R²",
        headline=True,
        shown=True,
        value=R2.value,
        ratios=R2.ratios,
        of_query=R2.of_query,
    ),
    ProbeMetric(
        "probe/mae",
        "mean absolute error",
        lower_is_better=True,
        headline=True,
        shown=True,
        value=_mean_error,
        ratios=lambda found: MeanOfRatios(_errors(found)[:, None], found.known[:, None].astype(np.float64), lowest=0.0),
        of_query=lambda found: np.where(found.known, _errors(found), np.nan),
    ),
)
"""Of one target that is a number."""

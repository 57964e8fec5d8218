"""Metrics of the probe: predicted against true centres of mass."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def r2(squared_errors: Array, squared_baseline_errors: Array) -> Array:
    """R² per axis, pooled over folds: 1 - SSE / SST, so that predicting the gallery's mean scores exactly 0.

    Args:
        squared_errors: (n, axes) of the out-of-fold predictions.
        squared_baseline_errors: (n, axes) of the mean of each fold's gallery side.

    Returns:
        (axes,), NaN where the baseline makes no error.
    """
    sse, sst = squared_errors.sum(axis=0), squared_baseline_errors.sum(axis=0)
    return np.where(sst > 0, 1.0 - sse / np.where(sst > 0, sst, 1.0), np.nan)


def errors_mm(predicted_mm: Array, true_mm: Array) -> Array:
    """(n, 3), (n, 3) -> (n,) Euclidean distances of predicted to true centres."""
    distance: Array = np.sqrt(np.square(predicted_mm - true_mm).sum(axis=1))
    return distance


def side_auc(right: npt.NDArray[np.bool_], predicted_x_mm: Array) -> float:
    """Probability that a right-sided case is predicted further right than a left-sided one, ties counting half.

    NaN if all cases lie on one side.
    """
    from scipy.stats import rankdata

    positives = int(right.sum())
    negatives = len(right) - positives
    if not positives or not negatives:
        return float("nan")
    ranks = rankdata(predicted_x_mm)
    return float((ranks[right].sum() - positives * (positives + 1) / 2) / (positives * negatives))

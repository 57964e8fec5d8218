"""Metrics of the probe: predicted against true centers of mass."""

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
    """(n, 3), (n, 3) -> (n,) Euclidean distances of predicted to true centers."""
    distance: Array = np.sqrt(np.square(predicted_mm - true_mm).sum(axis=1))
    return distance


def side_auc(right: npt.NDArray[np.bool_], predicted_x_mm: Array) -> float:
    """Probability that a right-sided case is predicted further right than a left-sided one, ties counting half.

    NaN if all cases lie on one side.
    """
    of_left, of_right = np.sort(predicted_x_mm[~right]), predicted_x_mm[right]
    if not len(of_left) or not len(of_right):
        return float("nan")
    beaten = np.searchsorted(of_left, of_right, "left") + np.searchsorted(of_left, of_right, "right")
    return float(beaten.mean() / (2 * len(of_left)))

"""What the metrics are called in figures, and which way is better."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NAMES: Final = {
    "probe/r2": "R² of the tumor's center",
    "probe/r2_x": "R² of the center, left-right",
    "probe/r2_y": "R² of the center, back-front",
    "probe/r2_z": "R² of the center, down-up",
    "probe/error_mm": "mean error of the center (mm)",
    "probe/error_mm_median": "median error of the center (mm)",
    "probe/side_auc": "AUC of left against right",
    "retrieval/p_at_1": "precision at 1",
    "retrieval/p_at_3": "precision at 3",
    "retrieval/p_at_5": "precision at 5",
    "retrieval/p_at_10": "precision at 10",
    "retrieval/map": "mean average precision",
    "retrieval/mrr": "mean reciprocal rank",
    "retrieval/ndcg_at_10": "nDCG at 10",
    "retrieval/auc": "AUC of relevant against other cases",
    "retrieval/dist_mm_at_5": "mean distance of the five nearest (mm)",
}
_LOWER_IS_BETTER: Final = ("probe/error_mm", "probe/error_mm_median", "retrieval/dist_mm_at_5")


def metric_label(metric: str) -> str:
    """The metric in words with its unit, and its name in MLflow; the bare name where there are no words for it."""
    words = _NAMES.get(metric.removeprefix("holdout/"))
    return f"{words}  [{metric}]" if words else metric


def lower_is_better(metric: str) -> bool:
    """Whether small values win: errors and distances."""
    return metric.removeprefix("holdout/") in _LOWER_IS_BETTER


def direction(metric: str) -> str:
    """Which way is better, in words."""
    return "lower is better" if lower_is_better(metric) else "higher is better"


def decimals(values: NDArray[np.float64]) -> int:
    """Digits after the point that a figure prints: one for tens of millimeters, two for shares."""
    return 1 if values.size and float(np.nanmax(np.abs(values))) >= 10 else 2

"""Metrics of the probe for classes: scores of classes, one column each, against the true class."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from neuroprint.evaluation.arrays import Array
from neuroprint.evaluation.metric import Predictions, ProbeMetric
from neuroprint.evaluation.ratios import MeanOfRatios


def class_auc(scores: Array, positive: npt.NDArray[np.bool_]) -> float:
    """Probability that a positive's score is the larger, ties counting half (Mann and Whitney 1947).

    NaN where there is no positive, or nothing else.
    """
    n = int(positive.sum())
    if n in (0, len(positive)):
        return float("nan")
    _, place, equals = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(equals) - (equals - 1) / 2)[place]  # equal scores share the mean of their ranks
    return float((ranks[positive].sum() - n * (n + 1) / 2) / (n * (len(positive) - n)))


def macro_auc(scores: Array, one_hot: Array) -> float:
    """Mean over the classes of the AUC of one against the rest; of two classes both are the same.

    Args:
        scores: (n, classes).
        one_hot: (n, classes) of the true class.
    """
    found = [class_auc(scores[:, place], one_hot[:, place] > 0.5) for place in range(one_hot.shape[1])]
    defined = [value for value in found if np.isfinite(value)]
    return float(np.mean(defined)) if defined else float("nan")


def _auc(found: Predictions) -> float:
    return macro_auc(found.above_baseline[found.known], found.true[found.known]) if found.known.any() else float("nan")


def _balanced_accuracy(found: Predictions) -> MeanOfRatios:
    """Mean over the classes of the share of their cases whose largest score is that class's (Brodersen et al. 2010)."""
    one_hot = np.where(found.known[:, None], found.true, 0.0)
    right = np.where(found.known, np.nan_to_num(found.predicted).argmax(axis=1) == one_hot.argmax(axis=1), False)
    present = one_hot.sum(axis=0) > 0
    return MeanOfRatios((one_hot * right[:, None])[:, present], one_hot[:, present])


CLASS_METRICS: tuple[ProbeMetric, ...] = (
    ProbeMetric(
        "probe/auc",
        "AUC of the classes",
        shown=True,
        headline=True,
        lowest=0.0,
        highest=1.0,
        value=_auc,
        chance=lambda found: 0.5,
    ),
    ProbeMetric(
        "probe/balanced_accuracy",
        "balanced accuracy",
        headline=True,
        shown=True,
        lowest=0.0,
        highest=1.0,
        ratios=_balanced_accuracy,
        chance=lambda found: 1.0 / max(1, int((found.true[found.known].sum(axis=0) > 0).sum())),
    ),
)
"""Of targets that are classes, one column each, 1 for the class of the case."""

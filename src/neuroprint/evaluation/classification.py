"""Metrics of the probe for classes: scores of classes, one column each, against the true class."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from neuroprint.evaluation.arrays import Array, Indices
from neuroprint.evaluation.metric import Predictions, ProbeMetric
from neuroprint.evaluation.ratios import MeanOfRatios


def class_auc(scores: Array, positive: npt.NDArray[np.bool_], folds: Indices | None = None) -> float:
    """Probability that a positive's score is the larger, ties counting half (Mann and Whitney 1947).

    Args:
        scores: (n,).
        positive: (n,).
        folds: (n,) from 0. Only cases of the same fold are compared: of two folds each is in what the other's scores were
            fitted to, so that over all pairs scores that know nothing come out below a half (Airola et al. 2011).

    Returns:
        NaN where no pair can be compared.

    Example:
        >>> class_auc(np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True]))
        0.75
    """
    folds = np.zeros(len(scores), dtype=np.int64) if folds is None else folds
    order = np.lexsort((scores, folds))
    scores, positive, folds = scores[order], positive[order], folds[order]
    differs = np.ones(len(scores), dtype=bool)
    differs[1:] = (scores[1:] != scores[:-1]) | (folds[1:] != folds[:-1])
    first = np.flatnonzero(differs)
    equals = np.diff(first, append=len(scores))
    ranks = np.repeat(first + (equals - 1) / 2, equals)  # from 0; equal scores share the mean of their ranks
    size, positives = np.bincount(folds), np.bincount(folds, positive)
    pairs = (positives * (size - positives)).sum()
    if not pairs:
        return float("nan")
    ranks -= np.repeat(np.cumsum(size) - size, size)
    return float((ranks[positive].sum() - (positives * (positives - 1)).sum() / 2) / pairs)


def macro_auc(scores: Array, one_hot: Array, folds: Indices | None = None) -> float:
    """Mean over the classes of the AUC of one against the rest; of two classes both are the same.

    Args:
        scores: (n, classes).
        one_hot: (n, classes) of the true class.
        folds: As of :func:`class_auc`.
    """
    found = [class_auc(scores[:, place], one_hot[:, place] > 0.5, folds) for place in range(one_hot.shape[1])]
    defined = [value for value in found if np.isfinite(value)]
    return float(np.mean(defined)) if defined else float("nan")


def _auc(found: Predictions) -> float:
    known = found.known
    return macro_auc(found.above_baseline[known], found.true[known], found.folds[known])


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

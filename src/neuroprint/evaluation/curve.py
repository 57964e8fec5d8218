"""Precision at every k, for the picture that shows a run beside the reference rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from neuroprint.evaluation.arrays import Array
from neuroprint.evaluation.retrieval import expected_precision
from neuroprint.evaluation.statistics import MeanOfRatios, Resamples, bootstrap_intervals

if TYPE_CHECKING:
    import pandas as pd


DEEPEST = 20
_RESAMPLES = 2_000  # a band in a picture needs no third digit


def precision_by_query(queries: pd.DataFrame) -> Array:
    """(queries with a relevant case, K) precision at k = 1 .. K, K at most 20 and no more than any gallery holds.

    Args:
        queries: ``Evaluation.queries``. A table without neighbors is chance: the expected precision.
    """
    scored = queries[queries["relevant"] > 0]
    depth = int(min(DEEPEST, queries["gallery"].min()))
    curves = np.empty((len(scored), depth))
    for row, query in enumerate(scored.to_dict("records")):
        if len(query["neighbor_relevant"]):
            curves[row] = np.cumsum(query["neighbor_relevant"][:depth]) / np.arange(1, depth + 1)
        else:
            curves[row] = expected_precision(np.array([query["relevant"]]), query["gallery"], 1)
    return curves


def precision_band(curves: Array, patients: Sequence[str], seed: int) -> tuple[Array, Array] | None:
    """95 % interval of the mean precision at each k, or None with fewer than two patients."""
    ones = np.ones((len(curves), 1))
    statistics = {str(k): MeanOfRatios(curves[:, [k]], ones, lowest=0.0, highest=1.0) for k in range(curves.shape[1])}
    intervals = bootstrap_intervals(statistics, patients, Resamples(_RESAMPLES, seed))
    if len(intervals) < curves.shape[1]:
        return None
    bounds = np.array([intervals[str(k)] for k in range(curves.shape[1])])
    return bounds[:, 0], bounds[:, 1]

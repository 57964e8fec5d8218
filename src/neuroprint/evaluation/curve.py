"""Precision at every k, for the picture that shows a run beside the reference rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from neuroprint.evaluation.arrays import Array
from neuroprint.evaluation.influence import Groups
from neuroprint.evaluation.intervals import interval
from neuroprint.evaluation.retrieval import expected_precision, precision_at_k, precision_without
from neuroprint.evaluation.tally import Tally

if TYPE_CHECKING:
    import pandas as pd


DEEPEST = 20


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


def precision_band(queries: pd.DataFrame) -> tuple[Array, Array] | None:
    """95 % interval of the mean precision at each k, see :func:`neuroprint.evaluation.intervals.interval`.

    Args:
        queries: ``Evaluation.queries``, every case a row and a query once.

    Returns:
        (K,) lower and upper bounds; None with fewer than two patients, or without a ranking.
    """
    scored = queries[queries["relevant"] > 0]
    depth = int(min(DEEPEST, queries["gallery"].min()))
    if scored["patient"].nunique() < 2 or not len(scored["neighbors"].iloc[0]):
        return None
    seen = min(depth + 1, int(queries["gallery"].min()))
    place = {case: row for row, case in enumerate(queries["case"])}
    asked = scored["case"].map(place).to_numpy()
    gallery = np.array([[place[case] for case in row[:seen]] for row in scored["neighbors"]])
    relevant = np.array([row[:seen] for row in scored["neighbor_relevant"]], dtype=bool)
    count, size = scored["relevant"].to_numpy(), scored["gallery"].to_numpy()
    only = relevant & (count == 1)[:, None]
    tally, bounds = Tally(Groups.of(list(queries["patient"])), int(queries["fold"].nunique())), []
    for k in range(1, depth + 1):
        values = precision_at_k(relevant, k)
        tally.add(str(k), asked, gallery, values, np.where(only, np.nan, precision_without(relevant, k)))
        _, owed = tally.of_queries(str(k), asked, values)
        anchors = [float((count / size).mean()), float((np.minimum(count, k) / k).mean())]
        bounds.append((np.nan, np.nan) if owed is None else interval(owed, 0.0, 1.0, anchors))
    low, high = np.array(bounds).T
    return low, high

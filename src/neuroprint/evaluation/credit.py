"""How a query's score divides among the gallery cases that earned it.

A case takes part in a retrieval score twice: as a query, and as an answer to others. A comparison of runs that counted
the first role only would take two embeddings of equal worth for different (see
:func:`neuroprint.evaluation.comparison.compare`).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def credits_of_ranks(relevant: npt.NDArray[np.bool_], gain: Array, distance: Array) -> dict[str, Array]:
    """Each rank's part in each retrieval metric. A query's parts sum to its metric, or to 0 where that is undefined.

    Args:
        relevant: (m, n) relevance of the gallery as ranked.
        gain: (m, n) gain as ranked.
        distance: (m, n) distance as ranked, mm; NaN where unknown.

    Returns:
        (m, n) by the metric's column in the table of queries.
    """
    n = relevant.shape[1]
    place = np.arange(1, n + 1, dtype=np.float64)
    hits = np.cumsum(relevant, axis=1)
    found = hits[:, -1:]
    discount = np.where(place <= 10, 1.0 / np.log2(1.0 + place), 0.0)
    ideal = (-np.sort(-gain, axis=1) * discount).sum(axis=1, keepdims=True)
    near = (place <= 5) & np.isfinite(distance)
    return {f"p_at_{k}": np.where(relevant & (place <= k), 1.0 / k, 0.0) for k in (1, 3, 5, 10)} | {
        "average_precision": relevant * hits / place / np.maximum(found, 1),
        "reciprocal_rank": relevant * (hits == 1) / place,
        "ndcg_at_10": gain * discount / np.where(ideal > 0, ideal, 1.0) * (found > 0),
        "auc": relevant * ((n - found) - (place - hits)) / np.maximum(found * (n - found), 1),
        "dist_mm_at_5": np.where(near, distance, 0.0) / np.maximum(near.sum(axis=1, keepdims=True), 1) * (found > 0),
    }


def credits_of_cases(of_ranks: dict[str, Array], order: npt.NDArray[np.int64]) -> dict[str, Array]:
    """What each gallery case earned over all queries: (gallery,) by metric.

    Args:
        of_ranks: (m, n) by metric.
        order: (m, n) which gallery case stands at each rank.
    """
    n = order.shape[1]
    places = order.ravel()
    earned = {name: np.bincount(places, parts.ravel(), minlength=n) for name, parts in of_ranks.items()}
    return {name: np.asarray(values, dtype=np.float64) for name, values in earned.items()}

"""The result of scoring one set of embeddings, as arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    from neuroprint.evaluation.influence import Influence


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What one set of embeddings scored.

    Attributes:
        metrics: By name; defined and finite ones only. Bounds of 95 % intervals end in ``_lo`` and ``_hi``.
        undefined: The metrics that are not defined here.
        queries: A row per query, by case id: ``case``, ``patient``, ``fold``, ``gallery`` (its size), ``relevant`` (how
            many of it); ``neighbors`` (ids, best first, at most 50) with ``neighbor_similarity``, ``neighbor_relevant`` and
            what else is known of pairs, such as ``neighbor_distance_mm``; the retrieval metrics (NaN, which a file keeps as
            null, where a query has no part in them); the targets as ``predicted_...``,
            ``true_...`` and ``baseline_...`` (mean of the fold's gallery side); and the question's own columns.
            ``attrs["metrics"]`` holds the records of the metrics.
        cases: Number of scored cases.
        answerable: Number of queries with at least one relevant gallery case, over which retrieval is averaged.
        predicted: (n, targets) out-of-fold predictions, in the order of ``queries``.
        influences: What the metrics owe to each patient, by name: rows are compared by it.
    """

    metrics: dict[str, float]
    undefined: tuple[str, ...]
    queries: pd.DataFrame
    cases: int
    answerable: int
    predicted: npt.NDArray[np.float64]
    influences: Mapping[str, Influence] = field(default_factory=dict)

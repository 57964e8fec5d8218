"""The result of scoring one set of embeddings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What one set of embeddings scored.

    Attributes:
        metrics: By the contract's names; defined and finite ones only.
        undefined: The contract's metrics that are not defined here.
        queries: A row per query, by case id: ``case``, ``patient``, ``fold``, ``gallery`` (its size), ``relevant`` (how
            many of it), ``neighbors`` (ids, best first, at most 50) with ``similarities`` and ``distances_mm`` (None
            where unknown), the retrieval metrics (NaN, which a file keeps as null, where a query has no part in them),
            what the case earned as an answer to others (``..._as_answer``, see :func:`neuroprint.evaluation.comparison.
            compare`), and the center as ``predicted``, ``true`` and ``baseline`` (mean of the fold's gallery side) in
            ``..._x_mm``, ``..._y_mm``, ``..._z_mm``, with ``right`` for its side. All comparisons need no more.
        predicted_mm: (n, 3) out-of-fold predictions of the center, in the order of ``queries``.
    """

    metrics: dict[str, float]
    undefined: tuple[str, ...]
    queries: pd.DataFrame
    predicted_mm: npt.NDArray[np.float64]

"""A metric: one record, which every table, leaderboard, card and figure reads."""

import numpy as np

from neuroprint.evaluation.metric import RetrievalMetric
from neuroprint.evaluation.ranked import Judged, Ranked

K = 5


def _hit(ranked: Ranked) -> np.ndarray:
    return ranked.relevant[:, :K].any(axis=1).astype(float)


def _expected_hit(judged: Judged) -> np.ndarray:
    """One less the chance that none of K cases, drawn without replacement, is relevant."""
    misses = np.ones(len(judged.count))
    for drawn in range(min(K, judged.size)):
        misses *= np.maximum(judged.size - judged.count - drawn, 0) / (judged.size - drawn)
    return 1.0 - misses


def _hit_without(ranked: Ranked) -> np.ndarray:
    """Without one of the first K the next case moves up; without one behind them nothing changes."""
    first, one_more = (ranked.relevant[:, :k].sum(axis=1, keepdims=True) for k in (K, K + 1))
    return np.where(ranked.place <= K, one_more - ranked.relevant > 0, first > 0).astype(float)


def hit_at_5() -> RetrievalMetric:
    """Share of the queries with a relevant case among the first five."""
    return RetrievalMetric(
        "retrieval/hit_at_5",
        "a relevant case among the first 5",
        headline=True,
        shown=True,
        of_query=_hit,
        expected=_expected_hit,
        without=_hit_without,
        has_share=True,
    )

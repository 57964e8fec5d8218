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


def _first_hit(ranked: Ranked) -> np.ndarray:
    return ranked.relevant & (ranked.hits == 1) & (ranked.place <= K)


def hit_at_5() -> RetrievalMetric:
    """Share of the queries with a relevant case among the first five."""
    return RetrievalMetric(
        "retrieval/hit_at_5",
        "a relevant case among the first 5",
        headline=True,
        shown=True,
        of_query=_hit,
        expected=_expected_hit,
        credit=_first_hit,
        has_share=True,
    )

"""Two metrics, one of retrieval and one of the probe: records that every table, leaderboard, card and figure reads."""

import numpy as np

from neuroprint.evaluation.metric import Predictions, ProbeMetric, RetrievalMetric
from neuroprint.evaluation.ranked import Judged, Ranked
from neuroprint.evaluation.ratios import MeanOfRatios

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


def near(within: float) -> ProbeMetric:
    """Share of the predictions that are off by no more than this. The name says how much: runs are told apart by it."""

    def ratios(found: Predictions) -> MeanOfRatios:
        errors = np.abs(found.predicted - found.true).max(axis=1)
        known = found.known[:, None].astype(float)
        return MeanOfRatios((errors <= within)[:, None] * known, known)

    return ProbeMetric(
        f"probe/near_{within:g}",
        f"predictions within {within:g}",
        headline=True,
        lowest=0.0,
        highest=1.0,
        ratios=ratios,
    )

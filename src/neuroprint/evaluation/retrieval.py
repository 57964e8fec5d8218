"""Retrieval metrics, one value per query, and their expected values under a random ranking.

Every metric takes what was ranked, not scores: row q holds the relevance (or gain, or distance) of the gallery in the
order in which query q retrieved it, best first. Scores that tie were given an order by
:func:`neuroprint.evaluation.ranking.rank`, so no metric here sees a tie. A metric that a query leaves undefined
(nothing relevant, say) is NaN for that query.

Shapes: ``ranked`` (m, n), results (m,). N is the size of the gallery, R how many of it are relevant.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from neuroprint.evaluation.arrays import Flags
from neuroprint.evaluation.metric import RetrievalMetric
from neuroprint.evaluation.ranked import Ranked

Values = npt.NDArray[np.float64]
Counts = npt.NDArray[np.integer]


def precision_at_k(ranked: Flags, k: int) -> Values:
    """Relevant cases among the first k, over k; over k in a gallery smaller than k too, as trec_eval does."""
    return np.asarray(ranked[:, :k].sum(axis=1) / k, dtype=np.float64)


def average_precision(ranked: Flags) -> Values:
    """Mean over the relevant cases of the precision at their rank: 1/R * sum_i relevant_i * (hits up to i) / i."""
    precision = np.cumsum(ranked, axis=1) / _ranks(ranked.shape[1])
    return _ratio((precision * ranked).sum(axis=1), ranked.sum(axis=1))


def reciprocal_rank(ranked: Flags) -> Values:
    """1 / rank of the first relevant case."""
    return np.where(ranked.any(axis=1), 1.0 / (1.0 + ranked.argmax(axis=1)), np.nan)


def ndcg_at_k(ranked_gain: Values, k: int) -> Values:
    """Discounted gain of the first k over that of the ideal order: DCG = sum_i gain_i / log2(i + 1).

    Järvelin and Kekäläinen 2002, with linear gain.
    """
    return _ratio(_dcg(ranked_gain, k), _ideal_dcg(ranked_gain, k))


def auc(ranked: Flags) -> Values:
    """Probability that a relevant case ranks above one that is not.

    Of the R * (N - R) such pairs, those in order: what the area under the ROC curve is for a score without ties.
    """
    n = ranked.shape[1]
    relevant = ranked.sum(axis=1)
    beaten = (ranked * (n - _ranks(n))).sum(axis=1) - relevant * (relevant - 1) / 2.0
    return _ratio(beaten, relevant * (n - relevant))


def mean_distance_at_k(ranked_distance: Values, k: int) -> Values:
    """Mean distance of the first k (or all, in a smaller gallery). Unknown distances, NaN, are left out."""
    first = ranked_distance[:, :k]
    known = np.isfinite(first)
    return _ratio(np.where(known, first, 0.0).sum(axis=1), known.sum(axis=1))


def expected_precision(relevant: Counts, gallery: int, k: int) -> Values:
    """Expected precision at k of a random ranking: min(k, N) / k * R / N."""
    return np.asarray(min(k, gallery) / k * relevant / gallery, dtype=np.float64)


def expected_average_precision(relevant: Counts, gallery: int) -> Values:
    """Expected average precision of a random ranking (Bestgen 2015).

    1/N * ((R - 1) / (N - 1) * (N - H_N) + H_N), with H_N the N-th harmonic number.
    """
    harmonic = float((1.0 / _ranks(gallery)).sum())
    pairs = (relevant - 1) / max(gallery - 1, 1)
    return np.where(relevant > 0, (pairs * (gallery - harmonic) + harmonic) / gallery, np.nan)


def expected_reciprocal_rank(relevant: Counts, gallery: int) -> Values:
    """Expected reciprocal rank of a random ranking: sum_i 1/i * P(first relevant case at rank i).

    P is negative hypergeometric: P(1) = R / N and P(i + 1) = P(i) * (N - i - R + 1) / (N - i).
    """
    i = _ranks(gallery)[:-1]
    steps = np.maximum(gallery - i - relevant[:, None] + 1, 0) / (gallery - i)
    first_at = np.cumprod(np.concatenate([(relevant / gallery)[:, None], steps], axis=1), axis=1)
    return np.where(relevant > 0, (first_at / _ranks(gallery)).sum(axis=1), np.nan)


def expected_ndcg(gain: Values, k: int) -> Values:
    """Expected nDCG at k of a random ranking of gains (m, N): every place holds their mean."""
    mean_gain = np.broadcast_to(gain.mean(axis=1, keepdims=True), gain.shape)
    return _ratio(_dcg(mean_gain, k), _ideal_dcg(gain, k))


def expected_auc(relevant: Counts, gallery: int) -> Values:
    """Expected AUC of a random ranking: 1/2, where there is a pair to order."""
    return np.where((relevant > 0) & (relevant < gallery), 0.5, np.nan)


def expected_mean_distance(distance: Values) -> Values:
    """Expected mean distance at any k of a random ranking of distances (m, N): that of the whole gallery."""
    return mean_distance_at_k(distance, distance.shape[1])


def _ranks(n: int) -> Values:
    return np.arange(1, n + 1, dtype=np.float64)


def _ratio(numerator: Values, denominator: Values | Counts) -> Values:
    """Numerator over denominator, NaN where the denominator is 0."""
    defined = denominator > 0
    return np.where(defined, numerator / np.where(defined, denominator, 1), np.nan)


def _dcg(ranked_gain: Values, k: int) -> Values:
    first = ranked_gain[:, :k]
    discounted: Values = (first / np.log2(1.0 + _ranks(first.shape[1]))).sum(axis=1)
    return discounted


def _ideal_dcg(gain: Values, k: int) -> Values:
    return _dcg(-np.sort(-gain, axis=1), k)


def _precision(k: int, headline: bool = False, shown: bool = False) -> RetrievalMetric:
    return RetrievalMetric(
        f"retrieval/p_at_{k}",
        f"precision at {k}",
        headline=headline,
        shown=shown,
        of_query=lambda ranked: precision_at_k(ranked.relevant, k),
        expected=lambda judged: expected_precision(judged.count, judged.size, k),
        credit=lambda ranked: np.where(ranked.relevant & (ranked.place <= k), 1.0 / k, 0.0),
        has_share=headline,
    )


def _ndcg_credit(ranked: Ranked) -> Values:
    discount = np.where(ranked.place <= 10, 1.0 / np.log2(1.0 + ranked.place), 0.0)
    ideal = (-np.sort(-ranked.gain, axis=1) * discount).sum(axis=1, keepdims=True)
    return np.asarray(ranked.gain * discount / np.where(ideal > 0, ideal, 1.0) * (ranked.found > 0))


def _auc_credit(ranked: Ranked) -> Values:
    n, found = ranked.relevant.shape[1], ranked.found
    beaten = ranked.relevant * ((n - found) - (ranked.place - ranked.hits))
    return np.asarray(beaten / np.maximum(found * (n - found), 1))


def _distance_credit(ranked: Ranked) -> Values:
    distance = ranked.pairs["distance_mm"]
    near = (ranked.place <= 5) & np.isfinite(distance)
    return np.asarray(
        np.where(near, distance, 0.0) / np.maximum(near.sum(axis=1, keepdims=True), 1) * (ranked.found > 0)
    )


RETRIEVAL_METRICS: tuple[RetrievalMetric, ...] = (
    _precision(1),
    _precision(3),
    _precision(5, headline=True, shown=True),
    _precision(10),
    RetrievalMetric(
        "retrieval/map",
        "mean average precision",
        headline=True,
        of_query=lambda ranked: average_precision(ranked.relevant),
        expected=lambda judged: expected_average_precision(judged.count, judged.size),
        credit=lambda ranked: ranked.relevant * ranked.hits / ranked.place / np.maximum(ranked.found, 1),
        has_share=True,
    ),
    RetrievalMetric(
        "retrieval/mrr",
        "mean reciprocal rank",
        of_query=lambda ranked: reciprocal_rank(ranked.relevant),
        expected=lambda judged: expected_reciprocal_rank(judged.count, judged.size),
        credit=lambda ranked: ranked.relevant * (ranked.hits == 1) / ranked.place,
    ),
    RetrievalMetric(
        "retrieval/ndcg_at_10",
        "nDCG at 10",
        headline=True,
        of_query=lambda ranked: ndcg_at_k(ranked.gain, 10),
        expected=lambda judged: expected_ndcg(judged.gain, 10),
        credit=_ndcg_credit,
        has_share=True,
    ),
    RetrievalMetric(
        "retrieval/auc",
        "AUC of relevant against other cases",
        of_query=lambda ranked: auc(ranked.relevant),
        expected=lambda judged: expected_auc(judged.count, judged.size),
        credit=_auc_credit,
    ),
    RetrievalMetric(
        "retrieval/dist_mm_at_5",
        "mean distance of the five nearest",
        lower_is_better=True,
        unit="mm",
        of_query=lambda ranked: mean_distance_at_k(ranked.pairs["distance_mm"], 5),
        expected=lambda judged: expected_mean_distance(judged.pairs["distance_mm"]),
        credit=_distance_credit,
        highest=np.inf,
        needs=("distance_mm",),
    ),
)
"""What every task is scored by, as far as it has what a metric needs."""

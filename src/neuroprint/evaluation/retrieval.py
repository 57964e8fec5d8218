"""Retrieval metrics, one value per query, and their expected values under a random ranking.

Every metric takes what was ranked, not scores: row q holds the relevance (or gain, or distance) of the gallery in the
order in which query q retrieved it, best first. Scores that tie were given an order by
:func:`neuroprint.evaluation.ranking.rank`, so no metric here sees a tie. A metric that a query leaves undefined
(nothing relevant, say) is NaN for that query.

``..._without`` says what a query would be worth if the case at a rank were not there and all behind it moved up, for every
rank at once.

Shapes: ``ranked`` (m, n), results (m,), those of ``..._without`` (m, n). N is the size of the gallery, R how many of it
are relevant.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from neuroprint.evaluation.arrays import Flags
from neuroprint.evaluation.metric import RetrievalMetric

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


def precision_without(ranked: Flags, k: int) -> Values:
    """:func:`precision_at_k` without the case at each rank: a hit that a hit replaces changes nothing."""
    return _first_without(ranked.astype(np.float64), k) / k


def average_precision_without(ranked: Flags) -> Values:
    """:func:`average_precision` without the case at each rank.

    Behind a case that is gone, ranks are one less, and so are the hits if it was one.
    """
    y, i = ranked.astype(np.float64), _ranks(ranked.shape[1])
    hits = np.cumsum(y, axis=1)
    found, up = hits[:, -1:], np.maximum(i - 1.0, 1.0)
    before = np.cumsum(y * hits / i, axis=1) - y * hits / i
    behind = _behind(y * hits / up)
    without_hit = _ratio(before + behind - _behind(y / up), found - 1)
    return np.where(ranked, without_hit, _ratio(before + behind, found))


def reciprocal_rank_without(ranked: Flags) -> Values:
    """:func:`reciprocal_rank` without the case at each rank."""
    hits, i = np.cumsum(ranked, axis=1), _ranks(ranked.shape[1])
    first = _place_of(ranked & (hits == 1))
    second = _place_of(ranked & (hits == 2))
    without_other = 1.0 / (first - (i < first))
    return np.where(i == first, _ratio(np.ones_like(first), second - 1.0), without_other)


def ndcg_without(ranked_gain: Values, k: int) -> Values:
    """:func:`ndcg_at_k` without the case at each rank, from the ideal order as well."""
    order = np.argsort(-ranked_gain, axis=1, kind="stable")
    ideal = np.empty_like(ranked_gain)
    np.put_along_axis(ideal, order, _dcg_without(np.take_along_axis(ranked_gain, order, axis=1), k), axis=1)
    return _ratio(_dcg_without(ranked_gain, k), ideal)


def auc_without(ranked: Flags) -> Values:
    """:func:`auc` without the case at each rank, and the pairs it is in."""
    y = ranked.astype(np.float64)
    hits, misses = np.cumsum(y, axis=1), np.cumsum(1.0 - y, axis=1)
    found, others = hits[:, -1:], misses[:, -1:]
    beaten = others - misses
    ordered = (y * beaten).sum(axis=1, keepdims=True)
    without_hit = _ratio(ordered - beaten, (found - 1) * others)
    return np.where(ranked, without_hit, _ratio(ordered - hits, found * (others - 1)))


def mean_distance_without(ranked_distance: Values, k: int) -> Values:
    """:func:`mean_distance_at_k` without the case at each rank."""
    known = np.isfinite(ranked_distance)
    distance = np.where(known, ranked_distance, 0.0)
    return _ratio(_first_without(distance, k), _first_without(known.astype(np.float64), k))


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


def _behind(values: Values) -> Values:
    """(m, n) sums over all ranks behind each."""
    return np.asarray(values.sum(axis=1, keepdims=True) - np.cumsum(values, axis=1))


def _first_without(values: Values, k: int) -> Values:
    """(m, n) sums of the first k without each: the next one moves up."""
    first = values[:, :k]
    total = first.sum(axis=1, keepdims=True)
    following = values[:, k : k + 1] if values.shape[1] > k else np.zeros_like(total)
    sums = np.repeat(total, values.shape[1], axis=1)
    sums[:, :k] += following - first
    return sums


def _dcg_without(ranked_gain: Values, k: int) -> Values:
    discount = np.where(_ranks(ranked_gain.shape[1]) <= k, 1.0 / np.log2(1.0 + _ranks(ranked_gain.shape[1])), 0.0)
    discounted = ranked_gain * discount
    moved_up = np.zeros_like(ranked_gain)
    moved_up[:, 1:] = ranked_gain[:, 1:] * discount[:-1]
    return np.asarray(np.cumsum(discounted, axis=1) - discounted + _behind(moved_up))


def _place_of(chosen: Flags) -> Values:
    """(m, 1) rank of the one chosen case; NaN where there is none."""
    return np.where(chosen.any(axis=1), 1.0 + chosen.argmax(axis=1), np.nan)[:, None]


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
        without=lambda ranked: precision_without(ranked.relevant, k),
        has_share=headline,
        depth=k,
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
        without=lambda ranked: average_precision_without(ranked.relevant),
        has_share=True,
    ),
    RetrievalMetric(
        "retrieval/mrr",
        "mean reciprocal rank",
        of_query=lambda ranked: reciprocal_rank(ranked.relevant),
        expected=lambda judged: expected_reciprocal_rank(judged.count, judged.size),
        without=lambda ranked: reciprocal_rank_without(ranked.relevant),
    ),
    RetrievalMetric(
        "retrieval/ndcg_at_10",
        "nDCG at 10",
        headline=True,
        of_query=lambda ranked: ndcg_at_k(ranked.gain, 10),
        expected=lambda judged: expected_ndcg(judged.gain, 10),
        without=lambda ranked: ndcg_without(ranked.gain, 10),
        has_share=True,
    ),
    RetrievalMetric(
        "retrieval/auc",
        "AUC of relevant against other cases",
        of_query=lambda ranked: auc(ranked.relevant),
        expected=lambda judged: expected_auc(judged.count, judged.size),
        without=lambda ranked: auc_without(ranked.relevant),
    ),
    RetrievalMetric(
        "retrieval/dist_mm_at_5",
        "mean distance of the five nearest",
        lower_is_better=True,
        unit="mm",
        of_query=lambda ranked: mean_distance_at_k(ranked.pairs["distance_mm"], 5),
        expected=lambda judged: expected_mean_distance(judged.pairs["distance_mm"]),
        without=lambda ranked: mean_distance_without(ranked.pairs["distance_mm"], 5),
        highest=None,
        needs=("distance_mm",),
    ),
)
"""What every task is scored by, as far as it has what a metric needs."""

CLIFFS_DELTA = RetrievalMetric(
    "retrieval/cliffs_delta",
    "Cliff's delta of similarity",
    headline=True,
    shown=True,
    of_query=lambda ranked: 2.0 * auc(ranked.relevant) - 1.0,
    expected=lambda judged: 2.0 * expected_auc(judged.count, judged.size) - 1.0,
    without=lambda ranked: 2.0 * auc_without(ranked.relevant) - 1.0,
    lowest=-1.0,
)
"""How much more similar a query is to its equals than to other cases, from -1 to 1 (Cliff 1993); 0 is chance.

Of all pairs of an equal and another case: the share in which the equal is the more similar, minus the share in which it is
the less similar. Only a confound has it.
"""

"""What can be said about the numbers: intervals, and which runs cannot be told from the best.

Patients are the unit of both: a patient's queries come and go together. Both are conditional on gallery and fits: they
say how far a figure would move with other query patients, not with another gallery or another fit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from neuroprint.errors import NeuroprintError
from neuroprint.evaluation.arrays import Array

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence


_CHUNK_CELLS = 1_000_000
_SMALLEST_RELATIVE_ERROR = 0.25


@dataclass(frozen=True, eq=False)
class MeanOfRatios:
    """A statistic of queries: the mean over j of sum_i numerators[i, j] / sum_i denominators[i, j], or 1 minus that.

    A mean over queries has one ratio (value over one); R² of three axes has three (squared error over squared error of
    the mean predictor), complemented.

    Attributes:
        numerators: (n, j).
        denominators: (n, j), at least 0; a query with all 0 has no part in the statistic.
        complement: Whether the statistic is 1 minus the mean of ratios.
        lowest, highest: Natural bounds of the statistic; an interval never crosses them.
    """

    numerators: Array
    denominators: Array
    complement: bool = False
    lowest: float = -np.inf
    highest: float = np.inf


class Resamples:
    """Draws of patients with replacement; those of few patients are kept, since all rows of a leaderboard share them.

    Args:
        number: How many.
        seed: Draws them.
    """

    def __init__(self, number: int, seed: int) -> None:
        self.number = number
        self.seed = seed
        self._kept: dict[int, tuple[Array, ...]] = {}

    def counts(self, size: int) -> Iterable[Array]:
        """How often each of ``size`` patients is drawn, in chunks of (resamples, size)."""
        if size * self.number > _CHUNK_CELLS:
            return self._drawn(size)
        if size not in self._kept:
            self._kept[size] = tuple(self._drawn(size))
        return self._kept[size]

    def _drawn(self, size: int) -> Iterator[Array]:
        rng = np.random.default_rng(self.seed)
        chunk = max(1, _CHUNK_CELLS // size)
        for start in range(0, self.number, chunk):
            rows = min(chunk, self.number - start)
            drawn = rng.integers(0, size, (rows, size)) + np.arange(rows)[:, None] * size
            yield np.bincount(drawn.ravel(), minlength=rows * size).reshape(rows, size).astype(np.float64)


def bootstrap_intervals(
    statistics: Mapping[str, MeanOfRatios], patients: Sequence[str], resamples: Resamples
) -> dict[str, tuple[float, float]]:
    """95 % intervals by a studentized bootstrap over patients (Efron 1981; Hall 1988).

    Per resample of patients the statistic's distance from the observed one is taken in units of its own standard error
    (linearized, from sums over patients). That error is not let below a quarter of the observed one: in a resample
    of ten patients that happens to be nearly constant it means nothing, and would stretch the interval over the whole
    scale.

    Measured coverage (1,500 cohorts each, patients with 1 to 3 queries; ten populations: skewed and ceiling-bound
    precisions, average precision, nDCG, errors in mm, R² from 0.1 to 0.9), lowest to highest over the populations:

    ========  ============  ============  ================
    patients  percentile    BCa           this one
    ========  ============  ============  ================
    64        91.6 to 95.1  92.6 to 95.5  93.9 to 96.1
    20        88.5 to 93.0  89.5 to 93.9  91.9 to 96.9
    10        83.1 to 91.5  85.1 to 92.5  91.3 to 97.9
    ========  ============  ============  ================

    The truth here is that of more query patients with the same gallery. Chance is another truth: over shuffled labels
    (64 patients, embeddings of 3 to 60 effective dimensions), it lay within the interval of p_at_5, map and
    ndcg_at_10 in 77 to 98 of 100, since a shuffled gallery misleads all queries alike.

    ``tests/evaluation/test_intervals.py`` holds this one to it on fewer cohorts and populations. Queries that all have
    one value leave nothing to resample: their interval has no width.

    Args:
        statistics: What to bound, over the same n queries.
        patients: (n,) patient of each query.
        resamples: The same ones for all statistics.

    Returns:
        Lower and upper bound by name. A statistic with fewer than two patients in it has none, and is left out.
    """
    intervals: dict[str, tuple[float, float]] = {}
    prepared = {name: _by_patient(statistic, patients) for name, statistic in statistics.items()}
    for size in sorted({len(sums) for sums, _ in prepared.values() if len(sums) >= 2}):
        group = {name: sums for name, (sums, _) in prepared.items() if len(sums) == size}
        drawn: dict[str, list[Array]] = {name: [] for name in group}
        for counts in resamples.counts(size):
            for name, sums in group.items():
                drawn[name].append(_studentized(sums, prepared[name][1], counts))
        for name, sums in group.items():
            statistic = statistics[name]
            ratio, error = (float(value[0]) for value in _ratio_and_error(sums, prepared[name][1], np.ones((1, size))))
            t = np.concatenate(drawn[name])
            low_t, high_t = np.quantile(t[np.isfinite(t)], [0.025, 0.975])
            low, high = ratio - max(high_t, 0.0) * error, ratio - min(low_t, 0.0) * error
            if statistic.complement:
                low, high = 1.0 - high, 1.0 - low
            intervals[name] = (
                float(np.clip(low, statistic.lowest, statistic.highest)),
                float(np.clip(high, statistic.lowest, statistic.highest)),
            )
    return {name: intervals[name] for name in statistics if name in intervals}


def difference_interval(
    first: tuple[float, float, float], second: tuple[float, float, float]
) -> tuple[float, float, float]:
    """First minus second, two figures from different patients, with its 95 % interval.

    The interval is recovered from the two figures' own, skewed or not (MOVER; Zou and Donner 2008).

    Args:
        first: Value, lower and upper bound.
        second: The same.

    Returns:
        Value, lower and upper bound of the difference.
    """
    (a, a_low, a_high), (b, b_low, b_high) = first, second
    return a - b, a - b - float(np.hypot(a - a_low, b_high - b)), a - b + float(np.hypot(a_high - a, b - b_low))


def tied_with_best(
    values: Array, patients: Sequence[str], *, flips: int = 2000, seed: int = 0, level: float = 0.05
) -> npt.NDArray[np.bool_]:
    """Mark the runs that cannot be told from the one with the highest mean.

    Under the null hypothesis that two runs are equally good, the difference of a patient's sums has either sign with
    equal chance. Signs are flipped by patient, for all runs at once, and every pair of runs is compared by the sum of
    differences over the root of their sum of squares (which no flip changes, so the statistic is studentized at no
    cost). A pair differs if its statistic exceeds the 95 % quantile of the largest over all pairs; the pairs found are
    set aside and the rest judged again by their own maximum, until none is added (Westfall and Young 1993, step-down;
    Romano and Wolf 2005). All pairs, because the best is chosen by the same data.

    Measured on leaderboards of equally good runs of independent queries, precision at 5 or skewed squared errors, 64 or
    250 patients: any is marked as worse in 3.7 to 5.7 % of 300 leaderboards of 10 runs, and 3.3 to 4.7 % of 100 runs.
    Power, the share of 9 (99) lesser runs told from one whose precision is higher by 0.14: 0.41 (0.06) at 64
    patients, 1.00 (0.88) at 250; by 0.20: 0.78 (0.39) at 64. ``tests/evaluation/test_tied_with_best.py`` holds it to the
    errors, and to the power at 10 runs, on fewer leaderboards.

    Args:
        values: (runs, queries), finite; higher is better.
        patients: (queries,) patient of each query.
        flips: Number of random sign vectors.
        seed: Draws them.
        level: Chance of marking any run as worse in a leaderboard of equals.

    Returns:
        (runs,) True for the best and for those that may be as good.
    """
    runs = len(values)
    if runs == 0 or values.shape[1] == 0:
        return np.ones(runs, dtype=bool)
    if not np.isfinite(values).all():
        raise NeuroprintError("runs can be compared over queries with a value in every run only: leave the others out")
    # Subtracting the mean run changes no difference, and keeps small differences of large values from rounding away.
    sums = _sum_by_patient((values - values.mean(axis=0)).T, _codes(patients)).T  # (runs, patients)
    rng = np.random.default_rng(seed)
    signs = np.where(rng.random((flips, sums.shape[1])) < 0.5, -1.0, 1.0)
    flipped = np.concatenate([sums.sum(axis=1)[None], signs @ sums.T])  # (1 + flips, runs), the observed one first
    spread = _pair_spread(sums)
    observed = np.abs(flipped[0][:, None] - flipped[0]) / spread
    different = np.zeros((runs, runs), dtype=bool)
    while True:
        largest = _largest_of_pairs(flipped, spread, ~different)
        place = int(np.ceil((1.0 - level) * (flips + 1))) - 1
        threshold = np.partition(largest, place)[place]
        found = (observed > threshold * (1.0 + 1e-9)) & ~different
        if not found.any():
            break
        different |= found
    tied: npt.NDArray[np.bool_] = ~different[int(np.argmax(flipped[0]))]
    return tied


def _codes(patients: Sequence[str]) -> npt.NDArray[np.int64]:
    """Number patients by the order of their ids, so that the order of the queries moves no random draw."""
    number = {patient: place for place, patient in enumerate(sorted(set(patients)))}
    return np.array([number[patient] for patient in patients], dtype=np.int64)


def _sum_by_patient(values: Array, codes: npt.NDArray[np.int64]) -> Array:
    """(n, columns) -> (patients, columns)."""
    sums = np.zeros((int(codes.max(initial=-1)) + 1, values.shape[1]))
    np.add.at(sums, codes, values)
    return sums


def _by_patient(statistic: MeanOfRatios, patients: Sequence[str]) -> tuple[Array, int]:
    """(patients, 2 j) sums of numerators and denominators, of patients who have a part in the statistic; and j."""
    both = np.concatenate([statistic.numerators, statistic.denominators], axis=1)
    ratios = statistic.numerators.shape[1]
    sums = _sum_by_patient(both, _codes(patients))
    return sums[(sums[:, ratios:] > 0).any(axis=1)], ratios


def _ratio_and_error(sums: Array, ratios: int, counts: Array) -> tuple[Array, Array]:
    """(resamples,) mean of ratios and its standard error by linearization; NaN where a denominator is 0.

    The error needs, per resample, the sum over patients of c * influence^2. Influence is linear in a patient's sums, so the
    sums of their products, which are few, are resampled in its place. Taken about the observed ratios they lose no digits.
    """
    patients = len(sums)
    about = sums[:, :ratios].sum(axis=0) / np.maximum(sums[:, ratios:].sum(axis=0), np.finfo(np.float64).tiny)
    sums = np.concatenate([sums[:, :ratios] - about * sums[:, ratios:], sums[:, ratios:]], axis=1)
    left, right = np.triu_indices(2 * ratios)
    totals = counts @ sums
    products = counts @ (sums[:, left] * sums[:, right])
    off, denominator = totals[:, :ratios], totals[:, ratios:]
    with np.errstate(divide="ignore", invalid="ignore"):
        beside = off / denominator  # the ratios, less the observed ones
        weights = np.concatenate([1.0 / denominator, -beside / denominator], axis=1) / ratios
        twice = np.where(left == right, 1.0, 2.0)
        variance = (products * weights[:, left] * weights[:, right] * twice).sum(axis=1) * patients / (patients - 1)
        return (about + beside).mean(axis=1), np.sqrt(np.maximum(variance, 0.0))


def _studentized(sums: Array, ratios: int, counts: Array) -> Array:
    observed, observed_error = _ratio_and_error(sums, ratios, np.ones((1, len(sums))))
    ratio, error = _ratio_and_error(sums, ratios, counts)
    if observed_error[0] <= 1e-12 * max(1.0, abs(observed[0])):
        return np.zeros(len(counts))
    return (ratio - observed) / np.maximum(error, _SMALLEST_RELATIVE_ERROR * observed_error)


def _pair_spread(sums: Array) -> Array:
    """(runs, runs) root of the sum over patients of squared differences; infinite for runs that never differ."""
    spread = np.empty((len(sums), len(sums)))
    for run, row in enumerate(sums):
        spread[run] = np.sqrt(np.square(sums - row).sum(axis=1))
    spread[spread <= 1e-12 * max(1.0, float(np.abs(sums).max()))] = np.inf
    return spread


def _largest_of_pairs(flipped: Array, spread: Array, among: npt.NDArray[np.bool_]) -> Array:
    """(1 + flips,) the largest pair statistic of each flip, over the pairs ``among`` all."""
    largest = np.zeros(len(flipped))
    for run in range(len(spread) - 1):
        others = run + 1 + np.flatnonzero(among[run, run + 1 :])
        if others.size:
            pairs = np.abs(flipped[:, others] - flipped[:, [run]]) / spread[run, others]
            np.maximum(largest, pairs.max(axis=1), out=largest)
    return largest

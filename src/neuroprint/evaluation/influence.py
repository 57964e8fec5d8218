"""How a metric hangs on each patient, who is query and gallery at once: what intervals and comparisons are made of.

The metric is a mean over queries, or a ratio of two. Written as v_q for query q, its value is T / N with T = sum of v_q. A
patient i is a query, and stands in the galleries of others. Without the patient, the queries of i are gone, and every
gallery that held i has one case less; the next one moves up. Let d_qi be what query q loses by that. The *effect* of i is

    e_i = (own part of i) + sum over q of d_qi,

less the mean, and the jackknife's variance is n / (n - 1) sum e_i^2 (Tukey 1958). It errs upwards (Efron and Stein 1981):
chance that belongs to a pair, such as which of two cases happens to look like which, counts once with i removed and once with
j. What a query's value owes to anybody is in its own part already, whole. So the pairs are taken off once:

    variance = n / (n - 1) sum_i e_i^2 - sum_(i < j) (d_ij + d_ji)^2,

which is free of bias for what depends on a query and on one other case, whatever it depends on beyond. Were folds not drawn:
two cases of one fold are in neither's gallery. Whether i and j are is one draw, with chance 1 - 1/K of being apart, on which
(d_ij + d_ji) hangs; the queries' own parts hold of its variance what belongs to each alone, and the pairs that were found
apart show the rest. So 1/K of the products 2 d_ij d_ji is put back:

    variance = n / (n - 1) sum_i e_i^2 - (1 - 1/K) sum_(i < j) (d_ij + d_ji)^2 - (1/K) sum_(i, j) d_ij^2.

Of two rows, the covariance has the same form, with products in place of squares. Both are conditional on what is fitted
once and not again: the projection, the penalty and the scale of the probe.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from neuroprint.evaluation.arrays import Array, Indices

MOST_GROUPS = 500
"""More patients than this are dealt into so many groups, which are left out together."""
SKETCH = 2048
"""Numbers that stand for all pairs of a metric, where rows are compared; of 64 patients they are the pairs themselves."""

_MARK = "neuroprint groups"


@dataclass(frozen=True, eq=False)
class Influence:
    """What a metric owes to each patient (or group of patients).

    Attributes:
        value: The metric.
        own: (groups,) what it owes to the group's queries: their sum is 0.
        effect: (groups,) what it owes to the group as query and as gallery.
        pairs: The sums over pairs, which are taken off.
        sketch: (SKETCH,) the pairs, with random signs summed into so many buckets (Charikar et al. 2002): the products of two
            rows' sketches sum up to an estimate of the same sums of products, which is exact where no two share a bucket.
        asked: How many groups have a query that counts.
        doubt: Standard error of what the galleries and the pairs add to the variance of the queries alone.
    """

    value: float
    own: Array
    effect: Array
    pairs: float
    sketch: Array
    asked: int
    doubt: float

    @property
    def variance(self) -> float:
        """Of the metric over cohorts.

        Galleries cannot make less of the variance of the queries alone. So what they add is taken as the mean of what is
        not negative, given what was found and how far that may be off.
        """
        added, _ = not_negative(self._added, self.doubt)
        return self.alone + added

    @property
    def degrees(self) -> float:
        """Of freedom, which the variance has: twice its square over its own variance (Satterthwaite 1946)."""
        most = max(self.asked - 1.0, 1.0)
        added, error = not_negative(self._added, self.doubt)
        squares = self.asked / most * np.square(self.own)
        spread = variance_of_sum(squares, self.asked) + error**2
        return min(max(2.0 * (self.alone + added) ** 2 / spread, 1.0), most) if spread > 0.0 else most

    @property
    def alone(self) -> float:
        """The variance of the queries alone, as if galleries were given."""
        return self.asked / max(self.asked - 1, 1) * float(np.square(self.own).sum())

    @property
    def centered(self) -> Array:
        """(groups,) effects less their mean; who neither asks nor answers, as a hold-out does, has no part in it."""
        return _centered(self.own, self.effect)

    @property
    def _added(self) -> float:
        effects = np.square(self.centered).sum()
        return self.asked / max(self.asked - 1, 1) * float(effects) - self.pairs - self.alone

    def times(self, factor: float) -> Influence:
        """Of the metric times a number: -1 where less is better."""
        return Influence(
            self.value * factor,
            self.own * factor,
            self.effect * factor,
            self.pairs * factor**2,
            self.sketch * factor,
            self.asked,
            self.doubt * factor**2,
        )

    def minus(self, other: Influence) -> Influence:
        """Of the difference to the metric of another row, over the same groups.

        Its pairs are those of the sketches, and of their doubt nothing is known.
        """
        sketch = self.sketch - other.sketch
        return Influence(
            self.value - other.value,
            self.own - other.own,
            self.effect - other.effect,
            float(np.square(sketch).sum()),
            sketch,
            min(self.asked, other.asked),
            0.0,
        )


@dataclass(frozen=True, eq=False)
class Groups:
    """Patients one by one; or dealt into groups, in an order that is a fixed function of their ids.

    Attributes:
        of_case: (n,) the group of each case.
        count: Number of groups.
    """

    of_case: Indices
    count: int

    @classmethod
    def of(cls, patients: Sequence[str], most: int = MOST_GROUPS) -> Groups:
        """Groups of the cases whose patients these are."""
        from neuroprint.evaluation.folds import uniform

        distinct = sorted(set(patients), key=lambda patient: (uniform(f"{_MARK}\0{patient}"), patient))
        group = {patient: place % most for place, patient in enumerate(distinct)}
        return cls(np.array([group[patient] for patient in patients], dtype=np.int64), min(len(distinct), most))

    def among(self, chosen: npt.NDArray[np.bool_]) -> Groups:
        """Of some of the cases; the groups stay."""
        return Groups(self.of_case[chosen], self.count)

    def summed(self, values: Array, cases: Indices) -> Array:
        """(k, ...) values of cases -> (groups, ...) sums."""
        sums = np.zeros((self.count, *values.shape[1:]))
        np.add.at(sums, self.of_case[cases], values)
        return sums


def influence(value: float, own: Array, lost: Array, asked: int, folds: int | None = None) -> Influence:
    """Put an influence together.

    Args:
        value: The metric.
        own: (groups,) what it owes to each group's queries.
        lost: (groups, groups) what the queries of one owe to the other in their galleries.
        asked: How many groups have a query that counts.
        folds: Of how many folds a query's gallery is all but its own; None where galleries were not drawn so.
    """
    together = 0.0 if folds is None else 1.0 / folds
    alone = np.square(lost)
    np.fill_diagonal(alone, 0.0)
    shared = lost + lost.T
    np.fill_diagonal(shared, 0.0)
    both = np.square(shared)
    effect = own + lost.sum(axis=0)
    factor = asked / max(asked - 1, 1)
    # What each group adds to the variance of the queries alone; a pair is taken off its two groups, half each.
    taken = (1.0 - together) * both.sum(axis=1) + together * (alone.sum(axis=0) + alone.sum(axis=1))
    added = factor * (np.square(_centered(own, effect)) - np.square(own)) - taken / 2.0
    upper = shared[np.triu_indices(len(own), k=1)]
    sketch = np.sqrt(1.0 - together) * _sketch(upper, 0)
    if together:
        sketch = sketch + np.sqrt(together) * _sketch(lost[~np.eye(len(own), dtype=bool)], 1)
    return Influence(
        value=value,
        own=own,
        effect=effect,
        pairs=float(taken.sum()) / 2.0,
        sketch=sketch,
        asked=asked,
        doubt=float(np.sqrt(variance_of_sum(added, asked))),
    )


def _centered(own: Array, effect: Array) -> Array:
    """As :attr:`Influence.centered`."""
    there = (own != 0.0) | (effect != 0.0)
    return np.where(there, effect - effect[there].mean(), 0.0) if there.any() else effect


def _sketch(values: Array, seed: int) -> Array:
    """(SKETCH,) sums of the values with random signs, the same for every row of a leaderboard."""
    signs = np.where(np.random.default_rng(seed).random(len(values)) < 0.5, -1.0, 1.0)
    return np.asarray(np.bincount(np.arange(len(values)) % SKETCH, values * signs, minlength=SKETCH), dtype=np.float64)


def variance_of_sum(parts: Array, asked: int) -> float:
    """Variance of a sum over groups, of which so many have a part in it.

    >>> variance_of_sum(np.array([1.0, 3.0]), 2)
    4.0
    """
    most = max(asked - 1, 1)
    return max(0.0, asked / most * (float(np.square(parts).sum()) - float(parts.sum()) ** 2 / max(asked, 1)))


def not_negative(found: float, error: float) -> tuple[float, float]:
    """Mean and standard deviation of the positive part of a normal quantity.

    >>> not_negative(-1.0, 0.0)
    (0.0, 0.0)
    """
    if error <= 0.0:
        return max(found, 0.0), 0.0
    from scipy.special import ndtr

    z = found / error
    density, below = float(np.exp(-(z**2) / 2.0) / np.sqrt(2.0 * np.pi)), float(ndtr(z))
    mean = found * below + error * density
    square = (found**2 + error**2) * below + found * error * density
    return mean, float(np.sqrt(max(square - mean**2, 0.0)))

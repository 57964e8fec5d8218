"""Comparing rows of one leaderboard: which cannot be told from the best, and which differ from one of them.

Both rest on the joint distribution of the rows' errors: Student's, with the covariance that
:mod:`neuroprint.evaluation.influence` derives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from neuroprint.evaluation.arrays import Array, Flags
from neuroprint.evaluation.influence import Influence, not_negative, variance_of_sum

_LEVEL = 0.05
_ASIDE = 0.005  # of that, what setting rows aside may cost
_DRAWS = 10_000
_FEW_DRAWS = 2_000
_LEFT_OUT = 10  # parts of the patients, one of which is left out to see how far a width is chance


@dataclass(frozen=True, eq=False)
class Comparison:
    """Rows against the best of the candidates.

    Attributes:
        best: Place of the best candidate.
        width: Half the width of every difference to it: a row is told from the best if it lies further behind.
        behind: (rows,) how far each lies behind the best; negative of a reference row that lies before it.
    """

    best: int
    width: float
    behind: Array

    @property
    def out(self) -> Flags:
        """(rows,) which are told from the best."""
        return np.asarray(self.behind > self.width, dtype=bool)


def with_the_best(
    rows: Sequence[Influence],
    candidates: Flags,
    chance: float = -np.inf,
    ideal: float | None = None,
    covariance: Array | None = None,
) -> Comparison:
    """Hsu's comparison with the best (1984), one-sided, with one half-width for the whole leaderboard.

    For every row i there is a width w_i that the lead of any candidate over it, true leads taken off, exceeds in 5 % of
    cohorts. Whatever candidate is truly best is out in at most 5 % if the width is at least its own. The width of the
    leaderboard is the largest w_i, but what is chance in it: the w_i are estimates, and the largest of many estimates is
    too large. They are drawn to their mean by the share of their variance that is chance (James and Stein 1961), as
    leaving out a tenth of the patients shows.

    One wild row must not widen all. A candidate that is no better than chance and varies more than all that are better is
    set aside first. Then so is what is told from the best by its own w_i, at 0.5 %, until no more is: each time the w_i are
    those among the rows that are left. These share the remaining 4.5 %.

    Where a metric has an ideal that nothing exceeds, such as an R² of 1 or an error of 0, rows are compared by the
    logarithm of how far they lie from it, which a few wild predictions move less.

    Args:
        rows: Of one metric, of which more is better, over the same patients; in an order that does not depend on chance.
        candidates: (rows,) which of them can be the best; the others are reference rows.
        chance: What chance scores.
        ideal: The value that no row exceeds; None where there is none, or where values cannot fall without bound either.
        covariance: (rows, rows) that of the rows' errors where it is known, as in a simulation: with an ideal, of minus the
            logarithms of how far they lie from it. By default it is estimated.
    """
    values = np.array([row.value for row in rows])
    best = int(np.flatnonzero(candidates)[np.argmax(values[candidates])])
    behind = values[best] - values
    if ideal is not None and values[best] < ideal:
        short = ideal - values[best]
        rest = values < ideal
        logarithms = [_short_of(row, ideal) for row, one in zip(rows, rest, strict=True) if one]
        below = -np.log(ideal - chance) if chance < ideal else np.inf
        known = None if covariance is None else covariance[np.ix_(rest, rest)]
        return Comparison(best, short * float(np.expm1(_width(logarithms, candidates[rest], below, known))), behind)
    return Comparison(best, _width(rows, candidates, chance, covariance), behind)


def _short_of(row: Influence, ideal: float) -> Influence:
    """Of minus the logarithm of how far a row lies from the ideal: log1p is what leaving a patient out changes there."""
    short = ideal - row.value
    linear = row.times(1.0 / short)
    there = (row.own != 0.0) | (row.effect != 0.0)

    def left_out(parts: Array) -> Array:
        # A patient may hold nearly all of the error: what is left without is taken to be a patient's part at least.
        moved = np.log1p(np.maximum(parts, 1.0 / row.asked - 1.0))
        return np.where(there, moved - moved.mean(where=there), 0.0) if there.any() else parts

    return replace(linear, value=-float(np.log(short)), own=left_out(linear.own), effect=left_out(linear.effect))


def _width(rows: Sequence[Influence], candidates: Flags, chance: float, covariance: Array | None) -> float:
    """The half-width of the leaderboard."""
    values = np.array([row.value for row in rows])
    errors = _Errors(rows, candidates, covariance)
    deviations = np.sqrt(errors.variances)
    above = candidates & (values > chance)
    inside = ~candidates | above | (deviations <= deviations[above].max(initial=0.0)) | ~above.any()
    behind = np.abs(values[candidates].max() - values)
    # The candidate next to the best stays, unless it is a copy; or the reference row. A width is that of a difference.
    others = inside & (behind > 1e-10 * np.abs(values).max())
    others = others & candidates if (others & candidates).any() else others
    nearest = others & (behind == np.where(others, behind, np.inf).min())
    while True:
        far = np.zeros(len(rows), dtype=bool)
        far[inside] = behind[inside] > errors.among(inside).widths(_ASIDE)
        far[nearest] = False
        if not far.any():
            return errors.among(inside).width(_LEVEL - _ASIDE)
        inside &= ~far


def with_one(rows: Sequence[Influence], other: Influence, level: float = _LEVEL) -> tuple[Array, Array]:
    """Differences to one row, simultaneous over all rows (Dunnett 1955).

    Args:
        rows: Of one metric.
        other: The row that they are compared with, such as ``voxels``.
        level: Chance that any of the intervals misses.

    Returns:
        (rows,) differences, and half the widths of their intervals; 0 for a row that does not differ from it anywhere.
    """
    differences = [row.minus(other) for row in rows]
    variances = np.array([difference.variance for difference in differences])
    # Of equal rows only rounding is left: so much less than the rows vary themselves is nothing.
    varies = variances > 1e-12 * (np.array([row.variance for row in rows]) + other.variance)
    deviations = np.sqrt(np.where(varies, variances, 0.0))
    if not varies.any():
        return np.array([difference.value for difference in differences]), deviations
    errors = _Errors([one for one, keep in zip(differences, varies, strict=True) if keep], varies[varies])
    drawn = np.abs(errors.drawn()) / deviations[varies, None]
    quantile = float(np.quantile(drawn.max(axis=0), 1.0 - level))
    return np.array([difference.value for difference in differences]), quantile * deviations


class _Errors:
    """The errors of rows, jointly: how they go together is how they do in the queries, at the variances with galleries.

    A covariance of queries is one of data. What galleries add to it is the small difference of two large estimates, and as
    a matrix has negative eigenvalues, without which its variances are too large. So galleries have a say in every row's
    variance and in the mean variance of differences, and in nothing else.

    Args:
        rows: Of one metric.
        leading: (rows,) whose leads over the others matter.
        known: (rows, rows) their covariance, where it need not be estimated.
    """

    def __init__(self, rows: Sequence[Influence], leading: Flags, known: Array | None = None) -> None:
        self._rows, self._leading, self._known = list(rows), np.asarray(leading, dtype=bool), known
        self._degrees = max(1, min(row.asked for row in rows) - 1)
        self._own = np.stack([row.own for row in rows])
        self.variances = np.array([row.variance for row in rows]) if known is None else np.diagonal(known)

    def among(self, chosen: Flags) -> _Errors:
        """Of some of the rows."""
        known = None if self._known is None else self._known[np.ix_(chosen, chosen)]
        return _Errors(
            [row for row, keep in zip(self._rows, chosen, strict=True) if keep], self._leading[chosen], known
        )

    def drawn(self) -> Array:
        """(rows, draws) errors."""
        return _draw(self._covariance(self._every), self._degrees, _DRAWS)

    def widths(self, level: float) -> Array:
        """(rows,) what the largest lead over each exceeds with this chance."""
        return self._widths(self._every, level, _DRAWS)

    def width(self, level: float) -> float:
        """The largest of :meth:`widths`, but what is chance in it."""
        found, groups = self.widths(level), len(self._every)
        if self._known is not None or len(found) < 2 or groups < 2 * _LEFT_OUT:
            return float(found.max())
        part = np.arange(groups) % _LEFT_OUT
        others = np.stack([self._widths(part != left, level, _FEW_DRAWS) for left in range(_LEFT_OUT)])
        moved = others - others.mean(axis=1, keepdims=True)
        chance = np.square(moved - moved.mean(axis=0)).sum(axis=0).mean() * (_LEFT_OUT - 1) / _LEFT_OUT
        real = max(0.0, 1.0 - chance / max(float(found.var(ddof=1)), np.finfo(np.float64).tiny))
        return float(found.mean() + real * (found.max() - found.mean()))

    @property
    def _every(self) -> Flags:
        """(groups,) all of them."""
        return np.ones(self._own.shape[1], dtype=bool)

    def _covariance(self, groups: Flags) -> Array:
        """(rows, rows) as some of the groups show it, each row at its variance."""
        if self._known is not None:
            return self._known
        squares = np.square(self._own).sum(axis=1)
        shown = squares > 0.0
        parts = (
            self._own[:, groups]
            * np.sqrt(np.where(shown, self.variances / np.where(shown, squares, 1.0), 0.0))[:, None]
        )
        covariance = parts @ parts.T * (len(groups) / groups.sum())
        return np.asarray(covariance + np.diag(np.where(shown, 0.0, self.variances)), dtype=np.float64)

    def _widths(self, groups: Flags, level: float, draws: int) -> Array:
        errors = _draw(self._covariance(groups), self._degrees, draws)
        leads = (errors[self._leading].max(axis=0) - errors) * np.sqrt(self._of_differences)
        return np.asarray(np.quantile(leads, 1.0 - level, axis=1), dtype=np.float64)

    @cached_property
    def _of_differences(self) -> float:
        """The mean variance of differences between rows, over the one that the covariance has."""
        covariance = self._covariance(self._every)
        here = float(np.trace(covariance) - covariance.sum() / len(covariance))
        if self._known is not None or here <= 0.0:
            return 1.0
        effects, sketches = np.stack([row.centered for row in self._rows]), np.stack([row.sketch for row in self._rows])
        groups = min(row.asked for row in self._rows)
        factor = groups / max(groups - 1, 1)
        own, effects, sketches = (values - values.mean(axis=0) for values in (self._own, effects, sketches))
        alone = factor * np.square(own).sum(axis=0)
        each = factor * np.square(effects).sum(axis=0) - alone
        added, _ = not_negative(
            float(each.sum() - np.square(sketches).sum()), float(np.sqrt(variance_of_sum(each, groups)))
        )
        return float((alone.sum() + added) / here)


def _draw(covariance: Array, degrees: int, draws: int) -> Array:
    """(rows, draws) of Student's distribution; what is negative of a covariance by rounding is nothing."""
    rng = np.random.default_rng(0)
    size, vectors = np.linalg.eigh(covariance)
    normal = rng.standard_normal((len(covariance), draws))
    wide = np.sqrt(degrees / rng.chisquare(degrees, draws))
    return np.asarray((vectors * np.sqrt(np.maximum(size, 0.0))) @ normal * wide, dtype=np.float64)

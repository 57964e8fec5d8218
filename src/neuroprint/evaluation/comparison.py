"""Comparing rows of one leaderboard: which cannot be told from the best, and which differ from one of them.

Both rest on the joint distribution of the rows' errors: Student's, with the covariance that
:mod:`neuroprint.evaluation.influence` derives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from neuroprint.evaluation.arrays import Array, Flags
from neuroprint.evaluation.influence import Influence

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
    logarithm of how far they lie from it: there, the row with a few wild predictions has a large error and no large variance.

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
    """Of minus the logarithm of how far a row lies from the ideal."""
    short = ideal - row.value
    return replace(row.times(1.0 / short), value=-float(np.log(short)))


def _width(rows: Sequence[Influence], candidates: Flags, chance: float, covariance: Array | None) -> float:
    """The half-width of the leaderboard."""
    values = np.array([row.value for row in rows])
    errors = _Errors(rows, candidates, covariance)
    deviations = np.sqrt(np.maximum(np.diagonal(errors.covariance), 0.0))
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
    errors = _Errors([*rows, other], np.ones(len(rows) + 1, dtype=bool))
    to_other = np.concatenate([np.eye(len(rows)), -np.ones((len(rows), 1))], axis=1)
    covariance = to_other @ errors.covariance @ to_other.T
    # As of one row, the variance is never less than that of the queries alone.
    queries = errors.factor * np.square([row.own - other.own for row in rows]).sum(axis=1)
    variances = np.maximum(np.diagonal(covariance), queries)
    # Of equal rows only rounding is left: so much less than the rows vary themselves is nothing.
    alone = np.maximum(np.diagonal(errors.covariance), 0.0)
    varies = variances > 1e-12 * (alone[:-1] + alone[-1])
    deviations = np.sqrt(np.where(varies, variances, 0.0))
    standard = np.where(varies, deviations, 1.0)
    correlation = covariance / np.outer(standard, standard)
    np.fill_diagonal(correlation, varies.astype(np.float64))
    drawn = _draw(correlation, errors.degrees, _DRAWS)[varies]
    quantile = float(np.quantile(np.abs(drawn).max(axis=0), 1.0 - level)) if varies.any() else 0.0
    return np.array([row.value - other.value for row in rows]), quantile * deviations


class _Errors:
    """The errors of rows, jointly.

    Args:
        rows: Of one metric.
        leading: (rows,) whose leads over the others matter.
        known: (rows, rows) their covariance, where it need not be estimated.
    """

    def __init__(self, rows: Sequence[Influence], leading: Flags, known: Array | None = None) -> None:
        self._rows, self._leading = list(rows), np.asarray(leading, dtype=bool)
        self._effects = np.stack([row.effect - row.effect.mean() for row in rows])
        self._sketches = np.stack([row.sketch for row in rows])
        self.degrees = max(1, min(row.asked for row in rows) - 1)
        self.factor = self._effects.shape[1] / max(self._effects.shape[1] - 1, 1)
        self._known = known

    @property
    def covariance(self) -> Array:
        """(rows, rows)."""
        if self._known is not None:
            return self._known
        return self._covariance(np.ones(self._effects.shape[1], dtype=bool))

    def among(self, chosen: Flags) -> _Errors:
        """Of some of the rows."""
        known = None if self._known is None else self._known[np.ix_(chosen, chosen)]
        return _Errors(
            [row for row, keep in zip(self._rows, chosen, strict=True) if keep], self._leading[chosen], known
        )

    def widths(self, level: float) -> Array:
        """(rows,) what the largest lead over each exceeds with this chance."""
        return self._widths(self.covariance, level, _DRAWS)

    def width(self, level: float) -> float:
        """The largest of :meth:`widths`, but what is chance in it; never less than by the queries alone."""
        return max(self._width(level), float(self._widths(self._alone, level, _FEW_DRAWS).mean()))

    @property
    def _alone(self) -> Array:
        """(rows, rows) the covariance of what rows owe to queries."""
        own = np.stack([row.own for row in self._rows])
        return np.asarray(self.factor * (own @ own.T), dtype=np.float64)

    def _width(self, level: float) -> float:
        found = self.widths(level)
        groups = self._effects.shape[1]
        if self._known is not None or len(found) < 2 or groups < 2 * _LEFT_OUT:
            return float(found.max())
        part = np.arange(groups) % _LEFT_OUT
        others = np.stack(
            [self._widths(self._covariance(part != left), level, _FEW_DRAWS) for left in range(_LEFT_OUT)]
        )
        moved = others - others.mean(axis=1, keepdims=True)
        chance = np.square(moved - moved.mean(axis=0)).sum(axis=0).mean() * (_LEFT_OUT - 1) / _LEFT_OUT
        real = max(0.0, 1.0 - chance / max(float(found.var(ddof=1)), np.finfo(np.float64).tiny))
        return float(found.mean() + real * (found.max() - found.mean()))

    def _covariance(self, groups: Flags) -> Array:
        effects, n = self._effects[:, groups], self._effects.shape[1]
        pairs = self._sketches @ self._sketches.T
        return np.asarray(n / groups.sum() * self.factor * (effects @ effects.T) - pairs, dtype=np.float64)

    def _widths(self, covariance: Array, level: float, draws: int) -> Array:
        errors = _draw(covariance, self.degrees, draws)
        leads = errors[self._leading].max(axis=0) - errors
        return np.asarray(np.quantile(leads, 1.0 - level, axis=1), dtype=np.float64)


def _draw(covariance: Array, degrees: int, draws: int) -> Array:
    """(rows, draws) of Student's distribution; what is negative of an estimated covariance is none."""
    rng = np.random.default_rng(0)
    size, vectors = np.linalg.eigh(covariance)
    normal = rng.standard_normal((len(covariance), draws))
    wide = np.sqrt(degrees / rng.chisquare(degrees, draws))
    return np.asarray((vectors * np.sqrt(np.maximum(size, 0.0))) @ normal * wide, dtype=np.float64)

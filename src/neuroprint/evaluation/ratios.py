"""A figure of queries as a mean of ratios of sums."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from neuroprint.evaluation.arrays import Array


@dataclass(frozen=True, eq=False)
class MeanOfRatios:
    """The mean over j of sum_i numerators[i, j] / sum_i denominators[i, j], or 1 minus that.

    A mean over queries has one ratio (value over one); R² of three axes has three (squared error over squared error of
    the mean predictor), complemented.

    Attributes:
        numerators: (n, j).
        denominators: (n, j), at least 0; a query with all 0 has no part in the figure.
        complement: Whether the figure is 1 minus the mean of ratios.

    Example:
        >>> MeanOfRatios(np.array([[1.0], [2.0]]), np.array([[1.0], [1.0]])).value
        1.5
    """

    numerators: Array
    denominators: Array
    complement: bool = False

    @property
    def ratios(self) -> Array:
        """(j,) NaN where a denominator is 0."""
        below = self.denominators.sum(axis=0)
        return np.where(below > 0, self.numerators.sum(axis=0) / np.where(below > 0, below, 1.0), np.nan)

    @property
    def value(self) -> float:
        """The figure; NaN where a denominator is 0, or there is none."""
        mean = float(self.ratios.mean()) if self.denominators.shape[1] else np.nan
        return 1.0 - mean if self.complement else mean

    def parts(self, other: MeanOfRatios) -> Array:
        """(n,) what each query adds to the figure beyond what it adds to ``other``, by ``self``'s ratios; (k, n) of k others.

        Of a figure beside one of nothing, that is what the query's being there does to it, to first order.
        """
        below = self.denominators.sum(axis=0)
        more = self.numerators - other.numerators - self.ratios * (self.denominators - other.denominators)
        parts = (more / np.where(below > 0, below, np.nan)).mean(axis=-1)
        return np.asarray(-parts if self.complement else parts, dtype=np.float64)

"""The 95 % interval of a metric: how far it would move with other patients, as queries and in galleries."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from neuroprint.evaluation.influence import Influence

LEVEL = 0.95


def interval(
    influence: Influence, lowest: float | None, highest: float | None, anchors: Sequence[float]
) -> tuple[float, float]:
    """Lower and upper bound of the metric's expectation over cohorts of this size.

    A quantity between two bounds has Wilson's interval (1927) at the effective number of patients, as in surveys (Franco
    et al. 2019): that number at which a mean of yes and no would have this variance. One with one bound has a normal
    interval on the logarithmic scale, as seen from the bound, unless it lies within reach. The quantile is Student's, with
    the degrees of freedom that the variance has (Satterthwaite 1946).

    Patients who all happen to agree must not claim that nothing could move. So to the variance of a quantity between two
    bounds two patients are added, one that scores as chance and one as the ideal (Agresti and Coull 1998 add two of each to
    a proportion). That of another, of which patients hardly agree by accident, is at least that of these two.

    Args:
        influence: Of the metric.
        lowest, highest: Its natural bounds; None where it has none.
        anchors: What chance and the ideal score; those that are not known are left out, or NaN.

    Returns:
        Both bounds; NaN where fewer than two patients have a part in the metric.

    Example:
        >>> from neuroprint.evaluation.influence import influence
        >>> own = np.array([0.1, -0.1, 0.05, -0.05])
        >>> low, high = interval(influence(0.5, own, np.zeros((4, 4)), asked=4), 0.0, 1.0, anchors=[0.1, 1.0])
        >>> bool(0 < low < 0.5 < high < 1)
        True
    """
    value, n = influence.value, influence.asked
    if n < 2 or not np.isfinite(value):
        return np.nan, np.nan
    two = sum((value - anchor) ** 2 for anchor in anchors if np.isfinite(anchor)) / n**2
    variance, t = influence.variance, student(influence.degrees)
    if lowest is not None and highest is not None:
        span = highest - lowest
        low, high = _wilson((value - lowest) / span, (variance + two) / span**2, t)
        return lowest + span * low, lowest + span * high
    reach = t * float(np.sqrt(max(variance, two)))
    for bound, side in ((lowest, 1.0), (highest, -1.0)):
        if bound is not None and reach < (beyond := side * (value - bound)):
            factor = float(np.exp(reach / beyond))
            low, high = sorted((bound + side * beyond / factor, bound + side * beyond * factor))
            return low, high
    low, high = value - reach, value + reach
    return low if lowest is None else max(low, lowest), high if highest is None else min(high, highest)


def student(degrees: float, level: float = LEVEL) -> float:
    """The two-sided quantile of Student's distribution."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, 0.5 + level / 2.0))


def _wilson(share: float, variance: float, t: float) -> tuple[float, float]:
    spread = share * (1.0 - share)
    if spread <= 0.0 or variance <= 0.0:
        reach = t * float(np.sqrt(variance))
        return max(share - reach, 0.0), min(share + reach, 1.0)
    squared = t**2 * variance / spread  # t^2 over the effective number of patients
    middle = (share + squared / 2.0) / (1.0 + squared)
    reach = float(np.sqrt(squared * spread + squared**2 / 4.0)) / (1.0 + squared)
    return middle - reach, middle + reach

"""Metrics of the probe for survival: predicted risk against how long patients lived, some of whom still live."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from neuroprint.evaluation.arrays import Array
from neuroprint.evaluation.metric import Predictions, ProbeMetric

TARGETS = ("event", "time")
"""What the probe predicts, in this order: whether the patient died (1, else 0), and the time until death or last contact."""


def concordance(time: Array, event: npt.NDArray[np.bool_], risk: Array) -> float:
    """Probability that of two patients the one who died first had the higher risk (Harrell et al. 1982), equal risks half.

    A pair counts if it is known who died first: the shorter time is a death. A death comes before a patient who still lived
    at the same time. Two deaths at the same time have no order, and do not count.

    Args:
        time: (n,) until death or last contact.
        event: (n,) whether the patient died.
        risk: (n,) higher for those who are expected to die earlier.

    Returns:
        From 0 to 1; NaN where no pair counts.

    Example:
        >>> concordance(np.array([1.0, 2.0, 3.0]), np.array([True, True, False]), np.array([0.9, 0.5, 0.1]))
        1.0
    """
    from lifelines.utils import concordance_index

    try:
        return float(concordance_index(time, -risk, event))
    except ZeroDivisionError:  # no pair counts
        return float("nan")


def risks(found: Predictions) -> Array:
    """(n,) deaths less expected deaths, as predicted; NaN where not known.

    The probe predicts whether a patient dies, d, and the time, t. At the rate of death of the query's own gallery, r =
    deaths / time, r t deaths are expected in that time. The risk is d - r t. This is the martingale residual of an
    exponential model without covariates (Therneau et al. 1990), as a probe predicts it that is linear in its targets. Both
    targets are those of the case alone and the rate is the gallery's, so no query has a part in what is fitted.
    """
    (deaths, time), (mean_deaths, mean_time) = found.predicted.T, found.baseline.T
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(mean_deaths * (deaths / mean_deaths - time / mean_time), dtype=np.float64)


def _concordance(found: Predictions) -> float:
    risk = risks(found)
    known = found.known & np.isfinite(risk)
    return concordance(found.true[known, 1], found.true[known, 0] > 0.5, risk[known])


SURVIVAL_METRICS: tuple[ProbeMetric, ...] = (
    ProbeMetric(
        "probe/concordance",
        "concordance of predicted risk and survival",
        headline=True,
        shown=True,
        lowest=0.0,
        highest=1.0,
        value=_concordance,
        chance=lambda found: 0.5,
    ),
)
"""Of the targets :data:`TARGETS`."""

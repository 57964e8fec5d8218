"""What a fingerprint bears: is the patient's own clean scan found by a changed one, and how much precision is kept?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from neuroprint.evaluation.arrays import Array, Flags, Indices
from neuroprint.evaluation.influence import Influence
from neuroprint.evaluation.intervals import student
from neuroprint.evaluation.metric import Metric

KEPT_OF = "retrieval/p_at_5"
"""The metric of which ``robustness/p_at_5_kept`` is the share that is kept."""


@dataclass(frozen=True)
class SelfMetric(Metric):
    """A mean over changed queries of what the rank of their own clean scan is worth, when it is added to the gallery.

    The clean scan is projected as the gallery is, but nothing is fitted to it, and no other scan of its patient is there.

    Attributes:
        of_rank: From ranks, 1 for the nearest, to what they are worth. Of equally near cases the own scan comes last.

    Example:
        >>> reciprocal = SELF_METRICS[1]
        >>> reciprocal.of_rank(np.array([1, 2, 4])).tolist()
        [1.0, 0.5, 0.25]
        >>> reciprocal.by_chance(3)  # the mean of 1, 1/2, 1/3 and 1/4
        0.5208333333333333
    """

    of_rank: Callable[[Indices], Array] = field(kw_only=True)
    lowest: float | None = 0.0
    highest: float | None = 1.0

    def by_chance(self, gallery: int) -> float:
        """The mean over all places among a gallery of this size."""
        return float(self.of_rank(np.arange(1, gallery + 2)).mean())

    def worth(self, ahead: Flags) -> tuple[Array, Array]:
        """What queries are worth, (m,), and would be without each case of the gallery, (m, n).

        Args:
            ahead: (m, n) whether the case is as near to the query as its own scan, or nearer.
        """
        rank = 1 + ahead.sum(axis=1)
        return self.of_rank(rank), self.of_rank(rank[:, None] - ahead)


SELF_METRICS: tuple[SelfMetric, ...] = (
    SelfMetric(
        "robustness/self_p_at_1",
        "own clean scan is the nearest",
        headline=True,
        shown=True,
        of_rank=lambda rank: np.asarray(rank == 1, dtype=np.float64),
    ),
    SelfMetric(
        "robustness/self_mrr",
        "reciprocal rank of the own clean scan",
        headline=True,
        of_rank=lambda rank: np.asarray(1.0 / rank, dtype=np.float64),
    ),
)

KEPT = Metric("robustness/p_at_5_kept", "share of the precision at 5 that is kept", headline=True, shown=True)
"""(changed - chance) / (clean - chance); above 1 where changed queries find more."""


def share_kept(changed: Influence, clean: Influence, chance: Influence) -> Influence | None:
    """The share of what is better than chance that changed queries keep, and what it owes to whom.

    A ratio's influence is, to first order, (that of what is above - ratio x that of what is below) / what is below.

    Args:
        changed, clean, chance: The same metric of changed queries, of clean ones, and of chance.

    Returns:
        None where clean queries are not told from chance (one-sided, 95 %): then there is nothing to keep.
    """
    above, below = changed.minus(chance), clean.minus(chance)
    spread = float(np.sqrt(below.variance))
    if not below.value > student(below.degrees, 0.9) * spread or below.value <= 0:
        return None
    share = above.value / below.value
    return replace(above.minus(below.times(share)).times(1.0 / below.value), value=share)

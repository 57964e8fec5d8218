"""A metric as one record, which every table, leaderboard, card and figure reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from neuroprint.evaluation.arrays import Array
from neuroprint.evaluation.ranked import Judged, Ranked

if TYPE_CHECKING:
    from neuroprint.evaluation.statistics import MeanOfRatios


SHARE = "_share"
"""Ending of the share of the way from chance to the task's ideal ranking."""


@dataclass(frozen=True)
class Metric:
    """What people are told of a metric.

    Attributes:
        name: As it is logged, family first: ``retrieval/p_at_5``.
        label: In words, for tables and figures: ``precision at 5``.
        lower_is_better: Whether small values win.
        unit: Of its values, such as ``mm``; empty where they have none.
        headline: Whether it carries a 95 % interval.
        shown: Whether it stands in every printed leaderboard.
        in_queries: Whether the table of queries has a column of its name, by which runs are compared.
    """

    name: str
    label: str
    lower_is_better: bool = False
    unit: str = ""
    headline: bool = False
    shown: bool = False
    in_queries: bool = True

    @property
    def column(self) -> str:
        """Its column in the table of queries: the name without the family."""
        return self.name.rpartition("/")[2]

    @property
    def title(self) -> str:
        """In words with the unit and the name that it is logged by, as on an axis."""
        unit = f" ({self.unit})" if self.unit else ""
        return f"{self.label}{unit}  [{self.name}]"

    @property
    def direction(self) -> str:
        """Which way is better, in words."""
        return "lower is better" if self.lower_is_better else "higher is better"

    @property
    def decimals(self) -> int:
        """Digits after the point that a table prints."""
        return 1 if self.unit else 2

    def record(self) -> dict[str, Any]:
        """What of it is kept beside a run's numbers, JSON-able."""
        return {part.name: getattr(self, part.name) for part in fields(Metric)}

    def share(self) -> Metric:
        """The metric that is its share of the way from chance to the ideal."""
        label = f"{self.label}, share of the way from chance to the ideal"
        return Metric(f"{self.name}{SHARE}", label, in_queries=False)


@dataclass(frozen=True)
class RetrievalMetric(Metric):
    """A mean over queries of what a query's ranking is worth.

    A metric of your own is one such record; a task takes it in ``extra_metrics``, and every table and figure knows it.

    Attributes:
        of_query: (queries,) from the ranked gallery; NaN where it is not defined.
        expected: (queries,) the same under a random ranking, from the gallery as it is.
        credit: (queries, gallery) each rank's part in the query's value: parts sum to it, or to 0 where it is not defined. In
            a comparison a case counts for what it earns as an answer too.
        has_share: Whether its share of the way from chance to the ideal is given.
        lowest, highest: Natural bounds of a value.
        needs: Quantities of pairs that it looks at; a task that lacks one does not have the metric.

    Example:
        >>> hit = RetrievalMetric(
        ...     "retrieval/hit_at_5", "a hit among the first 5",
        ...     of_query=lambda ranked: ranked.relevant[:, :5].any(axis=1).astype(float),
        ...     expected=lambda judged: np.full(len(judged.count), np.nan),
        ...     credit=lambda ranked: (ranked.hits == 1) & ranked.relevant & (ranked.place <= 5),
        ... )
        >>> float(hit.of_query(Ranked(np.array([[False, True, False]]), np.zeros((1, 3))))[0])
        1.0
    """

    of_query: Callable[[Ranked], Array] = field(kw_only=True)
    expected: Callable[[Judged], Array] = field(kw_only=True)
    credit: Callable[[Ranked], npt.NDArray[Any]] = field(kw_only=True)
    has_share: bool = False
    lowest: float = 0.0
    highest: float = 1.0
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class ProbeMetric(Metric):
    """A figure of the probe's out-of-fold predictions.

    Attributes:
        value: From all predictions; NaN where it is not defined.
        ratios: The same as a statistic that can be resampled by patient; for a headline metric.
        of_query: (n,) contributions of the queries, of whose mean the metric is an affine function; for a metric by which
            runs are compared.
        chance: Its value for a probe that knows nothing, where that of the mean predictor is not it: the mean of a gallery
            leans away from its queries, which pooled over folds would look like inverse skill.
    """

    value: Callable[[Predictions], float] = field(kw_only=True)
    ratios: Callable[[Predictions], MeanOfRatios] | None = None
    of_query: Callable[[Predictions], Array] | None = None
    chance: Callable[[Predictions], float] | None = None


@dataclass(frozen=True, eq=False)
class Predictions:
    """What the probe said of every query, out of fold.

    Attributes:
        predicted: (n, targets), NaN without a probe.
        true: (n, targets), NaN where not known.
        baseline: (n, targets) the mean of the query's gallery.
        columns: Further columns of the cases by name, (n,) each.
    """

    predicted: Array
    true: Array
    baseline: Array
    columns: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)

    @cached_property
    def known(self) -> npt.NDArray[np.bool_]:
        """(n,) where both prediction and truth are known."""
        return known(self.predicted) & known(self.true)

    @cached_property
    def squared_errors(self) -> Array:
        """(n, targets), 0 where not known."""
        return np.where(self.known[:, None], np.square(self.predicted - self.true), 0.0)

    @cached_property
    def squared_baseline_errors(self) -> Array:
        """(n, targets) of the mean predictor, 0 where not known."""
        return np.where(self.known[:, None], np.square(self.baseline - self.true), 0.0)


def known(values: Array) -> npt.NDArray[np.bool_]:
    """(n, d) -> (n,) which rows are known throughout: what is not known is NaN."""
    return np.asarray(np.isfinite(values).all(axis=1), dtype=bool)


def with_shares(metrics: Sequence[Metric]) -> list[Metric]:
    """The metrics, each followed by its share where it has one."""
    found: list[Metric] = []
    for metric in metrics:
        found.append(metric)
        if isinstance(metric, RetrievalMetric) and metric.has_share:
            found.append(metric.share())
    return found

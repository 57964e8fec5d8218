"""A metric as one record, which every table, leaderboard, card and figure reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from neuroprint.errors import NeuroprintError
from neuroprint.evaluation.arrays import Array, Indices
from neuroprint.evaluation.ranked import Judged, Ranked

if TYPE_CHECKING:
    import pandas as pd

    from neuroprint.evaluation.ratios import MeanOfRatios


SHARE = "_share"
"""Ending of the share of the way from chance to the task's ideal ranking."""
P_VALUE = "_p"
"""Ending of the p-value against chance."""


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
        compared: Whether rows can be told apart by it: not by a median, whose jackknife is wrong.
        lowest, highest: Natural bounds of its values; None where there is none.
        confound: Whether it says how well a confound is told, which is better the less it is.
    """

    name: str
    label: str
    lower_is_better: bool = False
    unit: str = ""
    headline: bool = False
    shown: bool = False
    compared: bool = True
    lowest: float | None = None
    highest: float | None = None
    confound: bool = False

    @property
    def ideal(self) -> float | None:
        """The bound that the best value could reach, where it is the only one."""
        bound, other = (self.lowest, self.highest) if self.lower_is_better else (self.highest, self.lowest)
        return bound if other is None else None

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

    @property
    def tells_by_less(self) -> bool:
        """Whether a small value means that much is told: of an error, whether or not it is one of a confound."""
        return self.lower_is_better != self.confound

    def of_confound(self) -> Self:
        """The metric of a confound, whose direction is turned: the less is told, the better.

        Example:
            >>> Metric("probe/auc", "AUC of the classes").of_confound().direction
            'lower is better'
        """
        return replace(self, lower_is_better=not self.lower_is_better, confound=True)

    def record(self) -> dict[str, Any]:
        """What of it is kept beside a run's numbers, JSON-able."""
        return {part.name: getattr(self, part.name) for part in fields(Metric)}

    def share(self) -> Metric:
        """The metric that is its share of the way from chance to the ideal."""
        label = f"{self.label}, share of the way from chance to the ideal"
        confound = self.confound
        return Metric(f"{self.name}{SHARE}", label, lower_is_better=confound, compared=self.compared, confound=confound)


@dataclass(frozen=True)
class RetrievalMetric(Metric):
    """A mean over queries of what a query's ranking is worth.

    A metric of your own is one such record; a task takes it in ``extra_metrics``, and every table and figure knows it.

    Attributes:
        of_query: (queries,) from the ranked gallery; NaN where it is not defined.
        expected: (queries,) the same under a random ranking, from the gallery as it is.
        without: (queries, gallery) what each query is worth once the case at each rank is gone and the next one moves up;
            NaN where the query then has no value. It is what intervals and comparisons are made of. None deletes the
            cases one by one, which is slow: galleries of a thousand take seconds.
        has_share: Whether its share of the way from chance to the ideal is given.
        depth: How many of the first cases it looks at, and at nothing but whether they are relevant; None for anything
            else. Its p-value is quick then.
        needs: Quantities of pairs that it looks at; a task that lacks one does not have the metric.

    Example:
        >>> hit = RetrievalMetric(
        ...     "retrieval/hit_at_5", "a hit among the first 5",
        ...     of_query=lambda ranked: ranked.relevant[:, :5].any(axis=1).astype(float),
        ...     expected=lambda judged: np.full(len(judged.count), np.nan),
        ... )
        >>> float(hit.of_query(Ranked(np.array([[False, True, False]]), np.zeros((1, 3))))[0])
        1.0
    """

    of_query: Callable[[Ranked], Array] = field(kw_only=True)
    expected: Callable[[Judged], Array] = field(kw_only=True)
    without: Callable[[Ranked], Array] | None = None
    has_share: bool = False
    depth: int | None = None
    lowest: float | None = 0.0
    highest: float | None = 1.0
    needs: tuple[str, ...] = ()

    def worth(self, ranked: Ranked) -> Array:
        """(queries,) what each query is worth.

        Raises:
            NeuroprintError: The metric fails, or gives something else.
        """
        return self._checked("of_query", lambda: self.of_query(ranked), (len(ranked.relevant),))

    def by_chance(self, judged: Judged) -> Array:
        """(queries,) what each is worth under a random ranking.

        Raises:
            NeuroprintError: The metric fails, or gives something else.
        """
        return self._checked("expected", lambda: self.expected(judged), (len(judged.relevant),))

    def worth_without(self, ranked: Ranked) -> Array:
        """(queries, gallery) what each query is worth without the case at each rank.

        Raises:
            NeuroprintError: The metric fails, or gives something else.
        """
        without, shape = self.without, ranked.relevant.shape
        if without is not None:
            return self._checked("without", lambda: without(ranked), shape)
        if shape[1] == 1:
            return np.full(shape, np.nan)
        return np.stack([self.worth(ranked.without(place)) for place in range(shape[1])], axis=1)

    def _checked(self, part: str, call: Callable[[], Array], shape: tuple[int, ...]) -> Array:
        """What a function of the metric's gives, which may be somebody's own."""
        try:
            found = np.asarray(call(), dtype=np.float64)
        except Exception as error:
            raise NeuroprintError(f"metric {self.name}: its {part} failed: {type(error).__name__}: {error}") from error
        if found.shape != shape:
            what = "a value per query" if len(shape) == 1 else "a value per query and case of the gallery"
            raise NeuroprintError(f"metric {self.name}: its {part} gives shape {found.shape}, expected {shape}: {what}")
        return found


@dataclass(frozen=True)
class ProbeMetric(Metric):
    """A figure of the probe's out-of-fold predictions.

    Attributes:
        value: From all predictions; NaN where it is not defined. By default that of ``ratios``.
        ratios: The same as a mean of ratios of sums over the queries, from which its interval is narrower: of a metric that
            is only a value, patients are left out one by one, and nothing is known of pairs.
        chance: Its value for a probe that knows nothing, where that of the mean predictor is not it: the mean of a gallery
            leans away from its queries, which pooled over folds would look like inverse skill.
    """

    value: Callable[[Predictions], float] | None = None
    ratios: Callable[[Predictions], MeanOfRatios] | None = None
    chance: Callable[[Predictions], float] | None = None

    def of(self, found: Predictions) -> float:
        """Its value; NaN where it is not defined.

        Raises:
            NeuroprintError: The metric fails, or gives no number.
        """
        value, ratios = self.value, self.ratios
        try:
            if value is not None:
                return float(value(found))
            if ratios is not None:
                return ratios(found).value
        except Exception as error:
            raise NeuroprintError(f"metric {self.name} failed: {type(error).__name__}: {error}") from error
        raise NeuroprintError(f"metric {self.name}: a metric of the probe needs value or ratios")


@dataclass(frozen=True, eq=False)
class Predictions:
    """What the probe said of every query, out of fold.

    Attributes:
        predicted: (n, targets), NaN without a probe.
        true: (n, targets), NaN where not known.
        baseline: (n, targets) the mean of the query's gallery.
        columns: Further columns of the cases by name, (n,) each.
        fold: (n,) of the query; None: all are of one.
        moved: (groups, n, targets) what each prediction changes by if a group of patients leaves the gallery; and
        moved_baseline: the same of the baseline. Empty where nobody asked.
    """

    predicted: Array
    true: Array
    baseline: Array
    columns: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    fold: Indices | None = None
    moved: Array = field(default_factory=lambda: np.zeros((0, 0, 0)))
    moved_baseline: Array = field(default_factory=lambda: np.zeros((0, 0, 0)))

    @classmethod
    def of_queries(cls, queries: pd.DataFrame, targets: Sequence[str]) -> Predictions:
        """Those of an evaluation's table of queries.

        >>> import pandas as pd
        >>> table = pd.DataFrame({"predicted_x": [1.0], "true_x": [2.0], "baseline_x": [0.5], "fold": [0]})
        >>> float(Predictions.of_queries(table, ["x"]).above_baseline[0, 0])
        0.5
        """
        predicted, true, baseline = (
            np.stack([queries[f"{kind}_{name}"].to_numpy(np.float64, na_value=np.nan) for name in targets], axis=1)
            for kind in ("predicted", "true", "baseline")
        )
        return cls(predicted, true, baseline, fold=queries["fold"].to_numpy())

    def without(self, group: int) -> Predictions:
        """What would have been said without a group in the galleries; its own queries are still there."""
        return Predictions(
            self.predicted + self.moved[group],
            self.true,
            self.baseline + self.moved_baseline[group],
            self.columns,
            self.fold,
        )

    def among(self, chosen: npt.NDArray[np.bool_]) -> Predictions:
        """Of some of the queries."""
        columns = {name: values[chosen] for name, values in self.columns.items()}
        parts = (self.predicted[chosen], self.true[chosen], self.baseline[chosen])
        return Predictions(*parts, columns, self.folds[chosen])

    @cached_property
    def folds(self) -> Indices:
        """(n,) of each query, from 0."""
        return np.zeros(len(self.true), dtype=np.int64) if self.fold is None else self.fold

    @cached_property
    def known(self) -> npt.NDArray[np.bool_]:
        """(n,) where both prediction and truth are known."""
        return known(self.predicted) & known(self.true)

    @cached_property
    def above_baseline(self) -> Array:
        """(n, targets) predicted less the mean of the query's own gallery: to be ranked among queries of several galleries.

        A query isn't in its gallery, so that this mean is the lower the higher the query's own value is. Rounded, so that
        predictions of that mean are equal.
        """
        return np.round(self.predicted - self.baseline, 10)

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

"""The benchmark: what all rows of one leaderboard share, done once, and the scoring of a row."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from neuroprint.errors import NeuroprintError
from neuroprint.evaluation.arrays import Array, Indices
from neuroprint.evaluation.evaluation import Evaluation
from neuroprint.evaluation.metric import (
    SHARE,
    Metric,
    Predictions,
    ProbeMetric,
    RetrievalMetric,
    known,
    with_shares,
)
from neuroprint.evaluation.probe import RidgeProbe
from neuroprint.evaluation.projection import clipped, fit, is_transductive, lay_out_together
from neuroprint.evaluation.ranked import Judged
from neuroprint.evaluation.ranking import rank
from neuroprint.evaluation.similarity import similarity_named
from neuroprint.evaluation.splits import Split, holdout_splits, sweep_splits
from neuroprint.evaluation.statistics import MeanOfRatios, Resamples, bootstrap_intervals

if TYPE_CHECKING:
    import pandas as pd

    from neuroprint.evaluation.question import Question

Columns = dict[str, Any]
Scored = tuple["pd.DataFrame", dict[str, float]]

NEIGHBORS = 50
"""Of a query so many nearest cases are kept."""
AS_ANSWER = "_as_answer"
"""Ending of the columns that hold what a case earned for others, as part of their galleries."""
KINDS = ("predicted", "true", "baseline")
"""Targets that a table of queries holds."""

_BLOCK_CELLS = 8_000_000
_LEAST_RESAMPLES = 100


@dataclass(frozen=True)
class Protocol:
    """The rules under which rows are comparable.

    Attributes:
        folds: Number of folds, by patient.
        seed: Of folds and bootstrap.
        resamples: Of the bootstrap behind an interval.
    """

    folds: int = 5
    seed: int = 0
    resamples: int = 10_000


class Benchmark:
    """Scores embeddings of the same cases under the same protocol.

    Every case is a query once and its gallery is the other folds; or, with ``held_out``, the hold-out's cases are
    queries to each of the sweep's galleries, and figures are means over them. Whatever is fitted sees the gallery side
    only.

    Args:
        question: The scored cases, and what is asked of them; with ``held_out``, the sweep's and the hold-out's together.
        protocol: The rules.
        held_out: (n,) the cases of the hold-out, to score them instead of the sweep.

    Attributes:
        splits: Gallery and queries of each fold.

    Raises:
        NeuroprintError: The protocol does not fit the cases: fewer patients than folds.
    """

    def __init__(
        self,
        question: Question,
        protocol: Protocol | None = None,
        *,
        held_out: npt.NDArray[np.bool_] | None = None,
    ) -> None:
        self.question = question
        self.protocol = protocol = protocol or Protocol()
        if protocol.resamples < _LEAST_RESAMPLES:
            raise NeuroprintError(
                f"resamples={protocol.resamples}: an interval needs {_LEAST_RESAMPLES} resamples at least"
            )
        self._resamples = Resamples(protocol.resamples, protocol.seed)
        if held_out is None:
            self.splits = sweep_splits(question.patients, protocol.folds, protocol.seed)
        else:
            self.splits = holdout_splits(question.patients, held_out, protocol.folds, protocol.seed)

    @property
    def chance(self) -> Evaluation:
        """The expected value of a random ranking, query by query, and the mean predictor."""
        return self._evaluation(*self._chance)

    @property
    def oracle(self) -> Evaluation | None:
        """The ideal ranking, and the true target as the embedding; None where the task has no ideal ranking."""
        return None if self._oracle is None else self._evaluation(*self._oracle)

    def score(
        self,
        embeddings: npt.NDArray[np.floating],
        similarity: str = "cosine",
        projection: Any | None = None,
        probe: Any | None = None,
    ) -> Evaluation:
        """Score one set of embeddings.

        Args:
            embeddings: (n, d), a row per case of the question.
            similarity: ``cosine``, ``dot`` or ``euclidean``.
            projection: Unfitted; a clone of it is fitted in every fold. Embeddings are used as they are by default.
            probe: Unfitted; a clone of it is fitted in every fold. A :class:`RidgeProbe` by default.

        Raises:
            NeuroprintError: A row per case is missing, or a value is not finite.
        """
        return self._evaluation(*self._scored(embeddings, similarity, projection, probe or RidgeProbe()))

    @cached_property
    def targets(self) -> Array:
        """(n, targets) true targets as embeddings; one that is not known is put at the mean of the known."""
        targets, located = self.question.targets, self.question.located
        mean = targets[located].mean(axis=0) if located.any() else np.zeros(targets.shape[1])
        return np.where(located[:, None], targets, mean)

    @cached_property
    def _chance(self) -> Scored:
        metrics = self._retrieval

        def ask(split: Split) -> Iterator[tuple[Columns, dict[str, Array]]]:
            for queries, judged in self._judged(split):
                shown = ("neighbors", *(f"neighbor_{name}" for name in ("similarity", "relevant", *judged.pairs)))
                columns: Columns = {name: [[] for _ in queries] for name in shown}
                columns |= {metric.column: _scored_only(metric.expected(judged), judged) for metric in metrics}
                earned = {
                    metric.column: np.full(judged.size, np.nansum(columns[metric.column]) / judged.size)
                    for metric in metrics
                }
                baseline = np.tile(self._baseline(split), (len(queries), 1))
                yield self._columns(split, queries, judged, columns, baseline), earned

        return self._summarized(ask, at_chance=True)

    @cached_property
    def _oracle(self) -> Scored | None:
        if self.question.ideal is None:
            return None
        return self._scored(self.targets, "euclidean", None, RidgeProbe(), by_ideal=True)

    @property
    def _retrieval(self) -> list[RetrievalMetric]:
        return [metric for metric in self.question.metrics if isinstance(metric, RetrievalMetric)]

    def _scored(
        self,
        embeddings: npt.NDArray[np.floating],
        similarity: str,
        projection: Any | None,
        probe: Any,
        by_ideal: bool = False,
    ) -> Scored:
        closeness = similarity_named(similarity)
        vectors = self._checked(embeddings)
        ideal = self.question.ideal if by_ideal else None
        if projection is not None:
            projection = clipped(projection, min(*(len(split.gallery) for split in self.splits), vectors.shape[1]))

        def ask(split: Split) -> Iterator[tuple[Columns, dict[str, Array]]]:
            gallery, asked = vectors[split.gallery], vectors[split.queries]
            own = projection
            if own is not None and is_transductive(own):
                (gallery, asked), own = lay_out_together(own, gallery, asked), None
            patients = [self.question.patients[case] for case in split.gallery]
            fitted = fit(gallery, self.question.targets[split.gallery], patients, own, probe, self.protocol.seed)
            gallery, asked = fitted.project(gallery), fitted.project(asked)
            if not (np.isfinite(gallery).all() and np.isfinite(asked).all()):
                raise NeuroprintError("the projection gives values that are not finite: choose fewer components")
            predicted = fitted.predict(asked, self.question.targets.shape[1])
            ids = [self.question.ids[case] for case in split.gallery]
            place = {case: row for row, case in enumerate(split.queries.tolist())}
            for queries, judged in self._judged(split):
                rows = [place[case] for case in queries.tolist()]
                close = closeness(asked[rows], gallery) if ideal is None else ideal(queries, split.gallery)
                columns, earned = self._answer(judged, close, ids)
                yield self._columns(split, queries, judged, columns, predicted[rows]), earned

        return self._summarized(ask)

    def _answer(self, judged: Judged, close: Array, ids: Sequence[str]) -> tuple[Columns, dict[str, Array]]:
        """Rank the gallery for each query, and score the ranking.

        Returns:
            Columns of the table, a value per query; and (gallery,) by metric, what each gallery case earned.
        """
        order = rank(close, ids)
        ranked = judged.ranked(order)
        nearest = order[:, :NEIGHBORS]
        columns: Columns = {
            "neighbors": [[ids[case] for case in row] for row in nearest],
            "neighbor_similarity": np.take_along_axis(close, nearest, axis=1).tolist(),
            "neighbor_relevant": ranked.relevant[:, :NEIGHBORS].tolist(),
            **{f"neighbor_{name}": values[:, :NEIGHBORS].tolist() for name, values in ranked.pairs.items()},
        }
        earned: dict[str, Array] = {}
        places = order.ravel()
        for metric in self._retrieval:
            columns[metric.column] = _scored_only(metric.of_query(ranked), judged)
            credit = np.asarray(metric.credit(ranked), dtype=np.float64).ravel()
            earned[metric.column] = np.asarray(np.bincount(places, credit, minlength=judged.size), dtype=np.float64)
        return columns, earned

    def _judged(self, split: Split) -> Iterator[tuple[Indices, Judged]]:
        """The split's queries in blocks that fit into memory, and what the gallery is worth to each."""
        size = max(1, _BLOCK_CELLS // max(1, len(split.gallery)))
        for start in range(0, len(split.queries), size):
            queries = split.queries[start : start + size]
            yield queries, self.question.judged(queries, split.gallery)

    def _columns(self, split: Split, queries: Indices, judged: Judged, columns: Columns, predicted: Array) -> Columns:
        true = self.question.targets[queries]
        values = {"predicted": predicted, "true": true, "baseline": np.broadcast_to(self._baseline(split), true.shape)}
        return {
            "place": queries,
            "case": [self.question.ids[case] for case in queries],
            "patient": [self.question.patients[case] for case in queries],
            "fold": np.full(len(queries), split.fold),
            "gallery": np.full(len(queries), judged.size),
            "relevant": judged.count,
            **columns,
            **{
                f"{kind}_{name}": values[kind][:, place]
                for kind in KINDS
                for place, name in enumerate(self.question.target_names)
            },
            **{name: found[queries] for name, found in self.question.columns.items()},
        }

    def _baseline(self, split: Split) -> Array:
        """(targets,) mean target of the gallery side, NaN if no case there has one."""
        targets = self.question.targets[split.gallery]
        placed = targets[known(targets)]
        return placed.mean(axis=0) if len(placed) else np.full(targets.shape[1], np.nan)

    def _summarized(
        self, ask: Callable[[Split], Iterator[tuple[Columns, dict[str, Array]]]], at_chance: bool = False
    ) -> Scored:
        """The table of queries, and the metrics with their intervals."""
        import pandas as pd

        parts: list[Columns] = []
        earned = {metric.column: np.zeros(len(self.question)) for metric in self._retrieval}
        for split in self.splits:
            for columns, credits in ask(split):
                parts.append(columns)
                for name, values in credits.items():
                    earned[name][split.gallery] += values
        asked = np.concatenate([part["place"] for part in parts])
        order = np.argsort(asked, kind="stable")  # cases are sorted by id
        table = pd.DataFrame(
            {name: _joined([part[name] for part in parts], order) for name in parts[0] if name != "place"}
        )
        found = self.predictions(table)
        for metric in self.question.metrics:
            if isinstance(metric, ProbeMetric) and metric.of_query is not None:
                table[metric.column] = metric.of_query(found)
        for name, values in earned.items():
            table[f"{name}{AS_ANSWER}"] = values[asked[order]]
        described = self.question.metrics if self.question.ideal is None else with_shares(self.question.metrics)
        table.attrs["metrics"] = [metric.record() for metric in described]
        metrics = {metric.name: _value(metric, table, found, at_chance) for metric in self.question.metrics}
        return table, metrics | self._intervals(table, found, metrics, at_chance)

    def predictions(self, table: pd.DataFrame) -> Predictions:
        """What a table of queries holds of the probe."""
        values = {
            kind: np.stack([_numbers(table, f"{kind}_{name}") for name in self.question.target_names], axis=1)
            for kind in KINDS
        }
        columns = {name: table[name].to_numpy() for name in self.question.columns}
        return Predictions(values["predicted"], values["true"], values["baseline"], columns)

    def _intervals(
        self, table: pd.DataFrame, found: Predictions, metrics: Mapping[str, float], at_chance: bool
    ) -> dict[str, float]:
        """Bounds of the headline metrics; what is chance by definition has none."""
        headline = [
            metric
            for metric in self.question.metrics
            if metric.headline and not (at_chance and isinstance(metric, ProbeMetric) and metric.chance is not None)
        ]
        statistics = {
            metric.name: _statistic(metric, table, found) for metric in headline if np.isfinite(metrics[metric.name])
        }
        intervals = bootstrap_intervals(statistics, list(table["patient"]), self._resamples)
        bounds: dict[str, float] = {}
        for metric in headline:
            low, high = intervals.get(metric.name, (np.nan, np.nan))
            value = metrics[metric.name]
            bounds |= {f"{metric.name}_lo": min(low, value), f"{metric.name}_hi": max(high, value)}  # to the last bit
        return bounds

    def _evaluation(self, table: pd.DataFrame, metrics: dict[str, float]) -> Evaluation:
        shares = {}
        if self._oracle is not None:
            for metric in self._retrieval:
                if metric.has_share:
                    name = metric.name
                    shares[f"{name}{SHARE}"] = share(metrics[name], self._chance[1][name], self._oracle[1][name])
        every = {**metrics, **shares}
        defined = {name: value for name, value in every.items() if np.isfinite(value)}
        undefined = tuple(name for name in every if name not in defined)
        answered = table["relevant"].to_numpy() > 0
        return Evaluation(
            defined,
            undefined,
            table,
            cases=int(table["case"].nunique()),
            answerable=int(table["case"][answered].nunique()),
            predicted=self.predictions(table).predicted,
        )

    def _checked(self, embeddings: npt.NDArray[np.floating]) -> Array:
        vectors = np.ascontiguousarray(embeddings, dtype=np.float64)
        n = len(self.question)
        if vectors.ndim != 2 or len(vectors) != n or not vectors.shape[1]:
            raise NeuroprintError(f"embeddings have shape {vectors.shape}, expected ({n}, dimensions): a row per case")
        bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
        if bad.size:
            raise NeuroprintError(f"the embedding of case {self.question.ids[bad[0]]} has values that are not finite")
        return vectors


def share(value: float, chance: float, ideal: float) -> float:
    """Share of the way from chance to the ideal; NaN where the ideal is no better than chance."""
    span = ideal - chance
    return (value - chance) / span if span > 1e-9 else np.nan


def _value(metric: Metric, table: pd.DataFrame, found: Predictions, at_chance: bool) -> float:
    if isinstance(metric, ProbeMetric):
        value = metric.value(found)
        return metric.chance(found) if at_chance and metric.chance is not None and np.isfinite(value) else value
    values = _numbers(table, metric.column)
    defined = np.isfinite(values)
    return float(values[defined].mean()) if defined.any() else np.nan


def _statistic(metric: Metric, table: pd.DataFrame, found: Predictions) -> MeanOfRatios:
    """A headline metric as what can be resampled by patient."""
    if isinstance(metric, ProbeMetric):
        if metric.ratios is None:
            raise NeuroprintError(f"{metric.name} is a headline metric: it needs ratios")
        return metric.ratios(found)
    values = _numbers(table, metric.column)
    defined = np.isfinite(values)
    parts = np.where(defined, values, 0.0)[:, None], defined[:, None].astype(np.float64)
    bounds = (metric.lowest, metric.highest) if isinstance(metric, RetrievalMetric) else (-np.inf, np.inf)
    return MeanOfRatios(*parts, lowest=bounds[0], highest=bounds[1])


def _scored_only(values: Array, judged: Judged) -> Array:
    """A query without a relevant case has no part in any metric."""
    return np.where(judged.count > 0, values, np.nan)


def _joined(parts: list[Any], order: npt.NDArray[np.int64]) -> Any:
    """A column of all folds, as an array or as a list, whichever its parts are."""
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)[order]
    whole = [value for part in parts for value in part]
    return [whole[place] for place in order]


def _numbers(table: pd.DataFrame, name: str) -> Array:
    return np.asarray(table[name].to_numpy(dtype=np.float64, na_value=np.nan), dtype=np.float64)

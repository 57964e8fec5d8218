"""The benchmark: what all rows of one leaderboard share, done once, and the scoring of a row."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from neuroprint.errors import NeuroprintError
from neuroprint.evaluation.arrays import Array, Indices
from neuroprint.evaluation.evaluation import Evaluation
from neuroprint.evaluation.influence import Groups, Influence
from neuroprint.evaluation.intervals import interval
from neuroprint.evaluation.metric import (
    P_VALUE,
    SHARE,
    Predictions,
    ProbeMetric,
    RetrievalMetric,
    known,
    with_shares,
)
from neuroprint.evaluation.permutation import Deals, PermutedScores, tested_of
from neuroprint.evaluation.probe import RidgeProbe
from neuroprint.evaluation.projection import clipped, fit, is_supervised, is_transductive, lay_out_together
from neuroprint.evaluation.ranked import Judged
from neuroprint.evaluation.ranking import rank
from neuroprint.evaluation.robustness import KEPT, KEPT_OF, SelfMetric, share_kept
from neuroprint.evaluation.similarity import similarity_named
from neuroprint.evaluation.splits import Split, holdout_splits, splits_across, sweep_splits
from neuroprint.evaluation.tally import Tally

if TYPE_CHECKING:
    import pandas as pd

    from neuroprint.evaluation.question import Question

Columns = dict[str, Any]

NEIGHBORS = 50
"""Of a query so many nearest cases are kept."""

_BLOCK_CELLS = 8_000_000


@dataclass(frozen=True)
class Protocol:
    """The rules under which rows are comparable.

    Attributes:
        folds: Number of folds, by patient.
        seed: Of the folds.
        permutations: Deals of the answers behind a p-value; 0 gives none. Rows are comparable whatever it is.
    """

    folds: int = 5
    seed: int = 0
    permutations: int = 0

    def agrees_with(self, other: Protocol) -> bool:
        """Whether rows of both are comparable."""
        return (self.folds, self.seed) == (other.folds, other.seed)


@dataclass(frozen=True, eq=False)
class _Scores:
    """A row, before it is told: its table of queries, what the probe said, and what every metric owes to whom."""

    table: pd.DataFrame
    found: Predictions
    metrics: dict[str, float]
    influences: dict[str, Influence]
    p_values: Mapping[str, float] = field(default_factory=dict)


class Benchmark:
    """Scores embeddings of the same cases under the same protocol.

    Every case is a query once and its gallery is the other folds, less what shares its value of ``question.across``. Or, with
    ``held_out``, the hold-out's cases are queries to each of the sweep's galleries, and figures are means over them. Whatever
    is fitted sees the gallery side only.

    Args:
        question: The scored cases, and what is asked of them; with ``held_out``, the sweep's and the hold-out's together.
        protocol: The rules.
        groups: Of the patients; by default each by itself.
        held_out: (n,) the cases of the hold-out, to score them instead of the sweep.

    Attributes:
        splits: Gallery and queries of each fold.

    Raises:
        NeuroprintError: The protocol does not fit the cases: fewer patients than folds, or galleries of fewer than two.
    """

    def __init__(
        self,
        question: Question,
        protocol: Protocol | None = None,
        *,
        groups: Groups | None = None,
        held_out: npt.NDArray[np.bool_] | None = None,
    ) -> None:
        self.question = question
        self.protocol = protocol = protocol or Protocol()
        self.groups = groups or Groups.of(question.patients)
        self._drawn = protocol.folds if held_out is None else None
        if held_out is None:
            self.splits = sweep_splits(question.patients, protocol.folds, protocol.seed)
        else:
            self.splits = holdout_splits(question.patients, held_out, protocol.folds, protocol.seed)
        if question.across is not None:
            self.splits = splits_across(self.splits, question.across, question.patients)

    @property
    def chance(self) -> Evaluation:
        """The expected value of a random ranking, query by query, and the mean predictor."""
        return self._evaluation(self._chance)

    @property
    def oracle(self) -> Evaluation | None:
        """The ideal ranking, and the true target as the embedding; None where the task has no ideal ranking."""
        return None if self._oracle is None else self._evaluation(self._oracle)

    def score(
        self,
        embeddings: npt.NDArray[np.floating],
        similarity: str = "cosine",
        projection: Any | None = None,
        probe: Any | None = None,
        changed: npt.NDArray[np.floating] | None = None,
    ) -> Evaluation:
        """Score one set of embeddings.

        Args:
            embeddings: (n, d), a row per case of the question.
            changed: (n, d) of the same cases' changed scans, which are what is asked with: galleries, and all that is fitted,
                are of ``embeddings``.
            similarity: ``cosine``, ``dot`` or ``euclidean``.
            projection: Unfitted; a clone of it is fitted in every fold. Embeddings are used as they are by default.
            probe: Unfitted; a clone of it is fitted in every fold. A :class:`RidgeProbe` by default.

        Raises:
            NeuroprintError: A row per case is missing, or a value is not finite.
        """
        model = probe or RidgeProbe()
        clean = self._scored(embeddings, similarity, projection, model)
        if changed is None:
            return self._evaluation(clean)
        scores = self._scored(embeddings, similarity, projection, model, changed=changed)
        if all(KEPT_OF in found.influences for found in (scores, clean, self._chance)):
            share = share_kept(*(found.influences[KEPT_OF] for found in (scores, clean, self._chance)))
            if share is not None:
                scores.metrics[KEPT.name], scores.influences[KEPT.name] = share.value, share
        return self._evaluation(scores)

    @cached_property
    def targets(self) -> Array:
        """(n, targets) true targets as embeddings; one that is not known is put at the mean of the known."""
        targets, located = self.question.targets, self.question.located
        mean = targets[located].mean(axis=0) if located.any() else np.zeros(targets.shape[1])
        return np.where(located[:, None], targets, mean)

    @cached_property
    def _deals(self) -> Deals | None:
        """How answers are dealt anew for p-values; None where nobody asks."""
        if not self.protocol.permutations:
            return None
        return Deals(self.question, tested_of(self.question), self.protocol.permutations, self.protocol.seed)

    @cached_property
    def _chance(self) -> _Scores:
        def ask(split: Split, tally: Tally, moved: list[Array]) -> Iterator[Columns]:
            moved.append(np.repeat(self._moved_baseline(split)[:, None], len(split.queries), axis=1))
            for queries, judged in self._judged(split):
                shown = ("neighbors", *(f"neighbor_{name}" for name in ("similarity", "relevant", *judged.pairs)))
                columns: Columns = {name: [[] for _ in queries] for name in shown}
                for metric in self._retrieval:
                    columns[metric.column] = _scored_only(metric.by_chance(judged), judged)
                    without = _expected_without(metric, judged)
                    tally.add(metric.name, queries, split.gallery, columns[metric.column], without)
                for own in self._of_self:
                    columns[own.column] = np.full(len(queries), own.by_chance(judged.size))
                baseline = np.tile(self._baseline(split), (len(queries), 1))
                yield self._columns(split, queries, judged, columns, baseline)

        return self._summarized(ask, at_chance=True)

    @cached_property
    def _oracle(self) -> _Scores | None:
        if self.question.ideal is None:
            return None
        return self._scored(self.targets, "euclidean", None, RidgeProbe(), by_ideal=True)

    @property
    def _of_self(self) -> list[SelfMetric]:
        return [metric for metric in self.question.metrics if isinstance(metric, SelfMetric)]

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
        changed: npt.NDArray[np.floating] | None = None,
    ) -> _Scores:
        closeness = similarity_named(similarity)
        vectors = self._checked(embeddings)
        asking = vectors if changed is None else self._checked(changed)
        ideal = self.question.ideal if by_ideal else None
        if projection is not None:
            projection = clipped(projection, min(*(len(split.gallery) for split in self.splits), vectors.shape[1]))
        # A supervised projection has seen answers: its rankings would not be those of other answers.
        supervised = projection is not None and is_supervised(projection)
        permuted = None if self._deals is None or supervised else PermutedScores(self._deals)

        def ask(split: Split, tally: Tally, moved: list[Array]) -> Iterator[Columns]:
            gallery, asked = vectors[split.gallery], asking[split.queries]
            clean: Array | None = None if changed is None else vectors[split.queries]
            own = projection
            if own is not None and is_transductive(own):
                clean = None  # it has no place in what was laid out without it
                (gallery, asked), own = lay_out_together(own, gallery, asked), None
            patients = [self.question.patients[case] for case in split.gallery]
            fitted = fit(gallery, self.question.targets[split.gallery], patients, own, probe, self.protocol.seed)
            gallery, asked = fitted.project(gallery), fitted.project(asked)
            clean = None if clean is None else fitted.project(clean)
            if not (np.isfinite(gallery).all() and np.isfinite(asked).all()):
                raise NeuroprintError("the projection gives values that are not finite: choose fewer components")
            targets, groups = self.question.targets.shape[1], self.groups.of_case[split.gallery]
            predicted = fitted.predict(asked, targets)
            moved.append(fitted.moved(asked, targets, groups, self.groups.count))
            if permuted is not None:
                permuted.add_probe(split, fitted, asked)
            ids = [self.question.ids[case] for case in split.gallery]
            place = {case: row for row, case in enumerate(split.queries.tolist())}
            for queries, judged in self._judged(split):
                rows = [place[case] for case in queries.tolist()]
                close = closeness(asked[rows], gallery) if ideal is None else ideal(queries, split.gallery)
                order = rank(close, ids)
                if permuted is not None:
                    permuted.add_ranking(queries, split.gallery[order])
                columns = self._answer(queries, split.gallery, judged, close, order, ids, tally)
                for metric in self._of_self:
                    columns[metric.column] = np.full(len(rows), np.nan)
                    if clean is not None:
                        own_scan = np.diagonal(closeness(asked[rows], clean[rows]))
                        columns[metric.column], without = metric.worth(close >= own_scan[:, None])
                        tally.add(metric.name, queries, split.gallery, columns[metric.column], without)
                yield self._columns(split, queries, judged, columns, predicted[rows])

        scores = self._summarized(ask)
        return scores if permuted is None else replace(scores, p_values=permuted.p_values(scores.metrics))

    def _answer(
        self,
        queries: Indices,
        gallery: Indices,
        judged: Judged,
        close: Array,
        order: Indices,
        ids: Sequence[str],
        tally: Tally,
    ) -> Columns:
        """Score the ranking of the gallery for each query: columns of the table, a value per query."""
        ranked = judged.ranked(order)
        nearest = order[:, :NEIGHBORS]
        columns: Columns = {
            "neighbors": [[ids[case] for case in row] for row in nearest],
            "neighbor_similarity": np.take_along_axis(close, nearest, axis=1).tolist(),
            "neighbor_relevant": ranked.relevant[:, :NEIGHBORS].tolist(),
            **{f"neighbor_{name}": values[:, :NEIGHBORS].tolist() for name, values in ranked.pairs.items()},
        }
        only = ranked.relevant & (judged.count == 1)[:, None]
        for metric in self._retrieval:
            columns[metric.column] = _scored_only(metric.worth(ranked), judged)
            without = np.where(only, np.nan, metric.worth_without(ranked))
            tally.add(metric.name, queries, gallery[order], columns[metric.column], without)
        return columns

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
                f"{kind}_{name}": of_kind[:, place]
                for kind, of_kind in values.items()
                for place, name in enumerate(self.question.target_names)
            },
            **{name: found[queries] for name, found in self.question.columns.items()},
        }

    def _baseline(self, split: Split) -> Array:
        """(targets,) mean target of the gallery side, NaN if no case there has one."""
        targets = self.question.targets[split.gallery]
        placed = targets[known(targets)]
        return placed.mean(axis=0) if len(placed) else np.full(targets.shape[1], np.nan)

    def _moved_baseline(self, split: Split) -> Array:
        """(groups, targets) what the mean target of the gallery side changes by without each group."""
        targets, groups = self.question.targets[split.gallery], self.groups.of_case[split.gallery]
        placed = known(targets)
        if not placed.any():
            return np.zeros((self.groups.count, targets.shape[1]))
        beyond = targets[placed] - targets[placed].mean(axis=0)
        sums = np.zeros((self.groups.count, targets.shape[1]))
        np.add.at(sums, groups[placed], beyond)
        left = placed.sum() - np.bincount(groups[placed], minlength=self.groups.count)
        return np.asarray(-sums / np.maximum(left, 1)[:, None], dtype=np.float64)

    def _summarized(
        self, ask: Callable[[Split, Tally, list[Array]], Iterator[Columns]], at_chance: bool = False
    ) -> _Scores:
        """The table of queries, the metrics, and what they owe to whom."""
        import pandas as pd

        tally, moved = Tally(self.groups, self._drawn), list[Array]()
        parts: list[Columns] = [columns for split in self.splits for columns in ask(split, tally, moved)]
        asked = np.concatenate([part["place"] for part in parts])
        order = np.argsort(asked, kind="stable")  # cases are sorted by id
        table = pd.DataFrame(
            {name: _joined([part[name] for part in parts], order) for name in parts[0] if name != "place"}
        )
        baselines = [np.repeat(self._moved_baseline(one)[:, None], len(one.queries), axis=1) for one in self.splits]
        found = replace(
            self.predictions(table),
            moved=np.concatenate(moved, axis=1)[:, order],
            moved_baseline=np.concatenate(baselines, axis=1)[:, order],
        )
        metrics: dict[str, float] = {}
        influences: dict[str, Influence] = {}
        places = asked[order]
        for metric in self.question.metrics:
            owed = None
            if isinstance(metric, RetrievalMetric | SelfMetric):
                metrics[metric.name], owed = tally.of_queries(metric.name, places, _numbers(table, metric.column))
            elif isinstance(metric, ProbeMetric):
                metrics[metric.name], owed = self._of_probe(metric, tally, places, found, at_chance)
            else:
                # Of two rankings, a clean one and a changed one: whoever has both puts it in. Chance keeps nothing.
                metrics[metric.name] = 0.0 if at_chance else np.nan
            if owed is not None:
                influences[metric.name] = owed
        described = self.question.metrics if self.question.ideal is None else with_shares(self.question.metrics)
        # Last: pandas copies these records, deeply, for every column that is taken from the table.
        table.attrs["metrics"] = [metric.record() for metric in described]
        return _Scores(table, found, metrics, influences)

    def _of_probe(
        self, metric: ProbeMetric, tally: Tally, places: Indices, found: Predictions, at_chance: bool
    ) -> tuple[float, Influence | None]:
        value = metric.of(found)
        if at_chance and metric.chance is not None and np.isfinite(value):
            return metric.chance(found), None
        if not (np.isfinite(value) and metric.compared):
            return value, None
        return value, tally.of_predictions(metric, places, found)

    def predictions(self, table: pd.DataFrame) -> Predictions:
        """What a table of queries holds of the probe."""
        columns = {name: table[name].to_numpy() for name in self.question.columns}
        return replace(Predictions.of_queries(table, self.question.target_names), columns=columns)

    def _evaluation(self, scores: _Scores) -> Evaluation:
        table, metrics = scores.table, dict(scores.metrics)
        known_rows = [row for row in (self._chance, self._oracle) if row is not None]
        for metric in self.question.metrics:
            name = metric.name
            if metric.headline:
                anchors = [row.metrics[name] for row in known_rows]
                owed = scores.influences.get(name)
                low, high = interval(owed, metric.lowest, metric.highest, anchors) if owed else (np.nan, np.nan)
                metrics |= {f"{name}_lo": low, f"{name}_hi": high}
            if isinstance(metric, RetrievalMetric) and metric.has_share and self._oracle is not None:
                chance, ideal = self._chance.metrics[name], self._oracle.metrics[name]
                metrics[f"{name}{SHARE}"] = share(metrics[name], chance, ideal)
        for tested in () if self._deals is None else self._deals.tested:
            metrics[f"{tested.name}{P_VALUE}"] = scores.p_values.get(tested.name, np.nan)
        defined = {name: value for name, value in metrics.items() if np.isfinite(value)}
        undefined = tuple(name for name in metrics if name not in defined)
        answered = table["relevant"].to_numpy() > 0
        return Evaluation(
            defined,
            undefined,
            table,
            cases=int(table["case"].nunique()),
            answerable=int(table["case"][answered].nunique()),
            predicted=scores.found.predicted,
            influences=scores.influences,
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


def _expected_without(metric: RetrievalMetric, judged: Judged) -> Array:
    """(queries, gallery) what a random ranking is worth without each case: it matters whether that was a relevant one."""
    worth = np.empty(judged.relevant.shape)
    for which in (True, False):
        chosen = judged.relevant == which
        column = chosen.argmax(axis=1)
        expected = metric.by_chance(judged.without(column)) if judged.size > 1 else np.full(len(worth), np.nan)
        worth = np.where(chosen, expected[:, None], worth)
    return np.where(judged.relevant & (judged.count == 1)[:, None], np.nan, worth)


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

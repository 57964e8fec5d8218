"""p-values against chance: how often permuted answers score as well as the true ones.

Embeddings, folds and rankings stay. The answers (targets, and with them which case is relevant to which) are dealt anew among
the patients. If embeddings know nothing of the answers, the true deal is one like any other. So with b of m deals as good as
the true one,

    p = (b + 1) / (m + 1)

is at most a with a probability of at most a (Ojala and Garriga 2010; Phipson and Smyth 2010). Whatever is fitted to the
answers is fitted again in every deal, which is quick where a probe's predictions are linear in what it is fitted to.

The cases of a patient move together. Patients change places with those who have as many cases, with a known answer where they
have one and of the same values of ``Question.across``: then galleries and fits are of the same size in every deal.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from neuroprint.evaluation.arrays import Array, Flags, Indices
from neuroprint.evaluation.metric import Metric, Predictions, ProbeMetric, RetrievalMetric
from neuroprint.evaluation.probe import PermutableProbe
from neuroprint.evaluation.ranked import Ranked

if TYPE_CHECKING:
    from neuroprint.evaluation.projection import Fitted
    from neuroprint.evaluation.question import Question
    from neuroprint.evaluation.splits import Split

_BLOCK_CELLS = 2_000_000
_TIE = 1e-9  # sums of the same numbers in another order


def deal(question: Question, count: int, seed: int) -> Indices:
    """(count, n) whose answer each case gets in each deal.

    Args:
        question: The cases.
        count: Number of deals.
        seed: Draws others.

    Example:
        >>> from neuroprint.evaluation.question import Question, equal_classes
        >>> judge, _ = equal_classes([0, 0, 1])
        >>> asked = Question(("a1", "a2", "b"), ("a", "a", "b"), np.zeros((3, 1)), ("x",), judge, ())
        >>> deal(asked, 1, 0).tolist()  # nobody else has two cases
        [[0, 1, 2]]
    """
    rng = np.random.default_rng(seed)
    found = np.tile(np.arange(len(question)), (count, 1))
    for places in _interchangeable(question):
        for dealt in found:
            dealt[places] = places[rng.permutation(len(places))]
    return found


def _interchangeable(question: Question) -> list[Indices]:
    """(patients, cases) places of the cases of patients who may change places, in an order by which cases correspond."""
    value = np.zeros(len(question), dtype=np.int64) if question.across is None else question.across
    answered = question.located
    cases: dict[int, list[int]] = {}
    for case, patient in enumerate(question.patient_numbers.tolist()):
        cases.setdefault(patient, []).append(case)
    alike: dict[tuple[tuple[int, bool], ...], list[list[int]]] = {}
    for own in cases.values():
        own.sort(key=lambda case: (value[case], answered[case], case))
        alike.setdefault(tuple((int(value[case]), bool(answered[case])) for case in own), []).append(own)
    return [np.array(places, dtype=np.int64) for places in alike.values()]


@dataclass(frozen=True, eq=False)
class Worth:
    """What every case is worth to every other, (n, n) each, rows being the queries."""

    relevant: Flags
    gain: Array | None
    pairs: Mapping[str, Array]

    @classmethod
    def of(cls, question: Question, metrics: Sequence[Metric]) -> Worth:
        """As far as metrics look at it; no gains and distances for those that count relevant cases only."""
        n = len(question)
        deep = [metric for metric in metrics if isinstance(metric, RetrievalMetric) and metric.depth is None]
        every, size = np.arange(n), max(1, _BLOCK_CELLS // max(1, n))
        blocks = [question.judged(every[start : start + size], every) for start in range(0, n, size)]
        names = sorted({name for metric in deep for name in metric.needs})
        return cls(
            np.concatenate([block.relevant for block in blocks]),
            np.concatenate([block.gain for block in blocks]) if deep else None,
            {name: np.concatenate([block.pairs[name] for block in blocks]) for name in names},
        )


class Deals:
    """The deals of a benchmark, which all of its rows share.

    Args:
        question: The cases.
        tested: The metrics that get a p-value.
        count: Number of deals.
        seed: Draws others.
    """

    def __init__(self, question: Question, tested: Sequence[Metric], count: int, seed: int) -> None:
        self.question = question
        self.tested = tuple(tested)
        self.dealt = deal(question, count, seed)
        self.worth = Worth.of(question, tested)
        self._relevant = self.worth.relevant.astype(np.float32)  # to be counted by a product of matrices

    def answers(self, cases: Indices) -> Array:
        """(deals, cases, targets) of some of the cases."""
        return np.asarray(self.question.targets[self.dealt[:, cases]])

    def ranked(self, metric: RetrievalMetric, queries: Indices, ranking: Indices) -> Array:
        """(deals, queries) what rankings are worth; NaN where nothing in the gallery is relevant.

        Args:
            metric: By which.
            queries: (m,) places of the queries.
            ranking: (m, n) places of their gallery's cases, best first.
        """
        depth = ranking.shape[1] if metric.depth is None else min(metric.depth, ranking.shape[1])
        first = ranking[:, :depth]
        return np.concatenate(
            [self._ranked(metric, dealt, queries, first, ranking[0]) for dealt in self._blocks(first.size)]
        )

    def _ranked(
        self, metric: RetrievalMetric, dealt: Indices, queries: Indices, first: Indices, gallery: Indices
    ) -> Array:
        asking, answering = dealt[:, queries], dealt[:, first]
        shape = (-1, first.shape[1])

        def looked_up(table: Any) -> Any:
            return table[asking[:, :, None], answering].reshape(shape)

        relevant: Flags = looked_up(self.worth.relevant)
        shallow = metric.depth is not None or self.worth.gain is None
        gain = relevant.astype(np.float64) if shallow else looked_up(self.worth.gain)
        pairs = {} if shallow else {name: looked_up(self.worth.pairs[name]) for name in metric.needs}
        values = metric.worth(Ranked(relevant, gain, pairs)).reshape(asking.shape)
        return np.where(self._answered(dealt, asking, gallery), values, np.nan)

    def _answered(self, dealt: Indices, asking: Indices, gallery: Indices) -> Flags:
        """(deals, queries) whether anything in the gallery is relevant."""
        there = np.zeros((len(self._relevant), len(dealt)), dtype=np.float32)
        number = np.arange(len(dealt))[:, None]
        there[dealt[:, gallery], number] = 1.0
        return np.asarray((self._relevant @ there)[asking, number] > 0.5)

    def _blocks(self, cells: int) -> Iterator[Indices]:
        """The deals, as many at a time as fit into memory."""
        size = max(1, _BLOCK_CELLS // max(1, cells))
        for start in range(0, len(self.dealt), size):
            yield self.dealt[start : start + size]


class PermutedScores:
    """What one row would score with permuted answers, gathered while it is scored.

    Args:
        deals: Of the benchmark.
    """

    def __init__(self, deals: Deals) -> None:
        self._deals = deals
        self._ranked: dict[str, list[Array]] = {}
        self._queries: list[Indices] = []
        self._folds: list[Indices] = []
        self._predicted: list[Array | None] = []
        self._baseline: list[Array] = []

    def add_ranking(self, queries: Indices, ranking: Indices) -> None:
        """Keep what rankings are worth: (m,) places of queries, (m, n) of their gallery's cases, best first."""
        for metric in self._deals.tested:
            if isinstance(metric, RetrievalMetric):
                self._ranked.setdefault(metric.name, []).append(self._deals.ranked(metric, queries, ranking))

    def add_probe(self, split: Split, fitted: Fitted, asked: Array) -> None:
        """Keep what the probe would say of a split's queries, whose projected embeddings these are: (m, components)."""
        if not any(isinstance(metric, ProbeMetric) for metric in self._deals.tested):
            return
        cases = split.gallery[fitted.fitted]
        answers = self._deals.answers(cases)
        self._queries.append(split.queries)
        self._folds.append(np.full(len(split.queries), split.fold))
        mean = answers.mean(axis=1) if len(cases) else np.full((len(answers), answers.shape[2]), np.nan)
        self._baseline.append(np.repeat(mean[:, None], len(split.queries), axis=1))
        patients = self._deals.question.patient_numbers[cases]
        probe = fitted.probe
        self._predicted.append(probe.permuted(asked, answers, patients) if isinstance(probe, PermutableProbe) else None)

    def p_values(self, metrics: Mapping[str, float]) -> dict[str, float]:
        """By metric; NaN where a metric, or what it would be with permuted answers, is not defined.

        Args:
            metrics: What the row scored.
        """
        found = {}
        for metric in self._deals.tested:
            scores = self._of_rankings(metric) if isinstance(metric, RetrievalMetric) else self._of_probe(metric)
            found[metric.name] = np.nan if scores is None else p_value(metric, metrics[metric.name], scores)
        return found

    def _of_rankings(self, metric: RetrievalMetric) -> Array | None:
        values = np.concatenate(self._ranked[metric.name], axis=1)
        has = np.isfinite(values)
        total = np.where(has, values, 0.0).sum(axis=1)
        return np.where(has.any(axis=1), total / np.maximum(has.sum(axis=1), 1), np.nan)

    def _of_probe(self, metric: Metric) -> Array | None:
        parts = [part for part in self._predicted if part is not None]
        if not isinstance(metric, ProbeMetric) or len(parts) < len(self._predicted) or not parts:
            return None
        asked, question = np.concatenate(self._queries), self._deals.question
        predicted, baseline = np.concatenate(parts, axis=1), np.concatenate(self._baseline, axis=1)
        folds, scores = np.concatenate(self._folds), np.empty(len(predicted))
        for place, dealt in enumerate(self._deals.dealt[:, asked]):
            columns = {name: values[dealt] for name, values in question.columns.items()}
            true = question.targets[dealt]
            scores[place] = metric.of(Predictions(predicted[place], true, baseline[place], columns, folds))
        return scores


def p_value(metric: Metric, value: float, permuted: Array) -> float:
    """(b + 1) / (m + 1) with b of m permuted scores that tell as much as the true one; NaN where that is not defined.

    Args:
        metric: By which. Of a confound too it is asked whether more is told than by chance.
        value: With the true answers.
        permuted: (m,) with permuted answers; what is not defined, NaN, counts as no worse.

    Example:
        >>> p_value(Metric("probe/auc", "AUC"), 0.8, np.array([0.5, 0.6, 0.9]))
        0.5
    """
    if not np.isfinite(value):
        return float("nan")
    sign = -1.0 if metric.tells_by_less else 1.0
    as_good = ~(sign * permuted < sign * value - _TIE * max(1.0, abs(value)))
    return (int(as_good.sum()) + 1) / (len(permuted) + 1)


def tested_of(question: Question) -> tuple[Metric, ...]:
    """The metrics that get a p-value: the first headline of retrieval, that of the probe, and what rows are ranked by."""
    headlines = [metric for metric in question.metrics if metric.headline]
    first = [
        next((one.name for one in headlines if isinstance(one, kind)), "") for kind in (RetrievalMetric, ProbeMetric)
    ]
    return tuple(metric for metric in question.metrics if metric.name in (*first, question.rank_by))

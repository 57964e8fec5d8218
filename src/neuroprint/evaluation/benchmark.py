"""The benchmark: what all rows of one leaderboard share, done once, and the scoring of a row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from neuroprint.errors import NeuroprintError
from neuroprint.evaluation.evaluation import Evaluation
from neuroprint.evaluation.probe import RidgeProbe
from neuroprint.evaluation.projection import (
    MakeProbe,
    MakeProjection,
    fit,
    is_drawn_once,
    is_transductive,
    lay_out_together,
)
from neuroprint.evaluation.relevance import Relevance, RelevanceRule, distances_mm, relevance
from neuroprint.evaluation.similarity import similarity_named
from neuroprint.evaluation.splits import Split, holdout_splits, sweep_splits
from neuroprint.evaluation.summary import HEADLINE, SHARES, measure, positions, share, summarize
from neuroprint.evaluation.table import Answers, Truth, answer, answer_at_random, baseline, tabulate

if TYPE_CHECKING:
    import pandas as pd

    from neuroprint.evaluation.subjects import Subjects

Array = npt.NDArray[np.float64]
Scored = tuple["pd.DataFrame", dict[str, float]]
Asked = tuple[Answers, Array]
Ask = Callable[[Split, int], Asked]

_NEXT_DRAW = 1_000_003
"""From one draw of the folds to the next: seeds that people choose stay apart."""


@dataclass(frozen=True)
class Protocol:
    """The rules under which rows are comparable.

    Attributes:
        folds: Number of folds, by patient.
        seed: Of folds and bootstrap.
        similarity: ``cosine``, ``dot`` or ``euclidean``.
        relevance: Which gallery cases count as truly similar.
        bootstrap: Number of resamples behind an interval.
        repeats: Draws of the folds. The first is scored; the spread of the headline metrics over all of them is given
            beside them. 1 gives no spread. The further draws take the penalty that the first chose behind a supervised
            projection, the middle of its folds'; a projection that is drawn once has no further draws.
    """

    folds: int = 5
    seed: int = 0
    similarity: str = "cosine"
    relevance: RelevanceRule = field(default_factory=RelevanceRule)
    bootstrap: int = 10_000
    repeats: int = 1


class Benchmark:
    """Scores embeddings of the same subjects under the same protocol.

    Every case is a query once and its gallery is the other folds; or, with ``held_out``, the hold-out's cases are
    queries to each of the sweep's galleries, and figures are means over them. Whatever is fitted sees the gallery side
    only.

    Args:
        subjects: The scored cases; with ``held_out``, the sweep's and the hold-out's together.
        protocol: The rules.
        held_out: (n,) the cases of the hold-out, to score them instead of the sweep.

    Attributes:
        splits: Gallery and queries of each fold.
        truth: Relevance, gain and distance of all pairs.

    Raises:
        NeuroprintError: The protocol does not fit the subjects: fewer patients than folds, relevance that needs what
            the subjects lack, an unknown similarity.
    """

    def __init__(
        self,
        subjects: Subjects,
        protocol: Protocol | None = None,
        *,
        held_out: npt.NDArray[np.bool_] | None = None,
    ) -> None:
        self.subjects = subjects
        self.protocol = protocol = protocol or Protocol()
        similarity_named(protocol.similarity)
        if protocol.bootstrap < 100:
            raise NeuroprintError(f"bootstrap={protocol.bootstrap}: an interval needs 100 resamples at least")
        if protocol.repeats < 1:
            raise NeuroprintError(f"repeats={protocol.repeats}: the folds are drawn once at least")
        self._further: Sequence[tuple[int, tuple[Split, ...]]] = ()
        if held_out is None:
            self.splits = sweep_splits(subjects, protocol.folds, protocol.seed)
            seeds = [protocol.seed + _NEXT_DRAW * draw for draw in range(1, protocol.repeats)]
            self._further = [(seed, sweep_splits(subjects, protocol.folds, seed)) for seed in seeds]
        else:
            self.splits = holdout_splits(subjects, held_out, protocol.folds, protocol.seed)
        self.truth = Truth(subjects, relevance(subjects, protocol.relevance), distances_mm(subjects))

    @property
    def relevance(self) -> Relevance:
        """Relevance and gain of all pairs of subjects."""
        return self.truth.relevance

    @property
    def distances_mm(self) -> Array:
        """(n, n) distances between centers, NaN where one has none."""
        return self.truth.distances_mm

    @property
    def chance(self) -> Evaluation:
        """The expected value of a random ranking, query by query, and the mean predictor. Its side AUC is 0.5."""
        return self._evaluation(*self._chance)

    @property
    def oracle(self) -> Evaluation:
        """The true center as the embedding, by Euclidean distance; under relevance by overlap, the true overlap.

        Unknown centers are put at the mean.
        """
        return self._evaluation(*self._oracle)

    def score(
        self,
        embeddings: npt.NDArray[np.floating],
        *,
        similarity: str | None = None,
        make_projection: MakeProjection | None = None,
        make_probe: MakeProbe | None = None,
    ) -> Evaluation:
        """Score one set of embeddings.

        Args:
            embeddings: (n, d), a row per subject.
            similarity: Instead of the protocol's.
            make_projection: Gives a new projection per fold. Embeddings are used as they are by default.
            make_probe: Gives a new probe per fold, a :class:`RidgeProbe` by default.

        Raises:
            NeuroprintError: A row per subject is missing, or a value is not finite.
        """
        return self._evaluation(
            *self._scored(embeddings, similarity or self.protocol.similarity, make_projection, make_probe or RidgeProbe)
        )

    @cached_property
    def _chance(self) -> Scored:
        def ask(split: Split, _seed: int) -> Asked:
            return answer_at_random(self.truth, split), np.tile(baseline(self.truth, split), (len(split.queries), 1))

        table, metrics = self._summarized(ask)
        if np.isfinite(metrics["probe/side_auc"]):
            # The mean of a gallery leans away from its queries, which pooled over folds would look like inverse skill.
            metrics["probe/side_auc"] = 0.5
        return table, metrics

    @cached_property
    def oracle_embeddings(self) -> Array:
        """(n, 3) true centers; an unknown one is put at the mean of the known."""
        centers, located = self.subjects.centers_mm, self.subjects.located
        mean = centers[located].mean(axis=0) if located.any() else np.zeros(3)
        return np.where(located[:, None], centers, mean)

    @cached_property
    def _oracle(self) -> Scored:
        return self._scored(self.oracle_embeddings, "euclidean", None, RidgeProbe, self.relevance.ideal)

    def _scored(
        self,
        embeddings: npt.NDArray[np.floating],
        similarity: str,
        make_projection: MakeProjection | None,
        make_probe: MakeProbe,
        ideal: Array | None = None,
    ) -> Scored:
        closeness = similarity_named(similarity)
        vectors = self._checked(embeddings)
        made = make_projection() if make_projection is not None else None
        transductive = made is not None and is_transductive(made)
        chosen: list[float] = []  # by the first draw's folds, which are asked first

        def ask(split: Split, seed: int) -> Asked:
            gallery, queries = vectors[split.gallery], vectors[split.queries]
            patients = [self.subjects.patients[case] for case in split.gallery]
            centers = self.subjects.centers_mm[split.gallery]
            make = make_projection
            if make is not None and transductive:
                (gallery, queries), make = lay_out_together(make, gallery, queries), None
            first = seed == self.protocol.seed
            alpha = None if first or not chosen else sorted(chosen)[len(chosen) // 2]
            fitted = fit(gallery, centers, patients, make, make_probe, seed, alpha)
            if first and fitted.alpha is not None:
                chosen.append(fitted.alpha)
            gallery, queries = fitted.project(gallery), fitted.project(queries)
            if not (np.isfinite(gallery).all() and np.isfinite(queries).all()):
                raise NeuroprintError("the projection gives values that are not finite: choose fewer components")
            close = closeness(queries, gallery) if ideal is None else ideal[np.ix_(split.queries, split.gallery)]
            return answer(self.truth, split, close, brief=not first), fitted.predict(queries)

        return self._summarized(ask, drawn_once=made is not None and is_drawn_once(made))

    def _summarized(self, ask: Ask, drawn_once: bool = False) -> Scored:
        """The first draw of the folds in full, and the spread of the headline metrics over all draws."""
        seed = self.protocol.seed
        table = tabulate(self.truth, [(split, *ask(split, seed)) for split in self.splits])
        metrics = summarize(table, self.protocol.bootstrap, seed)
        if self._further and drawn_once:
            metrics |= {f"{name}_seed_sd": np.nan for name in HEADLINE}
        elif self._further:
            draws = [metrics]
            for other, splits in self._further:
                draws.append(measure(tabulate(self.truth, [(split, *ask(split, other)) for split in splits])))
            metrics |= {f"{name}_seed_sd": float(np.std([draw[name] for draw in draws], ddof=1)) for name in HEADLINE}
        return table, metrics

    def _evaluation(self, table: pd.DataFrame, metrics: dict[str, float]) -> Evaluation:
        shares = {
            f"{name}_share": share(metrics[name], self._chance[1][name], self._oracle[1][name]) for name in SHARES
        }
        every = {**metrics, **shares}
        defined = {name: value for name, value in every.items() if np.isfinite(value)}
        undefined = tuple(name for name in every if name not in defined)
        return Evaluation(defined, undefined, table, positions(table, "predicted"))

    def _checked(self, embeddings: npt.NDArray[np.floating]) -> Array:
        vectors = np.ascontiguousarray(embeddings, dtype=np.float64)
        n = len(self.subjects)
        if vectors.ndim != 2 or len(vectors) != n or not vectors.shape[1]:
            raise NeuroprintError(f"embeddings have shape {vectors.shape}, expected ({n}, dimensions): a row per case")
        bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
        if bad.size:
            raise NeuroprintError(f"the embedding of case {self.subjects.ids[bad[0]]} has values that are not finite")
        return vectors

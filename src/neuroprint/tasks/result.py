"""The result of an evaluation: scores with intervals beside the reference rows, and everything that pictures need."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from neuroprint.catalog.menu import Part
from neuroprint.embedding.embed import embed_untrained
from neuroprint.embedding.embeddings import Embeddings, Scanned
from neuroprint.evaluation.metric import known
from neuroprint.evaluation.projection import clipped, fit_projection, is_supervised, is_transductive, transformed
from neuroprint.tasks.leaderboard import RETRIEVAL, UNTRAINED, Leaderboard, metrics_of, rank_rows
from neuroprint.tasks.task import Draw, Task

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from neuroprint.data.case_facts import CaseFacts
    from neuroprint.evaluation.benchmark import Benchmark
    from neuroprint.evaluation.evaluation import Evaluation


@dataclass(frozen=True, eq=False)
class Result:
    """What embeddings scored at a task. It prints as a table, and shows as HTML.

    Attributes:
        name: What was scored.
        task: What was asked.
        embeddings: Of the whole cohort, the hold-out's too.
        projection: What was fitted on them in every fold; None where they were used as they are.
        probe: What was fitted on these.
        similarity: How they were compared.
        evaluation: The scores.
        benchmark: What they were scored by.
        references: Scores of the reference rows by their name, on the same folds.
        excluded: Why cases were left out, by id.
        holdout: Share of the patients that took no part.
        scanned: What was measured on the scans, whoever made the embeddings; None where no scan was read.

    Example:
        >>> import neuroprint as npr
        >>> cohort = npr.load_cohort("phantom", cases=12, spacing_mm=8.0)
        >>> result = npr.evaluate(npr.embed(cohort, encoder="voxels"), npr.tasks.TumorPosition())
        >>> value, low, high = (result.metrics[f"retrieval/p_at_5{end}"] for end in ("", "_lo", "_hi"))
        >>> low <= value <= high
        True
        >>> sorted(result.figures())
        ['map', 'precision_at_k', 'probe', 'retrieval']
        >>> result.draw("map").savefig("map.png")
        >>> result.save("result")
        >>> result.as_reference("oracle").metrics["probe/r2"] > 0.9
        True
    """

    name: str
    task: Task
    embeddings: Embeddings
    projection: Part | None
    probe: Part
    similarity: str
    evaluation: Evaluation
    benchmark: Benchmark
    references: Mapping[str, Evaluation]
    excluded: Mapping[str, str] = field(default_factory=dict)
    holdout: float = 0.0
    scanned: Scanned | None = None

    @property
    def metrics(self) -> dict[str, float]:
        """The metrics by name; bounds of 95 % intervals end in ``_lo`` and ``_hi``. What is not defined is absent."""
        return self.evaluation.metrics

    @property
    def queries(self) -> pd.DataFrame:
        """What each query found and what that was worth, see :class:`neuroprint.evaluation.evaluation.Evaluation`."""
        return self.evaluation.queries

    @property
    def ids(self) -> tuple[str, ...]:
        """The scored cases."""
        return self.benchmark.question.ids

    @property
    def facts(self) -> Mapping[str, CaseFacts]:
        """What was measured on the scored cases, by id; empty where no scan was read."""
        found = self.scanned.facts if self.scanned else {}
        return {case: found[case] for case in self.ids if case in found}

    @cached_property
    def vectors(self) -> npt.NDArray[np.float32]:
        """(n, d) embeddings of the scored cases."""
        return self.embeddings.rows(self.ids)

    @cached_property
    def projected(self) -> npt.NDArray[np.float64]:
        """(n, components) by the projection fitted on all scored cases, for pictures."""
        wide = self.vectors.astype(np.float64)
        projection = None if self.projection is None else self.projection.made
        if projection is None:
            return wide
        projection = clipped(projection, min(wide.shape))
        if is_transductive(projection):
            return np.asarray(projection.fit_transform(wide), dtype=np.float64)
        question = self.benchmark.question
        supervised = is_supervised(projection)
        rows = known(question.targets) if supervised else np.ones(len(wide), dtype=bool)
        patients = [patient for patient, kept in zip(question.patients, rows, strict=True) if kept]
        fitted = fit_projection(projection, wide[rows], question.targets[rows] if supervised else None, patients)
        return transformed(fitted, wide)

    def as_reference(self, role: str) -> Result:
        """One of the reference rows as a result: for its pictures and tables."""
        found = self.references[role]
        others = {name: other for name, other in self.references.items() if name != role}
        if role == UNTRAINED and (twin := embed_untrained(self.embeddings)):
            return replace(self, name=role, embeddings=twin, evaluation=found, references=others)
        vectors, changed = None, None
        if role == "oracle":
            vectors = self.benchmark.targets
        elif role == "voxels" and self.scanned:
            vectors = np.stack([self.scanned.voxels[case] for case in self.ids])
            changed = {case: self.scanned.changed_voxels[case] for case in self.ids} if self.embeddings.change else None
        reference = replace(self, name=role, projection=None, evaluation=found, references=others)
        if vectors is None:
            return reference
        rows = dict(zip(self.ids, vectors, strict=True))
        cohort, scanned = self.embeddings.cohort, self.embeddings.scanned
        embeddings = Embeddings(cohort, rows, "euclidean", role, scanned=scanned, perturbed=changed)
        return replace(reference, embeddings=embeddings, similarity=embeddings.similarity)

    @property
    def has_ranking(self) -> bool:
        """Whether cases were ranked: chance ranks none."""
        return bool(self.queries["neighbors"].map(len).any())

    @property
    def leaderboard(self) -> Leaderboard:
        """This result among the reference rows."""
        return leaderboard_of([self])

    def __repr__(self) -> str:
        return f"<Result {self.name!r} of {self.task.name} on {len(self.ids)} cases>"

    def __str__(self) -> str:
        return f"{self._asked}\n{self.leaderboard}"

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(self._asked)}</p>{self.leaderboard._repr_html_()}"

    @property
    def _asked(self) -> str:
        """Who was asked what, in a line."""
        question = self.benchmark.question
        left_out = f", {len(self.excluded)} left out" if self.excluded else ""
        asked = f"{self.task.called}: {len(question)} cases of {len(set(question.patients))} patients{left_out}"
        return f"{asked}; {self.evaluation.answerable} queries have a case {self.task.sought}"

    def figures(self) -> dict[str, Draw]:
        """The pictures of the result by the name of their file; each is drawn when it is called."""
        from neuroprint.tasks.pictures import figures_of

        return figures_of(self)

    def draw(self, name: str) -> Figure:
        """One of :meth:`figures`, such as ``map`` or ``precision_at_k``."""
        return self.figures()[name]()

    def save(self, folder: str | Path) -> None:
        """Write ``embeddings.parquet``, ``queries.parquet`` and the pictures into a folder."""
        from neuroprint.tasks.pictures import save_result

        save_result(self, Path(folder))


def leaderboard_of(results: list[Result], metric: str | None = None) -> Leaderboard:
    """Results of one question, ranked, among its reference rows.

    Args:
        results: At least one; their questions are taken to agree.
        metric: By default the task's.
    """
    first = results[0]
    metrics = metrics_of(first.queries)
    rows: list[dict[str, Any]] = [
        {
            "run_id": str(number),
            "name": result.name,
            "role": "candidate",
            "exportable": not (result.projection and is_transductive(result.projection.made)),
            **result.metrics,
        }
        for number, result in enumerate(results)
    ]
    rows += [
        {"run_id": role, "name": role, "role": "reference", **evaluation.metrics}
        for role, evaluation in first.references.items()
    ]
    influences = {str(number): result.evaluation.influences for number, result in enumerate(results)}
    influences |= {role: evaluation.influences for role, evaluation in first.references.items()}
    by = metric or first.task.rank_by
    asked = first.evaluation.answerable if by.startswith(RETRIEVAL) else first.evaluation.cases
    folds = first.benchmark.protocol.folds
    change = first.embeddings.change
    about = first.task.asked_of(first.embeddings.cohort.name, first.evaluation.cases, folds, change)
    return rank_rows(rows, influences, by, metrics, (asked, first.evaluation.cases), about=about)

"""Evaluating embeddings: what they score at a task, out of fold, beside the reference rows."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import threadpool_limits

from neuroprint.catalog.menu import Catalog, Part
from neuroprint.data.duplicates import refuse_shared_images
from neuroprint.embedding.embed import embed_untrained, scan
from neuroprint.errors import CaseError, NeuroprintError
from neuroprint.evaluation.benchmark import Benchmark, Protocol
from neuroprint.evaluation.folds import assign_folds, holdout_share, in_holdout
from neuroprint.evaluation.projection import is_supervised
from neuroprint.evaluation.robustness import KEPT, SELF_METRICS
from neuroprint.tasks.across import check_across, numbers_across, why_not_across
from neuroprint.tasks.leaderboard import REFERENCES, UNTRAINED, Leaderboard
from neuroprint.tasks.result import Result, leaderboard_of
from neuroprint.tasks.task import Task

if TYPE_CHECKING:
    from neuroprint.data.case import Case
    from neuroprint.data.cohort import Cohort
    from neuroprint.embedding.embeddings import Embeddings, Scanned
    from neuroprint.evaluation.evaluation import Evaluation

log = logging.getLogger(__name__)

_ONE_CORES_WORK = 2_000_000  # numbers of all embeddings


def evaluate(
    embeddings: Embeddings,
    task: Task | str,
    projection: Any = None,
    probe: Any = "ridge",
    *,
    similarity: str | None = None,
    folds: int = 5,
    seed: int = 0,
    holdout: str | float = "auto",
    permutations: int = 199,
    references: Sequence[str] = REFERENCES,
    name: str | None = None,
    catalog: Catalog | None = None,
    exams: Exams | None = None,
) -> Result:
    """Score embeddings at a task.

    Folds are by patient; every case is a query once, and its gallery is the other folds. Whatever is fitted sees the gallery
    only. The defaults are those of the configuration, so that the same choices give the same digits as ``run.py``.

    Args:
        embeddings: Of a cohort.
        task: What is asked, such as :class:`neuroprint.tasks.TumorPosition`, or an entry of conf/task.
        projection: A scikit-learn transformer, an entry of conf/projection, or a node; a clone is fitted in every fold. None
            uses embeddings as they are.
        probe: A regressor, an entry of conf/probe, or a node; a clone is fitted in every fold.
        similarity: ``cosine``, ``dot`` or ``euclidean``; by default what the embeddings are made for.
        folds: Number of folds.
        seed: Of the folds.
        holdout: Share of the patients that takes no part; ``auto`` is 0.2 from 50 patients on, else 0.
        permutations: Deals of the answers behind the p-values against chance; 0 gives none.
        references: Reference rows to score beside: ``chance``, ``voxels``, ``oracle``, and ``untrained``: the same choices
            on random weights of the encoder, which is run once more.
        name: What the result is called; by default by its choices.
        catalog: The menu; by default conf/.
        exams: What earlier calls shared, for many results of one question.

    Raises:
        NeuroprintError: The cohort cannot be asked, or the projection or the probe cannot be fitted.
        CaseError: Of a strict cohort, the first case that cannot be used.

    Example:
        >>> import neuroprint as npr
        >>> cohort = npr.load_cohort("phantom", cases=12, spacing_mm=8.0)
        >>> result = npr.evaluate(npr.embed(cohort, encoder="voxels"), npr.tasks.TumorPosition())
        >>> sorted(result.references)
        ['chance', 'oracle', 'voxels']
        >>> 0 <= result.metrics["retrieval/p_at_5"] <= 1
        True
    """
    menu = catalog or Catalog()
    chosen = None if projection is None else menu.part("projection", projection)
    model = menu.part("probe", probe)
    task = menu.part("task", task).made if isinstance(task, str) else task
    exam = (exams or Exams()).of(embeddings, task, Protocol(folds, seed, permutations), holdout)
    compared = similarity or embeddings.similarity
    evaluation = _scored(exam.benchmark, embeddings, chosen, model, compared)
    rows: dict[str, Evaluation | None] = {}
    for role in references:
        if role != UNTRAINED:
            rows[role] = exam.reference(role, embeddings)
        elif twin := embed_untrained(embeddings):
            if lacking := sorted(set(exam.benchmark.question.ids) - set(twin.ids)):
                log.warning("no reference row %s: case %s: %s", role, lacking[0], twin.excluded.get(lacking[0]))
                continue
            rows[role] = _scored(exam.benchmark, twin, chosen, model, compared)
    return Result(
        name=name or _name(embeddings, chosen),
        task=task,
        embeddings=embeddings,
        projection=chosen,
        probe=model,
        similarity=compared,
        evaluation=evaluation,
        benchmark=exam.benchmark,
        references={role: found for role, found in rows.items() if found is not None},
        excluded=exam.excluded,
        holdout=exam.holdout,
        scanned=embeddings.scanned or exam.scanned,
    )


def compare(results: Sequence[Result], metric: str | None = None) -> Leaderboard:
    """Rank results of one question, and mark those that cannot be told from the best.

    Args:
        results: Of the same task, cohort, folds and hold-out.
        metric: By default the task's, ``retrieval/p_at_5``.

    Raises:
        NeuroprintError: There is none, or they are not of one question.

    Example:
        >>> import neuroprint as npr
        >>> cohort = npr.load_cohort("phantom", cases=12, spacing_mm=8.0)
        >>> task, voxels = npr.tasks.Side(), npr.embed(cohort, encoder="voxels")
        >>> board = npr.compare([npr.evaluate(voxels, task), npr.evaluate(voxels, task, projection="l2", name="unit length")])
        >>> sorted(board.table["name"])
        ['chance', 'oracle', 'unit length', 'voxels', 'voxels · mean']
    """
    if not results:
        raise NeuroprintError("compare: pass at least one result")
    first = results[0]
    frame = first.embeddings.cohort.frame
    for other in results[1:]:
        differing = {
            "task": first.task.identity(frame) != other.task.identity(other.embeddings.cohort.frame),
            "cohort": first.embeddings.cohort.digest != other.embeddings.cohort.digest,
            "scored cases": first.ids != other.ids,
            "folds or seed": not first.benchmark.protocol.agrees_with(other.benchmark.protocol),
            "hold-out": first.holdout != other.holdout,
            "perturbation": first.embeddings.change != other.embeddings.change,
        }
        if problem := ", ".join(what for what, differs in differing.items() if differs):
            raise NeuroprintError(f"{first.name} and {other.name} cannot be compared: they differ in {problem}")
    return leaderboard_of(list(results), metric)


@dataclass(eq=False)
class Exam:
    """What all results of one question share: the scored cases, and the reference rows as far as they were asked for.

    Attributes:
        benchmark: Folds, relevance and metrics.
        excluded: Why cases were left out, by id.
        holdout: Share of the patients that takes no part.
        scanned: What was measured on the scans; None where none was read.
    """

    benchmark: Benchmark
    excluded: Mapping[str, str]
    holdout: float
    scanned: Scanned | None
    _references: dict[str, Evaluation] = field(default_factory=dict)

    def reference(self, role: str, embeddings: Embeddings) -> Evaluation | None:
        """A reference row that all results share; None where the task has none, or a scan cannot be read.

        Raises:
            NeuroprintError: There is no such reference row.
        """
        if role == "chance":
            return self.benchmark.chance
        if role == "oracle":
            return self.benchmark.oracle
        if role != "voxels":
            raise NeuroprintError(
                f"there is no reference row {role}: choose among {', '.join((*REFERENCES, UNTRAINED))}"
            )
        if role not in self._references:
            self.scanned = self.scanned or scan(embeddings)
            voxels = self.scanned.voxels
            lacking = [case for case in self.benchmark.question.ids if case not in voxels]
            if lacking:
                log.warning("no reference row voxels: the scan of case %s cannot be read", lacking[0])
                return None
            ids, changed = self.benchmark.question.ids, None
            if embeddings.queries is not None:
                if any(case not in self.scanned.changed_voxels for case in ids):
                    log.warning("no reference row voxels: how scans were changed is not known, only their vectors are")
                    return None
                changed = np.stack([self.scanned.changed_voxels[case] for case in ids])
            rows = np.stack([voxels[case] for case in ids])
            self._references[role] = self.benchmark.score(rows, "euclidean", changed=changed)
        return self._references[role]


class Exams:
    """The exams that were made, for results that share one."""

    _KEPT = 4  # a sweep's jobs mostly come one question after the other

    def __init__(self) -> None:
        self._made: dict[tuple[Any, ...], Exam] = {}

    def of(self, embeddings: Embeddings, task: Task, protocol: Protocol, holdout: str | float) -> Exam:
        """The exam of these embeddings' cohort at a task.

        Raises:
            NeuroprintError: The cohort cannot be asked.
            CaseError: Of a strict cohort, the first case that cannot be used.
        """
        cohort = embeddings.cohort
        share = holdout_share(holdout, len(cohort.patients))
        rules = (cohort.strict, cohort.duplicates, protocol, share)
        changed = None if embeddings.queries is None else hash(embeddings.queries.tobytes())
        if embeddings.recipe and embeddings.recipe.perturbation:  # whatever the encoder: results share the row voxels
            changed = hash(str(embeddings.recipe.perturbation.description))
        key = (cohort.digest, str(task.identity(cohort.frame)), rules, embeddings.ids, changed)
        if key not in self._made:
            while len(self._made) >= self._KEPT:
                del self._made[next(iter(self._made))]
            self._made[key] = _examine(embeddings, task, protocol, share)
        return self._made[key]


def check_question(task: Task, cohort: Cohort, folds: int, seed: int, holdout: str | float) -> None:
    """Refuse what a cohort cannot be asked: better now than after the extraction.

    Raises:
        NeuroprintError: Fewer patients than folds, what the task needs and the cohort lacks, a gallery without cases of other
            values of ``task.across``, or the same image file under two patients.
    """
    cases = sweep_cases(cohort, holdout)
    assign_folds([case.patient for case in cases], folds, seed)
    task.check(cohort)
    if task.across is not None:
        check_across(task.across, cohort, cases, folds, seed)
    if cohort.duplicates == "refuse":
        refuse_shared_images(cohort.cases, {case: digests.each for case, digests in cohort.digests.items()})


def sweep_cases(cohort: Cohort, holdout: str | float) -> list[Case]:
    """The cases that may be scored: all but the hold-out's."""
    share = holdout_share(holdout, len(cohort.patients))
    return [case for case in cohort.cases if not in_holdout(case.patient, share)]


def _examine(embeddings: Embeddings, task: Task, protocol: Protocol, share: float) -> Exam:
    cohort = embeddings.cohort
    check_question(task, cohort, protocol.folds, protocol.seed, share)
    scanned = scan(embeddings) if task.needs_scans else embeddings.scanned
    facts = scanned.facts if scanned else {}
    if cohort.duplicates == "refuse":
        # The files differ, or the cohort would not have come so far; now that they are read, so must the images.
        refuse_shared_images(cohort.cases, {case: found.contents for case, found in facts.items()})
    with_vector = set(embeddings.ids)
    excluded = {**cohort.excluded, **embeddings.excluded}
    cases = []
    for case in sweep_cases(cohort, share):
        if case.id not in with_vector:
            continue
        problem = task.why_not(case, facts.get(case.id)) or why_not_across(task.across, case)
        if problem is None:
            cases.append(case)
            continue
        excluded[case.id] = problem
        log.warning("left out: case %s: %s", case.id, problem)
        if cohort.strict:
            raise CaseError(case.id, problem)
    if not cases:
        raise NeuroprintError(f"no case is left to be scored; {len(excluded)} were left out, as listed above")
    cases.sort(key=lambda case: case.id)
    question = replace(task.question(cases, facts, cohort.frame), rank_by=task.rank_by)
    if embeddings.queries is not None:
        question = replace(question, metrics=(*question.metrics, *SELF_METRICS, KEPT))
    if task.across is None:
        return Exam(Benchmark(question, protocol), excluded, share, scanned)
    try:
        apart = replace(question, across=numbers_across(task.across, cases))
        return Exam(Benchmark(apart, protocol), excluded, share, scanned)
    except NeuroprintError as error:
        raise NeuroprintError(f"task.across={task.across}: {error}") from None


def _scored(
    benchmark: Benchmark, embeddings: Embeddings, projection: Part | None, probe: Part, similarity: str
) -> Evaluation:
    rows, changed = embeddings.rows(benchmark.question.ids), embeddings.query_rows(benchmark.question.ids)
    # On matrices this small a second thread waits as long as it works, on a core that another job could use.
    threads = 1 if rows.size < _ONE_CORES_WORK else None
    try:
        with threadpool_limits(threads, user_api="blas"):
            made = None if projection is None else projection.made
            return benchmark.score(rows, similarity, made, probe.made, changed)
    except (ValueError, TypeError) as error:
        log.debug("the fit failed", exc_info=True)
        gallery = min(len(split.gallery) for split in benchmark.splits)
        what = f"projection={projection.name if projection else 'none'} or probe={probe.name}"
        raise NeuroprintError(
            f"{what} cannot be fitted to {gallery} cases of {rows.shape[1]} numbers: {error}"
        ) from error


def _name(embeddings: Embeddings, projection: Part | None) -> str:
    if projection is None or projection.name == "none":
        return embeddings.name
    made = projection.made
    size = made.get_params().get("n_components") if hasattr(made, "get_params") else None
    supervised = " · supervised" if is_supervised(made) else ""
    return f"{embeddings.name} · {projection.name}{size or ''}{supervised}"

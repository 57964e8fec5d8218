"""What every task offers."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

from neuroprint.errors import NeuroprintError
from neuroprint.evaluation.metric import ProbeMetric, RetrievalMetric
from neuroprint.evaluation.retrieval import CLIFFS_DELTA, RETRIEVAL_METRICS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from neuroprint.data.case import Case, Frame
    from neuroprint.data.case_facts import CaseFacts
    from neuroprint.data.cohort import Cohort
    from neuroprint.evaluation.evaluation import Evaluation
    from neuroprint.evaluation.question import Question

Metrics = tuple[RetrievalMetric | ProbeMetric, ...]
Draw = Callable[[], "Figure"]


@dataclass(frozen=True, kw_only=True)
class Task(ABC):
    """A question to embeddings: what the probe predicts, which cases are relevant to a query, and what is scored.

    A task of your own is one such class and one file ``conf/task/NAME.yaml``. Its fields are its parameters: they are
    logged with a run, and runs are ranked together only if they agree in them.

    Attributes:
        across: A column of the metadata, such as ``site``: the gallery of a query then holds only cases of other values, and
            a case without a value is left out. None lets the gallery hold all.
        extra_metrics: Records of further metrics, see :class:`neuroprint.evaluation.metric.RetrievalMetric`.
        name: As ``task=NAME`` chooses it.
        version: Raised whenever the task gives other numbers than before: finished runs of an older one are not reused.
        needs_scans: Whether the scans and their labels have to be read.
        rank_by: The metric that leaderboards are ranked by.

    Example:
        >>> from neuroprint.evaluation.classification import CLASS_METRICS
        >>> from neuroprint.evaluation.question import Question, equal_classes
        >>> @dataclass(frozen=True, kw_only=True)
        ... class EvenNumber(Task):
        ...     name = "even_number"
        ...     needs_scans = False
        ...     relevance = "whose number is as even"
        ...     def question(self, cases, facts, frame):
        ...         even = np.array([int(case.id[-1]) % 2 == 0 for case in cases])
        ...         judge, ideal = equal_classes(even.astype(int))
        ...         return Question(
        ...             ids=tuple(case.id for case in cases), patients=tuple(case.patient for case in cases),
        ...             targets=np.stack([~even, even], axis=1).astype(float), target_names=("odd", "even"),
        ...             judge=judge, ideal=ideal, metrics=self.metrics(CLASS_METRICS),
        ...         )
        >>> import numpy as np
        >>> import neuroprint as npr
        >>> cohort = npr.load_cohort("phantom", cases=12, spacing_mm=8.0)
        >>> result = npr.evaluate(npr.embed(cohort, encoder="voxels"), EvenNumber(), references=["chance", "oracle"])
        >>> result.references["oracle"].metrics["retrieval/map"]
        1.0
    """

    across: str | None = None
    extra_metrics: Sequence[RetrievalMetric | ProbeMetric] = ()

    name: ClassVar[str]
    version: ClassVar[int] = 1
    needs_scans: ClassVar[bool] = True
    rank_by: ClassVar[str] = "retrieval/p_at_5"

    @property
    @abstractmethod
    def relevance(self) -> str:
        """What makes a case relevant to a query, as the end of "cases ...": ``whose tumor is on the same side``."""

    @abstractmethod
    def question(self, cases: Sequence[Case], facts: Mapping[str, CaseFacts], frame: Frame) -> Question:
        """The task as arrays.

        Args:
            cases: Those of which :meth:`why_not` says nothing, sorted by id.
            facts: Of each case, by id; empty where the task needs no scans.
            frame: The cohort's.

        Raises:
            NeuroprintError: The cases cannot be asked.
        """

    def check(self, cohort: Cohort) -> None:  # noqa: B027 # most tasks can be asked of any cohort
        """Refuse a cohort that cannot be asked, before a scan is read.

        Raises:
            NeuroprintError: Names what it lacks.
        """

    def why_not(self, case: Case, facts: CaseFacts | None) -> str | None:
        """Why a case cannot take part; None where it can."""
        return None

    def figures(self, evaluation: Evaluation) -> dict[str, Draw]:
        """The task's own pictures of an evaluation, by the name of their file; each is drawn when it is called."""
        return {}

    def asked_of(self, cohort: str, cases: int, folds: int, change: str | None = None) -> str:
        """What is asked of which cases, in words, as a leaderboard says it; and how query scans were changed."""
        changed = f" · queries changed by {change}" if change else ""
        return f"{self.called}: a case {self.sought} · {cohort}, {cases} cases in {folds} folds{changed}"

    @property
    def called(self) -> str:
        """What the task is called in front of what it asks."""
        return self.name

    @property
    def sought(self) -> str:
        """What is looked for and among which cases, as the end of "a case ...": :attr:`relevance`, and :attr:`across`."""
        return f"{self.relevance}, among cases of another {self.across}" if self.across else self.relevance

    def parameters(self) -> dict[str, Any]:
        """The task's fields, JSON-able, as they are logged."""
        own = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "extra_metrics"}
        if self.extra_metrics:
            own["extra_metrics"] = [metric.name for metric in self._extra()]
        return own

    def identity(self, frame: Frame) -> dict[str, Any]:
        """All that the task's numbers depend on, JSON-able; two tasks of one identity are one.

        Args:
            frame: The cohort's.
        """
        kind = type(self)
        return {"task": f"{kind.__module__}.{kind.__qualname__}", "version": self.version, **self.parameters()}

    def metrics(self, probe: Metrics, pairs: Sequence[str] = (), confound: bool = False) -> Metrics:
        """What is scored: retrieval, as far as the task has what a metric looks at, the probe's metrics, and the extra ones.

        Args:
            probe: The probe's metrics.
            pairs: Quantities of pairs that the task knows, such as ``distance_mm``.
            confound: Whether the task is of a confound: the direction of every metric is turned, and there is Cliff's delta.

        Raises:
            NeuroprintError: Two metrics have one name, or one is none.
        """
        usual = (*RETRIEVAL_METRICS, CLIFFS_DELTA) if confound else RETRIEVAL_METRICS
        retrieval = tuple(metric for metric in usual if set(metric.needs) <= set(pairs))
        found: Metrics = (*retrieval, *probe, *self._extra())
        names = [metric.name for metric in found]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise NeuroprintError(
                f"task.extra_metrics: there is a metric {repeated[0]} already; give yours another name"
            )
        return tuple(metric.of_confound() for metric in found) if confound else found

    def _extra(self) -> Metrics:
        """The metrics beside those that every such task has.

        Raises:
            NeuroprintError: One is no metric, or its name has no family.
        """
        for metric in self.extra_metrics:
            if not isinstance(metric, RetrievalMetric | ProbeMetric):
                raise NeuroprintError(
                    f"task={self.name}: extra_metrics holds {metric!r}, which is no metric: give a RetrievalMetric or a "
                    "ProbeMetric, or what a function makes that is called: {_target_: package.module.function}"
                )
            family = "retrieval/" if isinstance(metric, RetrievalMetric) else "probe/"
            if not metric.name.startswith(family):
                raise NeuroprintError(f"task={self.name}: metric {metric.name}: its name must begin with {family}")
        return tuple(self.extra_metrics)


def is_number(value: object) -> bool:
    """Whether a parameter is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def require(holds: bool, task: str, key: str, value: object, rule: str) -> None:
    """Refuse a parameter of a task.

    Raises:
        NeuroprintError: It does not hold.
    """
    if not holds:
        raise NeuroprintError(f"task={task}: {key}={value}: must be {rule}")

"""``task=survival``: how long does a patient live? Relevant are cases who died after about the same time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from neuroprint.data.metadata import class_name, is_missing
from neuroprint.errors import NeuroprintError
from neuroprint.evaluation.metric import Predictions
from neuroprint.evaluation.question import Question, log_ratios, within
from neuroprint.evaluation.survival import SURVIVAL_METRICS, TARGETS, risks
from neuroprint.tasks.task import Draw, Task, is_number, require

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from neuroprint.data.case import Case, Frame
    from neuroprint.data.case_facts import CaseFacts
    from neuroprint.data.cohort import Cohort
    from neuroprint.evaluation.evaluation import Evaluation

_EVENTS = {"1": True, "true": True, "0": False, "false": False}


@dataclass(frozen=True, kw_only=True)
class Survival(Task):
    """Two columns of the cohort's metadata: a time, and whether it ended in death. No scan and no label is read.

    A patient who still lived at the last contact is censored: the time until death is not known, only that it is longer.
    The probe predicts both columns, and its risk is made of them, see :func:`neuroprint.evaluation.survival.risks`. The risk
    is scored by Harrell's concordance, which compares a censored patient only with those who died before.

    A gallery case is relevant if both patients died and the longer time is at most ``ratio`` times the shorter. Its gain
    falls linearly in the logarithm of that quotient, from 1 at equal times to 0 at the square of ``ratio``. The ideal
    ranking is by the quotient. Whether a censored patient died after a similar time is not known: such a case is relevant
    to nobody, and a query without an answer. Cases without a time above 0, or without an event, are left out.

    Needs the package lifelines: ``pip install 'neuroprint[survival]'``.

    Attributes:
        time: Name of the column with the time until death or last contact, in any unit.
        event: Name of the column that says whether the patient died: 1 or true, 0 or false.
        ratio: Largest quotient of the times of relevant cases.

    Example:
        >>> Survival(time="survival_days", event="died").relevance
        'who died after a similar survival_days, within a factor of 1.5'
    """

    time: str | None = None
    event: str | None = None
    ratio: float = 1.5

    name: ClassVar[str] = "survival"
    needs_scans: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for key, value in (("time", self.time), ("event", self.event)):
            rule = f"the name of a column of the metadata: task.{key}=NAME"
            require(bool(value), self.name, key, value, rule)
        require(is_number(self.ratio) and self.ratio > 1, self.name, "ratio", self.ratio, "a number above 1")
        object.__setattr__(self, "ratio", float(self.ratio))

    @property
    def relevance(self) -> str:
        return f"who died after a similar {self.time}, within a factor of {self.ratio:g}"

    def check(self, cohort: Cohort) -> None:
        """Refuse columns that are not there, events that are no yes or no, and a cohort in which nobody died."""
        if find_spec("lifelines") is None:
            raise NeuroprintError("task=survival needs the package lifelines: pip install 'neuroprint[survival]'")
        for key, column in (("time", self.time), ("event", self.event)):
            if column not in cohort.columns:
                raise NeuroprintError(
                    f"task.{key}={column}: the cohort has the columns {', '.join(cohort.columns) or 'none'}"
                )
        for case in cohort.cases:
            value = case.metadata.get(str(self.event))
            if not is_missing(value) and _event(value) is None:
                raise NeuroprintError(
                    f"task.event={self.event}: case {case.id} has {value!r}, expected 1 (died) or 0 (still lived)"
                )
        if not any(self._died(case) for case in cohort.cases if self.why_not(case, None) is None):
            raise NeuroprintError(
                f"task=survival: no case has both {self.event} 1 and a {self.time} above 0: no two can be compared"
            )

    def why_not(self, case: Case, facts: CaseFacts | None) -> str | None:
        """A case without both values cannot be compared."""
        for column in (str(self.time), str(self.event)):
            if is_missing(case.metadata.get(column)):
                return f"its {column} is missing: it has no survival to score"
        value = case.metadata.get(str(self.time))
        if _time(value) is None:
            return f"its {self.time} is {value!r}, expected a number above 0: it has no survival to score"
        return None

    def question(self, cases: Sequence[Case], facts: Mapping[str, CaseFacts], frame: Frame) -> Question:
        """Events and times, and relevance by the ratio of the times of those who died."""
        died = np.array([self._died(case) for case in cases], dtype=bool)
        times = np.array([_time(case.metadata.get(str(self.time))) for case in cases], dtype=np.float64)
        judge, ideal = within(log_ratios(np.where(died, times, np.nan)), math.log(self.ratio))
        return Question(
            ids=tuple(case.id for case in cases),
            patients=tuple(case.patient for case in cases),
            targets=np.stack([died.astype(np.float64), times], axis=1),
            target_names=TARGETS,
            judge=judge,
            ideal=ideal,
            metrics=self.metrics(SURVIVAL_METRICS),
        )

    def figures(self, evaluation: Evaluation) -> dict[str, Draw]:
        """The survival of those with a high and with a low predicted risk."""

        def draw() -> Figure:
            from neuroprint.figures.survival import draw_survival

            found = Predictions.of_queries(evaluation.queries, TARGETS)
            score = evaluation.metrics.get("probe/concordance", np.nan)
            return draw_survival(found.true[:, 1], found.true[:, 0] > 0.5, risks(found), score, str(self.time))

        return {"probe": draw}

    def _died(self, case: Case) -> bool:
        return bool(_event(case.metadata.get(str(self.event))))


def _event(value: Any) -> bool | None:
    """Whether a value says that the patient died; None where it says neither."""
    return _EVENTS.get(str(class_name(value)).lower())


def _time(value: Any) -> float | None:
    """A value as a time above 0; None where it is none."""
    try:
        time = float(value)
    except (TypeError, ValueError):
        return None
    return time if math.isfinite(time) and time > 0 else None

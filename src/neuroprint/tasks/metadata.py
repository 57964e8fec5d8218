"""``task=metadata``: which value has a case in a column, such as grade or site? Relevant are cases with the same value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from neuroprint.data.metadata import class_name, is_missing
from neuroprint.errors import NeuroprintError
from neuroprint.evaluation.arrays import Array
from neuroprint.evaluation.classification import CLASS_METRICS
from neuroprint.evaluation.question import Question, equal_classes
from neuroprint.evaluation.regression import NUMBER_METRICS
from neuroprint.tasks.classes import draw_class_scores, one_hot
from neuroprint.tasks.numbers import draw_numbers
from neuroprint.tasks.task import Draw, Task, require

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from neuroprint.data.case import Case, Frame
    from neuroprint.data.case_facts import CaseFacts
    from neuroprint.data.cohort import Cohort
    from neuroprint.evaluation.evaluation import Evaluation


_MOST_CLASSES_OF_NUMBERS = 10


@dataclass(frozen=True, kw_only=True)
class Metadata(Task):
    """A column of the cohort's metadata. No label is read.

    Text is classes: the probe gives a score a class. Numbers are classes too if they are whole and at most ten different
    ones; other numbers the probe predicts as they are. A gallery case is relevant if its value equals the query's; the ideal
    ranking puts those first. A missing value equals nothing: such a case is a query without an answer.

    Of a confound, such as the site or the scanner, a good fingerprint knows nothing: every metric is better the less is told.

    Attributes:
        column: Name of the column.
        kind: ``classes``, ``numbers``, or ``auto`` for the rule above.
        confound: Whether the column is a confound.

    Example:
        >>> Metadata(column="grade").relevance
        'with the same grade'
        >>> Metadata(column="site", confound=True).asked_of("phantom", 40, 5)
        'confound site, better the less is told: a case with the same site · phantom, 40 cases in 5 folds'
    """

    column: str | None = None
    kind: Literal["auto", "classes", "numbers"] = "auto"
    confound: bool = False

    name: ClassVar[str] = "metadata"
    needs_scans: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require(
            bool(self.column),
            self.name,
            "column",
            self.column,
            "the name of a column of the metadata: task.column=NAME",
        )
        kinds = ("auto", "classes", "numbers")
        require(self.kind in kinds, self.name, "kind", self.kind, f"one of {', '.join(kinds)}")
        require(isinstance(self.confound, bool), self.name, "confound", self.confound, "true or false")
        require(self.across != self.column, self.name, "across", self.across, "another column than task.column")

    @property
    def relevance(self) -> str:
        return f"with the same {self.column}"

    @property
    def called(self) -> str:
        """A confound is called one."""
        return f"confound {self.column}, better the less is told" if self.confound else self.name

    def check(self, cohort: Cohort) -> None:
        """Refuse a column that is not there, in which all cases are alike, or that holds text where numbers are asked for."""
        if self.column not in cohort.columns:
            raise NeuroprintError(
                f"task.column={self.column}: the cohort has the columns {', '.join(cohort.columns) or 'none'}"
            )
        names = {class_name(case.metadata.get(str(self.column))) for case in cohort.cases} - {None}
        if len(names) < 2:
            raise NeuroprintError(
                f"task.column={self.column}: all cases that have a value have the same, {next(iter(names), 'none')}"
            )
        values = {case.id: case.metadata.get(str(self.column)) for case in cohort.cases}
        texts = [case for case, value in values.items() if not (is_missing(value) or _is_number(value))]
        if self.kind == "numbers" and texts:
            raise NeuroprintError(
                f"task.kind=numbers: case {texts[0]} has {values[texts[0]]!r} in the column {self.column}, expected a "
                "number: choose task.kind=classes"
            )

    def question(self, cases: Sequence[Case], facts: Mapping[str, CaseFacts], frame: Frame) -> Question:
        """Values as classes or as numbers."""
        values = [case.metadata.get(str(self.column)) for case in cases]
        names = [class_name(value) for value in values]
        classes = sorted({name for name in names if name is not None})
        codes = np.array([-1 if name is None else classes.index(name) for name in names], dtype=np.int64)
        judge, ideal = equal_classes(codes)
        numbers = self._are_numbers(values)
        return Question(
            ids=tuple(case.id for case in cases),
            patients=tuple(case.patient for case in cases),
            targets=_column(values) if numbers else one_hot(codes, len(classes)),
            target_names=(str(self.column),) if numbers else tuple(classes),
            judge=judge,
            ideal=ideal,
            metrics=self.metrics(NUMBER_METRICS if numbers else CLASS_METRICS, confound=self.confound),
        )

    def figures(self, evaluation: Evaluation) -> dict[str, Draw]:
        """How the probe's scores tell the classes apart, or predicted against true numbers."""
        names = [str(name).removeprefix("true_") for name in evaluation.queries if str(name).startswith("true_")]
        if names == [self.column]:
            return {"probe": lambda: _draw_number(evaluation, str(self.column))}
        return {"probe": lambda: draw_class_scores(evaluation, names)}

    def _are_numbers(self, values: Sequence[Any]) -> bool:
        if self.kind != "auto":
            return self.kind == "numbers"
        known = [value for value in values if not is_missing(value)]
        if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in known):
            return False
        whole = all(float(value).is_integer() for value in known)
        return not (whole and len(set(known)) <= _MOST_CLASSES_OF_NUMBERS)


def _draw_number(evaluation: Evaluation, column: str) -> Figure:
    from neuroprint.figures.predictions import Panel

    return draw_numbers(evaluation, [column], ["probe/r2"], [Panel(column)])


def _is_number(value: Any) -> bool:
    try:
        return bool(np.isfinite(float(value)))
    except (TypeError, ValueError):
        return False


def _column(values: Sequence[Any]) -> Array:
    return np.array([[np.nan if is_missing(value) else float(value)] for value in values], dtype=np.float64)

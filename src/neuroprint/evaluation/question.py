"""What a task asks of a set of cases, as arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from neuroprint.errors import NeuroprintError
from neuroprint.evaluation.arrays import Array, Indices
from neuroprint.evaluation.metric import Metric, known
from neuroprint.evaluation.ranked import Judged

Judge = Callable[[Indices, Indices], Judged]
"""From the places of queries and of a gallery among the cases to what the gallery is worth."""
Ideal = Callable[[Indices, Indices], Array]
"""From the same to similarities, (queries, gallery), by which the ideal ranking is made."""


@dataclass(frozen=True, eq=False)
class Question:
    """The scored cases, sorted by id, and what is asked of them. A task makes it, see :mod:`neuroprint.tasks`.

    Attributes:
        ids: Case ids, strictly ascending, so that no result can depend on the order in which cases were found.
        patients: Patient of each case.
        targets: (n, targets) what the probe is to predict; a row of NaN where it is not known.
        target_names: What the targets are called in tables, such as ``x_mm``.
        judge: Which of a gallery is relevant to which queries. Cases of one patient are never relevant to each other,
            whatever it says.
        metrics: What is scored, in the order of tables.
        ideal: What the best possible ranking is by; None where the task has none. Then there is no oracle and no share.
        columns: Further columns of the table of queries, (n,) each.
        across: (n,) number of each case's value in a column, such as its site, where a query's gallery holds cases of other
            values only; None where it holds all.
        rank_by: Name of the metric that rows are ranked by.

    Raises:
        NeuroprintError: Ids unsorted or repeated, lengths that differ, or targets that are neither known nor NaN.
    """

    ids: tuple[str, ...]
    patients: tuple[str, ...]
    targets: Array
    target_names: tuple[str, ...]
    judge: Judge
    metrics: tuple[Metric, ...]
    ideal: Ideal | None = None
    columns: Mapping[str, npt.NDArray[np.generic]] = field(default_factory=dict)
    across: Indices | None = None
    rank_by: str = "retrieval/p_at_5"
    _patient: Indices = field(init=False, repr=False)

    def __post_init__(self) -> None:
        n = len(self.ids)
        for earlier, later in zip(self.ids, self.ids[1:], strict=False):
            if earlier == later:
                raise NeuroprintError(f"case {later} appears twice: case ids must be unique within a cohort")
            if earlier > later:
                raise NeuroprintError(f"case {later} comes after {earlier}: sort the cases by id")
        targets = np.asarray(self.targets, dtype=np.float64)
        if targets.shape != (n, len(self.target_names)):
            raise NeuroprintError(f"targets have shape {targets.shape}, expected ({n}, {len(self.target_names)})")
        lengths = {"patients": len(self.patients)}
        lengths |= {f"column {name}": len(values) for name, values in self.columns.items()}
        lengths |= {} if self.across is None else {"across": len(self.across)}
        for name, length in lengths.items():
            if length != n:
                raise NeuroprintError(f"{name} has {length} entries, expected {n}, one per case")
        torn = np.flatnonzero(~np.isfinite(targets).all(axis=1) & ~np.isnan(targets).all(axis=1))
        if torn.size:
            raise NeuroprintError(f"case {self.ids[torn[0]]}: target {targets[torn[0]]} is not finite")
        object.__setattr__(self, "targets", targets)
        numbers = {patient: number for number, patient in enumerate(sorted(set(self.patients)))}
        object.__setattr__(self, "_patient", np.array([numbers[patient] for patient in self.patients], dtype=np.int64))

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def patient_numbers(self) -> Indices:
        """(n,) number of each case's patient."""
        return self._patient

    @property
    def located(self) -> npt.NDArray[np.bool_]:
        """(n,) whether the case's target is known."""
        return known(self.targets)

    def judged(self, queries: Indices, gallery: Indices) -> Judged:
        """What cases are worth to others, those of one patient nothing."""
        found = self.judge(queries, gallery)
        others = self._patient[queries][:, None] != self._patient[gallery]
        if others.all():
            return found
        return Judged(found.relevant & others, np.where(others, found.gain, 0.0), found.pairs)

    def among(self, chosen: npt.NDArray[np.bool_]) -> Question:
        """The same of some of the cases: (n,) which."""
        places = np.flatnonzero(chosen)
        judge, ideal = self.judge, self.ideal
        return replace(
            self,
            ids=tuple(self.ids[place] for place in places),
            patients=tuple(self.patients[place] for place in places),
            targets=self.targets[places],
            judge=lambda queries, gallery: judge(places[queries], places[gallery]),
            ideal=None if ideal is None else lambda queries, gallery: ideal(places[queries], places[gallery]),
            columns={name: values[places] for name, values in self.columns.items()},
            across=None if self.across is None else self.across[places],
        )


def within(apart: Callable[[Indices, Indices], Array], limit: float) -> tuple[Judge, Ideal]:
    """Relevance by a distance, and the ideal ranking by it: the nearest first.

    A case is relevant up to the limit. Its gain falls from 1 at distance 0 to 0 at twice the limit.

    Args:
        apart: From the places of queries and of a gallery to their distances, (queries, gallery). NaN is a distance that
            is not known: such a case is not relevant, and comes last in the ideal ranking.
        limit: The largest distance of a relevant case, above 0.

    Example:
        >>> size = np.array([1.0, 2.0, 5.0])
        >>> judge, ideal = within(lambda queries, gallery: np.abs(size[queries][:, None] - size[gallery]), limit=1.0)
        >>> judge(np.array([0]), np.array([1, 2])).relevant.tolist()
        [[True, False]]
    """

    def judge(queries: Indices, gallery: Indices) -> Judged:
        distance = apart(queries, gallery)
        gain = np.nan_to_num(np.maximum(0.0, 1.0 - distance / (2.0 * limit)))
        return Judged(distance <= limit, gain)

    def ideal(queries: Indices, gallery: Indices) -> Array:
        distance = apart(queries, gallery)
        unknown = np.isnan(distance)
        return -np.where(unknown, distance[~unknown].max(initial=0.0) + 1.0, distance)

    return judge, ideal


def log_ratios(values: Array) -> Callable[[Indices, Indices], Array]:
    """Distances of positive values: the natural logarithm of the larger over the smaller.

    Args:
        values: (n,) above 0; NaN where not known.

    Example:
        >>> apart = log_ratios(np.array([10.0, 20.0, np.nan]))
        >>> np.exp(apart(np.array([0]), np.array([1, 2]))).tolist()
        [[2.0, nan]]
    """

    def apart(queries: Indices, gallery: Indices) -> Array:
        one, other = values[queries][:, None], values[gallery]
        return np.log(np.maximum(one, other) / np.minimum(one, other))

    return apart


def equal_classes(codes: Sequence[int] | Indices) -> tuple[Judge, Ideal]:
    """Relevance by equality, and the ideal ranking by it: equals first.

    Args:
        codes: (n,) class of each case; -1, a case whose class is not known, equals nothing.
    """
    code = np.asarray(codes, dtype=np.int64)

    def judge(queries: Indices, gallery: Indices) -> Judged:
        same = (code[queries][:, None] == code[gallery]) & (code[queries][:, None] >= 0)
        return Judged(same, same.astype(np.float64))

    def ideal(queries: Indices, gallery: Indices) -> Array:
        return judge(queries, gallery).gain

    return judge, ideal

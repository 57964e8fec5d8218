"""``task.across=COLUMN``: the values that separate a query from its gallery, and whether galleries are left."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from neuroprint.data.metadata import class_name
from neuroprint.errors import NeuroprintError
from neuroprint.evaluation.splits import splits_across, sweep_splits

if TYPE_CHECKING:
    from neuroprint.data.case import Case
    from neuroprint.data.cohort import Cohort
    from neuroprint.evaluation.arrays import Indices


def why_not_across(column: str | None, case: Case) -> str | None:
    """Why a case cannot take part: it has no value. A case of an unknown site may be of any, also of the query's."""
    if column is None or class_name(case.metadata.get(column)) is not None:
        return None
    return f"it has no value in the column {column}, across which the task is asked"


def numbers_across(column: str, cases: Sequence[Case]) -> Indices:
    """(n,) number of each case's value, all of them known.

    Example:
        >>> from neuroprint.data.case import Case
        >>> cases = [Case(str(n), str(n), {}, metadata={"site": site}) for n, site in enumerate("ABA")]
        >>> numbers_across("site", cases).tolist()
        [0, 1, 0]
    """
    import numpy as np

    names = [str(class_name(case.metadata.get(column))) for case in cases]
    return np.asarray(np.unique(names, return_inverse=True)[1], dtype=np.int64)


def check_across(column: str, cohort: Cohort, cases: Sequence[Case], folds: int, seed: int) -> None:
    """Refuse a column that is not there, that does not vary, or that leaves a gallery without cases.

    Args:
        column: Its name.
        cohort: The cohort.
        cases: Those that may be scored.
        folds: Number of folds.
        seed: Of the folds.

    Raises:
        NeuroprintError: Names what is lacking.
    """
    if column not in cohort.columns:
        raise NeuroprintError(f"task.across={column}: the cohort has the columns {', '.join(cohort.columns) or 'none'}")
    valued = sorted((case for case in cases if why_not_across(column, case) is None), key=lambda case: case.id)
    names = sorted({str(class_name(case.metadata.get(column))) for case in valued})
    if len(names) < 2:
        raise NeuroprintError(
            f"task.across={column}: all cases that have a value have the same, {next(iter(names), 'none')}: there is no "
            "gallery of another"
        )
    patients = [case.patient for case in valued]
    try:
        splits_across(sweep_splits(patients, folds, seed), numbers_across(column, valued), patients)
    except NeuroprintError as error:
        raise NeuroprintError(f"task.across={column}: {error}") from None

"""Which cases are queries to which gallery."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from neuroprint.errors import NeuroprintError
from neuroprint.evaluation.arrays import Indices
from neuroprint.evaluation.folds import assign_folds

if TYPE_CHECKING:
    from collections.abc import Sequence

_LEAST_PATIENTS = 2


@dataclass(frozen=True, eq=False)
class Split:
    """A gallery and its queries: the fold's number, and the places of both sides' cases among the subjects."""

    fold: int
    gallery: npt.NDArray[np.int64]
    queries: npt.NDArray[np.int64]


def sweep_splits(patients: Sequence[str], folds: int, seed: int) -> tuple[Split, ...]:
    """Every case a query once, to the other folds.

    Args:
        patients: (n,) patient of each case.
        folds: Number of folds.
        seed: Draws another split.
    """
    fold = assign_folds(patients, folds, seed)
    return tuple(
        Split(number, np.flatnonzero(fold != number), np.flatnonzero(fold == number)) for number in range(folds)
    )


def splits_across(splits: Sequence[Split], across: Indices, patients: Sequence[str]) -> tuple[Split, ...]:
    """The splits refined by value: queries of one value, and of their gallery the cases of all others.

    Args:
        splits: Of the same cases.
        across: (n,) number of each case's value.
        patients: (n,) patient of each case.

    Raises:
        NeuroprintError: A gallery has fewer than two patients.

    Example:
        >>> whole = Split(0, np.array([0, 1, 2]), np.array([3, 4]))
        >>> found = splits_across([whole], np.array([0, 1, 1, 0, 2]), ["a", "b", "c", "d", "e"])
        >>> [(split.gallery.tolist(), split.queries.tolist()) for split in found]
        [([1, 2], [3]), ([0, 1, 2], [4])]
    """
    found = []
    for split in splits:
        asked = across[split.queries]
        for value in np.unique(asked):
            gallery = split.gallery[across[split.gallery] != value]
            count = len({patients[case] for case in gallery})
            if count < _LEAST_PATIENTS:
                have = f"{count} patient{'s' if count != 1 else ''}"
                raise NeuroprintError(
                    f"the gallery of a query of fold {split.fold} has {have} of another value, expected "
                    f"{_LEAST_PATIENTS} at least"
                )
            found.append(Split(split.fold, gallery, split.queries[asked == value]))
    return tuple(found)


def holdout_splits(
    patients: Sequence[str], held_out: npt.NDArray[np.bool_], folds: int, seed: int
) -> tuple[Split, ...]:
    """The hold-out's cases as queries to galleries as large as a query of the sweep had.

    There is a gallery for every fold: the sweep's cases without that fold's, which is a draw by patient. They are the
    very galleries of the sweep, so that projections and probes are fitted to what they were fitted to there; a figure
    is the mean over them. The split's number is that of the fold that its gallery lacks.

    Args:
        patients: (n,) patient of each case, the sweep's and the hold-out's together.
        held_out: (n,) which are the hold-out's.
        folds: The sweep's.
        seed: The sweep's.

    Raises:
        NeuroprintError: The hold-out or the sweep has no case, or they share a patient.
    """
    held = np.asarray(held_out, dtype=bool)
    if len(held) != len(patients):
        raise NeuroprintError(f"held_out has {len(held)} entries, expected {len(patients)}, one per case")
    if not held.any() or held.all():
        raise NeuroprintError("the hold-out or the sweep has no case: pass holdout=0.2 and a cohort of more patients")
    names = np.array(patients)
    if shared := set(names[held]) & set(names[~held]):
        raise NeuroprintError(f"patient {min(shared)} is in the hold-out and in the sweep: split by patient")
    sweep = np.flatnonzero(~held)
    fold = assign_folds(names[sweep].tolist(), folds, seed)
    return tuple(Split(number, sweep[fold != number], np.flatnonzero(held)) for number in range(folds))

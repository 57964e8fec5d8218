"""Splitting a cohort by patient: the hold-out, and the folds of a sweep."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from neuroprint.errors import NeuroprintError

if TYPE_CHECKING:
    from collections.abc import Sequence

AUTO_HOLDOUT_SHARE = 0.2
AUTO_HOLDOUT_PATIENTS = 50
_SALT = "neuroprint hold-out"


def in_holdout(patient: str, share: float) -> bool:
    """Say whether a patient belongs to the hold-out.

    Membership is a salted hash of the patient's id: no seed moves it, and a patient who is in at one share is in at
    every larger one.

    Args:
        patient: The patient's id.
        share: Share of patients held out, 0 to below 1.
    """
    return uniform(f"{_SALT}\0{patient}") < share


def holdout_share(holdout: str | float, patients: int) -> float:
    """Resolve the ``holdout`` setting: ``auto`` is 0.2 from 50 patients on and 0 below.

    Raises:
        NeuroprintError: Neither ``auto`` nor a number from 0 to below 1.
    """
    if holdout == "auto":
        return AUTO_HOLDOUT_SHARE if patients >= AUTO_HOLDOUT_PATIENTS else 0.0
    try:
        share = float(holdout)
    except (TypeError, ValueError):
        share = -1.0
    if not 0.0 <= share < 1.0:
        raise NeuroprintError(f"holdout={holdout} is neither auto nor a share from 0 to below 1: pass holdout=0.2")
    return share


def assign_folds(patients: Sequence[str], folds: int, seed: int) -> npt.NDArray[np.int64]:
    """Give every case its fold, by patient.

    Folds differ by at most one patient in size. A patient's place depends on the set of patients and the seed, not on
    the order or number of the cases.

    Args:
        patients: (n,) patient of each case.
        folds: Number of folds, 2 or more.
        seed: Draws another split.

    Returns:
        (n,) fold numbers from 0.

    Raises:
        NeuroprintError: Fewer patients than folds, or fewer than two folds.
    """
    distinct = sorted(set(patients), key=lambda patient: (uniform(f"{seed}\0{patient}"), patient))
    count = len(distinct)
    if count < 2:
        raise NeuroprintError(
            f"cohort has {count} patient{'s' if count != 1 else ''} to score: an evaluation compares patients with "
            "each other and needs two at least; add patients, or lower holdout"
        )
    if folds < 2:
        raise NeuroprintError(f"folds={folds}: an evaluation needs two folds at least; pass folds=2 or more")
    if count < folds:
        raise NeuroprintError(
            f"cohort has {count} patients, fewer than folds={folds}: pass folds={count} or add patients"
        )
    fold_of = {patient: place % folds for place, patient in enumerate(distinct)}
    return np.array([fold_of[patient] for patient in patients], dtype=np.int64)


def uniform(text: str) -> float:
    """A number in [0, 1) that is a fixed function of the text, on every machine and version."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2.0**48

"""Seeds that are for training only: what a network has learned from must not be what it is scored on."""

from __future__ import annotations

from neuroprint.errors import NeuroprintError

FIRST_TRAINING_SEED = 1_000_000
"""Cohorts of this seed and above are learned from, all others are scored on."""


def refuse_training_seed(seed: int) -> None:
    """Raise if phantoms of this seed are for training only.

    Raises:
        NeuroprintError: They are.
    """
    if seed >= FIRST_TRAINING_SEED:
        raise NeuroprintError(
            f"phantom seed {seed}: seeds from {FIRST_TRAINING_SEED} on are kept for training, so that no network is "
            f"scored on what it has learned from; choose a seed below {FIRST_TRAINING_SEED}"
        )


def refuse_evaluation_seed(seed: int) -> None:
    """Raise if phantoms of this seed may be scored on.

    Raises:
        NeuroprintError: They may.
    """
    if seed < FIRST_TRAINING_SEED:
        raise NeuroprintError(
            f"training on phantoms of seed {seed}: seeds below {FIRST_TRAINING_SEED} are kept for evaluation; "
            f"choose {FIRST_TRAINING_SEED} or above"
        )

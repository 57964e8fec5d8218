"""``fingerprint=ID`` or ``fingerprint=RANK``: the choices of a finished run, to be asked something else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from neuroprint.errors import NeuroprintError
from neuroprint.experiment.choice import the_leaderboard

if TYPE_CHECKING:
    from mlflow.entities import Run

    from neuroprint.tracking.store import TrackingStore

KEY = "fingerprint"
_GROUPS = ("encoder", "inferer", "pooling", "projection", "probe")
_VALUES = ("components", "similarity", "precision", "perplexity")


def expand(overrides: Sequence[str], store: TrackingStore, chosen: Mapping[str, str]) -> list[str]:
    """A job's overrides, with the choices of the run that ``fingerprint`` names in its place.

    Args:
        overrides: The job's own.
        store: Where the run is.
        chosen: The entries of the command line, by group: a rank is that among runs of their dataset and task.

    Raises:
        NeuroprintError: There is no such run, or its choices cannot be given on a command line.
    """
    found: list[str] = []
    for override in overrides:
        key, _, value = override.lstrip("+").partition("=")
        found += choices_of(_run(value, store, chosen)) if key == KEY else [override]
    return found


def choices_of(run: Run) -> list[str]:
    """What chose a run's fingerprint, as overrides.

    Raises:
        NeuroprintError: The run has weights or vectors of its own, or a combined encoder, whose files are not known.
    """
    params = run.data.params
    for key, what in {"encoders": "combines encoders", "encoder.path": "has vectors from a file"}.items():
        if key in params:
            raise NeuroprintError(
                f"fingerprint: {run.info.run_name} {what}: give its choices on the command line in the place of fingerprint"
            )
    found = [f"{group}={params[group]}" for group in _GROUPS]
    levels = params["layer"].split("+")
    found.append(f"layer={levels[0]}" if len(levels) == 1 else f"layer=[{','.join(levels)}]")
    found += [f"{key}={params[key]}" for key in _VALUES if key in params]
    return found + [
        f"{key}={value}" for key, value in params.items() if key.partition(".")[0] in _GROUPS and "." in key
    ]


def _run(named: str, store: TrackingStore, chosen: Mapping[str, str]) -> Run:
    """A finished candidate by its id, the beginning of that, or its rank in the leaderboard of dataset and task."""
    from neuroprint.tracking.boards import finished_candidates

    runs = finished_candidates(store)
    if named.isdecimal() and len(named) < 6:
        alike = [run for run in runs if all(run.data.params.get(group) == name for group, name in chosen.items())]
        if not alike:
            said = ", ".join(f"{group}={name}" for group, name in chosen.items())
            raise NeuroprintError(f"fingerprint={named}: there is no finished run with {said} to be ranked")
        rows = [row for row in the_leaderboard(store, alike).records() if row["role"] == "candidate"]
        if not 1 <= int(named) <= len(rows):
            raise NeuroprintError(
                f"fingerprint={named}: the leaderboard has {len(rows)} runs: give a rank from 1, or a run's id"
            )
        return store.client.get_run(rows[int(named) - 1]["run_id"])
    found = [run for run in runs if str(run.info.run_id).startswith(named)]
    if len(found) != 1:
        problem = "there is no such finished run" if not found else f"{len(found)} finished runs begin so"
        raise NeuroprintError(f"fingerprint={named}: {problem}; neuroprint leaderboard --json gives the ids")
    return found[0]

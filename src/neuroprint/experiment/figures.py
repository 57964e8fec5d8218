"""The figures of a finished run, drawn again for print."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from neuroprint.catalog.gate import Gate
from neuroprint.errors import NeuroprintError
from neuroprint.experiment.rebuild import check_same, rebuild
from neuroprint.experiment.run import embed_experiment, evaluate_experiment
from neuroprint.experiment.session import Session
from neuroprint.tasks.leaderboard import UNTRAINED
from neuroprint.tasks.pictures import save_pictures

if TYPE_CHECKING:
    from neuroprint.data.cohort import Cohort
    from neuroprint.experiment.experiment import Experiment
    from neuroprint.tasks.result import Result
    from neuroprint.tracking.store import TrackingStore


def draw_run(
    folder: Path,
    store: TrackingStore,
    run_id: str,
    overrides: Sequence[str] = (),
    trust: Sequence[str] = (),
    session: Session | None = None,
) -> list[Path]:
    """Write the figures of a finished candidate as PNG and as PDF, and the interactive map.

    Its features come from the feature store, so that no network normally runs. Sweeps write PNG only, since a PDF takes
    longer than the PNG. The untrained network is among the reference rows if it has been scored by now.

    Args:
        folder: Where the figures are to be.
        store: Where the run is.
        run_id: The run.
        overrides: See :func:`neuroprint.experiment.rebuild.rebuild`.
        trust: Packages whose code the run's configuration may name, beside neuroprint's own.
        session: Of this process.

    Returns:
        The files.

    Raises:
        NeuroprintError: There is no such finished candidate, or its scans or weights are not at hand.
    """
    from mlflow.exceptions import MlflowException

    session = session or Session()
    try:
        run = store.client.get_run(run_id)
    except MlflowException:
        raise NeuroprintError(f"{run_id}: there is no such run; neuroprint leaderboard --json gives the ids") from None
    if run.data.tags.get("role") != "candidate" or run.info.status != "FINISHED":
        raise NeuroprintError(f"{run_id}: {run.info.run_name} is not a finished candidate, of which figures are drawn")
    experiment = rebuild(store, run, session, overrides, Gate(trust))
    cohort = session.cohort(experiment)
    check_same(experiment, cohort, run)
    result = evaluate_experiment(experiment, session, embed_experiment(experiment, session, cohort))
    result = _with_untrained(result, experiment, session, store, cohort)
    save_pictures(result, folder, experiment.config.map.value, experiment.config.perplexity, pdf=True)
    return sorted(path for path in folder.iterdir() if path.suffix in (".png", ".pdf", ".html"))


def _with_untrained(
    result: Result, experiment: Experiment, session: Session, store: TrackingStore, cohort: Cohort
) -> Result:
    """The result, with the untrained network among its references if that has been scored."""
    twin, identity = experiment.untrained, experiment.untrained_identity(cohort)
    if twin is None or identity is None or store.settled(identity) is None:
        return result
    found = evaluate_experiment(twin, session, embed_experiment(twin, session, cohort)).evaluation
    return replace(result, references={**result.references, UNTRAINED: found})

"""From a finished run to a bundle: the best exportable run, or a named one, scored once on the hold-out, and registered."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuroprint.bundle.build import build_bundle, scores_of
from neuroprint.bundle.embedder import find_weights
from neuroprint.bundle.format import MANIFEST
from neuroprint.catalog.gate import Gate
from neuroprint.errors import NeuroprintError
from neuroprint.evaluation.folds import holdout_share
from neuroprint.experiment.choice import best_run, named_run
from neuroprint.experiment.looks import HOLDOUT_CASES, Look, look_at_holdout
from neuroprint.experiment.rebuild import check_same, rebuild
from neuroprint.experiment.run import embed_experiment, evaluate_experiment
from neuroprint.experiment.session import Session
from neuroprint.experiment.summary import profile_of
from neuroprint.tracking.store import TrackingStore

if TYPE_CHECKING:
    from mlflow.entities import Run

    from neuroprint.tasks.result import Result
    from neuroprint.tracking.registry import Registered

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Exported:
    """What came of an export.

    Attributes:
        folder: The bundle.
        run_id: The run it was made from.
        name: The configuration's name.
        cases: Size of the gallery.
        registered: As a version of the registered model ``neuroprint``.
        look: The look at the hold-out, if there is one.
    """

    folder: Path
    run_id: str
    name: str
    cases: int
    registered: Registered
    look: Look | None


def export(
    folder: Path,
    store: TrackingStore,
    metric: str | None = None,
    run_id: str | None = None,
    overrides: Sequence[str] = (),
    trust: Sequence[str] = (),
    session: Session | None = None,
    *,
    leaderboard: str | None = None,
    anyway: bool = False,
    promote: bool = False,
) -> Exported:
    """Write the best exportable run of a leaderboard, or the named one, as a bundle, and register it.

    Its features come from the feature store, so that no network normally runs. The projection is fitted on the whole sweep
    cohort, which is the gallery; the configuration is scored on the hold-out, once.

    Args:
        folder: Where the bundle is to be: nothing, an empty folder or another bundle.
        store: Where the runs are.
        metric: What the leaderboard is ranked by; by default the task's own.
        run_id: The run, instead of the best; of any experiment of the store.
        overrides: See :func:`neuroprint.experiment.rebuild.rebuild`.
        trust: Packages whose code the run's configuration may name, beside neuroprint's own.
        session: Of this process.
        leaderboard: How the id of the leaderboard begins, where the experiment has several.
        anyway: Export a run that is worse than voxels.
        promote: Make it the champion in the place of one of another task or cohort.

    Raises:
        NeuroprintError: The folder is taken, it is not plain which run is meant, it cannot be exported or is worse than
            voxels, or its scans or weights are not at hand; all of this is found before the hold-out is looked at.
    """
    place = _place(folder)
    gate, session = Gate(trust), session or Session()
    if run_id:
        store, run = named_run(store, run_id, metric, gate, anyway)
    else:
        run = best_run(store, metric, leaderboard, gate, anyway)
    experiment = rebuild(store, run, session, overrides, gate)
    cohort = session.cohort(experiment)
    check_same(experiment, cohort, run)
    find_weights(experiment.recipe)
    result = evaluate_experiment(experiment, session, embed_experiment(experiment, session, cohort))
    look = look_at_holdout(store, run, result)
    run = store.client.get_run(run.info.run_id)
    scores = _scores(store, run, result, look, holdout_share(experiment.config.holdout, len(cohort.patients)))
    cases = build_bundle(
        result,
        place,
        scores=scores,
        about={
            "name": run.info.run_name,
            "run_id": run.info.run_id,
            "seen_in_training": int(run.data.tags.get("seen_in_training", 0)),
        },
        config=experiment.public_config(),
        map_method=experiment.config.map.value,
        perplexity=experiment.config.perplexity,
        gate=gate,
    )
    from neuroprint.tracking.registry import register_bundle

    registered = register_bundle(store, run.info.run_id, place, scores, experiment.kind(cohort), promote)
    return Exported(folder, run.info.run_id, run.info.run_name, cases, registered, look)


def _place(folder: Path) -> Path:
    """Where a bundle is to be, without ``.`` and links; refused before anything is scored if it cannot be put there."""
    place = folder.expanduser().resolve()
    try:
        if Path.cwd().is_relative_to(place):
            raise NeuroprintError(f"{folder} holds the folder you are in: name one that does not exist yet")
        empty = not place.exists() or (place.is_dir() and not any(place.iterdir()))
        if not empty and not (place / MANIFEST).is_file():
            raise NeuroprintError(f"{folder} is there and is no bundle: name a folder that does not exist yet")
        above = next(parent for parent in place.parents if parent.exists())
    except OSError as error:
        raise NeuroprintError(f"{folder}: the bundle cannot be written there ({error.strerror or error})") from error
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        raise NeuroprintError(
            f"{folder}: the bundle cannot be written there: {above} is no folder that you may write to"
        )
    return place


def _scores(store: TrackingStore, run: Run, result: Result, look: Look | None, share: float) -> dict[str, Any]:
    """``scores.json``: metrics by the contract's names, of the sweep, the hold-out and the reference rows."""
    scores = {**scores_of(result), "profile": profile_of(store, run)}
    wanted = run.data.tags.get("untrained_row")
    for row in store.untrained(run.data.tags["group"]):
        if row.data.tags["identity"] == wanted:
            scores["references"].setdefault("untrained", dict(row.data.metrics))
    if look is None:
        why = "The hold-out could not be scored" if share else "There is no hold-out (its share is 0)"
        return {**scores, "no_holdout": why}
    metrics = run.data.metrics
    full = {name.rpartition("/")[2]: name for name in result.metrics}

    def of(family: str) -> dict[str, float]:
        found = {name.removeprefix(family): value for name, value in metrics.items() if name.startswith(family)}
        return {full.get(name, name): value for name, value in found.items()}

    differences = of("optimism/")
    return {
        **scores,
        "cases": {**scores["cases"], "holdout": int(run.data.tags[HOLDOUT_CASES])},
        "holdout": of("holdout/"),
        "no_holdout": None,
        "optimism": {
            name: [differences[name], differences[f"{name}_lo"], differences[f"{name}_hi"]]
            for name in differences
            if not name.endswith(("_lo", "_hi"))
        },
        "looks": {
            "time": look.time,
            "before": look.before,
            "configurations_before": look.configurations_before,
        },
    }

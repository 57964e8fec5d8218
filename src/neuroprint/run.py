"""One run: a configuration goes in, a finished MLflow run comes out, or an old one is found."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import Timeout
from omegaconf import OmegaConf

from neuroprint.embedding.store import digest
from neuroprint.identified import IdentifiedCohort, load_cohort
from neuroprint.job import Job, voxels_extractor
from neuroprint.scoring import REFERENCES, Row, Standard, extract, prepare, project_all, score
from neuroprint.tracking.artifacts import Evidence, write_artifacts
from neuroprint.tracking.store import DatasetInput, TrackingStore

if TYPE_CHECKING:
    from mlflow.entities import Run

    from neuroprint.evaluation.evaluation import Evaluation

log = logging.getLogger(__name__)

# Reference rows that this process has logged.
_logged_anew: set[str] = set()


@dataclass(frozen=True)
class Membership:
    """The sweep that a run belongs to: its identity, and its parent run."""

    sweep: str
    parent: str


def run_job(job: Job, membership: Membership | None = None) -> str:
    """Score one configuration and log it, unless a finished run of its identity exists.

    Processes that run the same configuration side by side share the extraction case by case; one of them scores and logs.

    Returns:
        The finished run's id.

    Raises:
        NeuroprintError: The configuration or the cohort cannot be scored.
    """
    config = job.config
    store = TrackingStore(Path(config.tracking.root), config.tracking.experiment)
    cohort = load_cohort(config)
    identity = job.identity(cohort)
    if found := _reusable(store, job, identity):
        return _adopt(store, found, membership)
    lock = store.lock(identity)
    row: Row | None = None
    try:
        lock.acquire(blocking=False)
    except Timeout:
        log.info("another process is scoring %s; sharing its extraction", job.name)
        row = prepare(job, cohort, extract(job, cohort))
        lock.acquire()
        if found := _reusable(store, job, identity):
            lock.release()
            _credit(store, found, row)
            return _adopt(store, found, membership)
    else:
        # Another process may have finished the run between our search and the lock.
        if found := _reusable(store, job, identity):
            lock.release()
            return _adopt(store, found, membership)
    try:
        return _score_and_log(store, job, cohort, identity, membership, row)
    finally:
        lock.release()


def _score_and_log(
    store: TrackingStore,
    job: Job,
    cohort: IdentifiedCohort,
    identity: str,
    membership: Membership | None,
    row: Row | None,
) -> str:
    store.bury(identity)
    tags = {
        "role": "candidate",
        "identity": identity,
        "group": digest(job.group(cohort)),
        "encoder_weights": "trained" if job.encoder.trained else "untrained",
        "figures": str(job.config.figures).lower(),
        **_sweep_tags(membership),
    }
    run_id = store.create(job.name, tags, membership.parent if membership else None)
    with store.running(run_id):
        row = row or prepare(job, cohort, extract(job, cohort))
        standard = row.standard
        _log_references(store, job, cohort, standard, membership)
        evaluation = score(job, row)
        evidence = _evidence(job, job.name, standard, evaluation, row)
        metrics = {**evaluation.metrics, "cohort/excluded": len(standard.excluded)}
        own = row.extraction
        metrics |= {
            "extract/forwards": own.forwards[0],
            "extract/cached": own.cached[0],
            "extract/seconds": own.seconds,
        }
        _log(store, run_id, job, cohort, evidence, metrics)
    log.info("scored %s: %s", job.name, _headline(evaluation))
    return run_id


def _log_references(
    store: TrackingStore, job: Job, cohort: IdentifiedCohort, standard: Standard, membership: Membership | None
) -> None:
    """Log the reference rows of the run's group, unless they are there."""
    group = digest(job.group(cohort))
    voxels = voxels_extractor(cohort.modalities).description
    for role in REFERENCES:
        identity = digest({"role": role, "group": group, "extractor": voxels if role == "voxels" else None})
        with store.lock(identity):
            # Also with resume=false, one look is enough: the jobs of a sweep share their reference rows.
            found = _reusable(store, job, identity) or (store.finished(identity) if identity in _logged_anew else None)
            if found:
                _adopt(store, found, membership, quietly=True)
                continue
            store.bury(identity)
            tags = {
                "role": "reference",
                "reference": role,
                "identity": identity,
                "group": group,
                "figures": str(job.config.figures).lower(),
                **_sweep_tags(membership),
            }
            run_id = store.create(role, tags, membership.parent if membership else None)
            with store.running(run_id):
                evaluation = standard.references[role]
                evidence = _evidence(job, role, standard, evaluation, None)
                _log(
                    store,
                    run_id,
                    job,
                    cohort,
                    evidence,
                    {**evaluation.metrics, "cohort/excluded": len(standard.excluded)},
                )
            _logged_anew.add(identity)


def _evidence(job: Job, name: str, standard: Standard, evaluation: Evaluation, row: Row | None) -> Evidence:
    embeddings = row.embeddings if row else standard.embeddings(name)
    return Evidence(
        name=name,
        config=OmegaConf.to_yaml(job.config, resolve=True),
        benchmark=standard.benchmark,
        evaluation=evaluation,
        embeddings=embeddings,
        projected=project_all(job, row) if row and job.config.figures else embeddings,
        facts=standard.facts,
        volumes_cm3=standard.volumes_cm3,
        midlines_mm=standard.midlines_mm,
        references={role: found for role, found in standard.references.items() if role != name},
        map_method=job.config.map.value,
        seed=job.config.seed,
    )


def _log(
    store: TrackingStore,
    run_id: str,
    job: Job,
    cohort: IdentifiedCohort,
    evidence: Evidence,
    metrics: Mapping[str, float],
) -> None:
    parameters = job.parameters if evidence.name == job.name else _shared_parameters(job, evidence.name)
    undefined = evidence.evaluation.undefined
    store.log(run_id, metrics, parameters, {"undefined": ", ".join(undefined)} if undefined else {})
    store.log_dataset(run_id, DatasetInput(cohort.cohort.name, cohort.fingerprint, len(cohort.cohort.cases)))
    with tempfile.TemporaryDirectory() as folder:
        write_artifacts(evidence, Path(folder), job.config.figures)
        store.log_folder(run_id, Path(folder))


def _shared_parameters(job: Job, role: str) -> dict[str, object]:
    """A reference row has no choices of its own beyond what its whole group shares."""
    shared = ("dataset", "retrieval", "target", "region", "folds", "holdout", "seed", "radius_mm", "column")
    return {"encoder": role, **{key: value for key, value in job.parameters.items() if key in shared}}


def _reusable(store: TrackingStore, job: Job, identity: str) -> Run | None:
    """A finished run that need not be repeated: it has the figures, or none are wanted."""
    if not job.config.resume:
        return None
    found = store.finished(identity)
    if found and job.config.figures and found.data.tags.get("figures") != "true":
        return None
    return found


def _adopt(store: TrackingStore, run: Run, membership: Membership | None, quietly: bool = False) -> str:
    """Take a finished run into this sweep's leaderboard too."""
    run_id = str(run.info.run_id)
    known = run.data.tags.get("sweeps", "")
    if membership and membership.sweep not in known:
        store.log(run_id, tags={"sweeps": f"{known} {membership.sweep}".strip()})
    if not quietly:
        log.info("already scored: %s (run %s, nothing computed again)", run.info.run_name, run_id)
    return run_id


def _credit(store: TrackingStore, run: Run, row: Row) -> None:
    """Add the forward passes that this process made for a run which another process finished."""
    forwards = row.extraction.forwards[0]
    if forwards:
        current = store.client.get_run(run.info.run_id).data.metrics.get("extract/forwards", 0.0)
        store.log(run.info.run_id, {"extract/forwards": current + forwards})


def _sweep_tags(membership: Membership | None) -> dict[str, str]:
    return {"sweeps": membership.sweep} if membership else {}


def _headline(evaluation: Evaluation) -> str:
    shown = {"retrieval/p_at_5": "precision at 5", "probe/r2": "R²", "probe/error_mm": "error in mm"}
    return ", ".join(
        f"{text} {evaluation.metrics[name]:.3g}" for name, text in shown.items() if name in evaluation.metrics
    )

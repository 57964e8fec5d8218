"""One run: a configuration goes in, a finished MLflow run comes out, or an old one is found."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import Timeout

from neuroprint.embedding.store import digest
from neuroprint.encoders.trained_on import mark, seen_images
from neuroprint.experiment.identified import IdentifiedCohort, load_cohort
from neuroprint.experiment.job import Job, voxels_extractor
from neuroprint.experiment.scoring import REFERENCES, UNTRAINED, Row, Standard, extract, prepare, project_all, score
from neuroprint.tracking.artifacts import Evidence, write_artifacts
from neuroprint.tracking.store import DatasetInput, TrackingStore, open_store

if TYPE_CHECKING:
    from mlflow.entities import Run

    from neuroprint.evaluation.evaluation import Evaluation

log = logging.getLogger(__name__)

# Identities that this process has logged: with resume=false too, jobs of one sweep that come to the same run once.
_logged_here: set[str] = set()

# Leaderboards whose reference rows this process has seen to: the jobs of one sweep need not look again.
_references_here: set[tuple[object, ...]] = set()


def run_job(job: Job, parent: str | None = None) -> str:
    """Score one configuration and log it, unless a finished run of its identity exists.

    Processes that run the same configuration side by side share the extraction case by case; one of them scores and logs.
    A run that is part of no sweep gets its reference row ``untrained`` at once; a sweep's best run gets it when it ends.

    Args:
        job: The configuration.
        parent: Id of the sweep's parent run.

    Returns:
        The finished run's id.

    Raises:
        NeuroprintError: The configuration or the cohort cannot be scored.
    """
    run_id = _run(job, parent)
    if parent is None:
        score_untrained(job)
    return run_id


def _run(job: Job, parent: str | None) -> str:
    store = open_store(job.config.tracking)
    cohort = load_cohort(job.config)
    identity = job.identity(cohort)
    lock = store.lock(identity)
    row: Row | None = None
    try:
        lock.acquire(blocking=False)
    except Timeout:
        log.info("another process is scoring %s; sharing its extraction", job.name)
        row = prepare(job, cohort, extract(job, cohort))
        lock.acquire()
    try:
        found = _reusable(store, job, identity)
        if found is None:
            return _score_and_log(store, job, cohort, identity, parent, row)
        if row is not None:
            _credit(store, found, row)
        _restore_references(store, job, cohort, found, parent)
        return _adopt(store, found, parent)
    finally:
        lock.release()


def score_untrained(job: Job, parent: str | None = None) -> None:
    """Log the reference row ``untrained``: a configuration on seeded random weights of the same architecture.

    Nothing happens where it is logged already, or where the encoder is not trained or has no untrained twin. Where it cannot
    be scored, that is said in a line: the candidates' scores hold without it, and the leaderboard says that it is missing.

    Args:
        job: The configuration with trained weights.
        parent: Id of the sweep's parent run.
    """
    try:
        _score_untrained(job, parent)
    except Exception as error:
        log.debug("the reference row untrained failed", exc_info=True)
        said = " ".join(str(error).split())
        log.error("the reference row untrained of %s cannot be scored: %s: %s", job.name, type(error).__name__, said)


def _score_untrained(job: Job, parent: str | None) -> None:
    twin, cohort = job.untrained, load_cohort(job.config)
    identity = job.untrained_identity(cohort)
    if twin is None or identity is None:
        return
    store = open_store(job.config.tracking)
    with store.lock(identity):
        if found := _reusable(store, twin, identity):
            _adopt(store, found, parent, quietly=True)
            _point_to_untrained(store, job.identity(cohort), identity)
            return
        log.info("scoring the reference row untrained: %s on random weights", job.name)
        run_id = store.create(UNTRAINED, _reference_tags(twin, UNTRAINED, identity), parent)
        with store.running(run_id):
            row = prepare(twin, cohort, extract(twin, cohort))
            evidence = _evidence(twin, UNTRAINED, row.standard, score(twin, row), row)
            _log(store, run_id, twin, cohort, row.standard, evidence, _counts(row))
        _logged_here.add(identity)
    _point_to_untrained(store, job.identity(cohort), identity)


def _point_to_untrained(store: TrackingStore, candidate: str, untrained: str) -> None:
    """A finished candidate outlives its reference row: other versions of torch or MONAI draw other random weights."""
    for run in store.search(f"tags.identity = '{candidate}' and attributes.status = 'FINISHED'"):
        if run.data.tags.get("untrained_row") != untrained:
            store.log(run.info.run_id, tags={"untrained_row": untrained})


def _score_and_log(
    store: TrackingStore, job: Job, cohort: IdentifiedCohort, identity: str, parent: str | None, row: Row | None
) -> str:
    tags = {
        "role": "candidate",
        "identity": identity,
        "encoder_weights": "trained" if job.encoder.trained else "untrained",
        "figures": str(job.config.figures).lower(),
        "exportable": str(job.exportable).lower(),
    }
    if untrained := job.untrained_identity(cohort):
        tags["untrained_row"] = untrained
    name = job.name
    if seen := _seen_in_training(job, cohort):
        tags["seen_in_training"] = str(seen)
        name = f"{name} · seen in training"
        log.warning(
            "%s: the encoder has learned from %d of the cases it is scored on, which flatters it", job.name, seen
        )
    run_id = store.create(name, tags, parent)
    with store.running(run_id):
        row = row or prepare(job, cohort, extract(job, cohort))
        shared = (
            store.uri,
            store.experiment,
            _group(job, cohort, row.standard),
            job.config.repeats,
            job.config.figures,
            parent,
        )
        if shared not in _references_here:
            _log_references(store, job, cohort, row.standard, parent)
            _references_here.add(shared)
        evaluation = score(job, row)
        evidence = _evidence(job, job.name, row.standard, evaluation, row)
        _log(store, run_id, job, cohort, row.standard, evidence, _counts(row))
    _logged_here.add(identity)
    log.info("scored %s: %s", job.name, _headline(evaluation))
    return run_id


def _seen_in_training(job: Job, cohort: IdentifiedCohort) -> int:
    """Cases of the sweep of which the encoder's weights say that they were trained on one of the images."""
    seen = seen_images(job.encoder)
    cases = cohort.swept(job.config.holdout) if seen else []
    return sum(any(mark(content) in seen for content in cohort.prints[case.id].each.values()) for case in cases)


def _counts(row: Row) -> dict[str, float]:
    return {
        "extract/forwards": row.forwards,
        "extract/cached": row.cached,
        "extract/seconds": row.extraction.seconds,
    }


def _reference_tags(job: Job, role: str, identity: str) -> dict[str, str]:
    figures = str(job.config.figures).lower()
    return {"role": "reference", "reference": role, "identity": identity, "figures": figures, "exportable": "false"}


def _log_references(
    store: TrackingStore, job: Job, cohort: IdentifiedCohort, standard: Standard, parent: str | None
) -> None:
    """Log the reference rows of the run's group, unless they are there."""
    group = _group(job, cohort, standard)
    voxels = voxels_extractor(cohort.modalities).description
    for role in REFERENCES:
        compared = voxels if role == "voxels" else None
        identity = digest({"role": role, "group": group, "repeats": job.config.repeats, "extractor": compared})
        with store.lock(identity):
            if found := _reusable(store, job, identity):
                _adopt(store, found, parent, quietly=True)
                continue
            run_id = store.create(role, _reference_tags(job, role, identity), parent)
            with store.running(run_id):
                evidence = _evidence(job, role, standard, standard.references[role], None)
                _log(store, run_id, job, cohort, standard, evidence, {})
            _logged_here.add(identity)


def _restore_references(
    store: TrackingStore, job: Job, cohort: IdentifiedCohort, found: Run, parent: str | None
) -> None:
    """A finished run whose reference rows were deleted, or never had their figures, gets them back."""
    rows = store.references(found.data.tags["group"])
    if set(REFERENCES) <= set(rows) and not (
        job.config.figures and any(rows[role].data.tags.get("figures") != "true" for role in REFERENCES)
    ):
        for role in REFERENCES:
            _adopt(store, rows[role], parent, quietly=True)
        return
    _log_references(store, job, cohort, prepare(job, cohort, extract(job, cohort)).standard, parent)


def _group(job: Job, cohort: IdentifiedCohort, standard: Standard) -> str:
    """Runs of one group may be ranked together: they agree in the protocol, and the very same cases were scored."""
    return digest({**job.group(cohort), "scored": standard.subjects.ids})


def _evidence(job: Job, name: str, standard: Standard, evaluation: Evaluation, row: Row | None) -> Evidence:
    embeddings = row.embeddings if row else standard.embeddings(name)
    return Evidence(
        name=name,
        config=job.public_config(),
        benchmark=standard.benchmark,
        evaluation=evaluation,
        embeddings=embeddings,
        projected=project_all(job, row) if row and job.config.figures else embeddings,
        facts=standard.facts,
        volumes_cm3=standard.volumes_cm3,
        midlines_mm=standard.midlines_mm,
        references={role: found for role, found in standard.references.items() if role != name},
        map_method=job.config.map.value,
        perplexity=job.config.perplexity,
        seed=job.config.seed,
    )


def _log(
    store: TrackingStore,
    run_id: str,
    job: Job,
    cohort: IdentifiedCohort,
    standard: Standard,
    evidence: Evidence,
    counts: Mapping[str, float],
) -> None:
    parameters = job.parameters if evidence.name == job.name else _reference_parameters(job, evidence.name)
    metrics = {**evidence.evaluation.metrics, "cohort/excluded": len(standard.excluded), **counts}
    tags = {"group": _group(job, cohort, standard), "cohort": cohort.fingerprint[:16]}
    tags["encoder"] = str(parameters["encoder"])
    if evidence.evaluation.undefined:
        tags["undefined"] = ", ".join(evidence.evaluation.undefined)
    store.log(run_id, metrics, parameters, tags)
    store.log_dataset(run_id, DatasetInput(cohort.cohort.name, cohort.fingerprint, len(cohort.cohort.cases)))
    with tempfile.TemporaryDirectory() as folder:
        write_artifacts(evidence, Path(folder), job.config.figures)
        store.log_folder(run_id, Path(folder))


def _reference_parameters(job: Job, role: str) -> dict[str, object]:
    """A reference row has no choices of its own beyond what its whole group shares; untrained has its candidate's."""
    if role == UNTRAINED:
        return {**job.parameters, "encoder": role}
    protocol = ("units", "weighting", "frame", "folds", "repeats", "holdout", "seed", "radius_mm", "min_dice", "column")
    shared = ("dataset", "retrieval", "target", "region", *protocol)
    return {"encoder": role, **{key: value for key, value in job.parameters.items() if key in shared}}


def _reusable(store: TrackingStore, job: Job, identity: str) -> Run | None:
    """A finished run that need not be repeated: it has the figures, or none are wanted; strict runs left nobody out.

    Called while holding the identity's lock.
    """
    found = store.settled(identity)
    if not job.config.resume and identity not in _logged_here:
        return None
    if found is None or (job.config.figures and found.data.tags.get("figures") != "true"):
        return None
    if job.config.dataset.strict and found.data.metrics.get("cohort/excluded"):
        return None
    return found


def _adopt(store: TrackingStore, run: Run, parent: str | None, quietly: bool = False) -> str:
    """List a finished run; one that belongs to no sweep yet is put under this one's parent."""
    run_id = str(run.info.run_id)
    if parent and "mlflow.parentRunId" not in run.data.tags:
        store.log(run_id, tags={"mlflow.parentRunId": parent})
    if not quietly:
        log.info("already scored: %s (run %s, nothing computed again)", run.info.run_name, run_id)
    return run_id


def _credit(store: TrackingStore, run: Run, row: Row) -> None:
    """Add the forward passes that this process made for a run which another process finished."""
    if row.forwards:
        current = store.client.get_run(run.info.run_id).data.metrics.get("extract/forwards", 0.0)
        store.log(run.info.run_id, {"extract/forwards": current + row.forwards})


def _headline(evaluation: Evaluation) -> str:
    shown = {"retrieval/p_at_5": "precision at 5", "probe/r2": "R²", "probe/error_mm": "error in mm"}
    return ", ".join(
        f"{text} {evaluation.metrics[name]:.3g}" for name, text in shown.items() if name in evaluation.metrics
    )

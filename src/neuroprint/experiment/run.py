"""One run: an experiment goes in, a finished MLflow run comes out, or an old one is found."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import Timeout

from neuroprint.data.digests import digest
from neuroprint.embedding.embed import embed_by
from neuroprint.embedding.recipe import voxels_request
from neuroprint.encoders.trained_on import mark
from neuroprint.evaluation.perplexity import allowed_perplexity
from neuroprint.evaluation.projection import is_transductive
from neuroprint.experiment.experiment import Experiment, seen_marks
from neuroprint.tasks.evaluate import evaluate, sweep_cases
from neuroprint.tasks.leaderboard import UNTRAINED, metrics_of
from neuroprint.tasks.pictures import save_pictures, save_tables

if TYPE_CHECKING:
    from mlflow.entities import Run

    from neuroprint.data.cohort import Cohort
    from neuroprint.embedding.embeddings import Embeddings
    from neuroprint.experiment.session import Session
    from neuroprint.tasks.result import Result
    from neuroprint.tracking.store import TrackingStore

log = logging.getLogger(__name__)

_SHARED_PARAMETERS = ("dataset", "task", "perturb", "folds", "holdout", "seed", "permutations")
"""Parameters that a leaderboard's rows share, beside those of the task."""


def run_experiment(experiment: Experiment, session: Session, parent: str | None = None) -> str:
    """Score one configuration and log it, unless a finished run of its identity exists.

    Processes that run the same configuration side by side share the extraction case by case; one of them scores and logs.
    A run that is part of no sweep gets its reference row ``untrained`` at once; a sweep's best run gets it when it ends.

    Args:
        experiment: The configuration.
        session: Of this process.
        parent: Id of the sweep's parent run.

    Returns:
        The finished run's id.

    Raises:
        NeuroprintError: The configuration or the cohort cannot be scored.
    """
    run_id = _run(experiment, session, parent)
    if parent is None:
        score_untrained(experiment, session)
    return run_id


def embed_experiment(experiment: Experiment, session: Session, cohort: Cohort) -> Embeddings:
    """The embeddings of a whole cohort, from the feature store as far as they are there."""
    config = experiment.config
    return embed_by(experiment.recipe, cohort, session.features(config.store), config.device)


def evaluate_experiment(experiment: Experiment, session: Session, embeddings: Embeddings) -> Result:
    """The scores of an experiment's embeddings."""
    config = experiment.config
    return evaluate(
        embeddings,
        experiment.task,
        experiment.projection,
        experiment.probe,
        similarity=experiment.similarity,
        folds=config.folds,
        seed=config.seed,
        holdout=config.holdout,
        permutations=config.permutations,
        name=experiment.name,
        exams=session.exams,
    )


def score_untrained(experiment: Experiment, session: Session, parent: str | None = None) -> None:
    """Log the reference row ``untrained``: a configuration on seeded random weights of the same architecture.

    Nothing happens where it is logged already, or where the encoder is not trained or has no untrained twin. Where it cannot
    be scored, that is said in a line: the candidates' scores hold without it, and the leaderboard says that it is missing.

    Args:
        experiment: The configuration with trained weights.
        session: Of this process.
        parent: Id of the sweep's parent run.
    """
    try:
        _score_untrained(experiment, session, parent)
    except Exception as error:
        say_not_scored(experiment, error)


def lacks_untrained(experiment: Experiment, session: Session, parent: str | None = None) -> bool:
    """Whether the reference row ``untrained`` is due and not logged; one that is logged is listed under the sweep.

    Args:
        experiment: The configuration with trained weights.
        session: Of this process.
        parent: Id of the sweep's parent run.
    """
    identity = experiment.untrained_identity(session.cohort(experiment))
    if identity is None:
        return False
    with session.tracking(experiment.config).lock(identity):
        return not _found_untrained(experiment, session, identity, parent)


def say_not_scored(experiment: Experiment, error: Exception) -> None:
    """Say in a line why the reference row ``untrained`` is missing."""
    log.debug("the reference row untrained failed", exc_info=True)
    said = " ".join(str(error).split())
    log.error("the reference row untrained of %s cannot be scored: %s: %s", experiment.name, type(error).__name__, said)


def _run(experiment: Experiment, session: Session, parent: str | None) -> str:
    store = session.tracking(experiment.config)
    cohort = session.cohort(experiment)
    identity = experiment.identity(cohort)
    lock = store.lock(identity)
    embeddings: Embeddings | None = None
    try:
        lock.acquire(blocking=False)
    except Timeout:
        log.info("another process is scoring %s; sharing its extraction", experiment.name)
        embeddings = embed_experiment(experiment, session, cohort)
        lock.acquire()
    try:
        found = _reusable(store, experiment, session, identity)
        if found is None:
            return _score_and_log(store, experiment, session, cohort, parent, embeddings)
        if embeddings is not None:
            _credit(store, found, embeddings)
        _restore_references(store, experiment, session, cohort, found, parent)
        return _adopt(store, found, parent)
    finally:
        lock.release()


def _score_and_log(
    store: TrackingStore,
    experiment: Experiment,
    session: Session,
    cohort: Cohort,
    parent: str | None,
    embeddings: Embeddings | None,
) -> str:
    identity, config = experiment.identity(cohort), experiment.config
    tags = {
        "role": "candidate",
        "identity": identity,
        "encoder_weights": "trained" if experiment.recipe.trained else "untrained",
        "figures": str(config.figures).lower(),
        "exportable": str(experiment.exportable).lower(),
        "transductive": str(is_transductive(experiment.projection.made)).lower(),
    }
    if untrained := experiment.untrained_identity(cohort):
        tags["untrained_row"] = untrained
    name = experiment.name
    if seen := _seen_in_training(experiment, cohort):
        tags["seen_in_training"] = str(seen)
        name = f"{name} · seen in training"
        log.warning("%s: the encoder has learned from %d of the cases it is scored on, which flatters it", name, seen)
    run_id = store.create(name, tags, parent)
    with store.running(run_id):
        embeddings = embeddings or embed_experiment(experiment, session, cohort)
        result = evaluate_experiment(experiment, session, embeddings)
        _warn_of_perplexity(experiment, session, len(result.ids))
        _log_references(store, experiment, session, result, parent)
        _log(store, run_id, experiment, result, experiment.parameters)
    session.logged.add(identity)
    log.info("scored %s: %s", experiment.name, _headline(result))
    return run_id


def _warn_of_perplexity(experiment: Experiment, session: Session, cases: int) -> None:
    """Say where t-SNE, as projection or as map, cannot have the perplexity that was asked for."""
    config = experiment.config
    mapped = config.figures and config.map.value == "tsne"
    if config.perplexity is None or not (mapped or "perplexity" in experiment.parameters):
        return
    allowed = allowed_perplexity(config.perplexity, cases)
    if allowed < config.perplexity:
        session.warn(f"perplexity={config.perplexity:g} is not below {cases} cases: clipped to {allowed:.3g}")


def _score_untrained(experiment: Experiment, session: Session, parent: str | None) -> None:
    twin, cohort = experiment.untrained, session.cohort(experiment)
    identity = experiment.untrained_identity(cohort)
    if twin is None or identity is None:
        return
    store = session.tracking(experiment.config)
    with store.lock(identity):
        if _found_untrained(experiment, session, identity, parent):
            return
        log.info("scoring the reference row untrained: %s on random weights", experiment.name)
        run_id = store.create(UNTRAINED, _reference_tags(twin, UNTRAINED, identity), parent)
        with store.running(run_id):
            result = evaluate_experiment(twin, session, embed_experiment(twin, session, cohort))
            _log(store, run_id, twin, result, {**twin.parameters, "encoder": UNTRAINED})
        session.logged.add(identity)
    _point_to_untrained(store, experiment.identity(cohort), identity)


def _found_untrained(experiment: Experiment, session: Session, identity: str, parent: str | None) -> bool:
    """Whether the reference row is logged already. Called while holding its identity's lock."""
    store, twin = session.tracking(experiment.config), experiment.untrained
    found = _reusable(store, twin, session, identity) if twin else None
    if found is None:
        return False
    _adopt(store, found, parent, quietly=True)
    _point_to_untrained(store, experiment.identity(session.cohort(experiment)), identity)
    return True


def _point_to_untrained(store: TrackingStore, candidate: str, untrained: str) -> None:
    """A finished candidate outlives its reference row: other versions of torch or MONAI draw other random weights."""
    for run in store.search(f"tags.identity = '{candidate}' and attributes.status = 'FINISHED'"):
        if run.data.tags.get("untrained_row") != untrained:
            store.log(run.info.run_id, tags={"untrained_row": untrained})


def _seen_in_training(experiment: Experiment, cohort: Cohort) -> int:
    """Cases of the sweep of which the encoder's weights say that they were trained on one of the images."""
    seen = seen_marks(experiment)
    cases = sweep_cases(cohort, experiment.config.holdout) if seen else []
    return sum(any(mark(content) in seen for content in cohort.digests[case.id].each.values()) for case in cases)


def _reference_tags(experiment: Experiment, role: str, identity: str) -> dict[str, str]:
    figures = str(experiment.config.figures).lower()
    return {"role": "reference", "reference": role, "identity": identity, "figures": figures, "exportable": "false"}


def _log_references(
    store: TrackingStore, experiment: Experiment, session: Session, result: Result, parent: str | None
) -> None:
    """Log the reference rows of the run's group, unless they are there. The jobs of one sweep look once."""
    cohort, config = result.embeddings.cohort, experiment.config
    group = _group(experiment, result)
    shared = (store.uri, store.experiment, group, config.figures, config.permutations, parent)
    if shared in session.referenced:
        return
    for role in result.references:
        compared = voxels_request(cohort.modalities).extractor.description if role == "voxels" else None
        known = {"role": role, "group": group, "extractor": compared, "permutations": config.permutations}
        identity = digest(known)
        with store.lock(identity):
            if found := _reusable(store, experiment, session, identity):
                _adopt(store, found, parent, quietly=True)
                continue
            run_id = store.create(role, _reference_tags(experiment, role, identity), parent)
            with store.running(run_id):
                own = (*_SHARED_PARAMETERS, *experiment.task.parameters())
                parameters = {key: value for key, value in experiment.parameters.items() if key in own}
                _log(store, run_id, experiment, result.as_reference(role), {"encoder": role, **parameters})
            session.logged.add(identity)
    session.referenced.add(shared)


def _restore_references(
    store: TrackingStore, experiment: Experiment, session: Session, cohort: Cohort, found: Run, parent: str | None
) -> None:
    """A finished run whose reference rows were deleted, or never had their figures, gets them back."""
    due = found.data.tags["references"].split(",")
    rows = store.references(found.data.tags["group"])
    lacking = experiment.config.figures and any(
        role in rows and rows[role].data.tags.get("figures") != "true" for role in due
    )
    if set(due) <= set(rows) and not lacking:
        for role in due:
            _adopt(store, rows[role], parent, quietly=True)
        return
    result = evaluate_experiment(experiment, session, embed_experiment(experiment, session, cohort))
    _log_references(store, experiment, session, result, parent)


def _group(experiment: Experiment, result: Result) -> str:
    """Runs of one group may be ranked together: they agree in the protocol, and the very same cases were scored."""
    return digest({**experiment.group(result.embeddings.cohort), "scored": result.ids})


def _log(
    store: TrackingStore, run_id: str, experiment: Experiment, result: Result, parameters: Mapping[str, object]
) -> None:
    cohort, config = result.embeddings.cohort, experiment.config
    due = [role for role in (*result.references, result.name) if role in ("chance", "voxels", "oracle")]
    tags = {
        "group": _group(experiment, result),
        "cohort": cohort.digest[:16],
        "encoder": str(parameters["encoder"]),
        "rank_by": experiment.task.rank_by,
        "about": experiment.task.asked_of(cohort.name, result.evaluation.cases, config.folds, result.embeddings.change),
        "references": ",".join(sorted(due)),
        "cohort/cases": str(result.evaluation.cases),
        "cohort/queries": str(result.evaluation.answerable),
        "cohort/excluded": str(len(result.excluded)),
    }
    scanned = result.embeddings.scanned
    if scanned is not None and result.embeddings.recipe is not None:
        tags |= {
            "extract/forwards": str(scanned.forwards),
            "extract/cached": str(scanned.stored),
            "extract/seconds": f"{scanned.seconds:.3f}",
        }
    if result.evaluation.undefined:
        tags["undefined"] = ", ".join(result.evaluation.undefined)
    store.log(run_id, result.metrics, parameters, tags)
    store.log_dataset(run_id, cohort.name, cohort.digest, len(cohort))
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "config.yaml").write_text(experiment.saved_config(), encoding="utf-8")
        save_tables(result, folder)
        if config.figures:
            save_pictures(result, folder / "plots", config.map.value, config.perplexity)
        store.log_folder(run_id, folder)


def _reusable(store: TrackingStore, experiment: Experiment, session: Session, identity: str) -> Run | None:
    """A finished run that need not be repeated: it has the figures, or none are wanted; strict runs left nobody out.

    Called while holding the identity's lock.
    """
    found = store.settled(identity)
    config = experiment.config
    if not config.resume and identity not in session.logged:
        return None
    if found is None or (config.figures and found.data.tags.get("figures") != "true"):
        return None
    if config.dataset.strict and found.data.tags.get("cohort/excluded", "0") != "0":
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


def _credit(store: TrackingStore, run: Run, embeddings: Embeddings) -> None:
    """Add the forward passes that this process made for a run which another process finished."""
    forwards = embeddings.scanned.forwards if embeddings.scanned else 0
    if forwards:
        current = int(store.client.get_run(run.info.run_id).data.tags.get("extract/forwards", 0))
        store.log(run.info.run_id, tags={"extract/forwards": str(current + forwards)})


def _headline(result: Result) -> str:
    shown = [metric for metric in metrics_of(result.queries).values() if metric.shown and metric.name in result.metrics]
    return ", ".join(f"{metric.label} {result.metrics[metric.name]:.3g}" for metric in shown)

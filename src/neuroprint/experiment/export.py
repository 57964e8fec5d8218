"""Export: the best configuration of a leaderboard becomes a bundle, and MLflow's ``neuroprint@champion``."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from omegaconf import OmegaConf

from neuroprint.catalog.build import build
from neuroprint.bundle.card import write_card
from neuroprint.bundle.contents import Contents, write_bundle
from neuroprint.bundle.format import MANIFEST
from neuroprint.bundle.projection import Step, apply, steps_of, why_not
from neuroprint.bundle.recipe import COPIED_BELOW, View
from neuroprint.bundle.trusted import check
from neuroprint.data.case import Case
from neuroprint.data.facts import Target
from neuroprint.data.positions import position
from neuroprint.embedding.combination import join
from neuroprint.embedding.extraction import Extraction
from neuroprint.encoders.combined import CombinedEncoder
from neuroprint.encoders.voxels import VoxelEncoder
from neuroprint.errors import NeuroprintError
from neuroprint.evaluation.projection import fit_projection
from neuroprint.experiment.holdout import Look, look
from neuroprint.experiment.identified import IdentifiedCohort, load_cohort
from neuroprint.experiment.job import Job
from neuroprint.experiment.rebuild import check_same, rebuild
from neuroprint.experiment.scoring import clipped_projection, extract
from neuroprint.tracking.leaderboard import DEFAULT_METRIC, leaderboards
from neuroprint.tracking.store import TrackingStore

if TYPE_CHECKING:
    from mlflow.entities import Run

log = logging.getLogger(__name__)

_COMBINED = f"{CombinedEncoder.__module__}.{CombinedEncoder.__qualname__}"
_VOXELS = f"{VoxelEncoder.__module__}.{VoxelEncoder.__qualname__}"


@dataclass(frozen=True)
class Exported:
    """What came of an export.

    Attributes:
        folder: The bundle.
        run_id: The run it was made from.
        name: The configuration's name.
        cases: Size of the gallery.
        version: Of the registered model ``neuroprint``.
        look: The look at the hold-out, if there is one.
    """

    folder: Path
    run_id: str
    name: str
    cases: int
    version: str
    look: Look | None


def export(
    folder: Path,
    store: TrackingStore,
    metric: str = DEFAULT_METRIC,
    run_id: str | None = None,
    overrides: Sequence[str] = (),
) -> Exported:
    """Write the best exportable run of the newest leaderboard, or the named one, as a bundle, and register it.

    Its features come from the feature store, so that no network normally runs. The projection is fitted on the whole sweep
    cohort, which is the gallery; the configuration is scored on the hold-out, once.

    Args:
        folder: Where the bundle is to be: nothing, an empty folder or another bundle.
        store: Where the runs are.
        metric: What the leaderboard is ranked by.
        run_id: The run, instead of the best; of any experiment of the store.
        overrides: See :func:`neuroprint.experiment.rebuild.rebuild`.

    Raises:
        NeuroprintError: The folder is taken, there is no such run, it cannot be exported, or its scans or weights are
            not at hand; all of this is found before the hold-out is looked at.
    """
    place = _place(folder)
    if run_id:
        store, run = _named(store, run_id)
    else:
        run = _best(store, metric)
    job = rebuild(store, run, overrides)
    cohort = load_cohort(job.config)
    check_same(job, cohort, run)
    extraction = extract(job, cohort)
    cases = [case for case in cohort.swept(job.config.holdout) if case.id in extraction.facts]
    embeddings = np.stack([join([found[case.id] for found in extraction.embeddings[:-1]]) for case in cases])
    steps = _fitted(job, cohort, cases, extraction, embeddings)
    views, parts = _views(job, cohort), _parts(job, run)
    seen = look(store, run, job, cohort, extraction)
    scores = _scores(store, store.client.get_run(run.info.run_id), job, cohort, seen)
    contents = Contents(
        name=run.info.run_name,
        run_id=run.info.run_id,
        config=job.public_config(),
        views=views,
        pooling=_plain(job.config.pooling),
        steps=steps,
        similarity=job.config.retrieval.similarity,
        target=_target(job),
        frame=cohort.frame(job.config.target.frame),
        cases=cases,
        facts=extraction.facts,
        embeddings=embeddings,
        map_xy=_map(job, apply(steps, embeddings)),
        scores=scores,
        card=write_card(run.info.run_name, _about(run, job, cohort, cases), scores, *parts),
    )
    write_bundle(place, contents)
    from neuroprint.tracking.registry import register

    version = register(store, run.info.run_id, place)
    return Exported(folder, run.info.run_id, run.info.run_name, len(cases), version, seen)


def _place(folder: Path) -> Path:
    """Where a bundle is to be, without ``.`` and links; refused before anything is scored if it cannot be put there."""
    place = folder.resolve()
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


def _named(store: TrackingStore, run_id: str) -> tuple[TrackingStore, Run]:
    """The run, and the store of its own experiment: the looks and reference rows that it is told with are there."""
    from mlflow.exceptions import MlflowException

    try:
        run = store.client.get_run(run_id)
    except MlflowException:
        raise NeuroprintError(
            f"--run {run_id}: there is no such run; neuroprint leaderboard --json gives the ids"
        ) from None
    if run.data.tags.get("role") != "candidate" or run.info.status != "FINISHED":
        what = run.data.tags.get("reference") or run.data.tags.get("role") or "no candidate"
        raise NeuroprintError(
            f"--run {run_id}: {run.info.run_name} is {run.info.status} and {what}, not a finished candidate"
        )
    if problem := _problem(store, run):
        raise NeuroprintError(f"--run {run_id}: {run.info.run_name} cannot be exported: {problem}")
    experiment = store.client.get_experiment(run.info.experiment_id).name
    if experiment != store.experiment:
        log.info("%s is a run of the MLflow experiment '%s'", run.info.run_name, experiment)
        store = TrackingStore(store.root, experiment)
    return store, run


def _best(store: TrackingStore, metric: str) -> Run:
    runs = store.search("tags.role = 'candidate' and attributes.status = 'FINISHED'")
    if not runs:
        raise NeuroprintError(
            f"the MLflow experiment '{store.experiment}' has no finished run: run python run.py first"
        )
    boards = leaderboards(store, runs, metric)
    if len(boards) > 1:
        log.info("%d leaderboards, which cannot be mixed: taking the newest; --run names a run of another", len(boards))
    table = boards[0].table
    by_id = {run.info.run_id: run for run in runs}
    for row in table[table["role"] == "candidate"].to_dict("records"):
        run = by_id[row["run_id"]]
        problem = _problem(store, run)
        if problem is None:
            log.info("exporting %s, the best exportable run by %s", run.info.run_name, metric)
            return run
        log.info("skipped %s: %s", run.info.run_name, problem)
    raise NeuroprintError("no run of the newest leaderboard can be exported, as said above")


def _problem(store: TrackingStore, run: Run) -> str | None:
    """Why a run cannot be exported, by its configuration alone; None where it can."""
    try:
        config = _plain(OmegaConf.load(store.artifact(run, "config.yaml")))
        check(config.get("pooling"), "pooling")
        encoders = _encoders(config.get("encoder"))
        for encoder in encoders:
            check(encoder, "encoder")
        if any(encoder["_target_"] != _VOXELS for encoder in encoders):  # voxels never go through an inferer
            check(config.get("inferer"), "inferer")
        return why_not(build("projection", config.get("projection")))
    except NeuroprintError as error:
        return str(error)


def _encoders(node: Any) -> list[Any]:
    """The configuration of each encoder, in the order in which their vectors are joined."""
    if isinstance(node, dict) and node.get("_target_") == _COMBINED and isinstance(node.get("encoders"), dict):
        return [node["encoders"][name] for name in sorted(node["encoders"])]
    return [node]


def _fitted(
    job: Job,
    cohort: IdentifiedCohort,
    cases: Sequence[Case],
    extraction: Extraction,
    embeddings: npt.NDArray[np.float32],
) -> list[Step]:
    """The projection fitted on the gallery; a supervised one on those of its cases that have a center."""
    wide, centers = embeddings.astype(np.float64), None
    if job.supervised:
        frame = cohort.frame(job.config.target.frame)
        found = [position(extraction.facts[case.id], case.label_convention, _target(job), frame) for case in cases]
        wide = wide[[center is not None for center in found]]
        cases = [case for case, center in zip(cases, found, strict=True) if center is not None]
        centers = np.array([center for center in found if center is not None])
    make = partial(clipped_projection, job, len(wide), wide.shape[1])
    return steps_of(fit_projection(make, wide, centers, [case.patient for case in cases]))


def _scores(store: TrackingStore, run: Run, job: Job, cohort: IdentifiedCohort, seen: Look | None) -> dict[str, Any]:
    """``scores.json``: metrics by the contract's names, of the sweep, the hold-out and the reference rows."""
    metrics = run.data.metrics
    own = {name: value for name, value in metrics.items() if not name.startswith(("holdout/", "optimism/", "extract/"))}
    full = {name.rpartition("/")[2]: name for name in own}

    def of(family: str) -> dict[str, float]:
        found = {name.removeprefix(family): value for name, value in metrics.items() if name.startswith(family)}
        return {full.get(name, name): value for name, value in found.items()}

    differences = of("optimism/") if seen else {}
    references = store.references(run.data.tags["group"])
    wanted = run.data.tags.get("untrained_row")
    for row in store.untrained(run.data.tags["group"]):
        if row.data.tags["identity"] == wanted:
            references.setdefault("untrained", row)
    share = cohort.holdout_share(job.config.holdout)
    return {
        "sweep": own,
        "holdout": of("holdout/") if seen else None,
        "no_holdout": None
        if seen
        else "There is no hold-out (its share is 0)"
        if not share
        else "The hold-out could not be scored",
        "optimism": {
            name: [differences[name], differences[f"{name}_lo"], differences[f"{name}_hi"]]
            for name in differences
            if not name.endswith(("_lo", "_hi"))
        },
        "looks": None
        if seen is None
        else {"time": seen.time, "before": seen.before, "configurations_before": seen.configurations_before},
        "references": {role: dict(row.data.metrics) for role, row in references.items()},
        "headline": "retrieval/p_at_5",
    }


def _views(job: Job, cohort: IdentifiedCohort) -> list[View]:
    """Configuration and request of each encoder, in the order in which their vectors are joined."""
    whole = {"_target_": "neuroprint.embedding.inferers.Whole"}
    requests = job.requests(cohort.modalities)
    inferer = _plain(job.config.inferer)
    return [
        View(part, inferer if request.extractor.inferer is job.inferer else whole, request)
        for part, request in zip(_encoders(_plain(job.config.encoder)), requests, strict=True)
    ]


def _map(job: Job, projected: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    from neuroprint.figures.map import embed_2d

    return embed_2d(projected, job.config.map.value, job.config.seed, job.config.perplexity)


def _about(run: Run, job: Job, cohort: IdentifiedCohort, cases: Sequence[Case]) -> dict[str, Any]:
    retrieval = job.config.retrieval
    relevance = {
        "distance": f"whose tumor's center lies within {retrieval.radius_mm:g} mm",
        "side": "whose tumor is on the same side",
        "overlap": f"whose tumor overlaps by a Dice of {retrieval.min_dice:g} in a common brain frame",
        "metadata": f"with the same {retrieval.column}",
    }
    return {
        "dataset": cohort.cohort.name,
        "fingerprint": cohort.fingerprint,
        "gallery": len(cases),
        "patients": len({case.patient for case in cases}),
        "excluded": int(run.data.metrics.get("cohort/excluded", 0)),
        "frame": cohort.frame(job.config.target.frame),
        "relevance": relevance[retrieval.relevance],
        "metadata": sorted({column for case in cases for column in case.metadata}),
        "seen_in_training": int(run.data.tags.get("seen_in_training", 0)),
    }


def _parts(job: Job, run: Run) -> tuple[str, str]:
    """What the card says of projection and weights."""
    size = f" of {job.components} components" if job.components else ""
    projection = f"{run.data.params['projection']}{size}, fitted on the gallery"
    if job.supervised:
        projection += ", and to its tumors' positions"
    if not job.encoder.trained:
        return projection, "random, drawn by a seed: this is a baseline"
    encoders = job.encoder.encoders if isinstance(job.encoder, CombinedEncoder) else (job.encoder,)
    files = [weights for encoder in encoders if (weights := getattr(encoder, "weights", None)) is not None]
    said = [
        f"{Path(weights.source).name}, SHA-256 {weights.sha256}, "
        + (
            "in the bundle"
            if weights.path.stat().st_size < COPIED_BELOW
            else "not in the bundle: give it with --weights"
        )
        for weights in files
    ]
    return projection, "; ".join(said) or "none"


def _target(job: Job) -> Target:
    target = job.config.target
    return Target(target.region, target.weighting, target.units)


def _plain(node: Any) -> dict[str, Any]:
    plain: Any = OmegaConf.to_container(node, resolve=True, enum_to_str=True)
    return {str(key): value for key, value in plain.items()}

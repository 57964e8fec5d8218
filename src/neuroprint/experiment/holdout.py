"""The hold-out: scored once for each configuration that is exported, and every look at it is kept."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from neuroprint.embedding.extraction import Extraction
from neuroprint.errors import NeuroprintError
from neuroprint.evaluation.folds import in_holdout
from neuroprint.evaluation.optimism import Optimism, optimism
from neuroprint.evaluation.splits import sweep_splits
from neuroprint.experiment.identified import IdentifiedCohort
from neuroprint.experiment.job import Job
from neuroprint.experiment.scoring import clipped_projection, prepare
from neuroprint.tracking.store import TrackingStore

if TYPE_CHECKING:
    from mlflow.entities import Run

log = logging.getLogger(__name__)

_LOOK = "holdout_look."
_MOST_EXPERIMENTS = 1000  # a page of MLflow's
_MOST_MARKS = 400  # an experiment's tag holds 5000 characters
_DIGITS = 8


@dataclass(frozen=True)
class Look:
    """One scoring of a hold-out.

    Attributes:
        time: UTC.
        run_id: The run whose configuration was scored.
        configuration: Its name.
        identity: Its identity, by which two runs of one configuration are known as one.
        before: Earlier looks at any of these cases, from whichever MLflow experiment.
        configurations_before: How many configurations those were of.
        cases: Short hashes of the scans that were looked at; of more than 400 the smallest.
    """

    time: str
    run_id: str
    configuration: str
    identity: str
    before: int
    configurations_before: int
    cases: tuple[str, ...]


def look(store: TrackingStore, run: Run, job: Job, cohort: IdentifiedCohort, extraction: Extraction) -> Look | None:
    """Score a run's configuration on the hold-out and log that, unless the run has been scored on it already.

    The look is kept as a tag of the store's experiment; earlier ones are counted in all experiments.

    The run gets metrics ``holdout/...`` by the names of the sweep's, without their family, and ``optimism/...``, sweep
    minus hold-out at equal gallery size.

    Returns:
        The look, now or back then; None where no patient is held out, or none of them can be scored.
    """
    share = cohort.holdout_share(job.config.holdout)
    held = [case for case in cohort.cohort.cases if in_holdout(case.patient, share)]
    if not held:
        return None
    with store.lock("looks"):
        looks = read_looks(store)
        done = [one for one in looks if one.run_id == run.info.run_id]
        if done and "holdout/cases" in run.data.metrics:
            log.info("the hold-out was scored for this run before: its scores are used again")
            return done[-1]
        try:
            scored = _score(job, cohort, extraction, share)
        except NeuroprintError as error:
            log.warning("the hold-out cannot be scored: %s", error)
            return None
        marks = {cohort.prints[case.id].images[:_DIGITS] for case in held}
        earlier = [one for one in looks if marks & set(one.cases)]
        now = Look(
            time=datetime.now(UTC).isoformat(timespec="seconds"),
            run_id=run.info.run_id,
            configuration=run.info.run_name,
            identity=run.data.tags["identity"],
            before=len(earlier),
            configurations_before=len({one.identity for one in earlier}),
            cases=tuple(sorted(marks)[:_MOST_MARKS]),
        )
        text = json.dumps({**asdict(now), "cases": "".join(now.cases)})
        own = store.client.get_experiment(store.experiment_id).tags
        place = sum(name.startswith(_LOOK) for name in own)
        # First the look, then what was seen: one that breaks off here is counted all the same.
        store.client.set_experiment_tag(store.experiment_id, f"{_LOOK}{place:05d}", text)
        store.log(run.info.run_id, holdout_metrics(scored), tags={"holdout_looks_before": str(now.before)})
        return now


def read_looks(store: TrackingStore) -> list[Look]:
    """Every look at a hold-out from any MLflow experiment of the tracking store, a deleted one too, the first one first."""
    found = [json.loads(tags[name]) for tags in _all_tags(store) for name in sorted(tags) if name.startswith(_LOOK)]
    looks = [Look(**{**one, "cases": tuple(_cut(one["cases"]))}) for one in found]
    return sorted(looks, key=lambda one: (one.time, one.before))  # times are whole seconds


def holdout_metrics(scored: Optimism) -> dict[str, float]:
    """What MLflow shows of an :class:`~neuroprint.evaluation.optimism.Optimism`: one slash a name."""
    found = {f"holdout/{_short(name)}": value for name, value in scored.holdout.metrics.items()}
    for name, interval in scored.difference.items():
        for end, value in zip(("", "_lo", "_hi"), interval, strict=True):
            found[f"optimism/{_short(name)}{end}"] = value
    return found


def _all_tags(store: TrackingStore) -> Iterator[Mapping[str, str]]:
    """The tags of every experiment."""
    from mlflow.entities import ViewType

    token = None
    while True:
        page = store.client.search_experiments(ViewType.ALL, max_results=_MOST_EXPERIMENTS, page_token=token)
        yield from (experiment.tags for experiment in page)
        token = page.token
        if not token:
            return


def _short(name: str) -> str:
    return name.rpartition("/")[2]


def _score(job: Job, cohort: IdentifiedCohort, extraction: Extraction, share: float) -> Optimism:
    config = job.config.copy()
    config.holdout = 0.0
    row = prepare(replace(job, config=config), cohort, extraction)  # every case, the hold-out's among them
    subjects = row.standard.subjects
    held = np.array([in_holdout(patient, share) for patient in subjects.patients])
    protocol = row.standard.benchmark.protocol
    splits = sweep_splits(subjects.among(~held), protocol.folds, protocol.seed)
    gallery, dimensions = min(len(split.gallery) for split in splits), row.embeddings.shape[1]
    return optimism(
        subjects,
        held,
        row.embeddings,
        protocol,
        similarity=job.config.retrieval.similarity,
        make_projection=partial(clipped_projection, job, gallery, dimensions),
        make_probe=job.build_probe,
    )


def _cut(marks: str) -> list[str]:
    return [marks[start : start + _DIGITS] for start in range(0, len(marks), _DIGITS)]

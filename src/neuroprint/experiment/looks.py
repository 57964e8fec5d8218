"""The hold-out: scored once for each configuration that is exported, and every look at it is kept."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from neuroprint.errors import NeuroprintError
from neuroprint.evaluation.folds import in_holdout
from neuroprint.tasks.holdout import score_holdout

if TYPE_CHECKING:
    from mlflow.entities import Run

    from neuroprint.evaluation.optimism import Optimism
    from neuroprint.tasks.result import Result
    from neuroprint.tracking.store import TrackingStore

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
        cases: Short digests of the scans that were looked at; of more than 400 the smallest.
    """

    time: str
    run_id: str
    configuration: str
    identity: str
    before: int
    configurations_before: int
    cases: tuple[str, ...]


def look_at_holdout(store: TrackingStore, run: Run, result: Result) -> Look | None:
    """Score a run's configuration on the hold-out and log that, unless the run has been scored on it already.

    The look is kept as a tag of the store's experiment; earlier ones are counted in all experiments.

    The run gets metrics ``holdout/...`` by the names of the sweep's, without their family, and ``optimism/...``, sweep
    minus hold-out at equal gallery size.

    Args:
        store: Where the run is.
        run: The run.
        result: Its configuration, scored on the sweep.

    Returns:
        The look, now or back then; None where no patient is held out, or none of them can be scored.
    """
    cohort = result.embeddings.cohort
    held = [case for case in cohort.cases if in_holdout(case.patient, result.holdout)]
    if not held:
        return None
    with store.lock("looks"):
        looks = read_looks(store)
        done = [one for one in looks if one.run_id == run.info.run_id]
        if done and HOLDOUT_CASES in run.data.tags:
            log.info("the hold-out was scored for this run before: its scores are used again")
            return done[-1]
        try:
            scored = score_holdout(result)
        except NeuroprintError as error:
            log.warning("the hold-out cannot be scored: %s", error)
            return None
        marks = {cohort.digests[case.id].images[:_DIGITS] for case in held}
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
        tags = {"holdout_looks_before": str(now.before), HOLDOUT_CASES: str(scored.holdout.cases)}
        store.log(run.info.run_id, holdout_metrics(scored), tags=tags)
        return now


HOLDOUT_CASES = "holdout/cases"
"""Tag of a run: how many cases its configuration was scored on."""


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


def _cut(marks: str) -> list[str]:
    return [marks[start : start + _DIGITS] for start in range(0, len(marks), _DIGITS)]

"""A sweep: all its jobs are checked before any runs, gathered under one parent run, and summed up when they end."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from neuroprint.cli.complaints import explain
from neuroprint.experiment.composition import compose_jobs, set_environment
from neuroprint.errors import NeuroprintError

if TYPE_CHECKING:
    from mlflow.entities import Run

    from neuroprint.experiment.identified import IdentifiedCohort
    from neuroprint.experiment.job import Job
    from neuroprint.tracking.store import TrackingStore

log = logging.getLogger(__name__)

# How jobs, which may run in other processes or on other machines, learn which sweep they belong to.
PLAN_VARIABLE = "NEUROPRINT_SWEEP"


@dataclass
class Sweep:
    """A sweep that this process started.

    Attributes:
        parent: Id of its parent run.
        store: Where its runs are logged.
        names: Run name by job identity, in the sweep's order.
        jobs: The jobs by their overrides; several can have one identity.
        identities: Identity by the job's overrides.
        opening: What the parent's description says of how it was started.
        failures: What went wrong, by job identity.
    """

    parent: str
    store: TrackingStore
    names: dict[str, str]
    jobs: dict[tuple[str, ...], Job]
    identities: dict[tuple[str, ...], str]
    opening: str
    failures: dict[str, str] = field(default_factory=dict)

    def note_failure(self, overrides: Sequence[str], error: BaseException) -> None:
        """Remember why the job of these overrides has no finished run."""
        self.failures[self.identities.get(tuple(overrides), "")] = str(error)


current: Sweep | None = None


class SweepCallback(Callback):  # type: ignore[misc] # Hydra carries no types
    """Hydra's hook, in the launching process, before any job of a sweep starts."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check every job, then open the parent run."""
        global current
        try:
            current = _start(config)
        except (HydraException, OmegaConfBaseException, NeuroprintError) as error:
            # Hydra turns an exception in a callback into a warning and goes on; only leaving the process stops it.
            print(explain(error), file=sys.stderr)  # noqa: T201
            sys.exit(2)
        except Exception:
            log.exception("the sweep could not be started")
            sys.exit(1)


def read_plan() -> dict[str, Any]:
    """The plan of the sweep that this job is part of: its parent, its poolings, and the keys that vary."""
    plan: dict[str, Any] = json.loads(Path(os.environ[PLAN_VARIABLE]).read_text(encoding="utf-8"))
    return plan


def _start(config: DictConfig) -> Sweep:
    from neuroprint.embedding.store import digest
    from neuroprint.experiment.identified import load_cohort
    from neuroprint.experiment.job import Job
    from neuroprint.catalog.menu import pooling_name
    from neuroprint.tracking.description import note
    from neuroprint.tracking.store import open_store

    composed = _compose_jobs(config)
    # Every job is understood before the first cohort is looked for: a typo in the last one must not cost an hour.
    varied = _varied([part.hydra.overrides.task for part in composed])
    poolings = {pooling_name(part.pooling): part.pooling for part in composed}
    also = list(poolings.values())
    jobs = [
        Job.from_config(part, part.hydra.runtime.choices, part.hydra.overrides.task, also, varied) for part in composed
    ]
    cohorts = {job.overrides: load_cohort(job.config) for job in jobs}
    identities = {job.overrides: job.identity(cohorts[job.overrides]) for job in jobs}
    names = {identities[job.overrides]: job.name for job in jobs}
    identity = digest(sorted(names))[:16]
    first = jobs[0].config
    store = open_store(first.tracking)
    opening = _opening(config, {cohorts[job.overrides].fingerprint: (cohorts[job.overrides], job) for job in jobs})
    tags = {"encoder": _joined(job.parameters["encoder"] for job in jobs)}
    tags["cohort"] = _joined(cohort.fingerprint[:16] for cohort in cohorts.values())
    parent = _open_parent(store, identity, names, first.resume, tags | note(opening))
    content = {"parent": parent, "poolings": [OmegaConf.to_container(node) for node in also], "varied": varied}
    plan = store.root / "sweeps" / f"{parent}.json"
    plan.parent.mkdir(parents=True, exist_ok=True)
    temporary = plan.with_suffix(f".{os.getpid()}")
    temporary.write_text(json.dumps(content), encoding="utf-8")
    temporary.replace(plan)
    os.environ[PLAN_VARIABLE] = str(plan)
    set_environment(PLAN_VARIABLE, str(plan))
    with open_dict(config):
        # For launchers whose jobs do not inherit this process's environment.
        quoted = str(plan).replace("\\", "\\\\").replace("'", "\\'")
        config.hydra.overrides.hydra.append(f"+hydra.job.env_set.{PLAN_VARIABLE}='{quoted}'")
    return Sweep(parent, store, names, {job.overrides: job for job in jobs}, identities, opening)


def _opening(config: DictConfig, cohorts: Mapping[str, tuple[IdentifiedCohort, Job]]) -> str:
    """The description of a sweep that has just been started."""
    from neuroprint.tracking.description import CohortSummary, opening

    summaries = [
        CohortSummary(
            name=cohort.cohort.name,
            cases=len(cohort.cohort.cases),
            patients=len(cohort.patients),
            swept=len(cohort.swept(job.config.holdout)),
            fingerprint=fingerprint,
        )
        for fingerprint, (cohort, job) in cohorts.items()
    ]
    return opening(list(config.hydra.overrides.task), summaries)


def _joined(values: Iterable[object]) -> str:
    """Each value once, as one tag."""
    return ", ".join(dict.fromkeys(str(value) for value in values))


def _varied(jobs: Sequence[Sequence[str]]) -> list[str]:
    """The keys whose value differs between jobs."""
    values: dict[str, set[str]] = {}
    for overrides in jobs:
        for override in overrides:
            key, _, value = override.lstrip("+~").partition("=")
            values.setdefault(key, set()).add(value)
    return sorted(key for key, found in values.items() if len(found) > 1)


def _compose_jobs(config: DictConfig) -> list[DictConfig]:
    """The configuration of every job, as Hydra's basic sweeper will compose them."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.override_parser.overrides_parser import OverridesParser

    loader = GlobalHydra.instance().config_loader()
    given = [f"{key}={value}" for key, value in (config.hydra.sweeper.get("params") or {}).items()]
    given += list(config.hydra.overrides.task)
    overrides = OverridesParser.create(config_loader=loader).parse_overrides(given)
    (batch,) = BasicSweeper.split_arguments(overrides, None)
    return compose_jobs(loader, config, batch)


def _open_parent(store: TrackingStore, identity: str, names: dict[str, str], resume: bool, tags: dict[str, str]) -> str:
    """The parent run, RUNNING: the sweep's own from last time, or a new one.

    A sweep's identity is the hash of its jobs': the same command on the same data is the same sweep.
    """
    with store.lock(f"sweep-{identity}"):
        found = store.search(f"tags.sweep = '{identity}' and tags.role = 'sweep'", most=1) if resume else []
        if found:
            store.reopen(str(found[0].info.run_id))
            return str(found[0].info.run_id)
        own = {"role": "sweep", "sweep": identity, "jobs": str(len(names))}
        return store.create(f"sweep of {len(names)}", {**own, **tags})


def finish(interrupted: bool) -> bool:
    """Sum up the sweep that this process started: print and log its leaderboards, list what failed, end the parent.

    Args:
        interrupted: The user stopped the sweep.

    Returns:
        Whether every job has a finished run.
    """
    from neuroprint.experiment import sweep_end

    sweep = current
    if sweep is None:
        return True
    store, boards = sweep.store, []
    status, missing = "KILLED" if interrupted else "FAILED", dict(sweep.names)
    try:
        runs = _finished_runs(sweep)
        done = {run.data.tags["identity"] for run in runs}
        missing = {identity: name for identity, name in sweep.names.items() if identity not in done}
        if runs and not interrupted:
            _score_untrained(sweep, runs)
            runs = _finished_runs(sweep)  # their tags may have changed
        if runs:
            boards = sweep_end.report(store, sweep.parent, runs)
        sweep_end.describe(store, sweep.parent, sweep.opening, boards, missing)
        status = "KILLED" if interrupted else "FAILED" if missing else "FINISHED"
    except NeuroprintError as error:
        print(error, file=sys.stderr)  # noqa: T201
    finally:
        # Whatever went wrong above, a parent is never left RUNNING, nor called finished without its leaderboard.
        store.end(sweep.parent, status)
    if boards:
        sweep_end.say_where(store, sweep.parent)
    if missing and not interrupted:
        sweep_end.list_failures(store, missing, sweep.failures, len(sweep.names))
    return status == "FINISHED"


def _finished_runs(sweep: Sweep) -> list[Run]:
    finished = sweep.store.search("tags.role = 'candidate' and attributes.status = 'FINISHED'")
    return [run for run in finished if run.data.tags.get("identity") in sweep.names]


def _score_untrained(sweep: Sweep, runs: Sequence[Run]) -> None:
    """Score the best trained candidate of each group on random weights, for the reference row ``untrained``."""
    from neuroprint.experiment.run import score_untrained
    from neuroprint.tracking.leaderboard import DEFAULT_METRIC, ranked

    jobs = {sweep.identities[overrides]: job for overrides, job in sweep.jobs.items()}
    groups: dict[str, list[Run]] = {}
    for run in runs:
        if "untrained_row" in run.data.tags and ranked(run):
            groups.setdefault(run.data.tags["group"], []).append(run)
    for members in groups.values():
        best = min(members, key=lambda run: (-run.data.metrics.get(DEFAULT_METRIC, 0.0), run.info.run_name))
        score_untrained(jobs[best.data.tags["identity"]], sweep.parent)

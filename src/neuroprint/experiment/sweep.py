"""A sweep: all its jobs are checked before any runs, gathered under one parent run, and summed up when they end."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.types import TaskFunction
from omegaconf import DictConfig, open_dict

from neuroprint.catalog.instantiate import plain
from neuroprint.catalog.menu import Part
from neuroprint.data.digests import digest
from neuroprint.data.files import written_whole
from neuroprint.embedding.recipe import pooling_name
from neuroprint.evaluation.folds import in_holdout
from neuroprint.experiment.composition import Jobs, compose_jobs, hand_out, set_environment
from neuroprint.experiment.experiment import Experiment
from neuroprint.experiment.fingerprints import KEY, expand
from neuroprint.experiment.run import lacks_untrained, say_not_scored
from neuroprint.experiment.summary import describe_sweep, list_failures, report_profile, report_sweep, say_where
from neuroprint.tracking.boards import by_rank, can_be_best
from neuroprint.tracking.description import note, opening
from neuroprint.tracking.store import FINISHED_CANDIDATES

if TYPE_CHECKING:
    from mlflow.entities import Run

    from neuroprint.data.cohort import Cohort
    from neuroprint.embedding.poolings import Pooling
    from neuroprint.experiment.session import Session
    from neuroprint.tracking.store import TrackingStore

log = logging.getLogger(__name__)

Launch = Callable[[TaskFunction, Sequence[Sequence[str]]], None]

# How jobs, which may run in other processes or on other machines, learn which sweep they belong to.
PLAN_VARIABLE = "NEUROPRINT_SWEEP"


@dataclass
class Sweep:
    """A sweep that this process started.

    Attributes:
        parent: Id of its parent run.
        store: Where its runs are logged.
        names: Run name by identity, in the sweep's order.
        experiments: By their overrides; several can have one identity.
        identities: By their overrides.
        opening: What the parent's description says of how it was started.
        launch: Runs jobs on the sweep's launcher: a function of a composed configuration, for each of some overrides.
        failures: What went wrong, by identity.
    """

    parent: str
    store: TrackingStore
    names: dict[str, str]
    experiments: dict[tuple[str, ...], Experiment]
    identities: dict[tuple[str, ...], str]
    opening: str
    launch: Launch
    failures: dict[str, str] = field(default_factory=dict)

    def note_failure(self, overrides: Sequence[str], error: BaseException) -> None:
        """Remember why the job of these overrides has no finished run."""
        self.failures[self.identities.get(tuple(overrides), "")] = str(error)


@dataclass(frozen=True)
class Plan:
    """What a job knows of the sweep that it is part of.

    Attributes:
        parent: Id of the sweep's parent run; None for a run by itself.
        poolings: Nodes of the poolings of all its jobs.
        varied: Keys that differ between them.
        folders: Where further choices are, beside conf/.
    """

    parent: str | None = None
    poolings: Sequence[Mapping[str, Any]] = ()
    varied: Sequence[str] = ()
    folders: Sequence[str] = ()

    @classmethod
    def read(cls) -> Plan:
        """The plan that the launching process left."""
        return cls(**json.loads(Path(os.environ[PLAN_VARIABLE]).read_text(encoding="utf-8")))

    def write(self, file: Path) -> None:
        """Leave the plan for jobs in other processes."""
        with written_whole(file) as stream:
            stream.write(json.dumps(vars(self)).encode())


def start_sweep(config: DictConfig, session: Session) -> Sweep:
    """Check every job, then open the parent run.

    Args:
        config: The sweep's own configuration, as Hydra composed it.
        session: Of this process.

    Raises:
        NeuroprintError: A job cannot work.
    """
    jobs = _compose(config, session)
    composed = list(jobs.values())
    # Every job is understood before the first cohort is looked for: a typo in the last one must not cost an hour.
    varied = _varied([part.hydra.overrides.task for part in composed])
    nodes = {json.dumps(plain(part.pooling), sort_keys=True): part for part in composed}
    parts = [session.part("pooling", part.hydra.runtime.choices["pooling"], part.pooling) for part in nodes.values()]
    also = named_poolings(parts)
    experiments = [
        Experiment.of(part, part.hydra.runtime.choices, part.hydra.overrides.task, session, also, varied)
        for part in composed
    ]
    cohorts = {one.overrides: session.cohort(one) for one in experiments}
    identities = {one.overrides: one.identity(cohorts[one.overrides]) for one in experiments}
    names = {identities[one.overrides]: one.name for one in experiments}
    identity = digest(sorted(names))[:16]
    first = experiments[0].config
    store = session.tracking(first)
    held = {cohorts[one.overrides].digest: (cohorts[one.overrides], one) for one in experiments}
    said = opening(list(config.hydra.overrides.task), [(cohort, _held(cohort, one)) for cohort, one in held.values()])
    tags = {"encoder": _joined(one.parameters["encoder"] for one in experiments)}
    tags["cohort"] = _joined(cohort.digest[:16] for cohort in cohorts.values())
    parent = _open_parent(store, identity, names, first.resume, tags | note(said))
    folders = [str(folder.resolve()) for folder in session.catalog.folders[1:]]
    file = store.root / "sweeps" / f"{parent}.json"
    Plan(parent, [dict(part.node or {}) for part in parts], varied, folders).write(file)
    _hand_on(config, jobs, file)
    by_overrides = {one.overrides: one for one in experiments}
    return Sweep(parent, store, names, by_overrides, identities, said, _launch(config, len(jobs)))


def finish_sweep(sweep: Sweep, session: Session, interrupted: bool, score_untrained: TaskFunction) -> bool:
    """Sum up a sweep: print and log its leaderboards, list what failed, end the parent.

    Args:
        sweep: The sweep.
        session: Of this process.
        interrupted: The user stopped the sweep.
        score_untrained: Scores the reference row of a job's configuration. It runs on the sweep's launcher, as jobs do: this
            process may be that of a cluster's login node.

    Returns:
        Whether every job has a finished run.

    Raises:
        NeuroprintError: It cannot be summed up; the parent is ended all the same.
    """
    store, boards = sweep.store, []
    status, missing = "KILLED" if interrupted else "FAILED", dict(sweep.names)
    store.check()  # a server that is gone cannot be told how the sweep ended: the same command will find out
    try:
        runs = _finished_runs(sweep)
        done = {run.data.tags["identity"] for run in runs}
        missing = {identity: name for identity, name in sweep.names.items() if identity not in done}
        if runs and not interrupted:
            _score_untrained(sweep, session, runs, score_untrained)
            runs = _finished_runs(sweep)  # their tags may have changed
        if runs:
            asked = _asked(sweep, runs)
            boards = report_sweep(store, sweep.parent, runs, asked)
            report_profile(store, sweep.parent, boards, asked)
        describe_sweep(store, sweep.parent, sweep.opening, boards, missing)
        status = "KILLED" if interrupted else "FAILED" if missing else "FINISHED"
    finally:
        # Whatever went wrong above, a parent is never left RUNNING, nor called finished without its leaderboard.
        store.end(sweep.parent, status)
    if boards:
        say_where(store, sweep.parent)
    if missing and not interrupted:
        list_failures(store, missing, sweep.failures, len(sweep.names))
    return status == "FINISHED"


def named_poolings(parts: Iterable[Part]) -> dict[str, Pooling]:
    """Poolings by canonical name."""
    return {pooling_name(part): part.made for part in parts}


def _compose(config: DictConfig, session: Session) -> Jobs:
    """The configuration of every job, as Hydra's basic sweeper would compose them, which then gets them from here."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.override_parser.overrides_parser import OverridesParser

    loader = GlobalHydra.instance().config_loader()
    given = [f"{key}={value}" for key, value in (config.hydra.sweeper.get("params") or {}).items()]
    given += list(config.hydra.overrides.task)
    overrides = OverridesParser.create(config_loader=loader).parse_overrides(given)
    (batch,) = BasicSweeper.split_arguments(overrides, None)
    if any(line.startswith(f"{KEY}=") for job in batch for line in job):
        store = session.tracking(config)
        chosen = {group: str(config.hydra.runtime.choices[group]) for group in ("dataset", "task")}
        whole = {tuple(job): tuple(expand(job, store, chosen)) for job in batch}
        composed = compose_jobs(loader, config, list(dict.fromkeys(whole.values())))
        jobs = {job: composed[expanded] for job, expanded in whole.items()}
    else:
        jobs = compose_jobs(loader, config, batch)
    hand_out(loader, jobs)
    return jobs


def _hand_on(config: DictConfig, jobs: Jobs, file: Path) -> None:
    """Tell the jobs where their plan is, wherever they run."""
    os.environ[PLAN_VARIABLE] = str(file)
    set_environment(jobs, PLAN_VARIABLE, str(file))
    with open_dict(config):
        # For launchers whose jobs do not inherit this process's environment.
        quoted = str(file).replace("\\", "\\\\").replace("'", "\\'")
        config.hydra.overrides.hydra.append(f"+hydra.job.env_set.{PLAN_VARIABLE}='{quoted}'")


def _held(cohort: Cohort, experiment: Experiment) -> int:
    """How many cases are held out."""
    share = experiment.group(cohort)["holdout"]
    return sum(in_holdout(case.patient, share) for case in cohort.cases)


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


def _open_parent(store: TrackingStore, identity: str, names: dict[str, str], resume: bool, tags: dict[str, str]) -> str:
    """The parent run, RUNNING: the sweep's own from last time, or a new one.

    A sweep's identity is the digest of its jobs': the same command on the same data is the same sweep.
    """
    with store.lock(f"sweep-{identity}"):
        found = store.search(f"tags.sweep = '{identity}' and tags.role = 'sweep'", most=1) if resume else []
        if found:
            store.reopen(str(found[0].info.run_id))
            return str(found[0].info.run_id)
        own = {"role": "sweep", "sweep": identity, "jobs": str(len(names))}
        return store.create(f"sweep of {len(names)}", {**own, **tags})


def _asked(sweep: Sweep, runs: Sequence[Run]) -> dict[str, tuple[str, str]]:
    """What was asked of which fingerprint, by run id, in the sweep's order, where questions were asked by name."""
    run_ids = {run.data.tags["identity"]: str(run.info.run_id) for run in runs}
    found = {}
    for overrides, one in sweep.experiments.items():
        if one.question and sweep.identities[overrides] in run_ids:
            found[run_ids[sweep.identities[overrides]]] = one.question, one.fingerprint
    return found


def _finished_runs(sweep: Sweep) -> list[Run]:
    """The newest of every job, whichever sweep it was run in; those of a sweep that has just ended are found first."""
    found: dict[str, Run] = {}
    for run in sweep.store.each(FINISHED_CANDIDATES, page=min(len(sweep.names) + 10, 1000)):
        identity = run.data.tags.get("identity")
        if identity in sweep.names:
            found.setdefault(identity, run)
        if len(found) == len(sweep.names):
            break
    return list(found.values())


def _score_untrained(sweep: Sweep, session: Session, runs: Sequence[Run], score: TaskFunction) -> None:
    """Score the best trained candidate of each group on random weights, for the reference row ``untrained``."""
    by_identity = {sweep.identities[overrides]: one for overrides, one in sweep.experiments.items()}
    groups: dict[str, list[Run]] = {}
    for run in runs:
        if "untrained_row" in run.data.tags and can_be_best(run):
            groups.setdefault(run.data.tags["group"], []).append(run)
    best = [by_identity[by_rank(sweep.store, members)[0].data.tags["identity"]] for members in groups.values()]
    due = [one for one in best if lacks_untrained(one, session, sweep.parent)]
    if not due:
        return
    log.info("one more job for each reference row untrained")
    try:
        sweep.launch(score, [one.overrides for one in due])
    except Exception as error:  # such as a job that was canceled: the candidates' scores hold without it
        for one in due:
            if lacks_untrained(one, session, sweep.parent):
                say_not_scored(one, error)


def _launch(config: DictConfig, first: int) -> Launch:
    """Runs further jobs on the sweep's launcher, also once Hydra has ended; ``first`` is the number of the first."""
    from hydra._internal.callbacks import Callbacks
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.plugins import Plugins
    from hydra.types import HydraContext

    context = HydraContext(GlobalHydra.instance().config_loader(), Callbacks())

    def launch(task: TaskFunction, jobs: Sequence[Sequence[str]]) -> None:
        launcher = Plugins.instance().instantiate_launcher(context, task, config)
        for job in launcher.launch(jobs, first):
            _ = job.return_value  # raises what the job raised

    return launch

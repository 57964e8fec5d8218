"""A sweep: all its jobs are checked before any runs, gathered under one parent run, and summed up when they end."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from neuroprint.complaints import explain
from neuroprint.errors import NeuroprintError

if TYPE_CHECKING:
    from mlflow.entities import Run

    from neuroprint.job import Job
    from neuroprint.tracking.leaderboard import Leaderboard
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
        identities: Identity by the job's overrides.
        jobs: The jobs by identity.
        failures: What went wrong, by job identity.
    """

    parent: str
    store: TrackingStore
    names: dict[str, str]
    identities: dict[tuple[str, ...], str]
    jobs: dict[str, Job]
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
    from neuroprint.identified import load_cohort
    from neuroprint.job import Job, pooling_name
    from neuroprint.tracking.store import TrackingStore

    composed = _compose_jobs(config)
    # Every job is understood before the first cohort is looked for: a typo in the last one must not cost an hour.
    varied = _varied([part.hydra.overrides.task for part in composed])
    jobs = [
        Job.from_config(part, part.hydra.runtime.choices, part.hydra.overrides.task, varied=varied) for part in composed
    ]
    identities = {job.overrides: job.identity(load_cohort(job.config)) for job in jobs}
    names = {identities[job.overrides]: job.name for job in jobs}
    identity = digest(sorted(names))[:16]
    poolings = {pooling_name(job.config.pooling): OmegaConf.to_container(job.config.pooling) for job in jobs}
    first = jobs[0].config
    store = TrackingStore(Path(first.tracking.root), first.tracking.experiment)
    parent = _open_parent(store, identity, names, first.resume)
    plan = store.root / "sweeps" / f"{parent}.json"
    plan.parent.mkdir(parents=True, exist_ok=True)
    temporary = plan.with_suffix(f".{os.getpid()}")
    temporary.write_text(
        json.dumps({"parent": parent, "poolings": list(poolings.values()), "varied": varied}), encoding="utf-8"
    )
    temporary.replace(plan)
    os.environ[PLAN_VARIABLE] = str(plan)
    with open_dict(config):
        # For launchers whose jobs do not inherit this process's environment.
        quoted = str(plan).replace("\\", "\\\\").replace("'", "\\'")
        config.hydra.overrides.hydra.append(f"+hydra.job.env_set.{PLAN_VARIABLE}='{quoted}'")
    return Sweep(parent, store, names, identities, {identities[job.overrides]: job for job in jobs})


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
    return [loader.load_sweep_config(config, list(job)) for job in batch]


def _open_parent(store: TrackingStore, identity: str, names: dict[str, str], resume: bool) -> str:
    """The parent run, RUNNING: the sweep's own from last time, or a new one.

    A sweep's identity is the hash of its jobs': the same command on the same data is the same sweep.
    """
    with store.lock(f"sweep-{identity}"):
        found = store.search(f"tags.sweep = '{identity}' and tags.role = 'sweep'", most=1) if resume else []
        if found:
            store.reopen(str(found[0].info.run_id))
            return str(found[0].info.run_id)
        return store.create(f"sweep of {len(names)}", {"role": "sweep", "sweep": identity, "jobs": str(len(names))})


def finish(interrupted: bool) -> bool:
    """Sum up the sweep that this process started: print and log its leaderboards, list what failed, end the parent.

    Args:
        interrupted: The user stopped the sweep.

    Returns:
        Whether every job has a finished run.
    """
    sweep = current
    if sweep is None:
        return True
    status, missing = "KILLED" if interrupted else "FAILED", dict(sweep.names)
    try:
        runs = _finished_runs(sweep)
        done = {run.data.tags["identity"] for run in runs}
        missing = {identity: name for identity, name in sweep.names.items() if identity not in done}
        if runs and not interrupted:
            _score_untrained(sweep, runs)
            runs = _finished_runs(sweep)  # their tags may have changed
        if runs:
            _report(sweep, runs)
        status = "KILLED" if interrupted else "FAILED" if missing else "FINISHED"
    except NeuroprintError as error:
        print(error, file=sys.stderr)  # noqa: T201
    finally:
        # Whatever went wrong above, a parent is never left RUNNING, nor called finished without its leaderboard.
        sweep.store.end(sweep.parent, status)
    if missing and not interrupted:
        _list_failures(sweep, missing)
    return status == "FINISHED"


def _finished_runs(sweep: Sweep) -> list[Run]:
    finished = sweep.store.search("tags.role = 'candidate' and attributes.status = 'FINISHED'")
    return [run for run in finished if run.data.tags.get("identity") in sweep.names]


def _score_untrained(sweep: Sweep, runs: Sequence[Run]) -> None:
    """Score the best trained candidate of each group on random weights, for the reference row ``untrained``."""
    from neuroprint.run import score_untrained
    from neuroprint.tracking.leaderboard import DEFAULT_METRIC, ranked

    groups: dict[str, list[Run]] = {}
    for run in runs:
        if "untrained_row" in run.data.tags and ranked(run):
            groups.setdefault(run.data.tags["group"], []).append(run)
    for members in groups.values():
        best = min(members, key=lambda run: (-run.data.metrics.get(DEFAULT_METRIC, 0.0), run.info.run_name))
        score_untrained(sweep.jobs[best.data.tags["identity"]], sweep.parent)


def _report(sweep: Sweep, runs: Sequence[Run]) -> None:
    import tempfile

    import pandas as pd

    from neuroprint.tracking.leaderboard import leaderboards, show

    boards = leaderboards(sweep.store, runs)
    show(boards)
    with tempfile.TemporaryDirectory() as folder:
        tables = [board.table.assign(group=board.group[:12]) for board in boards]
        pd.concat(tables, ignore_index=True).to_csv(Path(folder) / "leaderboard.csv", index=False)
        (Path(folder) / "plots").mkdir()
        for number, board in enumerate(boards, start=1):
            _draw(board, Path(folder) / "plots", "" if number == 1 else f"_{number}")
        sweep.store.log_folder(sweep.parent, Path(folder))


def _draw(board: Leaderboard, folder: Path, suffix: str) -> None:
    from neuroprint.tracking.figures.heatmap import draw_heatmap
    from neuroprint.tracking.figures.leaderboard import draw_leaderboard
    from neuroprint.tracking.figures.style import save

    table = board.ranked_rows
    save(draw_leaderboard(table, board.metric), folder / f"leaderboard{suffix}.png")
    candidates = table[table["role"] == "candidate"]
    save(draw_heatmap(candidates, board.metric), folder / f"heatmap{suffix}.png")


def _list_failures(sweep: Sweep, missing: dict[str, str]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=f"{len(missing)} of {len(sweep.names)} jobs have no finished run", title_justify="left")
    table.add_column("job")
    table.add_column("why", overflow="fold")
    failed = sweep.store.search("tags.role = 'candidate' and attributes.status = 'FAILED'")
    errors = {run.data.tags["identity"]: run.data.tags.get("error", "") for run in reversed(failed)}
    for identity, name in missing.items():
        why = sweep.failures.get(identity) or errors.get(identity) or "did not start"
        table.add_row(escape(name), escape(why))
    Console(stderr=True).print(table)

"""Which run an export is of: the best of a leaderboard, or a named one; and whether that is better than subtraction."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from neuroprint.bundle.projection import why_not
from neuroprint.catalog.gate import Gate
from neuroprint.catalog.instantiate import instantiate, plain
from neuroprint.embedding.perturbations import Unchanged
from neuroprint.embedding.precomputed import PrecomputedEncoder
from neuroprint.encoders.combined import CombinedEncoder
from neuroprint.errors import NeuroprintError
from neuroprint.experiment.rebuild import read_config
from neuroprint.tasks.leaderboard import LEAST_QUERIES, Leaderboard, difference
from neuroprint.tracking.boards import finished_candidates, leaderboards
from neuroprint.tracking.store import TrackingStore

if TYPE_CHECKING:
    from mlflow.entities import Run

log = logging.getLogger(__name__)

_COMBINED = f"{CombinedEncoder.__module__}.{CombinedEncoder.__qualname__}"
_UNCHANGED = f"{Unchanged.__module__}.{Unchanged.__qualname__}"
_PRECOMPUTED = f"{PrecomputedEncoder.__module__}.{PrecomputedEncoder.__qualname__}"


def best_run(store: TrackingStore, metric: str | None, leaderboard: str | None, gate: Gate, anyway: bool) -> Run:
    """The best exportable run of the experiment's one leaderboard, confounds aside, or of the one that is named.

    Args:
        store: Where the runs are.
        metric: What the leaderboard is ranked by; by default the task's own.
        leaderboard: How its id begins.
        gate: What a run's configuration may name.
        anyway: Whether it may be worse than voxels.

    Raises:
        NeuroprintError: It is not plain which leaderboard is meant; or that is of a confound, has no such run, or too few
            queries to rank by.
    """
    board = the_leaderboard(store, finished_candidates(store), metric, leaderboard)
    if board.metric.confound:
        raise NeuroprintError(
            f"leaderboard {board.id} is of a confound ({board.about}): who tells the least of it need not find anything. "
            "Name the leaderboard of another task with --leaderboard, or a run with --run"
        )
    if not board.is_ranked:
        asked, cases = board.queries
        raise NeuroprintError(
            f"{asked} of {cases} cases are queries, and below {LEAST_QUERIES} nothing is ranked: name a run with --run; "
            "neuroprint leaderboard --json gives the ids"
        )
    for row in board.records():
        if row["role"] == "candidate":
            run = store.client.get_run(row["run_id"])
            if problem := problem_of(store, run, gate):
                log.info("skipped %s: %s", run.info.run_name, problem)
                continue
            log.info("exporting %s, the best exportable run by %s", run.info.run_name, board.metric.name)
            _compare_with_voxels(board, row, anyway)
            return run
    raise NeuroprintError("no run of the leaderboard can be exported, as said above")


def the_leaderboard(
    store: TrackingStore, runs: Sequence[Run], metric: str | None = None, named: str | None = None
) -> Leaderboard:
    """The leaderboard of these runs that is named, or the only one that can be meant.

    Of changed queries, and of confounds, nothing is chosen: such a leaderboard is not meant unless it is named, or the only
    one.

    Args:
        store: Where the runs are.
        runs: Finished candidates.
        metric: What it is ranked by; by default the task's own.
        named: How its id begins.

    Raises:
        NeuroprintError: It is not plain which is meant.
    """
    boards = leaderboards(store, runs, metric)
    plainly = [
        board
        for board in boards
        if not board.metric.confound and any(row.get("perturb", "none") == "none" for row in board.records())
    ]
    return _meant(store, boards if named else plainly or boards, named)


def named_run(
    store: TrackingStore, run_id: str, metric: str | None, gate: Gate, anyway: bool
) -> tuple[TrackingStore, Run]:
    """A run by its id, and the store of its own experiment: the looks and reference rows that it is told with are there.

    Raises:
        NeuroprintError: There is no such run, it is no finished candidate, or cannot be exported; or it is worse than voxels.
    """
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
    if problem := problem_of(store, run, gate):
        raise NeuroprintError(f"--run {run_id}: {run.info.run_name} cannot be exported: {problem}")
    experiment = store.client.get_experiment(run.info.experiment_id).name
    if experiment != store.experiment:
        log.info("%s is a run of the MLflow experiment '%s'", run.info.run_name, experiment)
        store = store.of(experiment)
    others = store.candidates(run.data.tags["group"])
    same = [other for other in others if other.data.tags["identity"] != run.data.tags["identity"]]
    try:
        board = leaderboards(store, [run, *same], metric)[0]
        _compare_with_voxels(board, next(row for row in board.records() if row["run_id"] == run_id), anyway)
    except NeuroprintError as error:
        if not anyway:
            raise
        log.warning("not compared with voxels: %s", error)
    return store, run


def problem_of(store: TrackingStore, run: Run, gate: Gate) -> str | None:
    """Why a run cannot be exported, by its configuration alone; None where it can."""
    try:
        config: Any = plain(read_config(store, run))
        for role in ("pooling", "inferer", "probe", "task"):
            gate.check(config.get(role), role)
        if plain(config.get("perturb") or {}).get("_target_") != _UNCHANGED:
            return "it was asked with changed scans: export the run of the same choices with perturb=none"
        for encoder in _encoders(config.get("encoder")):
            if isinstance(encoder, dict) and encoder.get("_target_") == _PRECOMPUTED:
                return "its embeddings come from a file: there is no network to embed a new scan with"
            gate.check(encoder, "encoder")
        return why_not(instantiate(config.get("projection"), "projection", gate))
    except NeuroprintError as error:
        return str(error)


def _meant(store: TrackingStore, boards: Sequence[Leaderboard], named: str | None) -> Leaderboard:
    """The leaderboard that is named, or the only one; nobody means one of a confound who does not name it."""
    found = [board for board in boards if board.group.startswith(named or "")]
    if not named:
        found = [board for board in found if not board.metric.confound] or found
    if len(found) == 1:
        return found[0]
    problem = (
        f"--leaderboard {named} is none of these"
        if named and not found
        else "say with --leaderboard which is meant, or give a run's id"
    )
    listed = "\n".join(f"  {board.id}  {board.about}; {_best_of(store, board)}" for board in found or boards)
    raise NeuroprintError(f"{len(boards)} leaderboards, which cannot be mixed: {problem}\n{listed}")


def _best_of(store: TrackingStore, board: Leaderboard) -> str:
    rows = [row for row in board.records() if row["role"] == "candidate"]
    newest = max(store.client.get_run(row["run_id"]).info.start_time for row in rows) / 1000
    count = (
        f"{len(rows)} run{'s' if len(rows) > 1 else ''}, the newest of {datetime.fromtimestamp(newest):%Y-%m-%d %H:%M}"
    )
    return (
        f"{count}, best {board.cells(rows[0])[0]} by {board.metric.name}: {rows[0]['name']}"
        if board.is_ranked
        else count
    )


def _compare_with_voxels(board: Leaderboard, row: dict[str, Any], anyway: bool) -> None:
    """Say in a line how a run compares with voxels, which is what subtracting images comes to.

    Raises:
        NeuroprintError: It is worse.
    """
    metric, name = board.metric, board.metric.name
    if metric.confound:
        log.warning("%s was scored by how little it tells of a confound, not by what it finds", row["name"])
        return
    voxels = next(
        (other for other in board.records() if other["role"] == "reference" and other["name"] == "voxels"), None
    )
    if voxels is None or row.get(name) != row.get(name) or voxels.get(name) != voxels.get(name):
        return  # there is nothing to compare
    mine, theirs = (f"{found[name]:.{metric.decimals}f}" for found in (row, voxels))
    lead = (voxels[name] - row[name]) if metric.lower_is_better else (row[name] - voxels[name])
    said = f"{row['name']} has {mine} in {name}, and voxels, which is subtracting images, has {theirs}"
    if lead < 0 and not anyway:
        raise NeuroprintError(f"{said}: --anyway exports it all the same")
    if lead < 0:
        log.warning("%s", said)
        return
    apart, reach = (row.get(column, np.nan) for column in ("to_voxels", "to_voxels_reach"))
    if not abs(apart) > reach:
        by = (
            f"the difference is {difference(apart, reach, metric)}"
            if np.isfinite(apart)
            else "there are too few queries"
        )
        log.warning("%s: it is not told from voxels: %s", said, by)


def _encoders(node: Any) -> list[Any]:
    """The configuration of each encoder, in the order in which their vectors are joined."""
    if isinstance(node, dict) and node.get("_target_") == _COMBINED and isinstance(node.get("encoders"), dict):
        return [node["encoders"][name] for name in sorted(node["encoders"])]
    return [node]

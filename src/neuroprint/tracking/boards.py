"""Leaderboards from MLflow's runs."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from neuroprint.errors import NeuroprintError
from neuroprint.evaluation.metric import P_VALUE
from neuroprint.tasks.influence_file import INFLUENCE_FILE, read_influences
from neuroprint.tasks.leaderboard import RETRIEVAL, UNTRAINED, Leaderboard, metrics_of, rank_rows
from neuroprint.tracking.store import FINISHED_CANDIDATES, TrackingStore

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.entities import Run

    from neuroprint.evaluation.influence import Influence

log = logging.getLogger(__name__)

DEFAULT_METRIC = "retrieval/p_at_5"
NEWEST = 500
"""Where leaderboards are shown, those of so many runs are."""
_MOST_BOARDS = 10


def leaderboards(store: TrackingStore, runs: Sequence[Run], metric: str | None = None) -> list[Leaderboard]:
    """Rank finished runs among those they are comparable with, the group with the newest run first.

    Of several runs with one identity the newest counts. Every leaderboard holds the reference rows of its group: a group
    that lacks one is named in a warning and left out; ``untrained``, which a sweep scores when it ends, may still be missing,
    and the leaderboard then says so.

    Args:
        store: Where the runs are.
        runs: Finished candidates.
        metric: What to rank by; by default the task's own. Groups whose task has no such metric are left out.

    Raises:
        NeuroprintError: Every group lacks reference rows; or no run has the metric.
    """
    newest: dict[str, Run] = {}
    for run in sorted(runs, key=lambda run: -run.info.start_time):
        newest.setdefault(run.data.tags["identity"], run)
    groups: dict[str, list[Run]] = {}
    for run in newest.values():
        groups.setdefault(run.data.tags["group"], []).append(run)
    groups = _with_metric(groups, metric)
    boards, problems = [], []
    for group, members in groups.items():
        found = store.references(group)
        due = members[0].data.tags["references"].split(",")
        if absent := [role for role in due if role not in found]:
            problems.append(f"the reference rows {', '.join(absent)} of {members[0].info.run_name} are missing")
            continue
        by = metric or members[0].data.tags["rank_by"]
        boards.append(_leaderboard(store, group, members, [found[role] for role in due], by))
    if problems:
        problem = "; ".join(problems)
        if not boards:
            raise NeuroprintError(
                f"{problem}: a leaderboard without them says nothing. Give the run's or the sweep's command again, to its end"
            )
        log.warning("not shown: %s; give the run's or the sweep's command again, to its end", problem)
    return boards


def finished_candidates(store: TrackingStore, newest: int | None = None) -> list[Run]:
    """The finished runs that can be ranked: those of the newest leaderboard first, where not all are asked for.

    Args:
        store: Where the runs are.
        newest: Look at so many runs, and at all others of their ten newest leaderboards, so that a table of an experiment
            of ten thousand runs does not take long. All by default: what is chosen must be chosen among all.

    Raises:
        NeuroprintError: There is none.
    """
    runs = store.search(FINISHED_CANDIDATES, newest)
    if not runs:
        raise NeuroprintError(
            f"the MLflow experiment '{store.experiment}' has no finished run to rank: run python run.py first"
        )
    groups = list(dict.fromkeys(run.data.tags["group"] for run in runs))
    if newest is None or (len(runs) < newest and len(groups) <= _MOST_BOARDS):
        return runs
    shown = groups[:_MOST_BOARDS]
    log.info("of the newest %d runs, %d leaderboards; neuroprint leaderboard --all shows all", len(runs), len(shown))
    return [run for group in shown for run in store.candidates(group)]


def can_be_best(run: Run) -> bool:
    """Whether a candidate can be the best: not if its projection, which cannot place a new case, has seen the queries."""
    return bool(run.data.tags.get("exportable") != "false" or run.data.tags.get("transductive") == "false")


def by_rank(store: TrackingStore, runs: Sequence[Run]) -> list[Run]:
    """Candidates of one group by their task's own metric, the best first; the record of the first says which way that is."""
    metric = runs[0].data.tags.get("rank_by", DEFAULT_METRIC)
    known = metrics_of(read_queries(store, runs[0]))
    return _in_order(runs, metric, metric in known and known[metric].lower_is_better)


def read_queries(store: TrackingStore, run: Run) -> pd.DataFrame:
    """A run's table of queries, the records of its metrics with it."""
    import pandas as pd

    return pd.read_parquet(store.artifact(run, "queries.parquet"))


def _influences(store: TrackingStore, run: Run) -> dict[str, Influence]:
    return read_influences(store.artifact(run, INFLUENCE_FILE))


def _with_metric(groups: Mapping[str, list[Run]], metric: str | None) -> dict[str, list[Run]]:
    if metric is None:
        return dict(groups)
    kept = {
        group: members
        for group, members in groups.items()
        if any(
            metric in run.data.metrics or metric in run.data.tags.get("undefined", "").split(", ") for run in members
        )
    }
    if not kept:
        runs = [run for members in groups.values() for run in members]
        known = sorted(
            {name for run in runs for name in run.data.metrics if not name.endswith(("_lo", "_hi", P_VALUE))}
        )
        raise NeuroprintError(f"no run has the metric {metric}: choose one of {', '.join(known)}")
    return kept


def _leaderboard(
    store: TrackingStore, group: str, candidates: list[Run], references: list[Run], metric: str
) -> Leaderboard:
    compared = [run for run in candidates if can_be_best(run) and metric in run.data.metrics]
    known = metrics_of(read_queries(store, (compared or candidates)[0]))
    if metric not in known:
        raise NeuroprintError(f"no run has the metric {metric}: choose one of {', '.join(known)}")
    if not compared:
        log.warning("%s is not defined for any run of a leaderboard: no query has a relevant case", metric)
    due, untrained = _untrained(store, group, candidates, metric, known[metric].lower_is_better)
    notes = [f"{UNTRAINED}: not yet scored"] if due and untrained is None else []
    others = [*references, *([untrained] if untrained else [])]
    influences = {run.info.run_id: _influences(store, run) for run in (*compared, *others)}
    tags = candidates[0].data.tags
    cases = int(tags["cohort/cases"])
    asked = int(tags["cohort/queries"]) if metric.startswith(RETRIEVAL) else cases
    rows = [_row(run) for run in (*candidates, *others)]
    return rank_rows(rows, influences, metric, known, (asked, cases), notes, group, tags.get("about", ""))


def _untrained(
    store: TrackingStore, group: str, candidates: Sequence[Run], metric: str, lower_is_better: bool
) -> tuple[bool, Run | None]:
    """Whether the group must have the row ``untrained``, and the row: that of the best candidate that was scored so.

    It must where a candidate's encoder is trained and has an untrained twin.
    """
    ranked = _in_order(filter(can_be_best, candidates), metric, lower_is_better)
    due = [run.data.tags["untrained_row"] for run in ranked if "untrained_row" in run.data.tags]
    if not due:
        return False, None
    scored = {run.data.tags["identity"]: run for run in reversed(store.untrained(group))}  # the newest counts
    return True, next((scored[identity] for identity in due if identity in scored), None)


def _in_order(runs: Iterable[Run], metric: str, lower_is_better: bool) -> list[Run]:
    """The best first, by name where they are equal; last those without the metric."""
    sign = 1.0 if lower_is_better else -1.0
    return sorted(runs, key=lambda run: (sign * run.data.metrics.get(metric, sign * np.inf), run.info.run_name))


def _row(run: Run) -> dict[str, Any]:
    tags = run.data.tags
    name = tags.get("reference") or run.info.run_name
    return {"run_id": run.info.run_id, "name": name, "role": tags["role"], **run.data.params, **run.data.metrics}

"""The leaderboard: comparable runs ranked by one metric, with intervals, reference rows, and what is tied with the best."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from neuroprint.errors import NeuroprintError
from neuroprint.evaluation.comparison import LOWER_IS_BETTER, compare
from neuroprint.tracking.store import TrackingStore

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.entities import Run
    from rich.table import Table

log = logging.getLogger(__name__)

DEFAULT_METRIC = "retrieval/p_at_5"
REQUIRED = ("chance", "voxels", "oracle")
"""Reference rows without which nothing is ranked."""

_PIPE_WIDTH = 120
SHOWN = ("retrieval/p_at_5", "probe/r2", "probe/error_mm")
"""Metrics that stand in every printed leaderboard."""


@dataclass(frozen=True)
class Leaderboard:
    """Runs that agree in cohort, folds, hold-out, target and relevance.

    Attributes:
        group: Hash of what they agree in.
        metric: What they are ranked by.
        table: A row a run, the best first: ``run_id``, ``name``, ``role``, the choices, the metrics with bounds,
            ``tied_with_best``. What is not :func:`ranked` stands behind all others.
        note: What is missing of it, or not ranked; empty where nothing is.
    """

    group: str
    metric: str
    table: pd.DataFrame
    note: str = ""

    @property
    def ranked_rows(self) -> pd.DataFrame:
        """The table without what stands behind the others, unless there is no other candidate."""
        if "exportable" not in self.table:
            return self.table
        rows = self.table[self.table["exportable"] != "False"]
        return rows if (rows["role"] == "candidate").any() else self.table


def leaderboards(store: TrackingStore, runs: Sequence[Run], metric: str = DEFAULT_METRIC) -> list[Leaderboard]:
    """Rank finished runs among those they are comparable with, the group with the newest run first.

    Of several runs with one identity the newest counts. Every leaderboard holds the reference rows of its group: a group
    without chance, voxels or oracle is named in a warning and left out; ``untrained``, which a sweep scores when it ends,
    may still be missing, and the leaderboard then says so.

    Args:
        store: Where the runs are.
        runs: Finished candidates.
        metric: A metric with a value per query.

    Raises:
        NeuroprintError: Every group lacks reference rows; or the metric is not one to rank by.
    """
    newest: dict[str, Run] = {}
    for run in sorted(runs, key=lambda run: -run.info.start_time):
        newest.setdefault(run.data.tags["identity"], run)
    groups: dict[str, list[Run]] = {}
    for run in newest.values():
        groups.setdefault(run.data.tags["group"], []).append(run)
    if metric not in {name for run in runs for name in run.data.metrics}:
        undefined = any(metric in run.data.tags.get("undefined", "").split(", ") for run in runs)
        known = sorted({name for run in runs for name in run.data.metrics if not name.endswith(("_lo", "_hi", "_sd"))})
        if not undefined:
            raise NeuroprintError(f"no run has the metric {metric}: choose one of {', '.join(known)}")
        log.warning("%s is not defined for any run: no query has a relevant case", metric)
    rows = {group: _references(store, group, members, metric) for group, members in groups.items()}
    lacking = {group: [role for role in REQUIRED if found[role] is None] for group, found in rows.items()}
    complete = [group for group, absent in lacking.items() if not absent]
    problems = [
        f"the reference rows {', '.join(absent)} of {groups[group][0].info.run_name} are missing"
        for group, absent in lacking.items()
        if absent
    ]
    if problems:
        problem = "; ".join(problems)
        if not complete:
            raise NeuroprintError(
                f"{problem}: a leaderboard without them says nothing. Give the run's or the sweep's command again, to its end"
            )
        log.warning("not shown: %s; give the run's or the sweep's command again, to its end", problem)
    return [_leaderboard(store, group, groups[group], rows[group], metric) for group in complete]


def ranked(run: Run) -> bool:
    """Whether a candidate can be the best: not if its projection, which cannot place a new case, has seen the queries."""
    return bool(run.data.tags.get("exportable") != "false")


def _leaderboard(
    store: TrackingStore, group: str, candidates: list[Run], references: dict[str, Run | None], metric: str
) -> Leaderboard:
    import pandas as pd

    rows = [_row(run) for run in (*candidates, *references.values()) if run is not None]
    table = pd.DataFrame(rows)
    if metric not in table:
        table[metric] = np.nan
    tied = _tied(store, [run for run in candidates if ranked(run) and metric in run.data.metrics], metric)
    table["tied_with_best"] = table["run_id"].map(tied).astype("boolean")
    ascending = metric.removesuffix("_share") in LOWER_IS_BETTER
    table = table.sort_values([metric, "name"], ascending=[ascending, True])
    behind = table["run_id"].isin([run.info.run_id for run in candidates if not ranked(run)])
    table = pd.concat([table[~behind], table[behind]], ignore_index=True)
    notes = ["untrained: not yet scored"] if "untrained" in references and references["untrained"] is None else []
    if behind.any():
        notes.append("not exportable: laid out together with the queries, hence last and not compared with the best")
    return Leaderboard(group, metric, table[_columns(table)], "\n".join(notes))


def _references(store: TrackingStore, group: str, candidates: Sequence[Run], metric: str) -> dict[str, Run | None]:
    """The reference rows that the group must have, None where one is missing.

    ``untrained`` is one of them where a candidate's encoder is trained and has an untrained twin: that of the best such
    candidate that was scored so, which is the sweep's best.
    """
    found = store.references(group)
    rows = {role: found.get(role) for role in REQUIRED}
    sign = 1.0 if metric.removesuffix("_share") in LOWER_IS_BETTER else -1.0
    by_rank = sorted(
        filter(ranked, candidates),
        key=lambda run: (sign * run.data.metrics.get(metric, -sign * np.inf), run.info.run_name),
    )
    due = [run.data.tags["untrained_row"] for run in by_rank if "untrained_row" in run.data.tags]
    if due:
        scored = {run.data.tags["identity"]: run for run in reversed(store.untrained(group))}  # the newest counts
        rows["untrained"] = next((scored[identity] for identity in due if identity in scored), None)
    return rows


def _tied(store: TrackingStore, candidates: list[Run], metric: str) -> dict[str, bool]:
    """Whether each candidate cannot be told from the best, by run id."""
    import pandas as pd

    tables = [pd.read_parquet(store.artifact(run, "queries.parquet")) for run in candidates]
    marks = compare(tables, metric) if tables else np.zeros(0, dtype=bool)
    return {run.info.run_id: bool(mark) for run, mark in zip(candidates, marks, strict=True)}


def _row(run: Run) -> dict[str, Any]:
    tags = run.data.tags
    name = tags.get("reference") or run.info.run_name
    return {"run_id": run.info.run_id, "name": name, "role": tags["role"], **run.data.params, **run.data.metrics}


def _columns(table: pd.DataFrame) -> list[str]:
    """Who, the choices, then the metrics, each beside its bounds."""
    first = ["run_id", "name", "role", "tied_with_best"]
    columns = [str(column) for column in table.columns]
    metrics = sorted(column for column in columns if "/" in column)
    return [*first, *(column for column in columns if column not in first and "/" not in column), *metrics]


def show(boards: Sequence[Leaderboard]) -> None:
    """Print leaderboards to the terminal; into a file or a pipe at a width that holds them."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console = Console(width=_PIPE_WIDTH)
    for board in boards:
        console.print(render(board))
    if len(boards) > 1:
        console.print(
            f"{len(boards)} leaderboards: their runs differ in cohort, folds, hold-out, target or relevance, "
            "and cannot be ranked together"
        )


def render(board: Leaderboard, most: int = 25) -> Table:
    """The leaderboard for a terminal: the ``most`` best candidates and every reference row.

    Reference rows stand at their place in the ranking. A star marks what cannot be told from the best.
    """
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    shown = [board.metric, *(name for name in SHOWN if name in board.table and name != board.metric)]
    view = Table(
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        title=f"by {board.metric}",
        caption="in brackets: 95 % bootstrap interval over patients, conditional on gallery and fits\n"
        "*: cannot be told from the best at 5 %, over the whole leaderboard"
        + (f"\n{board.note}" if board.note else ""),
        title_justify="left",
        caption_justify="left",
    )
    view.add_column("")
    view.add_column("run", overflow="fold", min_width=14)
    for metric in shown:
        view.add_column(metric.replace("/", "/\n"), justify="right", no_wrap=True)
    candidates = 0
    for row in _records(board.table):
        candidates += row["role"] == "candidate"
        if row["role"] == "candidate" and candidates > most:
            continue
        star = "*" if row["tied_with_best"] is True else ""
        style = "dim" if row["role"] == "reference" else ""
        view.add_row(star, escape(str(row["name"])), *(escape(cell(row, metric)) for metric in shown), style=style)
    if candidates > most:
        view.add_row("", f"... and {candidates - most} more", style="dim")
    return view


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def cell(row: Mapping[str, Any], metric: str) -> str:
    """A metric of a row with its interval, where it has one."""
    value, low, high = (row.get(name, np.nan) for name in (metric, f"{metric}_lo", f"{metric}_hi"))
    if value != value:  # NaN: not defined for this run
        return "–"
    digits = 1 if metric.endswith("_mm") or "_mm_" in metric else 2
    interval = f" [{low:.{digits}f}, {high:.{digits}f}]" if low == low else ""
    return f"{value:.{digits}f}{interval}".replace("-0.00", "0.00")

"""The leaderboard: comparable rows ranked by one metric, with intervals, reference rows, and what is tied with the best."""

from __future__ import annotations

import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from neuroprint.errors import NeuroprintError
from neuroprint.evaluation.comparison import tied
from neuroprint.evaluation.metric import SHARE, Metric

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

REFERENCES = ("chance", "voxels", "oracle")
"""Rows that give the scale, apart from ``untrained``; a task without an ideal ranking has no oracle."""
UNTRAINED = "untrained"
"""The row that trained encoders are measured by."""

INTERVALS = "in brackets: 95 % bootstrap interval over patients, conditional on gallery and fits"
STAR = "cannot be told from the best at 5 %, over the whole leaderboard"

_NO_CHOICE = ("run_id", "name", "role", "tied_with_best")
_PRINTED_WIDTH = 120
_MOST_PRINTED = 25


@dataclass(frozen=True, eq=False)
class Leaderboard:
    """Rows that agree in cohort, folds, hold-out and task, the best first. It prints as a table, and shows as HTML.

    Attributes:
        metric: What they are ranked by.
        metrics: What is known of the metrics, by name.
        table: A row a run: ``run_id`` (what it is known by), ``name``, ``role`` (``candidate`` or ``reference``), the
            choices, the metrics with bounds, ``tied_with_best``. What is not ranked stands behind all others.
        note: What is missing of it, or not ranked; empty where nothing is.
        group: Digest of what the runs agree in; empty where nobody needs it.

    Example:
        >>> import neuroprint as npr
        >>> cohort = npr.load_cohort("phantom", cases=12, spacing_mm=8.0)
        >>> voxels = npr.embed(cohort, encoder="voxels")
        >>> results = [npr.evaluate(voxels, npr.tasks.TumorPosition(), projection=name) for name in ("none", "pca")]
        >>> board = npr.compare(results)
        >>> [row["name"] for row in board.records() if row["role"] == "reference"][0]
        'oracle'
        >>> "retrieval/p_at_5" in board.table
        True
        >>> board.to_terminal(most=1).row_count  # the best candidate, the reference rows, and "... and 1 more"
        5
    """

    metric: Metric
    metrics: Mapping[str, Metric]
    table: pd.DataFrame
    note: str = ""
    group: str = ""

    @property
    def ranked_rows(self) -> pd.DataFrame:
        """The table without what stands behind the others, unless there is no other candidate."""
        if "exportable" not in self.table:
            return self.table
        rows = self.table[[is_ranked(row) for row in self.records()]]
        return rows if (rows["role"] == "candidate").any() else self.table

    @property
    def shown(self) -> list[Metric]:
        """The metrics that stand in a printed table, the one it is ranked by first."""
        others = [metric for metric in self.metrics.values() if metric.shown and metric.name in self.table]
        return [self.metric, *(metric for metric in others if metric.name != self.metric.name)]

    @property
    def varied_choices(self) -> list[str]:
        """The choices in which the candidates differ, in the table's order."""
        candidates = self.table[self.table["role"] == "candidate"]
        choices = [str(column) for column in self.table if column not in _NO_CHOICE and "/" not in str(column)]
        return [choice for choice in choices if len(candidates[choice].astype("string").unique()) > 1]

    def records(self) -> list[dict[str, Any]]:
        """The rows as dictionaries."""
        return [{str(name): value for name, value in row.items()} for row in self.table.to_dict("records")]

    def __str__(self) -> str:
        from rich.console import Console

        buffer = io.StringIO()
        Console(file=buffer, width=_PRINTED_WIDTH).print(self.to_terminal())
        return buffer.getvalue().rstrip("\n")

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{html.escape(metric.label)}</th>" for metric in self.shown)
        rows = []
        for row in self.records():
            star = "★" if row["tied_with_best"] is True else ""
            cells = "".join(f"<td>{html.escape(cell(row, metric))}</td>" for metric in self.shown)
            name = html.escape(str(row["name"]))
            shown = f"<i>{name}</i>" if row["role"] == "reference" else name
            rows.append(f"<tr><td>{star}</td><td style='text-align:left'>{shown}</td>{cells}</tr>")
        legend = f"{INTERVALS}; ★: {STAR}" + (f"; {self.note}" if self.note else "")
        return (
            f"<table><thead><tr><th></th><th></th>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
            f"<p><small>{html.escape(legend)}</small></p>"
        )

    def to_terminal(self, most: int = _MOST_PRINTED) -> Table:
        """The table for a terminal: the ``most`` best candidates and every reference row.

        Reference rows stand at their place in the ranking. A star marks what cannot be told from the best.
        """
        from rich.box import SIMPLE_HEAD
        from rich.markup import escape
        from rich.table import Table

        printed = Table(
            box=SIMPLE_HEAD,
            padding=(0, 1, 0, 0),
            title=f"by {self.metric.name}",
            caption=f"{INTERVALS}\n*: {STAR}" + (f"\n{self.note}" if self.note else ""),
            title_justify="left",
            caption_justify="left",
        )
        printed.add_column("")
        printed.add_column("run", overflow="fold", min_width=14)
        for metric in self.shown:
            printed.add_column(metric.name.replace("/", "/\n"), justify="right", no_wrap=True)
        candidates = 0
        for row in self.records():
            candidates += row["role"] == "candidate"
            if row["role"] == "candidate" and candidates > most:
                continue
            star = "*" if row["tied_with_best"] is True else ""
            style = "dim" if row["role"] == "reference" else ""
            cells = (escape(cell(row, metric)) for metric in self.shown)
            printed.add_row(star, escape(str(row["name"])), *cells, style=style)
        if candidates > most:
            printed.add_row("", f"... and {candidates - most} more", style="dim")
        return printed


def rank_rows(
    rows: Sequence[Mapping[str, Any]],
    queries: Mapping[str, pd.DataFrame],
    metric: str,
    metrics: Mapping[str, Metric],
    notes: Sequence[str] = (),
    group: str = "",
) -> Leaderboard:
    """Rank rows by a metric.

    Args:
        rows: ``run_id``, ``name``, ``role``, the choices and the metrics of each. A candidate whose ``exportable`` is False
            stands behind all others and is not compared: its projection, which cannot place a new case, has seen the queries.
            One whose vectors come from a file cannot be exported either, but is compared: its ``transductive`` is False.
        queries: The tables of queries of the candidates, by ``run_id``.
        metric: Name of the metric.
        metrics: What is known of the metrics, by name.
        notes: What else is to be said below the table.
        group: Digest of what the rows agree in.

    Raises:
        NeuroprintError: No row has such a metric.
    """
    import pandas as pd

    if metric not in metrics:
        raise NeuroprintError(f"no run has the metric {metric}: choose one of {', '.join(metrics)}")
    by = metrics[metric]
    table = pd.DataFrame([dict(row) for row in rows])
    if metric not in table:
        table[metric] = np.nan
    compared = [
        str(row["run_id"])
        for row in rows
        if row["role"] == "candidate" and is_ranked(row) and np.isfinite(row.get(metric, np.nan))
    ]
    tables = [queries[run_id] for run_id in compared]
    has_values = by.in_queries or (by.name.endswith(SHARE) and by.name.removesuffix(SHARE) in metrics)
    marks = tied(tables, by) if tables and has_values else np.zeros(0, dtype=bool)
    marked = dict(zip(compared, map(bool, marks), strict=False))
    table["tied_with_best"] = table["run_id"].map(marked).astype("boolean")
    table = table.sort_values([metric, "name"], ascending=[by.lower_is_better, True])
    behind = table["run_id"].isin([row["run_id"] for row in rows if row["role"] == "candidate" and not is_ranked(row)])
    table = pd.concat([table[~behind], table[behind]], ignore_index=True)
    said = list(notes)
    if behind.any():
        said.append("not exportable: laid out together with the queries, hence last and not compared with the best")
    return Leaderboard(by, metrics, table[_columns(table)], "\n".join(said), group)


def is_ranked(row: Mapping[str, Any]) -> bool:
    """Whether a candidate can be the best."""
    return str(row.get("exportable", True)) != "False" or str(row.get("transductive", True)) == "False"


def metrics_of(queries: pd.DataFrame) -> dict[str, Metric]:
    """What is known of the metrics of a table of queries, by name."""
    return {record["name"]: Metric(**record) for record in queries.attrs.get("metrics", [])}


def cell(row: Mapping[str, Any], metric: Metric) -> str:
    """A metric of a row with its interval, where it has one."""
    value, low, high = (row.get(name, np.nan) for name in (metric.name, f"{metric.name}_lo", f"{metric.name}_hi"))
    if value != value:  # NaN: not defined for this run
        return "–"
    digits = metric.decimals
    interval = f" [{low:.{digits}f}, {high:.{digits}f}]" if low == low else ""
    return f"{value:.{digits}f}{interval}".replace("-0.00", "0.00")


def _columns(table: pd.DataFrame) -> list[str]:
    """Who, the choices, then the metrics, each beside its bounds."""
    first = ["run_id", "name", "role", "tied_with_best"]
    columns = [str(column) for column in table.columns]
    found = sorted(column for column in columns if "/" in column)
    return [*first, *(column for column in columns if column not in first and "/" not in column), *found]

"""The leaderboard: comparable rows ranked by one metric, with intervals, reference rows, and what is tied with the best."""

from __future__ import annotations

import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from neuroprint.errors import NeuroprintError
from neuroprint.evaluation.comparison import with_one, with_the_best
from neuroprint.evaluation.metric import P_VALUE, SHARE, Metric

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

    from neuroprint.evaluation.influence import Influence

REFERENCES = ("chance", "voxels", "oracle")
"""Rows that give the scale, apart from ``untrained``; a task without an ideal ranking has no oracle."""
UNTRAINED = "untrained"
"""The row that trained encoders are measured by."""

RETRIEVAL = "retrieval/"
"""Family of the metrics that are means over queries with a relevant case."""
LEAST_QUERIES = 10
"""With fewer queries nothing is ranked, and nothing told apart."""

INTERVALS = "in brackets: 95 % interval over patients, who are query and gallery at once; conditional on what is fitted"

P_LEGEND = "p: against chance, by answers that are dealt anew among the patients"

_NO_CHOICE = ("run_id", "name", "role", "tied_with_best", "to_best", "to_voxels", "to_voxels_reach")
_DIFFERENCES = {"to the best": "to_best", "to voxels": "to_voxels"}
_PRINTED_WIDTH = 130
_NAME_WIDTHS = (14, 34)
MOST_PRINTED = 25
"""Candidates in a printed table."""


@dataclass(frozen=True, eq=False)
class Leaderboard:
    r"""Rows that agree in cohort, folds, hold-out and task, the best first. It prints as a table, and shows as HTML.

    Attributes:
        metric: What they are ranked by.
        metrics: What is known of the metrics, by name.
        table: A row a run: ``run_id`` (what it is known by), ``name``, ``role`` (``candidate`` or ``reference``), the
            choices, the metrics with bounds; and where rows can be compared ``to_best`` (its value less that of the best),
            ``tied_with_best`` (whether the best leads it by no more than ``reach``; a reference row may even lead it),
            ``to_voxels`` and ``to_voxels_reach`` (its value less that of voxels, and half the width of the interval of that,
            simultaneous over the rows). What is not ranked stands behind all others.
        queries: Number of queries behind the metric, and number of cases.
        reach: Half the width of the difference to the best, one for all rows: they are told from it if they lie further
            behind. NaN where nothing is compared.
        note: What is missing of it, or not ranked; empty where nothing is.
        group: Digest of what the runs agree in; empty where nobody needs it.
        about: What that is, in words: task, relevance, cohort, folds.

    Example:
        >>> import neuroprint as npr
        >>> cohort = npr.load_cohort("phantom", cases=12, spacing_mm=8.0)
        >>> voxels = npr.embed(cohort, encoder="voxels")
        >>> results = [npr.evaluate(voxels, npr.tasks.TumorPosition(), projection=name) for name in ("none", "pca")]
        >>> board = npr.compare(results)
        >>> board.queries  # how many queries stand behind it, and how many cases there are
        (5, 12)
        >>> board.is_ranked
        False
        >>> board.heads(["precision at 5"])  # with ten queries, "to the best" and "to voxels" stand between
        ['precision at 5', 'p']
        >>> [board.cells(row)[0] for row in board.records() if row["name"] == "oracle"] == [
        ...     line["retrieval/p_at_5"] for line in board.lines() if line["run"] == "oracle"]
        True
        >>> board.differences(board.records()[0])
        {}
        >>> "retrieval/p_at_5" in board.to_frame()
        True
        >>> print(board.to_markdown(most=1).splitlines()[0])
        **by retrieval/p_at_5 · tumor_position: a case whose tumor's center lies within 20 mm · phantom, 12 cases in 5 folds**
        >>> board.to_latex().splitlines()[0]
        '\\begin{table}'
        >>> board.to_terminal(most=1).row_count  # the best candidate, the reference rows, and "... and 1 more"
        5
    """

    metric: Metric
    metrics: Mapping[str, Metric]
    table: pd.DataFrame
    queries: tuple[int, int] = (0, 0)
    reach: float = np.nan
    note: str = ""
    group: str = ""
    about: str = ""

    @property
    def id(self) -> str:
        """By which it is named: the beginning of the group."""
        return self.group[:8]

    @property
    def title(self) -> str:
        """What it is ranked by, and of what, in a line."""
        by = f"by {self.metric.name}" + (f", {self.metric.direction}" if self.metric.confound else "")
        return " · ".join(part for part in (by, self.about, self.id) if part)

    @property
    def is_ranked(self) -> bool:
        """Whether there are queries enough to rank by."""
        return self.queries[0] >= LEAST_QUERIES

    @property
    def legend(self) -> list[str]:
        """What has to be said below the table."""
        asked, cases = self.queries
        said = [f"{asked} of {cases} cases are queries with a value; {INTERVALS}"]
        if not self.is_ranked:
            said.append(f"fewer than {LEAST_QUERIES} queries: nothing is ranked, and nothing told apart")
        elif np.isfinite(self.reach):
            said.append(
                f"*: the best run leads it by no more than {self._reach}, so it may be as good (Hsu's comparison, 95 %)"
            )
            said += self._of_chance()
        if self.metric.confound and self._has_reference("oracle"):
            said.append(
                "a confound: oracle is a fingerprint that tells all of it, and shares are shares of the way to that"
            )
        if self._shows_p:
            said.append(P_LEGEND)
        if "to_voxels" in self.table:
            said.append("to voxels: with a 95 % interval that holds for all rows at once (Dunnett's comparison)")
        return [*said, *self.note.splitlines()]

    @property
    def _reach(self) -> str:
        return f"{self.reach:.{self.metric.decimals}f}" + (f" {self.metric.unit}" if self.metric.unit else "")

    def _of_chance(self) -> list[str]:
        rows = self.table[(self.table["role"] == "reference") & (self.table["name"] == "chance")]
        if rows.empty or not np.isfinite(rows.iloc[0]["to_best"]):
            return []
        lead = float(rows.iloc[0]["to_best"]) * (1.0 if self.metric.lower_is_better else -1.0)
        if self.metric.confound:
            told = -lead > self.reach
            return ["even the best tells more of it than chance" if told else "the best is not told from chance"]
        return [] if lead > self.reach else ["the best is not told from chance either"]

    def _has_reference(self, name: str) -> bool:
        """Whether there is such a reference row."""
        return bool(((self.table["role"] == "reference") & (self.table["name"] == name)).any())

    @property
    def _shows_p(self) -> bool:
        """Whether a p-value of the metric is known for any row."""
        name = f"{self.metric.name}{P_VALUE}"
        return name in self.table and bool(self.table[name].notna().any())

    @property
    def ranked_rows(self) -> pd.DataFrame:
        """The table without what stands behind the others, unless there is no other candidate."""
        if "exportable" not in self.table:
            return self.table
        rows = self.table[[is_ranked(row) for row in self.records()]]
        return rows if (rows["role"] == "candidate").any() else self.table

    @property
    def best(self) -> dict[str, Any] | None:
        """The row of the best candidate; None where nothing is ranked, or the metric is not defined."""
        rows = self.ranked_rows
        found = rows[(rows["role"] == "candidate") & rows[self.metric.name].notna()] if self.is_ranked else rows[:0]
        return None if found.empty else {str(name): value for name, value in found.iloc[0].to_dict().items()}

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
        # A notebook would show rich's table by itself, beside what is printed.
        plain = Console(file=buffer, width=_PRINTED_WIDTH, force_jupyter=False, force_terminal=False)
        plain.print(self.to_terminal(width=_PRINTED_WIDTH))
        return buffer.getvalue().rstrip("\n")

    def __repr__(self) -> str:
        return f"<Leaderboard of {len(self.table)} rows, {self.title}>"

    def _repr_html_(self) -> str:
        labels = [f"{metric.label}, {metric.unit}" if metric.unit else metric.label for metric in self.shown]
        head = "".join(f"<th>{html.escape(label)}</th>" for label in self.heads(labels))
        rows = []
        for row in self.records():
            star = "★" if row["tied_with_best"] is True else ""
            cells = "".join(f"<td>{html.escape(text)}</td>" for text in self.cells(row))
            name = html.escape(str(row["name"]))
            shown = f"<i>{name}</i>" if row["role"] == "reference" else name
            rows.append(f"<tr><td>{star}</td><td style='text-align:left'>{shown}</td>{cells}</tr>")
        legend = "; ".join(self.legend).replace("*:", "★:")
        return (
            f"<p>{html.escape(self.title)}</p><table><thead><tr><th></th><th></th>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
            f"<p><small>{html.escape(legend)}</small></p>"
        )

    def heads(self, metrics: Sequence[str]) -> list[str]:
        """Heads of the columns that are shown: the metrics', as they are called here, and the differences'."""
        return [metrics[0], *self.differences({}), *metrics[1:], *(["p"] if self._shows_p else [])]

    def cells(self, row: Mapping[str, Any]) -> list[str]:
        """A row's cells in the columns of :meth:`heads`."""
        first, *others = (cell(row, metric) for metric in self.shown)
        p = [p_cell(row.get(f"{self.metric.name}{P_VALUE}", np.nan))] if self._shows_p else []
        return [first, *self.differences(row).values(), *others, *p]

    def differences(self, row: Mapping[str, Any]) -> dict[str, str]:
        """How far a row lies from the best and from voxels, as far as the leaderboard compares."""
        reaches = {"to_best": self.reach, "to_voxels": row.get("to_voxels_reach", np.nan)}
        zero = f"{0:.{self.metric.decimals}f}"
        same = {"to_best": "the best" if row.get("role") == "candidate" else zero, "to_voxels": "–"}
        return {
            head: same[column]
            if row.get(column) == 0.0
            else difference(row.get(column, np.nan), reaches[column], self.metric)
            for head, column in _DIFFERENCES.items()
            if column in self.table
        }

    def lines(self, most: int | None = None) -> list[dict[str, str]]:
        """What is printed, a line a row: star, name, metrics, differences and run id; the ``most`` best candidates.

        Reference rows stand at their place in the ranking. A star marks what may be as good as the best.
        """
        heads, candidates, found = self.heads([metric.name for metric in self.shown]), 0, []
        for row in self.records():
            candidates += row["role"] == "candidate"
            if most is None or row["role"] == "reference" or candidates <= most:
                star = "*" if row["tied_with_best"] is True else ""
                cells = dict(zip(heads, self.cells(row), strict=True))
                found.append(
                    {"": star, "run": str(row["name"]), **cells, "run id": str(row["run_id"]), "role": row["role"]}
                )
        return found

    def to_frame(self) -> pd.DataFrame:
        """The table, every row with what it is of: the leaderboard's id, title, reach, and which way is better."""
        return self.table.assign(
            leaderboard=self.id,
            about=self.about,
            to_best_reach=self.reach,
            lower_is_better=self.metric.lower_is_better,
        )

    def to_markdown(self, most: int | None = None) -> str:
        """A table in Markdown, its title above and what has to be said below it."""
        rows = [{head: text for head, text in line.items() if head != "role"} for line in self.lines(most)]
        table = [f"| {' | '.join(rows[0])} |", "| --- " * len(rows[0]) + "|"]
        table += [f"| {' | '.join(text.replace('|', chr(92) + '|') for text in row.values())} |" for row in rows]
        return "\n".join([f"**{self.title}**", "", *table, "", *(f"{text}  " for text in self.legend)])

    def to_latex(self, most: int | None = None) -> str:
        """A table in LaTeX, for booktabs."""
        import pandas as pd

        rows = pd.DataFrame(self.lines(most)).drop(columns="role")
        caption = _latex("; ".join([self.title, *self.legend]))
        table = rows.map(_latex).rename(columns=_latex)
        return str(table.to_latex(index=False, column_format="ll" + "r" * (table.shape[1] - 3) + "l", caption=caption))

    def to_terminal(self, most: int | None = MOST_PRINTED, width: int = _PRINTED_WIDTH) -> Table:
        """The table for a terminal: the ``most`` best candidates and every reference row.

        Columns that have no room are left out, the last first, and named below the table.
        """
        from rich.box import SIMPLE_HEAD
        from rich.markup import escape
        from rich.table import Table

        lines = self.lines(most)
        heads, left_out = self._that_fit(lines, width)
        # The p-value is in every file; a terminal shows it where there is room.
        narrow = "p" in left_out
        left_out = [head for head in left_out if head != "p"]
        legend = [
            *(text for text in self.legend if not (narrow and text == P_LEGEND)),
            *([f"no room for {', '.join(left_out)}: neuroprint leaderboard --csv"] if left_out else []),
        ]
        printed = Table(
            box=SIMPLE_HEAD,
            padding=(0, 1, 0, 0),
            title=escape(self.title),
            caption="\n".join(legend),
            title_justify="left",
            caption_justify="left",
        )
        printed.add_column("", no_wrap=True)
        printed.add_column("run", overflow="fold", min_width=_NAME_WIDTHS[0])
        for head in heads:
            printed.add_column(_in_two_lines(head), justify="right", no_wrap=True)
        for line in lines:
            cells = (escape(line[head]) for head in ("", "run", *heads))
            printed.add_row(*cells, style="dim" if line["role"] == "reference" else "")
        if more := len(self.table) - len(lines):
            printed.add_row("", f"... and {more} more", style="dim")
        return printed

    def _that_fit(self, lines: Sequence[Mapping[str, str]], width: int) -> tuple[list[str], list[str]]:
        """The columns that have room beside star and name, the first at least, and the others."""
        heads = self.heads([metric.name for metric in self.shown])
        room = width - 6 - min(_NAME_WIDTHS[1], max(len(line["run"]) for line in lines))
        fit = 0
        for head in heads:
            room -= 2 + max(map(len, (*_in_two_lines(head).split("\n"), *(line[head] for line in lines))))
            if room < 0 and fit:
                break
            fit += 1
        return heads[:fit], heads[fit:]


def rank_rows(
    rows: Sequence[Mapping[str, Any]],
    influences: Mapping[str, Mapping[str, Influence]],
    metric: str,
    metrics: Mapping[str, Metric],
    queries: tuple[int, int],
    notes: Sequence[str] = (),
    group: str = "",
    about: str = "",
) -> Leaderboard:
    """Rank rows by a metric, and compare them.

    Args:
        rows: ``run_id``, ``name``, ``role``, the choices and the metrics of each. A candidate whose ``exportable`` is False
            stands behind all others and is not compared: its projection, which cannot place a new case, has seen the queries.
        influences: What the metrics of each row owe to whom, by ``run_id``; a row without one is not compared.
        metric: Name of the metric.
        metrics: What is known of the metrics, by name.
        queries: Number of queries behind the metric, and number of cases.
        notes: What else is to be said below the table.
        group: Digest of what the rows agree in.
        about: The same in words.

    Raises:
        NeuroprintError: No row has such a metric.
    """
    import pandas as pd

    if metric not in metrics:
        raise NeuroprintError(f"no run has the metric {metric}: choose one of {', '.join(metrics)}")
    by, said = metrics[metric], list(notes)
    table = pd.DataFrame([dict(row) for row in rows])
    if metric not in table:
        table[metric] = np.nan
    enough = queries[0] >= LEAST_QUERIES
    table = (
        table.sort_values([metric, "name"], ascending=[by.lower_is_better, True])
        if enough
        else table.sort_values(["role", "name"])
    )
    last = [row["run_id"] for row in rows if row["role"] == "candidate" and not is_ranked(row)]
    behind = table["run_id"].isin(last)
    table = pd.concat([table[~behind], table[behind]], ignore_index=True)
    if last:
        said.append("not exportable: laid out together with the queries, hence last and not compared with the best")
    table["tied_with_best"] = pd.array([pd.NA] * len(table), dtype="boolean")
    reach = _compare(table, influences, by) if enough and by.compared else np.nan
    return Leaderboard(by, metrics, table[_columns(table)], queries, reach, "\n".join(said), group, about)


def _compare(table: pd.DataFrame, influences: Mapping[str, Mapping[str, Influence]], metric: Metric) -> float:
    """Put the differences into a table whose rows stand in their order, and return the reach of those to the best."""
    base = metric.name.removesuffix(SHARE)
    records = [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]
    found = [influences.get(str(row["run_id"]), {}).get(base) for row in records]
    places = [
        place
        for place, row in enumerate(records)
        if found[place] is not None and np.isfinite(row[metric.name]) and (row["role"] == "reference" or is_ranked(row))
    ]
    rows = [influence for place in places if (influence := found[place]) is not None]
    candidates = np.array([records[place]["role"] == "candidate" for place in places], dtype=bool)
    if not candidates.any():
        return np.nan
    if len({len(row.own) for row in rows}) > 1:
        raise NeuroprintError("only runs of the same cohort, folds and task can be compared: their patients differ")
    sign = -1.0 if metric.lower_is_better else 1.0
    rows = [row.times(sign * _scale([records[place] for place in places], metric.name, base)) for row in rows]
    references = [(str(records[place]["name"]), row) for place, row in zip(places, rows, strict=True)]
    named = {name: row for (name, row), one in zip(references, candidates, strict=True) if not one}
    ideal = None if metric.ideal is None else sign * metric.ideal
    # Of a confound chance is as good as can be: no row is hopeless for being worse.
    floor = named["chance"].value if "chance" in named and not metric.confound else -np.inf
    best = with_the_best(rows, candidates, floor, ideal)
    table.loc[places, "to_best"] = -sign * best.behind
    table.loc[places, "tied_with_best"] = ~best.out
    if "voxels" in named:
        differences, reaches = with_one(rows, named["voxels"])
        table.loc[places, "to_voxels"], table.loc[places, "to_voxels_reach"] = sign * differences, reaches
    return best.width


def _scale(rows: Sequence[Mapping[str, Any]], metric: str, base: str) -> float:
    """A share is its metric, less chance, over what is the same for all rows."""
    (low, below), (high, above) = (chosen((row[metric], row[base]) for row in rows) for chosen in (min, max))
    return (high - low) / (above - below) if above != below else 1.0


def is_ranked(row: Mapping[str, Any]) -> bool:
    """Whether a candidate can be the best."""
    return str(row.get("exportable", True)) != "False" or str(row.get("transductive", True)) == "False"


def metrics_of(queries: pd.DataFrame) -> dict[str, Metric]:
    """What is known of the metrics of a table of queries, by name.

    Raises:
        NeuroprintError: Another version of neuroprint wrote it.
    """
    records = queries.attrs.get("metrics", [])
    own = {part.name for part in fields(Metric)}
    if any(not own - {"confound"} <= set(record) <= own for record in records):
        raise NeuroprintError("scored by another version of neuroprint: give the run's or the sweep's command again")
    return {record["name"]: Metric(**record) for record in records}


def cell(row: Mapping[str, Any], metric: Metric) -> str:
    """A metric of a row with its interval, where it has one."""
    value, low, high = (row.get(name, np.nan) for name in (metric.name, f"{metric.name}_lo", f"{metric.name}_hi"))
    if value != value:  # NaN: not defined for this run
        return "–"
    digits = metric.decimals
    interval = f" [{low:.{digits}f}, {high:.{digits}f}]" if low == low else ""
    return f"{value:.{digits}f}{interval}".replace("-0.00", "0.00")


def p_cell(value: float) -> str:
    """A p-value as it is printed."""
    return f"{value:.3f}" if value == value else "–"


def difference(value: float, reach: float, metric: Metric) -> str:
    """A difference with half the width of its interval."""
    if value != value:  # NaN: not compared
        return "–"
    digits = metric.decimals
    signed = f"{value:+.{digits}f}" if round(value, digits) else f"{0:.{digits}f}"
    return signed + (f" ± {reach:.{digits}f}" if reach == reach else "")


def _in_two_lines(head: str) -> str:
    return head.replace("/", "/\n")


def _latex(text: str) -> str:
    """Text as LaTeX prints it."""
    for letter in "\\&%$#_{}":
        text = text.replace(letter, "\\" + letter if letter != "\\" else r"\textbackslash ")
    for sign, printed in {"±": r"$\pm$", "²": r"$^2$", "·": r"$\cdot$", "–": "--", "~": r"\textasciitilde "}.items():
        text = text.replace(sign, printed)
    return text


def _columns(table: pd.DataFrame) -> list[str]:
    """Who, the choices, then the metrics, each beside its bounds."""
    first = [column for column in _NO_CHOICE if column in table]
    columns = [str(column) for column in table.columns]
    found = sorted(column for column in columns if "/" in column)
    return [*first, *(column for column in columns if column not in first and "/" not in column), *found]

"""The leaderboard as a picture: every configuration with its interval, and what cannot be told from the best."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from neuroprint.figures.style import (
    BLUE,
    GRAY,
    INK,
    PALE,
    REFERENCE_MARKERS,
    SMALL,
    WIDTH_INCHES,
    new_figure,
    place,
    shorten,
    styled,
)

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from neuroprint.evaluation.metric import Metric

TOP = 40
STAR = "★"
_ROW_INCHES = 0.17
# Above the rows: the title and two lines of heads. Below: the scale's numbers, its name and the legend.
_HEAD_INCHES, _FOOT_INCHES = 0.6, 0.76
_EDGE_INCHES = 0.08
# Between the names and the scale, for the stars.
_STAR_INCHES = 0.2
_LONGEST_NAME = 44
# Of a letter on average, a little more than needed: 7 points for the names, the small type for the numbers.
_NAME_LETTER_INCHES, _LETTER_INCHES = 0.0585, 0.0585
_GAP_INCHES = 0.16
_SHADE = 0.13


@dataclass(frozen=True)
class _Column:
    """A column of numbers beside the scale: two lines of head, and a cell a row."""

    head: str
    cells: list[str]

    @property
    def inches(self) -> float:
        letters = max(map(len, [*self.head.splitlines(), *self.cells]), default=0)
        return letters * _LETTER_INCHES


@styled
def draw_leaderboard(table: pd.DataFrame, metric: Metric, reach: float = np.nan) -> Figure:
    """Draw the ranking by one metric, the best on top: dots with 95 % intervals, references in gray among them.

    The zone within reach of the best is shaded. Candidates in there have a star and a filled dot, since they are not told
    from it; those outside are hollow. Beside the scale stand the values and the differences to the best and to voxels.
    Of more than 40 candidates the best 40 are drawn, and the figure says so; rows in which the metric is not defined are
    counted, not drawn.

    Args:
        table: A row per run with ``name``, ``role`` (``candidate`` or ``reference``), the metric, and, where there are
            any, ``<metric>_lo``, ``<metric>_hi``, ``tied_with_best``, ``to_best``, ``to_voxels`` and
            ``to_voxels_reach``. Rows that were not compared stand in the order of the table.
        metric: The column to rank by.
        reach: Half the width of the differences to the best; NaN where nothing was compared.
    """
    defined = table[np.isfinite(table[metric.name].astype(float))]
    compared = bool(np.isfinite(reach))
    ranked = defined
    if compared or "to_best" not in table:
        ranked = defined.sort_values([metric.name, "name"], ascending=[metric.lower_is_better, True], kind="stable")
    candidates = ranked[ranked["role"] != "reference"]
    shown = ranked[ranked.index.isin(candidates.index[:TOP]) | (ranked["role"] == "reference")].reset_index(drop=True)
    tied = shown["tied_with_best"] if "tied_with_best" in shown else pd.Series(pd.NA, index=shown.index)
    shown["starred"] = tied.eq(True).fillna(False).astype(bool) & (shown["role"] != "reference")
    told = bool(tied.notna().any())

    rows = shown.to_dict("records")
    columns = _columns(rows, metric, reach)
    names = [shorten(str(name), _LONGEST_NAME) for name in shown["name"]]
    figure, axes = _page(names, columns)
    if compared and "to_best" in shown:
        best = float((shown[metric.name] - shown["to_best"]).dropna().iloc[0])
        worst = best + reach if metric.lower_is_better else best - reach
        axes.axvspan(min(best, worst), max(best, worst), color=BLUE, alpha=_SHADE, linewidth=0, zorder=0)
    for height, row in enumerate(rows):
        _draw_row(axes, height, row, metric.name, told)
    axes.set_yticks(range(len(shown)), names)
    for label, role in zip(axes.get_yticklabels(), shown["role"], strict=True):
        label.set(color=GRAY, fontstyle="italic") if role == "reference" else None
    axes.set_xlabel(f"{metric.title}, {metric.direction}")
    axes.margins(x=0.04)
    _write(axes, columns, shown)
    figure.suptitle(_headline(len(candidates), len(table) - len(defined)), x=_EDGE_INCHES / WIDTH_INCHES, ha="left")
    keys = _keys(shown, metric, told, bool(axes.collections), bool(axes.patches))
    figure.legend(
        handles=keys, loc="lower left", bbox_to_anchor=(0, 0), ncols=len(keys), handletextpad=0.5, columnspacing=1.4,
        borderaxespad=0.4,
    )  # fmt: skip
    return figure


def _page(names: Sequence[str], columns: Sequence[_Column]) -> tuple[Figure, Axes]:
    """An empty page with the scale between names and numbers."""
    rows = max(len(names), 2)
    figure = new_figure(rows * _ROW_INCHES + _HEAD_INCHES + _FOOT_INCHES, placed=True)
    left = _EDGE_INCHES + max(map(len, names), default=0) * _NAME_LETTER_INCHES + _STAR_INCHES
    right = _EDGE_INCHES + sum(column.inches + _GAP_INCHES for column in columns)
    axes = place(figure, left, _FOOT_INCHES, WIDTH_INCHES - left - right, rows * _ROW_INCHES)
    axes.set(ylim=(rows - 0.5, -0.5))
    axes.tick_params(axis="y", length=0, pad=_STAR_INCHES * 72)
    axes.spines["left"].set_visible(False)
    axes.grid(True, axis="x")
    axes.grid(True, axis="y", color=PALE)
    return figure, axes


def _columns(rows: Sequence[Mapping[Hashable, Any]], metric: Metric, reach: float) -> list[_Column]:
    """The numbers of the rows: the value, and what it lies from the best and from voxels."""
    digits = metric.decimals

    def number(row: Mapping[Hashable, Any], name: str) -> float:
        return float(row[name]) if pd.notna(row.get(name, np.nan)) else np.nan

    def value(row: Mapping[Hashable, Any]) -> str:
        low, high = (number(row, f"{metric.name}_{end}") for end in ("lo", "hi"))
        bounds = f"  [{low:.{digits}f}, {high:.{digits}f}]" if np.isfinite(low) and np.isfinite(high) else ""
        return _minus(f"{float(row[metric.name]):.{digits}f}{bounds}")

    def apart(row: Mapping[Hashable, Any], name: str) -> str:
        difference, around = number(row, name), number(row, f"{name}_reach")
        if not np.isfinite(difference) or around == 0:
            return ""
        text = f"{difference:+.{digits}f}" if round(difference, digits) else f"{0:.{digits}f}"
        return _minus(text + (f" ± {around:.{digits}f}" if np.isfinite(around) else ""))

    values = [value(row) for row in rows]
    bounded = any("[" in text for text in values)
    columns = [_Column("value\n[95 % interval]" if bounded else "\nvalue", values)]
    if np.isfinite(reach):
        columns.append(_Column(f"to the best\n± {reach:.{digits}f}", [apart(row, "to_best") for row in rows]))
    if any(cells := [apart(row, "to_voxels") for row in rows]):
        columns.append(_Column("\nto voxels", cells))
    return columns


def _write(axes: Axes, columns: Sequence[_Column], shown: pd.DataFrame) -> None:
    """The columns of numbers, and the stars before the scale."""

    def text(words: str, inches: float, height: float, **look: Any) -> None:
        axes.annotate(
            words, (side, height), xytext=(inches * 72, 0), xycoords=("axes fraction", "data"),
            textcoords="offset points", annotation_clip=False, **look,
        )  # fmt: skip

    side, across = 1.0, 0.0
    for column in columns:
        across += _GAP_INCHES
        text(column.head, across, -0.62, va="bottom", fontsize=SMALL, color=GRAY, linespacing=1.1)
        for height, (cell, role) in enumerate(zip(column.cells, shown["role"], strict=True)):
            text(cell, across, height, va="center", fontsize=SMALL, color=GRAY if role == "reference" else INK)
        across += column.inches
    side = 0.0
    for height in np.flatnonzero(shown["starred"]):
        text(STAR, -_STAR_INCHES / 2, height, ha="center", va="center", color=BLUE)


def _draw_row(axes: Axes, height: int, row: Mapping[Hashable, Any], metric: str, told: bool) -> None:
    low, high = (float(row.get(f"{metric}_{end}", np.nan)) for end in ("lo", "hi"))
    reference = row["role"] == "reference"
    color = GRAY if reference else BLUE
    if np.isfinite(low) and np.isfinite(high):
        axes.hlines(height, low, high, color=color, linewidth=1.1, zorder=2)
    filled = reference or row["starred"] or not told
    axes.plot(
        float(row[metric]), height, linestyle="none", zorder=3, markersize=4.8, color=color,
        marker=REFERENCE_MARKERS.get(str(row["name"]), "D") if reference else "o",
        markerfacecolor=color if filled else "white", markeredgewidth=1.1,
    )  # fmt: skip


def _headline(candidates: int, undefined: int) -> str:
    drawn = f"the best {TOP} of {candidates:,} candidates" if candidates > TOP else f"{candidates:,} candidates"
    return f"Leaderboard: {drawn}" + (f"; {undefined:,} rows without this metric left out" if undefined else "")


def _keys(shown: pd.DataFrame, metric: Metric, told: bool, bounded: bool, shaded: bool) -> list[Line2D | Patch]:
    def dot(label: str, **look: Any) -> Line2D:
        return Line2D([], [], linestyle="none", markersize=4.8, markeredgewidth=1.1, label=label, **look)

    keys: list[Line2D | Patch] = []
    if told:
        keys.append(dot(f"{STAR} not told from the best", marker="o", color=BLUE))
        keys.append(dot("worse than the best", marker="o", color=BLUE, markerfacecolor="white"))
    if shaded:
        keys.append(Patch(color=BLUE, alpha=_SHADE, linewidth=0, label="within reach of the best"))
    if (shown["role"] == "reference").any():
        keys.append(dot("reference row", marker="s", color=GRAY))
    if bounded:
        keys.append(Line2D([], [], color=BLUE, linewidth=1.1, label="95 % interval"))
    return keys


def _minus(text: str) -> str:
    return text.replace("-", "−")

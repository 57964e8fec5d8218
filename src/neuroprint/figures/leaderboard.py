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
    text_inches,
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
_LONGEST_NAME, _WIDEST_NAME_INCHES = 44, 2.7
_GAP_INCHES = 0.16
_SHADE = 0.13


@dataclass(frozen=True)
class _Column:
    """A column of numbers beside the scale: two lines of head, and a cell a row."""

    head: str
    cells: list[str]

    @property
    def inches(self) -> float:
        """Width of the widest line."""
        return max(text_inches(text, SMALL) for text in [*self.head.splitlines(), *self.cells, ""])


@styled
def draw_leaderboard(table: pd.DataFrame, metric: Metric, reach: float = np.nan) -> Figure:
    """Draw the ranking by one metric, the best on top: dots with 95 % intervals, references in gray among them.

    The zone within reach of the best is shaded. Candidates in there have a star and a filled dot, since they may be as good;
    those outside are hollow. A reference row has a star too if the best does not lead it by more than its reach. Beside the
    scale stand the values and the differences to the best and to voxels. An arrow at the scale's end is a hopeless row.
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
    shown["starred"] = tied.eq(True).fillna(False).astype(bool)
    told = bool(tied.notna().any())

    rows = shown.to_dict("records")
    columns = _columns(rows, metric, reach)
    names = [_fitting(str(name)) for name in shown["name"]]
    figure, axes = _page(names, columns)
    if compared and "to_best" in shown:
        best = float((shown[metric.name] - shown["to_best"]).dropna().iloc[0])
        worst = best + reach if metric.lower_is_better else best - reach
        axes.axvspan(min(best, worst), max(best, worst), color=BLUE, alpha=_SHADE, linewidth=0, zorder=0)
    limits = _limits(shown, metric)
    for height, row in enumerate(rows):
        _draw_row(axes, height, row, metric.name, told, limits)
    axes.set_yticks(range(len(shown)), names)
    for label, role in zip(axes.get_yticklabels(), shown["role"], strict=True):
        label.set(color=GRAY, fontstyle="italic") if role == "reference" else None
    axes.set_xlabel(f"{metric.title}, {metric.direction}")
    axes.margins(x=0.04)
    if limits is not None:
        axes.set_xlim(limits)
    _write(axes, columns, shown)
    high = 1 - _EDGE_INCHES / figure.get_figheight()
    said = _headline(len(candidates), len(table) - len(defined))
    figure.suptitle(said, x=_EDGE_INCHES / WIDTH_INCHES, y=high, ha="left", va="top")
    keys = _keys(shown, metric, told, bool(axes.collections), bool(axes.patches))
    figure.legend(
        handles=keys, loc="lower left", bbox_to_anchor=(0, 0), ncols=len(keys), handletextpad=0.5, columnspacing=1.4,
        borderaxespad=0.4,
    )  # fmt: skip
    return figure


def _fitting(name: str) -> str:
    """A name, shortened until it leaves room for the scale."""
    longest = _LONGEST_NAME
    while text_inches(shorten(name, longest)) > _WIDEST_NAME_INCHES:
        longest -= 2
    return shorten(name, longest)


def _page(names: Sequence[str], columns: Sequence[_Column]) -> tuple[Figure, Axes]:
    """An empty page with the scale between names and numbers."""
    rows = max(len(names), 2)
    figure = new_figure(rows * _ROW_INCHES + _HEAD_INCHES + _FOOT_INCHES, placed=True)
    left = _EDGE_INCHES + max(map(text_inches, [*names, ""])) + _STAR_INCHES
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
    for starred in np.flatnonzero(shown["starred"]):
        color = GRAY if shown["role"].iloc[starred] == "reference" else BLUE
        text(STAR, -_STAR_INCHES / 2, int(starred), ha="center", va="center", color=color)


def _draw_row(
    axes: Axes,
    height: int,
    row: Mapping[Hashable, Any],
    metric: str,
    told: bool,
    limits: tuple[float, float] | None,
) -> None:
    low, high = (float(row.get(f"{metric}_{end}", np.nan)) for end in ("lo", "hi"))
    reference = row["role"] == "reference"
    color = GRAY if reference else BLUE
    if np.isfinite(low) and np.isfinite(high):
        axes.hlines(height, low, high, color=color, linewidth=1.1, zorder=2)
    filled = reference or row["starred"] or not told
    value, marker = float(row[metric]), REFERENCE_MARKERS.get(str(row["name"]), "D") if reference else "o"
    if limits is not None and not limits[0] <= value <= limits[1]:
        value, marker = (limits[0], "<") if value < limits[0] else (limits[1], ">")
    axes.plot(
        value, height, linestyle="none", zorder=3, markersize=4.8, color=color, marker=marker, clip_on=False,
        markerfacecolor=color if filled else "white", markeredgewidth=1.1,
    )  # fmt: skip


def _limits(shown: pd.DataFrame, metric: Metric) -> tuple[float, float] | None:
    """Ends of the scale, where a candidate is so much worse than the rest that it would press them together.

    Such candidates lie further below the references and the better half than these lie apart. An arrow stands for them.
    """
    sign = -1.0 if metric.lower_is_better else 1.0
    values = sign * shown[metric.name].to_numpy(dtype=float)
    candidate = (shown["role"] != "reference").to_numpy()
    if not candidate.any():
        return None
    kept = np.append(values[~candidate], values[candidate & (values >= np.median(values[candidate]))])
    apart = float(np.ptp(kept))
    worst = float(kept.min()) - apart
    if apart == 0 or values.min() >= worst:
        return None
    bounds = [shown[name].to_numpy(float) for end in ("lo", "hi") if (name := f"{metric.name}_{end}") in shown]
    best = float(np.nanmax([values, *(sign * bound for bound in bounds)])) + 0.04 * apart
    return (worst, best) if sign > 0 else (-best, -worst)


def _headline(candidates: int, undefined: int) -> str:
    drawn = f"the best {TOP} of {candidates:,} candidates" if candidates > TOP else f"{candidates:,} candidates"
    return f"Leaderboard: {drawn}" + (f"; {undefined:,} rows without this metric left out" if undefined else "")


def _keys(shown: pd.DataFrame, metric: Metric, told: bool, bounded: bool, shaded: bool) -> list[Line2D | Patch]:
    def dot(label: str, **look: Any) -> Line2D:
        return Line2D([], [], linestyle="none", markersize=4.8, markeredgewidth=1.1, label=label, **look)

    keys: list[Line2D | Patch] = []
    if told:
        keys.append(dot(f"{STAR} may be as good as the best", marker="o", color=BLUE))
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

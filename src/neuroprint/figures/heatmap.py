"""Layer by pooling: which part of the network, summed up in which way, makes the best embedding."""

from __future__ import annotations

import math
from textwrap import fill
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.colors import Normalize
from matplotlib.patches import Rectangle

from neuroprint.figures.style import (
    COLUMN_INCHES,
    GRAY,
    PALE,
    SMALL,
    VERMILLION,
    WIDTH_INCHES,
    decimals,
    new_figure,
    shorten,
    styled,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

    from neuroprint.evaluation.metric import Metric

_CELL_INCHES = 0.34
_ROW_INCHES = 0.26
# What stands beside the panels: the rows' names and the color bar. A page of few cells is a column wide.
_BESIDE_INCHES = 1.4
_PANELS_INCHES = WIDTH_INCHES - _BESIDE_INCHES
_NARROWEST_PANEL_INCHES = 1.1
# How many characters fit, of the footnote and of the title.
_LETTERS_AN_INCH, _TITLE_LETTERS_AN_INCH = 18, 13


@styled
def draw_heatmap(
    table: pd.DataFrame, metric: Metric, rows: str = "layer", columns: str = "pooling", panels: str = "projection"
) -> Figure:
    """Draw a metric over two choices of the sweep, one panel per value of a third; the best cell is framed.

    A cell takes the best of its runs over whatever else was swept, and the figure says where that is more than one.
    Combinations that were not run, or whose metric is not defined, are hatched. Reference rows are not drawn.

    Args:
        table: A row per run with the metric and the columns of the choices; a missing ``panels`` column is one panel.
        metric: The column to draw.
        rows: The choice that runs downwards.
        columns: The choice that runs to the right.
        panels: The choice that separates the panels.
    """
    runs = _runs(table, metric.name, rows, columns, panels)
    grouped = runs.groupby([panels, rows, columns])[metric.name]
    best = grouped.min() if metric.lower_is_better else grouped.max()
    names = [_in_order(runs[choice]) for choice in (panels, rows, columns)]
    cells = best.reindex(pd.MultiIndex.from_product(names)).to_numpy(dtype=np.float64)
    cells = cells.reshape([len(each) for each in names])
    known = cells[np.isfinite(cells)]
    scale = Normalize(known.min(), known.max()) if known.size else Normalize(0, 1)

    panel_inches = max(len(names[2]) * _CELL_INCHES, _NARROWEST_PANEL_INCHES)
    fitting = max(1, int(_PANELS_INCHES / panel_inches))
    down = max(1, math.ceil(len(names[0]) / fitting))
    across = max(1, math.ceil(len(names[0]) / down))
    width = COLUMN_INCHES if across * panel_inches + _BESIDE_INCHES <= COLUMN_INCHES else WIDTH_INCHES
    footnote = fill(_footnote(grouped.count()), int(width * _LETTERS_AN_INCH))
    letters = int(width * _TITLE_LETTERS_AN_INCH)
    title = f"{metric.title}, {metric.direction}"
    if len(title) > letters:
        title = f"{fill(metric.title, letters)},\n{metric.direction}"
    lines = footnote.count("\n") + title.count("\n")
    figure = new_figure(down * (len(names[1]) * _ROW_INCHES + 0.3) + 1.15 + 0.13 * lines, width)
    places = figure.add_gridspec(down, across)
    drawn, image = [], None
    for number, panel in enumerate(names[0]):
        axes = figure.add_subplot(places[number // across, number % across])
        image = _draw_panel(axes, cells[number], scale, names[1], names[2], metric.lower_is_better)
        axes.set_title(f"{panels}: {shorten(panel, 24)}" if panel else "")
        # Panels below and beside each other share their rows and columns: each is named once.
        first, last = number % across == 0, number + across >= len(names[0])
        axes.set(xlabel=columns if last else "", ylabel=rows if first else "")
        axes.tick_params(labelleft=first, labelbottom=last)
        drawn.append(axes)
    if image is not None:
        bar = figure.colorbar(image, ax=drawn, shrink=0.9, aspect=24 * down, pad=0.02)
        bar.outline.set_visible(False)
    figure.suptitle(title, x=0.01, ha="left", fontsize=8)
    figure.supxlabel(footnote, x=0.01, ha="left", fontsize=SMALL, color=GRAY)
    return figure


def _runs(table: pd.DataFrame, metric: str, rows: str, columns: str, panels: str) -> pd.DataFrame:
    """The candidates in which all three choices and the metric are known, the choices as text."""
    runs = table[table["role"] != "reference"] if "role" in table else table
    runs = runs.assign(**{panels: runs[panels].fillna("none") if panels in runs else ""})
    runs = runs[np.isfinite(runs[metric].astype(float)) & runs[rows].notna() & runs[columns].notna()]
    return runs.assign(**{choice: [_as_text(value) for value in runs[choice]] for choice in (rows, columns, panels)})


def _as_text(value: Any) -> str:
    """A choice as one would write it: a column with gaps turns layer 4 into 4.0."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _in_order(values: Iterable[str]) -> list[str]:
    """Each value once: numbers by size, then words by alphabet."""

    def rank(value: str) -> tuple[bool, float, str]:
        try:
            return False, float(value), value
        except ValueError:
            return True, 0.0, value

    return sorted(set(values), key=rank)


def _draw_panel(
    axes: Axes, cells: np.ndarray[Any, np.dtype[np.float64]], scale: Normalize, rows: list[str], columns: list[str],
    lowest: bool,
) -> AxesImage:  # fmt: skip
    colors = matplotlib.colormaps["viridis_r" if lowest else "viridis"]
    axes.set_facecolor(PALE)
    axes.add_patch(Rectangle((-0.5, -0.5), len(columns), len(rows), fill=False, hatch="////", linewidth=0, zorder=0))
    image = axes.imshow(np.ma.masked_invalid(cells), cmap=colors, norm=scale, aspect="auto", zorder=1)
    digits = decimals(np.array([scale.vmin, scale.vmax], dtype=np.float64))
    size = SMALL if len(columns) <= 13 else max(4.0, 13 * SMALL / len(columns))
    for row, column in zip(*np.nonzero(np.isfinite(cells)), strict=True):
        value = float(cells[row, column])
        red, green, blue, _ = colors(scale(value))
        light = 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.45
        printed = f"{value:.{digits}f}"
        # Numbers lie within their cells: leaving them out of the layout's reckoning makes large tables quick to draw.
        axes.text(
            column, row, printed.replace("-", "−"), ha="center", va="center", fontsize=size,
            color="black" if light else "white", in_layout=False,
        )  # fmt: skip
    best = scale.vmin if lowest else scale.vmax
    for row, column in zip(*np.nonzero(cells == best), strict=True):
        axes.add_patch(
            Rectangle(
                (column - 0.5, row - 0.5),
                1,
                1,
                fill=False,
                edgecolor=VERMILLION,
                linewidth=1.8,
                zorder=3,
                clip_on=False,
            )
        )
    axes.set_xticks(
        range(len(columns)), [shorten(name, 18) for name in columns], rotation=40, ha="right", rotation_mode="anchor"
    )
    axes.set_yticks(range(len(rows)), [shorten(name, 18) for name in rows])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return image


def _footnote(counts: pd.Series[int]) -> str:
    note = "best cell framed; hatched: not run or not defined"
    if len(counts) and counts.max() > 1:
        few, many = int(counts.min()), int(counts.max())
        runs = f"{many:,}" if few == many else f"{few:,} to {many:,}"
        return f"each cell: the best of {runs} runs over the other swept choices; {note}"
    return note

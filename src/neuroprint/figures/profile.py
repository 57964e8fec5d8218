"""The profile as one picture: questions downwards, fingerprints to the right, the number in every cell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.patches import Rectangle

from neuroprint.figures.style import GRAY, INK, PALE, SMALL, WIDTH_INCHES, new_figure, shorten, styled

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ROW_INCHES = 0.24
_HEAD_INCHES = 1.15
_FITTING = 8
"""Columns whose numbers fit into their cells at the usual size."""
_COLORS = {"knows": "viridis", "confuses": "Oranges", "bears": "viridis"}


@styled
def draw_profile(
    table: pd.DataFrame, questions: Sequence[str], names: Sequence[str], heads: Mapping[str, tuple[str, str]]
) -> Figure:
    """Draw what fingerprints find (left) and tell (right).

    A cell is colored by how far it lies on the way from chance to the ideal; the number is the metric's own. Of confounds
    less is better: there color is a warning.

    Args:
        table: Of :class:`neuroprint.tasks.profile.Profile`.
        questions: In the order in which they are drawn.
        names: The fingerprints, in the order of the columns.
        heads: What is said above the questions of each kind, on the left and on the right, by kind.
    """
    kinds = dict(zip(table["question"], table["kind"], strict=True))
    lines: list[tuple[str, str]] = []  # kind and question; an empty question is a head
    for kind in heads:
        own = [question for question in questions if kinds[question] == kind]
        lines += [(kind, ""), *((kind, question) for question in own)] if own else []
    figure = new_figure(len(lines) * _ROW_INCHES + _HEAD_INCHES, WIDTH_INCHES)
    panels = figure.subplots(1, 2, sharey=True)
    for side, (axes, way) in enumerate(zip(panels, ("finds", "tells"), strict=True)):
        cells = table[table["way"] == way].drop_duplicates(["question", "name"]).set_index(["question", "name"])
        _draw(axes, cells, lines, names, {kind: both[side] for kind, both in heads.items()})
    panels[0].set_yticks(range(len(lines)), [shorten(question, 26) for _, question in lines])
    figure.supxlabel(
        "color: from chance (dark) to the ideal (light); of what it should not know, a warning · –: not defined",
        x=0.01,
        ha="left",
        fontsize=SMALL,
        color=GRAY,
    )
    return figure


def _draw(
    axes: Axes,
    cells: pd.DataFrame,
    lines: Sequence[tuple[str, str]],
    names: Sequence[str],
    heads: Mapping[str, str],
) -> None:
    found = {
        at: (float(value), float(share))
        for at, value, share in zip(cells.index, cells["value"], cells["share"], strict=True)
    }
    size = min(SMALL, SMALL * _FITTING / len(names))
    for row, (kind, question) in enumerate(lines):
        if not question:
            axes.text(
                -0.5, row + 0.28, heads.get(kind, ""), fontsize=SMALL, color=INK, fontweight="bold", clip_on=False
            )
            continue
        colors = matplotlib.colormaps[_COLORS[kind]]
        for column, name in enumerate(names):
            value, share = found.get((question, name), (np.nan, np.nan))
            known = np.isfinite(value)
            shade = colors(0.85 * share) if np.isfinite(share) else matplotlib.colors.to_rgba(PALE)
            axes.add_patch(Rectangle((column - 0.48, row - 0.46), 0.96, 0.92, facecolor=shade, linewidth=0))
            light = 0.2126 * shade[0] + 0.7152 * shade[1] + 0.0722 * shade[2] > 0.45
            printed = f"{value:.2f}".replace("-0.00", "0.00").replace("-", "−") if known else "–"
            axes.text(
                column, row, printed, ha="center", va="center", fontsize=size, color="black" if light else "white",
                in_layout=False,
            )  # fmt: skip
    axes.set(xlim=(-0.5, len(names) - 0.5), ylim=(len(lines) - 0.5, -0.5))
    labels = [_in_two_lines(name) for name in names]
    axes.set_xticks(range(len(names)), labels, rotation=90)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _in_two_lines(name: str) -> str:
    """Level and pooling above what else there is."""
    parts = name.split(" · ")
    half = (len(parts) + 1) // 2
    return "\n".join(shorten(" · ".join(part), 20) for part in (parts[:half], parts[half:]) if part)

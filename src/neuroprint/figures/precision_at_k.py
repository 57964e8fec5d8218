"""Precision at k: how many of the k nearest cases are truly similar, against the rows that give the scale."""

from __future__ import annotations

from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from neuroprint.figures.style import (
    BLUE,
    CATEGORIES,
    GRAY,
    REFERENCE_LINES,
    WIDTH_INCHES,
    new_figure,
    place,
    shorten,
    styled,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from neuroprint.figures.body_axes import Floats

_HEIGHT_INCHES = 4.2
_LEFT_INCHES, _FOOT_INCHES, _HEAD_INCHES = 0.6, 0.5, 0.32
# Width of a letter of a label, on average a little less.
_LETTER_INCHES = 0.08
# Height of one line of a label, as a share of the axes' height.
_LINE_SHARE = 0.046
End = tuple[float, float, str, dict[str, Any]]


@styled
def draw_precision_at_k(
    curves: Mapping[str, Floats], band: tuple[Floats, Floats] | None = None, candidate: str | None = None
) -> Figure:
    """Draw precision at k of one candidate among other curves, each named at its end.

    Args:
        curves: Name -> precision at k = 1 .. K; the lengths may differ. ``chance``, ``voxels``, ``untrained`` and
            ``oracle`` are drawn as references, in gray.
        band: Lower and upper 95 % bounds of the candidate, as long as its curve.
        candidate: The curve to emphasize; by default the first that is not a reference.
    """
    emphasized = candidate or next((name for name in curves if name not in REFERENCE_LINES), None)
    figure = new_figure(_HEIGHT_INCHES, placed=True)
    longest = max((len(line) for name in curves for line in _label(name).splitlines()), default=0)
    right = 0.2 + _LETTER_INCHES * longest
    width = WIDTH_INCHES - _LEFT_INCHES - right
    axes = place(figure, _LEFT_INCHES, _FOOT_INCHES, width, _HEIGHT_INCHES - _FOOT_INCHES - _HEAD_INCHES)
    others = iter(CATEGORIES * len(curves))
    ends: list[End] = []
    deepest = max((len(curve) for curve in curves.values()), default=1)
    for name, values in curves.items():
        curve = np.asarray(values, dtype=np.float64)
        depths = np.arange(1, len(curve) + 1)
        look = _look(name, emphasized, next(others) if name not in REFERENCE_LINES and name != emphasized else GRAY)
        if name == emphasized and band is not None:
            if len(curve) == 1:  # an area without width would not show
                axes.vlines(depths, *band, color=BLUE, linewidth=1.4, zorder=1)
            axes.fill_between(depths, *band, color=BLUE, alpha=0.16, linewidth=0, zorder=1)
        marked = deepest <= 12 or len(curve) == 1
        axes.plot(depths, curve, marker="o" if marked else None, markersize=4, label=name, **look)
        if (known := np.flatnonzero(np.isfinite(curve))).size:
            ends.append((float(depths[known[-1]]), float(curve[known[-1]]), name, look))
    beside = 0.5 if deepest == 1 else 0.015 * deepest
    axes.set(xlim=(1 - beside, deepest + beside), ylim=(0, _top(curves, band)), xlabel="k (number of nearest cases)")
    axes.set_ylabel("precision at k (share that is relevant)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    axes.grid(True, axis="y")
    _label_ends(axes, ends, emphasized)
    if band is not None:
        axes.set_title(
            "band: 95 % interval" if deepest > 1 else "bar: 95 % interval",
            fontsize=8.5,
            fontweight="normal",
            color=GRAY,
        )
    return figure


def _look(name: str, emphasized: str | None, color: str) -> dict[str, Any]:
    if name == emphasized:
        return {"color": BLUE, "linewidth": 2.6, "zorder": 4}
    if name in REFERENCE_LINES:
        return {"color": GRAY, "linewidth": 1.3, "linestyle": REFERENCE_LINES[name], "zorder": 2}
    return {"color": color, "linewidth": 1.5, "zorder": 3}


def _top(curves: Mapping[str, Floats], band: tuple[Floats, Floats] | None) -> float:
    values = np.concatenate([np.ravel(curve) for curve in (*curves.values(), *(band or ()))] or [np.ones(1)])
    highest = float(np.nanmax(values)) if np.isfinite(values).any() else 1.0
    return min(1.03, max(highest * 1.12, 0.05))


def _label(name: str) -> str:
    return fill(shorten(name, 75), 26)


def _label_ends(axes: Axes, ends: list[End], emphasized: str | None) -> None:
    """Name each curve at its end, the names pushed apart where they would overlap."""
    bottom, top = axes.get_ylim()
    ceiling, placed = -1.0, []
    for depth, value, name, look in sorted(ends, key=lambda end: end[1]):
        text = _label(name)
        half = _LINE_SHARE * (text.count("\n") + 1) / 2
        height = max((value - bottom) / (top - bottom), ceiling + half)
        ceiling = height + half
        placed.append((height, half, text, (depth, value), look["color"], name == emphasized))
    floor = 1.0 + _LINE_SHARE
    for height, half, text, end, color, bold in reversed(placed):
        height = min(height, floor - half)
        floor = height - half
        axes.annotate(
            text, end, xytext=(1.035, height), textcoords="axes fraction", va="center", color=color, fontsize=8.5,
            fontweight="bold" if bold else "normal", annotation_clip=False,
            arrowprops={
                "arrowstyle": "-", "color": color, "linewidth": 0.6, "shrinkA": 1, "shrinkB": 1, "relpos": (0, 0.5),
            },
        )  # fmt: skip

"""Precision at k: how many of the k nearest cases are truly similar, against the rows that give the scale."""

from __future__ import annotations

from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from neuroprint.figures.style import (
    BLUE,
    CATEGORIES,
    COLUMN_INCHES,
    GRAY,
    REFERENCE_LINES,
    REFERENCE_MARKERS,
    SMALL,
    new_figure,
    place,
    shorten,
    styled,
    text_inches,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from neuroprint.figures.body_axes import Floats

_AXES_INCHES = 1.9
_LEFT_INCHES, _RIGHT_INCHES, _FOOT_INCHES = 0.42, 0.1, 0.36
# Of the legend above the axes: a line, and what is free above and below.
_LINE_INCHES, _AROUND_INCHES = 0.145, 0.12
_LETTERS_A_LINE = 48
_LABEL_INCHES = COLUMN_INCHES - _LEFT_INCHES - 0.4
_IN_A_ROW = 4
# So many markers lie on a curve, at different places on each: curves that coincide show both.
_MARKERS = 5
_BAND = 0.16


@styled
def draw_precision_at_k(
    curves: Mapping[str, Floats],
    band: tuple[Floats, Floats] | None = None,
    candidate: str | None = None,
    lower_is_better: bool = False,
) -> Figure:
    """Draw precision at k of one candidate among other curves. The legend has one entry a curve.

    Args:
        curves: Name -> precision at k = 1 .. K; the lengths may differ. ``chance``, ``voxels``, ``untrained`` and
            ``oracle`` are drawn as references, in gray, with the markers that they have on the leaderboard.
        band: Lower and upper 95 % bounds of the candidate, as long as its curve.
        candidate: The curve to emphasize; by default the first that is not a reference.
        lower_is_better: Whether small precisions win, as of a confound; the axis says so.
    """
    emphasized = candidate or next((name for name in curves if name not in REFERENCE_LINES), None)
    known = {name: np.asarray(values, dtype=np.float64) for name, values in curves.items()}
    runs = [name for name in known if name == emphasized or name not in REFERENCE_LINES]
    runs.sort(key=lambda name: name != emphasized)
    references = sorted((name for name in known if name not in runs), key=lambda name: -_mean(known[name]))
    labels = {name: _label(name) for name in runs}
    lines = sum(text.count("\n") + 1 for text in labels.values()) + (band is not None) + bool(references)
    head = lines * _LINE_INCHES + _AROUND_INCHES

    figure = new_figure(_AXES_INCHES + _FOOT_INCHES + head, COLUMN_INCHES, placed=True)
    axes = place(figure, _LEFT_INCHES, _FOOT_INCHES, COLUMN_INCHES - _LEFT_INCHES - _RIGHT_INCHES, _AXES_INCHES)
    deepest = max((len(curve) for curve in known.values()), default=1)
    others = iter(CATEGORIES * len(known))
    looks = {name: _look(name, emphasized, next(others) if name in runs[1:] else GRAY) for name in [*runs, *references]}
    if band is not None and emphasized in known:
        _draw_band(axes, band)
    for number, (name, look) in enumerate(looks.items()):
        curve = known[name]
        step = max(1, round(len(curve) / _MARKERS))
        axes.plot(
            np.arange(1, len(curve) + 1), curve, label=name, markevery=(number % step, step), markersize=3.6,
            markeredgewidth=0.9, **look,
        )  # fmt: skip
    beside = 0.5 if deepest == 1 else 0.02 * deepest
    axes.set(xlim=(1 - beside, deepest + beside), ylim=(0, _top(known, band)), xlabel="k (number of nearest cases)")
    axes.set_ylabel("precision at k, lower is better" if lower_is_better else "precision at k")
    if deepest <= 10:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    else:
        axes.set_xticks([1, *range(step := 5 if deepest <= 30 else 10, deepest + 1, step)])
    axes.grid(True, axis="y")
    _draw_legend(figure, looks, labels, references, None if band is None else deepest)
    return figure


def _label(name: str) -> str:
    """A name in at most two lines that fit beside the sample of its line."""
    letters = _LETTERS_A_LINE
    while True:
        text = fill(shorten(name, 2 * letters - 4), letters)
        if letters < 10 or max(text_inches(line, SMALL) for line in text.splitlines() or [""]) < _LABEL_INCHES:
            return text
        letters -= 2


def _draw_band(axes: Axes, band: tuple[Floats, Floats]) -> None:
    depths = np.arange(1, len(band[0]) + 1)
    if len(depths) == 1:  # an area without width would not show
        axes.vlines(depths, *band, color=BLUE, linewidth=1.2, zorder=1)
    axes.fill_between(depths, *band, color=BLUE, alpha=_BAND, linewidth=0, zorder=1)


def _draw_legend(
    figure: Figure, looks: Mapping[str, Mapping[str, Any]], labels: Mapping[str, str], references: Sequence[str],
    band: int | None,
) -> None:  # fmt: skip
    """The runs one below the other, the first with its band, and the references in a row, the highest curve first."""
    height = figure.get_figheight()

    def line(name: str) -> Line2D:
        return Line2D([], [], markersize=3.6, markeredgewidth=0.9, **looks[name])

    def put(handles: list[Artist], names: list[str], down: float, columns: int) -> None:
        figure.legend(
            handles, names, loc="upper left", bbox_to_anchor=(_LEFT_INCHES / COLUMN_INCHES, 1 - down / height),
            ncols=columns, borderaxespad=0, borderpad=0, handlelength=2.6, handletextpad=0.6, columnspacing=1.1,
            labelspacing=0.25, fontsize=SMALL,
        )  # fmt: skip

    handles: list[Artist] = [line(name) for name in labels]
    names = list(labels.values())
    if band is not None:
        handles.insert(1, Patch(color=BLUE, alpha=_BAND, linewidth=0))
        names.insert(1, "its 95 % interval")
        if band == 1:
            handles[1] = Line2D([], [], color=BLUE, linewidth=1.2)
    down = _AROUND_INCHES / 3
    if handles:
        put(handles, names, down, 1)
    if references:
        lines = sum(name.count("\n") + 1 for name in names)
        put([line(name) for name in references], list(references), down + lines * _LINE_INCHES, _IN_A_ROW)


def _look(name: str, emphasized: str | None, color: str) -> dict[str, Any]:
    if name == emphasized:
        return {"color": BLUE, "linewidth": 2, "zorder": 4, "marker": "o"}
    if name in REFERENCE_LINES:
        marker, dashes = REFERENCE_MARKERS[name], REFERENCE_LINES[name]
        return {"color": GRAY, "linewidth": 1, "linestyle": dashes, "zorder": 2, "marker": marker}
    return {"color": color, "linewidth": 1.2, "zorder": 3, "marker": "o"}


def _mean(curve: Floats) -> float:
    return float(np.nanmean(curve)) if np.isfinite(curve).any() else -np.inf


def _top(curves: Mapping[str, Floats], band: tuple[Floats, Floats] | None) -> float:
    values = np.concatenate([np.ravel(curve) for curve in (*curves.values(), *(band or ()))] or [np.ones(1)])
    highest = float(np.nanmax(values)) if np.isfinite(values).any() else 1.0
    return min(1.03, max(highest * 1.08, 0.05))

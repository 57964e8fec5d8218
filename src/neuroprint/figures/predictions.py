"""How well an embedding tells numbers, such as the tumor's position: predicted against true values, out of fold."""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from neuroprint.figures.body_axes import BODY_AXES, BodyAxis, Floats, color_limits
from neuroprint.figures.style import (
    BLUE,
    COLUMN_INCHES,
    GRAY,
    INK,
    SMALL,
    VERMILLION,
    WIDTH_INCHES,
    marker_area,
    new_figure,
    place,
    styled,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Panel:
    """One number that is predicted.

    Attributes:
        name: What it is.
        unit: Its unit; empty where it has none.
        symbol: Short for it, such as ``x``.
        axis: Along which it is a place: cases then have its colors.
    """

    name: str
    unit: str = ""
    symbol: str = ""
    axis: BodyAxis | None = None

    @property
    def label(self) -> str:
        """Name and unit, as on an axis."""
        return " ".join(part for part in (self.name, self.symbol, f"({self.unit})" if self.unit else "") if part)


BODY_PANELS = tuple(Panel(axis.name, "mm", axis.letter, axis) for axis in BODY_AXES)
"""The patient's three axes."""

# Room left of a panel for its numbers and its label, between panels, above for its title, and below for numbers and label.
_LABEL_INCHES, _GAP_INCHES, _HEAD_INCHES, _FOOT_INCHES = 0.55, 0.08, 0.4, 0.42
_LINE_INCHES = 0.12
_LETTERS_AN_INCH = 19


@styled
def draw_predictions(
    true: Floats,
    predicted: Floats,
    r2: Sequence[float],
    panels: Sequence[Panel],
    midline_mm: Floats | float | None = None,
) -> Figure:
    """Draw out-of-fold predictions against the truth, one panel a number, with their calibration.

    One panel fills a column, two or three the width of the page. Cases have the color of their true place, left and right
    about the midline.

    Calibration is the least-squares line of the predictions on the truth. A probe that knows little pulls towards the
    mean: its slope is near 0; a perfect one has slope 1 and intercept 0. The panels span the same range, so that errors
    compare between them by eye.

    Args:
        true: (n, panels) true numbers.
        predicted: (n, panels) predictions. Cases with NaN in either are left out.
        r2: R² of each, as scored (out of fold, against the gallery side's mean); NaN where not defined.
        panels: What the numbers are; at most three.
        midline_mm: The x that separates left from right: one for all, or (n,) where heads are not registered; None where
            it is not known, and cases are then colored about the middle of the true places.
    """
    true = np.asarray(true, dtype=np.float64).reshape(-1, len(panels))
    predicted = np.asarray(predicted, dtype=np.float64).reshape(-1, len(panels))
    known = np.isfinite(true).all(axis=1) & np.isfinite(predicted).all(axis=1)
    middle = np.broadcast_to(np.nan if midline_mm is None else np.asarray(midline_mm, dtype=np.float64), len(true))
    true, predicted, middle = true[known], predicted[known], middle[known]
    both = np.concatenate([true, predicted]) if len(true) else np.zeros((1, len(panels)))
    center, span = (both.min(axis=0) + both.max(axis=0)) / 2, float(np.ptp(both, axis=0).max())
    reach = span / 2 * 1.08 or 1.0

    width = COLUMN_INCHES if len(panels) == 1 else WIDTH_INCHES
    side = width / len(panels) - _LABEL_INCHES - _GAP_INCHES
    note = fill(_footnote(len(true), any(panel.axis for panel in panels)), int(width * _LETTERS_AN_INCH))
    foot = _FOOT_INCHES + (note.count("\n") + 1) * _LINE_INCHES
    figure = new_figure(foot + side + _HEAD_INCHES, width, placed=True)
    for number, panel in enumerate(panels):
        left = _LABEL_INCHES + number * (_LABEL_INCHES + side + _GAP_INCHES)
        axes = place(figure, left, foot, side, side)
        limits = (center[number] - reach, center[number] + reach)
        _draw_panel(axes, panel, true[:, number], predicted[:, number], limits, middle)
        score = _two_digits(r2[number]) if np.isfinite(r2[number]) else "undefined"
        unit = f" {panel.unit}" if panel.unit else ""
        error = f", MAE {np.abs(true[:, number] - predicted[:, number]).mean():.3g}{unit}" if len(true) else ""
        line = calibration(true[:, number], predicted[:, number])
        if line is not None:
            slope, intercept = line
            axes.plot(limits, [slope * end + intercept for end in limits], color=VERMILLION, linewidth=1.2, zorder=4)
            printed = f"slope {_two_digits(slope)}\nintercept {intercept:.1f}{unit}".replace("-", "−")
            axes.annotate(
                printed, (0.97, 0.03), xycoords="axes fraction", ha="right", va="bottom", fontsize=SMALL,
                color=VERMILLION,
            )  # fmt: skip
        axes.set_title(f"{panel.name} {panel.symbol}".strip() + f"\nR² {score}{error}")
    figure.supxlabel(note, x=0.06 / width, y=0.04 / figure.get_figheight(), ha="left", fontsize=SMALL, color=GRAY)
    return figure


def _footnote(cases: int, colored: bool) -> str:
    colors = "; color: the true place, left blue and right red" if colored else ""
    return (
        f"{cases:,} cases, each predicted out of fold; dashed: perfect prediction; orange: line fitted to the predictions; "
        f"MAE: mean absolute error{colors}"
    )


def _two_digits(value: float) -> str:
    """Rounded, and without the sign of what is rounded to zero."""
    return f"{round(value, 2) + 0.0:.2f}".replace("-", "−")


def calibration(true: Floats, predicted: Floats) -> tuple[float, float] | None:
    """Slope and intercept of the least-squares line of predictions on the truth; None where the truth has no spread."""
    deviation = true - true.mean() if len(true) else true
    spread = float(np.square(deviation).sum())
    if spread <= 0:
        return None
    slope = float((deviation * predicted).sum() / spread)
    return slope, float(predicted.mean() - slope * true.mean())


def _draw_panel(
    axes: Axes, panel: Panel, true: Floats, predicted: Floats, limits: tuple[float, float], middle: Floats
) -> None:
    short = Panel(panel.symbol or panel.name, panel.unit)
    axes.plot(limits, limits, color=INK, linewidth=0.8, linestyle=(0, (4, 3)), zorder=3)
    many = len(true) > 300
    look: dict[str, Any] = {"color": BLUE, "edgecolors": "white"}
    if panel.axis is not None:
        values, low, high = _colors(panel.axis, true, middle)
        look = {"c": values, "cmap": panel.axis.color_map, "vmin": low, "vmax": high, "edgecolors": INK}
    axes.scatter(
        true, predicted, s=marker_area(len(true)) * 0.5, linewidths=0.15 if many else 0.35, alpha=0.6 if many else 0.9,
        zorder=2, **look,
    )  # fmt: skip
    axes.set(xlim=limits, ylim=limits, aspect="equal", xlabel=f"true {panel.label}", ylabel=f"predicted {short.label}")
    for side in (axes.xaxis, axes.yaxis):
        side.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.grid(True)


def _colors(axis: BodyAxis, true: Floats, middle: Floats) -> tuple[Floats, float, float]:
    """What the cases' colors are of, and their range: of left-right the distance from the midline."""
    if axis.letter != "x":
        return true, *color_limits(true, axis, 0.0)
    known = np.isfinite(middle)
    between = (true.min() + true.max()) / 2 if len(true) else 0.0
    values = true - np.where(known, middle, between)
    return values, *color_limits(values, axis, 0.0)

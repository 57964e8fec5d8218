"""How well an embedding tells numbers, such as the tumor's position: predicted against true values, out of fold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import MaxNLocator

from neuroprint.figures.body_axes import BODY_AXES, Floats
from neuroprint.figures.style import (
    BLUE,
    GRAY,
    INK,
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
    """

    name: str
    unit: str = ""
    symbol: str = ""

    @property
    def label(self) -> str:
        """Name and unit, as on an axis."""
        return " ".join(part for part in (self.name, self.symbol, f"({self.unit})" if self.unit else "") if part)


BODY_PANELS = tuple(Panel(axis.name, "mm", axis.letter) for axis in BODY_AXES)
"""The patient's three axes."""

_HEIGHT_INCHES = 3.2
# Room left of a panel for its numbers and its label, between panels, and below for the same and the footnote.
_LABEL_INCHES, _GAP_INCHES, _FOOT_INCHES = 0.6, 0.08, 0.72
_PANEL_INCHES = (WIDTH_INCHES - 3 * (_LABEL_INCHES + _GAP_INCHES)) / 3


@styled
def draw_predictions(true: Floats, predicted: Floats, r2: Sequence[float], panels: Sequence[Panel]) -> Figure:
    """Draw out-of-fold predictions against the truth, one panel a number, with their calibration.

    Calibration is the least-squares line of the predictions on the truth. A probe that knows little pulls towards the
    mean: its slope is near 0; a perfect one has slope 1 and intercept 0. The panels span the same range, so that errors
    compare between them by eye.

    Args:
        true: (n, panels) true numbers.
        predicted: (n, panels) predictions. Cases with NaN in either are left out.
        r2: R² of each, as scored (out of fold, against the gallery side's mean); NaN where not defined.
        panels: What the numbers are; at most three.
    """
    true = np.asarray(true, dtype=np.float64).reshape(-1, len(panels))
    predicted = np.asarray(predicted, dtype=np.float64).reshape(-1, len(panels))
    known = np.isfinite(true).all(axis=1) & np.isfinite(predicted).all(axis=1)
    true, predicted = true[known], predicted[known]
    both = np.concatenate([true, predicted]) if len(true) else np.zeros((1, len(panels)))
    center, span = (both.min(axis=0) + both.max(axis=0)) / 2, float(np.ptp(both, axis=0).max())
    reach = span / 2 * 1.08 or 1.0

    figure = new_figure(_HEIGHT_INCHES, placed=True)
    for number, panel in enumerate(panels):
        left = _LABEL_INCHES + number * (_LABEL_INCHES + _PANEL_INCHES + _GAP_INCHES)
        axes = place(figure, left, _FOOT_INCHES, _PANEL_INCHES, _PANEL_INCHES)
        limits = (center[number] - reach, center[number] + reach)
        _draw_panel(axes, panel, true[:, number], predicted[:, number], limits)
        score = f"{r2[number]:.2f}".replace("-", "−") if np.isfinite(r2[number]) else "undefined"
        unit = f" {panel.unit}" if panel.unit else ""
        error = f", MAE {np.abs(true[:, number] - predicted[:, number]).mean():.3g}{unit}" if len(true) else ""
        line = calibration(true[:, number], predicted[:, number])
        if line is not None:
            slope, intercept = line
            axes.plot(limits, [slope * end + intercept for end in limits], color=VERMILLION, linewidth=1.4, zorder=4)
            printed = f"slope {slope:.2f}\nintercept {intercept:.1f}{unit}".replace("-", "−")
            axes.annotate(
                printed, (0.97, 0.03), xycoords="axes fraction", ha="right", va="bottom", fontsize=8, color=VERMILLION
            )
        axes.set_title(f"{panel.name} {panel.symbol}".strip() + f"\nR² {score}{error}")
    figure.supxlabel(
        f"{len(true):,} cases, each predicted out of fold; dashed: perfect prediction; orange: line fitted to the "
        "predictions; MAE: mean absolute error",
        x=0.01, y=0.015, ha="left", fontsize=8, color=GRAY,
    )  # fmt: skip
    return figure


def calibration(true: Floats, predicted: Floats) -> tuple[float, float] | None:
    """Slope and intercept of the least-squares line of predictions on the truth; None where the truth has no spread."""
    deviation = true - true.mean() if len(true) else true
    spread = float(np.square(deviation).sum())
    if spread <= 0:
        return None
    slope = float((deviation * predicted).sum() / spread)
    return slope, float(predicted.mean() - slope * true.mean())


def _draw_panel(axes: Axes, panel: Panel, true: Floats, predicted: Floats, limits: tuple[float, float]) -> None:
    short = Panel(panel.symbol or panel.name, panel.unit)
    axes.plot(limits, limits, color=INK, linewidth=1, linestyle=(0, (4, 3)), zorder=3)
    axes.scatter(
        true, predicted, s=marker_area(len(true)) * 0.7, color=BLUE, edgecolors="white",
        linewidths=0.25 if len(true) > 300 else 0.5, alpha=0.55 if len(true) > 300 else 0.85, zorder=2,
    )  # fmt: skip
    axes.set(xlim=limits, ylim=limits, aspect="equal", xlabel=f"true {panel.label}", ylabel=f"predicted {short.label}")
    for side in (axes.xaxis, axes.yaxis):
        side.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.grid(True)

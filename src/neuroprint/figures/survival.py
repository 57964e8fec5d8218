"""How predicted risk tells long from short survival, out of fold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from neuroprint.figures.style import BLUE, COLUMN_INCHES, VERMILLION, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from neuroprint.figures.body_axes import Floats


@styled
def draw_survival(time: Floats, event: npt.NDArray[np.bool_], risk: Floats, concordance: float, label: str) -> Figure:
    """Draw the survival of the half with the higher and of the half with the lower predicted risk (Kaplan and Meier 1958).

    Args:
        time: (n,) until death or last contact.
        event: (n,) whether the patient died; the others are ticks on the curves.
        risk: (n,) as predicted out of fold. Cases with NaN in time or risk are left out.
        concordance: As scored; NaN where not defined.
        label: What the time is called.
    """
    from scipy.stats import CensoredData, ecdf

    known = np.isfinite(time) & np.isfinite(risk)
    time, event, risk = np.asarray(time, np.float64)[known], event[known], np.asarray(risk, np.float64)[known]
    high = np.zeros(len(risk), dtype=bool)
    high[np.argsort(risk, kind="stable")[(len(risk) + 1) // 2 :]] = True
    figure = new_figure(COLUMN_INCHES * 0.85, COLUMN_INCHES)
    axes = figure.subplots()
    for members, name, color in ((~high, "lower", BLUE), (high, "higher", VERMILLION)):
        if not members.any():
            continue
        curve = ecdf(CensoredData.right_censored(time[members], ~event[members])).sf
        steps = np.concatenate([[0.0], curve.quantiles]), np.concatenate([[1.0], curve.probabilities])
        axes.step(
            *steps, where="post", color=color, label=f"{name} risk, {int(event[members].sum())} of {members.sum()} died"
        )
        alive = np.sort(time[members & ~event])
        axes.plot(alive, curve.evaluate(alive), "|", color=color, markersize=5)
    score = f"{concordance:.2f}" if np.isfinite(concordance) else "undefined"
    axes.set_title(f"Halves by predicted risk, out of fold\nconcordance {score}")
    axes.set(
        xlabel=f"{label} (ticks: last contact of the living)", ylabel="share alive", ylim=(0.0, 1.03), xlim=(0.0, None)
    )
    if len(risk):
        axes.legend(loc="best", frameon=False)
    axes.grid(True)
    return figure

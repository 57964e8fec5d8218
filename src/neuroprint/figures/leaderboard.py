"""The leaderboard as a picture: every configuration with its interval, and what cannot be told from the best."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

from neuroprint.figures.style import BLUE, GRAY, REFERENCE_MARKERS, decimals, new_figure, shorten, styled

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from neuroprint.evaluation.metric import Metric

TOP = 40
_ROW_INCHES = 0.235


@styled
def draw_leaderboard(table: pd.DataFrame, metric: Metric, reach: float = np.nan) -> Figure:
    """Draw the ranking by one metric, the best on top: dots with 95 % intervals, references in gray among them.

    What lies within reach of the best is shaded: candidates in there are filled, since they are not told from it, and
    those outside are hollow. Beside the values stand the differences to voxels. Of more than 40
    candidates the best 40 are drawn, and the figure says so; rows in which the metric is not defined are counted, not
    drawn.

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

    figure = new_figure(max(len(shown), 2) * _ROW_INCHES + 1.55)
    axes = figure.subplots()
    tied = shown["tied_with_best"] if "tied_with_best" in shown else pd.Series(False, index=shown.index)
    shown["filled"] = tied.eq(True).fillna(False).astype(bool)
    digits = decimals(shown[metric.name].to_numpy(dtype=float))
    if compared and "to_best" in shown:
        best = float((shown[metric.name] - shown["to_best"]).dropna().iloc[0])
        worst = best + reach if metric.lower_is_better else best - reach
        axes.axvspan(min(best, worst), max(best, worst), color=BLUE, alpha=0.1, linewidth=0, zorder=0)
    for height, row in enumerate(shown.to_dict("records")):
        _draw_row(axes, height, row, metric.name, digits)
    axes.set_yticks(range(len(shown)), [shorten(str(name), 52) for name in shown["name"]])
    for label, role in zip(axes.get_yticklabels(), shown["role"], strict=True):
        label.set(color=GRAY, fontstyle="italic") if role == "reference" else None
    axes.set(ylim=(max(len(shown), 1) - 0.4, -0.6), xlabel=f"{metric.title}, {metric.direction}")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(True, axis="x")
    axes.margins(x=0.04)
    figure.suptitle(_headline(len(candidates), len(table) - len(defined)), x=0.01, ha="left", fontsize=10)
    figure.legend(
        handles=_keys(shown, bool(axes.collections)),
        loc="outside lower left",
        ncols=4,
        handletextpad=0.5,
        columnspacing=1.2,
    )
    return figure


def _draw_row(axes: Axes, height: int, row: Mapping[Hashable, Any], metric: str, digits: int) -> None:
    value = float(row[metric])
    low, high = (float(row.get(f"{metric}_{end}", np.nan)) for end in ("lo", "hi"))
    reference = row["role"] == "reference"
    color = GRAY if reference else BLUE
    printed = f"{value:.{digits}f}"
    if np.isfinite(low) and np.isfinite(high):
        axes.hlines(height, low, high, color=color, linewidth=1.4, zorder=2)
        printed += f"  [{low:.{digits}f}, {high:.{digits}f}]"
    filled = reference or row["filled"]
    axes.plot(
        value, height, linestyle="none", zorder=3, markersize=6.5, color=color,
        marker=REFERENCE_MARKERS.get(str(row["name"]), "D") if reference else "o",
        markerfacecolor=color if filled else "white", markeredgewidth=1.4,
    )  # fmt: skip
    to_voxels, around = (float(row.get(name, np.nan)) for name in ("to_voxels", "to_voxels_reach"))
    if np.isfinite(to_voxels) and np.isfinite(around) and around > 0:
        printed += f"   ({to_voxels:+.{digits}f} ± {around:.{digits}f})"
    axes.annotate(
        printed.replace("-", "−"), (1.01, height), xycoords=("axes fraction", "data"), va="center", fontsize=8,
        color=GRAY if reference else "black", annotation_clip=False,
    )  # fmt: skip


def _headline(candidates: int, undefined: int) -> str:
    drawn = f"the best {TOP} of {candidates:,} candidates" if candidates > TOP else f"{candidates:,} candidates"
    return f"Leaderboard: {drawn}" + (f"; {undefined:,} rows without this metric left out" if undefined else "")


def _keys(shown: pd.DataFrame, bounded: bool) -> list[Line2D]:
    def key(label: str, **look: Any) -> Line2D:
        return Line2D([], [], linestyle="none", markersize=6.5, markeredgewidth=1.4, label=label, **look)

    keys = []
    if shown["filled"].any():
        keys += [
            key("within reach of the best: not told from it", marker="o", color=BLUE),
            key("told from the best", marker="o", color=BLUE, markerfacecolor="white"),
        ]
    if (shown["role"] == "reference").any():
        keys.append(key("reference row", marker="s", color=GRAY))
    if bounded:
        keys.append(Line2D([], [], color=BLUE, linewidth=1.4, label="95 % interval"))
    if "to_voxels" in shown:
        keys.append(Line2D([], [], linestyle="none", label="in round brackets: difference to voxels"))
    return keys

"""How the probe's scores tell classes apart, out of fold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from neuroprint.evaluation.classification import class_auc
from neuroprint.figures.style import BLUE, GRAY, SMALL, marker_area, new_figure, shorten, styled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure

    from neuroprint.evaluation.arrays import Indices
    from neuroprint.figures.body_axes import Floats

_ROW_INCHES = 0.5
_MOST = 12


@styled
def draw_classes(scores: Floats, one_hot: Floats, classes: Sequence[str], folds: Indices | None = None) -> Figure:
    """Draw the scores for each class, of its own cases above those of the others, with the AUC of one against the rest.

    Args:
        scores: (n, classes) of the probe, out of fold, less the share of the class in the gallery.
        one_hot: (n, classes) of the true class. Cases with NaN in either are left out.
        classes: Names; of more than twelve the largest twelve are drawn.
        folds: (n,) in which the scores were found: the AUC compares cases of the same.
    """
    known = np.isfinite(scores).all(axis=1) & np.isfinite(one_hot).all(axis=1)
    scores, one_hot = np.asarray(scores, np.float64)[known], np.asarray(one_hot, np.float64)[known]
    folds = None if folds is None else folds[known]
    shown = sorted(np.argsort(-one_hot.sum(axis=0), kind="stable")[:_MOST])
    figure = new_figure(max(len(shown), 2) * _ROW_INCHES + 0.85)
    axes = figure.subplots()
    jitter = np.random.default_rng(0).uniform(-0.13, 0.13, len(scores))
    for row, place in enumerate(shown):
        own = one_hot[:, place] > 0.5
        for members, offset, color in ((own, -0.17, BLUE), (~own, 0.17, GRAY)):
            axes.scatter(
                scores[members, place], row + offset + jitter[members], s=marker_area(len(scores)) * 0.4, color=color,
                edgecolors="white", linewidths=0.3, alpha=0.8,
            )  # fmt: skip
        auc = class_auc(np.asarray(scores[:, place], np.float64), own, folds)
        text = f"AUC {auc:.2f}" if np.isfinite(auc) else "AUC undefined"
        axes.annotate(
            f"{text}\n{int(own.sum())} of {len(own)}",
            (1.01, row),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=SMALL,
        )
    axes.set_yticks(range(len(shown)), [shorten(str(classes[place]), 30) for place in shown])
    axes.set(ylim=(max(len(shown), 1) - 0.4, -0.6), xlabel="score for the class, less the class's share in the gallery")
    axes.grid(True, axis="x")
    axes.tick_params(axis="y", length=0)
    figure.suptitle("Out-of-fold scores: cases of the class (blue) and all others (gray)", x=0.01, ha="left")
    return figure

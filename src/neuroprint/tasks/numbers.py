"""What tasks with numbers have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from neuroprint.evaluation.evaluation import Evaluation
    from neuroprint.figures.predictions import Panel


def draw_numbers(
    evaluation: Evaluation, targets: Sequence[str], metrics: Sequence[str], panels: Sequence[Panel], factor: float = 1.0
) -> Figure:
    """Predicted against true numbers, one panel each.

    Args:
        evaluation: Of a task whose targets these are.
        targets: Names of all targets, in their order.
        metrics: Names of the metrics that hold their R².
        panels: What the numbers are.
        factor: From the targets' unit to the panels', such as 100 for shares in percent.
    """
    from neuroprint.figures.predictions import draw_predictions

    true = evaluation.queries[[f"true_{target}" for target in targets]].to_numpy(dtype=float)
    scores = [evaluation.metrics.get(metric, np.nan) for metric in metrics]
    return draw_predictions(factor * true, factor * evaluation.predicted, scores, panels)

"""What tasks with classes have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from neuroprint.evaluation.arrays import Array
from neuroprint.evaluation.metric import Predictions

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from neuroprint.evaluation.evaluation import Evaluation


def one_hot(codes: npt.NDArray[np.int64], classes: int) -> Array:
    """(n,) classes from 0 -> (n, classes) of 0 and 1; a row of NaN for -1, a class that is not known."""
    table = np.eye(classes)[np.maximum(codes, 0)]
    table[codes < 0] = np.nan
    return table


def draw_class_scores(evaluation: Evaluation, classes: Sequence[str]) -> Figure:
    """The probe's scores for each class over its share in the gallery, of the cases that are of it and of the others."""
    from neuroprint.figures.classes import draw_classes

    found = Predictions.of_queries(evaluation.queries, classes)
    return draw_classes(found.above_baseline, found.true, list(classes), found.folds)

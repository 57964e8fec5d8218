"""The hold-out of a result: its configuration, scored on the patients that took no part in choosing it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from neuroprint.evaluation.folds import in_holdout
from neuroprint.evaluation.optimism import Optimism, optimism
from neuroprint.tasks.evaluate import Exams

if TYPE_CHECKING:
    from neuroprint.tasks.result import Result


def score_holdout(result: Result) -> Optimism:
    """Score the configuration of a result on its hold-out, at the gallery size of the sweep.

    Who looks at a hold-out, changes something and looks again has made it part of the sweep. The application keeps count.

    Raises:
        NeuroprintError: No patient is held out, or none of them can be scored.
    """
    protocol = result.benchmark.protocol
    whole = Exams().of(result.embeddings, result.task, protocol, 0.0).benchmark.question
    held = np.array([in_holdout(patient, result.holdout) for patient in whole.patients])
    return optimism(
        whole,
        held,
        result.embeddings.rows(whole.ids),
        protocol,
        result.similarity,
        None if result.projection is None else result.projection.made,
        result.probe.made,
    )

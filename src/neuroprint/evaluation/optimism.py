"""Optimism: how much better a chosen configuration looks in the sweep that chose it than on patients it never saw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from neuroprint.evaluation.benchmark import Benchmark, Protocol
from neuroprint.evaluation.influence import Groups, Influence
from neuroprint.evaluation.intervals import student

if TYPE_CHECKING:
    from neuroprint.evaluation.evaluation import Evaluation
    from neuroprint.evaluation.question import Question


@dataclass(frozen=True, eq=False)
class Optimism:
    """One configuration as the sweep scored it, and as the hold-out does.

    Attributes:
        sweep: The sweep's cases as queries, each to the folds it is not in.
        holdout: The hold-out's cases as queries, each to every one of the sweep's galleries, and figures the means over
            them: projections, probes and sizes of galleries are those of the sweep, and only the queries are new.
        difference: Sweep minus hold-out with its 95 % interval (value, lower, upper), by headline metric. Positive is
            optimistic; of ``probe/error_mm``, where lower is better, negative is. A metric that is not defined on one
            of the sides is absent.
    """

    sweep: Evaluation
    holdout: Evaluation
    difference: dict[str, tuple[float, float, float]]


def optimism(
    question: Question,
    held_out: npt.NDArray[np.bool_],
    embeddings: npt.NDArray[np.floating],
    protocol: Protocol,
    similarity: str = "cosine",
    projection: Any | None = None,
    probe: Any | None = None,
) -> Optimism:
    """Score a configuration on the sweep and, at equal gallery size, on the hold-out.

    The patients of the two sides are different, the galleries are the same: what a sweep's patient lends to both sides as a
    gallery cancels, what it lends to its own side as a query does not. So the difference has an influence of its own, by
    patient, and its interval is Student's, with the degrees of freedom of the side that has fewer.

    Args:
        question: The sweep's cases and the hold-out's together.
        held_out: (n,) which are the hold-out's.
        embeddings: (n, d), a row per case.
        protocol: The sweep's.
        similarity: As :meth:`Benchmark.score` takes it.
        projection: As :meth:`Benchmark.score` takes it.
        probe: As :meth:`Benchmark.score` takes it.

    Raises:
        NeuroprintError: The hold-out or the sweep has no case, or they share a patient; or the protocol does not fit.
    """
    held = np.asarray(held_out, dtype=bool)
    groups = Groups.of(question.patients)
    outside = Benchmark(question, protocol, groups=groups, held_out=held)  # first: it refuses what cannot be told apart
    inside = Benchmark(question.among(~held), protocol, groups=groups.among(~held))
    sweep, holdout = (
        benchmark.score(rows, similarity, projection, probe)
        for benchmark, rows in ((inside, np.asarray(embeddings)[~held]), (outside, embeddings))
    )
    difference = {
        metric.name: _difference(sweep.influences[metric.name], holdout.influences[metric.name])
        for metric in question.metrics
        if metric.headline and all(metric.name in side.influences for side in (sweep, holdout))
    }
    return Optimism(sweep, holdout, difference)


def _difference(sweep: Influence, holdout: Influence) -> tuple[float, float, float]:
    difference = sweep.minus(holdout)
    reach = student(difference.degrees) * float(np.sqrt(difference.variance)) if difference.asked > 1 else np.nan
    return difference.value, difference.value - reach, difference.value + reach

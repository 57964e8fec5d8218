"""Comparing runs by their tables of queries: which cannot be told from the best?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from neuroprint.errors import NeuroprintError
from neuroprint.evaluation.arrays import Array
from neuroprint.evaluation.benchmark import AS_ANSWER
from neuroprint.evaluation.metric import SHARE, Metric
from neuroprint.evaluation.statistics import tied_with_best

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd


SHARE_OF_JACKKNIFE_VARIANCE = 0.75
"""Of the variance of a retrieval metric's pseudo-values, which errs upwards."""

PROBE_VARIANCE = 1.35
"""Times the variance of a probe's errors, which leaves out that the fits move as well."""

_SHARED = ("case", "patient", "fold")


def tied(tables: Sequence[pd.DataFrame], metric: Metric) -> npt.NDArray[np.bool_]:
    """Mark the runs that cannot be told from the best, errors over the whole leaderboard held at 5 %.

    In retrieval a patient is query and answer, and chance moves both: who happens to look like whom counts twice, once
    for each. Compared by what they score as queries alone, of ten noisy embeddings of equal worth some are marked as
    worse than the best in 31 to 67 of 100 leaderboards instead of 5. So each query's value stands for both roles, as
    in a jackknife over patients: the mean, plus the query's deviation from it, plus the deviation of what the case
    earned as an answer. The variance of that errs upwards where chance is a matter of pairs (Efron and Stein 1981), by
    up to two; three quarters of it are used, a share chosen on such leaderboards (p_at_5, map, ndcg_at_10 at 64 and 120
    patients: any is marked in 0 to 3 of 100; at half the variance in 3 to 18). Of nine runs with 43 % more noise, at
    120 patients, the better one is told from 31 % (p_at_5), 62 % (map) and 95 % (ndcg_at_10).

    A probe's errors as they stand are conditional on the fits, which move by chance as well: their variance is taken
    35 % larger, a factor that was chosen on such leaderboards too. What both give is counted by
    ``benchmarks/leaderboards.py``. Queries that lack a value in some run are left out of the comparison.

    Args:
        tables: ``Evaluation.queries`` of each run, of the same cases in the same order.
        metric: The metric, or its share.

    Returns:
        (runs,) True for the best and for those that may be as good.

    Raises:
        NeuroprintError: The tables are not of the same cases, patients, folds and relevance, or the metric has no
            value per query.
    """
    if not tables:
        return np.zeros(0, dtype=bool)
    first = tables[0]
    for number, table in enumerate(tables[1:], start=2):
        for column in (*_SHARED, "relevant"):
            if len(table) != len(first) or list(table[column]) != list(first[column]):
                raise NeuroprintError(
                    f"run {number} and run 1 differ in their queries' {column}: only runs of the same cohort, "
                    "folds and relevance can be compared"
                )
    column = metric.column.removesuffix(SHARE)
    if any(column not in table for table in tables):
        raise NeuroprintError(f"runs cannot be compared by {metric.name}, which has no value per query")
    sign = -1.0 if metric.lower_is_better else 1.0
    values = sign * np.stack([_numbers(table, column) for table in tables])
    scored = np.asarray(np.isfinite(values).all(axis=0), dtype=bool)
    if not scored.any():
        return np.ones(len(tables), dtype=bool)
    patients = [str(patient) for patient, keep in zip(first["patient"], scored, strict=True) if keep]
    if f"{column}{AS_ANSWER}" in first:
        as_answers = sign * np.stack([_numbers(table, f"{column}{AS_ANSWER}") for table in tables])
        earned = as_answers[:, scored] - as_answers[:, scored].mean(axis=1, keepdims=True)
        spread = _spread(values[:, scored], values[:, scored] + earned, SHARE_OF_JACKKNIFE_VARIANCE)
    else:
        spread = _spread(values[:, scored], values[:, scored], PROBE_VARIANCE)
    return tied_with_best(spread, patients)


def _spread(values: Array, deviating: Array, variance: float) -> Array:
    """(runs, queries) the mean of ``values`` and, ``variance`` times as wide, the deviations of ``deviating``."""
    mean = values.mean(axis=1, keepdims=True)
    deviations = deviating - deviating.mean(axis=1, keepdims=True)
    return np.asarray(mean + np.sqrt(variance) * deviations, dtype=np.float64)


def _numbers(table: pd.DataFrame, name: str) -> Array:
    return np.asarray(table[name].to_numpy(dtype=np.float64, na_value=np.nan), dtype=np.float64)

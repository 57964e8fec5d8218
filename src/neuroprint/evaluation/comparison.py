"""Comparing runs by their tables of queries: which cannot be told from the best?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from neuroprint.errors import NeuroprintError
from neuroprint.evaluation.statistics import tied_with_best
from neuroprint.evaluation.table import AS_ANSWER

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

Array = npt.NDArray[np.float64]

PER_QUERY: dict[str, str] = {
    "retrieval/p_at_1": "p_at_1",
    "retrieval/p_at_3": "p_at_3",
    "retrieval/p_at_5": "p_at_5",
    "retrieval/p_at_10": "p_at_10",
    "retrieval/map": "average_precision",
    "retrieval/mrr": "reciprocal_rank",
    "retrieval/ndcg_at_10": "ndcg_at_10",
    "retrieval/auc": "auc",
    "retrieval/dist_mm_at_5": "dist_mm_at_5",
}
"""Metrics that are the mean of a column of the table of queries."""

LOWER_IS_BETTER = frozenset({"retrieval/dist_mm_at_5", "probe/error_mm"})

SHARE_OF_JACKKNIFE_VARIANCE = 0.75
"""Of the variance of a retrieval metric's pseudo-values, which errs upwards."""

PROBE_VARIANCE = 1.35
"""Times the variance of a probe's errors, which leaves out that the fits move as well."""

_AXES = ("x", "y", "z")
_SHARED = ("case", "patient", "fold")


def compare(tables: Sequence[pd.DataFrame], metric: str) -> npt.NDArray[np.bool_]:
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
        metric: A metric of the contract that is a mean over queries, or an R².

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
    values = np.stack([query_values(table, metric) for table in tables])
    as_answers = None
    if metric.removesuffix("_share") in PER_QUERY:
        as_answers = np.stack([_answer_values(table, metric) for table in tables])
    scored = np.asarray(np.isfinite(values).all(axis=0), dtype=bool)
    if not scored.any():
        return np.ones(len(tables), dtype=bool)
    patients = [str(patient) for patient, keep in zip(first["patient"], scored, strict=True) if keep]
    if as_answers is None:
        spread = _spread(values[:, scored], values[:, scored], PROBE_VARIANCE)
    else:
        earned = as_answers[:, scored] - as_answers[:, scored].mean(axis=1, keepdims=True)
        spread = _spread(values[:, scored], values[:, scored] + earned, SHARE_OF_JACKKNIFE_VARIANCE)
    return tied_with_best(spread, patients)


def query_values(table: pd.DataFrame, metric: str) -> Array:
    """(n,) contributions of the queries to a metric: higher is better, NaN where a query has no part in it.

    Differences of the metric between runs are differences of the mean of these values, up to a factor.

    Raises:
        NeuroprintError: The metric has no value per query.
    """
    name = metric.removesuffix("_share")
    if name in PER_QUERY:
        values = _column(table, PER_QUERY[name])
    elif name == "probe/error_mm":
        values = np.sqrt(np.square(_errors(table, "predicted", _AXES)).sum(axis=1))
    elif name in ("probe/r2", *(f"probe/r2_{axis}" for axis in _AXES)):
        axes = _AXES if name == "probe/r2" else (name[-1],)
        baseline = np.nansum(np.square(_errors(table, "baseline", axes)), axis=0)
        values = -(np.square(_errors(table, "predicted", axes)) / np.where(baseline > 0, baseline, np.nan)).mean(axis=1)
    else:
        known = ", ".join([*PER_QUERY, "probe/r2", *(f"probe/r2_{axis}" for axis in _AXES), "probe/error_mm"])
        raise NeuroprintError(
            f"runs cannot be compared by {metric}, which has no value per query: choose one of {known}"
        )
    return -values if name in LOWER_IS_BETTER else values


def _answer_values(table: pd.DataFrame, metric: str) -> Array:
    """(n,) what each case earned as an answer to a retrieval metric, higher is better."""
    name = metric.removesuffix("_share")
    values = _column(table, f"{PER_QUERY[name]}{AS_ANSWER}")
    return -values if name in LOWER_IS_BETTER else values


def _spread(values: Array, deviating: Array, variance: float) -> Array:
    """(runs, queries) the mean of ``values`` and, ``variance`` times as wide, the deviations of ``deviating``."""
    mean = values.mean(axis=1, keepdims=True)
    deviations = deviating - deviating.mean(axis=1, keepdims=True)
    return np.asarray(mean + np.sqrt(variance) * deviations, dtype=np.float64)


def _column(table: pd.DataFrame, name: str) -> Array:
    return np.asarray(table[name].to_numpy(dtype=np.float64, na_value=np.nan), dtype=np.float64)


def _errors(table: pd.DataFrame, kind: str, axes: Sequence[str]) -> Array:
    return np.stack([_column(table, f"{kind}_{axis}_mm") - _column(table, f"true_{axis}_mm") for axis in axes], axis=1)

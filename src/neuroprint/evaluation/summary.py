"""From a table of queries to the contract's metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from neuroprint.evaluation.comparison import PER_QUERY
from neuroprint.evaluation.position import errors_mm, r2, side_auc
from neuroprint.evaluation.statistics import MeanOfRatios, bootstrap_intervals
from neuroprint.evaluation.subjects import known

if TYPE_CHECKING:
    import pandas as pd

Array = npt.NDArray[np.float64]

HEADLINE = ("probe/r2", "probe/error_mm", "retrieval/p_at_5", "retrieval/map", "retrieval/ndcg_at_10")
"""Metrics with 95 % intervals, as ``..._lo`` and ``..._hi``."""

KINDS = ("predicted", "true", "baseline")
"""Centers that a table of queries holds."""

SHARES = ("retrieval/p_at_5", "retrieval/map", "retrieval/ndcg_at_10")
"""Metrics whose share of the way from chance to the oracle is given, as ``..._share``."""


def summarize(table: pd.DataFrame, resamples: int, seed: int) -> dict[str, float]:
    """All metrics of the contract but the shares, with intervals; NaN where one is not defined.

    Args:
        table: ``Evaluation.queries``.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.
    """
    metrics = measure(table)
    statistics = {name: found for name, found in _statistics(table).items() if np.isfinite(metrics[name])}
    intervals = bootstrap_intervals(statistics, list(table["patient"]), resamples, seed)
    for name in HEADLINE:
        low, high = intervals.get(name, (np.nan, np.nan))
        metrics |= {f"{name}_lo": min(low, metrics[name]), f"{name}_hi": max(high, metrics[name])}  # to the last bit
    return metrics


def measure(table: pd.DataFrame) -> dict[str, float]:
    """All metrics of the contract but shares and intervals; NaN where one is not defined.

    Args:
        table: ``Evaluation.queries``; a metric whose column it lacks is left out.
    """
    placed, squared, squared_baseline, distance = _errors(table)
    predicted = positions(table, "predicted")
    by_axis = r2(squared, squared_baseline)
    scored = table["relevant"].to_numpy() > 0
    metrics: dict[str, float] = {
        "cohort/cases": float(table["case"].nunique()),
        "cohort/queries": float(table["case"][scored].nunique()),
        "probe/r2": float(by_axis.mean()),
        **{f"probe/r2_{axis}": float(value) for axis, value in zip("xyz", by_axis, strict=True)},
        "probe/error_mm": float(distance[placed].mean()) if placed.any() else np.nan,
        "probe/error_mm_median": float(np.median(distance[placed])) if placed.any() else np.nan,
        "probe/side_auc": side_auc(table["right"].to_numpy(dtype=bool)[placed], predicted[placed, 0]),
    }
    for name, column in PER_QUERY.items():
        if column not in table:
            continue
        values = _column(table, column)
        defined = np.isfinite(values)
        metrics[name] = float(values[defined].mean()) if defined.any() else np.nan
    return metrics


def _statistics(table: pd.DataFrame) -> dict[str, MeanOfRatios]:
    """The headline metrics as what can be resampled by patient."""
    placed, squared, squared_baseline, distance = _errors(table)
    found = {
        "probe/r2": MeanOfRatios(squared, squared_baseline, complement=True, highest=1.0),
        "probe/error_mm": MeanOfRatios(distance[:, None], placed[:, None].astype(np.float64), lowest=0.0),
    }
    for name in HEADLINE[2:]:
        values = _column(table, PER_QUERY[name])
        defined = np.isfinite(values)
        parts = np.where(defined, values, 0.0)[:, None], defined[:, None].astype(np.float64)
        found[name] = MeanOfRatios(*parts, lowest=0.0, highest=1.0)
    return found


def _errors(table: pd.DataFrame) -> tuple[npt.NDArray[np.bool_], Array, Array, Array]:
    """Which rows have a center, and their squared errors per axis, those of the mean predictor, and distances."""
    predicted, true, baseline = (positions(table, kind) for kind in KINDS)
    placed = known(predicted) & known(true)
    squared = np.where(placed[:, None], np.square(predicted - true), 0.0)
    squared_baseline = np.where(placed[:, None], np.square(baseline - true), 0.0)
    return placed, squared, squared_baseline, np.where(placed, errors_mm(predicted, true), 0.0)


def share(value: float, chance: float, oracle: float) -> float:
    """Share of the way from chance to the oracle; NaN where the oracle is no better than chance."""
    span = oracle - chance
    return (value - chance) / span if span > 1e-9 else np.nan


def positions(table: pd.DataFrame, kind: str) -> Array:
    """(n, 3) ``predicted``, ``true`` or ``baseline`` centers of a table of queries, mm."""
    return np.stack([_column(table, f"{kind}_{axis}_mm") for axis in "xyz"], axis=1)


def _column(table: pd.DataFrame, name: str) -> Array:
    return np.asarray(table[name].to_numpy(dtype=np.float64, na_value=np.nan), dtype=np.float64)

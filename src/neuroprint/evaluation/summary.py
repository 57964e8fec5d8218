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

SHARES = ("retrieval/p_at_5", "retrieval/map", "retrieval/ndcg_at_10")
"""Metrics whose share of the way from chance to the oracle is given, as ``..._share``."""


def summarise(table: pd.DataFrame, resamples: int, seed: int) -> dict[str, float]:
    """All metrics of the contract but the shares; NaN where one is not defined.

    Args:
        table: ``Evaluation.queries``.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.
    """
    predicted, true, baseline = (positions(table, kind) for kind in ("predicted", "true", "baseline"))
    placed = known(predicted) & known(true)
    squared = np.where(placed[:, None], np.square(predicted - true), 0.0)
    squared_baseline = np.where(placed[:, None], np.square(baseline - true), 0.0)
    distance = np.where(placed, errors_mm(predicted, true), 0.0)
    by_axis = r2(squared, squared_baseline)
    scored = table["relevant"].to_numpy() > 0

    metrics: dict[str, float] = {
        "cohort/cases": float(len(table)),
        "cohort/queries": float(scored.sum()),
        "probe/r2": float(by_axis.mean()),
        **{f"probe/r2_{axis}": float(value) for axis, value in zip("xyz", by_axis, strict=True)},
        "probe/error_mm": float(distance[placed].mean()) if placed.any() else np.nan,
        "probe/error_mm_median": float(np.median(distance[placed])) if placed.any() else np.nan,
        "probe/side_auc": side_auc(table["right"].to_numpy(dtype=bool)[placed], predicted[placed, 0]),
    }
    statistics = {
        "probe/r2": MeanOfRatios(squared, squared_baseline, complement=True, highest=1.0),
        "probe/error_mm": MeanOfRatios(distance[:, None], placed[:, None].astype(np.float64), lowest=0.0),
    }
    for name, column in PER_QUERY.items():
        values = table[column].to_numpy(dtype=np.float64, na_value=np.nan)
        defined = np.isfinite(values)
        metrics[name] = float(values[defined].mean()) if defined.any() else np.nan
        if name in HEADLINE:
            parts = np.where(defined, values, 0.0)[:, None], defined[:, None].astype(np.float64)
            statistics[name] = MeanOfRatios(*parts, lowest=0.0, highest=1.0)
    wanted = {name: statistics[name] for name in HEADLINE if np.isfinite(metrics[name])}
    intervals = bootstrap_intervals(wanted, list(table["patient"]), resamples, seed)
    for name in HEADLINE:
        low, high = intervals.get(name, (np.nan, np.nan))
        metrics |= {f"{name}_lo": min(low, metrics[name]), f"{name}_hi": max(high, metrics[name])}  # to the last bit
    return metrics


def share(value: float, chance: float, oracle: float) -> float:
    """Share of the way from chance to the oracle; NaN where the oracle is no better than chance."""
    span = oracle - chance
    return (value - chance) / span if span > 1e-9 else np.nan


def positions(table: pd.DataFrame, kind: str) -> Array:
    """(n, 3) ``predicted``, ``true`` or ``baseline`` centres of a table of queries, mm."""
    columns = [table[f"{kind}_{axis}_mm"].to_numpy(dtype=np.float64, na_value=np.nan) for axis in "xyz"]
    return np.stack(columns, axis=1)

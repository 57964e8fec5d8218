"""Keeping count, while a row is scored, of what each metric owes to whom."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from neuroprint.evaluation.arrays import Array, Indices
from neuroprint.evaluation.influence import Groups, Influence, influence
from neuroprint.evaluation.metric import Predictions, ProbeMetric
from neuroprint.evaluation.ratios import MeanOfRatios


class Tally:
    """What queries owe to the cases of their galleries, summed by groups of patients.

    Args:
        groups: Of the patients.
        folds: Of how many folds a query's gallery is all but its own; None where galleries were not drawn so.
    """

    def __init__(self, groups: Groups, folds: int | None = None) -> None:
        self.groups, self.folds = groups, folds
        size = (groups.count, groups.count)
        # Of the sum of the values, and of the number of queries that have one: (groups of queries, groups of the gallery).
        self._sums: dict[str, Array] = defaultdict(lambda: np.zeros(size))
        self._counts: dict[str, Array] = defaultdict(lambda: np.zeros(size))

    def add(self, metric: str, queries: Indices, gallery: Indices, values: Array, without: Array) -> None:
        """Count what queries are worth, and would be worth without each case.

        Args:
            metric: Its name.
            queries: (m,) places of the queries.
            gallery: (m, n) or (n,) places of the cases.
            values: (m,) NaN where a query has no value.
            without: (m, n) NaN where a query would have none.
        """
        counts = np.isfinite(values)[:, None]
        stays = counts & np.isfinite(without)
        worth = np.where(counts, np.nan_to_num(values)[:, None], 0.0)
        lost = worth - np.where(stays, without, 0.0)
        self._sums[metric] += self._by_groups(queries, gallery, lost)
        if (gone := counts & ~stays).any():
            self._counts[metric] += self._by_groups(queries, gallery, gone.astype(np.float64))

    def of_queries(self, metric: str, queries: Indices, values: Array) -> tuple[float, Influence | None]:
        """The mean over the queries that have a value, and what it owes to whom; NaN and None where there is none.

        Args:
            metric: Its name.
            queries: (k,) places of all queries; a place may be there more than once.
            values: (k,) theirs.
        """
        has = np.isfinite(values)
        if not has.any():
            return np.nan, None
        total, mean = int(has.sum()), float(values[has].mean())
        own = self.groups.summed(np.where(has, values - mean, 0.0) / total, queries)
        lost = (self._sums[metric] - mean * self._counts[metric]) / total
        return mean, influence(mean, own, lost, self._asked(queries[has]), self.folds)

    def of_predictions(self, metric: ProbeMetric, queries: Indices, found: Predictions) -> Influence:
        """What a metric of the probe, which is defined, owes to whom.

        Args:
            metric: The metric.
            queries: (k,) places of all queries.
            found: What the probe said of them, and what that moves by.
        """
        asked = self._asked(queries[found.known])
        if metric.ratios is None:
            return self._left_out(metric, queries, found, asked)
        all_of_it = metric.ratios(found)
        nothing = MeanOfRatios(np.zeros_like(all_of_it.numerators), np.zeros_like(all_of_it.denominators))
        own = self.groups.summed(all_of_it.parts(nothing), queries)
        lost = np.zeros((self.groups.count, self.groups.count))
        if len(found.moved):
            without = [metric.ratios(found.without(group)) for group in range(len(found.moved))]
            numerators, denominators = (
                np.stack(parts) for parts in zip(*((one.numerators, one.denominators) for one in without), strict=True)
            )
            lost = self.groups.summed(all_of_it.parts(MeanOfRatios(numerators, denominators)).T, queries)
        return influence(all_of_it.value, own, lost, asked, self.folds)

    def _left_out(self, metric: ProbeMetric, queries: Indices, found: Predictions, asked: int) -> Influence:
        """By leaving out one group after the other: nothing is known of pairs then, and the variance errs upwards."""
        value, count = metric.of(found), self.groups.count
        own, effect = np.zeros(count), np.zeros(count)
        for group in range(count):
            others = self.groups.of_case[queries] != group
            own[group] = value - metric.of(found.among(others))
            rest = found.without(group) if len(found.moved) else found
            effect[group] = value - metric.of(rest.among(others))
        shrink = (asked - 1) / asked
        own, effect = (np.nan_to_num(part) * shrink for part in (own, effect))
        asking = np.isin(np.arange(count), self.groups.of_case[queries])
        own = np.where(asking, own - own[asking].mean(), 0.0)
        known = influence(value, own, np.zeros((count, count)), asked)
        return Influence(value, known.own, effect, 0.0, known.sketch, asked, 0.0)

    def _by_groups(self, queries: Indices, gallery: Indices, values: Array) -> Array:
        count = self.groups.count
        place = self.groups.of_case[queries][:, None] * count + self.groups.of_case[gallery]
        sums = np.bincount(place.ravel(), values.ravel(), minlength=count**2)
        return np.asarray(sums, dtype=np.float64).reshape(count, count)

    def _asked(self, queries: Indices) -> int:
        return len(np.unique(self.groups.of_case[queries]))

"""``probe=knn``: where the tumors of the nearest gallery cases lie."""

from __future__ import annotations

from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from neuroprint.evaluation.arrays import Array
from neuroprint.evaluation.scaling import standardization


class KNNProbe:
    """Mean center of the k nearest cases of the fit side, by Euclidean distance of embeddings standardized as for ridge.

    Nothing is chosen, so nothing can be chosen wrongly: k is given. A fit side smaller than k serves whole. Unlike
    retrieval it ignores ``similarity``: probes are compared with each other on the same standardized embedding.

    Args:
        k: Number of neighbors.
        weights: ``distance``: each neighbor counts by one over its distance, and where some are at distance 0 only
            those count; ``uniform``: all count alike.
    """

    def __init__(self, k: int = 5, weights: Literal["distance", "uniform"] = "distance") -> None:
        if k < 1:
            raise ValueError(f"k={k}: must be at least 1")
        if weights not in ("distance", "uniform"):
            raise ValueError(f"weights={weights}: must be distance or uniform")
        self.k = int(k)
        self.weights = weights

    def fit(self, X: Array, y: Array, groups: npt.NDArray[np.integer]) -> Self:
        """Keep (n, d) embeddings and (n, axes) centers in mm; the patients play no part."""
        X = np.asarray(X, dtype=np.float64)
        self._mean, self._weight = standardization(X)
        self._fitted, self._targets = self._scaled(X), np.asarray(y, dtype=np.float64)
        self._model = self._neighbors(self._fitted, self._targets)
        return self

    def predict(self, X: Array) -> Array:
        """(m, d) -> (m, axes) in mm."""
        return np.asarray(self._model.predict(self._scaled(X)), dtype=np.float64)

    def moved(self, new: Array, groups: npt.NDArray[np.integer], count: int) -> Array:
        """(count, m, axes): what predictions of (m, d) change by without each group of the fitted cases; the scale stays."""
        wanted = self._scaled(new)
        before = self._model.predict(wanted)
        changes = np.zeros((count, *before.shape))
        nearest = self._model.kneighbors(wanted, return_distance=False)
        for group in np.unique(groups):
            # A query that has none of the group among its neighbors keeps them all.
            rows = np.flatnonzero((groups[nearest] == group).any(axis=1))
            others = groups != group
            if rows.size and others.any():
                without = self._neighbors(self._fitted[others], self._targets[others])
                changes[group, rows] = without.predict(wanted[rows]) - before[rows]
        return changes

    def permuted(self, new: Array, targets: Array, groups: npt.NDArray[np.integer]) -> Array:
        """(k, m, axes) predictions of (m, d) by fits to (k, n, axes) other targets: the neighbors stay."""
        count, n, axes = targets.shape
        side_by_side = self._neighbors(self._fitted, targets.transpose(1, 0, 2).reshape(n, count * axes))
        found = np.asarray(side_by_side.predict(self._scaled(new)), dtype=np.float64)
        return found.reshape(len(found), count, axes).transpose(1, 0, 2)

    def _neighbors(self, X: Array, y: Array) -> Any:
        from sklearn.neighbors import KNeighborsRegressor

        return KNeighborsRegressor(min(self.k, len(X)), weights=self.weights, algorithm="brute").fit(X, y)

    def _scaled(self, X: Array) -> Array:
        return (np.asarray(X, dtype=np.float64) - self._mean) * self._weight

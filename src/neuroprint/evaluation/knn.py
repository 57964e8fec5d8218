"""``probe=knn``: where the tumors of the nearest gallery cases lie."""

from __future__ import annotations

from typing import Literal, Self

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
        from sklearn.neighbors import KNeighborsRegressor

        X = np.asarray(X, dtype=np.float64)
        self._mean, self._weight = standardization(X)
        self._model = KNeighborsRegressor(min(self.k, len(X)), weights=self.weights, algorithm="brute")
        self._model.fit(self._scaled(X), np.asarray(y, dtype=np.float64))
        return self

    def predict(self, X: Array) -> Array:
        """(m, d) -> (m, axes) in mm."""
        return np.asarray(self._model.predict(self._scaled(X)), dtype=np.float64)

    def _scaled(self, X: Array) -> Array:
        return (np.asarray(X, dtype=np.float64) - self._mean) * self._weight

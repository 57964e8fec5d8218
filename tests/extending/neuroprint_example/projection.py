"""A projection: a class with scikit-learn's ``fit`` and ``transform``."""

from typing import Self

import numpy as np
from sklearn.base import BaseEstimator


class Centered(BaseEstimator):
    """Embeddings less their mean over the gallery, so that the cosine looks at what differs between cases."""

    def fit(self, X: np.ndarray, y: np.ndarray | None = None) -> Self:
        """Fit on (n, d) embeddings."""
        self.mean_ = X.mean(axis=0)
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        """(m, d) -> (m, d)."""
        return X - self.mean_

    def as_steps(self) -> list[tuple[str, np.ndarray]]:
        """The fitted projection as plain arrays, so that a bundle can hold it."""
        return [("center", self.mean_)]

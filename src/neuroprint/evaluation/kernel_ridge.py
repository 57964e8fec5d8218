"""``probe=kernel_ridge``: how well a smooth, non-linear model reads the tumor's position off an embedding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
import numpy.typing as npt

from neuroprint.evaluation.arrays import Array
from neuroprint.evaluation.probe import best_alpha, eigenvectors_of_gram, left_out_errors, moved_by_groups, refitted
from neuroprint.evaluation.scaling import standardization

KERNEL_ALPHAS: tuple[float, ...] = tuple(float(alpha) for alpha in 10.0 ** np.arange(-4.0, 4.5, 0.5))


class KernelRidgeProbe:
    """Ridge regression with a Gaussian kernel, on embeddings standardized as for :class:`RidgeProbe`.

    k(a, b) = exp(-gamma |a - b|^2), with gamma = 1 / (median of the squared distances between cases of the fit side), the
    median heuristic. The intercept is not penalized: the kernel is centered. As for the linear ridge, the penalty is the
    one with the best mean R² over the axes by leave-one-patient-out, whose errors are exact (Golub, Heath and Wahba 1979,
    by groups), from one eigendecomposition of the centered kernel matrix.

    Args:
        alphas: Penalties to choose from. They add to the eigenvalues of the centered kernel matrix, whose sum is below n.

    Attributes:
        alpha: The chosen penalty. Where patients are too few to choose (one), the largest.
        gamma: Of the kernel, per squared unit of the standardized embedding.
    """

    def __init__(self, alphas: Sequence[float] = KERNEL_ALPHAS) -> None:
        if not alphas or min(alphas) <= 0:
            raise ValueError(f"alphas={alphas}: pass at least one penalty, all above 0")
        self.alphas = tuple(sorted(float(alpha) for alpha in alphas))
        self.alpha = self.alphas[-1]
        self.gamma = 1.0

    def fit(self, X: Array, y: Array, groups: npt.NDArray[np.integer]) -> Self:
        """Choose the penalty and fit: (n, d) embeddings, (n, axes) centers in mm, (n,) patients."""
        self._prepare(X, y)
        alpha = self.alphas[-1]
        if len(np.unique(groups)) > 1 and len(self.alphas) > 1:
            errors = left_out_errors(self._u, self._eigenvalues, self._y, self.alphas, groups)
            alpha = best_alpha(self.alphas, np.square(errors).sum(axis=1), self._y)
        return self._set(alpha)

    def fit_at(self, X: Array, y: Array, alpha: float) -> Self:
        """Fit with a given penalty."""
        self._prepare(X, y)
        return self._set(alpha)

    def predict(self, X: Array) -> Array:
        """(m, d) -> (m, axes) in mm."""
        kernel = self._kernel(self._scaled(X))
        # The dual coefficients sum to zero, so that of the centering only the fit side's part is left.
        return np.asarray((kernel - self._kernel_mean) @ self._dual + self._y_mean, dtype=np.float64)

    def moved(self, new: Array, groups: npt.NDArray[np.integer], count: int) -> Array:
        """(count, m, axes): what predictions of (m, d) change by without each group of the fitted cases; exact, but for the
        scale, gamma and the kernel's center, which stay.
        """
        cross = self._kernel(self._scaled(new)) - self._kernel_mean
        return moved_by_groups(cross, self._u, self._eigenvalues, self._y, self.alpha, groups, count)

    def permuted(self, new: Array, targets: Array, groups: npt.NDArray[np.integer]) -> Array:
        """(k, m, axes) predictions of (m, d) by fits to (k, n, axes) other targets, each with its own penalty; exact."""
        cross = self._kernel(self._scaled(new)) - self._kernel_mean
        return refitted(cross, self._u, self._eigenvalues, targets, self.alphas, groups)

    def predict_path(self, X: Array, y: Array, new: Array) -> Array:
        """Fit on (n, d) with every penalty and predict (m, d): (penalties, m, axes)."""
        self._prepare(X, y)
        return np.stack([self._set(alpha).predict(new) for alpha in self.alphas])

    def _prepare(self, X: Array, y: Array) -> None:
        X, y = np.asarray(X, dtype=np.float64), np.asarray(y, dtype=np.float64)
        self._mean, self._weight = standardization(X)
        self._fitted = self._scaled(X)
        self._y_mean = y.mean(axis=0)
        self._y = y - self._y_mean
        squared = _squared_distances(self._fitted, self._fitted)
        apart = squared[np.triu_indices(len(X), 1)]
        middle = float(np.median(apart)) if apart.size else 0.0
        self.gamma = 1.0 / middle if middle > 0 else 1.0
        kernel = np.exp(-self.gamma * squared)
        self._kernel_mean = kernel.mean(axis=0)
        centered = kernel - self._kernel_mean - self._kernel_mean[:, None] + self._kernel_mean.mean()
        self._u, self._eigenvalues = eigenvectors_of_gram(centered)

    def _set(self, alpha: float) -> Self:
        self.alpha = alpha
        self._dual = self._u @ ((self._u.T @ self._y) / (self._eigenvalues + alpha)[:, None])
        return self

    def _scaled(self, X: Array) -> Array:
        return (np.asarray(X, dtype=np.float64) - self._mean) * self._weight

    def _kernel(self, new: Array) -> Array:
        return np.exp(-self.gamma * _squared_distances(new, self._fitted))


def _squared_distances(a: Array, b: Array) -> Array:
    """(m, d), (n, d) -> (m, n); 0 between equal rows of one matrix."""
    squared = np.square(a).sum(axis=1)[:, None] + np.square(b).sum(axis=1) - 2.0 * (a @ b.T)
    if a is b:
        np.fill_diagonal(squared, 0.0)
    return np.asarray(np.maximum(squared, 0.0), dtype=np.float64)

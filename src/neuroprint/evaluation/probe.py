"""The probe: how well a linear model reads the tumor's position off an embedding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self, runtime_checkable

import numpy as np
import numpy.typing as npt

from neuroprint.evaluation.arrays import Array
from neuroprint.evaluation.scaling import standardization

if TYPE_CHECKING:
    from collections.abc import Sequence


_BLOCK_NUMBERS = 4_000_000
ALPHAS: tuple[float, ...] = tuple(float(alpha) for alpha in 10.0 ** np.arange(-3.0, 8.5, 0.5))


class Probe(Protocol):
    """A model of the tumor's center, fitted on one fold's gallery side."""

    def fit(self, X: Array, y: Array, groups: npt.NDArray[np.integer], /) -> object:
        """Fit on (n, d) embeddings, (n, 3) centers in mm and (n,) patients."""

    def predict(self, X: Array, /) -> Array:
        """(m, d) -> (m, 3) in mm."""


@runtime_checkable
class RemovableProbe(Probe, Protocol):
    """A probe that knows what it would say without some of the cases it was fitted on."""

    def moved(self, new: Array, groups: npt.NDArray[np.integer], count: int, /) -> Array:
        """(m, d) new embeddings, (n,) group of each fitted case -> (count, m, targets): what each prediction changes by.

        What is chosen for the fit, such as a penalty, stays.
        """


@runtime_checkable
class PenalizedProbe(Probe, Protocol):
    """A probe with a penalty that can also be chosen from outside, together with a supervised projection."""

    alphas: tuple[float, ...]

    def fit_at(self, X: Array, y: Array, alpha: float, /) -> object:
        """Fit with this penalty."""

    def predict_path(self, X: Array, y: Array, new: Array, /) -> Array:
        """Fit on (n, d) with every penalty and predict (m, d): (penalties, m, 3)."""


@runtime_checkable
class PermutableProbe(Probe, Protocol):
    """A probe that knows quickly what it would say had it been fitted to other targets of the same cases."""

    def permuted(self, new: Array, targets: Array, groups: npt.NDArray[np.integer], /) -> Array:
        """(m, d) new embeddings, (k, n, axes) targets, (n,) patients of the fitted cases -> (k, m, axes) predictions.

        What is chosen by the targets, such as a penalty, is chosen anew each time.
        """


class RidgeProbe:
    """Ridge regression on standardized embeddings, its penalty chosen by leave-one-patient-out.

    One penalty serves all axes: the one with the best mean over the axes of R² = 1 - SSE / SST, both sums over the
    left-out patients. So an axis along which tumors spread widely does not outvote the others. The left-out errors
    are exact and cost one eigendecomposition, of the Gram or the covariance matrix, whichever is smaller: with the
    smoother S = 1/n 11' + X (X'X + alpha)^-1 X' of the centered embeddings, the errors of a left-out group B are
    ((I - S)_BB)^-1 (y - S y)_B (Golub, Heath and Wahba 1979, by groups). The intercept is not penalized. The scale of
    the standardization is that of the whole fit side, and of no column less than a tenth of the columns' root mean square.

    Args:
        alphas: Penalties to choose from. They add to the eigenvalues of X'X, which are of the order of n.

    Attributes:
        alpha: The chosen penalty. Where patients are too few to choose (one), the largest.
        coef: (d, 3) mm per unit of the embedding. A column that is constant on the fit side has 0.
        intercept: (3,) mm.
    """

    def __init__(self, alphas: Sequence[float] = ALPHAS) -> None:
        if not alphas or min(alphas) <= 0:
            raise ValueError(f"alphas={alphas}: pass at least one penalty, all above 0")
        self.alphas = tuple(sorted(float(alpha) for alpha in alphas))
        self.alpha = self.alphas[-1]
        self.coef: Array = np.zeros((0, 0))
        self.intercept: Array = np.zeros(0)
        self._model: _Decomposition

    def fit(self, X: Array, y: Array, groups: npt.NDArray[np.integer]) -> Self:
        """Choose the penalty and fit: (n, d) embeddings, (n, axes) centers in mm, (n,) patients."""
        model = _Decomposition.of(X, y)
        self.alpha = self.alphas[-1]
        if len(np.unique(groups)) > 1 and len(self.alphas) > 1:
            errors = left_out_errors(model.u, model.eigenvalues, model.y, self.alphas, groups)
            self.alpha = best_alpha(self.alphas, np.square(errors).sum(axis=1), model.y)
        return self._set(model, self.alpha)

    def fit_at(self, X: Array, y: Array, alpha: float) -> Self:
        """Fit with a given penalty."""
        return self._set(_Decomposition.of(X, y), alpha)

    def predict(self, X: Array) -> Array:
        """(m, d) -> (m, axes) in mm."""
        return np.asarray(X, dtype=np.float64) @ self.coef + self.intercept

    def moved(self, new: Array, groups: npt.NDArray[np.integer], count: int) -> Array:
        """(count, m, axes): what predictions of (m, d) change by without each group of the fitted cases; exact."""
        model = self._model
        cross = ((np.asarray(new, dtype=np.float64) - model.x_mean) * model.weight) @ model.z.T
        return moved_by_groups(cross, model.u, model.eigenvalues, model.y, self.alpha, groups, count)

    def permuted(self, new: Array, targets: Array, groups: npt.NDArray[np.integer]) -> Array:
        """(k, m, axes) predictions of (m, d) by fits to (k, n, axes) other targets, each with its own penalty; exact."""
        model = self._model
        cross = ((np.asarray(new, dtype=np.float64) - model.x_mean) * model.weight) @ model.z.T
        return refitted(cross, model.u, model.eigenvalues, targets, self.alphas, groups)

    def predict_path(self, X: Array, y: Array, new: Array) -> Array:
        """Fit on (n, d) with every penalty and predict (m, d): (penalties, m, axes)."""
        model = _Decomposition.of(X, y)
        return np.stack([self._set(model, alpha).predict(new) for alpha in self.alphas])

    def _set(self, model: _Decomposition, alpha: float) -> Self:
        self.alpha, self._model = alpha, model
        self.coef = model.coef(alpha)
        self.intercept = model.y_mean - model.x_mean @ self.coef
        return self


def best_alpha(alphas: Sequence[float], sse: Array, y: Array) -> float:
    """The penalty with the best mean R² over the axes; of equals the largest.

    Args:
        alphas: Penalties, ascending.
        sse: (penalties, axes) sums of squared errors of left-out patients.
        y: (n, axes) targets. An axis along which they do not vary has no say.
    """
    sst = np.square(y - y.mean(axis=0)).sum(axis=0)
    varies = sst > 0
    if not varies.any():
        return alphas[-1]
    loss = (sse[:, varies] / sst[varies]).mean(axis=1)
    return alphas[len(alphas) - 1 - int(np.argmin(loss[::-1]))]


@dataclass(frozen=True)
class _Decomposition:
    """Standardized embeddings Z = U diag(sqrt(eigenvalues)) V', and the centered targets."""

    z: Array  # (n, d), centered
    weight: Array  # (d,) 1 / standard deviation, 0 for constant columns
    x_mean: Array  # (d,)
    y: Array  # (n, axes), centered
    y_mean: Array  # (axes,)
    u: Array  # (n, r), orthonormal, orthogonal to 1
    eigenvalues: Array  # (r,) of Z'Z

    @classmethod
    def of(cls, X: Array, y: Array) -> _Decomposition:
        X, y = np.asarray(X, dtype=np.float64), np.asarray(y, dtype=np.float64)
        n, d = X.shape
        y_mean = y.mean(axis=0)
        x_mean, weight = standardization(X)
        z = (X - x_mean) * weight
        u, eigenvalues = eigenvectors_of_gram(z @ z.T) if n <= d + 1 else _from_covariance(z)
        return cls(z, weight, x_mean, y - y_mean, y_mean, u, eigenvalues)

    def coef(self, alpha: float) -> Array:
        dual = self.u @ ((self.u.T @ self.y) / (self.eigenvalues + alpha)[:, None])
        coef: Array = self.weight[:, None] * (self.z.T @ dual)
        return coef


def eigenvectors_of_gram(gram: Array) -> tuple[Array, Array]:
    """(n, n - 1) eigenvectors of a centered Gram matrix, orthogonal to 1, and their (n - 1,) eigenvalues."""
    n = len(gram)
    # Z'1 = 0. Shifting the direction 1 above all others keeps it from mixing with the rest of the null space; then it
    # is dropped, as the intercept takes its place.
    eigenvalues, vectors = np.linalg.eigh(gram + (2.0 * np.trace(gram) + 1.0) / n)
    return vectors[:, :-1], np.maximum(eigenvalues[:-1], 0.0)


def _from_covariance(z: Array) -> tuple[Array, Array]:
    eigenvalues, vectors = np.linalg.eigh(z.T @ z)
    kept = eigenvalues > eigenvalues[-1] * len(eigenvalues) * np.finfo(np.float64).eps
    eigenvalues, vectors = eigenvalues[kept], vectors[:, kept]
    return z @ (vectors / np.sqrt(eigenvalues)), eigenvalues


def left_out_errors(
    u: Array, eigenvalues: Array, y: Array, alphas: Sequence[float], groups: npt.NDArray[np.integer]
) -> Array:
    """(penalties, n, axes) errors of each case by the model that was fitted without its group, for every penalty.

    Args:
        u: (n, r) eigenvectors of the centered Gram matrix, orthonormal and orthogonal to 1.
        eigenvalues: (r,) theirs.
        y: (n, axes) centered targets.
        alphas: The penalties.
        groups: (n,) which group each case belongs to.
    """
    n, rank = u.shape
    penalties = np.asarray(alphas, dtype=np.float64)[:, None]
    # I - S, in whichever form loses no digits: the Gram matrix gives a full basis, and I - 1/n 11' = U U'.
    full = rank == n - 1
    spectra = (penalties if full else -eigenvalues) / (eigenvalues + penalties)  # (penalties, r)
    identity, ones = (0.0, 0.0) if full else (1.0, 1.0 / n)
    # First the residuals; of each group they are then solved for its errors by the fit without it.
    errors = u @ (spectra[:, :, None] * (u.T @ y))
    if not full:
        errors += y
    _, inverse, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    by_group = np.argsort(inverse, kind="stable")
    starts = np.cumsum(sizes) - sizes
    for size in np.unique(sizes[sizes > 1]):
        members = by_group[starts[sizes == size][:, None] + np.arange(size)]  # (groups of this size, size)
        rows = u[members]
        for place, spectrum in enumerate(spectra):
            block = (rows * spectrum) @ rows.transpose(0, 2, 1) - ones + identity * np.eye(size)
            errors[place, members] = np.linalg.inv(block) @ errors[place, members]
    alone = sizes[inverse] == 1  # most patients: all blocks of all penalties at once
    errors /= np.where(alone, spectra @ np.square(u).T - ones + identity, 1.0)[:, :, None]
    return np.asarray(errors, dtype=np.float64)


def refitted(
    cross: Array,
    u: Array,
    eigenvalues: Array,
    targets: Array,
    alphas: Sequence[float],
    groups: npt.NDArray[np.integer],
) -> Array:
    """(k, m, axes) predictions by ridge regressions on the same cases, fitted to k different targets.

    A prediction is linear in the targets, and so are the left-out errors by which a penalty is chosen: one decomposition
    serves all fits.

    Args:
        cross: (m, n) inner products of new cases and fitted ones, the fitted centered.
        u: (n, r) eigenvectors of the centered Gram matrix, orthonormal and orthogonal to 1.
        eigenvalues: (r,) theirs.
        targets: (k, n, axes).
        alphas: Penalties to choose from, ascending.
        groups: (n,) which group each case belongs to; those are left out together.
    """
    mean = targets.mean(axis=1)[:, None]
    centered = targets - mean
    size = max(1, _BLOCK_NUMBERS // max(1, len(alphas) * centered[0].size))
    chosen = np.full(len(targets), len(alphas) - 1)
    if len(np.unique(groups)) > 1 and len(alphas) > 1:
        for start in range(0, len(targets), size):
            part = slice(start, start + size)
            chosen[part] = _best_places(u, eigenvalues, centered[part], alphas, groups)
    shrunk = (u.T @ centered) / (eigenvalues + np.asarray(alphas)[chosen][:, None])[:, :, None]
    return np.asarray(mean + (cross @ u) @ shrunk, dtype=np.float64)


def _best_places(
    u: Array, eigenvalues: Array, centered: Array, alphas: Sequence[float], groups: npt.NDArray[np.integer]
) -> npt.NDArray[np.int64]:
    """(k,) places of the penalties that :func:`best_alpha` would choose for (k, n, axes) targets."""
    count, n, axes = centered.shape
    side_by_side = centered.transpose(1, 0, 2).reshape(n, count * axes)
    errors = left_out_errors(u, eigenvalues, side_by_side, alphas, groups)
    sse = np.einsum("ank,ank->ak", errors, errors).reshape(len(alphas), count, axes)
    sst = np.square(centered).sum(axis=1)
    varies = sst > 0
    ratios = np.where(varies, sse / np.where(varies, sst, 1.0), 0.0)
    loss = ratios.sum(axis=2) / np.maximum(varies.sum(axis=1), 1)
    return np.asarray(len(alphas) - 1 - np.argmin(loss[::-1], axis=0), dtype=np.int64)


def moved_by_groups(
    cross: Array,
    u: Array,
    eigenvalues: Array,
    y: Array,
    alpha: float,
    groups: npt.NDArray[np.integer],
    count: int,
) -> Array:
    """(count, m, axes) what predictions change by without each group, of a ridge regression with a fixed penalty.

    A prediction is linear in the targets, f = H y, and a fit without B is the fit in which B's targets are what is
    predicted of B without B: so f changes by -H_B e_B, with the left-out errors e.

    Args:
        cross: (m, n) inner products of new cases and fitted ones, the fitted centered.
        u: (n, r) eigenvectors of the centered Gram matrix, orthonormal and orthogonal to 1.
        eigenvalues: (r,) theirs.
        y: (n, axes) centered targets.
        alpha: The penalty.
        groups: (n,) which group each case belongs to.
        count: How many groups there are; one without a case changes nothing, nor does one that has them all.
    """
    if len(np.unique(groups)) < 2:
        return np.zeros((count, len(cross), y.shape[1]))
    smoother = 1.0 / len(u) + (cross @ u) / (eigenvalues + alpha) @ u.T
    left_out = left_out_errors(u, eigenvalues, y, [alpha], groups)[0]
    member = np.zeros((len(groups), count))
    member[np.arange(len(groups)), groups] = 1.0
    return np.stack([-((smoother * error) @ member).T for error in left_out.T], axis=2)

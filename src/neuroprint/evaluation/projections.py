"""Projections that scikit-learn does not offer: chains, and what is fitted to a task's targets."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, clone
from sklearn.cross_decomposition import PLSRegression
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.neighbors import NeighborhoodComponentsAnalysis

from neuroprint.errors import NeuroprintError
from neuroprint.evaluation.arrays import Array
from neuroprint.evaluation.perplexity import allowed_perplexity
from neuroprint.evaluation.probe import ALPHAS, RidgeProbe


class Chain(BaseEstimator):  # type: ignore[misc]
    """Projections one after the other, each within what its input allows.

    As scikit-learn's ``Pipeline``, but the ``n_components`` of each step is clipped to the rank of what reaches it (about
    its mean, to the precision of float32 embeddings). So a method that whitens never blows rounding up to unit size.

    Args:
        steps: Unfitted projections. They are copied before they are fitted.
        n_components: Of the last step that has a size, in the place of its own.

    Attributes:
        supervised: Whether a step is to be fitted to the targets.
    """

    def __init__(self, steps: Sequence[Any], n_components: int = 16) -> None:
        self.steps = steps
        self.n_components = n_components

    @property
    def supervised(self) -> bool:
        return any(getattr(step, "supervised", False) for step in self.steps)

    @property
    def by_patient(self) -> bool:
        return any(getattr(step, "by_patient", False) for step in self.steps)

    def fit(self, X: Array, y: Array | None = None, patients: Sequence[str] | None = None) -> Self:
        """Fit on (n, d) embeddings, and (n, targets) if supervised, of (n,) patients if a step asks for them."""
        self.fitted_: list[Any] = []
        sized = [step for step in self.steps if "n_components" in step.get_params()]
        for unfitted in self.steps:
            step = clone(unfitted)
            wanted = self.n_components if unfitted in sized[-1:] else step.get_params().get("n_components")
            if isinstance(wanted, int):
                step.set_params(n_components=max(1, min(wanted, _rank(X))))
            if getattr(step, "by_patient", False):
                step.fit(X, y, patients)
            else:
                step.fit(X, y if getattr(step, "supervised", False) else None)
            X = step.transform(X)
            self.fitted_.append(step)
        return self

    def transform(self, X: Array) -> Array:
        """(m, d) -> (m, components)."""
        for step in self.fitted_:
            X = step.transform(X)
        return X


class PLS(PLSRegression):  # type: ignore[misc]
    """Partial least squares: the directions that vary most with the targets (Wold et al. 2001)."""

    supervised = True


class TargetRidge(BaseEstimator):  # type: ignore[misc]
    """The targets about the gallery's mean, as :class:`~neuroprint.evaluation.probe.RidgeProbe` predicts them.

    Its penalty is chosen by leaving patients out.

    Args:
        alphas: Penalties to choose from.
    """

    supervised = True
    by_patient = True

    def __init__(self, alphas: Sequence[float] = ALPHAS) -> None:
        self.alphas = alphas

    def fit(self, X: Array, y: Array, patients: Sequence[str] | None = None) -> Self:
        """Fit on (n, d) embeddings and (n, targets) of (n,) patients, by default of one case each."""
        groups = np.arange(len(X)) if patients is None else np.unique(list(patients), return_inverse=True)[1]
        self.mean_ = y.mean(axis=0)
        self.model_ = RidgeProbe(self.alphas).fit(X, y, groups)
        return self

    def transform(self, X: Array) -> Array:
        """(m, d) -> (m, targets)."""
        return np.asarray(self.model_.predict(X) - self.mean_)


class TargetLDA(BaseEstimator):  # type: ignore[misc]
    """Linear discriminants of the groups of :func:`target_groups`.

    Args:
        n_components: At most one less than there are groups, and at most 7.
        shrinkage: Of each group's covariance towards the identity, from 0 to 1. ``auto`` (Ledoit and Wolf 2004) needs
            several cases in each.
    """

    supervised = True
    most_components = 7

    def __init__(self, n_components: int = 7, shrinkage: float | str = 0.5) -> None:
        self.n_components = n_components
        self.shrinkage = shrinkage

    def fit(self, X: Array, y: Array) -> Self:
        """Fit on (n, d) embeddings and (n, targets)."""
        parts = target_groups(y)
        components = min(self.n_components, self.most_components, len(np.unique(parts)) - 1, X.shape[1])
        self.model_ = LinearDiscriminantAnalysis(solver="eigen", shrinkage=self.shrinkage, n_components=components)
        with warnings.catch_warnings():
            # A group of one case has no covariance; the others' and the shrinkage make up for it.
            warnings.filterwarnings("ignore", message="Only one sample available")
            self.model_.fit(X, parts)
        return self

    def transform(self, X: Array) -> Array:
        """(m, d) -> (m, components)."""
        return np.asarray(self.model_.transform(X))


class TargetNCA(BaseEstimator):  # type: ignore[misc]
    """Neighborhood components analysis (Goldberger et al. 2004): neighbors are to share a group of :func:`target_groups`.

    Args:
        n_components: Size of the projection.
        max_iter: Steps of the optimizer.
        random_state: Seed of the optimizer.
    """

    supervised = True

    def __init__(self, n_components: int = 16, max_iter: int = 50, random_state: int = 0) -> None:
        self.n_components = n_components
        self.max_iter = max_iter
        self.random_state = random_state

    def fit(self, X: Array, y: Array) -> Self:
        """Fit on (n, d) embeddings and (n, targets)."""
        components = min(self.n_components, X.shape[1])
        self.model_ = NeighborhoodComponentsAnalysis(
            n_components=components, init="pca", max_iter=self.max_iter, random_state=self.random_state
        )
        self.model_.fit(X, target_groups(y))
        return self

    def transform(self, X: Array) -> Array:
        """(m, d) -> (m, components)."""
        return np.asarray(self.model_.transform(X))


class UMAP(BaseEstimator):  # type: ignore[misc]
    """Uniform manifold approximation and projection (McInnes et al. 2018, arXiv:1802.03426), clipped to the cohort.

    Args:
        n_components: Size of the projection; at most two less than there are cases.
        n_neighbors: Size of a neighborhood; at most one less than there are cases.
        min_dist: How close the layout may put two cases.
        metric: Distance between embeddings.
        random_state: Seed of the layout.
    """

    def __init__(
        self,
        n_components: int = 16,
        n_neighbors: int = 15,
        min_dist: float = 0.1,
        metric: str = "euclidean",
        random_state: int = 0,
    ) -> None:
        self.n_components = n_components
        self.n_neighbors = n_neighbors
        self.min_dist = min_dist
        self.metric = metric
        self.random_state = random_state

    def fit(self, X: Array, y: Array | None = None) -> Self:
        """Fit on (n, d) embeddings; targets are not looked at."""
        import umap  # compiles itself: seconds

        cases = len(X)
        if cases < 4:
            raise NeuroprintError(f"projection=umap: {cases} gallery cases are too few; it needs 4")
        components = min(self.n_components, cases - 2)
        self.model_ = umap.UMAP(
            n_components=components,
            n_neighbors=max(2, min(self.n_neighbors, cases - 1)),
            min_dist=self.min_dist,
            metric=self.metric,
            init="pca" if components <= X.shape[1] else "random",
            random_state=self.random_state,
            n_jobs=1,
        ).fit(X)
        return self

    def transform(self, X: Array) -> Array:
        """(m, d) -> (m, components); the cases of the fit get their places in the layout."""
        return np.asarray(self.model_.transform(X), dtype=np.float64)


class TSNE(BaseEstimator):  # type: ignore[misc]
    """t-distributed stochastic neighbor embedding (van der Maaten and Hinton 2008): a picture of the cases it is given.

    It has no ``transform``, since it cannot place a new case. So gallery and queries of a fold are laid out together,
    without their targets: its scores say what the picture shows, not what a search index would find.

    Args:
        n_components: Size of the layout, at most that of the embeddings; above 3, exact and slow.
        perplexity: See :func:`neuroprint.evaluation.perplexity.allowed_perplexity`.
        random_state: Seed of the optimizer.
    """

    transductive = True

    def __init__(self, n_components: int = 2, perplexity: float | None = None, random_state: int = 0) -> None:
        self.n_components = n_components
        self.perplexity = perplexity
        self.random_state = random_state

    def fit_transform(self, X: Array, y: Array | None = None) -> Array:
        """(n, d) -> (n, components); targets are not looked at."""
        from sklearn import manifold

        components = min(self.n_components, *X.shape)
        if not np.ptp(X, axis=0).any():
            return np.zeros((len(X), components))
        layout = manifold.TSNE(
            n_components=components,
            perplexity=allowed_perplexity(self.perplexity, len(X)),
            init="pca",
            learning_rate="auto",
            method="barnes_hut" if components <= 3 else "exact",
            random_state=self.random_state,
            n_jobs=1,
        )
        return np.asarray(layout.fit_transform(X), dtype=np.float64)


def target_groups(targets: Array) -> npt.NDArray[np.int64]:
    """Group cases by their targets: by their class, or by the octant that numbers lie in.

    Targets of 0 and 1 of which each case has one 1 are classes. All others are numbers: a case's octant is the side of the
    median that it lies on, along each of three targets. Few cases are split along fewer, those of the widest spread, so that
    cases outnumber the groups.

    Args:
        targets: (n, targets).

    Returns:
        (n,) from 0 on.

    Raises:
        NeuroprintError: All cases lie in one group.
    """
    if targets.shape[1] > 1 and np.isin(targets, (0.0, 1.0)).all() and (targets.sum(axis=1) == 1.0).all():
        groups = targets.argmax(axis=1)
    else:
        above = targets > np.median(targets, axis=0)
        most = min(3, int(np.log2(max(1, len(above) - 1))))
        axes = np.argsort(-targets.std(axis=0), kind="stable")[:most]
        groups = above[:, axes] @ 2 ** np.arange(len(axes))
    if len(np.unique(groups)) < 2:
        raise NeuroprintError(f"the targets of {len(groups)} gallery cases cannot be split: choose another projection")
    return np.asarray(groups, dtype=np.int64)


def _rank(X: Array) -> int:
    """Rank of the embeddings about their mean: directions that differ by more than float32 rounds.

    The squared singular values are the eigenvalues of the smaller of the Gram and the covariance matrix. Squared, the
    threshold is still above what double precision rounds, and they take a tenth of the time where d is far above n.
    """
    centered = X - X.mean(axis=0)
    squares = np.linalg.eigvalsh(centered @ centered.T if len(X) <= X.shape[1] else centered.T @ centered)
    return int((squares > (np.abs(X).max() * np.sqrt(X.size) * np.finfo(np.float32).eps) ** 2).sum())

"""Fitting projection and probe on one fold's gallery side, and nothing else."""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Protocol, Self, cast

import numpy as np
import numpy.typing as npt

from neuroprint.evaluation.arrays import Array
from neuroprint.evaluation.folds import assign_folds
from neuroprint.evaluation.metric import known
from neuroprint.evaluation.probe import PenalizedProbe, Probe, RemovableProbe, best_alpha

log = logging.getLogger(__name__)

_INNER_FOLDS = 5
_SEED = re.compile(r"(.*__)?random_state")


class Projection(Protocol):
    """A map of embeddings in scikit-learn's terms; a class of your own needs no more than this.

    One with ``supervised = True`` is fitted to the targets as well. One with ``transductive = True`` has a
    ``fit_transform`` in the place of both methods: it lays out the cases it is given and cannot place a new one. One that is
    fitted can be exported if it is affine and says so by ``as_steps``, see :mod:`neuroprint.bundle.projection`.
    """

    def fit(self, X: Array, y: Array | None = None, /) -> object:
        """Fit on (n, d) embeddings, and (n, targets) targets if supervised."""

    def transform(self, X: Array, /) -> Array:
        """(m, d) -> (m, components)."""


class Identity:
    """``projection=none``. scikit-learn has one too, but takes longer to load than a run without it to be scored."""

    def fit(self, X: Array, y: Array | None = None) -> Self:
        """Nothing to fit."""
        return self

    def transform(self, X: Array) -> Array:
        """The embeddings as they are."""
        return X


@dataclass(frozen=True)
class Fitted:
    """Projection and probe of one fold.

    Attributes:
        projection: None where embeddings are used as they are.
        probe: None where there was nothing to fit it on.
        fitted: (n,) which of the gallery's cases the probe was fitted on.
    """

    projection: Projection | None
    probe: Probe | None
    fitted: npt.NDArray[np.bool_]

    def project(self, embeddings: Array) -> Array:
        """(m, d) -> (m, components)."""
        return transformed(self.projection, embeddings)

    def predict(self, projected: Array, targets: int) -> Array:
        """(m, components) -> (m, targets), NaN without a probe."""
        if self.probe is None:
            return np.full((len(projected), targets), np.nan)
        return np.asarray(self.probe.predict(projected), dtype=np.float64).reshape(len(projected), targets)

    def moved(self, projected: Array, targets: int, groups: npt.NDArray[np.int64], count: int) -> Array:
        """(count, m, targets): what predictions change by without each group of the gallery, (n,) the group of each case.

        The projection stays as it is, and so does a probe that does not know what it would say.
        """
        if not isinstance(self.probe, RemovableProbe):
            return np.zeros((count, len(projected), targets))
        return self.probe.moved(projected, groups[self.fitted], count)


def fit(
    embeddings: Array,
    targets: Array,
    patients: Sequence[str],
    projection: Any | None,
    probe: Any,
    seed: int,
) -> Fitted:
    """Fit projection and probe on the gallery side.

    Cases without a target (NaN) take part in an unsupervised projection only. A supervised projection has seen the
    targets of the cases it projects, so that the probe cannot judge its penalty on those: the penalty is then chosen
    by an inner cross-validation, by patient, which refits projection and probe together.

    Args:
        embeddings: (n, d).
        targets: (n, targets).
        patients: (n,).
        projection: Unfitted; a clone of it is fitted. None uses embeddings as they are.
        probe: Unfitted; a clone of it is fitted.
        seed: Of the inner folds.
    """
    located = known(targets)
    placed, aims = embeddings[located], targets[located]
    names = [patient for patient, has_target in zip(patients, located, strict=True) if has_target]
    supervised = projection is not None and is_supervised(projection)
    given = (placed, aims, names) if supervised else (embeddings, None, None)
    fitted = fit_projection(projection, *given)
    if not len(placed):
        return Fitted(fitted, None, located)
    made = unfitted(probe)
    if supervised and isinstance(made, PenalizedProbe) and len(set(names)) > 1:
        alpha = _inner_alpha(placed, aims, names, projection, made, seed)
        made.fit_at(transformed(fitted, placed), aims, alpha)
        return Fitted(fitted, made, located)
    number = {patient: place for place, patient in enumerate(sorted(set(names)))}
    groups = np.array([number[name] for name in names])
    if "groups" in inspect.signature(made.fit).parameters:
        made.fit(transformed(fitted, placed), aims, groups)
    else:  # a regressor of scikit-learn's, to which patients mean nothing
        made.fit(transformed(fitted, placed), aims)
    return Fitted(fitted, made, located)


def unfitted(estimator: Any) -> Any:
    """A clone of a projection or a probe, as scikit-learn makes them, or a copy of one that does not know its parameters.

    What it would draw by chance, such as a randomized PCA of many columns, is drawn by seed 0 where it has none.
    """
    if not hasattr(estimator, "get_params"):
        return deepcopy(estimator)
    from sklearn.base import clone

    made = clone(estimator)
    unseeded = [name for name, value in made.get_params().items() if value is None and _SEED.fullmatch(name)]
    return made.set_params(**dict.fromkeys(unseeded, 0)) if unseeded else made


def clipped(projection: Any, most: int) -> Any:
    """A projection of no more components than a fit can have; the projection itself where it has no size or fits already.

    Args:
        projection: Unfitted.
        most: The smaller of the number of cases and the size of their embeddings.
    """
    wanted = projection.get_params().get("n_components") if hasattr(projection, "get_params") else None
    if isinstance(wanted, bool) or not isinstance(wanted, int) or wanted <= most:
        return projection
    log.warning("components=%d is more than the gallery allows: clipped to %d", wanted, most)
    return unfitted(projection).set_params(n_components=most)


def is_supervised(projection: Projection) -> bool:
    """Whether a projection is to be fitted to the targets as well: as it says, or as scikit-learn's tags do."""
    if hasattr(projection, "supervised"):
        return bool(projection.supervised)
    return hasattr(projection, "__sklearn_tags__") and bool(projection.__sklearn_tags__().target_tags.required)


def lay_out_together(projection: Any, gallery: Array, queries: Array) -> tuple[Array, Array]:
    """Gallery and queries in one layout of a transductive projection, which sees both, but no target and no fold.

    Args:
        projection: Unfitted; a clone of it is used.
        gallery: (n, d).
        queries: (m, d).

    Returns:
        (n, components) and (m, components).
    """
    placed = np.asarray(unfitted(projection).fit_transform(np.concatenate([gallery, queries])), dtype=np.float64)
    return placed[: len(gallery)], placed[len(gallery) :]


def is_transductive(projection: Projection) -> bool:
    """Whether a projection only lays out what it is given."""
    return bool(getattr(projection, "transductive", False))


def fit_projection(
    projection: Any | None,
    embeddings: Array,
    targets: Array | None,
    patients: Sequence[str] | None = None,
) -> Projection | None:
    """A clone fitted on (n, d) embeddings, with (n, targets) targets if they are given, and (n,) patients if it asks."""
    if projection is None:
        return None
    made = unfitted(projection)
    if targets is None:
        made.fit(embeddings)
    elif getattr(made, "by_patient", False):
        made.fit(embeddings, targets, patients)
    else:
        made.fit(embeddings, targets)
    return cast(Projection, made)


def transformed(projection: Projection | None, embeddings: Array) -> Array:
    """(m, d) -> (m, components), or the embeddings themselves where there is no projection."""
    if projection is None:
        return embeddings
    return np.asarray(projection.transform(embeddings), dtype=np.float64)


def _inner_alpha(
    embeddings: Array,
    targets: Array,
    patients: Sequence[str],
    projection: Any,
    probe: PenalizedProbe,
    seed: int,
) -> float:
    fold = assign_folds(patients, min(_INNER_FOLDS, len(set(patients))), seed)
    sse = np.zeros((len(probe.alphas), targets.shape[1]))
    for held in range(int(fold.max()) + 1):
        inside, outside = fold != held, fold == held
        names = [patient for patient, kept in zip(patients, inside, strict=True) if kept]
        fitted = fit_projection(projection, embeddings[inside], targets[inside], names)
        predicted = probe.predict_path(
            transformed(fitted, embeddings[inside]), targets[inside], transformed(fitted, embeddings[outside])
        )
        sse += np.square(predicted - targets[outside]).sum(axis=1)
    return best_alpha(probe.alphas, sse, targets)

"""Fitting projection and probe on one fold's gallery side, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self, cast

import numpy as np
import numpy.typing as npt

from neuroprint.evaluation.folds import assign_folds
from neuroprint.evaluation.probe import PenalisedProbe, Probe, best_alpha
from neuroprint.evaluation.subjects import known

Array = npt.NDArray[np.float64]

_INNER_FOLDS = 5


class Projection(Protocol):
    """A map of embeddings in scikit-learn's terms.

    One with ``supervised = True`` is fitted to the centers as well. One with ``transductive = True`` has a
    ``fit_transform`` in the place of both methods: it lays out the cases it is given and cannot place a new one. One with
    ``drawn_once = True`` is too slow to be fitted again for every further draw of the folds.
    """

    def fit(self, X: Array, y: Array | None = None, /) -> object:
        """Fit on (n, d) embeddings, and (n, 3) centers in mm if supervised."""

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


MakeProjection = Callable[[], Projection]
MakeProbe = Callable[[], Probe]


@dataclass(frozen=True)
class Fitted:
    """Projection and probe of one fold.

    Attributes:
        projection: None where embeddings are used as they are.
        probe: None where there was nothing to fit it on.
        alpha: The penalty that was chosen, or given, together with a supervised projection; None elsewhere.
    """

    projection: Projection | None
    probe: Probe | None
    alpha: float | None = None

    def project(self, embeddings: Array) -> Array:
        """(m, d) -> (m, components)."""
        return transformed(self.projection, embeddings)

    def predict(self, projected: Array) -> Array:
        """(m, components) -> (m, 3) centers in mm, NaN without a probe."""
        if self.probe is None:
            return np.full((len(projected), 3), np.nan)
        return np.asarray(self.probe.predict(projected), dtype=np.float64)


def fit(
    embeddings: Array,
    centers_mm: Array,
    patients: Sequence[str],
    make_projection: MakeProjection | None,
    make_probe: MakeProbe,
    seed: int,
    alpha: float | None = None,
) -> Fitted:
    """Fit projection and probe on the gallery side.

    Cases without a center (NaN) take part in an unsupervised projection only. A supervised projection has seen the
    centers of the cases it projects, so that the probe cannot judge its penalty on those: the penalty is then chosen
    by an inner cross-validation, by patient, which refits projection and probe together.

    Args:
        embeddings: (n, d).
        centers_mm: (n, 3).
        patients: (n,).
        make_projection: A new, unfitted projection at each call.
        make_probe: A new, unfitted probe at each call.
        seed: Of the inner folds.
        alpha: The penalty behind a supervised projection, instead of choosing one.
    """
    located = known(centers_mm)
    placed, centers = embeddings[located], centers_mm[located]
    names = [patient for patient, has_center in zip(patients, located, strict=True) if has_center]
    supervised = make_projection is not None and is_supervised(make_projection())
    if supervised:
        projection = fit_projection(make_projection, placed, centers, names)
    else:
        projection = fit_projection(make_projection, embeddings, None)
    if not len(placed):
        return Fitted(projection, None)
    probe = make_probe()
    if supervised and isinstance(probe, PenalisedProbe) and len(set(names)) > 1:
        if alpha is None:
            alpha = _inner_alpha(placed, centers, names, make_projection, probe, seed)
        probe.fit_at(transformed(projection, placed), centers, alpha)
        return Fitted(projection, probe, alpha)
    number = {patient: place for place, patient in enumerate(sorted(set(names)))}
    probe.fit(transformed(projection, placed), centers, np.array([number[name] for name in names]))
    return Fitted(projection, probe)


def is_supervised(projection: Projection) -> bool:
    """Whether a projection is to be fitted to the centers as well."""
    return bool(getattr(projection, "supervised", False))


def is_drawn_once(projection: Projection) -> bool:
    """Whether a projection is too slow to be fitted for more than one draw of the folds."""
    return bool(getattr(projection, "drawn_once", False))


def lay_out_together(make_projection: MakeProjection, gallery: Array, queries: Array) -> tuple[Array, Array]:
    """Gallery and queries in one layout of a transductive projection, which sees both, but no center and no fold.

    Args:
        make_projection: Gives a new projection.
        gallery: (n, d).
        queries: (m, d).

    Returns:
        (n, components) and (m, components).
    """
    layout: Any = make_projection()
    placed = np.asarray(layout.fit_transform(np.concatenate([gallery, queries])), dtype=np.float64)
    return placed[: len(gallery)], placed[len(gallery) :]


def is_transductive(projection: Projection) -> bool:
    """Whether a projection only lays out what it is given."""
    return bool(getattr(projection, "transductive", False))


def fit_projection(
    make_projection: MakeProjection | None,
    embeddings: Array,
    centers: Array | None,
    patients: Sequence[str] | None = None,
) -> Projection | None:
    """A projection fitted on (n, d) embeddings, with (n, 3) centers if they are given, and (n,) patients if it asks."""
    if make_projection is None:
        return None
    projection: Any = make_projection()
    if centers is None:
        projection.fit(embeddings)
    elif getattr(projection, "by_patient", False):
        projection.fit(embeddings, centers, patients)
    else:
        projection.fit(embeddings, centers)
    return cast(Projection, projection)


def transformed(projection: Projection | None, embeddings: Array) -> Array:
    """(m, d) -> (m, components), or the embeddings themselves where there is no projection."""
    if projection is None:
        return embeddings
    return np.asarray(projection.transform(embeddings), dtype=np.float64)


def _inner_alpha(
    embeddings: Array,
    centers: Array,
    patients: Sequence[str],
    make_projection: MakeProjection | None,
    probe: PenalisedProbe,
    seed: int,
) -> float:
    fold = assign_folds(patients, min(_INNER_FOLDS, len(set(patients))), seed)
    sse = np.zeros((len(probe.alphas), centers.shape[1]))
    for held in range(int(fold.max()) + 1):
        inside, outside = fold != held, fold == held
        names = [patient for patient, kept in zip(patients, inside, strict=True) if kept]
        projection = fit_projection(make_projection, embeddings[inside], centers[inside], names)
        predicted = probe.predict_path(
            transformed(projection, embeddings[inside]), centers[inside], transformed(projection, embeddings[outside])
        )
        sse += np.square(predicted - centers[outside]).sum(axis=1)
    return best_alpha(probe.alphas, sse, centers)

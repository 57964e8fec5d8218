"""A fitted projection as plain arrays: a list of steps that anyone can apply without the library that fitted it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroprint.bundle.format import mapped, save_arrays
from neuroprint.errors import NeuroprintError
from neuroprint.evaluation.arrays import Array

_NORMS = {
    "l1": lambda X: np.abs(X).sum(axis=1),
    "l2": lambda X: np.sqrt(np.square(X).sum(axis=1)),
    "max": lambda X: np.abs(X).max(axis=1),
}


_HOMES = ("sklearn", "neuroprint")
_KINDS = ("center", "scale", "linear", *_NORMS)


@dataclass(frozen=True, eq=False)
class Step:
    """One step of a projection.

    Attributes:
        kind: ``center`` subtracts a vector, ``scale`` multiplies by one, ``linear`` multiplies by a matrix from the
            right, and ``l1``, ``l2`` and ``max`` divide each row by that norm of it (a row of zeros stays).
        array: ``(d,)`` of center and scale, ``(d, components)`` of linear, None of the norms.
    """

    kind: str
    array: Array | None = None

    def __call__(self, X: Array) -> Array:
        """(m, d) -> (m, components)."""
        if self.kind in _NORMS:
            lengths = _NORMS[self.kind](X)
            return X / np.where(lengths > 0, lengths, 1.0)[:, None]
        if self.array is None:
            raise NeuroprintError(f"a projection's step {self.kind} has no numbers")
        if self.kind == "linear":
            return X @ self.array
        return X - self.array if self.kind == "center" else X * self.array


def apply_steps(steps: Sequence[Step], embeddings: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float32]:
    """Project embeddings: (m, d) of any float type -> (m, components) float32, computed in double precision.

    Raises:
        NeuroprintError: The embeddings have another size than the projection was fitted to.
    """
    X = np.asarray(embeddings, dtype=np.float64)
    for step in steps:
        if step.array is not None and step.array.shape[0] != X.shape[1]:
            raise NeuroprintError(f"the projection takes {step.array.shape[0]} numbers a case; there are {X.shape[1]}")
        X = step(X)
    return X.astype(np.float32)


def steps_of(projection: Any) -> list[Step]:
    """The steps of a fitted projection; None is the identity.

    A projection of your own that is affine says so by a method ``as_steps``, which gives its steps as pairs of a kind and an
    array, as in :class:`Step`: ``[("center", mean), ("linear", components.T)]``.

    Raises:
        NeuroprintError: It cannot be written as steps; the message says why.
    """
    if projection is None:
        return []
    if problem := why_not(projection):
        raise NeuroprintError(problem)
    return [step for part in _parts(projection, fitted=True) for step in _steps_of_part(part)]


def why_not(projection: Any) -> str | None:
    """Why a projection, fitted or not, cannot be written as plain arrays, in one line; None where it can."""
    for part in _parts(projection):
        name = _name(part)
        if getattr(part, "transductive", False):
            return f"{name} is a picture of the cases it was given: it cannot place a new one"
        if name == "UMAP":
            return "UMAP places a new case by a search among the fitted ones, not by numbers that a bundle could hold"
        if hasattr(part, "as_steps"):
            continue
        if name not in _PLAIN or type(part).__module__.partition(".")[0] not in _HOMES:
            return (
                f"{name} is no projection that a bundle can hold: those are {', '.join(sorted(_PLAIN))}, and "
                "those with a method as_steps"
            )
        if name == "FunctionTransformer" and part.func is not None:
            return "a FunctionTransformer with a function of its own cannot be written as plain arrays"
    return None


def save_steps(folder: Path, steps: Sequence[Step]) -> None:
    """Write ``projection.json`` and ``projection.safetensors``."""
    kinds = [{"kind": step.kind} for step in steps]
    (folder / "projection.json").write_text(json.dumps({"steps": kinds}, indent=2) + "\n", encoding="utf-8")
    arrays = {str(place): step.array for place, step in enumerate(steps) if step.array is not None}
    save_arrays(folder / "projection.safetensors", arrays)


def load_steps(folder: Path) -> list[Step]:
    """Read what :func:`save_steps` wrote.

    Raises:
        NeuroprintError: The files are damaged, or of a kind that this version does not know.
    """
    path = folder / "projection.json"
    try:
        kinds = [str(step["kind"]) for step in json.loads(path.read_text(encoding="utf-8"))["steps"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NeuroprintError(f"{path}: cannot be read ({error})") from error
    unknown = sorted(set(kinds) - set(_KINDS))
    if unknown:
        raise NeuroprintError(f"{path}: steps that this neuroprint does not know: {', '.join(unknown)}")
    arrays = mapped(folder / "projection.safetensors")
    return [Step(kind, None if kind in _NORMS else _wide(arrays.get(str(n)))) for n, kind in enumerate(kinds)]


def _parts(projection: Any, fitted: bool = False) -> list[Any]:
    """A chain's projections one by one, its fitted copies if asked; any other by itself."""
    if projection is None:
        return []
    if _name(projection) == "Pipeline":
        return [part for _, step in projection.steps for part in _parts(step, fitted)]
    if _name(projection) != "Chain":
        return [projection]
    steps = projection.fitted_ if fitted else projection.steps
    return [part for step in steps for part in _parts(step, fitted)]


def _steps_of_part(part: Any) -> list[Step]:
    if not hasattr(part, "as_steps"):
        return list(_PLAIN[_name(part)](part))
    steps = []
    for kind, array in part.as_steps():
        if kind not in _KINDS:
            raise NeuroprintError(f"{_name(part)}.as_steps gives a step {kind!r}: choose among {', '.join(_KINDS)}")
        steps.append(Step(kind, None if array is None else np.ascontiguousarray(array, dtype=np.float64)))
    return steps


def _name(projection: Any) -> str:
    return type(projection).__name__


def _wide(array: npt.NDArray[Any] | None) -> Array | None:
    return None if array is None else np.asarray(array, dtype=np.float64)


def _center(vector: Any) -> Step:
    return Step("center", np.asarray(vector, dtype=np.float64).ravel())


def _scale(vector: Any) -> Step:
    return Step("scale", np.asarray(vector, dtype=np.float64).ravel())


def _linear(matrix: Any) -> Step:
    return Step("linear", np.ascontiguousarray(matrix, dtype=np.float64))


def _standard_scaler(model: Any) -> list[Step]:
    steps = [_center(model.mean_)] if model.with_mean else []
    return [*steps, _scale(1.0 / model.scale_)] if model.with_std else steps


def _pca(model: Any) -> list[Step]:
    matrix = np.asarray(model.components_, dtype=np.float64).T
    if model.whiten:
        least = np.finfo(np.float64).eps  # scikit-learn's own floor
        matrix = matrix / np.maximum(np.sqrt(model.explained_variance_), least)
    return [_center(model.mean_), _linear(matrix)]


def _ica(model: Any) -> list[Step]:
    return [*([_center(model.mean_)] if model.whiten else []), _linear(model.components_.T)]


def _pls(model: Any) -> list[Step]:
    return [_center(model._x_mean), _scale(1.0 / model._x_std), _linear(model.x_rotations_)]


def _target_ridge(model: Any) -> list[Step]:
    probe = model.model_
    return [_linear(probe.coef), _center(model.mean_ - probe.intercept)]


def _lda(model: Any) -> list[Step]:
    fitted = model.model_
    directions = _linear(fitted.scalings_[:, : fitted._max_components])
    return [_center(fitted.xbar_), directions] if fitted.solver == "svd" else [directions]


def _nca(model: Any) -> list[Step]:
    return [_linear(model.model_.components_.T)]


_PLAIN = {
    "FunctionTransformer": lambda model: [],
    "Identity": lambda model: [],
    "Normalizer": lambda model: [Step(model.norm)],
    "StandardScaler": _standard_scaler,
    "PCA": _pca,
    "FastICA": _ica,
    "GaussianRandomProjection": lambda model: [_linear(model.components_.T)],
    "PLS": _pls,
    "TargetRidge": _target_ridge,
    "TargetLDA": _lda,
    "TargetNCA": _nca,
}

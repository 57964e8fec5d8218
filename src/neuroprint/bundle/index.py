"""Exact search: every gallery vector is looked at once, at the speed of memory, and equals are in the order of their ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroprint.bundle.projection import apply_steps, steps_of
from neuroprint.errors import NeuroprintError
from neuroprint.evaluation.folds import assign_folds
from neuroprint.evaluation.metric import known
from neuroprint.evaluation.projection import clipped, fit_projection, is_supervised
from neuroprint.evaluation.ranking import rank
from neuroprint.evaluation.similarity import similarity_named
from neuroprint.evaluation.vote import LISTED

Floats32 = npt.NDArray[np.float32]

_QUANTILES = 1001
_MOST_PAIRS = 2000  # cases of which all pairs are compared: beyond, a sample
_BLOCK = 256


@dataclass(frozen=True, eq=False)
class Search:
    """A gallery to be searched.

    Every similarity is first computed in float32, in one pass over the vectors. What comes within the rounding of the k-th
    best is then computed again exactly (see :mod:`neuroprint.evaluation.similarity`), so that the answer is that of the
    evaluation, ties included.

    Attributes:
        vectors: (n, d) float32, may be mapped.
        lengths: (n,) float32, Euclidean.
        ids: (n,) case ids.
        similarity: ``cosine``, ``dot`` or ``euclidean``.
    """

    vectors: Floats32
    lengths: Floats32
    ids: Sequence[str]
    similarity: str

    def __call__(self, query: npt.NDArray[np.floating[Any]], k: int) -> tuple[list[int], npt.NDArray[np.float64]]:
        """Rows of the k most similar cases, best first, and their similarities, (k,) float64.

        Raises:
            NeuroprintError: The query has another size than the gallery, or k is less than 1.
        """
        wanted = np.asarray(query, dtype=np.float32)
        if wanted.shape != self.vectors.shape[1:]:
            raise NeuroprintError(f"the query has {wanted.size} numbers, the gallery {self.vectors.shape[1]}")
        if k < 1:
            raise NeuroprintError(f"k={k}: ask for one case at least")
        chosen = self._candidates(wanted, min(k, len(self.ids)))
        close = similarity_named(self.similarity)(wanted[None], self.vectors[chosen])
        order = rank(close, [self.ids[row] for row in chosen])[0][:k]
        return [int(chosen[place]) for place in order], close[0, order]

    def _candidates(self, query: Floats32, k: int) -> npt.NDArray[np.int64]:
        """Rows that may be among the k best, for all that float32 rounds."""
        if k == len(self.ids):
            return np.arange(k)
        products: Floats32 = self.vectors @ query
        length = float(np.linalg.norm(query.astype(np.float64)))
        rounding = 2.0 * (query.size + 4) * float(np.finfo(np.float32).eps)
        if self.similarity == "cosine":
            scores, margin = products / _or_one(self.lengths), rounding * length
        elif self.similarity == "dot":
            scores, margin = products, rounding * length * float(self.lengths.max())
        else:  # of |q - g|^2 the part that depends on g
            scores = 2.0 * products - np.square(self.lengths)
            margin = rounding * (length + float(self.lengths.max())) ** 2
        least = np.partition(scores, len(scores) - k)[len(scores) - k]
        return np.flatnonzero(scores >= least - 2.0 * margin)


def lengths_of(vectors: Floats32) -> Floats32:
    """(n, d) -> (n,) Euclidean lengths."""
    squares = np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)
    return np.asarray(np.sqrt(squares), dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Neighborhoods:
    """The gallery's own cases as a query would find them: by a projection that was fitted without them.

    Attributes:
        rows: (n, K) int64, the nearest cases of other patients, best first, equals by row; -1 where the list ends.
        similarities: (n, K) float32, how similar they are; -inf where the list has ended.
    """

    rows: npt.NDArray[np.int64]
    similarities: Floats32


def leave_fold_out(
    embeddings: Floats32,
    targets: npt.NDArray[np.float64],
    patients: Sequence[str],
    projection: Any | None,
    *,
    similarity: str,
    folds: int,
    seed: int,
) -> tuple[Neighborhoods, Floats32]:
    """What similarities are usual between a scan that is new and the gallery.

    Fold by fold, by patient, the projection is fitted anew on the other folds, and the fold's cases are put to those.
    Similarities of cases that the projection was fitted to would be too high: those to come are of cases that it was not.

    Args:
        embeddings: (n, D), before projection.
        targets: (n, targets), which supervised projections are fitted to; NaN where not known.
        patients: (n,).
        projection: Unfitted; None uses embeddings as they are.
        similarity: ``cosine``, ``dot`` or ``euclidean``.
        folds: How many; fewer where there are fewer patients.
        seed: Of the folds.

    Returns:
        The neighborhoods, of at most 200 cases each, and the quantiles 0, 0.001 ... 1 of the similarity of the cases, or
        of 2000 that are evenly spread, to all cases of other folds, (1001,) float32. Without a neighbor, and of no
        length, where all cases are of one patient.

    Raises:
        NeuroprintError: The projection cannot be fitted without one of the folds.
    """
    n, distinct = len(patients), len(set(patients))
    found = _no_neighbors(n, n)
    if distinct < 2:
        return found, np.empty(0, dtype=np.float32)
    fold = assign_folds(patients, min(folds, distinct), seed)
    sampled = np.unique(np.linspace(0, n - 1, min(_MOST_PAIRS, n)).astype(int))
    usual = []
    for held in np.unique(fold):
        inside, queries = np.flatnonzero(fold != held), np.flatnonzero(fold == held)
        vectors = _project_without(embeddings, targets, patients, inside, projection)
        for block in _blocks(queries):
            close = similarity_named(similarity)(vectors[block], vectors[inside])
            _enlist(found, block, inside, close)
            usual.append(close[np.isin(block, sampled)].astype(np.float32).ravel())
    return found, np.quantile(np.concatenate(usual), np.linspace(0, 1, _QUANTILES)).astype(np.float32)


def neighborhoods_of(rows: Sequence[int], vectors: Floats32, patients: Sequence[str], similarity: str) -> Neighborhoods:
    """Neighborhoods, among all cases of other patients, of cases that the projection was not fitted to.

    Args:
        rows: Those cases. The others' lists, of n in all, are empty.
        vectors: (n, d), projected.
        patients: (n,).
        similarity: ``cosine``, ``dot`` or ``euclidean``.
    """
    found = _no_neighbors(len(patients), len(patients))
    names = np.unique(np.asarray(patients, dtype=str), return_inverse=True)[1]
    for row in rows:
        others = np.flatnonzero(names != names[row])
        _enlist(found, np.array([row]), others, similarity_named(similarity)(vectors[[row]], vectors[others]))
    return found


def _project_without(
    embeddings: Floats32,
    targets: npt.NDArray[np.float64],
    patients: Sequence[str],
    inside: npt.NDArray[np.int64],
    projection: Any | None,
) -> Floats32:
    """All embeddings by a projection that is fitted on some of them; a supervised one on those with a target."""
    if projection is None:
        return np.asarray(embeddings, dtype=np.float32)
    supervised = is_supervised(projection)
    rows = inside[known(targets[inside])] if supervised else inside
    if not len(rows):
        raise NeuroprintError("the projection is fitted to the task's targets, and without a fold no case has one")
    wide = np.asarray(embeddings[rows], dtype=np.float64)
    try:
        fitted = fit_projection(
            clipped(projection, min(wide.shape)),
            wide,
            targets[rows] if supervised else None,
            [patients[row] for row in rows],
        )
    except ValueError as error:
        raise NeuroprintError(
            f"the projection cannot be fitted to {len(rows)} cases of the gallery: {error}"
        ) from error
    return apply_steps(steps_of(fitted), embeddings)


def _no_neighbors(n: int, most: int) -> Neighborhoods:
    shape = n, min(LISTED, most)
    return Neighborhoods(np.full(shape, -1, dtype=np.int64), np.full(shape, -np.inf, dtype=np.float32))


def _blocks(rows: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
    return np.array_split(rows, max(1, len(rows) // _BLOCK))


def _enlist(
    found: Neighborhoods,
    queries: npt.NDArray[np.int64],
    others: npt.NDArray[np.int64],
    close: npt.NDArray[np.float64],
) -> None:
    """Fill in the lists of some cases from their similarities, (queries, others)."""
    order = np.argsort(-close, axis=1, kind="stable")[:, : found.rows.shape[1]]
    found.rows[queries, : order.shape[1]] = others[order]
    found.similarities[queries, : order.shape[1]] = np.take_along_axis(close, order, axis=1)


def percentiles(
    quantiles: npt.NDArray[np.float32], similarities: npt.NDArray[np.floating[Any]]
) -> npt.NDArray[np.float64]:
    """Which share, from 0 to 100, of the gallery's pairs of different folds is less similar; NaN where unknown."""
    if not len(quantiles):
        return np.full(len(similarities), np.nan)
    below = np.searchsorted(quantiles, np.asarray(similarities, dtype=np.float32), side="left")
    return np.clip(below / (len(quantiles) - 1) * 100.0, 0.0, 100.0)


def _or_one(lengths: Floats32) -> Floats32:
    return np.where(lengths > 0, lengths, np.float32(1.0))

"""Whether a scan is unlike anything in a gallery: a test against the gallery's own patients.

The scan and the gallery's patients are put into one row, and each is asked how far it lies from all of them, by what its
images look like (:mod:`neuroprint.data.appearance`) and by where its embedding lies. The scan counts as unlike the gallery
if at most 5 % of that row, itself among them, lie as far out as it does (conformal prediction; Vovk, Gammerman and Shafer,
*Algorithmic Learning in a Random World*, 2005).

What the 5 % rest on: a new patient is drawn as those of the gallery were, and nobody has looked at which is which. The
distance treats all alike, the new one included, so that each is the farthest equally often, and at most 5 % of such
patients are flagged: exactly, with no assumption on any distribution. It takes the embedding before the projection, as
the projection was fitted to the gallery and not to the scan. It does not hold for patients that were chosen otherwise
than the gallery's, nor where the network was trained on the gallery's scans and not on new ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroprint.data.appearance import FACTS, series_of
from neuroprint.evaluation.folds import uniform
from neuroprint.evaluation.similarity import cosine

ALARMS = 0.05
"""Share of new patients of the gallery's kind that may be flagged."""
LEAST_PATIENTS = 20
"""With fewer nothing is said: the farthest of 20 is one of 20, and the scan itself would be the 5 %."""

_MOST_PATIENTS = 500
_MOST_REASONS = 3
_EMBEDDING = {
    "embedding/distance": "distance of the embedding from the gallery's mean",
    "embedding/angle": "angle to the nearest embedding, degrees",
    "embedding/length": "length of the embedding",
}

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Reason:
    """A number of a scan that lies outside the gallery's range.

    Attributes:
        fact: ``SERIES/FACT``, ``SERIES|SERIES/correlation`` or ``embedding/FACT``.
        value: The scan's.
        low: The gallery's smallest.
        high: The gallery's largest.
    """

    fact: str
    value: float
    low: float
    high: float

    def __str__(self) -> str:
        kind = self.fact.rpartition("/")[2]
        if self.fact in _EMBEDDING:
            words = _EMBEDDING[self.fact]
        elif kind in FACTS:
            words = f"{series_of(self.fact)[0]}, {FACTS[kind]}"
        else:
            words = f"{kind} of {' and '.join(series_of(self.fact))}"
        digits = _digits(self.low, self.high, self.value)
        low, high = (f"{end:,.{digits}f}" for end in (self.low, self.high))
        return f"{words}: {self.value:,.{digits}f}, in the gallery {low if low == high else f'{low} to {high}'}"


@dataclass(frozen=True)
class Novelty:
    """How a scan lies to a gallery.

    Attributes:
        p_value: Share of the gallery's patients and the scan that lie as far out as the scan does; None where the gallery
            has too few patients, or holds the scan itself.
        patients: How many of the gallery's patients it was compared with.
        reasons: At most three numbers of the scan outside the gallery's range, the farthest first; there may be none.
    """

    p_value: float | None
    patients: int
    reasons: tuple[Reason, ...] = ()

    @property
    def is_unlike(self) -> bool:
        """Whether the scan is unlike anything in the gallery."""
        return self.p_value is not None and self.p_value <= ALARMS

    @property
    def because(self) -> str:
        """Why, in a line; empty where it is not unlike the gallery."""
        if not self.is_unlike:
            return ""
        return "; ".join(map(str, self.reasons)) or "no number by itself, but all together"


def novelty(
    facts: Sequence[str],
    appearances: Numbers,
    embeddings: npt.NDArray[np.floating[Any]],
    patients: Sequence[str],
    appearance: Numbers,
    embedding: npt.NDArray[np.floating[Any]],
) -> Novelty:
    """Compare a scan with a gallery.

    The numbers are those of the images and three of the embedding: its distance from the mean of all, the angle to the
    nearest one of another patient, and its length. The distance is Mahalanobis's, with the covariance shrunk as Ledoit
    and Wolf (2004) say, so that more numbers than patients do no harm. A patient of several visits weighs as much as one
    of one visit, and lies as far out as the farthest of them. Of more than 500 patients, 500 stand for all; a hash of the
    names draws them.

    Args:
        facts: Names of the images' numbers, F.
        appearances: (n, F) of the gallery.
        embeddings: (n, D) before projection.
        patients: (n,).
        appearance: (F,) of the scan.
        embedding: (D,) of the scan.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> gallery, patients = rng.normal(size=(40, 3)), [f"patient-{row}" for row in range(40)]
        >>> embeddings = rng.normal(size=(40, 8))
        >>> names = ["t1/volume", "t1/rim", "t1/grain"]
        >>> found = novelty(names, gallery, embeddings, patients, np.array([0.1, 9.0, 0.2]), embeddings[0] + 0.1)
        >>> found.is_unlike, found.because
        (True, 't1, intensity within 6 mm of the surface: 9.00, in the gallery -1.26 to 2.00')
    """
    rows = _drawn(patients)
    names = [patients[row] for row in rows]
    count = len(set(names))
    if count < LEAST_PATIENTS:
        return Novelty(None, count)
    group = np.append(np.unique(names, return_inverse=True)[1], count)  # the scan is a patient of its own
    weights = 1.0 / np.bincount(group)[group]
    weights /= weights.sum()
    vectors = np.vstack([embeddings[rows], embedding]).astype(np.float64)
    numbers = np.column_stack([np.vstack([appearances[rows], appearance]), *_of_embeddings(vectors, weights, group)])
    distance = _distance(numbers, weights)
    farthest = np.full(count + 1, -np.inf)
    np.maximum.at(farthest, group, distance)
    p_value = float(np.mean(farthest >= farthest[-1] * (1 - 1e-9)))
    named = [*facts, *_EMBEDDING]
    return Novelty(p_value, count, _reasons(named, numbers, weights))


def _drawn(patients: Sequence[str]) -> npt.NDArray[np.int64]:
    """The rows of at most 500 patients."""
    distinct = sorted(set(patients), key=lambda patient: (uniform(f"novelty\0{patient}"), patient))[:_MOST_PATIENTS]
    chosen = set(distinct)
    return np.array([row for row, patient in enumerate(patients) if patient in chosen], dtype=np.int64)


def _of_embeddings(
    vectors: Numbers, weights: Numbers, group: npt.NDArray[np.int64]
) -> tuple[Numbers, Numbers, Numbers]:
    close = np.where(group[:, None] == group, -1.0, cosine(vectors, vectors))
    angle = np.degrees(np.arccos(close.max(axis=1)))
    return _distance(vectors, weights), angle, np.asarray(np.linalg.norm(vectors, axis=1))


def _distance(numbers: Numbers, weights: Numbers) -> Numbers:
    """(n,) Mahalanobis distance of rows, (n, d), from their mean. What is the same in all rows does not count."""
    from sklearn.covariance import ledoit_wolf_shrinkage

    numbers = numbers[:, np.ptp(numbers, axis=0) > 0]
    if not numbers.size:
        return np.zeros(len(numbers))
    from_mean = numbers - weights @ numbers
    scaled = from_mean / np.sqrt(weights @ np.square(from_mean))
    weighted = scaled * np.sqrt(weights * len(weights))[:, None]
    shrinkage = float(ledoit_wolf_shrinkage(weighted, assume_centered=True))
    ridge = max(shrinkage, float(np.finfo(float).eps)) * float(np.square(weighted).mean())
    weighted *= np.sqrt((1.0 - shrinkage) / len(weights))
    # The covariance is ridge I + W'W; where it is larger than WW', its inverse is had from that (Woodbury).
    if numbers.shape[1] <= len(numbers):
        covariance = weighted.T @ weighted + ridge * np.eye(numbers.shape[1])
        squares = np.einsum("ij,ji->i", scaled, np.linalg.solve(covariance, scaled.T))
    else:
        cross = weighted @ scaled.T
        inner = weighted @ weighted.T + ridge * np.eye(len(weights))
        explained = np.einsum("ji,ji->i", cross, np.linalg.solve(inner, cross))
        squares = (np.square(scaled).sum(axis=1) - explained) / ridge
    return np.asarray(np.sqrt(np.maximum(squares, 0.0)))


def _reasons(names: Sequence[str], numbers: Numbers, weights: Numbers) -> tuple[Reason, ...]:
    """Of each kind of number the series that lies farthest outside the gallery's range, in its standard deviations."""
    gallery, new = numbers[:-1], numbers[-1]
    low, high = gallery.min(axis=0), gallery.max(axis=0)
    mean = np.average(gallery, axis=0, weights=weights[:-1])
    deviation = np.sqrt(np.average(np.square(gallery - mean), axis=0, weights=weights[:-1]))
    away = np.abs(new - mean) / np.where(deviation > 0, deviation, np.finfo(np.float32).tiny)
    found: dict[str, Reason] = {}
    for place in np.argsort(-away, kind="stable"):
        if new[place] < low[place] or new[place] > high[place]:
            name, values = names[place], (float(end[place]) for end in (new, low, high))
            found.setdefault(name.rpartition("/")[2], Reason(name, *values))
    return tuple(found.values())[:_MOST_REASONS]


def _digits(*values: float) -> int:
    """Decimals that show three digits of the largest, and at most three of them."""
    largest = max(map(abs, values))
    return 3 if largest == 0 else int(np.clip(2 - np.floor(np.log10(largest)), 0, 3))

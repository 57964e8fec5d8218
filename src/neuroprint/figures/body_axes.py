"""The patient's three axes as figures show them: names, ends and colors, in world millimeters (RAS+)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class BodyAxis:
    """One axis of the patient.

    Attributes:
        letter: ``x``, ``y`` or ``z``.
        name: What it runs along, lower end first.
        low: The side of small values.
        high: The side of large values.
        color_map: Diverging for left-right, which has a middle that means something; sequential for the others.
    """

    letter: str
    name: str
    low: str
    high: str
    color_map: str

    @property
    def label(self) -> str:
        """Name and unit, as on an axis."""
        return f"{self.name} {self.letter} (mm)"


BODY_AXES: Final = (
    BodyAxis("x", "left-right", "left", "right", "coolwarm"),
    BodyAxis("y", "back-front", "back", "front", "viridis"),
    BodyAxis("z", "down-up", "down", "up", "viridis"),
)


def color_limits(values_mm: Floats, axis: BodyAxis, midline_mm: float) -> tuple[float, float]:
    """Range of an axis's colors, mm: symmetric about the midline for left-right, as found for the others.

    Values that are not finite are ignored; where nothing varies the range is widened, so that it is never empty.
    """
    known = values_mm[np.isfinite(values_mm)]
    if not known.size:
        return midline_mm - 1.0, midline_mm + 1.0
    if axis.letter == "x":
        reach = max(float(np.abs(known - midline_mm).max()), 1.0)
        return midline_mm - reach, midline_mm + reach
    low, high = float(known.min()), float(known.max())
    return (low, high) if high > low else (low - 1.0, high + 1.0)


def as_centers(centers_mm: Floats) -> NDArray[np.float64]:
    """The centers as an (n, 3) array; a row that is not finite throughout is a case without a center."""
    centers = np.asarray(centers_mm, dtype=np.float64).reshape(-1, 3).copy()
    centers[~np.isfinite(centers).all(axis=1)] = np.nan
    return centers

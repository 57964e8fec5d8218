"""Turning similarities into rankings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Sequence


def rank(similarity: npt.NDArray[np.floating], ids: Sequence[str]) -> npt.NDArray[np.int64]:
    """Order the gallery for each query: most similar first, equals by id ascending.

    Args:
        similarity: (m, n), finite.
        ids: (n,) ids of the gallery's cases.

    Returns:
        (m, n) columns of ``similarity``, best first.

    Raises:
        ValueError: A similarity is NaN, which has no place in an order.
    """
    if np.isnan(similarity).any():
        raise ValueError("similarity holds NaN: it cannot be ranked")
    by_id = np.array(sorted(range(len(ids)), key=ids.__getitem__), dtype=np.int64)
    order: npt.NDArray[np.int64] = by_id[np.argsort(-similarity[:, by_id], axis=1, kind="stable")]
    return order

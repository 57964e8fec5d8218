"""How the vectors of several encoders become one fingerprint."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def join(vectors: Sequence[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    """One case's vectors, one after the other, each divided by its own Euclidean norm where there are several.

    So every encoder has the same say, whatever its scale and size: the cosine of two joined vectors is the mean of their
    parts' cosines. It looks at one case only: nothing is fitted. A vector of zeros stays zero.

    Args:
        vectors: ``(d1,)``, ``(d2,)`` ...; a single one is returned as it is.

    Returns:
        ``(d1 + d2 + ...,)``
    """
    if len(vectors) == 1:
        return vectors[0]
    return np.concatenate([vector / (np.linalg.norm(vector) or 1) for vector in vectors]).astype(np.float32)

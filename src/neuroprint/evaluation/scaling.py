"""Standardizing embeddings on the fit side, with a floor under the scale."""

from __future__ import annotations

import numpy as np

from neuroprint.evaluation.arrays import Array

# A column that hardly varies on the fit side, such as a voxel at the brain's edge, may vary a thousandfold more in a query.
# In units of its own deviation it would drown all other columns.
_LEAST_SCALE = 0.1


def standardization(X: Array) -> tuple[Array, Array]:
    """The mean of each column and 1 over its scale, the scale being its standard deviation.

    No scale is less than a tenth of the columns' root mean square, and a column that is constant has weight 0.

    Args:
        X: (n, d).

    Returns:
        (d,) means and (d,) weights.
    """
    mean = X.mean(axis=0)
    scale = np.sqrt(np.square(X - mean).mean(axis=0))
    # A constant column's mean rounds: its deviation from it is no feature to be blown up to unit size.
    varies = scale > 10 * len(X) * np.finfo(np.float64).eps * np.abs(mean)
    least = _LEAST_SCALE * np.sqrt(np.square(scale).mean())
    return mean, np.where(varies, 1.0 / np.where(varies, np.maximum(scale, least), 1.0), 0.0)

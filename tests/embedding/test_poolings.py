"""Each pooling against NumPy."""

import numpy as np
import pytest
import torch

from neuroprint.embedding import poolings

SHAPES = [(3, 4, 5, 6), (1, 1, 1, 1), (7, 2, 1, 3)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("pooling", "reference"), [(poolings.mean, np.mean), (poolings.max, np.max)])
def test_poolings_over_all_cells(shape, pooling, reference):
    features = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    brain = torch.ones(shape[1:])
    found = pooling(torch.from_numpy(features), brain).numpy()
    assert found.shape == (shape[0],)
    np.testing.assert_allclose(found, reference(features.reshape(shape[0], -1), axis=1), rtol=1e-5)

"""Inferers: windows are stitched where they belong, at every level's resolution."""

from itertools import pairwise

import pytest
import torch
from torch.nn.functional import avg_pool3d

from neuroprint.embedding.inferers import Sliding, Whole
from neuroprint.encoders.base import InputSpec, Level
from neuroprint.errors import NeuroprintError

LEVELS = (Level("fine", 1, 2), Level("coarse", 1, 8))


def local_network(batch):
    """Each cell sees its own voxels alone, so stitched windows must equal one pass."""
    return [avg_pool3d(batch, level.stride) for level in LEVELS]


@pytest.mark.parametrize("blending", ["gaussian", "constant"])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("shape", [(16, 16, 16), (40, 24, 32), (8, 48, 24)])
def test_sliding_windows_over_a_local_network_equal_one_pass(shape, overlap, blending):
    image = torch.randn(1, 1, *shape, generator=torch.Generator().manual_seed(0))
    stitched = Sliding(16, overlap, blending)(image, local_network, LEVELS)
    for found, expected in zip(stitched, Whole()(image, local_network, LEVELS), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_windows_start_between_no_two_cells():
    starts = Sliding(128, 0.25).starts(240 // 32 * 32 + 32, 32)
    assert all(start % 32 == 0 for start in starts)
    assert starts[-1] + 128 == 256
    assert all(later - earlier <= 96 for earlier, later in pairwise(starts))


def test_windows_overlap_at_least_as_asked():
    for overlap in (0.25, 0.5, 0.6):
        starts = Sliding(96, overlap).starts(320, 32)
        gaps = [later - earlier for earlier, later in pairwise(starts)]
        assert max(gaps) <= max(32, 96 * (1 - overlap))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [({"overlap": 1.0}, "overlap"), ({"overlap": -0.1}, "overlap"), ({"blending": "x"}, "blending")],
)
def test_impossible_settings_are_refused(arguments, named):
    with pytest.raises(NeuroprintError, match=named):
        Sliding(**arguments)


@pytest.mark.parametrize("window", [16, 100])
def test_a_window_that_the_network_cannot_take_is_refused(window):
    with pytest.raises(NeuroprintError, match="multiple of 32"):
        Sliding(window).check(InputSpec(("flair",), divisor=32))

"""Inferers: windows are stitched where they belong, at every level's resolution."""

import json
from dataclasses import replace
from itertools import pairwise, product
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn.functional import avg_pool3d

from neuroprint.data.volume import Volume
from neuroprint.embedding import poolings
from neuroprint.embedding.extractor import Extractor
from neuroprint.embedding.inferers import MonaiWindows, Sliding, Whole, Windows
from neuroprint.embedding.preprocessing import NetworkInput
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
    (stitched,) = Sliding(16, overlap, blending)(image, local_network, LEVELS)
    (whole,) = Whole()(image, local_network, LEVELS)
    for found, expected in zip(stitched.maps, whole.maps, strict=True):
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


@pytest.mark.parametrize("inferer", [Sliding, Windows, MonaiWindows])
@pytest.mark.parametrize("window", [0, 16, 100])
def test_a_window_that_the_network_cannot_take_is_refused(inferer, window):
    with pytest.raises(NeuroprintError, match=rf"inferer\.window={window}: must be a multiple of 32"):
        inferer(window).check(InputSpec(("flair",), divisor=32))
    inferer(64).check(InputSpec(("flair",), divisor=32))


def scan(shape, seed=0):
    """A prepared scan of two channels: noise in a part of the volume, zero elsewhere."""
    rng = np.random.default_rng(seed)
    brain = np.zeros(shape, np.float32)
    brain[2 : shape[0] - 9, 3 : shape[1] // 2, 1:] = 1
    return NetworkInput((rng.normal(size=(2, *shape)) * brain).astype(np.float32), brain)


def extractor(inferer, menu):
    levels = tuple(replace(level, channels=2) for level in LEVELS)
    encoder = SimpleNamespace(levels=levels, input=InputSpec(("flair", "t2"), divisor=8), identity={}, trained=True)
    return Extractor(encoder, ("flair", "t2"), inferer, "fp32", menu)


@pytest.mark.parametrize(("shape", "window", "overlap"), [((40, 56, 32), 16, 0.25), ((24, 48, 8), 24, 0.5)])
def test_windows_are_pooled_one_by_one_and_averaged_by_the_brain_in_each(shape, window, overlap):
    prepared = scan(shape)
    menu = {"max": poolings.max, "foreground_mean": poolings.foreground_mean}
    found = extractor(Windows(window, overlap), menu).run([prepared], local_network, "cpu")[0].vectors
    # Step by step, in NumPy: the windows at multiples of 8, their cells, each window's vector, the weighted mean.
    step = max(8, int(window * (1 - overlap)) // 8 * 8)
    starts = [[*range(0, max(size - window, 0), step), max(size - window, 0)] for size in shape]
    for level in LEVELS:
        vectors, weights = {name: [] for name in menu}, []
        for corner in product(*starts):
            place = tuple(slice(start, start + window) for start in corner)
            image, brain = prepared.image[:, *place], prepared.brain[place]
            blocks = [side for n in brain.shape for side in (n // level.stride, level.stride)]
            cells = image.reshape(2, *blocks).mean(axis=(2, 4, 6)).reshape(2, -1)
            share = brain.reshape(blocks).mean(axis=(1, 3, 5)).ravel()
            weights.append(brain.sum())
            vectors["max"].append(cells.max(axis=1))
            vectors["foreground_mean"].append((cells * share).sum(axis=1) / max(share.sum(), 1e-9))
        assert min(weights) == 0 < max(weights)  # some windows are air, and say nothing
        for name in menu:
            expected = np.average(vectors[name], axis=0, weights=weights)
            np.testing.assert_allclose(found[f"{level.name}|{name}"], expected, rtol=1e-5, atol=1e-6)


def test_windows_side_by_side_of_a_local_network_have_the_mean_of_the_whole_brain():
    prepared = scan((32, 48, 16))
    menu = {"foreground_mean": poolings.foreground_mean}
    windows = extractor(Windows(16, 0.0), menu).run([prepared], local_network, "cpu")[0].vectors
    whole = extractor(Whole(), menu).run([prepared], local_network, "cpu")[0].vectors
    for name in whole:
        np.testing.assert_allclose(windows[name], whole[name], rtol=1e-5, atol=1e-6)


def test_windows_without_any_brain_count_alike():
    prepared = NetworkInput(np.ones((2, 16, 16, 16), np.float32), np.zeros((16, 16, 16), np.float32))
    found = extractor(Windows(8, 0.0), {"mean": poolings.mean}).run([prepared], local_network, "cpu")[0].vectors
    np.testing.assert_allclose(found["coarse|mean"], 1)


def test_monais_windows_are_put_down_at_the_cell_below():
    # Windows of 16 at 0, 12 and 24: the second starts between two cells of stride 8, and lands on the first's last.
    image = torch.arange(40.0).repeat(1, 1, 16, 16, 1)
    (piece,) = MonaiWindows(16, 0.25)(image, local_network, LEVELS)
    coarse = piece.maps[1][0, 0, 0, 0]
    means = [np.arange(start, start + 8).mean() for start in (0, 8, 12, 20, 24, 32)]
    expected = [means[0], (means[1] + means[2]) / 2, means[3], means[4], means[5]]
    np.testing.assert_allclose(coarse, expected)


def test_a_scan_of_which_monai_leaves_nothing_is_refused():
    with pytest.raises(NeuroprintError, match=r"inferer.window=32: .*coarse of a scan of 3 x 32 x 32 voxels"):
        list(MonaiWindows(32)(torch.ones(1, 1, 3, 32, 32), local_network, LEVELS))


def test_monais_windows_take_the_scan_as_it_is():
    assert not MonaiWindows().padded and Sliding().padded and Windows().padded and Whole().padded
    prepared = extractor(MonaiWindows(16), {}).prepare(
        Volume(np.ones((2, 21, 17, 30), np.int16), None, np.diag([-1.0, -1, 1, 1]), ("flair", "t2")),
        np.array([(0, 21), (0, 17), (0, 30)]),
    )
    assert prepared.image.shape == (2, 21, 17, 30)


def test_every_inferer_has_an_identity_of_its_own():
    identities = [inferer.identity for inferer in (Whole(), Sliding(), Windows(), MonaiWindows(), Windows(64))]
    assert len({json.dumps(identity, sort_keys=True) for identity in identities}) == 5


def test_a_pooling_that_fails_in_one_window_loses_its_own_vector_and_no_other():
    prepared = scan((32, 48, 16))

    def fails_later(features, brain):
        seen.append(1)
        if len(seen) > 2:
            raise IndexError("no such\nchannel")
        return features.mean((1, 2, 3))

    seen = []
    menu = {"fails": fails_later, "max": poolings.max}
    (found,) = extractor(Windows(16, 0.0), menu).run([prepared], local_network, "cpu")
    (alone,) = extractor(Windows(16, 0.0), {"max": poolings.max}).run([prepared], local_network, "cpu")
    assert set(found.vectors) == {"fine|max", "coarse|max"}
    assert found.failed == dict.fromkeys(("fine|fails", "coarse|fails"), "IndexError: no such channel")
    assert len(seen) == 4, "once it has failed it is not called again"
    for name, vector in alone.vectors.items():
        np.testing.assert_array_equal(found.vectors[name], vector)

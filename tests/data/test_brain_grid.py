"""Tumors of different heads meet in one grid: exact shares of cells, whatever the voxels, the affine and the head."""

from __future__ import annotations

import numpy as np
import pytest

from neuroprint.data.brain_grid import CELLS, shares
from neuroprint.data.case_facts import CaseFacts
from neuroprint.data.facts import region_cells
from neuroprint.data.measure import measure
from neuroprint.data.volume import Volume
from neuroprint.errors import NeuroprintError

BOX = np.array([[3, 35], [4, 68], [2, 34]])


def test_a_cells_share_is_the_mean_of_its_voxels() -> None:
    mask = np.random.default_rng(0).random((40, 70, 36)) < 0.3
    found = shares(mask, BOX, np.eye(4))
    blocks = mask[3:35, 4:68, 2:34].reshape(32, 1, 32, 2, 32, 1)
    np.testing.assert_allclose(found, blocks.mean(axis=(1, 3, 5)), atol=1e-6)


def test_the_whole_box_is_full_and_nothing_is_lost_between_cells() -> None:
    box = np.array([[1, 24], [0, 50], [2, 19]])
    mask = np.random.default_rng(1).random((25, 50, 20)) < 0.1
    assert shares(np.ones_like(mask), box, np.eye(4)) == pytest.approx(1.0, abs=1e-5)
    inside = mask[1:24, 0:50, 2:19]
    assert shares(mask, box, np.eye(4)).mean() == pytest.approx(inside.mean(), rel=1e-4)


def test_the_grid_is_the_patients_whatever_the_affine() -> None:
    mask = np.zeros((40, 70, 36), bool)
    mask[5:12, 10:30, 4:20] = True
    upright = shares(mask, BOX, np.eye(4))
    assert upright[: CELLS // 2].sum() > 10 * upright[CELLS // 2 :].sum()  # on the side where x is small: the left
    flipped = np.array([[40 - 35, 40 - 3], BOX[1], BOX[2]])
    np.testing.assert_allclose(shares(mask[::-1], flipped, np.diag([-1.0, 1, 1, 1])), upright, atol=1e-6)
    turned = shares(mask.transpose(2, 0, 1), BOX[[2, 0, 1]], np.eye(4)[[1, 2, 0, 3]])
    np.testing.assert_allclose(turned, upright, atol=1e-6)


def test_heads_of_other_sizes_and_voxels_meet_in_the_same_cells() -> None:
    mask = np.zeros((40, 70, 36), bool)
    mask[5:12, 10:30, 4:20] = True
    finer = mask.repeat(2, axis=0).repeat(2, axis=1).repeat(2, axis=2)
    np.testing.assert_allclose(shares(finer, BOX * 2, np.eye(4) / 2), shares(mask, BOX, np.eye(4)), atol=1e-5)


def test_regions_are_kept_with_the_facts() -> None:
    images = np.zeros((1, 40, 70, 36), np.int16)
    images[0, 3:35, 4:68, 2:34] = 100
    label = np.zeros((40, 70, 36), np.uint8)
    label[5:12, 10:30, 4:20] = np.random.default_rng(0).choice([0, 1, 2, 4], (7, 20, 16))
    facts = measure(Volume(images, label, np.eye(4), ("flair",)), "brats")
    for region, values in {"whole_tumor": (1, 2, 4), "tumor_core": (1, 4), "enhancing": (4,)}.items():
        expected = shares(np.isin(label, values), BOX, np.eye(4)).ravel() * 255
        assert np.abs(region_cells(facts, region) - expected).max() <= 1.5 + 1e-3
    restored = CaseFacts.from_arrays(*facts.to_arrays())
    assert np.array_equal(region_cells(restored), region_cells(facts))
    assert restored.contents == facts.contents
    with pytest.raises(NeuroprintError, match="edema"):
        region_cells(facts, "edema")
    assert not region_cells(measure(Volume(images, None, np.eye(4), ("flair",)), "brats")).any()

import numpy as np
import pytest
import torch
from torch.nn.functional import avg_pool3d

from neuroprint.encoders.base import InputSpec
from neuroprint.training.regions import dice, of_like_volume, prepare_regions, regions_of, without_specks

AFFINE = np.diag([-1.0, -1.0, 1.0, 1.0])


def label_with(*values):
    label = np.zeros((8, 8, 8), np.uint8)
    for place, value in enumerate(values):
        label[place, 0, 0] = value
    return label


@pytest.mark.parametrize(("convention", "sizes"), [("brats", (3, 2, 1)), ("msd", (3, 2, 1)), ("brats2023", (3, 2, 1))])
def test_regions_overlap_whole_tumor_holds_core_holds_enhancing(convention, sizes):
    values = {"brats": (1, 2, 4), "msd": (1, 2, 3), "brats2023": (1, 2, 3)}[convention]
    whole, core, enhancing = regions_of(label_with(*values), convention)
    assert (whole.sum(), core.sum(), enhancing.sum()) == sizes
    assert not (core & ~whole).any()
    assert not (enhancing & ~core).any()


def test_a_voxel_belongs_to_a_region_if_half_of_it_does():
    label = np.zeros((8, 8, 8), np.uint8)
    label[:4] = 4
    box = np.array([(0, 8)] * 3)
    regions = prepare_regions(label, "brats", AFFINE, box, InputSpec(("flair",), spacing_mm=2.0))
    assert regions.shape == (3, 4, 4, 4)
    assert regions[0].sum() == 2 * 4 * 4


def test_regions_land_where_the_images_do():
    from neuroprint.embedding.preprocessing import prepare

    rng = np.random.default_rng(0)
    label = np.zeros((20, 24, 18), np.uint8)
    label[5:11, 8:15, 4:9] = 4
    image = np.where(label > 0, 500, 0) + rng.integers(1, 20, label.shape)
    box = np.array([(2, 20), (1, 24), (0, 17)])
    spec = InputSpec(("flair",), spacing_mm=1.5, divisor=8, orientation="RAS")
    prepared = prepare([image.astype(np.int16)], AFFINE, box, spec).image[0]
    whole = prepare_regions(label, "brats", AFFINE, box, spec)[0]
    assert prepared[whole].min() > prepared[~whole].max() - 1.5
    assert prepared[whole].mean() > 2


def test_dice_is_its_formula():
    predicted, truth = np.zeros((3, 4, 4, 4), bool), np.zeros((3, 4, 4, 4), bool)
    predicted[0, :2], truth[0, 1:3] = True, True
    predicted[1, 0] = True
    np.testing.assert_allclose(dice(predicted, truth), [2 * 16 / (32 + 32), 0.0, 1.0])


@pytest.mark.parametrize(("voxels", "left"), [(7, 0), (8, 8)])
def test_specks_of_enhancing_tumor_are_dropped_and_nothing_else(voxels, left):
    predicted = np.zeros((3, 4, 4, 4), bool)
    predicted[:, 0, :2, :] = True
    predicted[2].ravel()[voxels:] = False
    kept = without_specks(predicted, voxel_mm3=27.0)  # 7 voxels are 189 mm3
    assert kept[2].sum() == left
    assert np.array_equal(kept[:2], predicted[:2])


def test_what_is_thin_and_falls_between_voxels_keeps_its_volume():
    axis = torch.arange(16) - 7.5
    x, y, z = torch.meshgrid(axis, axis, axis, indexing="ij")
    radius = (x**2 + y**2 + z**2).sqrt()
    thread = (x == 0.5) & (y == 0.5) & (z.abs() < 4)
    between = avg_pool3d(torch.stack([radius < 7, radius < 5, thread]).float()[None], 2, stride=1)[0]
    regions = of_like_volume(between)
    assert torch.equal(regions.sum(dim=(1, 2, 3)), between.sum(dim=(1, 2, 3)).round().long())
    assert regions[2].sum() == 8 and not (between[2] >= 0.5).any(), "a threshold would lose it"
    assert not (regions[2] & ~regions[1]).any() and not (regions[1] & ~regions[0]).any()


def test_a_region_that_is_not_there_stays_away():
    shares = torch.zeros(3, 4, 4, 4)
    shares[0, 1, 1, 1] = 1
    assert [int(region.sum()) for region in of_like_volume(shares)] == [1, 0, 0]

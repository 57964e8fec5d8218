import numpy as np
import pytest

from neuroprint.encoders.base import InputSpec
from neuroprint.training.regions import dice, prepare_regions, regions_of

AFFINE = np.diag([-1.0, -1.0, 1.0, 1.0])


def label_with(*values):
    label = np.zeros((8, 8, 8), np.uint8)
    for place, value in enumerate(values):
        label[place, 0, 0] = value
    return label


@pytest.mark.parametrize(("convention", "sizes"), [("brats", (3, 2, 1)), ("msd", (3, 2, 1)), ("brats2023", (3, 2, 1))])
def test_regions_overlap_whole_tumour_holds_core_holds_enhancing(convention, sizes):
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

"""Positions as they are scored: what the affine says, or what SciPy says of a label stored from left, back and below."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from neuroprint.data.positions import midline, position
from scipy.ndimage import center_of_mass

from neuroprint.data.facts import Target, brain_center_mm, center_mm, is_right, measure
from neuroprint.data.volume import Volume

SHAPE = (20, 24, 18)
ARTICLE = Target("whole_tumor", "label", "voxel")


def canonical() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images and a label on a grid that runs from left to right, back to front and upwards."""
    images = np.zeros((2, *SHAPE), np.int16)
    images[:, 3:17, 4:20, 2:16] = 100
    label = np.zeros(SHAPE, np.uint8)
    label[5:8, 9:15, 6:12], label[6:8, 10:13, 7:9] = 2, 4
    return images, label, np.array([[2.0, 0, 0, -15], [0, 1.5, 0, -20], [0, 0, 1, -9], [0, 0, 0, 1]])


def stored(orientation: str):
    images, label, affine = canonical()
    codes = nib.orientations.axcodes2ornt(tuple(orientation))
    turn = nib.orientations.ornt_transform(nib.orientations.io_orientation(affine), codes)
    turned = [nib.orientations.apply_orientation(array, turn) for array in (*images, label)]
    moved = affine @ nib.orientations.inv_ornt_aff(turn, SHAPE)
    return measure(Volume(np.stack(turned[:2]), turned[2], moved, ("t1", "flair")), "brats")


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "SLA", "PIR"])
def test_a_position_does_not_depend_on_how_the_grid_is_stored(orientation: str) -> None:
    facts, (_, label, affine) = stored(orientation), canonical()
    expected = np.array(center_of_mass(label))
    box = np.array([(3 + 16) / 2, (4 + 19) / 2, (2 + 15) / 2])
    np.testing.assert_allclose(position(facts, "brats", ARTICLE, "world"), expected)
    np.testing.assert_allclose(position(facts, "brats", ARTICLE, "brain"), expected - box)
    assert midline(facts, ARTICLE, "world") == pytest.approx(box[0])
    world = nib.affines.apply_affine(affine, expected)
    in_mm = Target("whole_tumor", "label")
    np.testing.assert_allclose(position(facts, "brats", in_mm, "world"), world)
    np.testing.assert_allclose(position(facts, "brats", in_mm, "brain"), center_mm(facts, "brats", in_mm, "brain"))
    assert midline(facts, in_mm, "world") == pytest.approx(brain_center_mm(facts)[0])
    assert midline(facts, in_mm, "brain") == midline(facts, ARTICLE, "brain") == 0
    assert is_right(facts, "brats", ARTICLE) == (position(facts, "brats", ARTICLE, "brain")[0] > 0)


def test_without_a_tumor_there_is_no_position() -> None:
    images, label, affine = canonical()
    facts = measure(Volume(images, 0 * label, affine, ("t1", "flair")), "brats")
    assert position(facts, "brats", ARTICLE, "brain") is None

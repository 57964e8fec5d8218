"""Centers, sizes, boxes and pictures agree with scipy, nibabel and the orientation radiologists use."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import center_of_mass

from neuroprint.data.case_facts import CaseFacts
from neuroprint.data.facts import (
    Weighting,
    brain_center_mm,
    center_mm,
    is_right,
    midline_mm,
    octant_shares,
    region_cells,
    tissue_shares,
    volume_cm3,
)
from neuroprint.data.formats.brats import BraTSFormat
from neuroprint.data.labels import REGIONS, region_labels
from neuroprint.data.measure import measure
from neuroprint.data.mips import PLANES
from neuroprint.data.volume import Volume, read_volume
from neuroprint.errors import NeuroprintError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from neuroprint.data.case import Frame, LabelConvention

SHAPE = (20, 24, 18)
VALUES: dict[LabelConvention, tuple[int, ...]] = {
    "brats": (1, 2, 4),
    "brats2023": (1, 2, 3, 4),
    "msd": (1, 2, 3),
    "any": (3, 9),
}


def _turned() -> np.ndarray:
    """An oblique, anisotropic grid with a flip and permuted axes."""
    a, b = 0.3, -0.2
    turn_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    turn_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    permute_and_flip = np.array([[0, -1, 0], [0, 0, 1], [1, 0, 0]])
    affine = np.eye(4)
    affine[:3, :3] = turn_z @ turn_x @ permute_and_flip @ np.diag([1.0, 0.8, 2.5])
    affine[:3, 3] = 12, -30, 7
    return affine


AFFINES = {
    "ras": np.diag([1.0, 1, 1, 1]),
    "lps": np.array([[-1.0, 0, 0, 0], [0, -1, 0, 239], [0, 0, 1, 0], [0, 0, 0, 1]]),
    "sagittal": np.array([[0, 0, -1.2, 90], [1.0, 0, 0, -100], [0, -1, 0, 80], [0, 0, 0, 1]]),
    "oblique": _turned(),
}


@pytest.fixture(params=AFFINES)
def affine(request: pytest.FixtureRequest) -> np.ndarray:
    return AFFINES[request.param]


def _volume(affine: np.ndarray, label: np.ndarray | None, images: np.ndarray | None = None) -> Volume:
    if images is None:
        images = np.zeros((2, *SHAPE), np.int16)
        images[0, 3:15, 4:20, 2:16] = 100
        images[1, 5:18, 4:20, 2:15] = 50
    return Volume(images, label, affine, ("t1", "flair"))


def _random_label(values: tuple[int, ...]) -> np.ndarray:
    rng = np.random.default_rng(5)
    label = np.zeros(SHAPE, np.uint8)
    block = label[4:12, 6:15, 5:13]
    block[...] = rng.choice([0, *values], size=block.shape)
    return label


@pytest.mark.parametrize("weighting", ["binary", "label"])
@pytest.mark.parametrize("convention", VALUES)
def test_centers_are_those_of_scipy_and_nibabel(
    affine: np.ndarray, convention: LabelConvention, weighting: Weighting
) -> None:
    label = _random_label(VALUES[convention])
    facts = measure(_volume(affine, label), convention)
    box_center = nib.affines.apply_affine(affine, [(3 + 17) / 2, (4 + 19) / 2, (2 + 15) / 2])
    np.testing.assert_allclose(brain_center_mm(facts), box_center)
    assert (midline_mm(facts, "world"), midline_mm(facts, "brain")) == (pytest.approx(box_center[0]), 0.0)
    for region in REGIONS if convention != "any" else ("whole_tumor",):
        mask = np.isin(label, list(region_labels(convention, region, VALUES[convention])))
        voxel = center_of_mass(mask * (label.astype(float) if weighting == "label" else 1.0))
        world = nib.affines.apply_affine(affine, voxel)
        np.testing.assert_allclose(center_mm(facts, region, weighting, "world"), world, atol=1e-9)
        np.testing.assert_allclose(center_mm(facts, region, weighting, "brain"), world - box_center, atol=1e-9)
        assert is_right(facts, region, weighting) == (world[0] > box_center[0])
        voxel_mm3 = np.prod(nib.affines.voxel_sizes(affine))
        assert volume_cm3(facts, region) == pytest.approx(mask.sum() * voxel_mm3 / 1000)


def test_the_seed_articles_target_is_center_of_mass_of_the_label_as_it_is() -> None:
    label = _random_label((1, 2, 4))
    facts = measure(_volume(AFFINES["ras"], label), "brats")
    np.testing.assert_allclose(center_mm(facts, weighting="label"), center_of_mass(label))


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "SLA", "PIR"])
@pytest.mark.parametrize("frame", ["world", "brain"])
def test_a_position_does_not_depend_on_how_the_grid_is_stored(orientation: str, frame: Frame) -> None:
    affine = np.array([[2.0, 0, 0, -15], [0, 1.5, 0, -20], [0, 0, 1, -9], [0, 0, 0, 1]])
    upright = _volume(affine, _random_label((1, 2, 4)))
    codes = nib.orientations.axcodes2ornt(tuple(orientation))
    turn = nib.orientations.ornt_transform(nib.orientations.io_orientation(affine), codes)
    images = [nib.orientations.apply_orientation(image, turn) for image in upright.images]
    label = nib.orientations.apply_orientation(upright.label, turn)
    moved = affine @ nib.orientations.inv_ornt_aff(turn, SHAPE)
    assert nib.aff2axcodes(moved) == tuple(orientation)
    stored = measure(Volume(np.stack(images), label, moved, ("t1", "flair")), "brats")
    expected = measure(upright, "brats")
    for weighting in ("binary", "label"):
        found, wanted = (center_mm(facts, "tumor_core", weighting, frame) for facts in (stored, expected))
        np.testing.assert_allclose(found, wanted)
    assert midline_mm(stored, frame) == pytest.approx(midline_mm(expected, frame))
    assert is_right(stored) == is_right(expected)
    assert volume_cm3(stored) == pytest.approx(volume_cm3(expected))
    assert np.abs(region_cells(stored).astype(int) - region_cells(expected)).max() <= 1  # rounded to 255ths


def test_a_2021_name_with_2023_values_is_measured_by_the_values() -> None:
    label = _random_label((1, 2, 3))
    facts = measure(_volume(AFFINES["ras"], label), "brats")
    np.testing.assert_allclose(center_mm(facts, "enhancing"), center_of_mass(label == 3))


def test_the_cavity_of_2024_moves_no_center_and_is_not_outlined() -> None:
    label = np.zeros(SHAPE, np.uint8)
    label[5, 6, 7], label[12, 15, 12] = 3, 4
    facts = measure(_volume(AFFINES["ras"], label), "brats2023")
    np.testing.assert_allclose(center_mm(facts), [5, 6, 7])
    assert facts.outlines["axial"].sum() == 1


def test_without_a_voxel_there_is_no_center() -> None:
    empty = measure(_volume(AFFINES["lps"], np.zeros(SHAPE, np.uint8)), "brats")
    absent = measure(_volume(AFFINES["lps"], None), "brats")
    no_enhancing = measure(_volume(AFFINES["lps"], _random_label((1, 2))), "brats")
    for facts in (empty, absent):
        assert center_mm(facts) is None
        assert center_mm(facts, frame="brain") is None
        assert is_right(facts) is None
        assert not region_cells(facts).any()
        assert not any(mask.any() for mask in facts.outlines.values())
    assert center_mm(no_enhancing, "enhancing") is None
    assert volume_cm3(no_enhancing, "enhancing") == 0.0
    assert (empty.has_label, volume_cm3(empty)) == (True, 0.0)
    assert (absent.has_label, volume_cm3(absent)) == (False, None)


ASKED: dict[str, Callable[[CaseFacts, str], object]] = {
    "center": center_mm,
    "volume": volume_cm3,
    "side": is_right,
    "cells": region_cells,
}


@pytest.mark.parametrize("ask", ASKED.values(), ids=ASKED)
def test_a_part_of_an_undeclared_label_is_refused(ask: Callable[[CaseFacts, str], object]) -> None:
    facts = measure(_volume(AFFINES["lps"], _random_label((1, 2))), "any")
    with pytest.raises(NeuroprintError, match=r"declare dataset\.labels"):
        ask(facts, "enhancing")


@pytest.mark.parametrize("ask", ASKED.values(), ids=ASKED)
def test_a_region_that_does_not_exist_is_refused(ask: Callable[[CaseFacts, str], object]) -> None:
    facts = measure(_volume(AFFINES["lps"], _random_label((1, 2))), "brats")
    with pytest.raises(NeuroprintError, match="no region 'core'; the regions are whole_tumor, tumor_core, enhancing"):
        ask(facts, "core")


def test_facts_survive_storage(affine: np.ndarray, tmp_path: Path) -> None:
    facts = measure(_volume(affine, _random_label((1, 2, 4))), "brats")
    arrays, record = facts.to_arrays()
    np.savez(tmp_path / "facts.npz", **arrays)
    with np.load(tmp_path / "facts.npz") as stored:
        again = CaseFacts.from_arrays(dict(stored), json.loads(json.dumps(record)))
    same = ("shape", "spacing", "has_label", "label_convention", "label_moments", "contents", "shifted")
    assert [getattr(again, name) for name in same] == [getattr(facts, name) for name in same]
    arrays = [(facts.affine, again.affine), (facts.brain_box, again.brain_box)]
    arrays += [
        (getattr(facts, name)[plane], getattr(again, name)[plane]) for name in ("mips", "outlines") for plane in PLANES
    ]
    arrays += [
        pair for value in (1, 2, 4) for pair in zip(facts.label_cells[value], again.label_cells[value], strict=True)
    ]
    for mine, theirs in arrays:
        np.testing.assert_array_equal(mine, theirs)
        assert mine.dtype == theirs.dtype
    assert again.mips.keys() == facts.mips.keys() == again.outlines.keys()
    assert again.label_cells.keys() == facts.label_cells.keys()


@pytest.mark.parametrize("background", [0, -1024, 37])
def test_the_box_holds_all_that_is_not_the_corners_value(background: int) -> None:
    images = np.full((2, *SHAPE), background, np.int16)
    images[0, 4:9, 6:20, 3:15] = background + 100
    images[1, 11, 10, 16] = background - 1
    box = measure(_volume(AFFINES["ras"], None, images), "any").brain_box
    assert box.tolist() == [[4, 12], [6, 20], [3, 17]]


def test_the_box_of_a_head_in_noisy_air_is_the_heads() -> None:
    rng = np.random.default_rng(0)
    images = rng.rayleigh(4, (1, 48, 56, 40)).astype(np.float32)
    images[0, 10:40, 8:50, 5:36] += rng.normal(300, 40, (30, 42, 31))
    images[0, 1, 1, 1] = 900  # a speck in the air
    box = measure(Volume(images, None, np.eye(4), ("t1",)), "any").brain_box
    assert box.tolist() == [[10, 40], [8, 50], [5, 36]]


def test_pictures_hang_as_radiologists_hang_them(affine: np.ndarray) -> None:
    shape = (40, 44, 36)
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    world = nib.affines.apply_affine(affine, index) - nib.affines.apply_affine(affine, (np.array(shape) - 1) / 2)
    image = np.zeros(shape, np.float32)
    image[2:-2, 2:-2, 2:-2] = 10
    mark = (np.abs(world - np.array([6, 9, 5])) <= 2.5).all(axis=-1)  # right, front, up of the middle
    image[mark] = 500
    facts = measure(Volume(image[None], mark.astype(np.uint8), affine, ("t1",)), "any")
    for plane in PLANES:
        for picture in (facts.mips[plane] > 200, facts.outlines[plane]):
            row, column = (np.mean(found) for found in np.nonzero(picture))
            # Axial and coronal: right is on the left; sagittal: front is on the left; the front or the head is up.
            assert row < picture.shape[0] / 2 - 2, plane
            assert column < picture.shape[1] / 2 - 2, plane


def test_each_plane_is_seen_along_its_own_axis() -> None:
    label = np.zeros(SHAPE, np.uint8)
    label[5, 4:20, 2:16] = 1  # a sagittal sheet
    facts = measure(_volume(AFFINES["lps"], label), "any")
    share = {plane: mask.mean() for plane, mask in facts.outlines.items()}
    assert share["sagittal"] > 0.9
    assert share["axial"] < 0.1
    assert share["coronal"] < 0.1


def test_pictures_are_small_with_square_pixels_and_show_flair_in_the_box() -> None:
    images = np.zeros((2, 200, 60, 50), np.int16)
    images[0, 10:190, 5:55, 5:45] = 1
    images[1, 10:190, 5:55, 5:45] = np.arange(1, 181)[:, None, None]
    facts = measure(Volume(images, None, np.diag([1.0, 3, 3, 1]), ("t1", "flair")), "any")
    assert facts.mips["axial"].shape == (80, 96)  # 150 x 180 mm
    assert facts.mips["coronal"].shape == (64, 96)  # 120 x 180 mm
    assert facts.mips["sagittal"].shape == (40, 50)  # 120 x 150 mm: three mm a voxel, none invented
    assert all(picture.dtype == np.uint8 for picture in facts.mips.values())
    row = facts.mips["axial"][40].astype(int)
    assert (np.diff(row) <= 0).all()
    assert row[0] > 250 > 5 > row[-1]


def test_a_tumor_smaller_than_a_pixel_is_still_outlined() -> None:
    images = np.ones((1, 240, 240, 8), np.int16)
    images[0, :20], images[0, -20:] = 0, 0
    label = np.zeros(images.shape[1:], np.uint8)
    label[100, 101, 4] = 1
    facts = measure(Volume(images, label, np.eye(4), ("flair",)), "any")
    assert all(mask.any() for mask in facts.outlines.values())


def test_real_patients_centers_are_those_of_scipy(real_root: Path) -> None:
    for case in BraTSFormat(real_root).cohort().cases[:3]:
        volume = read_volume(case, ("flair",))
        facts = measure(volume, case.label_convention)
        assert case.label is not None
        image = nib.load(case.label.path)
        world = nib.affines.apply_affine(image.affine, center_of_mass(np.asanyarray(image.dataobj) > 0))
        np.testing.assert_allclose(center_mm(facts), world, atol=1e-6)
        where = np.nonzero(volume.images[0])
        assert facts.brain_box.tolist() == [[axis.min(), axis.max() + 1] for axis in where]


@pytest.mark.parametrize(("convention", "values"), [("brats", (1, 2, 4)), ("brats2023", (1, 2, 3)), ("msd", (2, 1, 3))])
def test_tissues_are_told_by_the_convention(convention: LabelConvention, values: tuple[int, int, int]) -> None:
    necrosis, edema, enhancement = values
    label = np.zeros(SHAPE, np.uint8)
    label[:2, 0, 0], label[:5, 1, 0], label[:3, 2, 0] = necrosis, edema, enhancement
    facts = measure(_volume(np.eye(4), label), convention)
    assert tissue_shares(facts) == pytest.approx([0.2, 0.5, 0.3])


def test_a_cavity_is_no_tissue_of_the_tumor() -> None:
    label = np.zeros(SHAPE, np.uint8)
    label[:4, 0, 0], label[:9, 1, 0] = 3, 4
    assert tissue_shares(measure(_volume(np.eye(4), label), "brats2023")) == pytest.approx([0, 0, 1])


def test_without_a_tumor_there_is_no_share() -> None:
    for label in (None, np.zeros(SHAPE, np.uint8)):
        facts = measure(_volume(np.eye(4), label), "brats")
        assert tissue_shares(facts) is None and octant_shares(facts) is None


def test_tissues_need_to_know_what_the_numbers_mean() -> None:
    with pytest.raises(NeuroprintError, match=r"declare dataset\.labels"):
        tissue_shares(measure(_volume(np.eye(4), np.ones(SHAPE, np.uint8)), "any"))


def test_octants_are_halves_of_the_box_along_the_patients_axes(affine: np.ndarray) -> None:
    """Each voxel counts in the octant of its center, along the grid's axes that are nearest to the patient's."""
    rng = np.random.default_rng(0)
    images = np.zeros((2, *SHAPE), np.float32)
    images[:, 2:18, 4:20, 3:15] = 1  # even sides: no voxel lies on a middle
    label = np.zeros(SHAPE, np.uint8)
    label[2:18, 4:20, 3:15] = rng.random((16, 16, 12)) < rng.random()
    facts = measure(_volume(affine, label, images), "brats")
    orientation = nib.io_orientation(affine)
    expected = np.zeros((2, 2, 2))
    for voxel in np.argwhere(label):
        beyond = voxel - np.array([9.5, 11.5, 8.5])
        side = [0, 0, 0]
        for axis in range(3):
            side[int(orientation[axis, 0])] = int(beyond[axis] * orientation[axis, 1] > 0)
        expected[tuple(side)] += 1
    assert octant_shares(facts) == pytest.approx(expected / expected.sum(), abs=0.003)  # shares are kept in 255ths

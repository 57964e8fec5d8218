"""Centers, sizes, boxes and pictures agree with scipy, nibabel and the orientation radiologists use."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import center_of_mass

from neuroprint.data.facts import CaseFacts, Target, brain_center_mm, center_mm, is_right, measure, volume_cm3
from neuroprint.data.formats.brats import find_brats
from neuroprint.data.labels import REGIONS, region_labels
from neuroprint.data.volume import Volume, read_volume
from neuroprint.errors import NeuroprintError

if TYPE_CHECKING:
    from pathlib import Path

    from neuroprint.data.case import LabelConvention

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
    affine: np.ndarray, convention: LabelConvention, weighting: str
) -> None:
    label = _random_label(VALUES[convention])
    facts = measure(_volume(affine, label), convention)
    box_center = nib.affines.apply_affine(affine, [(3 + 17) / 2, (4 + 19) / 2, (2 + 15) / 2])
    np.testing.assert_allclose(brain_center_mm(facts), box_center)
    for region in REGIONS if convention != "any" else ("whole_tumor",):
        mask = np.isin(label, list(region_labels(convention, region, VALUES[convention])))
        voxel = center_of_mass(mask * (label.astype(float) if weighting == "label" else 1.0))
        world = nib.affines.apply_affine(affine, voxel)
        target = Target(region, weighting)  # type: ignore[arg-type]
        np.testing.assert_allclose(center_mm(facts, convention, target, "world"), world, atol=1e-9)
        np.testing.assert_allclose(center_mm(facts, convention, target, "brain"), world - box_center, atol=1e-9)
        in_voxels = Target(region, weighting, "voxel")  # type: ignore[arg-type]
        np.testing.assert_allclose(center_mm(facts, convention, in_voxels, "world"), voxel, atol=1e-9)
        np.testing.assert_allclose(
            center_mm(facts, convention, in_voxels, "brain"), np.subtract(voxel, [10, 11.5, 8.5]), atol=1e-9
        )
        voxel_mm3 = np.prod(nib.affines.voxel_sizes(affine))
        assert volume_cm3(facts, convention, region) == pytest.approx(mask.sum() * voxel_mm3 / 1000)
        for asked in (target, in_voxels):
            assert is_right(facts, convention, asked) == (world[0] > box_center[0])


def test_the_seed_articles_target_is_center_of_mass_of_the_label_as_it_is() -> None:
    label = _random_label((1, 2, 4))
    facts = measure(_volume(AFFINES["lps"], label), "brats")
    found = center_mm(facts, "brats", Target("whole_tumor", "label", "voxel"), "world")
    np.testing.assert_allclose(found, center_of_mass(label))


def test_a_2021_name_with_2023_values_is_measured_by_the_values() -> None:
    label = _random_label((1, 2, 3))
    facts = measure(_volume(AFFINES["lps"], label), "brats")
    found = center_mm(facts, "brats", Target("enhancing", units="voxel"), "world")
    np.testing.assert_allclose(found, center_of_mass(label == 3))


def test_the_cavity_of_2024_moves_no_center_and_is_not_outlined() -> None:
    label = np.zeros(SHAPE, np.uint8)
    label[5, 6, 7], label[12, 15, 12] = 3, 4
    facts = measure(_volume(AFFINES["ras"], label), "brats2023")
    np.testing.assert_allclose(center_mm(facts, "brats2023", Target(), "world"), [5, 6, 7])
    assert facts.outlines["axial"].sum() == 1


def test_without_a_voxel_there_is_no_center() -> None:
    empty = measure(_volume(AFFINES["lps"], np.zeros(SHAPE, np.uint8)), "brats")
    absent = measure(_volume(AFFINES["lps"], None), "brats")
    no_enhancing = measure(_volume(AFFINES["lps"], _random_label((1, 2))), "brats")
    for facts in (empty, absent):
        assert center_mm(facts, "brats", Target(), "world") is None
        assert is_right(facts, "brats") is None
        assert not any(mask.any() for mask in facts.outlines.values())
    assert center_mm(no_enhancing, "brats", Target("enhancing"), "world") is None
    assert volume_cm3(no_enhancing, "brats", "enhancing") == 0.0
    assert (empty.has_label, volume_cm3(empty, "brats")) == (True, 0.0)
    assert (absent.has_label, volume_cm3(absent, "brats")) == (False, None)


def test_a_part_of_an_undeclared_label_is_refused() -> None:
    facts = measure(_volume(AFFINES["lps"], _random_label((1, 2))), "any")
    with pytest.raises(NeuroprintError, match=r"declare dataset\.labels"):
        center_mm(facts, "any", Target("enhancing"), "world")


@pytest.mark.parametrize("wrong", [{"region": "core"}, {"weighting": "mass"}, {"units": "cm"}])
def test_a_target_that_does_not_exist_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(NeuroprintError, match=f"'{next(iter(wrong.values()))}'"):
        Target(**wrong)  # type: ignore[arg-type]


def test_facts_survive_storage(affine: np.ndarray, tmp_path: Path) -> None:
    facts = measure(_volume(affine, _random_label((1, 2, 4))), "brats")
    arrays, record = facts.to_arrays()
    np.savez(tmp_path / "facts.npz", **arrays)
    with np.load(tmp_path / "facts.npz") as stored:
        again = CaseFacts.from_arrays(dict(stored), json.loads(json.dumps(record)))
    assert (again.shape, again.spacing, again.has_label) == (facts.shape, facts.spacing, facts.has_label)
    assert again.label_moments == facts.label_moments
    for mine, theirs in ((facts.projections, again.projections), (facts.outlines, again.outlines)):
        assert all(np.array_equal(mine[view], theirs[view]) and mine[view].dtype == theirs[view].dtype for view in mine)
    np.testing.assert_array_equal(again.affine, facts.affine)
    np.testing.assert_array_equal(again.brain_box, facts.brain_box)


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
    for view in ("axial", "coronal", "sagittal"):
        for picture in (facts.projections[view] > 200, facts.outlines[view]):
            row, column = (np.mean(found) for found in np.nonzero(picture))
            # Axial and coronal: right is on the left; sagittal: front is on the left; the front or the head is up.
            assert row < picture.shape[0] / 2 - 2, view
            assert column < picture.shape[1] / 2 - 2, view


def test_each_view_looks_along_its_own_axis() -> None:
    label = np.zeros(SHAPE, np.uint8)
    label[5, 4:20, 2:16] = 1  # a sagittal sheet
    facts = measure(_volume(AFFINES["lps"], label), "any")
    share = {view: mask.mean() for view, mask in facts.outlines.items()}
    assert share["sagittal"] > 0.9
    assert share["axial"] < 0.1
    assert share["coronal"] < 0.1


def test_pictures_are_small_with_square_pixels_and_show_flair_in_the_box() -> None:
    images = np.zeros((2, 200, 60, 50), np.int16)
    images[0, 10:190, 5:55, 5:45] = 1
    images[1, 10:190, 5:55, 5:45] = np.arange(1, 181)[:, None, None]
    facts = measure(Volume(images, None, np.diag([1.0, 3, 3, 1]), ("t1", "flair")), "any")
    assert facts.projections["axial"].shape == (80, 96)  # 150 x 180 mm
    assert facts.projections["coronal"].shape == (64, 96)  # 120 x 180 mm
    assert facts.projections["sagittal"].shape == (40, 50)  # 120 x 150 mm: three mm a voxel, none invented
    assert all(picture.dtype == np.uint8 for picture in facts.projections.values())
    row = facts.projections["axial"][40].astype(int)
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
    for case in find_brats(real_root).cases[:3]:
        volume = read_volume(case, ("flair",))
        facts = measure(volume, case.label_convention)
        assert case.label is not None
        image = nib.load(case.label.path)
        world = nib.affines.apply_affine(image.affine, center_of_mass(np.asanyarray(image.dataobj) > 0))
        np.testing.assert_allclose(center_mm(facts, "brats", Target(), "world"), world, atol=1e-6)
        where = np.nonzero(volume.images[0])
        assert facts.brain_box.tolist() == [[axis.min(), axis.max() + 1] for axis in where]

"""Perturbed scans: what each perturbation does to the voxels, that it is the same again, and what is kept in the store."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from neuroprint.catalog.menu import Catalog
from neuroprint.data.formats.brats import BraTSFormat
from neuroprint.data.volume import Volume, read_volume
from neuroprint.embedding import perturbations as module
from neuroprint.embedding.embed import embed
from neuroprint.embedding.embeddings import Embeddings
from neuroprint.embedding.perturbations import (
    BiasField,
    BrainSize,
    Contrast,
    Gain,
    Missing,
    Noise,
    Perturbation,
    Pose,
    Several,
    ThickSlices,
    Unchanged,
)
from neuroprint.errors import NeuroprintError

ENTRIES = [name for name in Catalog().names("perturb") if name != "none"]


def ball(affine: np.ndarray, shape=(40, 44, 36), center=(20, 22, 18), radius=12.0, background=0) -> Volume:
    """A bright ball with a brighter half towards its first axis, in two series."""
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1) - np.array(center)
    inside = np.linalg.norm(grid, axis=-1) <= radius
    one = np.where(inside, 100 + 2 * grid[..., 0], background).astype(np.int16)
    return Volume(np.stack([one, np.where(inside, 300 - one, background)]), None, affine, ("flair", "t1ce"))


STRAIGHT = np.diag([2.0, 2.0, 2.0, 1.0])
# Axes in another order and direction: left, up, front, as some scanners store them.
TURNED = np.array([[-2.0, 0, 0, 90], [0, 0, 2.0, -70], [0, 2.0, 0, -20], [0, 0, 0, 1]])


def middle(volume: Volume) -> np.ndarray:
    """The ball's center in world mm."""
    places = np.argwhere(volume.images[0] != volume.images[0][0, 0, 0])
    return (volume.affine @ np.append(places.mean(axis=0), 1.0))[:3]


@pytest.fixture(scope="module")
def cohort(small_cohort):
    return BraTSFormat(str(small_cohort)).cohort().where(lambda case: case.id < "Small_00002")


@pytest.fixture(scope="module")
def scan(cohort) -> Volume:
    return read_volume(cohort.cases[0], ("flair", "t1", "t1ce", "t2"), label=False)


@pytest.mark.parametrize("entry", ENTRIES)
def test_every_entry_changes_a_scan_within_reason_and_the_same_way_again(entry, scan):
    change: Perturbation = Catalog().part("perturb", entry).made
    changed, again, other = change(scan, "a"), change(scan, "a"), change(scan, "b")
    assert changed.images.shape == scan.images.shape and changed.images.dtype == np.float32
    assert changed.label is None
    assert np.isfinite(changed.images).all() and not np.array_equal(changed.images, scan.images)
    np.testing.assert_array_equal(changed.images, again.images)
    drawn = not entry.startswith(("missing", "thick"))
    assert np.array_equal(changed.images, other.images) != drawn
    assert np.array_equal(replace(change, seed=1)(scan, "a").images, changed.images) != drawn
    assert change.words in str(change.words) and change.description["version"] == module.PERTURBATIONS_VERSION


@pytest.mark.parametrize("change", [Unchanged(), Pose(degrees=0, shift_mm=0), BrainSize(percent=0), Gain(percent=0)])
@pytest.mark.parametrize("background", [0, -1024])
def test_nothing_changes_where_the_strength_is_nothing(change, background):
    volume = ball(STRAIGHT, background=background)
    np.testing.assert_allclose(change(volume, "a").images, volume.images, atol=0.05)


def test_what_is_drawn_for_a_series_does_not_hang_on_the_others(scan):
    for change in (Gain(), Contrast(), BiasField(), Noise()):
        one = replace(scan, images=scan.images[2:3], modalities=("t1ce",))
        # The brain is that of all series: where one of them has none, noise is not seen in the other.
        inside = scan.images[2] != 0
        np.testing.assert_allclose(
            change(one, "a").images[0][inside], change(scan, "a").images[2][inside], rtol=2e-2, atol=2.0
        )


@pytest.mark.parametrize("affine", [STRAIGHT, TURNED], ids=["straight", "turned"])
def test_a_pose_is_of_the_patient_and_not_of_the_array(affine):
    """A ball that is shifted moves in the world as drawn, whichever way its voxels are stored."""
    volume = ball(affine)
    rng = module.StrippedScan(volume.images, volume.images[0] != 0, affine, volume.modalities, "a 0").draws("pose")
    rng.uniform(-0, 0, 3)
    expected = rng.uniform(-10, 10, 3)
    moved = Pose(degrees=0, shift_mm=10)(volume, "a")
    np.testing.assert_allclose(middle(moved) - middle(volume), expected, atol=0.5)  # a quarter of a voxel
    for axis in range(3):
        assert abs(expected[axis]) > 0.5  # or the test would show nothing


def test_a_turn_turns_about_the_patients_axes():
    """The gradient of a ball points where the rotation turns it."""
    from scipy.spatial.transform import Rotation

    for affine in (STRAIGHT, TURNED):
        volume = ball(affine)
        draws = module.StrippedScan(volume.images, volume.images[0] != 0, affine, volume.modalities, "a 0").draws(
            "pose"
        )
        turn = Rotation.from_euler("xyz", draws.uniform(-30, 30, 3), degrees=True).as_matrix()
        turned = Pose(degrees=30, shift_mm=0)(volume, "a")

        def gradient(image, affine=affine):
            inside = image > 0
            places = np.argwhere(inside) @ affine[:3, :3].T
            return np.linalg.lstsq(places - places.mean(axis=0), image[inside] - image[inside].mean(), rcond=None)[0]

        before, after = gradient(volume.images[0].astype(float)), gradient(turned.images[0].astype(float))
        cosine = (turn @ before) @ after / np.linalg.norm(before) / np.linalg.norm(after)
        assert cosine > 0.999


def test_a_brain_grows_and_shrinks_by_no_more_than_asked_and_stays_in_view():
    volume = ball(STRAIGHT, radius=16.0)
    sizes = []
    for content in "abcdefgh":
        grown = BrainSize(percent=30)(volume, content).images[0] != 0
        sizes.append(np.cbrt(grown.sum() / (volume.images[0] != 0).sum()))
    assert 1 / 1.31 <= min(sizes) < 0.9 and 1.1 < max(sizes) <= 1.31


def test_a_head_at_the_edge_is_brought_back_into_view():
    volume = ball(STRAIGHT, center=(13, 22, 18))
    whole = (volume.images[0] != 0).sum()
    for content in "abcdef":
        moved = Pose(degrees=0, shift_mm=20)(volume, content)
        assert (moved.images[0] != 0).sum() == pytest.approx(whole, rel=0.03)


@pytest.mark.parametrize("affine", [STRAIGHT, TURNED], ids=["straight", "turned"])
def test_thick_slices_lie_across_the_axis_from_feet_to_head(affine):
    volume = ball(affine)
    along = int(np.flatnonzero(np.abs(affine[2, :3]) > 0)[0])
    stripes = np.zeros(volume.images.shape[1:])
    for axis, strength in zip(range(3), (1, 1, 1), strict=True):
        wave = np.cos(np.pi * np.arange(stripes.shape[axis]))
        stripes += strength * wave.reshape([-1 if each == axis else 1 for each in range(3)])
    inside = volume.images[0] != 0
    striped = replace(volume, images=np.where(inside, 100 + 10 * stripes, 0)[None], modalities=("flair",))
    thick = ThickSlices(slice_mm=8)(striped, "a").images[0]
    core = tuple(slice(n // 2 - 5, n // 2 + 5) for n in thick.shape)
    for axis in range(3):
        change = np.abs(np.diff(thick[core], axis=axis)).mean()
        assert (change < 4) == (axis == along), (axis, change)


def test_slices_that_are_thick_already_stay():
    volume = ball(STRAIGHT)
    np.testing.assert_allclose(ThickSlices(slice_mm=1)(volume, "a").images, volume.images)


def test_a_missing_series_is_background_and_the_others_stay():
    volume = ball(STRAIGHT, background=-5)
    changed = Missing(modality="t1ce")(volume, "a").images
    assert (changed[1] == -5).all()
    np.testing.assert_array_equal(changed[0], volume.images[0])


def test_noise_is_as_strong_as_asked():
    volume = ball(STRAIGHT)
    flat = replace(volume, images=np.where(volume.images != 0, 100, 0))
    noisy = Noise(percent=5)(flat, "a").images
    assert noisy[flat.images != 0].std() == pytest.approx(5.0, rel=0.05)
    assert (noisy[flat.images == 0] == 0).all()


def test_several_are_done_one_after_the_other(scan):
    both = Several(parts=[Gain(), Missing(modality="t2")])
    assert both.words == "Gain(percent=50.0) + Missing(modality=t2)"
    changed = both(scan, "a").images
    np.testing.assert_array_equal(changed[:3], Gain()(scan, "a").images[:3])
    assert not changed[3].any()


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: Pose(degrees=-1), "perturb: degrees=-1: must be a number of 0 or more"),
        (lambda: Noise(percent=np.nan), "percent=nan"),
        (lambda: Contrast(gamma=0.5), "gamma=0.5: must be 1 or more"),
        (lambda: ThickSlices(slice_mm=0), "slice_mm=0: must be above 0"),
        (lambda: Several(parts=[]), "parts is empty"),
    ],
)
def test_a_strength_that_cannot_be_is_refused(build, said):
    with pytest.raises(NeuroprintError, match=said):
        build()


def test_a_series_that_no_case_has_cannot_go_missing(cohort, tmp_path):
    with pytest.raises(NeuroprintError, match=r"modality=pd: the cohort has .*flair"):
        embed(cohort, "voxels", perturb=Missing(modality="pd"), store=tmp_path)
    with pytest.raises(NeuroprintError, match="modality=pd"):
        embed(cohort, "voxels", perturb=Several(parts=[Missing(modality="pd")]), store=tmp_path)


def test_changed_scans_pass_once_more_and_then_come_from_the_store(cohort, tmp_path):
    clean = embed(cohort, "untrained", store=tmp_path)
    assert clean.queries is None and clean.change is None and clean.scanned.forwards == 2
    posed = embed(cohort, "untrained", perturb="pose", store=tmp_path)
    assert posed.scanned.forwards == 2, "the clean passes are stored already"
    assert posed.change == "Pose(degrees=15.0, shift_mm=10.0)"
    np.testing.assert_array_equal(posed.vectors, clean.vectors)
    assert posed.queries.shape == clean.vectors.shape and not np.allclose(posed.queries, clean.vectors, rtol=1e-3)
    assert set(posed.scanned.changed_voxels) == set(posed.ids)
    again = embed(cohort, "untrained", layer=2, pooling="max", perturb="pose", store=tmp_path)
    assert again.scanned.forwards == 0, "all levels and poolings were computed in that pass"
    stronger = embed(cohort, "untrained", perturb=Pose(degrees=20), store=tmp_path)
    assert stronger.scanned.forwards == 2
    assert not np.allclose(stronger.queries, posed.queries)


def test_a_change_that_changes_nothing_gives_the_clean_vectors(cohort, tmp_path):
    """The perturbed pass is the clean one but for the perturbation: preprocessing, brain box, network and pooling."""
    found = embed(cohort, "untrained", perturb=Gain(percent=0), store=tmp_path)
    np.testing.assert_allclose(found.queries, found.vectors, rtol=1e-4, atol=1e-5)


def test_perturbed_vectors_from_elsewhere_need_one_for_every_case(cohort):
    given = Embeddings(cohort, np.eye(2), perturbed=np.eye(2)[::-1])
    assert given.change == "as their vectors are"
    np.testing.assert_array_equal(given.query_rows(given.ids[:1]), [[0.0, 1.0]])
    assert Embeddings(cohort, np.eye(2)).query_rows(given.ids) is None
    first = cohort.cases[0].id
    with pytest.raises(NeuroprintError, match=r"perturbed: there is no vector of case Small_00001"):
        Embeddings(cohort, np.eye(2), perturbed={first: np.ones(2)})
    with pytest.raises(NeuroprintError, match="perturbed: vectors have 3 numbers, expected 2"):
        Embeddings(cohort, np.eye(2), perturbed=np.ones((2, 3)))

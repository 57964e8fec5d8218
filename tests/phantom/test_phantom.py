"""The phantom cohort: layout of BraTS, determinism, believable tumors, pose apart from anatomy."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np
import pytest

from neuroprint.errors import NeuroprintError
from neuroprint.phantom import PHANTOM_MODALITIES, TISSUES, Phantom, PhantomSettings, make_phantom, write_cohort

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

COARSE = PhantomSettings(spacing_mm=6.0)


@pytest.fixture(scope="module")
def phantoms() -> list[Phantom]:
    return [make_phantom(3, index, COARSE) for index in range(48)]


@pytest.fixture(scope="module")
def turned() -> list[Phantom]:
    return [make_phantom(3, index, PhantomSettings(spacing_mm=6.0, pose_jitter=True)) for index in range(12)]


def volume_cm3(phantom: Phantom) -> float:
    return float((phantom.label > 0).sum() * abs(np.linalg.det(phantom.affine[:3, :3])) / 1000)


def center_mm(phantom: Phantom) -> NDArray[np.float64]:
    center: NDArray[np.float64] = np.argwhere(phantom.label > 0).mean(axis=0)
    return phantom.affine[:3, :3] @ center + phantom.affine[:3, 3]


def brain_of(phantom: Phantom) -> NDArray[np.bool_]:
    return phantom.images["t1"] > 0


def digests(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and not file.name.startswith(".")
    }


# --- determinism -----------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_bytes_whatever_processes_write_it(tmp_path: Path) -> None:
    write_cohort(tmp_path / "here", cases=3, spacing_mm=6.0, seed=5, workers=1)
    code = (
        "from pathlib import Path; from neuroprint.phantom import write_cohort; "
        f"write_cohort(Path({str(tmp_path / 'there')!r}), cases=3, spacing_mm=6.0, seed=5, workers=2)"
    )
    both = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]  # at once, into one folder
    assert [process.wait(timeout=300) for process in both] == [0, 0]
    assert digests(tmp_path / "here") == digests(tmp_path / "there")
    assert len(digests(tmp_path / "here")) == 3 * 5 + 1


def test_a_case_depends_on_seed_and_index_only(phantoms: list[Phantom]) -> None:
    again = make_phantom(3, 4, COARSE)
    np.testing.assert_array_equal(again.images["t1ce"], phantoms[4].images["t1ce"])
    np.testing.assert_array_equal(again.label, phantoms[4].label)
    assert not np.array_equal(make_phantom(4, 4, COARSE).label, again.label)
    assert not np.array_equal(phantoms[5].images["t1"], again.images["t1"])


def test_the_cohort_holds_what_make_phantom_makes(tmp_path: Path, phantoms: list[Phantom]) -> None:
    write_cohort(tmp_path, cases=1, spacing_mm=6.0, seed=3, workers=1)
    written = nib.load(tmp_path / "Phantom_00000" / "Phantom_00000_flair.nii.gz")
    np.testing.assert_array_equal(np.asarray(written.dataobj), phantoms[0].images["flair"])


# --- layout ----------------------------------------------------------------------------------------------------------


def test_files_are_named_typed_and_placed_as_in_brats(tmp_path: Path) -> None:
    write_cohort(tmp_path, cases=1, spacing_mm=4.0, workers=1)
    case = tmp_path / "Phantom_00000"
    assert {f.name for f in case.iterdir()} == {f"Phantom_00000_{m}.nii.gz" for m in (*PHANTOM_MODALITIES, "seg")}
    for modality in PHANTOM_MODALITIES:
        image = nib.load(case / f"Phantom_00000_{modality}.nii.gz")
        assert image.get_data_dtype() == np.int16
        assert image.shape == (60, 60, 39)
        assert nib.aff2axcodes(image.affine) == ("L", "P", "S")
        assert int(image.header["sform_code"]) == int(image.header["qform_code"]) == 1
    label = nib.load(case / "Phantom_00000_seg.nii.gz")
    assert label.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(label.affine, image.affine)


@pytest.mark.parametrize(
    ("spacing_mm", "shape", "origin"),
    [(1.0, (240, 240, 155), (0, 239, 0)), (2.0, (120, 120, 78), (-0.5, 238.5, 0.5)), (3.0, (80, 80, 52), (-1, 238, 1))],
)
def test_the_field_of_view_is_that_of_brats_at_every_spacing(
    spacing_mm: float, shape: tuple[int, ...], origin: tuple[float, ...]
) -> None:
    from neuroprint.phantom.pose import brats_grid

    grid = brats_grid(spacing_mm)
    expected = np.diag([-spacing_mm, -spacing_mm, spacing_mm, 1.0])
    expected[:3, 3] = origin
    assert grid.shape == shape
    np.testing.assert_allclose(grid.affine, expected)


def test_the_brain_is_stripped_and_lies_where_brats_has_it(phantoms: list[Phantom]) -> None:
    centers, liters = [], []
    for phantom in phantoms:
        brain = brain_of(phantom)
        for image in phantom.images.values():
            assert image.dtype == np.int16
            assert image.min() == 0
            np.testing.assert_array_equal(image > 0, brain)
        assert set(np.unique(phantom.label)) <= {0, 1, 2, 4}
        assert not phantom.label[~brain].any()
        centers.append(phantom.affine[:3, :3] @ np.argwhere(brain).mean(axis=0) + phantom.affine[:3, 3])
        liters.append(brain.sum() * 6**3 / 1e6)
    np.testing.assert_allclose(np.mean(centers, axis=0), (-119.5, 111, 76), atol=5)
    assert 1.1 < min(liters) < max(liters) < 2.1


def test_tissues_share_the_brain_and_follow_the_label(phantoms: list[Phantom]) -> None:
    phantom = phantoms[0]
    assert phantom.tissues.shape == (len(TISSUES), *phantom.label.shape)
    assert phantom.tissues.dtype == np.float32
    np.testing.assert_allclose(phantom.tissues.sum(axis=0), brain_of(phantom), atol=1e-4)
    parts = {name: phantom.tissues[TISSUES.index(name)] for name in TISSUES}
    assert parts["enhancing"][phantom.label == 4].mean() > 0.5
    assert (parts["necrosis"] + parts["non_enhancing"])[phantom.label == 1].mean() > 0.5
    assert parts["edema"][phantom.label == 2].mean() > 5 * parts["edema"][phantom.label == 0].mean()


# --- tumors ---------------------------------------------------------------------------------------------------------


def test_whole_tumors_measure_5_to_250_cm3_on_the_label(phantoms: list[Phantom], turned: list[Phantom]) -> None:
    volumes = [volume_cm3(phantom) for phantom in phantoms]
    assert 5 <= min(volumes) < 40
    assert 130 < max(volumes) <= 250
    assert 50 < np.median(volumes) < 130
    assert all(5 <= volume_cm3(phantom) <= 250 for phantom in turned)


@pytest.mark.parametrize(("drawn_cm3", "least", "most"), [(0.1, 5, 9), (1e5, 170, 250)])
def test_extreme_tumors_stay_in_range_in_any_pose(
    monkeypatch: pytest.MonkeyPatch, drawn_cm3: float, least: float, most: float
) -> None:
    monkeypatch.setattr("neuroprint.phantom.tumor._MEDIAN_CM3", drawn_cm3)
    for index in range(4):
        for pose_jitter in (False, True):
            assert least <= volume_cm3(make_phantom(0, index, PhantomSettings(6.0, pose_jitter))) <= most


def test_tumors_lie_on_both_sides_and_everywhere(phantoms: list[Phantom]) -> None:
    offsets = np.array([center_mm(p) - (-119.5, 111, 76) for p in phantoms])
    assert 0.3 < (offsets[:, 0] > 0).mean() < 0.7
    assert (offsets.std(axis=0) > (18, 20, 11)).all()


def test_about_one_in_eight_has_no_enhancing_voxel(phantoms: list[Phantom]) -> None:
    without = [p for p in phantoms if not (p.label == 4).any()]
    assert 1 <= len(without) <= 14
    assert all((p.label == 1).any() and (p.label == 2).any() for p in without)


def test_the_enhancing_rim_is_bright_in_t1ce_and_edema_in_flair(phantoms: list[Phantom]) -> None:
    phantom = next(p for p in phantoms if (p.label == 4).sum() > 100)
    white = phantom.tissues[TISSUES.index("white_matter")] > 0.9
    assert np.median(phantom.images["t1ce"][phantom.label == 4]) > 1.3 * np.median(phantom.images["t1ce"][white])
    assert np.median(phantom.images["flair"][phantom.label == 2]) > 1.2 * np.median(phantom.images["flair"][white])


def test_edema_follows_white_matter() -> None:
    from neuroprint.phantom.anatomy import make_anatomy
    from neuroprint.phantom.template import load_template
    from neuroprint.phantom.tumor import make_tumor

    rng = np.random.default_rng(8)
    tumor, anatomy = make_tumor(make_anatomy(load_template(), rng), rng, scale=1.0)
    nodes = tumor.lattice.points()
    mni = anatomy.to_mni(nodes)
    inside = anatomy.depth(mni) > 5
    fold = anatomy.template.read(mni)["fold"]
    distance = np.linalg.norm(nodes - tumor.foci[0].center[:, None], axis=0)
    ring = inside & (np.abs(distance - 1.8 * tumor.radii[0]) < 3)
    assert np.median(tumor.reach[ring & (fold > 0.8)]) < np.median(tumor.reach[ring & (fold < 0.2)])


def test_a_tumor_pushes_tissue_away_and_the_midline_over() -> None:
    from neuroprint.phantom.anatomy import Focus, make_anatomy
    from neuroprint.phantom.pose import HEAD_CENTER
    from neuroprint.phantom.template import load_template

    healthy = make_anatomy(load_template(), np.random.default_rng(0))
    center = HEAD_CENTER + np.array([34, 10, 15], np.float32)
    midline = (HEAD_CENTER + np.array([0, 10, 22], np.float32))[:, None]

    def shift(radius_mm: float) -> float:
        ill = healthy.with_foci((Focus(center, radius_mm, 0.4),))
        return float((healthy.to_mni(midline) - ill.to_mni(midline))[0, 0])

    # What lies on the midline now came from nearer to the tumor, on the right: it was pushed to the left.
    assert shift(28.0) < shift(18.0) < -0.5
    assert shift(28.0) < -3


# --- pose ------------------------------------------------------------------------------------------------------------


def test_pose_jitter_moves_the_head_and_keeps_the_patient(phantoms: list[Phantom], turned: list[Phantom]) -> None:
    for still, moved in zip(phantoms, turned, strict=False):
        np.testing.assert_array_equal(still.pose, np.eye(4))
        assert not np.allclose(moved.pose, np.eye(4))
        np.testing.assert_array_equal(still.centers, moved.centers)
        back = np.linalg.inv(moved.pose)
        np.testing.assert_allclose(back[:3, :3] @ center_mm(moved) + back[:3, 3], center_mm(still), atol=3.0)
        enlarged = np.linalg.det(moved.pose[:3, :3])
        assert 0.9**3 - 1e-6 <= enlarged <= 1.1**3 + 1e-6
        assert volume_cm3(moved) / volume_cm3(still) == pytest.approx(enlarged, rel=0.1)


def test_pose_jitter_keeps_the_brain_in_the_field_of_view(phantoms: list[Phantom], turned: list[Phantom]) -> None:
    for still, moved in zip(phantoms, turned, strict=False):
        enlarged = np.linalg.det(moved.pose[:3, :3])
        assert brain_of(moved).sum() > 0.93 * enlarged * brain_of(still).sum()


# --- writing ---------------------------------------------------------------------------------------------------------


def test_an_interrupted_cohort_is_finished_and_what_was_done_is_kept(tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop(done: int) -> None:
        if done == 2:
            raise Stop

    with pytest.raises(Stop):
        write_cohort(tmp_path, cases=3, spacing_mm=6.0, workers=1, progress=stop)
    assert not (tmp_path / "phantom.json").exists()
    kept = tmp_path / "Phantom_00000" / "Phantom_00000_t1.nii.gz"
    before = kept.stat().st_mtime_ns
    (tmp_path / "Phantom_00001" / "Phantom_00001_t2.nii.gz").unlink()  # torn: is written again
    counted: list[int] = []
    write_cohort(tmp_path, cases=3, spacing_mm=6.0, workers=1, progress=counted.append)
    assert counted == [2, 3]
    assert kept.stat().st_mtime_ns == before
    assert (tmp_path / "Phantom_00001" / "Phantom_00001_t2.nii.gz").exists()
    settings = json.loads((tmp_path / "phantom.json").read_text())
    assert settings["cases"] == 3
    assert {p.name for p in tmp_path.iterdir() if not p.name.startswith(".")} == {
        "phantom.json",
        *(f"Phantom_{i:05d}" for i in range(3)),
    }


def test_other_settings_and_foreign_folders_are_refused(tmp_path: Path) -> None:
    write_cohort(tmp_path / "cohort", cases=1, spacing_mm=6.0, workers=1)
    with pytest.raises(NeuroprintError, match=r"phantom\.json.*another folder"):
        write_cohort(tmp_path / "cohort", cases=1, spacing_mm=6.0, seed=1, workers=1)
    foreign = tmp_path / "foreign"
    (foreign / "BraTS2021_00000").mkdir(parents=True)
    with pytest.raises(NeuroprintError, match="BraTS2021_00000"):
        write_cohort(foreign, cases=1, spacing_mm=6.0, workers=1)
    assert [p.name for p in foreign.iterdir()] == ["BraTS2021_00000"]
    with pytest.raises(NeuroprintError, match="spacing"):
        write_cohort(tmp_path / "new", cases=1, spacing_mm=0.0, workers=1)

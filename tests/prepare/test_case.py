import nibabel as nib
import numpy as np
import pytest

from neuroprint.errors import CaseError
from neuroprint.prepare.case import prepare_case
from neuroprint.prepare.examination import find_examinations
from neuroprint.prepare.page import quality_page
from neuroprint.prepare.verdict import Quality, judged

pytestmark = pytest.mark.slow


def tumor_center_mm(label, affine):
    return (affine @ np.append(np.argwhere(label > 0).mean(axis=0), 1))[:3]


def links(folder, out, *names):
    """Some of a folder's files, in another."""
    out.mkdir(parents=True, exist_ok=True)
    for name in names:
        (out / f"{name}.nii.gz").symlink_to(folder / f"{name}.nii.gz")
    return out


def test_a_head_that_lies_turned_comes_to_lie_on_the_template(prepared_head, turned_head, template):
    phantom = turned_head[1]
    assert set(prepared_head.images) == {"t1", "t1ce", "t2", "flair"}
    assert all(image.shape == template.t1.shape for image in prepared_head.images.values())
    truth = tumor_center_mm(phantom.label, phantom.affine)
    # The template is the mean of other brains: one of its own shape lies some mm beside its own place.
    assert np.linalg.norm(tumor_center_mm(prepared_head.label, prepared_head.affine) - truth) < 8
    brain = phantom.images["t1"] > 0
    found = prepared_head.images["t1"] != 0
    assert 2 * (brain & found).sum() / (brain.sum() + found.sum()) > 0.88


def test_a_label_keeps_its_values_and_its_volume(prepared_head, turned_head):
    phantom = turned_head[1]
    assert set(np.unique(prepared_head.label)) == set(np.unique(phantom.label))
    assert (prepared_head.label > 0).sum() == pytest.approx((phantom.label > 0).sum(), rel=0.1)


def test_a_file_gives_the_same_voxels_in_every_run_whatever_lies_beside_it(
    prepared_head, turned_head, template, tmp_path
):
    folder = links(turned_head[0], tmp_path / "head", "t1", "flair")
    again = prepare_case(find_examinations(folder)[0], template)
    assert set(again.images) == {"t1", "flair"}
    assert all(np.array_equal(image, prepared_head.images[name]) for name, image in again.images.items())


def test_what_is_prepared_already_is_left_as_it_is(prepared_head, template, tmp_path):
    folder = tmp_path / "case"
    folder.mkdir()
    for name, image in prepared_head.images.items():
        nib.save(nib.Nifti1Image(image, template.affine), folder / f"{name}.nii.gz")
    again = prepare_case(find_examinations(folder)[0], template)
    assert again.already
    assert all(np.array_equal(image, prepared_head.images[name]) for name, image in again.images.items())


def test_without_t1_the_contrast_scan_serves_and_missing_series_are_named(turned_head, template, tmp_path):
    folder = links(turned_head[0], tmp_path / "head", "t1ce", "flair")
    made = prepare_case(find_examinations(folder)[0], template)
    assert set(made.images) == {"t1ce", "flair"}
    assert made.verdict == "look at it"
    assert any("there is no T1" in reason for reason in made.reasons)
    assert "there is no t2" in made.reasons


def test_neither_t1_is_one_line(turned_head, template, tmp_path):
    folder = links(turned_head[0], tmp_path / "head", "t2", "flair")
    with pytest.raises(CaseError, match="no T1 with or without contrast"):
        prepare_case(find_examinations(folder)[0], template)


def test_what_is_no_head_fails(template, tmp_path):
    folder = tmp_path / "phantom_bottle"
    folder.mkdir()
    grid = np.stack(np.meshgrid(*(np.linspace(-1.2, 1.2, 90),) * 3, indexing="ij"))
    bottle = (np.hypot(grid[0], grid[1]) < 0.8) & (np.abs(grid[2]) < 1)
    image = 500 * bottle + np.random.default_rng(0).normal(20, 5, bottle.shape)
    for name in ("t1", "t1ce", "t2", "flair"):
        nib.save(nib.Nifti1Image(image.astype(np.int16), np.diag([2.0, 2, 2, 1])), folder / f"{name}.nii.gz")
    assert prepare_case(find_examinations(folder)[0], template).verdict == "failed"


def test_the_page_needs_no_other_file_and_shows_every_series(prepared_head, template):
    page = quality_page(prepared_head, template)
    assert page.count("<figure>") == 4
    assert page.count("data:image/png;base64,") == 36
    assert page.count('class="tumor"') >= 4
    assert f"{prepared_head.quality.brain_ml:.0f} ml" in page
    assert "http" not in page and "src=" not in page


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({}, "good"),
        ({"dice": 0.7}, "look at it"),
        ({"dice": 0.4}, "failed"),
        ({"brain_ml": 300.0}, "failed"),
        ({"covered": {"t1": 1.0, "t1ce": 1.0, "t2": 0.7, "flair": 1.0}}, "look at it"),
        ({"covered": {"t1": 1.0, "t1ce": 1.0, "flair": 1.0}}, "look at it"),
        ({"information": {"flair": 0.02}}, "look at it"),
    ],
)
def test_the_verdict_follows_the_measures(change, verdict):
    whole = {"t1": 1.0, "t1ce": 1.0, "t2": 1.0, "flair": 1.0}
    usual = {"brain_ml": 1400.0, "dice": 0.93, "correlation": 0.7, "covered": whole, "information": {"flair": 0.4}}
    assert judged(Quality(**{**usual, **change}), [])[0] == verdict

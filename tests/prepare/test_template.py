import numpy as np
import pytest

from neuroprint.data.load import load_cohort
from neuroprint.errors import NeuroprintError
from neuroprint.prepare.template import BrainTemplate, cohort_template, mni_template


def test_a_template_is_the_mean_of_the_scaled_scans(template):
    cohort = load_cohort("phantom", cases=12, spacing_mm=2.0)
    import nibabel as nib

    scans = [np.asarray(nib.load(case.images["t1"].path).dataobj, dtype=float) for case in cohort.cases]
    scaled = [np.where(scan != 0, (scan - scan[scan != 0].mean()) / scan[scan != 0].std(), np.nan) for scan in scans]
    everywhere = np.all([scan != 0 for scan in scans], axis=0)
    mean = np.mean([scan[everywhere] for scan in scaled], axis=0)
    assert np.abs((template.t1[everywhere] - 128.0) / 30 - mean).max() <= 0.5 / 30 + 1e-4
    assert template.patients == 12 and (template.share[everywhere] == 255).all()


def test_a_template_comes_back_from_its_file(template, tmp_path):
    template.save(tmp_path / "template.nii.gz")
    again = BrainTemplate.read(tmp_path / "template.nii.gz")
    assert again.digest == template.digest
    assert (again.patients, again.name) == (template.patients, template.name)


def test_the_mean_of_few_is_refused():
    with pytest.raises(NeuroprintError, match="at least 10 patients, found 9"):
        cohort_template(load_cohort("phantom", cases=9, spacing_mm=8.0))


def test_the_mni_template_needs_no_download():
    template = mni_template()
    assert template.t1.shape == (197, 233, 189)
    assert 1500 < template.brain.sum() / 1000 < 2100

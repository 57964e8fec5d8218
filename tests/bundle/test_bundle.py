"""A bundle, opened: what it says of a scan, and that it needs nothing but its folder."""

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from sklearn.decomposition import PCA

from neuroprint.bundle.bundle import Bundle
from neuroprint.data.formats.brats import BraTSFormat
from neuroprint.errors import CaseError
from neuroprint.evaluation.folds import assign_folds
from neuroprint.evaluation.similarity import cosine


@pytest.fixture(scope="module")
def bundle(bundle_folder):
    return Bundle.open(bundle_folder)


def test_a_gallery_case_comes_back_first_with_cosine_1(bundle, small_cohort):
    for case in BraTSFormat(small_cohort).cohort().cases[:3]:
        found = bundle.rank(bundle.embed(case).projected, 3)
        assert found.cases[0] == case.id
        assert found.similarities[0] == pytest.approx(1.0, abs=1e-4)
        assert found.similarities[1] < 0.999


def test_its_gallery_is_what_was_put_in(bundle, embeddings):
    np.testing.assert_array_equal(bundle.embeddings, embeddings.vectors)
    wide = embeddings.vectors.astype(np.float64)
    expected = PCA(n_components=4, svd_solver="full").fit(wide).transform(wide)
    np.testing.assert_allclose(bundle.projected, expected, atol=1e-4)
    assert tuple(bundle.cases["case"]) == embeddings.ids
    assert list(bundle.cases["meta:grade"]) == ["II", "III", "IV"] * 3
    assert isinstance(bundle.projected, np.memmap)
    case = embeddings.ids[4]
    gray, masks = bundle.pictures(case)
    np.testing.assert_array_equal(gray["coronal"], embeddings.scanned.facts[case].mips["coronal"])
    np.testing.assert_array_equal(masks["sagittal"], embeddings.scanned.facts[case].outlines["sagittal"])


def test_a_new_case_is_ranked_as_the_evaluation_ranks(bundle, small_cohort):
    query = bundle.embed(BraTSFormat(small_cohort).cohort().cases[-1])
    found = bundle.rank(query.projected, 4)
    close = cosine(query.projected[None], bundle.projected)[0]
    order = np.argsort(-close, kind="stable")[:4]
    assert found.rows == tuple(order)
    np.testing.assert_array_equal(found.similarities, close[order])
    assert query.side in ("left", "right")
    assert query.volume_cm3 > 0


def out_of_fold(embeddings):
    """Similarities, (9, 9), of each case to those of the two other folds, by a PCA of these; -inf elsewhere."""
    fold = assign_folds([case.patient for case in embeddings.cases], 3, 0)
    wide = embeddings.vectors.astype(np.float64)
    close = np.full((9, 9), -np.inf)
    for held in range(3):
        inside = fold != held
        pca = PCA(n_components=4, svd_solver="full").fit(wide[inside])
        vectors = pca.transform(wide).astype(np.float32)
        close[np.ix_(~inside, inside)] = cosine(vectors[~inside], vectors[inside])
    return close


def test_percentiles_are_those_of_pairs_of_different_folds(bundle, embeddings):
    found = bundle.rank(bundle.projected[0], 9)
    pairs = out_of_fold(embeddings)
    pairs = pairs[np.isfinite(pairs)]
    expected = [100 * (pairs < similarity).mean() for similarity in found.similarities]
    np.testing.assert_allclose(found.percentiles, expected, atol=2.0)
    assert found.percentiles[0] == 100


def test_it_works_from_another_folder_without_anything_it_was_made_from(
    bundle_folder, small_cohort, tmp_path, monkeypatch
):
    scan = BraTSFormat(small_cohort).cohort().cases[-1].images["t1"].path.parent
    copy, case = tmp_path / "elsewhere", tmp_path / scan.name
    shutil.copytree(bundle_folder, copy)
    shutil.copytree(scan, case)
    here = Bundle.open(bundle_folder)
    expected = here.rank(here.embed(here.read_case(case)).projected, 5)
    monkeypatch.chdir(tmp_path)
    there = Bundle.open(copy)
    found = there.rank(there.embed(here.read_case(case)).projected, 5)
    assert found.cases == expected.cases
    np.testing.assert_array_equal(found.similarities, expected.similarities)


def test_a_query_without_a_modality_is_refused(bundle, small_cohort):
    case = BraTSFormat(small_cohort).cohort().cases[0]
    lacking = type(case)(**{**vars(case), "images": {k: v for k, v in case.images.items() if k != "t2"}})
    with pytest.raises(CaseError, match="has no t2 image"):
        bundle.embed(lacking)


@pytest.mark.parametrize(("spacing", "said"), [(1000, "40000 x 44000 x 36000 mm"), (7, "280 x 308 x 252 mm")])
def test_a_scan_that_is_said_to_be_far_larger_than_a_head_is_refused_unread(
    bundle, small_cohort, tmp_path, monkeypatch, spacing, said
):
    case = Path(shutil.copytree(small_cohort / "Small_00009", tmp_path / "Small_00009"))
    for path in case.iterdir():
        nib.save(nib.Nifti1Image(np.asarray(nib.load(path).dataobj), np.diag([spacing] * 3 + [1.0])), path)
    monkeypatch.setattr("neuroprint.data.nifti.NiftiFile.read_frames", lambda *_: pytest.fail("it was read"))
    with pytest.raises(CaseError) as caught:
        bundle.embed(bundle.read_case(case))
    assert str(caught.value) == (
        f"case Small_00009: Small_00009_flair.nii.gz is said to cover {said}, expected at most 600 mm along an axis and "
        "20 liters, and 1 mm at least; correct the voxel sizes in its header"
    )


def test_no_file_of_it_names_a_folder_of_this_machine(bundle_folder, small_cohort):
    for path in bundle_folder.rglob("*"):
        if path.is_file():
            assert str(small_cohort.parent).encode() not in path.read_bytes()

"""A new scan put to a bundle: what is answered, in which form, and what is refused."""

import html
import json
from dataclasses import replace
from pathlib import Path
from shutil import copytree
from xml.etree import ElementTree

import nibabel as nib
import numpy as np
import pytest

from neuroprint.bundle.answer import group_sentences, remarks, to_json
from neuroprint.bundle.bundle import Bundle
from neuroprint.bundle.novelty import Novelty, Reason
from neuroprint.bundle.query import group_columns, groups_of
from neuroprint.cli.commands import main
from neuroprint.errors import CaseError, NeuroprintError


@pytest.fixture(scope="module")
def bundle(bundle_folder):
    return Bundle.open(bundle_folder)


@pytest.fixture(scope="module")
def visits_folder(graded_cohort, make_bundle, tmp_path_factory):
    """A bundle of two visits a patient, whom no folder's name tells, as in a cohort by a manifest."""
    cases = [
        replace(case, patient=f"subject-{n // 2}", metadata={"grade": ["II", "III"][n % 2]})
        for n, case in enumerate(graded_cohort.cases)
    ]
    return make_bundle(tmp_path_factory.mktemp("bundles") / "visits", cases)


@pytest.fixture(scope="module")
def newcomer(small_cohort):
    """The one small case that is not in the gallery."""
    return small_cohort / "Small_00009"


@pytest.fixture(scope="module")
def found(bundle, newcomer):
    return bundle.query(newcomer, 5, "grade")


@pytest.mark.parametrize(
    "copied",
    [
        lambda image: (image - image.mean()) / image.std(),
        lambda image: 2 * (image - image.min()) / np.ptp(image) - 1,
        lambda image: image - 1024,
    ],
    ids=["z-scored", "from -1 to 1", "shifted"],
)
def test_a_scaled_and_shifted_copy_finds_the_scan_it_was_made_from(bundle, small_cohort, tmp_path, copied):
    folder = tmp_path / "copy"
    folder.mkdir()
    for path in (small_cohort / "Small_00003").iterdir():
        image = nib.load(path)
        voxels = np.asanyarray(image.dataobj).astype(np.float64)
        voxels = voxels if "seg" in path.name else copied(voxels)
        nib.save(nib.Nifti1Image(voxels.astype(np.float32), image.affine), folder / path.name)
    first, second = bundle.query(folder, 2).matches
    assert first.case == "Small_00003"
    assert first.similarity > 0.999 > second.similarity


def test_a_scan_without_orientation_is_answered_with_a_warning(bundle, small_cohort, tmp_path, caplog):
    folder = Path(copytree(small_cohort / "Small_00003", tmp_path / "turned"))
    for path in folder.iterdir():
        image = nib.load(path)
        bare = nib.Nifti1Image(np.asanyarray(image.dataobj), None)
        bare.header.set_zooms(image.header.get_zooms())
        nib.save(bare, path)
    bundle.query(folder, 1)
    assert "case turned: " in caplog.text
    assert "has no orientation (neither sform nor qform is set): left and right cannot be told" in caplog.text


@pytest.fixture
def spoilt(newcomer, tmp_path):
    """A copy of the newcomer that a test may spoil."""
    return Path(copytree(newcomer, tmp_path / "Small_00009"))


def run(capsys, *arguments):
    """``neuroprint ...``: its exit code, what it printed, and its complaint."""
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    printed = capsys.readouterr()
    return stopped.value.code, printed.out, printed.err


def test_matches_are_those_of_the_gallery_with_the_distances_of_the_tumors(bundle, found):
    assert [match.rank for match in found.matches] == [1, 2, 3, 4, 5]
    similarities = [match.similarity for match in found.matches]
    assert similarities == sorted(similarities, reverse=True)
    for match in found.matches:
        row = bundle.cases[bundle.cases["case"] == match.case].iloc[0]
        center = row[["x_mm", "y_mm", "z_mm"]].to_numpy(dtype=float)
        assert match.distance_mm == pytest.approx(np.linalg.norm(center - found.query.center_mm))
        assert 0 <= match.percentile <= 100
    assert found.known_as is None


def test_json_is_the_contract_and_nothing_else(found):
    said = json.loads(json.dumps(to_json(found), allow_nan=False))
    assert list(said) == ["query", "bundle", "neighbours", "unlike_gallery", "novelty", "group"]
    assert said["query"] == "Small_00009" and said["bundle"] == found.bundle
    assert list(said["neighbours"][0]) == ["rank", "case", "similarity", "percentile", "distance_mm"]
    assert said["group"]["column"] == "grade" and sum(said["group"]["shares"].values()) == pytest.approx(1)
    assert 0 < said["group"]["p_value"] <= 1
    assert to_json(replace(found, group=None))["group"] is None


def test_without_a_label_distances_are_null_and_the_ranking_is_the_same(bundle, found, spoilt):
    (spoilt / "Small_00009_seg.nii.gz").unlink()
    without = bundle.query(spoilt)
    assert [match.case for match in without.matches] == [match.case for match in found.matches]
    assert {match["distance_mm"] for match in to_json(without)["neighbours"]} == {None}


def test_a_gallery_case_is_known_again_and_lies_on_its_own_place_of_the_map(bundle, small_cohort, tmp_path):
    renamed = Path(copytree(small_cohort / "Small_00003", tmp_path / "Somebody"))
    again = bundle.query(renamed)
    assert again.known_as == "Small_00003" == again.matches[0].case
    np.testing.assert_allclose(again.map_xy, bundle.map_xy[3])
    assert "already, as Small_00003" in remarks(again)[0]


def test_a_newcomer_lies_between_its_nearest_cases_on_the_map(bundle, found):
    near = bundle.map_xy[[match.row for match in found.matches]]
    assert (near.min(axis=0) <= found.map_xy).all() and (found.map_xy <= near.max(axis=0)).all()


def test_what_looks_unlike_the_gallery_is_said_to_be_so(found):
    assert remarks(found) == []
    (said,) = remarks(replace(found, novelty=Novelty(0.01, 99, (Reason("t1/volume", 1900.0, 1020.0, 1300.0),))))
    assert "unlike anything in the gallery" in said and "1,900, in the gallery 1,020 to 1,300" in said


def test_a_resemblance_is_never_stated_without_what_it_is_worth(found):
    resemblance, worth = group_sentences(found)
    assert "vote" in resemblance and "in the gallery" in resemblance
    assert "accuracy" in worth and "permutation p =" in worth and ("not told from" in worth or "better than" in worth)


def test_neighbors_may_vote_on_metadata_and_side(bundle):
    assert group_columns(bundle) == ("grade", "side")
    assert groups_of(bundle, "grade")[:3] == ["II", "III", "IV"]
    assert set(groups_of(bundle, "side")) <= {"left", "right", None}
    with pytest.raises(NeuroprintError, match="no column gender: there is grade, side"):
        groups_of(bundle, "gender")


def test_numbers_that_differ_are_different_groups(bundle):
    numbers = [1000001.0, 1000002.0, 0.1234567, 0.1234568, 3.0, -3.0, np.nan, 1e300, 0.0]
    named = groups_of(replace(bundle, cases=bundle.cases.assign(**{"meta:site": numbers})), "site")
    assert named == ["1000001", "1000002", "0.1234567", "0.1234568", "3", "-3", None, "1e+300", "0"]


def test_a_scan_of_the_gallery_has_no_vote_on_itself_nor_has_its_patient(visits_folder, small_cohort, tmp_path):
    bundle = Bundle.open(visits_folder)
    renamed = Path(copytree(small_cohort / "Small_00003", tmp_path / "Somebody"))
    for patient in (None, "subject-4"):  # what the scan is counts for more than what is said of it
        vote = bundle.query(renamed, 9, "grade", patient).group
        assert vote.neighbors == 7  # of nine cases, two are his
    nearest = next(match for match in bundle.query(renamed, 9).matches if match.row not in (2, 3))
    assert bundle.query(renamed, 1, "grade").group.shares[groups_of(bundle, "grade")[nearest.row]] == 1


def test_whose_scan_it_is_can_be_said(capsys, visits_folder, newcomer):
    for option, voters in (((), 9), (("--patient", "subject-1"), 7), (("--patient", "nobody"), 9)):
        code, out, _ = run(capsys, "query", visits_folder, newcomer, "-k", 9, "--group", "grade", "--json", *option)
        assert code == 0 and json.loads(out)["group"]["neighbours"] == voters


def test_as_many_vote_as_were_asked_for(bundle, newcomer):
    assert [bundle.query(newcomer, k, "grade").group.neighbors for k in (1, 3, 7)] == [1, 3, 7]


def test_the_command_prints_a_table_or_json(capsys, bundle_folder, newcomer, found, tmp_path):
    code, out, err = run(capsys, "query", bundle_folder, newcomer, "-k", 3, "--group", "grade")
    assert (code, err) == (0, "")
    assert all(match.case in out for match in found.matches[:3]) and found.matches[3].case not in out
    assert "permutation p" in out
    code, out, _ = run(capsys, "query", bundle_folder, newcomer, "--json", "--report", tmp_path / "page.html")
    assert code == 0
    assert json.loads(out)["neighbours"] == to_json(found)["neighbours"]
    assert "Small_00009" in (tmp_path / "page.html").read_text()


def test_an_answer_prints_what_the_command_prints(capsys, bundle_folder, newcomer, found):
    printed = str(found)
    for match in found.matches:
        assert (
            match.case in printed and f"{match.similarity:.4f}" in printed and f"{match.distance_mm:.1f} mm" in printed
        )
    assert all(" ".join(sentence.split()) in " ".join(printed.split()) for sentence in group_sentences(found))
    assert "similarity: cosine" in printed
    _, out, _ = run(capsys, "query", bundle_folder, newcomer, "--group", "grade")
    assert sorted(set(out.split())) == sorted(set(printed.split()))  # but for the width of the terminal


def test_an_answer_shows_as_a_table_in_a_notebook(found):
    page = ElementTree.fromstring(f"<div>{found._repr_html_()}</div>")
    heads = [cell.text for cell in page.iter("th")]
    rows = [dict(zip(heads, (cell.text for cell in row), strict=True)) for row in page.find("table/tbody")]
    assert [row["rank"] for row in rows] == ["1", "2", "3", "4", "5"]
    for row, match in zip(rows, found.matches, strict=True):
        assert row["case"] == match.case and float(row["similarity"]) == pytest.approx(match.similarity, abs=5e-5)
        assert float(row["percentile"]) == pytest.approx(match.percentile, abs=0.05)
        assert float(row["distance, mm"]) == pytest.approx(match.distance_mm, abs=0.05)
    asked, *said = (paragraph.text for paragraph in page.iter("p"))
    assert asked == f"Most similar to {found.query.case} in {found.bundle}" and said == group_sentences(found)


def test_no_name_in_an_answer_is_taken_for_markup(found):
    evil = "<img src=x onerror=alert(1)>&[bold red]"
    matches = tuple(replace(match, case=evil, distance_mm=None, percentile=None) for match in found.matches)
    vote = replace(found.group, shares={evil: 1.0}, base_rates={evil: 1.0})
    hostile = replace(found, bundle=evil, query=replace(found.query, case=evil), matches=matches, known_as=evil)
    hostile = replace(hostile, column=evil, group=vote)
    page = hostile._repr_html_()
    assert "<img" not in page
    assert page.count(html.escape(evil)) >= len(matches) + 3
    assert str(hostile).count("[bold red]") >= len(matches) + 3  # rich prints it instead of obeying it
    assert "unknown" in str(hostile) and "None" not in page


def nan(folder):
    return np.where(np.arange(36) == 18, np.nan, 1.0) * np.ones((40, 44, 36), np.float32)


AFFINE = np.array([[-3.0, 0, 0, 0], [0, -3, 0, 130], [0, 0, 3, 0], [0, 0, 0, 1]])  # the cohort's own

SPOILS = {
    "T1 missing": (lambda folder: (folder / "Small_00009_t1.nii.gz").unlink(), "t1"),
    "wrong grid": (lambda folder: save(folder, np.ones((40, 44, 35), np.int16)), "40 x 44 x 35"),
    "NaN": (lambda folder: save(folder, nan(folder)), "NaN"),
    "absurd size": (lambda folder: claim(folder, (30000, 30000, 30000)), "30000 x 30000 x 30000"),
    "not an image": (lambda folder: (folder / "Small_00009_t2.nii.gz").write_bytes(b"PNG"), "no NIfTI"),
    "cut off": (lambda folder: cut(folder / "Small_00009_t2.nii.gz"), "cut off|damaged"),
    "no such folder": (lambda folder: folder.rename(folder.with_name("gone")), "no folder"),
    "a folder of cases": (lambda folder: move_down(folder), "single case"),
}


def save(folder, array):
    nib.save(nib.Nifti1Image(array, AFFINE), folder / "Small_00009_t2.nii.gz")


def claim(folder, shape):
    header = nib.Nifti1Header()
    header.set_data_shape(shape)
    header["vox_offset"] = 352
    header["magic"] = b"n+1"
    (folder / "Small_00009_t2.nii.gz").write_bytes(header.binaryblock + bytes(100))


def cut(path):
    path.write_bytes(path.read_bytes()[:3000])


def move_down(folder):
    aside = folder.rename(folder.with_name("aside"))
    folder.mkdir()
    aside.rename(folder / "Small_00009")


@pytest.mark.parametrize("spoil", SPOILS)
def test_bad_input_is_one_clear_line_and_exit_1(capsys, bundle_folder, spoilt, spoil):
    ruin, said = SPOILS[spoil]
    ruin(spoilt)
    code, out, err = run(capsys, "query", bundle_folder, spoilt)
    assert code == 1 and out == ""
    assert err.count("\n") == 1
    assert any(word in err for word in said.split("|")), err


def test_bad_options_are_one_clear_line_and_exit_1(capsys, bundle_folder, newcomer, tmp_path):
    for arguments, said in (
        ((bundle_folder, newcomer, "-k", 0), "-k 0"),
        ((bundle_folder, newcomer, "--group", "gender"), "there is grade, side"),
        ((bundle_folder, newcomer, "--report", tmp_path / "no" / "page.html"), "cannot be written"),
        ((tmp_path, newcomer), "no bundle"),
    ):
        code, out, err = run(capsys, "query", *arguments)
        assert code == 1 and out == "" and err.count("\n") == 1 and said in err


def test_more_than_the_gallery_has_is_all_it_has(bundle, newcomer):
    assert len(bundle.query(newcomer, 500).matches) == 9


def test_errors_name_the_case(bundle, spoilt):
    (spoilt / "Small_00009_t1.nii.gz").unlink()
    with pytest.raises(CaseError) as error:
        bundle.query(spoilt)
    assert error.value.case == "Small_00009"

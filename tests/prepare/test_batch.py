import json

import numpy as np
import pytest

from neuroprint.data.formats.brats import BraTSFormat
from neuroprint.data.volume import read_volume
from neuroprint.errors import NeuroprintError
from neuroprint.prepare.batch import ABOUT, QUALITY_PAGE, prepare_all
from neuroprint.prepare.examination import find_examinations


def test_a_case_is_written_as_brats_are_and_kept_by_the_next_call(
    prepared_head, turned_head, template, tmp_path, monkeypatch
):
    monkeypatch.setattr("neuroprint.prepare.batch.prepare_case", lambda *given: prepared_head)
    examinations = find_examinations(turned_head[0])
    (outcome,) = prepare_all(examinations, tmp_path, template, workers=1)
    assert not outcome.kept
    case = BraTSFormat(tmp_path).cohort().cases[0]
    volume = read_volume(case, ("flair", "t1ce", "t1", "t2"))
    assert np.array_equal(volume.images[2], prepared_head.images["t1"])
    assert np.array_equal(volume.label, prepared_head.label)
    assert (tmp_path / case.id / QUALITY_PAGE).read_text().startswith("<!doctype html>")
    record = json.loads((tmp_path / case.id / ABOUT).read_text())
    assert record["verdict"] == prepared_head.verdict
    assert str(turned_head[0]) not in json.dumps(record)

    def fail(*given):
        raise AssertionError("it was prepared again")

    monkeypatch.setattr("neuroprint.prepare.batch.prepare_case", fail)
    assert prepare_all(examinations, tmp_path, template, workers=1)[0].kept
    (tmp_path / case.id / f"{case.id}_t2.nii.gz").unlink()
    with pytest.raises(AssertionError, match="again"):
        prepare_all(examinations, tmp_path, template, workers=1)
    with pytest.raises(AssertionError, match="again"):
        prepare_all(examinations, tmp_path, template, affine=True, workers=1)


def test_what_cannot_be_prepared_is_an_outcome_and_no_end(turned_head, template, tmp_path):
    (tmp_path / "raw" / "empty_t1").mkdir(parents=True)
    (tmp_path / "raw" / "empty_t1" / "t1.nii.gz").write_bytes(b"")
    (tmp_path / "raw" / "two").mkdir()
    for name in ("t1.nii.gz", "t1_again.nii.gz"):
        (tmp_path / "raw" / "two" / name).symlink_to(turned_head[0] / "t1.nii.gz")
    outcomes = prepare_all(find_examinations(tmp_path / "raw"), tmp_path / "out", template, workers=1)
    assert [(outcome.id, outcome.verdict) for outcome in outcomes] == [("empty_t1", "failed"), ("two", "failed")]
    assert "is empty" in outcomes[0].reasons[0]
    assert "2 series may be its t1: t1.nii.gz, t1_again.nii.gz" in outcomes[1].reasons[0]


def test_a_folder_of_somebody_elses_is_not_touched(turned_head, template, tmp_path):
    mine = tmp_path / "head" / "notes.txt"
    mine.parent.mkdir()
    mine.write_text("mine")
    (outcome,) = prepare_all(find_examinations(turned_head[0]), tmp_path, template, workers=1)
    assert outcome.verdict == "failed" and "was not made by neuroprint" in outcome.reasons[0]
    assert mine.read_text() == "mine"


def test_an_option_settles_which_of_two_series_is_meant(turned_head, tmp_path):
    folder = tmp_path / "two"
    folder.mkdir()
    for name in ("t1.nii.gz", "t1_again.nii.gz"):
        (folder / name).symlink_to(turned_head[0] / "t1.nii.gz")
    (chosen,) = find_examinations(folder, {"t1": "*again*"})
    assert chosen.series["t1"].name == "t1_again.nii.gz"
    (neither,) = find_examinations(folder, {"t1": "*mprage*"})
    assert "names none of its series" in neither.problem


@pytest.mark.parametrize(("given", "said"), [({"pd": "*"}, "must be one of"), ({}, "neither NIfTI nor DICOM")])
def test_a_wrong_modality_and_an_empty_folder_are_said(tmp_path, given, said):
    with pytest.raises(NeuroprintError, match=said):
        find_examinations(tmp_path, given)

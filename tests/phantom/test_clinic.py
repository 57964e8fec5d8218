"""The clinic's phantoms: columns that are what they are said to be, and default phantoms that stay as they were."""

from __future__ import annotations

import csv
import hashlib
import json
import platform
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import neuroprint as npr
from neuroprint.cli.commands import main
from neuroprint.data.doctor import check_cohort
from neuroprint.data.formats.brats import BraTSFormat
from neuroprint.data.formats.manifest import ManifestFormat
from neuroprint.data.volume import read_volume
from neuroprint.errors import NeuroprintError
from neuroprint.phantom import PHANTOM_MODALITIES, Phantom, PhantomSettings, make_phantom, write_cohort
from neuroprint.phantom.clinic import (
    CLINIC_COLUMNS,
    SCANNERS,
    TUMOR_OF_GRADE,
    Examination,
    Patient,
    examination,
    patient_of,
    survival_of,
)
from neuroprint.phantom.cohort import TABLE_FILE
from neuroprint.phantom.dataset import ClinicFormat, PhantomFormat
from neuroprint.phantom.generate import build

COARSE = PhantomSettings(8.0, clinic=True)
SCANS = 7  # of seed 0, among them the two of Clinic-00003


@pytest.fixture(scope="module")
def patients() -> list[Patient]:
    return [patient_of(0, number) for number in range(2000)]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clinic") / "cohort"
    write_cohort(folder, SCANS, 8.0, workers=1, clinic=True)
    return folder


def made(scan: Examination) -> Phantom:
    return build(scan.draws(), COARSE, with_tissues=False)


# --- default phantoms ------------------------------------------------------------------------------------------------


@pytest.mark.skipif(platform.machine() != "x86_64", reason="a rounding may fall to the other side")
def test_default_phantoms_are_what_they_were_before_there_was_a_clinic() -> None:
    phantom = make_phantom(0, 2, PhantomSettings(8.0))
    images = b"".join(phantom.images[name].tobytes() for name in PHANTOM_MODALITIES)
    assert hashlib.sha256(images).hexdigest() == "06d47fa889c5537a5ff52874c9c4e01e2e6406015f9d622993f021f6da60db03"
    assert hashlib.sha256(phantom.label.tobytes()).hexdigest() == (
        "d3ede882898885bb124c14802afaa508bd6a3eea6e24786ba1a1bf742ad77053"
    )


def test_the_settings_of_a_default_cohort_are_what_they_were(tmp_path: Path) -> None:
    write_cohort(tmp_path, 1, 8.0, workers=1)
    assert json.loads((tmp_path / "phantom.json").read_text()) == {
        "generator_version": 1,
        "cases": 1,
        "spacing_mm": 8.0,
        "seed": 0,
        "pose_jitter": False,
    }
    assert not (tmp_path / TABLE_FILE).exists()


# --- columns, without images -----------------------------------------------------------------------------------------


def test_shares_are_as_said(patients: list[Patient]) -> None:
    assert np.mean([patient.grade == "HGG" for patient in patients]) == pytest.approx(0.6, abs=0.04)
    assert np.mean([patient.response == "yes" for patient in patients]) == pytest.approx(0.5, abs=0.04)
    assert np.mean([patient.event == 0 for patient in patients]) == pytest.approx(0.3, abs=0.05)
    assert np.mean([patient.growth == 1 for patient in patients]) == pytest.approx(0.25, abs=0.05)
    for column in ("grade", "response"):
        assert np.mean([column in patient.missing for patient in patients]) == pytest.approx(0.05, abs=0.02)
    assert {age for patient in patients if not 20 <= (age := patient.age) <= 85} == set()
    assert max(patient.volume_cm3 * patient.growth for patient in patients) < 240.001


def test_columns_do_not_depend_on_each_other_but_survival_on_volume(patients: list[Patient]) -> None:
    columns = {
        "grade": [patient.grade == "HGG" for patient in patients],
        "response": [patient.response == "yes" for patient in patients],
        "age": [patient.age for patient in patients],
        "days": np.log([patient.survival_days for patient in patients]),
        "volume": np.log([patient.volume_cm3 for patient in patients]),
        "growth": [patient.growth for patient in patients],
    }
    found = np.corrcoef(np.array(list(columns.values()), float))
    days, volume = (list(columns).index(name) for name in ("days", "volume"))
    assert found[days, volume] < -0.4
    found[[days, volume], [volume, days]] = 0
    small = np.abs(found - np.eye(len(columns)))
    # Only growth, which the largest tumor sets a limit to, knows of volume.
    growth = list(columns).index("growth")
    small[[growth, growth, volume, days], [volume, days, growth, growth]] = 0
    assert small.max() < 0.07


def test_the_larger_tumor_dies_first_in_about_three_of_four_pairs(patients: list[Patient]) -> None:
    volume, days, died = np.array([(p.volume_cm3, p.survival_days, p.event) for p in patients]).T
    comparable = (days[:, None] < days) & (died[:, None] == 1)
    concordance = (volume[:, None] > volume)[comparable].mean()
    assert 0.70 < concordance < 0.78


def test_half_of_the_patients_with_80_cm3_live_for_470_days() -> None:
    rng = np.random.default_rng(0)
    days, died = np.array([survival_of(80.0, rng) for _ in range(4000)]).T
    left = np.array(
        [((days >= day) & (died == 1) & (days == day)).sum() / (days >= day).sum() for day in range(1, 471)]
    )
    assert np.prod(1 - left) == pytest.approx(0.5, abs=0.03)  # Kaplan and Meier
    assert days.min() >= 1


def test_one_patient_of_five_has_two_scans() -> None:
    scans = [examination(3, index) for index in range(600)]
    counted = Counter(scan.patient.id for scan in scans)
    assert len(counted) == 500
    assert Counter(counted.values()) == {1: 400, 2: 100}
    assert [scan.id for scan in scans] == sorted({scan.id for scan in scans})
    assert Counter(scan.session for scan in scans) == {0: 500, 1: 100}
    twice = [scan.patient.number % 5 for scan in scans if scan.session]
    assert set(twice) == set(range(5))


def test_the_columns_of_two_scans_differ_in_the_scanner_only() -> None:
    pairs = [
        (first.columns, second.columns)
        for first, second in ((examination(0, index), examination(0, index + 1)) for index in range(300))
        if second.session
    ]
    scans = ("scanner", "field_strength")
    for first, second in pairs:
        assert {k: v for k, v in first.items() if k not in scans} == {k: v for k, v in second.items() if k not in scans}
    assert np.mean([a["scanner"] == b["scanner"] for a, b in pairs]) == pytest.approx(1 / 3, abs=0.2)


def test_scanners_are_drawn_alike_for_every_grade_and_volume() -> None:
    scans = [examination(0, index) for index in range(1800)]
    for name in SCANNERS:
        used = [scan for scan in scans if scan.scanner == name]
        assert len(used) / len(scans) == pytest.approx(1 / 3, abs=0.04)
        assert np.mean([scan.patient.grade == "HGG" for scan in used]) == pytest.approx(0.6, abs=0.06)
        logs = [np.log(scan.patient.volume_cm3) for scan in used]
        assert np.mean(logs) == pytest.approx(np.mean([np.log(scan.patient.volume_cm3) for scan in scans]), abs=0.1)


# --- images ----------------------------------------------------------------------------------------------------------


def test_another_scanner_sees_the_same_tumor_in_another_way() -> None:
    scan = examination(0, 2)
    seen = {name: made(replace(scan, scanner=name)) for name in SCANNERS}
    for phantom in seen.values():
        np.testing.assert_array_equal(phantom.label, seen["A"].label)
    assert not np.array_equal(seen["A"].images["t1"], seen["B"].images["t1"])

    def contrast(phantom: Phantom) -> float:
        low, high = np.percentile(phantom.images["t2"][phantom.images["t2"] > 0], [10, 90])
        return float(np.log(high / low))

    assert contrast(seen["A"]) < contrast(seen["B"]) < contrast(seen["C"])


def test_a_response_changes_no_voxel() -> None:
    scan = examination(0, 2)
    other = replace(scan, patient=replace(scan.patient, response="yes", survival_days=1, event=0))
    assert scan.patient.response == "no"
    for name in PHANTOM_MODALITIES:
        np.testing.assert_array_equal(made(scan).images[name], made(other).images[name])


def test_high_grades_enhance_more_but_not_always() -> None:
    from neuroprint.phantom.anatomy import make_anatomy
    from neuroprint.phantom.template import load_template
    from neuroprint.phantom.tumor import make_tumor

    person = make_anatomy(load_template(), np.random.default_rng(0))
    rims = {
        grade: np.array([make_tumor(person, np.random.default_rng(n), 1.0, kind)[0].rim_mm for n in range(6)])
        for grade, kind in TUMOR_OF_GRADE.items()
    }
    assert (rims["HGG"] > 0).mean() > 0.7 > (rims["LGG"] > 0).mean() > 0
    assert TUMOR_OF_GRADE["LGG"].rim_mm[1] > TUMOR_OF_GRADE["HGG"].rim_mm[0]


def test_the_second_scan_shows_the_same_head_with_a_tumor_that_has_grown() -> None:
    first, second = next(
        (examination(0, index - 1), scan)
        for index in range(1, 60)
        if (scan := examination(0, index)).session and scan.patient.growth > 1.5
    )
    one, other = made(first), made(second)
    np.testing.assert_array_equal(one.centers, other.centers)
    ill, later = one.label > 0, other.label > 0
    assert later.sum() / ill.sum() == pytest.approx(second.patient.growth, rel=0.1)
    assert (later & ill).sum() > 0.8 * ill.sum()
    brains = [phantom.images["t1"] > 0 for phantom in (one, other)]
    assert (brains[0] & brains[1]).sum() > 0.95 * (brains[0] | brains[1]).sum()


def test_the_tumor_is_as_large_as_survival_was_drawn_for_at_any_spacing_and_in_any_pose() -> None:
    for index in range(3):
        scan = examination(0, index)
        for settings in (COARSE, replace(COARSE, spacing_mm=5.0), replace(COARSE, pose_jitter=True)):
            phantom = make_phantom(0, index, settings)
            grown = np.linalg.det(phantom.pose[:3, :3])
            cm3 = (phantom.label > 0).sum() * settings.spacing_mm**3 / 1000
            assert cm3 / grown == pytest.approx(scan.patient.volume_cm3, rel=0.1)


# --- the cohort ------------------------------------------------------------------------------------------------------


def test_a_case_is_the_same_in_cohorts_of_every_size(written: Path, tmp_path: Path) -> None:
    write_cohort(tmp_path, 3, 8.0, workers=1, clinic=True)
    files = [path.relative_to(tmp_path) for path in tmp_path.glob("Clinic-*/*")]
    assert len(files) == 3 * 5
    for file in files:
        assert (tmp_path / file).read_bytes() == (written / file).read_bytes()
    few, many = ((folder / TABLE_FILE).read_text().splitlines() for folder in (tmp_path, written))
    assert few == many[:4]


def test_columns_do_not_depend_on_the_spacing(written: Path, tmp_path: Path) -> None:
    write_cohort(tmp_path, 2, 7.0, workers=1, clinic=True)
    assert (tmp_path / TABLE_FILE).read_text().splitlines() == (written / TABLE_FILE).read_text().splitlines()[:3]


def test_the_cohort_has_the_columns_and_the_scans_of_a_patient_together(written: Path) -> None:
    shutil.copytree(written, (reader := ClinicFormat(written.parent, SCANS, 8.0)).folder, dirs_exist_ok=True)
    cohort = npr.load_cohort("phantom_clinic", written.parent, cases=SCANS, spacing_mm=8.0)
    assert (cohort.name, cohort.frame, len(cohort), len(cohort.patients)) == ("phantom_clinic", "world", 7, 6)
    assert set(cohort.columns) == set(CLINIC_COLUMNS)
    for index, case in enumerate(cohort.cases):
        scan = examination(0, index)
        assert (case.id, case.patient, case.metadata) == (scan.id, scan.patient.id, scan.columns)
    assert [case.patient for case in cohort.cases].count("Clinic-00003") == 2
    assert not check_cohort(cohort, cohort.modalities)
    assert set(np.unique(read_volume(cohort.cases[0], ("t1",)).label)) == {0, 1, 2, 3}
    alone = reader.case(reader.folder / cohort.cases[0].id)
    assert alone == replace(cohort.cases[0], metadata={})


def test_turned_heads_are_compared_in_their_own_frame(tmp_path: Path) -> None:
    assert ClinicFormat(tmp_path, 1, 8.0, pose_jitter=True).cohort().frame == "brain"


def test_the_folder_is_a_brats_cohort_and_its_table_a_manifest(written: Path) -> None:
    folders, table = BraTSFormat(written).cohort(), ManifestFormat(written / TABLE_FILE, "brats2023").cohort()
    assert folders.cases == tuple(replace(case, metadata={}) for case in table.cases)
    assert not folders.excluded


def test_a_missing_value_is_an_empty_cell_and_no_metadata(tmp_path: Path, written: Path) -> None:
    lacking = next(index for index in range(100) if examination(0, index).patient.missing)
    assert not examination(0, lacking).patient.missing & set(examination(0, lacking).columns)
    with (written / TABLE_FILE).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["grade"] for row in rows] == [examination(0, n).columns.get("grade", "") for n in range(SCANS)]
    text = (written / TABLE_FILE).read_text().replace(",HGG,", ",,", 1)
    shutil.copytree(written, tmp_path / "copy")
    (tmp_path / "copy" / TABLE_FILE).write_text(text)
    cohort = ManifestFormat(tmp_path / "copy" / TABLE_FILE, "brats2023").cohort()
    assert sum("grade" not in case.metadata for case in cohort.cases) == 1


def test_a_lost_table_or_case_is_written_again(written: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(written, tmp_path / "copy")
    (folder / TABLE_FILE).unlink()
    lost = folder / "Clinic-00003-001" / "Clinic-00003-001-t2w.nii.gz"
    lost.unlink()
    counted: list[int] = []
    write_cohort(folder, SCANS, 8.0, workers=1, progress=counted.append, clinic=True)
    assert counted == [SCANS]
    for file in (lost, folder / TABLE_FILE):
        assert file.read_bytes() == (written / file.relative_to(folder)).read_bytes()


def test_a_clinic_and_a_default_cohort_do_not_share_a_folder(written: Path) -> None:
    with pytest.raises(NeuroprintError, match="another folder"):
        write_cohort(written, SCANS, 8.0, workers=1)
    folders = {reader("root", 80).folder for reader in (PhantomFormat, ClinicFormat)}
    assert len(folders) == 2


def test_the_command_writes_a_clinic(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["phantom", str(tmp_path / "out"), "--cases", "1", "--spacing", "8", "--clinic"])
    assert "1 phantoms in" in capsys.readouterr().out
    assert (tmp_path / "out" / TABLE_FILE).is_file()

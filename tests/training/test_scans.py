"""Labeled scans: split by patient, prepared once for each way to see them, and never those of an evaluation's phantoms."""

import csv
import dataclasses
import json
import logging
import shutil

import pytest
import torch

from neuroprint.data.digests import file_sha256
from neuroprint.encoders.base import InputSpec
from neuroprint.errors import NeuroprintError
from neuroprint.phantom.seeds import FIRST_TRAINING_SEED
from neuroprint.training.scans import ScanSource

MODALITIES = ("flair", "t1ce", "t1", "t2")
SPEC = InputSpec(MODALITIES, spacing_mm=6.0, divisor=32)


def source(root, cache, spec=SPEC, **change):
    return ScanSource(spec, root, 0, **{"validation_share": 0.3, "size": (64, 64, 32), "cache": cache, **change})


@pytest.fixture
def own_cohort(small_cohort, tmp_path):
    """A copy that may be changed."""
    return shutil.copytree(small_cohort, tmp_path / "own")


def test_scans_are_split_by_patient_and_prepared_as_for_extraction(small_cohort, tmp_path):
    scans = source(small_cohort, tmp_path)
    learn, keep = scans._split
    assert {case.id for case in learn} & {case.id for case in keep} == set()
    assert len(learn) + len(keep) == 10
    image, regions = next(scans.validation())
    assert image.shape[0] == 4
    assert regions.sum() > 0
    again = source(small_cohort, tmp_path / "other")
    torch.testing.assert_close(scans.example(2).image, again.example(2).image, rtol=0, atol=0)


def test_the_split_is_not_the_hold_outs(small_cohort, tmp_path):
    from neuroprint.evaluation.folds import in_holdout

    scans = source(small_cohort, tmp_path, validation_share=0.5)
    held = {case.patient for side in scans._split for case in side if in_holdout(case.patient, 0.5)}
    assert {case.patient for case in scans._split[1]} != held


@pytest.mark.parametrize(
    "change", [{"modalities": MODALITIES[::-1]}, {"crop": "image"}, {"orientation": "RAS"}, {"divisor": 16}]
)
def test_scans_that_were_prepared_for_another_network_are_not_taken(small_cohort, tmp_path, change):
    changed = dataclasses.replace(SPEC, **change)
    next(source(small_cohort, tmp_path / "shared").validation())
    found = next(source(small_cohort, tmp_path / "shared", changed).validation())
    expected = next(source(small_cohort, tmp_path / "own", changed).validation())
    torch.testing.assert_close(found.image, expected.image, rtol=0, atol=0)


def test_a_scan_that_cannot_be_read_is_named_and_left_out(own_cohort, tmp_path, caplog):
    broken = source(own_cohort, tmp_path / "a")._split[0][0].id
    (own_cohort / broken / f"{broken}_t1.nii.gz").write_bytes(b"torn")
    scans = source(own_cohort, tmp_path / "b")
    with caplog.at_level(logging.WARNING):
        scans.ready()
    assert [broken in record.getMessage() for record in caplog.records] == [True]
    assert broken not in {case.id for case in scans._usable[0]}
    assert len(scans._usable[0]) == len(scans._split[0]) - 1


def test_what_was_learned_from_is_marked_and_what_validates_is_not(small_cohort, tmp_path):
    scans = source(small_cohort, tmp_path)
    learn, keep = ([file_sha256(case.images["t1"].path)[:16] for case in side] for side in scans._split)
    assert set(learn) <= scans.learned_from
    assert not set(keep) & scans.learned_from
    assert len(scans.learned_from) == 4 * len(learn)


@pytest.mark.parametrize("share", [0.0, 1.0, 0.001])
def test_a_split_with_an_empty_side_is_refused(small_cohort, tmp_path, share):
    with pytest.raises(NeuroprintError, match="validation_share"):
        source(small_cohort, tmp_path, validation_share=share)


def test_a_modality_that_no_scan_has_is_named_at_once(small_cohort, tmp_path):
    with pytest.raises(NeuroprintError, match="the encoder needs the modalities flair, adc"):
        source(small_cohort, tmp_path, dataclasses.replace(SPEC, modalities=("flair", "adc")))


def test_phantoms_of_an_evaluations_seed_are_refused_wherever_they_lie(own_cohort, tmp_path):
    (own_cohort / "phantom.json").write_text(json.dumps({"seed": 3}))
    with pytest.raises(NeuroprintError, match=r"seed 3: .* kept for evaluation"):
        source(own_cohort, tmp_path)
    with pytest.raises(NeuroprintError, match="kept for evaluation"):
        source(manifest(own_cohort, tmp_path), tmp_path, labels="brats")
    (own_cohort / "phantom.json").write_text(json.dumps({"seed": FIRST_TRAINING_SEED}))
    source(own_cohort, tmp_path)


def test_a_manifests_labels_have_to_be_explained(own_cohort, tmp_path):
    table = manifest(own_cohort, tmp_path)
    with pytest.raises(NeuroprintError, match=r"learn_from\.labels=any: .* learn_from\.labels=brats") as refusal:
        source(table, tmp_path)
    assert "\n" not in str(refusal.value)
    with pytest.raises(NeuroprintError, match=r"learn_from\.labels=brat: expected one of"):
        source(table, tmp_path, labels="brat")
    assert next(source(table, tmp_path, labels="brats").validation()).regions.sum() > 0


def manifest(cohort, folder):
    table = folder / "cases.csv"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", *MODALITIES, "label"])
        for case in sorted(path for path in cohort.iterdir() if path.is_dir()):
            writer.writerow([case.name, *(case / f"{case.name}_{name}.nii.gz" for name in (*MODALITIES, "seg"))])
    return table

"""What is unlike a gallery: rarely a scan of its own kind, often one of another, and never with few patients."""

import json
from dataclasses import replace
from pathlib import Path
from shutil import copytree

import nibabel as nib
import numpy as np
import pytest

import neuroprint as npr
from neuroprint.bundle.add import add_cases
from neuroprint.bundle.answer import remarks, to_json
from neuroprint.bundle.bundle import Bundle
from neuroprint.bundle.novelty import ALARMS, Novelty, Reason, novelty
from neuroprint.bundle.report import report
from neuroprint.cli.commands import main
from neuroprint.data.appearance import FACTS

NAMES = [f"{series}/{fact}" for series in ("flair", "t1") for fact in FACTS]
WIDTHS = 10.0 ** np.linspace(-3, 3, len(NAMES))


def draw(rng, n):
    """n scans of one kind: numbers of heavy tails, each in a unit of its own and bound to others, and their embeddings."""
    numbers = rng.standard_t(3, size=(n, len(NAMES))) @ np.linalg.qr(MIX)[0] * WIDTHS + 5
    return numbers, rng.gamma(2.0, size=(n, 40)) @ TURN


MIX, TURN = np.random.default_rng(1).normal(size=(len(NAMES),) * 2), np.random.default_rng(2).normal(size=(40, 60))


def named(n, visits=1):
    return [f"patient-{row // visits:03d}" for row in range(n)]


def share_flagged(patients, draws, one_more=draw, seed=0):
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(draws):
        numbers, vectors = one_more(rng, len(patients) + 1)
        found.append(novelty(NAMES, numbers[:-1], vectors[:-1], patients, numbers[-1], vectors[-1]).is_unlike)
    return float(np.mean(found))


@pytest.mark.parametrize(("n", "exact"), [(20, 1 / 21), (50, 2 / 51)])
def test_of_new_scans_of_the_gallerys_kind_as_many_are_flagged_as_the_count_of_patients_allows(n, exact):
    draws = 500
    error = (exact * (1 - exact) / draws) ** 0.5
    found = share_flagged(named(n), draws)
    assert abs(found - exact) < 3.5 * error and exact <= ALARMS


def test_a_patient_of_many_visits_counts_once():
    """Five visits each of 20 patients: counted by case, half of the patients' spread would be missing from the gallery."""

    def visits(rng, n):
        people = (n + 4) // 5
        base, vectors = draw(rng, people)
        own = np.arange(n) // 5
        return base[own] + 0.2 * WIDTHS * rng.normal(size=(n, len(NAMES))), vectors[own] + 0.1 * rng.normal(
            size=(n, 60)
        )

    draws = 200
    assert share_flagged(named(100, 5), draws, visits) <= 1 / 21 + 3.5 * (1 / 21 / draws) ** 0.5
    rng = np.random.default_rng(3)
    numbers, vectors = visits(rng, 101)
    found = novelty(NAMES, numbers[:-1], vectors[:-1], named(100, 5), numbers[-1], vectors[-1])
    assert found.patients == 20 and round(21 * found.p_value, 6).is_integer()


def test_the_order_of_the_gallery_changes_nothing():
    rng = np.random.default_rng(4)
    numbers, vectors = draw(rng, 31)
    order = rng.permutation(30)
    one = novelty(NAMES, numbers[:-1], vectors[:-1], named(30), numbers[-1], vectors[-1])
    patients = [named(30)[row] for row in order]
    assert novelty(NAMES, numbers[order], vectors[order], patients, numbers[-1], vectors[-1]).p_value == one.p_value


@pytest.mark.parametrize("change", ["a number", "the embedding's direction", "the embedding's length"])
def test_what_is_far_off_is_flagged_by_what_it_is_far_off_in(change):
    rng = np.random.default_rng(5)
    numbers, vectors = rng.normal(size=(41, len(NAMES))), rng.normal(size=(41, 60)) + 3
    new, vector = numbers[-1].copy(), vectors[-1].copy()
    assert not novelty(NAMES, numbers[:-1], vectors[:-1], named(40), new, vector).is_unlike
    if change == "a number":
        new[9], expected = 30.0, "flair, intensity within 6 mm of the surface: 30.0, in the gallery "
    elif change == "the embedding's direction":
        vector, expected = -vector, "angle to the nearest embedding, degrees"
    else:
        vector, expected = vector * 20, "length of the embedding"
    found = novelty(NAMES, numbers[:-1], vectors[:-1], named(40), new, vector)
    assert found.is_unlike and expected in found.because


def test_with_19_patients_nothing_is_said_whatever_the_scan():
    numbers, vectors = draw(np.random.default_rng(6), 21)
    for visits in (1, 2):
        patients = [f"patient-{row}" for row in range(19) for _ in range(visits)]
        rows = np.repeat(np.arange(19), visits)
        found = novelty(NAMES, numbers[rows], vectors[rows], patients, numbers[20] + 1e6, vectors[20] * 1e3)
        assert found == Novelty(None, 19) and not found.is_unlike and found.because == ""
    assert novelty(NAMES, numbers[:20], vectors[:20], named(20), numbers[20] + 1e6, vectors[20] * 1e3).is_unlike


def test_numbers_that_are_the_same_in_all_scans_do_not_count():
    rng = np.random.default_rng(7)
    numbers, vectors = np.ones((31, 4)), np.ones((31, 5))
    same = novelty(NAMES[:4], numbers[:-1], vectors[:-1], named(30), numbers[-1], vectors[-1])
    assert same.p_value == 1.0 and not same.reasons
    numbers = np.column_stack([numbers, rng.normal(size=31)])
    wide = novelty(NAMES[:5], numbers[:-1], vectors[:-1], named(30), numbers[-1], vectors[-1])
    narrow = novelty(NAMES[4:5], numbers[:-1, 4:], vectors[:-1], named(30), numbers[-1, 4:], vectors[-1])
    assert wide.p_value == narrow.p_value


def test_of_a_large_gallery_500_patients_stand_for_all():
    numbers, vectors = draw(np.random.default_rng(8), 701)
    found = novelty(NAMES, numbers[:-1], vectors[:-1], named(700), numbers[-1] + 100 * WIDTHS, vectors[-1])
    assert found.patients == 500 and found.p_value == pytest.approx(1 / 501)


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        (Reason("t1/volume", 2410.4, 1020.2, 1300.0), f"t1, {FACTS['volume']}: 2,410, in the gallery 1,020 to 1,300"),
        (
            Reason("t1|t2/correlation", 0.71, -0.2, 0.4),
            "correlation of t1 and t2: 0.710, in the gallery -0.200 to 0.400",
        ),
        (Reason("flair/height", 0.0, 155.0, 155.0), f"flair, {FACTS['height']}: 0, in the gallery 155"),
    ],
)
def test_a_reason_is_a_number_beside_those_of_the_gallery(reason, said):
    assert str(reason) == said


@pytest.fixture(scope="module")
def cases(tmp_path_factory, write_small_case):
    root = tmp_path_factory.mktemp("many")
    for number in range(24):
        write_small_case(root / f"Many_{number:05d}", number)
    return root


@pytest.fixture(scope="module")
def folder(cases, tmp_path_factory):
    """A bundle of 22 patients whose embedding does not see T2."""
    home = tmp_path_factory.mktemp("bundles")
    encoder = {"_target_": "neuroprint.encoders.voxels.VoxelEncoder", "cells": [6, 6, 5]}
    cohort = npr.load_cohort("brats", cases, store=home / "store")
    gallery = replace(cohort, cases=cohort.cases[:22])
    npr.Bundle.build(npr.embed(gallery, encoder, store=home / "store", device="cpu"), path=home / "bundle")
    return home / "bundle"


def emptied(case, modality, to):
    """A copy of a case of which one series holds a single voxel: an empty one would be refused as no image."""
    copied = Path(copytree(case, to / case.name))
    file = copied / f"{case.name}_{modality}.nii.gz"
    image = nib.load(file)
    voxels = np.zeros(image.shape, np.int16)
    voxels[20, 22, 18] = 300
    nib.save(nib.Nifti1Image(voxels, image.affine), file)
    return copied


def test_a_missing_series_is_flagged_although_the_embedding_is_the_same(folder, cases, tmp_path):
    bundle = Bundle.open(folder)
    whole = bundle.embed(bundle.read_case(cases / "Many_00022"))
    assert not bundle.novelty(whole).is_unlike
    for modality in ("flair", "t2"):
        without = bundle.embed(bundle.read_case(emptied(cases / "Many_00022", modality, tmp_path / modality)))
        found = bundle.novelty(replace(without, embedding=whole.embedding, projected=whole.projected))
        assert found.is_unlike and f"{modality}, " in found.because


def test_the_table_of_cases_holds_what_the_images_look_like(folder):
    bundle = Bundle.open(folder)
    looks = [column for column in bundle.cases.columns if column.startswith("image:")]
    assert len(looks) == 4 * len(FACTS) + 6
    assert bundle.cases[looks].notna().all().all()
    np.testing.assert_allclose(bundle.cases["image:t1/volume"], 27 * bundle.cases["image:t2/volume"] / 27)


def test_a_case_of_the_gallery_is_not_unlike_it_but_with_one_series_exchanged_it_may_be(folder, cases, tmp_path):
    bundle = Bundle.open(folder)
    for number in range(22):
        found = bundle.query(cases / f"Many_{number:05d}", 1)
        assert found.known_as and found.novelty == Novelty(None, 22)
    spoilt = bundle.query(emptied(cases / "Many_00003", "t1", tmp_path), 1)
    assert spoilt.known_as == "Many_00003" and spoilt.novelty.is_unlike


def test_an_alarm_says_why_wherever_it_is_shown(folder, cases, tmp_path, capsys):
    bundle = Bundle.open(folder)
    found = bundle.query(emptied(cases / "Many_00022", "t2", tmp_path))
    why = found.novelty.because
    (said,) = remarks(found)
    assert "unlike anything in the gallery" in said and why in said and f"{ALARMS:.0%}" in said
    assert why in " ".join(str(found).split()) and "unlike" in found._repr_html_()
    page = report(found, bundle)
    assert 'class="remark unlike"' in page and why in page
    answered = json.loads(json.dumps(to_json(found)))
    assert answered["unlike_gallery"] is True and answered["novelty"]["patients"] == 22
    assert answered["novelty"]["reasons"][0].keys() == {"fact", "value", "low", "high"}
    with pytest.raises(SystemExit) as stopped:
        main(["query", str(folder), str(tmp_path / "Many_00022")])
    assert stopped.value.code == 0 and why in " ".join(capsys.readouterr().out.split())
    usual = to_json(bundle.query(cases / "Many_00022"))
    assert usual["unlike_gallery"] is False and usual["novelty"]["reasons"] == []


def test_what_was_added_is_judged_by_what_was_there_and_joins_those_that_judge(folder, cases, tmp_path, capsys):
    copy = Path(copytree(folder, tmp_path / "bundle"))
    odd = [emptied(cases / f"Many_{number:05d}", "t2", tmp_path / "odd") for number in (22, 23)]
    with pytest.raises(SystemExit) as stopped:
        main(["add", str(copy), str(odd[0])])
    said = capsys.readouterr().out
    assert stopped.value.code == 0 and "unlike anything that was there: t2, " in said
    after = Bundle.open(copy)
    assert after.cases["image:t2/volume"].iloc[-1] == 0
    again = after.query(odd[1])
    assert again.novelty.patients == 23
    assert not [reason for reason in again.novelty.reasons if reason.fact == "t2/volume"]
    (usual,) = add_cases(copy, [cases / "Many_00023"], patient="somebody")
    assert not usual.novelty.is_unlike

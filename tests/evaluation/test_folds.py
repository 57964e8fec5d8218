import numpy as np
import pytest

from neuroprint.errors import NeuroprintError
from neuroprint.evaluation.folds import assign_folds, holdout_share, in_holdout

PATIENTS = [f"patient-{number}" for number in range(53)]


def test_folds_are_balanced_in_patients():
    folds = assign_folds(PATIENTS, 5, seed=0)
    assert sorted(np.bincount(folds).tolist()) == [10, 10, 11, 11, 11]


def test_a_patient_is_in_one_fold_however_often_scanned():
    visits = [*PATIENTS, *PATIENTS[:20], PATIENTS[0]]
    folds = assign_folds(visits, 5, seed=3)
    assert len({(patient, fold) for patient, fold in zip(visits, folds, strict=True)}) == len(PATIENTS)


def test_order_and_number_of_cases_move_no_patient():
    rng = np.random.default_rng(0)
    by_patient = dict(zip(PATIENTS, assign_folds(PATIENTS, 5, seed=1), strict=True))
    shuffled = [PATIENTS[place] for place in rng.permutation(len(PATIENTS))] + PATIENTS[:7]
    assert [by_patient[patient] for patient in shuffled] == assign_folds(shuffled, 5, seed=1).tolist()


def test_the_seed_draws_another_split():
    assert not np.array_equal(assign_folds(PATIENTS, 5, seed=0), assign_folds(PATIENTS, 5, seed=1))


@pytest.mark.parametrize(
    ("patients", "folds", "said"),
    [
        (["a", "b", "c"], 5, "3 patients, fewer than folds=5: pass folds=3 or add patients"),
        (["a"], 5, "1 patient .*add patients"),
        (["a", "a"], 2, "1 patient .*add patients"),
        ([], 2, "0 patients"),
        (["a", "b"], 1, "pass folds=2"),
    ],
)
def test_too_few_patients_say_what_to_do(patients, folds, said):
    with pytest.raises(NeuroprintError, match=said):
        assign_folds(patients, folds, seed=0)


def test_the_holdout_has_about_its_share_and_only_grows():
    names = [f"BraTS2021_{number:05d}" for number in range(5000)]
    members = {share: {name for name in names if in_holdout(name, share)} for share in (0.0, 0.1, 0.2, 0.5)}
    assert not members[0.0]
    assert len(members[0.2]) == pytest.approx(1000, abs=85)  # three standard deviations
    assert members[0.1] < members[0.2] < members[0.5]


def test_holdout_membership_never_changes():
    # Frozen: another hash or salt would put patients of a finished sweep into its hold-out.
    assert [name for name in PATIENTS[:20] if in_holdout(name, 0.2)] == [
        "patient-1",
        "patient-6",
        "patient-9",
        "patient-11",
        "patient-12",
    ]


def test_holdout_is_independent_of_folds():
    held = np.array([in_holdout(f"p{number}", 0.2) for number in range(4000)])
    folds = assign_folds([f"p{number}" for number in range(4000)], 5, seed=0)
    shares = [held[folds == fold].mean() for fold in range(5)]
    assert shares == pytest.approx([0.2] * 5, abs=0.05)


@pytest.mark.parametrize(
    ("setting", "patients", "share"),
    [("auto", 50, 0.2), ("auto", 49, 0.0), (0.3, 10, 0.3), ("0.25", 10, 0.25), (0, 99, 0.0)],
)
def test_holdout_setting(setting, patients, share):
    assert holdout_share(setting, patients) == share


@pytest.mark.parametrize("setting", ["some", 1.0, -0.1, float("nan"), None])
def test_a_wrong_holdout_is_refused(setting):
    with pytest.raises(NeuroprintError, match=r"pass holdout=0\.2"):
        holdout_share(setting, 60)

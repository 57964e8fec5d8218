from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from neuroprint.evaluation.relevance import RelevanceRule, dice, distances_mm, relevance
from neuroprint.evaluation.subjects import Subjects

from neuroprint.errors import NeuroprintError


def line(*x_mm: float, patients: tuple[str, ...] | None = None, **metadata: object) -> Subjects:
    ids = tuple(f"c{number}" for number in range(len(x_mm)))
    centers = np.array([[x, 0.0, 0.0] for x in x_mm])
    columns = {name: np.array(values, dtype=object) for name, values in metadata.items()}
    return Subjects(ids, patients or ids, centers, centers[:, 0] > 0, columns)


def test_within_the_radius_is_relevant_and_the_gain_falls_to_twice_the_radius():
    judged = relevance(line(0, 10, 20, 20.001, 30, 40, 50), RelevanceRule(radius_mm=20))
    assert judged.relevant[0].tolist() == [False, True, True, False, False, False, False]
    assert judged.gain[0] == pytest.approx([0, 0.75, 0.5, 0.499975, 0.25, 0, 0])
    assert np.array_equal(judged.relevant, judged.relevant.T)


@pytest.mark.parametrize("kind", ["distance", "side", "metadata"])
def test_a_patient_is_never_its_own_answer(kind):
    subjects = line(1, 1, 1, 1, patients=("p", "p", "q", "q"), grade=["4", "4", "4", "4"])
    judged = relevance(subjects, RelevanceRule(kind, column="grade"))
    expected = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [1, 1, 0, 0], [1, 1, 0, 0]], dtype=bool)
    assert np.array_equal(judged.relevant, expected)
    assert np.array_equal(judged.gain, expected)


def test_same_side():
    judged = relevance(line(-1, -30, 5, 8), RelevanceRule("side"))
    assert judged.relevant.tolist() == [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]]


def test_a_missing_value_equals_nothing():
    subjects = line(0, 0, 0, 0, 0, 0, 0, 0, 0, grade=["2", "2", "", "", None, None, float("nan"), pd.NA, pd.NaT])
    judged = relevance(subjects, RelevanceRule("metadata", column="grade"))
    assert np.argwhere(judged.relevant).tolist() == [[0, 1], [1, 0]]


def test_numbers_equal_as_numbers():
    subjects = line(0, 0, 0, grade=[2, 2.0, 3])
    judged = relevance(subjects, RelevanceRule("metadata", column="grade"))
    assert np.argwhere(judged.relevant).tolist() == [[0, 1], [1, 0]]


def test_only_metadata_does_without_a_center():
    whole = line(0, 1, 5, grade=["2", "2", "3"])
    centers = whole.centers_mm.copy()
    centers[1] = np.nan
    subjects = Subjects(whole.ids, whole.patients, centers, whole.right, whole.metadata)
    assert relevance(subjects, RelevanceRule("metadata", column="grade")).relevant[0, 1]
    assert np.isnan(distances_mm(subjects)[0, 1])
    for kind in ("distance", "side"):
        with pytest.raises(NeuroprintError, match="case c1 has none"):
            relevance(subjects, RelevanceRule(kind))


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (RelevanceRule("metadata", column="sex"), r"no column 'sex' \(columns: empty, grade\)"),
        (RelevanceRule("metadata"), "retrieval.column"),
        (RelevanceRule("metadata", column="empty"), "no value"),
        (RelevanceRule("distance", radius_mm=0), "above 0"),
        (RelevanceRule("distance", radius_mm=float("nan")), "above 0"),
        (RelevanceRule("lobe"), "distance, side, overlap, metadata"),
    ],
)
def test_a_rule_that_does_not_fit_says_why(rule, said):
    with pytest.raises(NeuroprintError, match=said):
        relevance(line(0, 1, grade=["2", "3"], empty=["", None]), rule)


def masked(*masks: list[float], patients: tuple[str, ...] | None = None) -> Subjects:
    shares = np.rint(255 * np.array(masks)).astype(np.uint8)
    return replace(line(*range(len(masks)), patients=patients), masks=shares)


def test_the_overlap_of_masks_is_their_dice_coefficient():
    rng = np.random.default_rng(0)
    masks = rng.random((10, 200)) < 0.2
    found = dice(masked(*masks.astype(float)))
    for a in range(10):
        for b in range(10):
            expected = 2 * (masks[a] & masks[b]).sum() / (masks[a].sum() + masks[b].sum())
            assert found[a, b] == pytest.approx(expected)
    assert np.array_equal(found, found.T)


def test_shares_of_cells_overlap_as_shares_and_an_empty_mask_with_nothing():
    found = dice(masked([1, 0.2, 0, 0], [1, 0.2, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]))
    assert found[0, 1] == 1.0
    assert found[0, 2] == pytest.approx(2 * 0.2 / (1.04 + 1))
    assert not found[3].any()


def test_from_the_least_dice_on_a_case_is_relevant_with_gain_one():
    # Dice of the first with the others: 2 * 2 / (4 + 2) and 2 * 1 / (4 + 2).
    subjects = masked([1, 1, 1, 1, 0], [1, 1, 0, 0, 0], [0, 0, 0, 1, 1], [1, 1, 1, 1, 0], patients=("p", "q", "r", "p"))
    judged = relevance(subjects, RelevanceRule("overlap", min_dice=0.5))
    assert judged.relevant[0].tolist() == [False, True, False, False]  # the last is the first's own patient
    assert np.array_equal(judged.gain, judged.relevant)
    assert relevance(subjects, RelevanceRule("overlap", min_dice=1 / 3)).relevant[0].tolist() == [
        False,
        True,
        True,
        False,
    ]


def test_overlap_needs_masks_and_a_threshold_that_can_be_reached():
    with pytest.raises(NeuroprintError, match="masks"):
        relevance(line(0, 1), RelevanceRule("overlap"))
    for threshold in (0.0, 1.1, float("nan")):
        with pytest.raises(NeuroprintError, match="min_dice"):
            relevance(masked([1, 0], [1, 0]), RelevanceRule("overlap", min_dice=threshold))

"""The profile: one page of several leaderboards, a fingerprint by one name in all."""

from __future__ import annotations

import numpy as np
import pytest

import neuroprint as npr
from neuroprint.evaluation.metric import Metric
from neuroprint.evaluation.robustness import KEPT
from neuroprint.figures.profile import draw_profile
from neuroprint.tasks.profile import BEARS, CONFUSES, HEADS, KNOWS, Profile, _share


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return npr.load_cohort("phantom_clinic", cases=24, spacing_mm=8.0, store=str(tmp_path_factory.mktemp("store")))


@pytest.fixture(scope="module")
def profile(cohort):
    """Two made-up fingerprints, one of the scanner and one of the tumor's place, at four questions."""
    scanners = sorted({case.metadata["scanner"] for case in cohort.cases})
    one_hot = {case.id: np.eye(len(scanners))[scanners.index(case.metadata["scanner"])] for case in cohort.cases}
    task = npr.tasks.TumorPosition(radius_mm=30)
    exam = npr.evaluate(npr.Embeddings(cohort, one_hot), task, references=["chance"])
    place = dict(zip(exam.ids, exam.benchmark.targets, strict=True))
    rng = np.random.default_rng(0)
    noisy = {case: vector + 30 * rng.normal(size=3) for case, vector in place.items()}
    questions = {
        "pose": (task, noisy),
        "position": (task, None),
        "scanner": (npr.tasks.Metadata(column="scanner", confound=True), None),
        "volume": (npr.tasks.TumorVolume(), None),
    }
    boards, names = {}, {"0": "of the scanner", "1": "of the place"}
    for question, (asked, changed) in questions.items():
        rows = []
        for vectors, moved in ((one_hot, one_hot), (place, changed)):
            kept = {case: vectors[case] for case in place}
            perturbed = None if changed is None else {case: moved[case] for case in place}
            embeddings = npr.Embeddings(cohort, kept, "euclidean", perturbed=perturbed)
            rows.append(npr.evaluate(embeddings, asked, references=["chance", "oracle"], holdout=0))
        boards[question] = npr.compare(rows)
    return Profile.of(boards, names)


def value(profile: Profile, question: str, name: str, way: str, what: str = "value") -> float:
    rows = profile.table.set_index(["question", "name", "way"])
    return float(rows.loc[(question, name, way), what])


def test_questions_come_by_kind_and_references_behind_candidates(profile):
    assert profile.questions == ["position", "volume", "scanner", "pose"]
    assert profile.names[:2] == sorted(profile.names[:2], key=profile.names.index)
    assert set(profile.names[:2]) == {"of the scanner", "of the place"}
    assert profile.names[2:] == ["chance", "oracle"]
    kinds = dict(zip(profile.table["question"], profile.table["kind"], strict=True))
    assert kinds == {"position": KNOWS, "volume": KNOWS, "scanner": CONFUSES, "pose": BEARS}


def test_a_fingerprint_of_the_scanner_knows_the_scanner_and_nothing_else(profile):
    assert value(profile, "scanner", "of the scanner", "tells") == 1
    assert value(profile, "scanner", "of the scanner", "finds", "share") == 1, (
        "as far as galleries hold five of a scanner"
    )
    assert value(profile, "position", "of the scanner", "finds", "share") < 0.3
    assert value(profile, "position", "of the place", "finds", "share") == 1
    assert value(profile, "position", "of the place", "tells") > 0.95


def test_changed_scans_show_what_is_kept_and_whether_the_own_scan_is_found(profile):
    assert value(profile, "pose", "of the scanner", "tells") < 0.5, "a third of the gallery has the same vector"
    assert 0 < value(profile, "pose", "of the place", "finds") < 1
    metrics = set(profile.table.loc[profile.table["question"] == "pose", "metric"])
    assert metrics == {"robustness/p_at_5_kept", "robustness/self_p_at_1"}


def test_the_share_is_from_chance_to_the_ideal():
    metric = Metric("retrieval/p_at_5", "precision at 5")
    assert _share(0.3, 0.1, 0.5, metric) == pytest.approx(0.5)
    assert _share(0.05, 0.1, 0.5, metric) == 0 and _share(0.7, 0.1, 0.5, metric) == 1
    assert _share(0.5, 0.1, np.nan, Metric("a/b", "", highest=0.9)) == pytest.approx(0.5)
    assert _share(0.4, np.nan, np.nan, KEPT) == pytest.approx(0.4)
    assert np.isnan(_share(np.nan, 0.1, 0.5, metric))


def test_a_table_of_markdown_holds_every_number_with_its_interval(profile):
    text = profile.to_markdown()
    assert text.count("| --- ") == 3 * 6
    for row in profile.table.to_dict("records"):
        assert row["told"] in text
    assert "what it should not know: less is better" in text


def test_one_run_stands_beside_the_reference_rows(profile):
    mine = profile.of_run(["1"])
    assert mine.names == ["of the place", "chance", "oracle"]


def test_the_picture_has_a_cell_for_every_number(profile):
    figure = draw_profile(profile.table, profile.questions, profile.names, HEADS)
    left, right = figure.axes
    for axes, way in ((left, "finds"), (right, "tells")):
        numbers = [text.get_text() for text in axes.texts if text.get_text() not in sum(HEADS.values(), ())]
        expected = profile.table[profile.table["way"] == way]
        known = [f"{number:.2f}".replace("-0.00", "0.00").replace("-", "−") for number in expected["value"].dropna()]
        assert sorted(number for number in numbers if number != "–") == sorted(known)
    labels = [label.get_text() for label in left.get_yticklabels() if label.get_text()]
    assert labels == profile.questions

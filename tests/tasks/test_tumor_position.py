"""``task=tumor_position``: the tumor's center, and relevance by the distance of two centers."""

from dataclasses import replace

import numpy as np
import pytest

from neuroprint.errors import NeuroprintError
from neuroprint.evaluation.benchmark import Benchmark, Protocol
from neuroprint.tasks import TumorPosition

EVERY = np.arange(7)


def test_within_the_radius_is_relevant_and_the_gain_falls_to_twice_the_radius(located):
    question = TumorPosition(radius_mm=20).question(*located([0, 10, 20, 20.001, 30, 40, 50]), "world")
    judged = question.judged(EVERY, EVERY)
    assert judged.relevant[0].tolist() == [False, True, True, False, False, False, False]
    assert judged.gain[0] == pytest.approx([0, 0.75, 0.5, 0.499975, 0.25, 0, 0])
    assert np.array_equal(judged.relevant, judged.relevant.T)
    assert judged.pairs["distance_mm"][1] == pytest.approx([10, 0, 10, 10.001, 20, 30, 40])


def test_the_ideal_ranking_is_by_distance(located):
    question = TumorPosition().question(*located([0, 50, 10, -20, 30, 5, -45]), "world")
    assert np.argsort(-question.ideal(EVERY[:1], EVERY)[0]).tolist() == [0, 5, 2, 3, 4, 6, 1]


def test_it_asks_for_the_center_in_mm_and_knows_the_side(located):
    centers = np.random.default_rng(0).normal(size=(7, 3)) * 30
    question = TumorPosition().question(*located(centers, patients=list("aabbccd")), "world")
    assert question.target_names == ("x_mm", "y_mm", "z_mm")
    assert question.targets == pytest.approx(centers)
    assert question.columns["right"].tolist() == (centers[:, 0] > 0).tolist()
    assert question.patients == tuple("aabbccd")


@pytest.mark.parametrize("radius_mm", [10.0, 30.0])
def test_embeddings_score_as_under_relevance_written_down_by_hand(located, make_question, radius_mm):
    expected = make_question(40, visits=2, radius_mm=radius_mm)
    given = located(expected.targets, patients=expected.patients)
    question = TumorPosition(radius_mm=radius_mm).question(*given, "world")
    rng = np.random.default_rng(5)
    vectors = expected.targets + 30 * rng.normal(size=(40, 3))
    protocol = Protocol()
    for ours, theirs in zip(
        (Benchmark(question, protocol).score(vectors), Benchmark(question, protocol).oracle),
        (Benchmark(expected, protocol).score(vectors), Benchmark(expected, protocol).oracle),
        strict=True,
    ):
        assert ours.metrics == pytest.approx(theirs.metrics)
        assert ours.queries["neighbors"].equals(theirs.queries["neighbors"])


@pytest.mark.parametrize(
    ("region", "weighting", "expected"),
    [
        ("whole_tumor", "binary", (10 * 0 + 30 * 40 + 60 * 8) / 100),
        ("whole_tumor", "label", (1 * 10 * 0 + 2 * 30 * 40 + 4 * 60 * 8) / (1 * 10 + 2 * 30 + 4 * 60)),
        ("tumor_core", "binary", (10 * 0 + 60 * 8) / 70),
        ("tumor_core", "label", (1 * 10 * 0 + 4 * 60 * 8) / (1 * 10 + 4 * 60)),
        ("enhancing", "binary", 8),
    ],
)
def test_the_center_is_that_of_the_region_under_the_weighting(located, region, weighting, expected):
    cases, facts = located([0])
    moments = {1: (10, (0.0, 0.0, 0.0)), 2: (30, (40.0, 0.0, 0.0)), 4: (60, (8.0, 0.0, 0.0))}
    facts = {cases[0].id: replace(facts[cases[0].id], label_moments=moments)}
    task = TumorPosition(region=region, weighting=weighting)
    assert task.question(cases, facts, "world").targets[0] == pytest.approx([expected, 0, 0])


def test_positions_in_the_brains_frame_are_relative_to_its_box(located):
    middle = (5.0, -7.0, 11.0)
    centers = np.array([[10.0, 0, 0], [4.0, 0, 0]])
    given = located(centers, middle_mm=middle)
    for task, frame, expected in (
        (TumorPosition(), "world", centers),
        (TumorPosition(), "brain", centers - middle),
        (TumorPosition(frame="world"), "brain", centers),
        (TumorPosition(frame="brain"), "world", centers - middle),
    ):
        question = task.question(*given, frame)
        assert question.targets == pytest.approx(expected)
        # The side is that of the brain's middle, whatever the frame.
        assert question.columns["right"].tolist() == [True, False]


def test_a_case_without_a_center_cannot_take_part_and_is_told_why(located):
    (case, *_), facts = located([0])
    found = facts[case.id]
    empty, unlabeled = replace(found, label_moments={}), replace(found, has_label=False, label_moments={})
    assert TumorPosition().why_not(case, found) is None
    assert "no voxel of whole_tumor" in TumorPosition().why_not(case, empty)
    assert "no voxel of enhancing" in TumorPosition(region="enhancing").why_not(case, found)
    assert "it has no label" in TumorPosition().why_not(case, unlabeled)
    assert "were not read" in TumorPosition().why_not(case, None)


def test_a_region_that_the_labels_do_not_tell_is_refused_before_a_scan_is_read(cohort):
    unknown = replace(cohort, cases=tuple(replace(case, label_convention="any") for case in cohort.cases))
    TumorPosition().check(unknown)
    TumorPosition(region="enhancing").check(cohort)
    with pytest.raises(NeuroprintError, match="region 'enhancing' needs to know what the label's numbers mean"):
        TumorPosition(region="enhancing").check(unknown)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"radius_mm": 0}, "task=tumor_position: radius_mm=0: must be above 0 mm"),
        ({"radius_mm": -1.0}, "radius_mm"),
        ({"radius_mm": float("nan")}, "radius_mm"),
        ({"radius_mm": float("inf")}, "radius_mm"),
        ({"region": "edema"}, "region=edema: must be one of whole_tumor, tumor_core, enhancing"),
        ({"weighting": "volume"}, "weighting=volume: must be binary or label"),
        ({"frame": "atlas"}, "frame=atlas: must be one of auto, world, brain"),
    ],
)
def test_wrong_parameters_are_refused(given, said):
    with pytest.raises(NeuroprintError, match=said):
        TumorPosition(**given)

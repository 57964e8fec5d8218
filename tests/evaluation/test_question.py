"""What is asked of cases: sound arrays, and cases of one patient that are never each other's answer."""

from dataclasses import replace

import numpy as np
import pytest

from neuroprint.errors import NeuroprintError
from neuroprint.evaluation.question import Question, equal_classes, log_ratios, within
from neuroprint.evaluation.ranked import Judged

EVERY = np.arange(4)
PLACES = np.zeros((2, 3))


def everything(queries: np.ndarray, gallery: np.ndarray) -> Judged:
    """All cases are relevant to all, with their places as a quantity of pairs."""
    shape = (len(queries), len(gallery))
    return Judged(np.ones(shape, dtype=bool), np.ones(shape), {"place": np.broadcast_to(gallery, shape).astype(float)})


def question(ids=("a", "b"), patients=("p", "q"), targets=PLACES, judge=everything, **more) -> Question:
    return Question(ids, patients, targets, ("x_mm", "y_mm", "z_mm"), judge, (), **more)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"ids": ("b", "a")}, "case a comes after b: sort the cases by id"),
        ({"ids": ("a", "a")}, "case a appears twice"),
        ({"targets": np.zeros((3, 3))}, r"targets have shape \(3, 3\), expected \(2, 3\)"),
        ({"targets": np.zeros((2, 2))}, r"targets have shape \(2, 2\), expected \(2, 3\)"),
        ({"targets": np.array([[0, 0, 0], [0, np.inf, 0]])}, "case b: target .* is not finite"),
        ({"targets": np.array([[0, 0, 0], [0, np.nan, 0]])}, "case b: target .* is not finite"),
        ({"patients": ("p",)}, "patients has 1 entries, expected 2"),
        ({"columns": {"grade": np.array(["2"])}}, "column grade has 1 entries, expected 2"),
    ],
)
def test_an_unsound_question_is_refused_by_name(given, said):
    with pytest.raises(NeuroprintError, match=said):
        question(**given)


def test_a_case_whose_target_is_not_known_has_a_row_of_nan():
    asked = question(targets=[[1.0, 2.0, 3.0], [np.nan] * 3])
    assert asked.located.tolist() == [True, False]
    assert asked.targets.dtype == np.float64 and len(asked) == 2


def test_cases_of_one_patient_are_never_each_others_answer():
    asked = question(tuple("abcd"), ("p", "p", "q", "q"), np.zeros((4, 3)))
    expected = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [1, 1, 0, 0], [1, 1, 0, 0]], dtype=bool)
    judged = asked.judged(EVERY, EVERY)
    assert np.array_equal(judged.relevant, expected)
    assert np.array_equal(judged.gain, expected)
    assert np.array_equal(judged.pairs["place"], np.tile(EVERY, (4, 1)))
    assert judged.count.tolist() == [2, 2, 2, 2] and judged.size == 4


def test_queries_and_gallery_are_judged_in_the_order_given():
    asked = question(tuple("abcd"), tuple("pqrs"), np.zeros((4, 3)), equal_classes([0, 1, 0, 1])[0])
    assert asked.judged(np.array([3, 0]), np.array([2, 1])).relevant.tolist() == [[False, True], [True, False]]


def test_a_question_among_some_of_the_cases_is_that_of_these_cases(make_question):
    whole = make_question(30, visits=2)
    chosen = np.random.default_rng(0).random(30) < 0.5
    part, places = whole.among(chosen), np.flatnonzero(chosen)
    assert part.ids == tuple(whole.ids[place] for place in places)
    assert part.patients == tuple(whole.patients[place] for place in places)
    assert np.array_equal(part.targets, whole.targets[places])
    assert np.array_equal(part.columns["right"], whole.columns["right"][places])
    queries, gallery = np.arange(len(part)), np.arange(len(part))[::-1]
    ours, theirs = part.judged(queries, gallery), whole.judged(places[queries], places[gallery])
    assert np.array_equal(ours.relevant, theirs.relevant) and np.array_equal(ours.gain, theirs.gain)
    assert np.array_equal(part.ideal(queries, gallery), whole.ideal(places[queries], places[gallery]))
    again = part.among(np.arange(len(part)) % 2 == 0)
    assert again.ids == part.ids[::2]
    assert np.array_equal(again.ideal(np.array([0]), np.array([1])), whole.ideal(places[[0]], places[[2]]))
    assert replace(whole, ideal=None).among(chosen).ideal is None


def test_cases_of_one_class_are_relevant_and_ideally_come_first():
    judge, ideal = equal_classes([2, 0, 2, 1])
    judged = judge(EVERY, EVERY)
    assert judged.relevant.tolist() == [[1, 0, 1, 0], [0, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 1]]
    assert np.array_equal(judged.gain, judged.relevant) and np.array_equal(ideal(EVERY, EVERY), judged.gain)


def test_an_unknown_class_equals_nothing_not_even_itself():
    judge, _ = equal_classes([-1, -1, 3, 3])
    assert np.argwhere(judge(EVERY, EVERY).relevant).tolist() == [[2, 2], [2, 3], [3, 2], [3, 3]]


def test_within_a_limit_cases_are_relevant_and_the_gain_falls_to_twice_it():
    place = np.array([0.0, 1.0, 2.0, 4.0])
    judge, ideal = within(lambda queries, gallery: np.abs(place[queries][:, None] - place[gallery]), 2.0)
    judged = judge(np.array([0]), EVERY)
    assert judged.relevant[0].tolist() == [True, True, True, False]
    assert judged.gain[0].tolist() == [1.0, 0.75, 0.5, 0.0]
    assert ideal(np.array([0]), EVERY)[0].tolist() == [0, -1, -2, -4]


def test_a_distance_that_is_not_known_is_relevant_to_nothing_and_ideally_last():
    apart = np.array([[0.0, np.nan, 7.0, 1.0]])
    judge, ideal = within(lambda queries, gallery: apart, 2.0)
    judged = judge(np.array([0]), EVERY)
    assert judged.relevant[0].tolist() == [True, False, False, True]
    assert judged.gain[0].tolist() == [1.0, 0.0, 0.0, 0.75]
    assert np.argsort(-ideal(np.array([0]), EVERY)[0]).tolist() == [0, 3, 2, 1]
    nothing = np.full((1, 4), np.nan)
    judge, ideal = within(lambda queries, gallery: nothing, 2.0)
    assert np.isfinite(ideal(np.array([0]), EVERY)).all() and not judge(np.array([0]), EVERY).relevant.any()


def test_the_logarithm_of_a_ratio_is_a_distance():
    values = np.random.default_rng(0).uniform(0.1, 100, 20)
    every = np.arange(20)
    apart = log_ratios(values)(every, every)
    assert apart == pytest.approx(np.abs(np.log(values)[:, None] - np.log(values)))
    assert np.array_equal(apart, apart.T) and not np.diag(apart).any()
    assert log_ratios(np.array([10.0, 15.0]))(np.array([0]), np.array([1]))[0, 0] == np.log(1.5)  # the bound is within

"""``task=survival``: concordance of predicted risk, and relevance by the times of those who died."""

import numpy as np
import pytest

import neuroprint as npr
from neuroprint.data.case import Case
from neuroprint.data.cohort import Cohort
from neuroprint.errors import NeuroprintError
from neuroprint.evaluation.benchmark import Benchmark, Protocol
from neuroprint.tasks import Survival
from neuroprint.tasks import survival as module

TASK = Survival(time="days", event="died")


def cases_of(days: list, died: list) -> list[Case]:
    values = zip(days, died, strict=True)
    return [
        Case(f"case-{n:05d}", f"patient-{n:05d}", {}, metadata={"days": time, "died": event})
        for n, (time, event) in enumerate(values)
    ]


def asked(days: list, died: list, **more):
    return Survival(time="days", event="died", **more).question(cases_of(days, died), {}, "world")


def drawn(n: int, censored: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Embeddings of which one number is the logarithm of the hazard, the times, and who died."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(n, 6))
    death = rng.exponential(np.exp(-1.5 * vectors[:, 0]))
    last = rng.exponential(size=n) * (1 - censored) / max(censored, 1e-9)
    return vectors, 300 * np.minimum(death, last), death <= last


def test_who_died_after_a_similar_time_is_relevant():
    judged = asked([100, 150, 70, 225, 300], [1] * 5).judged(np.array([0]), np.arange(5))
    assert judged.relevant[0].tolist() == [False, True, True, False, False]
    assert judged.gain[0, [1, 3, 4]] == pytest.approx([0.5, 0, 0])


def test_of_who_still_lived_it_is_not_known_and_so_not_relevant():
    question = asked([100, 100, 100, 400], [1, 0, 1, 0])
    every = np.arange(4)
    judged = question.judged(every, every)
    assert np.argwhere(judged.relevant).tolist() == [[0, 2], [2, 0]]
    assert judged.count.tolist() == [1, 0, 1, 0]  # a query of a patient who still lived has no answer
    ideal = question.ideal(every, every)
    assert np.isfinite(ideal).all() and ideal[0].argmax() in (0, 2) and ideal[0, 1] < ideal[0, 2]


@pytest.mark.parametrize(
    "values", [[1, 0, 1.0, 0.0], [True, False, True, False], ["1", "0", "1", "0"], ["True", "false", "TRUE", "False"]]
)
def test_events_are_yes_and_no_in_the_usual_spellings(values):
    TASK.check(Cohort("table", tuple(cases_of([1, 2, 3, 4], values))))
    assert asked([1, 2, 3, 4], values).targets.tolist() == [[1, 1], [0, 2], [1, 3], [0, 4]]


@pytest.mark.parametrize("censored", [0.0, 0.3, 0.7])
def test_embeddings_that_know_the_hazard_are_concordant_whoever_is_censored(censored):
    vectors, days, died = drawn(200, censored)
    benchmark = Benchmark(asked(days.tolist(), died.tolist()), Protocol())
    found = benchmark.score(vectors).metrics
    ideal = benchmark.score(np.stack([died, days], axis=1).astype(float), "euclidean").metrics
    assert 0.7 < found["probe/concordance_lo"] < found["probe/concordance"] < found["probe/concordance_hi"] < 0.97
    assert benchmark.chance.metrics["probe/concordance"] == 0.5
    # Not 1: the rates of death of two galleries differ a little, and so do the risks of equal survival.
    assert benchmark.oracle.metrics["probe/concordance"] == ideal["probe/concordance"] > 0.98
    assert benchmark.oracle.metrics["retrieval/map"] == 1.0


def test_the_unit_of_the_time_does_not_matter():
    vectors, days, died = drawn(80, 0.3)
    scores = [
        Benchmark(asked(time.tolist(), died.tolist()), Protocol()).score(vectors).metrics
        for time in (days, days / 365.25)
    ]
    assert scores[0]["probe/concordance"] == pytest.approx(scores[1]["probe/concordance"])
    assert scores[0]["retrieval/map"] == pytest.approx(scores[1]["retrieval/map"])


def test_what_is_fitted_for_a_query_does_not_see_its_own_survival():
    vectors, days, died = drawn(60, 0.3)
    before = Benchmark(asked(days.tolist(), died.tolist()), Protocol()).score(vectors)
    fold = before.queries["fold"].to_numpy()
    changed, events = days.copy(), died.copy()
    changed[fold == 0] *= 9
    events[fold == 0] ^= True
    after = Benchmark(asked(changed.tolist(), events.tolist()), Protocol()).score(vectors)
    names = ["predicted_event", "predicted_time", "baseline_event", "baseline_time"]
    assert before.queries[names][fold == 0].equals(after.queries[names][fold == 0])
    assert not before.queries[names][fold == 1].equals(after.queries[names][fold == 1])


@pytest.mark.slow
def test_embeddings_that_know_nothing_are_not_concordant():
    found = []
    for seed in range(40):
        _, days, died = drawn(80, 0.3, seed)
        noise = np.random.default_rng(1000 + seed).normal(size=(80, 6))
        found.append(
            Benchmark(asked(days.tolist(), died.tolist()), Protocol()).score(noise).metrics["probe/concordance"]
        )
    assert abs(np.mean(found) - 0.5) < 0.03


def test_a_cohort_is_evaluated_without_reading_a_scan(cohort):
    from dataclasses import replace

    vectors, days, died = drawn(10, 0.0)
    cases = tuple(
        replace(case, metadata={"days": time, "died": event}, label=None)
        for case, time, event in zip(cohort.cases, days.tolist(), died.tolist(), strict=True)
    )
    known = replace(cohort, cases=cases)
    result = npr.evaluate(
        npr.Embeddings(known, dict(zip([case.id for case in cases], vectors, strict=True))),
        TASK,
        folds=3,
        references=("chance", "oracle"),
    )
    assert result.facts == {} and "probe/concordance" in result.metrics
    assert "who died after a similar days, within a factor of 1.5" in str(result)


@pytest.mark.parametrize(
    ("days", "died", "why"),
    [
        (100, 1, None),
        ("100.5", 0, None),
        (None, 1, "its days is missing: it has no survival to score"),
        (float("nan"), 1, "its days is missing: it has no survival to score"),
        (100, "", "its died is missing: it has no survival to score"),
        (0, 1, "its days is 0, expected a number above 0: it has no survival to score"),
        (-3, 1, "its days is -3, expected a number above 0: it has no survival to score"),
        (
            "ALIVE (361 days later)",
            1,
            "its days is 'ALIVE (361 days later)', expected a number above 0: it has no survival to score",
        ),
    ],
)
def test_a_case_without_a_time_or_an_event_is_left_out(days, died, why):
    (case,) = cases_of([days], [died])
    assert TASK.why_not(case, None) == why


@pytest.mark.parametrize(
    ("days", "died", "task", "said"),
    [
        (
            [1, 2],
            [1, 0],
            Survival(time="months", event="died"),
            "task.time=months: the cohort has the columns days, died",
        ),
        ([1, 2], [1, 0], Survival(time="days", event="dead"), "task.event=dead: the cohort has the columns days, died"),
        (
            [1, 2],
            [1, "dead"],
            TASK,
            "task.event=died: case case-00001 has 'dead', expected 1 (died) or 0 (still lived)",
        ),
        ([1, 2], [2, 1], TASK, "task.event=died: case case-00000 has 2, expected 1 (died) or 0 (still lived)"),
        (
            [1, 2, 0],
            [0, 0, 1],
            TASK,
            "task=survival: no case has both died 1 and a days above 0: no two can be compared",
        ),
    ],
)
def test_a_cohort_that_cannot_be_asked_is_refused_in_one_line(days, died, task, said):
    with pytest.raises(NeuroprintError) as caught:
        task.check(Cohort("table", tuple(cases_of(days, died))))
    assert str(caught.value) == said


def test_without_lifelines_it_is_said_how_to_install_it(monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(NeuroprintError) as caught:
        TASK.check(Cohort("table", tuple(cases_of([1, 2], [1, 0]))))
    assert str(caught.value) == "task=survival needs the package lifelines: pip install 'neuroprint[survival]'"


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"event": "died"}, "time=None: must be the name of a column of the metadata: task.time=NAME"),
        ({"time": "days"}, "event=None: must be the name of a column of the metadata: task.event=NAME"),
        ({"time": "days", "event": "died", "ratio": 1}, "ratio=1: must be a number above 1"),
    ],
)
def test_wrong_parameters_are_refused(parameters, said):
    with pytest.raises(NeuroprintError, match=f"^task=survival: {said}$"):
        Survival(**parameters)

"""p-values against chance: what is dealt anew, that quick fits are fits, and how often noise is called something."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import kstest
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression

from neuroprint.evaluation.benchmark import Benchmark, Protocol
from neuroprint.evaluation.classification import CLASS_METRICS
from neuroprint.evaluation.kernel_ridge import KernelRidgeProbe
from neuroprint.evaluation.knn import KNNProbe
from neuroprint.evaluation.metric import Metric
from neuroprint.evaluation.permutation import deal, p_value
from neuroprint.evaluation.probe import RidgeProbe
from neuroprint.evaluation.question import Question, equal_classes
from neuroprint.evaluation.retrieval import RETRIEVAL_METRICS

P, R2 = "retrieval/p_at_5", "probe/r2"


def embeddings_of(question: Question, d: int = 8, noise: float = 15.0, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return question.targets @ rng.normal(size=(question.targets.shape[1], d)) + noise * rng.normal(
        size=(len(question), d)
    )


def dealt_anew(question: Question, order: np.ndarray) -> Question:
    """The question in which every case has the answer of another."""
    judge = question.judge
    return replace(
        question,
        targets=question.targets[order],
        judge=lambda queries, gallery: judge(order[queries], order[gallery]),
        columns={name: values[order] for name, values in question.columns.items()},
    )


def test_the_cases_of_a_patient_move_together_and_to_patients_with_as_many():
    patients = (*"aabbccdefgg",)
    ids = tuple(f"case-{n:02d}" for n in range(len(patients)))
    question = Question(ids, patients, np.zeros((len(ids), 1)), ("x",), equal_classes(np.zeros(len(ids)))[0], ())
    visits = Counter(patients)
    seen = set()
    for order in deal(question, 50, 0):
        assert sorted(order) == list(range(len(ids)))
        by_patient = {own: [patients[place] for place in order[np.array(patients) == own]] for own in visits}
        for own, given in by_patient.items():
            assert len(set(given)) == 1 and visits[given[0]] == visits[own]
        seen.add(tuple(order))
    assert len(seen) > 20
    assert np.array_equal(deal(question, 50, 0), deal(question, 50, 0))
    assert not np.array_equal(deal(question, 50, 0), deal(question, 50, 1))


def test_who_has_no_answer_keeps_none_and_values_of_across_stay_apart(make_question):
    question = make_question(30)
    targets = question.targets.copy()
    targets[::7] = np.nan
    across = np.arange(30) % 3
    order = deal(replace(question, targets=targets, across=across), 40, 0)
    assert (across[order] == across).all()
    assert (np.isnan(targets[order]) == np.isnan(targets)).all()
    assert (order != np.arange(30)).any()


@pytest.mark.parametrize(
    "probe", [RidgeProbe(), KernelRidgeProbe(), KNNProbe()], ids=lambda probe: type(probe).__name__
)
@pytest.mark.parametrize(("d", "visits"), [(5, 1), (60, 1), (60, 2), (5, 3)])
def test_quick_fits_to_other_targets_are_fits(probe, d, visits):
    rng = np.random.default_rng(d + visits)
    X, new, y = rng.normal(size=(36, d)), rng.normal(size=(7, d)), rng.normal(size=(36, 3)) * [30, 1, 5]
    y[:, 0] += 20 * X[:, 0]
    groups = np.arange(36) // visits
    others = np.stack([y, *(y[rng.permutation(36)] for _ in range(12)), np.ones_like(y)])
    quick = probe.fit(X, y, groups).permuted(new, others, groups)
    plain = np.stack([type(probe)().fit(X, other, groups).predict(new) for other in others])
    assert quick == pytest.approx(plain, rel=1e-8, abs=1e-8)


def test_few_fits_at_a_time_are_the_same_fits(monkeypatch):
    rng = np.random.default_rng(0)
    X, new, others = rng.normal(size=(20, 4)), rng.normal(size=(3, 4)), rng.normal(size=(9, 20, 2))
    probe = RidgeProbe().fit(X, others[0], np.arange(20))
    whole = probe.permuted(new, others, np.arange(20))
    monkeypatch.setattr("neuroprint.evaluation.probe._BLOCK_NUMBERS", 2000)
    assert probe.permuted(new, others, np.arange(20)) == pytest.approx(whole)


@pytest.mark.parametrize("probe", [None, KNNProbe()], ids=["ridge", "knn"])
@pytest.mark.parametrize("rank_by", [P, "retrieval/ndcg_at_10", "retrieval/dist_mm_at_5", "probe/side_auc"])
@pytest.mark.parametrize("visits", [1, 2])
def test_p_values_are_those_of_scoring_every_deal_from_the_start(make_question, rank_by, visits, probe):
    question = replace(make_question(36, visits=visits), rank_by=rank_by)
    vectors, deals, projection = embeddings_of(question, noise=90.0), 9, PCA(4)
    found = Benchmark(question, Protocol(permutations=deals)).score(vectors, projection=projection, probe=probe)
    scored = [
        Benchmark(dealt_anew(question, order)).score(vectors, projection=projection, probe=probe).metrics
        for order in deal(question, deals, 0)
    ]
    known = {metric.name: metric for metric in question.metrics}
    tested = {P, R2, rank_by}
    assert {name for name in found.metrics if name.endswith("_p")} == {f"{name}_p" for name in tested}
    for name in tested:
        sign = -1 if known[name].lower_is_better else 1
        as_good = sum(sign * other[name] >= sign * found.metrics[name] - 1e-9 for other in scored)
        assert found.metrics[f"{name}_p"] == (as_good + 1) / (deals + 1), name


def test_blocks_of_deals_give_the_same(make_question, monkeypatch):
    question = make_question(30)
    whole = Benchmark(question, Protocol(permutations=49)).score(embeddings_of(question, noise=200.0))
    monkeypatch.setattr("neuroprint.evaluation.permutation._BLOCK_CELLS", 100)
    assert (
        Benchmark(question, Protocol(permutations=49)).score(embeddings_of(question, noise=200.0)).metrics
        == whole.metrics
    )


def test_a_strong_signal_has_the_least_p_value_and_nobody_asked_none(make_question):
    question = make_question(40)
    found = Benchmark(question, Protocol(permutations=99)).score(embeddings_of(question))
    assert found.metrics[f"{P}_p"] == found.metrics[f"{R2}_p"] == 0.01
    plain = Benchmark(question, Protocol()).score(embeddings_of(question)).metrics
    assert plain == {name: value for name, value in found.metrics.items() if not name.endswith("_p")}


@pytest.mark.slow
def test_of_noise_p_values_are_uniform(make_question):
    """Three hundred cohorts: R² is continuous; precision has ties, which err to the safe side."""
    found = []
    for seed in range(300):
        question = make_question(20, seed=seed, radius_mm=40.0)
        question = replace(question, metrics=tuple(one for one in question.metrics if one.name in (P, R2)))
        vectors = np.random.default_rng([seed, 1]).normal(size=(20, 3))
        metrics = Benchmark(question, Protocol(permutations=39)).score(vectors).metrics
        found.append([metrics[f"{P}_p"], metrics[f"{R2}_p"]])
    precision, r2 = np.array(found).T
    smeared = r2 - np.random.default_rng(0).uniform(size=300) / 40  # p takes the values 1/40 ... 1
    assert kstest(smeared, "uniform").pvalue > 0.001
    for share in (0.1, 0.25, 0.5):
        assert (precision <= share).mean() < share + 3 * np.sqrt(share * (1 - share) / 300)
        assert (r2 <= share).mean() < share + 3 * np.sqrt(share * (1 - share) / 300)


def test_who_has_seen_the_answers_has_no_p_value_and_it_is_named(make_question):
    question = make_question(30)

    class Seen(PCA):
        supervised = True

        def fit(self, X, y=None):
            return super().fit(X)

    found = Benchmark(question, Protocol(permutations=9)).score(embeddings_of(question), projection=Seen(3))
    assert set(found.undefined) == {f"{P}_p", f"{R2}_p"}


def test_a_probe_that_has_to_be_fitted_again_has_no_p_value_but_its_retrieval_does(make_question):
    question = make_question(30)
    found = Benchmark(question, Protocol(permutations=9)).score(embeddings_of(question), probe=LinearRegression())
    assert set(found.undefined) == {f"{R2}_p"} and found.metrics[f"{P}_p"] == 0.1


def test_chance_has_none_and_the_oracle_the_least(make_question):
    benchmark = Benchmark(make_question(30), Protocol(permutations=19))
    assert not any(name.endswith("_p") for name in benchmark.chance.metrics)
    assert benchmark.oracle.metrics[f"{P}_p"] == benchmark.oracle.metrics[f"{R2}_p"] == 0.05


def test_classes_and_cases_without_one():
    rng = np.random.default_rng(0)
    codes = rng.integers(-1, 2, 40)
    judge, ideal = equal_classes(codes)
    targets = np.where(codes[:, None] >= 0, np.eye(2)[np.maximum(codes, 0)], np.nan)
    ids = tuple(f"case-{n:02d}" for n in range(40))
    question = Question(ids, ids, targets, ("a", "b"), judge, (*RETRIEVAL_METRICS[:-1], *CLASS_METRICS), ideal)
    vectors = np.nan_to_num(targets) @ rng.normal(size=(2, 5)) + rng.normal(size=(40, 5)) / 5
    found = Benchmark(question, Protocol(permutations=19)).score(vectors)
    assert found.metrics[f"{P}_p"] == found.metrics["probe/auc_p"] == 0.05


def test_of_an_error_a_small_one_tells_and_of_a_confound_it_still_does():
    error, permuted = Metric("probe/mae", "error", lower_is_better=True), np.array([1.0, 2.0, 3.0])
    for metric in (error, error.of_confound()):
        assert p_value(metric, 0.5, permuted) == 0.25
        assert p_value(metric, 2.0, permuted) == 0.75
    told = Metric("probe/auc", "AUC").of_confound()
    assert told.lower_is_better and p_value(told, 0.9, np.array([0.5, 0.6, 0.7])) == 0.25
    assert p_value(told, 0.6, np.array([0.5, 0.6, np.nan])) == 0.75
    assert np.isnan(p_value(told, np.nan, permuted))

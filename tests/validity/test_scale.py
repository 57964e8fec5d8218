"""The two ends of the scale: the oracle is perfect, and whatever knows nothing scores chance."""

import numpy as np
import pytest

from neuroprint.evaluation.benchmark import Benchmark, Protocol
from neuroprint.evaluation.projections import TSNE

HEADLINE = ("probe/r2", "probe/error_mm", "retrieval/p_at_5", "retrieval/map", "retrieval/ndcg_at_10")
RETRIEVAL = ("retrieval/p_at_5", "retrieval/map", "retrieval/ndcg_at_10")


class CentroidDirections:
    """A greedy supervised projection: the directions of the embedding that covary most with the centers."""

    supervised = True

    def fit(self, X, y):
        self.mean = X.mean(axis=0)
        self.axes = np.linalg.svd((X - self.mean).T @ (y - y.mean(axis=0)), full_matrices=False)[0]
        return self

    def transform(self, X):
        return (X - self.mean) @ self.axes


@pytest.mark.parametrize("radius_mm", [10.0, 20.0, 40.0])
@pytest.mark.parametrize("n", [10, 64])
def test_the_oracle_is_perfect_wherever_there_is_something_to_find(make_question, n, radius_mm):
    for seed in range(5):
        question = make_question(n, seed=seed, radius_mm=radius_mm)
        oracle = Benchmark(question, Protocol(seed=seed)).oracle
        if oracle.answerable:
            for name in ("p_at_1", "mrr", "map", "ndcg_at_10", "auc", "p_at_5_share", "map_share", "ndcg_at_10_share"):
                # With everything relevant in tiny galleries, AUC is undefined and a share may have no room.
                if f"retrieval/{name}" in oracle.metrics:
                    assert oracle.metrics[f"retrieval/{name}"] == pytest.approx(1.0)
            assert oracle.metrics["retrieval/p_at_1"] == 1.0
    assert oracle.metrics["probe/r2"] > 0.99


def test_chance_is_exactly_no_skill(make_question):
    metrics = Benchmark(make_question(53), Protocol()).chance.metrics
    assert metrics["probe/r2"] == metrics["probe/r2_x"] == 0.0
    assert -0.1 < metrics["probe/r2_lo"] < 0.0 < metrics["probe/r2_hi"] < 0.1
    assert metrics["probe/side_auc"] == metrics["retrieval/auc"] == 0.5
    assert all(metrics[f"{name}_share"] == 0.0 for name in RETRIEVAL)


def test_chance_is_the_mean_of_random_rankings(make_question):
    question = make_question(40)
    benchmark = Benchmark(question, Protocol())
    rng = np.random.default_rng(0)
    random = [benchmark.score(rng.normal(size=(40, 3))).metrics for _ in range(60)]
    for name, expected in benchmark.chance.metrics.items():
        if name.startswith("retrieval/") and not name.endswith(("_lo", "_hi", "_share")):
            values = np.array([metrics[name] for metrics in random])
            assert values.mean() == pytest.approx(expected, abs=4 * values.std() / np.sqrt(60)), name


def test_shuffled_labels_give_chance(make_question):
    question = make_question(64)
    rng = np.random.default_rng(1)
    benchmark = Benchmark(question, Protocol())
    chance = benchmark.chance.metrics
    vectors = question.targets @ rng.normal(size=(3, 60)) + rng.normal(size=(64, 60))
    informed = benchmark.score(vectors).metrics
    inside = dict.fromkeys(RETRIEVAL, 0)
    r2 = []
    for _ in range(20):
        metrics = benchmark.score(vectors[rng.permutation(64)]).metrics
        for name in RETRIEVAL:
            inside[name] += metrics[f"{name}_lo"] <= chance[name] <= metrics[f"{name}_hi"]
        r2.append(metrics["probe/r2"])
    assert all(count >= 17 for count in inside.values()), inside
    assert max(r2) < 0.1 and np.mean(r2) < 0.02
    assert all(informed[f"{name}_lo"] > chance[name] for name in RETRIEVAL) and informed["probe/r2"] > 0.9


@pytest.mark.parametrize("d", [5, 200])
def test_noise_through_a_supervised_projection_scores_chance(make_question, d):
    # Fitted on all cases, this projection lets noise of 200 dimensions tell positions perfectly.
    question = make_question(64)
    benchmark = Benchmark(question, Protocol())
    chance = benchmark.chance.metrics
    rng = np.random.default_rng(1)
    r2, inside = [], []
    for _ in range(10):
        metrics = benchmark.score(rng.normal(size=(64, d)), projection=CentroidDirections()).metrics
        r2.append(metrics["probe/r2"])
        name = "retrieval/map"
        inside.append(metrics[f"{name}_lo"] <= chance[name] <= metrics[f"{name}_hi"])
    assert sum(inside) >= 8
    # The inner cross-validation sees through the projection, so the probe falls back on the mean.
    assert min(r2) > -0.25 and max(r2) < 0.15


def test_noise_in_a_layout_that_sees_the_queries_scores_chance(make_question):
    # t-SNE lays out gallery and queries together. It sees no center, so that noise has nothing to gain by it.
    question = make_question(64)
    benchmark = Benchmark(question, Protocol())
    chance = benchmark.chance.metrics
    rng = np.random.default_rng(1)
    inside = dict.fromkeys(RETRIEVAL, 0)
    r2 = []
    for seed in range(4):
        metrics = benchmark.score(
            rng.normal(size=(64, 50)), similarity="euclidean", projection=TSNE(random_state=seed)
        ).metrics
        for name in RETRIEVAL:
            inside[name] += metrics[f"{name}_lo"] <= chance[name] <= metrics[f"{name}_hi"]
        r2.append(metrics["probe/r2"])
    assert all(count >= 3 for count in inside.values()), inside
    assert max(r2) < 0.1


def test_a_supervised_projection_finds_what_is_there(make_question):
    question = make_question(64)
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(64, 100)) * 20
    noise[:, :3] += question.targets * 3
    metrics = Benchmark(question, Protocol()).score(noise, projection=CentroidDirections()).metrics
    assert metrics["probe/r2"] > 0.8

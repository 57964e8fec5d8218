import numpy as np
import pytest
from neuroprint.evaluation.credit import credits_of_cases, credits_of_ranks

from neuroprint.evaluation import retrieval
from neuroprint.evaluation.benchmark import Benchmark, Protocol


def test_the_parts_of_a_query_sum_to_its_metrics():
    rng = np.random.default_rng(0)
    relevant = rng.random((300, 17)) < rng.random((300, 1))
    gain, distance = rng.random((300, 17)), rng.random((300, 17)) * 50
    distance[rng.random((300, 17)) < 0.1] = np.nan
    metrics = {f"p_at_{k}": retrieval.precision_at_k(relevant, k) for k in (1, 3, 5, 10)} | {
        "average_precision": retrieval.average_precision(relevant),
        "reciprocal_rank": retrieval.reciprocal_rank(relevant),
        "ndcg_at_10": retrieval.ndcg_at_k(gain, 10),
        "auc": retrieval.auc(relevant),
        "dist_mm_at_5": retrieval.mean_distance_at_k(distance, 5),
    }
    parts = credits_of_ranks(relevant, gain, distance)
    assert set(parts) == set(metrics)
    something = relevant.any(axis=1)
    for name, values in metrics.items():
        expected = np.where(something, np.nan_to_num(values), 0.0)
        assert parts[name].sum(axis=1) == pytest.approx(expected), name


def test_credit_goes_to_the_case_that_stands_at_the_rank():
    order = np.array([[2, 0, 1], [1, 2, 0]])
    earned = credits_of_cases({"m": np.array([[1.0, 0.5, 0.0], [0.25, 0.0, 0.0]])}, order)
    assert earned["m"].tolist() == [0.5, 0.25, 1.0]


def test_what_cases_earn_is_what_queries_score(make_subjects):
    subjects = make_subjects(40, visits=2)
    benchmark = Benchmark(subjects, Protocol(bootstrap=100))
    for evaluation in (benchmark.chance, benchmark.oracle, benchmark.score(subjects.centers_mm)):
        for name in ("p_at_5", "average_precision", "reciprocal_rank", "ndcg_at_10", "auc", "dist_mm_at_5"):
            table = evaluation.queries
            assert table[f"{name}_as_answer"].sum() == pytest.approx(table[name].sum()), name

"""The band around a curve of precision is the interval that leaderboards show."""

from dataclasses import replace

import numpy as np
import pytest

from neuroprint.evaluation.benchmark import Benchmark
from neuroprint.evaluation.curve import DEEPEST, precision_band, precision_by_query
from neuroprint.evaluation.retrieval import RETRIEVAL_METRICS

AT_K = tuple(replace(metric, headline=True) for metric in RETRIEVAL_METRICS if "p_at" in metric.name)


@pytest.fixture(scope="module")
def benchmark(make_question):
    return Benchmark(replace(make_question(60, visits=2, radius_mm=45.0), metrics=AT_K))


@pytest.fixture(scope="module")
def row(benchmark):
    targets = benchmark.question.targets
    return benchmark.score(targets + 25 * np.random.default_rng(0).normal(size=targets.shape), "euclidean")


def test_the_curve_is_the_precision_at_every_k(row, benchmark):
    for evaluation in (row, benchmark.chance):
        curve = precision_by_query(evaluation.queries).mean(axis=0)
        assert len(curve) == DEEPEST
        for k in (1, 3, 5, 10):
            assert curve[k - 1] == pytest.approx(evaluation.metrics[f"retrieval/p_at_{k}"])


def test_the_band_is_the_interval_at_every_k(row):
    low, high = precision_band(row.queries)
    assert len(low) == len(high) == DEEPEST
    for k in (1, 3, 5, 10):
        bounds = [row.metrics[f"retrieval/p_at_{k}_{end}"] for end in ("lo", "hi")]
        assert [low[k - 1], high[k - 1]] == pytest.approx(bounds, abs=1e-9), k


def test_neither_chance_nor_one_patient_has_a_band(row, benchmark):
    assert precision_band(benchmark.chance.queries) is None
    assert precision_band(row.queries[row.queries["patient"] == "patient-00003"]) is None

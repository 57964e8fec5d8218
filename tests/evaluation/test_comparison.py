import numpy as np
import pandas as pd
import pytest
from neuroprint.evaluation.subjects import Subjects

from neuroprint.errors import NeuroprintError
from neuroprint.evaluation.benchmark import Benchmark, Protocol
from neuroprint.evaluation.comparison import compare, query_values
from neuroprint.evaluation.evaluation import Evaluation
from neuroprint.evaluation.statistics import tied_with_best

HEADLINE = ("probe/r2", "probe/error_mm", "retrieval/p_at_5", "retrieval/map", "retrieval/ndcg_at_10")
SCALED = ("retrieval/p_at_5_share", "retrieval/map_share", "retrieval/ndcg_at_10_share")
OTHERS = ("probe/r2_x", "retrieval/p_at_1", "retrieval/mrr", "retrieval/auc", "retrieval/dist_mm_at_5")


@pytest.fixture
def evaluations(make_subjects) -> list[Evaluation]:
    """Five rows, from the oracle by way of two near-equals to noise and chance."""
    subjects = make_subjects(120)
    benchmark = Benchmark(subjects, Protocol(bootstrap=100, similarity="euclidean"))
    rng = np.random.default_rng(4)
    noisy = [subjects.centers_mm + rng.normal(size=(120, 3)) * mm for mm in (15.0, 15.1, 500.0)]
    return [benchmark.score(noisy[2]), benchmark.oracle, *(benchmark.score(v) for v in noisy[:2]), benchmark.chance]


@pytest.fixture(scope="module")
def boards() -> list[list[pd.DataFrame]]:
    """Leaderboards of five embeddings each: the same positions, noise of the same size."""
    ids = tuple(f"case-{number:03d}" for number in range(64))
    tables = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        centers = rng.normal(size=(64, 3)) * [30.0, 35.0, 20.0]
        benchmark = Benchmark(
            Subjects(ids, ids, centers, centers[:, 0] > 0), Protocol(bootstrap=100, similarity="euclidean")
        )
        runs = [benchmark.score(centers + rng.normal(size=(64, 3)) * 15) for _ in range(5)]
        tables.append([run.queries for run in runs])
    return tables


@pytest.mark.parametrize("metric", [*HEADLINE, *SCALED, *OTHERS])
def test_values_of_queries_order_runs_as_the_metric_does(evaluations, metric):
    sign = -1 if metric in ("probe/error_mm", "retrieval/dist_mm_at_5") else 1
    by_metric = np.argsort([sign * evaluation.metrics[metric] for evaluation in evaluations])
    by_queries = np.argsort([np.nanmean(query_values(evaluation.queries, metric)) for evaluation in evaluations])
    assert np.array_equal(by_metric, by_queries)


@pytest.mark.parametrize("metric", HEADLINE)
def test_near_equals_are_tied_and_noise_is_not(evaluations, metric):
    tables = [evaluation.queries for evaluation in evaluations]
    assert compare(tables, metric).tolist() == [False, True, False, False, False]
    assert compare([tables[0], tables[2], tables[3]], metric).tolist() == [False, True, True]


def test_a_table_read_back_from_parquet_compares_the_same(evaluations, tmp_path):
    tables = []
    for number, evaluation in enumerate(evaluations):
        evaluation.queries.to_parquet(tmp_path / f"{number}.parquet")
        tables.append(pd.read_parquet(tmp_path / f"{number}.parquet"))
    for metric in HEADLINE:
        assert np.array_equal(compare(tables, metric), compare([e.queries for e in evaluations], metric))
    assert tables[0].loc[evaluations[0].queries["relevant"] == 0, "p_at_5"].isna().all()


@pytest.mark.parametrize("column", ["case", "patient", "fold", "relevant"])
def test_runs_of_different_queries_are_not_compared(evaluations, column):
    tables = [evaluation.queries for evaluation in evaluations]
    other = tables[1].copy()
    other.loc[3, column] = 77 if column in ("fold", "relevant") else "someone"
    with pytest.raises(NeuroprintError, match=f"run 2 and run 1 differ in their queries' {column}"):
        compare([tables[0], other], "retrieval/map")
    with pytest.raises(NeuroprintError, match="differ"):
        compare([tables[0], tables[1][:-1]], "retrieval/map")


def test_a_query_that_lacks_a_value_in_one_run_is_compared_in_none(evaluations):
    tables = [evaluation.queries for evaluation in evaluations]
    lacking = tables[1].copy()
    lacking.loc[lacking.index[:3], "dist_mm_at_5"] = np.nan
    whole = [table.drop(table.index[:3]).reset_index(drop=True) for table in tables]
    found = compare([tables[0], lacking, *tables[2:]], "retrieval/dist_mm_at_5")
    assert np.array_equal(found, compare(whole, "retrieval/dist_mm_at_5"))
    lacking["dist_mm_at_5"] = np.nan
    assert compare([tables[0], lacking], "retrieval/dist_mm_at_5").all()


@pytest.mark.parametrize("metric", ["probe/side_auc", "probe/error_mm_median", "cohort/cases", "p_at_5"])
def test_a_metric_without_a_value_per_query_names_those_that_have_one(evaluations, metric):
    with pytest.raises(NeuroprintError, match=r"choose one of .*retrieval/p_at_5"):
        compare([evaluations[0].queries], metric)


@pytest.mark.parametrize("metric", ["probe/r2", "retrieval/p_at_5", "retrieval/map", "retrieval/ndcg_at_10"])
def test_of_equally_noisy_embeddings_hardly_ever_any_is_marked_worse(boards, metric):
    wrong = np.mean([not compare(tables, metric).all() for tables in boards])
    assert wrong <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / len(boards))


def test_counting_queries_alone_would_mark_many(boards):
    # The control: what compare does beyond tied_with_best is needed.
    wrong = 0
    for tables in boards:
        values = np.stack([query_values(table, "retrieval/ndcg_at_10") for table in tables])
        scored = np.isfinite(values[0])
        wrong += not tied_with_best(values[:, scored], list(tables[0]["patient"][scored])).all()
    assert wrong / len(boards) > 0.2


def test_no_runs_are_no_trouble():
    assert compare([], "retrieval/map").tolist() == []

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from neuroprint.errors import NeuroprintError
from neuroprint.evaluation.benchmark import Benchmark, Protocol
from neuroprint.evaluation.comparison import tied
from neuroprint.evaluation.evaluation import Evaluation
from neuroprint.evaluation.metric import Metric, with_shares
from neuroprint.evaluation.regression import POSITION_METRICS
from neuroprint.evaluation.retrieval import RETRIEVAL_METRICS
from neuroprint.evaluation.statistics import tied_with_best

HEADLINE = ("probe/r2", "probe/error_mm", "retrieval/p_at_5", "retrieval/map", "retrieval/ndcg_at_10")
SCALED = ("retrieval/p_at_5_share", "retrieval/map_share", "retrieval/ndcg_at_10_share")
METRICS = {metric.name: metric for metric in with_shares((*RETRIEVAL_METRICS, *POSITION_METRICS))}
OTHERS = ("probe/r2_x", "retrieval/p_at_1", "retrieval/mrr", "retrieval/auc", "retrieval/dist_mm_at_5")


def by(name: str) -> Metric:
    return METRICS[name]


@pytest.fixture(scope="module")
def evaluations(make_question) -> list[Evaluation]:
    """Five rows, from the oracle by way of two near-equals to noise and chance."""
    question = make_question(120)
    benchmark = Benchmark(question, Protocol(resamples=100))
    rng = np.random.default_rng(4)
    noisy = [question.targets + rng.normal(size=(120, 3)) * mm for mm in (15.0, 15.1, 500.0)]
    scored = [benchmark.score(vectors, "euclidean") for vectors in noisy]
    return [scored[2], benchmark.oracle, *scored[:2], benchmark.chance]


@pytest.fixture(scope="module")
def boards(make_question) -> list[list[pd.DataFrame]]:
    """Leaderboards of five embeddings each: the same positions, noise of the same size."""
    ids = tuple(f"case-{number:03d}" for number in range(64))
    tables = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        centers = rng.normal(size=(64, 3)) * [30.0, 35.0, 20.0]
        question = replace(make_question(64, centers_mm=centers), ids=ids, patients=ids)
        benchmark = Benchmark(question, Protocol(resamples=100))
        runs = [benchmark.score(centers + rng.normal(size=(64, 3)) * 15, "euclidean") for _ in range(5)]
        tables.append([run.queries for run in runs])
    return tables


@pytest.mark.parametrize("metric", [*HEADLINE, *SCALED, *OTHERS])
def test_values_of_queries_order_runs_as_the_metric_does(evaluations, metric):
    column = by(metric).column.removesuffix("_share")
    by_metric = np.argsort([evaluation.metrics[metric] for evaluation in evaluations])
    by_queries = np.argsort([np.nanmean(evaluation.queries[column]) for evaluation in evaluations])
    assert np.array_equal(by_metric, by_queries)


@pytest.mark.parametrize("metric", HEADLINE)
def test_near_equals_are_tied_and_noise_is_not(evaluations, metric):
    tables = [evaluation.queries for evaluation in evaluations]
    assert tied(tables, by(metric)).tolist() == [False, True, False, False, False]
    assert tied([tables[0], tables[2], tables[3]], by(metric)).tolist() == [False, True, True]


def test_a_table_read_back_from_parquet_compares_the_same(evaluations, tmp_path):
    tables = []
    for number, evaluation in enumerate(evaluations):
        evaluation.queries.to_parquet(tmp_path / f"{number}.parquet")
        tables.append(pd.read_parquet(tmp_path / f"{number}.parquet"))
    for metric in HEADLINE:
        assert np.array_equal(tied(tables, by(metric)), tied([e.queries for e in evaluations], by(metric)))
    assert tables[0].loc[evaluations[0].queries["relevant"] == 0, "p_at_5"].isna().all()


@pytest.mark.parametrize("column", ["case", "patient", "fold", "relevant"])
def test_runs_of_different_queries_are_not_compared(evaluations, column):
    tables = [evaluation.queries for evaluation in evaluations]
    other = tables[1].copy()
    other.loc[3, column] = 77 if column in ("fold", "relevant") else "someone"
    with pytest.raises(NeuroprintError, match=f"run 2 and run 1 differ in their queries' {column}"):
        tied([tables[0], other], by("retrieval/map"))
    with pytest.raises(NeuroprintError, match="differ"):
        tied([tables[0], tables[1][:-1]], by("retrieval/map"))


def test_a_query_that_lacks_a_value_in_one_run_is_compared_in_none(evaluations):
    tables = [evaluation.queries for evaluation in evaluations]
    lacking = tables[1].copy()
    lacking.loc[lacking.index[:3], "dist_mm_at_5"] = np.nan
    whole = [table.drop(table.index[:3]).reset_index(drop=True) for table in tables]
    found = tied([tables[0], lacking, *tables[2:]], by("retrieval/dist_mm_at_5"))
    assert np.array_equal(found, tied(whole, by("retrieval/dist_mm_at_5")))
    lacking["dist_mm_at_5"] = np.nan
    assert tied([tables[0], lacking], by("retrieval/dist_mm_at_5")).all()


@pytest.mark.parametrize("metric", ["probe/side_auc", "probe/error_mm_median"])
def test_runs_are_not_compared_by_a_metric_without_a_value_per_query(evaluations, metric):
    with pytest.raises(NeuroprintError, match=f"cannot be compared by {metric}, which has no value per query"):
        tied([evaluations[0].queries], by(metric))


def test_by_a_share_runs_compare_as_by_the_metric_itself(evaluations):
    tables = [evaluation.queries for evaluation in evaluations]
    for name in SCALED:
        assert np.array_equal(tied(tables, by(name)), tied(tables, by(name.removesuffix("_share"))))


def test_a_probes_errors_are_taken_to_vary_more_than_they_do(evaluations):
    """The fits move by chance as well: what is only just told from the best by its errors alone is not marked."""
    table = evaluations[1].queries
    n = len(table)
    rng = np.random.default_rng(0)
    noise = rng.normal(size=n)
    noise -= noise.mean()
    marked = []
    for lead in np.linspace(0, 1, 200):
        worse = table.assign(error_mm=table["error_mm"] + lead + noise)
        plain = tied_with_best(-np.stack([table["error_mm"], worse["error_mm"]]), table["patient"].tolist())
        marked.append((plain[1], tied([table, worse], by("probe/error_mm"))[1]))
    needed = [np.linspace(0, 1, 200)[[row[place] for row in marked].index(False)] for place in (0, 1)]
    assert needed[1] / needed[0] == pytest.approx(np.sqrt(1.35), rel=0.06)


@pytest.mark.parametrize("metric", ["probe/r2", "retrieval/p_at_5", "retrieval/map", "retrieval/ndcg_at_10"])
def test_of_equally_noisy_embeddings_hardly_ever_any_is_marked_worse(boards, metric):
    wrong = np.mean([not tied(tables, by(metric)).all() for tables in boards])
    assert wrong <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / len(boards))


def test_counting_queries_alone_would_mark_many(boards):
    # The control: what tied does beyond tied_with_best is needed.
    wrong = 0
    for tables in boards:
        values = np.stack([table["ndcg_at_10"].to_numpy() for table in tables])
        scored = np.isfinite(values[0])
        wrong += not tied_with_best(values[:, scored], list(tables[0]["patient"][scored])).all()
    assert wrong / len(boards) > 0.2


def test_no_runs_are_no_trouble():
    assert tied([], by("retrieval/map")).tolist() == []

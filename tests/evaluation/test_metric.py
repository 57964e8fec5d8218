"""Metrics as records: what people are told of them, shares, and a metric of one's own."""

import json
from dataclasses import replace

import numpy as np
import pytest

from neuroprint.errors import NeuroprintError
from neuroprint.evaluation.benchmark import Benchmark, Protocol, share
from neuroprint.evaluation.classification import CLASS_METRICS
from neuroprint.evaluation.comparison import tied
from neuroprint.evaluation.metric import Metric, ProbeMetric, RetrievalMetric, known, with_shares
from neuroprint.evaluation.regression import NUMBER_METRICS, POSITION_METRICS
from neuroprint.evaluation.retrieval import RETRIEVAL_METRICS

QUICK = Protocol(resamples=100)
SETS = [(*RETRIEVAL_METRICS, *probe) for probe in (POSITION_METRICS, NUMBER_METRICS, CLASS_METRICS)]

HIT_AT_3 = RetrievalMetric(
    "retrieval/hit_at_3",
    "a hit among the first three",
    headline=True,
    of_query=lambda ranked: ranked.relevant[:, :3].any(axis=1).astype(float),
    expected=lambda judged: (
        1 - np.prod([(judged.size - judged.count - i) / (judged.size - i) for i in range(3)], axis=0)
    ),
    credit=lambda ranked: ranked.relevant & (ranked.hits == 1) & (ranked.place <= 3),
    has_share=True,
)
WORST_MM = ProbeMetric(
    "probe/error_mm_worst",
    "largest error",
    lower_is_better=True,
    unit="mm",
    in_queries=False,
    value=lambda found: float(np.sqrt(found.squared_errors.sum(axis=1).max())),
)


def vectors_of(question):
    rng = np.random.default_rng(0)
    return question.targets @ rng.normal(size=(3, 20)) + 40 * rng.normal(size=(len(question), 20))


@pytest.mark.parametrize("metrics", SETS)
def test_every_record_is_fit_for_tables_figures_and_intervals(metrics):
    names = [metric.name for metric in metrics]
    assert len(set(names)) == len(names)
    for metric in metrics:
        family, _, column = metric.name.partition("/")
        assert family == ("retrieval" if isinstance(metric, RetrievalMetric) else "probe")
        assert metric.column == column and metric.label
        assert not metric.name.endswith(("_lo", "_hi", "_share"))
        assert metric.direction == ("lower is better" if metric.lower_is_better else "higher is better")
        if isinstance(metric, ProbeMetric):
            assert not metric.headline or metric.ratios is not None
            assert metric.in_queries == (metric.of_query is not None)


def test_a_record_is_kept_as_json_and_comes_back():
    for metric in SETS[0]:
        record = json.loads(json.dumps(metric.record()))
        kept = Metric(**record)
        assert (kept.name, kept.label, kept.unit) == (metric.name, metric.label, metric.unit)
        assert (kept.lower_is_better, kept.headline, kept.shown) == (
            metric.lower_is_better,
            metric.headline,
            metric.shown,
        )
        assert kept.in_queries == metric.in_queries and kept.record() == record


def test_an_axis_says_the_unit_and_the_name_that_it_is_logged_by():
    assert Metric("probe/error_mm", "mean error", unit="mm").title == "mean error (mm)  [probe/error_mm]"
    assert Metric("retrieval/map", "mean average precision").title == "mean average precision  [retrieval/map]"


def test_millimeters_are_printed_with_one_decimal_and_shares_with_two():
    assert Metric("a/b", "b", unit="mm").decimals == 1
    assert Metric("a/b", "b").decimals == 2


def test_a_share_follows_its_metric_and_is_no_column_of_the_queries():
    metrics = with_shares(RETRIEVAL_METRICS)
    names = [metric.name for metric in metrics]
    shares = {"retrieval/p_at_5_share", "retrieval/map_share", "retrieval/ndcg_at_10_share"}
    assert {name for name in names if name.endswith("_share")} == shares
    for name in shares:
        place = names.index(name)
        assert names[place - 1] == name.removesuffix("_share")
        assert not metrics[place].in_queries and not metrics[place].headline
    assert [name for name in names if name not in shares] == [metric.name for metric in RETRIEVAL_METRICS]


def test_the_share_is_that_of_the_way_from_chance_to_the_ideal():
    assert share(0.4, 0.2, 1.0) == pytest.approx(0.25)
    assert share(0.1, 0.2, 0.6) == pytest.approx(-0.25)
    assert share(1.0, 0.2, 1.0) == 1.0 and share(0.2, 0.2, 1.0) == 0.0
    assert np.isnan(share(0.5, 0.5, 0.5)) and np.isnan(share(np.nan, 0.1, 0.9))


def test_the_oracles_share_is_1_and_that_of_chance_0(make_question):
    benchmark = Benchmark(make_question(40), QUICK)
    for metric in RETRIEVAL_METRICS:
        if metric.has_share:
            assert benchmark.oracle.metrics[f"{metric.name}_share"] == 1.0
            assert benchmark.chance.metrics[f"{metric.name}_share"] == 0.0


def test_a_question_without_an_ideal_has_neither_oracle_nor_share(make_question):
    asked = make_question(40)
    benchmark = Benchmark(replace(asked, ideal=None), QUICK)
    assert benchmark.oracle is None
    whole = Benchmark(asked, QUICK).score(vectors_of(asked))
    plain = benchmark.score(vectors_of(asked))
    for evaluation in (plain, benchmark.chance):
        assert not [name for name in (*evaluation.metrics, *evaluation.undefined) if name.endswith("_share")]
    assert plain.metrics == {name: value for name, value in whole.metrics.items() if not name.endswith("_share")}


def test_a_metric_of_ones_own_is_scored_like_those_that_come_with_neuroprint(make_question):
    plain = make_question(60, visits=2)
    asked = replace(plain, metrics=(*plain.metrics, HIT_AT_3, WORST_MM))
    vectors = vectors_of(asked)
    benchmark = Benchmark(asked, QUICK)
    result = benchmark.score(vectors)
    table = result.queries
    expected = [
        float(any(relevant[:3])) if of_it else np.nan
        for relevant, of_it in zip(table["neighbor_relevant"], table["relevant"], strict=True)
    ]
    assert table["hit_at_3"].to_numpy() == pytest.approx(np.array(expected), nan_ok=True)
    value = result.metrics["retrieval/hit_at_3"]
    assert value == pytest.approx(np.nanmean(expected)) and 0 < value < 1
    assert result.metrics["retrieval/hit_at_3_lo"] < value < result.metrics["retrieval/hit_at_3_hi"]
    chance, oracle = benchmark.chance.metrics, benchmark.oracle.metrics
    assert oracle["retrieval/hit_at_3"] == 1.0
    random = [
        benchmark.score(np.random.default_rng(9 + s).normal(size=(60, 3))).metrics["retrieval/hit_at_3"]
        for s in range(40)
    ]
    assert np.mean(random) == pytest.approx(chance["retrieval/hit_at_3"], abs=4 * np.std(random) / np.sqrt(40))
    assert result.metrics["retrieval/hit_at_3_share"] == pytest.approx(
        share(value, chance["retrieval/hit_at_3"], oracle["retrieval/hit_at_3"])
    )
    errors = np.linalg.norm(result.predicted - asked.targets, axis=1)
    assert result.metrics["probe/error_mm_worst"] == pytest.approx(errors.max())
    assert {"retrieval/hit_at_3", "retrieval/hit_at_3_share", "probe/error_mm_worst"} <= {
        record["name"] for record in table.attrs["metrics"]
    }
    # No other number moves.
    assert Benchmark(plain, QUICK).score(vectors).metrics.items() <= result.metrics.items()


def test_runs_are_compared_by_a_metric_of_ones_own(make_question):
    plain = make_question(120)
    asked = replace(plain, metrics=(*plain.metrics, HIT_AT_3))
    benchmark = Benchmark(asked, QUICK)
    noise = np.random.default_rng(1).normal(size=(120, 3))
    tables = [evaluation.queries for evaluation in (benchmark.score(noise), benchmark.oracle)]
    assert tied(tables, HIT_AT_3).tolist() == [False, True]
    assert tied(tables, HIT_AT_3.share()).tolist() == [False, True]


def test_a_headline_metric_of_the_probe_needs_what_can_be_resampled(make_question):
    asked = make_question(20)
    asked = replace(asked, metrics=(*asked.metrics, replace(WORST_MM, headline=True)))
    with pytest.raises(NeuroprintError, match="probe/error_mm_worst is a headline metric: it needs ratios"):
        Benchmark(asked, QUICK).score(vectors_of(asked))


def test_a_row_is_known_if_all_of_it_is():
    assert known(np.array([[1.0, 2.0], [1.0, np.nan], [np.inf, 1.0]])).tolist() == [True, False, False]

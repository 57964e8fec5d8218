"""Metrics as records: what people are told of them, shares, and a metric of one's own."""

import json
from dataclasses import replace

import numpy as np
import pytest

from neuroprint.errors import NeuroprintError
from neuroprint.evaluation.benchmark import Benchmark, Protocol, share
from neuroprint.evaluation.classification import CLASS_METRICS
from neuroprint.evaluation.comparison import with_the_best
from neuroprint.evaluation.metric import Metric, ProbeMetric, RetrievalMetric, known, with_shares
from neuroprint.evaluation.regression import NUMBER_METRICS, POSITION_METRICS
from neuroprint.evaluation.retrieval import RETRIEVAL_METRICS

QUICK = Protocol()
SETS = [(*RETRIEVAL_METRICS, *probe) for probe in (POSITION_METRICS, NUMBER_METRICS, CLASS_METRICS)]

HIT_AT_3 = RetrievalMetric(
    "retrieval/hit_at_3",
    "a hit among the first three",
    headline=True,
    of_query=lambda ranked: ranked.relevant[:, :3].any(axis=1).astype(float),
    expected=lambda judged: (
        1 - np.prod([(judged.size - judged.count - i) / (judged.size - i) for i in range(3)], axis=0)
    ),
    has_share=True,
)
WORST_MM = ProbeMetric(
    "probe/error_mm_worst",
    "largest error",
    lower_is_better=True,
    unit="mm",
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
            assert (metric.ratios is None) != (metric.value is None)
        if isinstance(metric, RetrievalMetric):
            assert metric.without is not None
        assert metric.lowest is None or metric.highest is None or metric.lowest < metric.highest


def test_a_record_is_kept_as_json_and_comes_back():
    for metric in SETS[0]:
        record = json.loads(json.dumps(metric.record()))
        kept = Metric(**record)
        assert (kept.name, kept.label, kept.unit) == (metric.name, metric.label, metric.unit)
        for said in ("lower_is_better", "headline", "shown", "compared", "lowest", "highest", "ideal"):
            assert getattr(kept, said) == getattr(metric, said)
        assert kept.record() == record


def test_an_axis_says_the_unit_and_the_name_that_it_is_logged_by():
    assert Metric("probe/error_mm", "mean error", unit="mm").title == "mean error (mm)  [probe/error_mm]"
    assert Metric("retrieval/map", "mean average precision").title == "mean average precision  [retrieval/map]"


def test_the_ideal_is_the_bound_of_what_is_bounded_on_the_better_side_alone():
    found = {metric.name: metric.ideal for metrics in SETS for metric in metrics}
    assert {name: value for name, value in found.items() if value is not None} == {
        "retrieval/dist_mm_at_5": 0.0,
        **dict.fromkeys(("probe/r2", "probe/r2_x", "probe/r2_y", "probe/r2_z"), 1.0),
        **dict.fromkeys(("probe/error_mm", "probe/mae"), 0.0),
    }
    assert Metric("a/b", "b", highest=1.0, lower_is_better=True).ideal is None
    assert Metric("a/b", "b").ideal is None and Metric("a/b", "b", lowest=0.0, highest=1.0).ideal is None


def test_rows_are_told_apart_by_all_but_a_median():
    assert [metric.name for metrics in SETS for metric in metrics if not metric.compared] == ["probe/error_mm_median"]


def test_a_metric_of_the_probe_needs_a_value_or_ratios(make_question):
    asked = make_question(20)
    asked = replace(asked, metrics=(*asked.metrics, ProbeMetric("probe/nothing", "nothing")))
    with pytest.raises(NeuroprintError, match="probe/nothing: a metric of the probe needs value or ratios"):
        Benchmark(asked, QUICK).score(vectors_of(asked))


def test_millimeters_are_printed_with_one_decimal_and_shares_with_two():
    assert Metric("a/b", "b", unit="mm").decimals == 1
    assert Metric("a/b", "b").decimals == 2


def test_a_share_follows_its_metric_and_has_no_interval_of_its_own():
    metrics = with_shares(RETRIEVAL_METRICS)
    names = [metric.name for metric in metrics]
    shares = {"retrieval/p_at_5_share", "retrieval/map_share", "retrieval/ndcg_at_10_share"}
    assert {name for name in names if name.endswith("_share")} == shares
    for name in shares:
        place = names.index(name)
        assert names[place - 1] == name.removesuffix("_share")
        assert metrics[place].compared and not metrics[place].headline
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
    same = {name for name in whole.metrics if not name.endswith(("_share", "_lo", "_hi"))}
    assert {name: plain.metrics[name] for name in same} == {name: whole.metrics[name] for name in same}
    # Nobody who scores as the ideal is added to the patients; R², without bounds on both sides, adds nobody anyway.
    inside, outside = ([row.metrics[f"retrieval/p_at_5_{end}"] for end in ("lo", "hi")] for row in (plain, whole))
    assert outside[0] < inside[0] < inside[1] < outside[1]
    assert [plain.metrics[f"probe/r2_{end}"] == whole.metrics[f"probe/r2_{end}"] for end in ("lo", "hi")] == [
        True,
        True,
    ]


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
    rows = [evaluation.influences[HIT_AT_3.name] for evaluation in (benchmark.score(noise), benchmark.oracle)]
    assert with_the_best(rows, np.array([True, True])).out.tolist() == [True, False]


def test_a_closed_form_is_what_deletion_gives(make_question):
    """The same metric with ``without``: its interval does not change, only the time it takes."""
    plain = make_question(60, visits=2)

    def without(ranked):
        first, fourth = ranked.relevant[:, :3], ranked.relevant[:, 3:4]
        inside = first.sum(axis=1, keepdims=True) - first + fourth > 0
        others = np.repeat(first.any(axis=1, keepdims=True), ranked.relevant.shape[1] - 3, axis=1)
        return np.concatenate([inside, others], axis=1).astype(float)

    vectors = vectors_of(plain)
    found = [
        Benchmark(replace(plain, metrics=(metric,)), QUICK).score(vectors)
        for metric in (HIT_AT_3, replace(HIT_AT_3, without=without))
    ]
    assert found[0].metrics == pytest.approx(found[1].metrics)
    slow, quick = (each.influences[HIT_AT_3.name] for each in found)
    assert slow.effect == pytest.approx(quick.effect) and slow.pairs == pytest.approx(quick.pairs)


def test_a_row_is_known_if_all_of_it_is():
    assert known(np.array([[1.0, 2.0], [1.0, np.nan], [np.inf, 1.0]])).tolist() == [True, False, False]

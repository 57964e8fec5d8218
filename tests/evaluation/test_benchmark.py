from dataclasses import replace

import numpy as np
import pytest
from neuroprint.evaluation.relevance import RelevanceRule
from neuroprint.evaluation.subjects import Subjects
from neuroprint.evaluation.summary import HEADLINE
from sklearn.decomposition import PCA
from sklearn.metrics import r2_score, roc_auc_score

from neuroprint.errors import NeuroprintError
from neuroprint.evaluation.benchmark import Benchmark, Protocol
from neuroprint.evaluation.statistics import difference_interval

QUICK = Protocol(bootstrap=200)

CONTRACT = {
    *(
        "probe/r2",
        "probe/r2_x",
        "probe/r2_y",
        "probe/r2_z",
        "probe/error_mm",
        "probe/error_mm_median",
        "probe/side_auc",
    ),
    *(
        "retrieval/p_at_1",
        "retrieval/p_at_3",
        "retrieval/p_at_5",
        "retrieval/p_at_10",
        "retrieval/map",
        "retrieval/mrr",
    ),
    *("retrieval/ndcg_at_10", "retrieval/auc", "retrieval/dist_mm_at_5", "cohort/cases", "cohort/queries"),
    *("retrieval/p_at_5_share", "retrieval/map_share", "retrieval/ndcg_at_10_share"),
    *(
        f"{name}_{bound}"
        for name in ("probe/r2", "probe/error_mm", "retrieval/p_at_5", "retrieval/map", "retrieval/ndcg_at_10")
        for bound in ("lo", "hi")
    ),
}


def embeddings_of(subjects: Subjects, d: int = 20, noise: float = 15.0, seed: int = 0) -> np.ndarray:
    """Features that tell the position, with noise."""
    rng = np.random.default_rng(seed)
    centers = np.nan_to_num(subjects.centers_mm)
    return (centers @ rng.normal(size=(3, d)) + noise * rng.normal(size=(len(subjects), d))).astype(np.float32)


def test_every_metric_of_the_contract_is_there_or_named_as_undefined(make_subjects):
    subjects = make_subjects(60)
    benchmark = Benchmark(subjects, QUICK)
    for evaluation in (benchmark.chance, benchmark.oracle, benchmark.score(embeddings_of(subjects))):
        assert set(evaluation.metrics) == CONTRACT
        assert evaluation.undefined == ()
        assert np.isfinite(list(evaluation.metrics.values())).all()


def test_metrics_are_those_of_the_table_recomputed_by_others(make_subjects):
    subjects = make_subjects(60)
    result = Benchmark(subjects, QUICK).score(embeddings_of(subjects))
    table, metrics = result.queries, result.metrics
    center = dict(zip(subjects.ids, subjects.centers_mm, strict=True))
    patient = dict(zip(subjects.ids, subjects.patients, strict=True))
    assert table["case"].tolist() == list(subjects.ids)
    for query in table.to_dict("records"):
        gallery = [case for case in subjects.ids if table["fold"][subjects.ids.index(case)] != query["fold"]]
        near = {case for case in gallery if np.linalg.norm(center[case] - center[query["case"]]) <= 20}
        assert query["relevant"] == len(near)
        assert query["gallery"] == len(gallery)
        assert set(query["neighbors"]) <= set(gallery) and len(query["neighbors"]) == min(50, len(gallery))
        assert patient[query["case"]] not in {patient[case] for case in query["neighbors"]}
        assert query["similarities"] == sorted(query["similarities"], reverse=True)
        apart = [np.linalg.norm(center[case] - center[query["case"]]) for case in query["neighbors"]]
        assert query["distances_mm"] == pytest.approx(apart)
        if near:
            hits = [case in near for case in query["neighbors"]]
            assert query["p_at_5"] == sum(hits[:5]) / 5
            assert query["dist_mm_at_5"] == pytest.approx(np.mean(apart[:5]))
            assert query["reciprocal_rank"] == 1 / (1 + hits.index(True))
        else:
            assert np.isnan([query[name] for name in ("p_at_5", "average_precision", "auc", "dist_mm_at_5")]).all()
    scored = table[table["relevant"] > 0]
    assert 0 < len(scored) < len(table)
    assert metrics["cohort/queries"] == len(scored) and metrics["cohort/cases"] == 60
    assert metrics["retrieval/p_at_5"] == pytest.approx(scored["p_at_5"].mean())
    assert metrics["retrieval/map"] == pytest.approx(scored["average_precision"].mean())
    predicted = table[["predicted_x_mm", "predicted_y_mm", "predicted_z_mm"]].to_numpy()
    assert np.array_equal(predicted, result.predicted_mm)
    errors = np.linalg.norm(predicted - subjects.centers_mm, axis=1)
    assert metrics["probe/error_mm"] == pytest.approx(errors.mean())
    assert metrics["probe/error_mm_median"] == pytest.approx(np.median(errors))
    assert metrics["probe/side_auc"] == pytest.approx(roc_auc_score(subjects.right, predicted[:, 0]))
    # The gallery's mean is a worse baseline than the cohort's: R² comes out a little higher than scikit-learn's.
    assert (
        r2_score(subjects.centers_mm, predicted) < metrics["probe/r2"] < r2_score(subjects.centers_mm, predicted) + 0.05
    )


def test_intervals_hold_the_value(make_subjects):
    subjects = make_subjects(40)
    metrics = Benchmark(subjects, QUICK).score(embeddings_of(subjects)).metrics
    for name in ("probe/r2", "probe/error_mm", "retrieval/p_at_5", "retrieval/map", "retrieval/ndcg_at_10"):
        assert metrics[f"{name}_lo"] < metrics[name] < metrics[f"{name}_hi"]


def test_the_order_of_the_rows_read_does_not_matter(make_subjects):
    subjects = make_subjects(40, visits=2)
    vectors = embeddings_of(subjects)
    shuffled = np.random.default_rng(0).permutation(40)
    back = np.argsort(np.array(subjects.ids)[shuffled])
    first = Benchmark(subjects, QUICK).score(vectors)
    again = Benchmark(subjects, QUICK).score(np.asfortranarray(vectors[shuffled])[back])
    assert first.metrics == again.metrics
    assert first.queries.equals(again.queries)


def test_equal_embeddings_are_ranked_by_id(make_subjects):
    subjects = make_subjects(20)
    result = Benchmark(subjects, QUICK).score(np.ones((20, 7)))
    assert all(neighbors == sorted(neighbors) for neighbors in result.queries["neighbors"])
    assert result.metrics["probe/r2"] == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean"])
@pytest.mark.parametrize("n", [2, 3, 10])
@pytest.mark.parametrize("rule", [RelevanceRule(radius_mm=40), RelevanceRule(radius_mm=0.001), RelevanceRule("side")])
def test_tiny_cohorts_are_scored_without_nan(make_subjects, similarity, n, rule):
    subjects = make_subjects(n)
    benchmark = Benchmark(subjects, Protocol(min(5, n), 0, similarity, rule, 100))
    for evaluation in (benchmark.chance, benchmark.oracle, benchmark.score(embeddings_of(subjects))):
        assert np.isfinite(list(evaluation.metrics.values())).all()
        assert not set(evaluation.metrics) & set(evaluation.undefined)
        assert set(evaluation.metrics) | set(evaluation.undefined) == CONTRACT


def test_without_any_relevant_case_retrieval_is_undefined_and_the_probe_is_not(make_subjects):
    subjects = make_subjects(12)
    result = Benchmark(subjects, Protocol(relevance=RelevanceRule(radius_mm=0.001), bootstrap=100)).score(
        embeddings_of(subjects)
    )
    assert result.metrics["cohort/queries"] == 0
    assert "retrieval/p_at_5" in result.undefined and "retrieval/p_at_5_share" in result.undefined
    assert not any(name.startswith("retrieval/") for name in result.metrics)
    assert "probe/r2" in result.metrics


def test_with_one_side_only_the_side_is_undefined(make_subjects):
    subjects = make_subjects(20)
    benchmark = Benchmark(
        Subjects(subjects.ids, subjects.patients, subjects.centers_mm, np.ones(20, dtype=bool)), QUICK
    )
    for evaluation in (benchmark.chance, benchmark.oracle, benchmark.score(embeddings_of(subjects))):
        assert "probe/side_auc" in evaluation.undefined


def test_metadata_relevance_scores_cases_without_a_tumor(make_subjects):
    subjects = make_subjects(40)
    centers = subjects.centers_mm.copy()
    centers[[3, 17]] = np.nan
    subjects = Subjects(subjects.ids, subjects.patients, centers, subjects.right, subjects.metadata)
    benchmark = Benchmark(subjects, Protocol(relevance=RelevanceRule("metadata", column="grade"), bootstrap=100))
    result = benchmark.score(embeddings_of(subjects))
    assert result.metrics["cohort/cases"] == 40 and result.metrics["cohort/queries"] == 30
    for evaluation in (benchmark.chance, benchmark.oracle, result):
        assert np.isfinite(list(evaluation.metrics.values())).all()
        assert evaluation.queries["relevant"][3] == 0  # case 3 has no grade either
    assert np.isnan(result.queries["true_x_mm"][17]) and np.isfinite(result.queries["p_at_5"][17])
    whole = [mm for row in result.queries["distances_mm"] for mm in row]
    assert None in whole and not any(mm is not None and np.isnan(mm) for mm in whole)


def test_a_projection_sees_the_gallery_side_only(make_subjects):
    subjects = make_subjects(30, visits=2)
    vectors = embeddings_of(subjects)
    benchmark = Benchmark(subjects, QUICK)
    seen: list[np.ndarray] = []

    class Recording(PCA):
        def fit(self, X, y=None):
            assert y is None
            seen.append(np.asarray(X))
            return super().fit(X)

    result = benchmark.score(vectors, make_projection=lambda: Recording(3))
    assert len(seen) == 5
    for split, fitted_on in zip(benchmark.splits, seen, strict=True):
        assert np.array_equal(fitted_on, vectors[split.gallery].astype(np.float64))
    assert result.metrics["probe/r2"] > 0.5


class Leading:
    """The first columns: a supervised projection that counts its fits."""

    supervised = True
    drawn_once = False
    fits = 0

    def fit(self, X, y):
        type(self).fits += 1
        return self

    def transform(self, X):
        return X[:, :4]


def test_further_draws_choose_no_penalty_behind_a_supervised_projection(make_subjects):
    class Counted(Leading):
        fits = 0

    subjects = make_subjects(40)
    vectors = embeddings_of(subjects)
    repeated = Benchmark(subjects, Protocol(bootstrap=100, repeats=3)).score(vectors, make_projection=Counted).metrics
    # Five folds with five inner folds each, and then a fit a fold.
    assert Counted.fits == 5 * 6 + 2 * 5
    plain = Benchmark(subjects, QUICK).score(vectors, make_projection=Leading).metrics
    assert all(repeated[name] == plain[name] for name in HEADLINE)
    assert all(0 < repeated[f"{name}_seed_sd"] < 100 for name in HEADLINE)


def test_what_is_too_slow_for_further_draws_is_scored_on_the_first_alone(make_subjects):
    class Slow(Leading):
        supervised = False
        drawn_once = True
        fits = 0

        def fit(self, X, y=None):
            return super().fit(X, y)

    subjects = make_subjects(40)
    found = Benchmark(subjects, Protocol(bootstrap=100, repeats=3)).score(embeddings_of(subjects), make_projection=Slow)
    assert Slow.fits == 5
    assert {f"{name}_seed_sd" for name in HEADLINE} <= set(found.undefined)
    assert set(found.metrics) == CONTRACT


def test_figures_that_cannot_be_scored_are_refused(make_subjects):
    subjects = make_subjects(10)
    benchmark = Benchmark(subjects, QUICK)
    vectors = embeddings_of(subjects)
    with pytest.raises(NeuroprintError, match=r"\(10, dimensions\)"):
        benchmark.score(vectors[:9])
    vectors[4, 2] = np.nan
    with pytest.raises(NeuroprintError, match="case-00004"):
        benchmark.score(vectors)
    with pytest.raises(NeuroprintError, match="pass folds=10"):
        Benchmark(subjects, Protocol(folds=11))
    with pytest.raises(NeuroprintError, match="cosine, dot, euclidean"):
        Benchmark(subjects, Protocol(similarity="cos"))


def test_the_holdout_is_scored_against_a_gallery_of_the_sweeps_size(make_subjects):
    subjects = make_subjects(75)
    held = np.arange(75) % 5 == 2
    vectors = embeddings_of(subjects)
    benchmark = Benchmark(subjects, QUICK, held_out=held)
    result = benchmark.score(vectors)
    # Every case of the hold-out once to each of the sweep's five galleries, and never to another of the hold-out.
    asked = [subjects.ids[case] for case in np.flatnonzero(held)]
    assert result.queries["case"].tolist() == [case for case in asked for _ in range(5)]
    assert result.metrics["cohort/cases"] == 15
    assert set(result.queries["gallery"]) == {48}  # 60 in the sweep, less one fold
    assert not {case for row in result.queries["neighbors"] for case in row} & set(asked)
    assert set(result.metrics) == CONTRACT
    for name, column in (("retrieval/p_at_5", "p_at_5"), ("retrieval/map", "average_precision")):
        assert result.metrics[name] == pytest.approx(result.queries[column].mean())
    # A query moves its own rows only.
    elsewhere = vectors.copy()
    elsewhere[np.flatnonzero(held)[3]] += 1000
    others = result.queries["case"] != asked[3]
    again = benchmark.score(elsewhere).queries
    assert again[others].equals(result.queries[others]) and not again[~others].equals(result.queries[~others])
    sweep = Benchmark(make_subjects(60), QUICK).score(embeddings_of(make_subjects(60))).metrics
    figures = [tuple(m[f"retrieval/p_at_5{end}"] for end in ("", "_lo", "_hi")) for m in (sweep, result.metrics)]
    difference, low, high = difference_interval(figures[0], figures[1])
    assert low < difference < high


def test_a_patient_on_both_sides_of_the_holdout_is_refused(make_subjects):
    subjects = make_subjects(20, visits=2)
    with pytest.raises(NeuroprintError, match="split by patient"):
        Benchmark(subjects, QUICK, held_out=np.arange(20) < 5)


def test_under_overlap_the_oracle_ranks_by_the_true_overlap(make_subjects):
    subjects = make_subjects(40)
    # A ball around each center, of a radius of its own: the nearest center need not overlap the most.
    axes = np.stack(np.meshgrid(*[np.linspace(-80, 80, 17)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    radius = np.random.default_rng(0).uniform(12, 40, 40)
    masks = np.linalg.norm(axes[None] - subjects.centers_mm[:, None], axis=2) < radius[:, None]
    subjects = replace(subjects, masks=(255 * masks).astype(np.uint8))
    protocol = Protocol(relevance=RelevanceRule("overlap", min_dice=0.2), bootstrap=100)
    benchmark = Benchmark(subjects, protocol)
    assert benchmark.oracle.metrics["retrieval/map"] == 1.0 and benchmark.oracle.metrics["retrieval/p_at_1"] == 1.0
    by_distance = benchmark.score(subjects.centers_mm, similarity="euclidean").metrics
    assert benchmark.chance.metrics["retrieval/map"] < by_distance["retrieval/map"] < 1.0
    assert benchmark.oracle.metrics["probe/r2"] > 0.99


def test_the_spread_over_draws_of_the_folds_is_that_of_runs_with_those_folds(make_subjects):
    subjects = make_subjects(40)
    vectors = embeddings_of(subjects)
    repeated = Benchmark(subjects, Protocol(bootstrap=100, repeats=3)).score(vectors).metrics
    plain = Benchmark(subjects, Protocol(bootstrap=100)).score(vectors).metrics
    spread = {name for name in repeated if name.endswith("_seed_sd")}
    assert spread == {f"{name}_seed_sd" for name in HEADLINE}
    assert {name: value for name, value in repeated.items() if name not in spread} == plain
    draws = [Benchmark(subjects, Protocol(seed=1_000_003 * n, bootstrap=100)).score(vectors).metrics for n in range(3)]
    for name in HEADLINE:
        assert repeated[f"{name}_seed_sd"] == pytest.approx(np.std([draw[name] for draw in draws], ddof=1))
    with pytest.raises(NeuroprintError, match="repeats=0"):
        Benchmark(subjects, Protocol(repeats=0))

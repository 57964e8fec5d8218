from dataclasses import replace

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score
from sklearn.neighbors import KNeighborsRegressor

from neuroprint.errors import NeuroprintError
from neuroprint.evaluation import benchmark as module
from neuroprint.evaluation.benchmark import Benchmark, Protocol
from neuroprint.evaluation.metric import RetrievalMetric, with_shares
from neuroprint.evaluation.question import Question, equal_classes
from neuroprint.evaluation.ranked import Judged

QUICK = Protocol()

CONTRACT = {
    *("probe/r2", "probe/r2_x", "probe/r2_y", "probe/r2_z"),
    *("probe/error_mm", "probe/error_mm_median", "probe/side_auc"),
    *("retrieval/p_at_1", "retrieval/p_at_3", "retrieval/p_at_5", "retrieval/p_at_10"),
    *("retrieval/map", "retrieval/mrr", "retrieval/ndcg_at_10", "retrieval/auc", "retrieval/dist_mm_at_5"),
    *("retrieval/p_at_5_share", "retrieval/map_share", "retrieval/ndcg_at_10_share"),
    *(
        f"{name}_{bound}"
        for name in ("probe/r2", "probe/error_mm", "retrieval/p_at_5", "retrieval/map", "retrieval/ndcg_at_10")
        for bound in ("lo", "hi")
    ),
}


def embeddings_of(question: Question, d: int = 20, noise: float = 15.0, seed: int = 0) -> np.ndarray:
    """Features that tell the position, with noise."""
    rng = np.random.default_rng(seed)
    centers = np.nan_to_num(question.targets)
    return (centers @ rng.normal(size=(3, d)) + noise * rng.normal(size=(len(question), d))).astype(np.float32)


def by_class(question: Question, codes: np.ndarray) -> Question:
    """The same cases, relevant where they are of one class."""
    same, ideal = equal_classes(codes)

    def judge(queries: np.ndarray, gallery: np.ndarray) -> Judged:
        return replace(same(queries, gallery), pairs=question.judge(queries, gallery).pairs)

    return replace(question, judge=judge, ideal=ideal)


def every_row(benchmark: Benchmark) -> tuple:
    """Chance, the oracle and embeddings that know something."""
    return benchmark.chance, benchmark.oracle, benchmark.score(embeddings_of(benchmark.question))


def test_every_metric_of_the_contract_is_there_or_named_as_undefined(make_question):
    for evaluation in every_row(Benchmark(make_question(60), QUICK)):
        assert set(evaluation.metrics) == CONTRACT
        assert evaluation.undefined == ()
        assert np.isfinite(list(evaluation.metrics.values())).all()


def test_metrics_are_those_of_the_table_recomputed_by_others(make_question, auc_within_folds):
    question = make_question(60)
    result = Benchmark(question, QUICK).score(embeddings_of(question))
    table, metrics = result.queries, result.metrics
    center = dict(zip(question.ids, question.targets, strict=True))
    patient = dict(zip(question.ids, question.patients, strict=True))
    assert table["case"].tolist() == list(question.ids)
    for query in table.to_dict("records"):
        gallery = [case for case in question.ids if table["fold"][question.ids.index(case)] != query["fold"]]
        near = {case for case in gallery if np.linalg.norm(center[case] - center[query["case"]]) <= 20}
        assert query["relevant"] == len(near)
        assert query["gallery"] == len(gallery)
        assert set(query["neighbors"]) <= set(gallery) and len(query["neighbors"]) == min(50, len(gallery))
        assert patient[query["case"]] not in {patient[case] for case in query["neighbors"]}
        assert query["neighbor_similarity"] == sorted(query["neighbor_similarity"], reverse=True)
        hits = [case in near for case in query["neighbors"]]
        assert query["neighbor_relevant"] == hits
        apart = [np.linalg.norm(center[case] - center[query["case"]]) for case in query["neighbors"]]
        assert query["neighbor_distance_mm"] == pytest.approx(apart)
        if near:
            assert query["p_at_5"] == sum(hits[:5]) / 5
            assert query["dist_mm_at_5"] == pytest.approx(np.mean(apart[:5]))
            assert query["mrr"] == 1 / (1 + hits.index(True))
        else:
            assert np.isnan([query[name] for name in ("p_at_5", "map", "mrr", "auc", "dist_mm_at_5")]).all()
    scored = table[table["relevant"] > 0]
    assert 0 < len(scored) < len(table)
    assert result.answerable == len(scored) and result.cases == 60
    assert metrics["retrieval/p_at_5"] == pytest.approx(scored["p_at_5"].mean())
    assert metrics["retrieval/map"] == pytest.approx(scored["map"].mean())
    predicted = table[["predicted_x_mm", "predicted_y_mm", "predicted_z_mm"]].to_numpy()
    assert np.array_equal(predicted, result.predicted)
    assert np.array_equal(table[["true_x_mm", "true_y_mm", "true_z_mm"]].to_numpy(), question.targets)
    errors = np.linalg.norm(predicted - question.targets, axis=1)
    assert metrics["probe/error_mm"] == pytest.approx(errors.mean())
    assert metrics["probe/error_mm_median"] == pytest.approx(np.median(errors))
    expected = auc_within_folds(result, question.columns["right"], predicted[:, 0])
    assert metrics["probe/side_auc"] == pytest.approx(expected)
    # The gallery's mean is a worse baseline than the cohort's: R² comes out a little higher than scikit-learn's.
    plain = r2_score(question.targets, predicted)
    assert plain < metrics["probe/r2"] < plain + 0.05


def test_the_table_tells_what_its_metrics_are(make_question):
    question = make_question(20)
    for evaluation in every_row(Benchmark(question, QUICK)):
        assert evaluation.queries.attrs["metrics"] == [metric.record() for metric in with_shares(question.metrics)]
        columns = {metric.column for metric in question.metrics if isinstance(metric, RetrievalMetric)}
        assert columns <= set(evaluation.queries)
        assert set(evaluation.influences) <= {metric.name for metric in question.metrics if metric.compared}


def test_the_baseline_is_the_mean_of_the_gallery(make_question):
    benchmark = Benchmark(make_question(30), QUICK)
    table = benchmark.chance.queries
    for split in benchmark.splits:
        mean = benchmark.question.targets[split.gallery].mean(axis=0)
        rows = table[["baseline_x_mm", "baseline_y_mm", "baseline_z_mm"]].to_numpy()[split.queries]
        assert rows == pytest.approx(np.tile(mean, (len(split.queries), 1)))


def test_intervals_hold_the_value(make_question):
    question = make_question(40)
    metrics = Benchmark(question, QUICK).score(embeddings_of(question)).metrics
    for name in ("probe/r2", "probe/error_mm", "retrieval/p_at_5", "retrieval/map", "retrieval/ndcg_at_10"):
        assert metrics[f"{name}_lo"] < metrics[name] < metrics[f"{name}_hi"]


def test_the_order_of_the_rows_read_does_not_matter(make_question):
    question = make_question(40, visits=2)
    vectors = embeddings_of(question)
    shuffled = np.random.default_rng(0).permutation(40)
    back = np.argsort(np.array(question.ids)[shuffled])
    first = Benchmark(question, QUICK).score(vectors)
    again = Benchmark(question, QUICK).score(np.asfortranarray(vectors[shuffled])[back])
    assert first.metrics == again.metrics
    assert first.queries.equals(again.queries)


def test_queries_judged_in_blocks_score_the_same(make_question, monkeypatch):
    question = make_question(40, visits=2)
    whole = every_row(Benchmark(question, QUICK))
    monkeypatch.setattr(module, "_BLOCK_CELLS", 100)  # three queries to a gallery of 32
    for one, other in zip(whole, every_row(Benchmark(question, QUICK)), strict=True):
        assert one.metrics == pytest.approx(other.metrics, rel=1e-9)
        assert one.queries.equals(other.queries)
        for name, influence in one.influences.items():
            assert influence.effect == pytest.approx(other.influences[name].effect, abs=1e-12)


def test_equal_embeddings_are_ranked_by_id(make_question):
    result = Benchmark(make_question(20), QUICK).score(np.ones((20, 7)))
    assert all(neighbors == sorted(neighbors) for neighbors in result.queries["neighbors"])
    assert result.metrics["probe/r2"] == pytest.approx(0.0, abs=1e-12)


def test_neighbors_are_listed_with_how_similar_they_are(make_question):
    question = make_question(20)
    vectors = embeddings_of(question).astype(np.float64)
    benchmark = Benchmark(question, QUICK)
    place = {case: row for row, case in enumerate(question.ids)}
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    expected = {"cosine": unit @ unit.T, "dot": vectors @ vectors.T}
    expected["euclidean"] = -np.linalg.norm(vectors[:, None] - vectors, axis=2)
    for similarity, matrix in expected.items():
        for row, query in enumerate(benchmark.score(vectors, similarity).queries.to_dict("records")):
            close = [matrix[row, place[case]] for case in query["neighbors"]]
            assert query["neighbor_similarity"] == pytest.approx(close, abs=1e-7 * np.abs(matrix).max())


@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean"])
@pytest.mark.parametrize("n", [2, 3, 10])
@pytest.mark.parametrize("rule", [40, 0.001, "side"])
def test_tiny_cohorts_are_scored_without_nan(make_question, similarity, n, rule):
    question = make_question(n) if rule == "side" else make_question(n, radius_mm=rule)
    if rule == "side":
        question = by_class(question, question.columns["right"].astype(int))
    benchmark = Benchmark(question, Protocol(min(5, n)))
    for evaluation in (benchmark.chance, benchmark.oracle, benchmark.score(embeddings_of(question), similarity)):
        assert np.isfinite(list(evaluation.metrics.values())).all()
        assert not set(evaluation.metrics) & set(evaluation.undefined)
        assert set(evaluation.metrics) | set(evaluation.undefined) == CONTRACT


def test_without_any_relevant_case_retrieval_is_undefined_and_the_probe_is_not(make_question):
    question = make_question(12, radius_mm=0.001)
    result = Benchmark(question, Protocol()).score(embeddings_of(question))
    assert result.answerable == 0 and result.cases == 12
    assert "retrieval/p_at_5" in result.undefined and "retrieval/p_at_5_share" in result.undefined
    assert not any(name.startswith("retrieval/") for name in result.metrics)
    assert "probe/r2" in result.metrics


def test_with_one_side_only_the_side_is_undefined(make_question):
    centers = np.abs(make_question(20).targets)
    for evaluation in every_row(Benchmark(make_question(20, centers_mm=centers), QUICK)):
        assert "probe/side_auc" in evaluation.undefined


def test_a_case_whose_target_is_not_known_is_a_query_all_the_same(make_question):
    centers = make_question(40).targets.copy()
    centers[[3, 17]] = np.nan
    grades = np.arange(40) % 4
    question = by_class(make_question(40, centers_mm=centers), np.where(grades == 3, -1, grades))
    benchmark = Benchmark(question, Protocol())
    result = benchmark.score(embeddings_of(question))
    assert (result.cases, result.answerable) == (40, 30)
    for evaluation in (benchmark.chance, benchmark.oracle, result):
        assert np.isfinite(list(evaluation.metrics.values())).all()
        assert evaluation.queries["relevant"][3] == 0  # the grade of case 3 is not known either
    table = result.queries
    assert np.isnan(table["true_x_mm"][17]) and np.isfinite(table["p_at_5"][17])
    assert np.isfinite(table["predicted_x_mm"][17])
    known = np.isfinite(centers).all(axis=1)
    errors = np.linalg.norm(result.predicted - centers, axis=1)
    assert result.metrics["probe/error_mm"] == pytest.approx(errors[known].mean())
    assert np.isnan(table["neighbor_distance_mm"][17]).all()
    assert benchmark.targets[[3, 17]] == pytest.approx(np.tile(centers[known].mean(axis=0), (2, 1)))


def test_a_projection_sees_the_gallery_side_only(make_question):
    question = make_question(30, visits=2)
    vectors = embeddings_of(question)
    benchmark = Benchmark(question, QUICK)
    seen: list[np.ndarray] = []

    class Recording(PCA):
        def fit(self, X, y=None):
            assert y is None
            seen.append(np.asarray(X))
            return super().fit(X)

    given = Recording(3)
    result = benchmark.score(vectors, projection=given)
    assert len(seen) == 5
    for split, fitted_on in zip(benchmark.splits, seen, strict=True):
        assert np.array_equal(fitted_on, vectors[split.gallery].astype(np.float64))
    assert result.metrics["probe/r2"] > 0.5
    assert not hasattr(given, "components_")  # a clone of it was fitted in every fold


def test_a_projection_is_clipped_to_the_smallest_gallery(make_question, caplog):
    question = make_question(11)
    vectors = embeddings_of(question)
    benchmark = Benchmark(question, QUICK)
    clipped = benchmark.score(vectors, projection=PCA(16)).metrics
    assert "components=16 is more than the gallery allows: clipped to 8" in caplog.text
    assert clipped == benchmark.score(vectors, projection=PCA(8)).metrics


def test_a_regressor_of_scikit_learns_is_a_probe(make_question):
    question = make_question(40)
    vectors = embeddings_of(question).astype(np.float64)
    benchmark = Benchmark(question, QUICK)
    for probe in (LinearRegression(), KNeighborsRegressor(3)):
        found = benchmark.score(vectors, probe=probe).predicted
        for split in benchmark.splits:
            model = type(probe)(**probe.get_params()).fit(vectors[split.gallery], question.targets[split.gallery])
            assert found[split.queries] == pytest.approx(model.predict(vectors[split.queries]))
        assert not hasattr(probe, "n_features_in_")


class Leading:
    """The first columns: a supervised projection that counts its fits."""

    supervised = True
    fits = 0

    def fit(self, X, y):
        type(self).fits += 1
        return self

    def transform(self, X):
        return X[:, :4]


def test_the_penalty_behind_a_supervised_projection_is_chosen_by_refitting_it(make_question):
    question = make_question(40)
    Leading.fits = 0
    Benchmark(question, QUICK).score(embeddings_of(question), projection=Leading())
    assert Leading.fits == 5 * (1 + 5)  # in each fold once, and in five inner folds


def test_figures_that_cannot_be_scored_are_refused(make_question):
    question = make_question(10)
    benchmark = Benchmark(question, QUICK)
    vectors = embeddings_of(question)
    with pytest.raises(NeuroprintError, match=r"\(10, dimensions\)"):
        benchmark.score(vectors[:9])
    with pytest.raises(NeuroprintError, match=r"\(10, dimensions\)"):
        benchmark.score(np.zeros((10, 0)))
    with pytest.raises(NeuroprintError, match="cosine, dot, euclidean"):
        benchmark.score(vectors, "cos")
    vectors[4, 2] = np.nan
    with pytest.raises(NeuroprintError, match="case-00004"):
        benchmark.score(vectors)
    with pytest.raises(NeuroprintError, match="pass folds=10"):
        Benchmark(question, Protocol(folds=11))


def test_a_projection_that_blows_up_is_refused(make_question):
    class Infinite:
        def fit(self, X, y=None):
            return self

        def transform(self, X):
            return np.full((len(X), 2), np.inf)

    question = make_question(10)
    with pytest.raises(NeuroprintError, match="not finite"):
        Benchmark(question, QUICK).score(embeddings_of(question), projection=Infinite(), probe=LinearMean())


class LinearMean:
    """Predicts the mean, whatever it is given."""

    def fit(self, X, y, groups):
        self.mean = y.mean(axis=0)
        return self

    def predict(self, X):
        return np.tile(self.mean, (len(X), 1))


def test_the_holdout_is_scored_against_a_gallery_of_the_sweeps_size(make_question):
    question = make_question(75)
    held = np.arange(75) % 5 == 2
    vectors = embeddings_of(question)
    benchmark = Benchmark(question, QUICK, held_out=held)
    result = benchmark.score(vectors)
    # Every case of the hold-out once to each of the sweep's five galleries, and never to another of the hold-out.
    asked = [question.ids[case] for case in np.flatnonzero(held)]
    assert result.queries["case"].tolist() == [case for case in asked for _ in range(5)]
    assert result.cases == 15
    assert set(result.queries["gallery"]) == {48}  # 60 in the sweep, less one fold
    assert not {case for row in result.queries["neighbors"] for case in row} & set(asked)
    assert set(result.metrics) == CONTRACT
    for name, column in (("retrieval/p_at_5", "p_at_5"), ("retrieval/map", "map")):
        assert result.metrics[name] == pytest.approx(result.queries[column].mean())
    # A query moves its own rows only.
    elsewhere = vectors.copy()
    elsewhere[np.flatnonzero(held)[3]] += 1000
    others = result.queries["case"] != asked[3]
    again = benchmark.score(elsewhere).queries
    assert again[others].equals(result.queries[others]) and not again[~others].equals(result.queries[~others])


def test_a_patient_on_both_sides_of_the_holdout_is_refused(make_question):
    with pytest.raises(NeuroprintError, match="split by patient"):
        Benchmark(make_question(20, visits=2), QUICK, held_out=np.arange(20) < 5)


def test_the_oracle_ranks_by_what_the_question_calls_ideal(make_question):
    """Relevance that is not by distance: cases of one class, whose centers lie anywhere."""
    codes = np.random.default_rng(3).integers(0, 4, 40)
    question = by_class(make_question(40), codes)
    benchmark = Benchmark(question, Protocol())
    assert benchmark.oracle.metrics["retrieval/map"] == 1.0 and benchmark.oracle.metrics["retrieval/p_at_1"] == 1.0
    by_distance = benchmark.score(question.targets, "euclidean").metrics
    assert by_distance["retrieval/map"] < 0.6
    # The probe is asked of the true targets all the same.
    assert benchmark.oracle.metrics["probe/r2"] > 0.99

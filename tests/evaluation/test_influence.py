"""What a metric owes to a patient, against the metric itself with the patient gone; and the variance that follows."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from neuroprint.evaluation.benchmark import Benchmark, Protocol
from neuroprint.evaluation.classification import CLASS_METRICS
from neuroprint.evaluation.influence import SKETCH, Groups, Influence, influence
from neuroprint.evaluation.metric import Predictions, ProbeMetric, RetrievalMetric
from neuroprint.evaluation.probe import RidgeProbe
from neuroprint.evaluation.question import Question, equal_classes
from neuroprint.evaluation.ranked import Judged
from neuroprint.evaluation.ranking import rank
from neuroprint.evaluation.regression import POSITION_METRICS
from neuroprint.evaluation.retrieval import RETRIEVAL_METRICS
from neuroprint.evaluation.similarity import similarity_named
from neuroprint.evaluation.splits import Split

ALPHA = 30.0
FIXED = RidgeProbe([ALPHA])
WITH_RATIOS = [metric for metric in POSITION_METRICS if metric.ratios is not None]


class Nothing:
    """A probe that costs no time."""

    def fit(self, X, y):
        return self

    def predict(self, X):
        return np.zeros((len(X), 3))


def embeddings_of(question: Question, seed: int = 0, noise: float = 20.0) -> np.ndarray:
    """Features that tell the position, with noise."""
    rng = np.random.default_rng(seed)
    return question.targets @ rng.normal(size=(3, 6)) + noise * rng.normal(size=(len(question), 6))


def as_answers(judged: Judged, split: Split, queries: np.ndarray, vectors: np.ndarray, question: Question):
    """The galleries in the order of cosine similarity."""
    close = similarity_named("cosine")(vectors[queries], vectors[split.gallery])
    return judged.ranked(rank(close, [question.ids[case] for case in split.gallery]))


def rescored(
    benchmark: Benchmark, vectors: np.ndarray, metric: RetrievalMetric, without: Sequence[int] = (), at_chance=False
) -> tuple[float, int]:
    """The mean over queries, and how many there are, with the folds as they were and some cases nowhere."""
    values = []
    for split in benchmark.splits:
        left = Split(split.fold, *(np.setdiff1d(side, without) for side in (split.gallery, split.queries)))
        if not len(left.queries):
            continue
        judged = benchmark.question.judged(left.queries, left.gallery)
        ranked = as_answers(judged, left, left.queries, vectors, benchmark.question)
        worth = metric.expected(judged) if at_chance else metric.of_query(ranked)
        values.append(np.where(judged.count > 0, worth, np.nan))
    joined = np.concatenate(values)
    return float(np.nanmean(joined)), int(np.isfinite(joined).sum())


@pytest.mark.parametrize("metric", RETRIEVAL_METRICS, ids=lambda metric: metric.name)
@pytest.mark.parametrize("radius_mm", [20.0, 30.0])  # at the first some queries have but one relevant case, or none
def test_the_effect_of_a_patient_is_what_its_removal_changes(make_question, metric, radius_mm):
    """With e the effect and N queries, m of the others without it: value - value without it = e N / m, exactly."""
    question = make_question(24, seed=3, radius_mm=radius_mm)
    benchmark, vectors = Benchmark(question, Protocol(4)), embeddings_of(question)
    found = benchmark.score(vectors, probe=FIXED).influences[metric.name]
    value, queries = rescored(benchmark, vectors, metric)
    assert found.value == pytest.approx(value)
    for patient, group in enumerate(benchmark.groups.of_case):
        without, left = rescored(benchmark, vectors, metric, [patient])
        assert found.effect[group] == pytest.approx((value - without) * left / queries, abs=1e-12)


@pytest.mark.parametrize("metric", RETRIEVAL_METRICS, ids=lambda metric: metric.name)
def test_chance_owes_to_a_patient_what_its_removal_changes(make_question, metric):
    question = make_question(24, seed=3)
    benchmark, vectors = Benchmark(question, Protocol(4)), embeddings_of(question)
    found = benchmark.chance.influences[metric.name]
    value, queries = rescored(benchmark, vectors, metric, at_chance=True)
    assert found.value == pytest.approx(value)
    if metric.name in ("retrieval/ndcg_at_10", "retrieval/dist_mm_at_5"):
        return  # graded: of the relevant cases, and of the others, one stands for all
    for patient, group in enumerate(benchmark.groups.of_case):
        without, left = rescored(benchmark, vectors, metric, [patient], at_chance=True)
        assert found.effect[group] == pytest.approx((value - without) * left / queries, abs=1e-12)


@pytest.mark.parametrize("metric", RETRIEVAL_METRICS, ids=lambda metric: metric.name)
def test_with_several_visits_a_patient_is_the_sum_of_its_cases(make_question, metric):
    """Own part: what its queries lie above the mean. As an answer: each case deleted from the rankings, one by one."""
    question = make_question(30, seed=1, visits=3)
    benchmark, vectors = Benchmark(question, Protocol(3)), embeddings_of(question)
    found = benchmark.score(vectors, probe=FIXED).influences[metric.name]
    own, lent, queries = np.zeros(10), np.zeros(10), rescored(benchmark, vectors, metric)[1]
    patient = np.arange(30) // 3
    for split in benchmark.splits:
        for query in split.queries:
            judged = question.judged(np.array([query]), split.gallery)
            worth = metric.of_query(as_answers(judged, split, np.array([query]), vectors, question))[0]
            if not judged.count[0] or np.isnan(worth):
                continue
            own[patient[query]] += (worth - found.value) / queries
            for case in split.gallery:
                rest = Split(split.fold, np.setdiff1d(split.gallery, case), np.array([query]))
                judged = question.judged(rest.queries, rest.gallery)
                left = metric.of_query(as_answers(judged, rest, rest.queries, vectors, question))[0]
                gone = not judged.count[0] or np.isnan(left)
                lent[patient[case]] += (worth - (found.value if gone else left)) / queries
    group = benchmark.groups.of_case[::3]
    assert found.own[group] == pytest.approx(own, abs=1e-12)
    assert found.effect[group] == pytest.approx(own + lent, abs=1e-12)
    assert found.asked <= 10 and found.own.sum() == pytest.approx(0.0, abs=1e-12)


def refitted(
    benchmark: Benchmark, vectors: np.ndarray, without: Sequence[int] = (), at_chance: bool = False
) -> Predictions:
    """scikit-learn's ridge on each gallery less some cases; the scale is that of the whole gallery."""
    targets = benchmark.question.targets
    predicted, baseline = np.full_like(targets, np.nan), np.full_like(targets, np.nan)
    folds = np.zeros(len(targets), dtype=np.int64)
    for split in benchmark.splits:
        folds[split.queries] = split.fold
        kept = np.setdiff1d(split.gallery, without)
        scaler = StandardScaler().fit(vectors[split.gallery])
        model = Ridge(ALPHA).fit(scaler.transform(vectors[kept]), targets[kept])
        baseline[split.queries] = targets[kept].mean(axis=0)
        predicted[split.queries] = (
            baseline[split.queries] if at_chance else model.predict(scaler.transform(vectors[split.queries]))
        )
    return Predictions(predicted, targets, baseline, benchmark.question.columns, folds)


@pytest.mark.parametrize("metric", WITH_RATIOS, ids=lambda metric: metric.name)
@pytest.mark.parametrize("at_chance", [False, True])
def test_a_ratio_of_sums_owes_to_a_patient_what_a_refit_without_it_changes(make_question, metric, at_chance):
    """To first order in the sums, the fits being exact: each ratio's change, by the denominator that is left."""
    question = make_question(40, seed=2, visits=2)
    benchmark, vectors = Benchmark(question, Protocol(4)), embeddings_of(question)
    row = benchmark.chance if at_chance else benchmark.score(vectors, probe=FIXED)
    found = row.influences[metric.name]
    whole = metric.ratios(refitted(benchmark, vectors, at_chance=at_chance))
    sign = -1.0 if whole.complement else 1.0
    for patient in range(20):
        own = np.array([2 * patient, 2 * patient + 1])
        others = np.setdiff1d(np.arange(40), own)
        left = metric.ratios(refitted(benchmark, vectors, own, at_chance).among(np.isin(np.arange(40), others)))
        share = left.denominators.sum(axis=0) / whole.denominators.sum(axis=0)
        expected = sign * ((whole.ratios - left.ratios) * share).mean()
        assert found.effect[benchmark.groups.of_case[own[0]]] == pytest.approx(expected, rel=1e-6, abs=1e-10)


def test_a_metric_that_is_only_a_value_is_left_out_patient_by_patient(make_question):
    """The AUC of the side, recomputed from scratch without each patient; its jackknife knows nothing of pairs."""
    question = make_question(40, seed=2, visits=2)
    benchmark, vectors = Benchmark(question, Protocol(4)), embeddings_of(question, noise=60.0)
    found = benchmark.score(vectors, probe=FIXED).influences["probe/side_auc"]
    metric = next(metric for metric in POSITION_METRICS if metric.name == "probe/side_auc")
    value = metric.of(refitted(benchmark, vectors))
    assert found.value == pytest.approx(value) and 0.5 < value < 1 and found.pairs == 0.0 and not found.sketch.any()
    for patient in range(20):
        others = np.arange(40) // 2 != patient
        without = metric.of(refitted(benchmark, vectors, np.flatnonzero(~others)).among(others))
        assert found.effect[benchmark.groups.of_case[2 * patient]] == pytest.approx((value - without) * 19 / 20)


def test_a_metric_with_ratios_owes_about_the_same_if_it_is_only_a_value(make_question):
    plain = make_question(80, seed=2)
    r2 = POSITION_METRICS[0]
    assert isinstance(r2, ProbeMetric)
    as_value = replace(r2, name="probe/as_value", ratios=None, value=lambda found: r2.of(found))
    question = replace(plain, metrics=(r2, as_value))
    found = Benchmark(question).score(embeddings_of(question), probe=FIXED).influences
    assert np.corrcoef(found["probe/r2"].effect, found["probe/as_value"].effect)[0, 1] > 0.99
    assert found["probe/as_value"].variance == pytest.approx(
        found["probe/r2"].variance + found["probe/r2"].pairs, rel=0.1
    )


def test_classes_of_a_probe_have_influences_too(make_question):
    plain = make_question(60)
    codes = (plain.targets[:, 0] > 0).astype(int) + (plain.targets[:, 1] > 20)
    judge, ideal = equal_classes(codes)
    names = ("a", "b", "c")
    question = replace(
        plain, targets=np.eye(3)[codes], target_names=names, judge=judge, ideal=ideal, metrics=CLASS_METRICS
    )
    benchmark = Benchmark(question)
    row = benchmark.score(embeddings_of(plain))
    for metric in CLASS_METRICS:
        found = row.influences[metric.name]
        assert found.value == row.metrics[metric.name] and found.variance > 0
        assert row.metrics[f"{metric.name}_lo"] < found.value < row.metrics[f"{metric.name}_hi"]
        assert benchmark.chance.metrics[metric.name] == metric.chance(row_of(benchmark, row))
        assert metric.name not in benchmark.chance.influences


def row_of(benchmark: Benchmark, row) -> Predictions:
    return benchmark.predictions(row.queries)


# Groups


def test_patients_are_groups_one_by_one_and_dealt_evenly_where_there_are_many():
    patients = [f"p{number // 2:03d}" for number in range(400)]
    each = Groups.of(patients)
    assert each.count == 200 and len(set(each.of_case)) == 200
    assert (each.of_case[::2] == each.of_case[1::2]).all()
    dealt = Groups.of(patients, most=30)
    assert dealt.count == 30 and (dealt.of_case[::2] == dealt.of_case[1::2]).all()
    sizes = np.bincount(dealt.of_case[::2])
    assert sizes.max() - sizes.min() == 1


def test_groups_do_not_depend_on_the_order_of_cases_and_stay_for_a_part_of_them():
    patients = [f"p{number}" for number in range(90)]
    groups = Groups.of(patients, most=20)
    order = np.random.default_rng(0).permutation(90)
    assert np.array_equal(Groups.of([patients[place] for place in order], most=20).of_case, groups.of_case[order])
    some = np.arange(90) % 3 == 0
    assert groups.among(some).count == 20 and np.array_equal(groups.among(some).of_case, groups.of_case[some])
    assert groups.summed(np.ones(3), np.array([0, 0, 5])).sum() == 3


def test_the_effects_of_dealt_patients_sum_within_their_groups(make_question):
    question = make_question(60)
    vectors = embeddings_of(question)
    dealt = Groups.of(question.patients, most=25)
    each = Benchmark(question).score(vectors, probe=FIXED).influences
    few = Benchmark(question, groups=dealt).score(vectors, probe=FIXED).influences
    place = Benchmark(question).groups.of_case
    for name in ("retrieval/map", "retrieval/p_at_5", "probe/r2"):
        expected = dealt.summed(each[name].effect[place], np.arange(60))
        assert few[name].effect == pytest.approx(expected, rel=0.15, abs=1e-3 if name == "probe/r2" else 1e-12)
        assert few[name].value == each[name].value


def test_dealt_patients_give_the_same_variance_on_average(make_question):
    chosen = tuple(metric for metric in RETRIEVAL_METRICS if metric.name == "retrieval/map")
    variances = []
    for seed in range(25):
        question = replace(make_question(60, seed=seed), metrics=chosen)
        benchmarks = [Benchmark(question, groups=Groups.of(question.patients, most)) for most in (60, 30)]
        rows = [benchmark.score(embeddings_of(question, seed), probe=Nothing()) for benchmark in benchmarks]
        variances.append([row.influences["retrieval/map"].variance for row in rows])
    each, few = np.mean(variances, axis=0)
    assert few == pytest.approx(each, rel=0.25)


# Arithmetic


def made(groups: int = 30, seed: int = 0) -> Influence:
    rng = np.random.default_rng(seed)
    own = rng.normal(size=groups)
    return influence(0.4, own - own.mean(), 0.3 * rng.normal(size=(groups, groups)), groups)


def test_pairs_are_what_two_patients_share_and_the_sketch_stands_for_them():
    lost = np.random.default_rng(0).normal(size=(40, 40))
    found = influence(0.4, np.zeros(40), lost, 40)
    expected = sum((lost[i, j] + lost[j, i]) ** 2 for i in range(40) for j in range(i))
    assert found.pairs == pytest.approx(expected)
    assert found.effect == pytest.approx(lost.sum(axis=0))
    assert found.sketch.shape == (SKETCH,)
    assert np.square(found.sketch).sum() == pytest.approx(expected)  # 780 pairs have a bucket each
    more = 0.5 * lost + np.random.default_rng(1).normal(size=(40, 40))
    other = influence(0.3, np.zeros(40), more, 40)
    shared = sum((lost[i, j] + lost[j, i]) * (more[i, j] + more[j, i]) for i in range(40) for j in range(i))
    assert (found.sketch * other.sketch).sum() == pytest.approx(shared)


def test_of_more_pairs_than_buckets_the_sketch_is_an_estimate():
    lost = np.random.default_rng(0).normal(size=(200, 200))
    found = influence(0.4, np.zeros(200), lost, 200)
    assert found.sketch.shape == (SKETCH,)
    assert np.square(found.sketch).sum() == pytest.approx(found.pairs, rel=4 * np.sqrt(2 / SKETCH))


def test_the_variance_is_the_jackknifes_less_the_pairs_and_never_less_than_that_of_the_queries():
    found = made()
    jackknife = 30 / 29 * np.square(found.effect - found.effect.mean()).sum()
    alone = 30 / 29 * np.square(found.own).sum()
    assert replace(found, doubt=0.0).variance == pytest.approx(max(jackknife - found.pairs, alone))
    # What the galleries add is drawn from a normal distribution about what was found, and is not negative.
    drawn = jackknife - found.pairs - alone + found.doubt * np.random.default_rng(0).normal(size=400_000)
    assert found.variance == pytest.approx(alone + np.maximum(drawn, 0.0).mean(), rel=0.01)
    assert replace(found, pairs=1e9).variance == pytest.approx(alone)
    assert replace(found, pairs=1e9).degrees > found.degrees  # there is nothing that could be more


def test_groups_that_neither_ask_nor_answer_move_no_variance():
    found = made()
    more = replace(found, own=np.append(found.own, np.zeros(10)), effect=np.append(found.effect, np.zeros(10)))
    assert more.variance == pytest.approx(found.variance)


def test_a_row_less_itself_owes_nothing_and_a_multiple_owes_multiples():
    found = made()
    assert found.minus(found).variance == 0.0 and found.minus(found).value == 0.0
    worse = found.times(-2.0)
    assert worse.value == -0.8 and worse.variance == pytest.approx(4 * found.variance)
    assert worse.pairs == pytest.approx(4 * found.pairs)
    difference = found.minus(made(seed=1))
    assert difference.effect == pytest.approx(found.effect - made(seed=1).effect)


# Is it the variance over cohorts?


@pytest.fixture(scope="module")
def cohorts(make_question) -> dict[str, np.ndarray]:
    """Of 700 cohorts: the value, and the variance by queries alone, by the jackknife, and without what that counts twice."""
    rng = np.random.default_rng(0)
    found: dict[str, list[tuple[float, ...]]] = {"retrieval/p_at_5": [], "retrieval/map": []}
    chosen = tuple(metric for metric in RETRIEVAL_METRICS if metric.name in found)
    for _ in range(700):
        centers = rng.normal(size=(40, 3)) * [30.0, 35.0, 20.0]
        question = replace(make_question(40, centers_mm=centers, radius_mm=35.0), metrics=chosen)
        row = Benchmark(question).score(rng.normal(size=(40, 8)), probe=Nothing())
        for name, rows in found.items():
            owed = row.influences[name]
            alone = 40 / 39 * np.square(owed.own).sum()
            jackknife = 40 / 39 * np.square(owed.effect - owed.effect.mean()).sum()
            rows.append((owed.value, alone, jackknife, jackknife - owed.pairs))
    return {name: np.array(rows) for name, rows in found.items()}


@pytest.mark.parametrize("name", ["retrieval/p_at_5", "retrieval/map"])
def test_the_variance_is_that_over_cohorts(cohorts, name):
    """Embeddings that know nothing: who looks like whom is chance of pairs, which the plain jackknife counts twice.

    What it is then taken to be in one cohort is more, as it is never less than that of the queries alone.
    """
    values, alone, jackknife, ours = cohorts[name].T
    true = values.var(ddof=1)  # known to 6 % in 700 cohorts
    assert ours.mean() == pytest.approx(true, rel=0.25)
    assert alone.mean() < 0.7 * true and jackknife.mean() > 1.5 * true


def test_what_the_dealing_of_folds_adds_is_put_back():
    """Two cases of one fold are in neither's gallery: with five folds a fifth of what a pair shares is not taken off."""
    rng = np.random.default_rng(0)
    lost = rng.normal(size=(30, 30))
    lost = lost + lost.T  # who looks like whom, looks like him
    plain, dealt = (influence(0.4, np.zeros(30), lost, 30, folds) for folds in (None, 5))
    products = sum(2 * lost[i, j] * lost[j, i] for i in range(30) for j in range(i))
    assert plain.pairs - dealt.pairs == pytest.approx(products / 5)
    assert np.square(dealt.sketch).sum() == pytest.approx(dealt.pairs, rel=0.1)


def test_the_degrees_of_freedom_are_those_of_normal_values_and_few_where_few_patients_make_up_the_variance():
    """Of normal patients one less than there are, in the mean; of one who alone differs, hardly more than one."""

    def degrees(values: np.ndarray) -> float:
        own = (values - values.mean()) / len(values)
        return influence(float(values.mean()), own, np.zeros((len(values), len(values))), len(values)).degrees

    rng = np.random.default_rng(0)
    normal = [degrees(rng.normal(size=200)) for _ in range(200)]
    assert np.mean(normal) == pytest.approx(199, rel=0.1) and max(normal) <= 199
    assert degrees(np.r_[np.zeros(199), 1.0]) < 3
    assert degrees(np.r_[np.zeros(100), np.ones(100)]) == pytest.approx(199)

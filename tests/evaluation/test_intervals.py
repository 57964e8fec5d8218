"""Do 95 % intervals hold the truth in 95 % of cohorts? And what do they say where patients are few or agree?"""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm
from scipy.stats import t as students

from neuroprint.evaluation.benchmark import Benchmark
from neuroprint.evaluation.influence import Influence, influence
from neuroprint.evaluation.intervals import interval, student
from neuroprint.evaluation.retrieval import RETRIEVAL_METRICS

UNIT, ABOVE_0, BELOW_1, FREE = (0.0, 1.0), (0.0, None), (None, 1.0), (None, None)


def of_values(values: np.ndarray) -> Influence:
    """The mean of independent patients."""
    n = len(values)
    mean = float(values.mean())
    return influence(mean, (values - mean) / n, np.zeros((n, n)), n)


def test_the_quantile_is_students():
    for degrees in (1, 2, 9, 63, 1250):
        assert student(degrees) == pytest.approx(students.ppf(0.975, degrees))
    assert student(10**7) == pytest.approx(norm.ppf(0.975), rel=1e-5)


def test_of_yes_and_no_it_is_wilsons_interval_of_as_many_patients():
    """Wilson 1927 for 30 of 100, whose variance is that of 99; the quantile is Student's, and nobody is added."""
    values = np.repeat([1.0, 0.0], [30, 70])
    found = interval(of_values(values), *UNIT, anchors=[])
    z, p, n = students.ppf(0.975, of_values(values).degrees), 0.3, 99
    middle, reach = (
        (p + z**2 / (2 * n)) / (1 + z**2 / n),
        z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / 4 / n**2),
    )
    assert found == pytest.approx((middle - reach, middle + reach), rel=1e-4)


def test_without_bounds_it_is_students_interval():
    values = np.random.default_rng(0).normal(size=25)
    expected = students.interval(0.95, of_values(values).degrees, values.mean(), values.std(ddof=1) / 5)
    assert interval(of_values(values), *FREE, anchors=[]) == pytest.approx(expected)


def test_with_one_bound_it_is_the_normal_interval_of_the_logarithm_as_seen_from_there():
    values = 20 + np.random.default_rng(0).normal(size=25)
    reach = students.ppf(0.975, of_values(values).degrees) * values.std(ddof=1) / 5
    factor = np.exp(reach / values.mean())
    assert interval(of_values(values), *ABOVE_0, anchors=[]) == pytest.approx(
        (values.mean() / factor, values.mean() * factor)
    )
    mirrored = interval(of_values(1 - values), *BELOW_1, anchors=[])
    assert mirrored == pytest.approx((1 - values.mean() * factor, 1 - values.mean() / factor))


@pytest.mark.parametrize("value", [0.0, 0.2, 0.5, 1.0])
@pytest.mark.parametrize("n", [2, 3, 10, 64])
def test_patients_who_all_agree_leave_a_width_that_shrinks_with_their_number(value, n):
    """Ten patients at 0.2 do not say that nothing could move."""
    agreeing = of_values(np.full(n, value))
    low, high = interval(agreeing, *UNIT, anchors=[0.1, 1.0])
    assert 0.0 <= low <= value <= high <= 1.0 and high - low > 0.3 / n
    more = interval(of_values(np.full(2 * n, value)), *UNIT, anchors=[0.1, 1.0])
    assert more[1] - more[0] < high - low


def test_whoever_scores_as_chance_and_as_the_ideal_has_a_width_too():
    for value in (0.1, 1.0):
        low, high = interval(of_values(np.full(10, value)), *UNIT, anchors=[0.1, 1.0])
        assert low < value <= high and high - low > 0.05


@pytest.mark.parametrize("bounds", [UNIT, ABOVE_0, BELOW_1, FREE])
@pytest.mark.parametrize("n", [2, 5, 20])
def test_it_holds_the_value_and_stays_within_the_natural_bounds(bounds, n):
    lowest, highest = (
        default if bound is None else bound for bound, default in zip(bounds, (-np.inf, np.inf), strict=True)
    )
    rng = np.random.default_rng(n)
    for _ in range(300):
        values = rng.random(n) if bounds == UNIT else np.clip(3 * rng.normal(size=n), lowest, highest)
        if rng.random() < 0.3 and bounds != FREE:
            values[:-1] = lowest if bounds != BELOW_1 else highest  # hard up against a bound
        low, high = interval(of_values(values), *bounds, anchors=[0.3, 1.0])
        assert lowest <= low <= values.mean() <= high <= highest
        assert high > low


def test_fewer_patients_leave_wider_intervals():
    widths = []
    for n in (5, 10, 20, 40, 80):
        low, high = interval(of_values(np.tile([0.0, 0.2, 0.4, 0.6, 0.8], n // 5)), *UNIT, anchors=[0.1, 1.0])
        widths.append(high - low)
    assert widths == sorted(widths, reverse=True) and widths[0] > 3 * widths[-1]


def test_anchors_that_are_not_known_are_left_out():
    values = of_values(np.random.default_rng(0).random(12))
    assert interval(values, *UNIT, anchors=[0.1, np.nan]) == interval(values, *UNIT, anchors=[0.1])


@pytest.mark.parametrize("asked", [0, 1])
def test_one_patient_has_no_interval(asked):
    found = interval(replace(of_values(np.array([0.3, 0.3])), asked=asked), *UNIT, anchors=[0.1, 1.0])
    assert np.isnan(found).all()
    assert np.isnan(interval(replace(of_values(np.ones(5)), value=np.nan), *UNIT, anchors=[])).all()


def test_a_patients_visits_come_and_go_together(make_question):
    """Every case three times, as visits of one patient: a third of the patients, and nearly the interval of these."""
    plain = make_question(30)
    times = np.repeat(np.arange(30), 3)
    thrice = make_question(90, visits=3, centers_mm=plain.targets[times])
    as_many = replace(thrice, patients=thrice.ids)
    vectors = plain.targets[times] + 20 * np.random.default_rng(0).normal(size=(30, 3))[times]
    width = {}
    for name, question in (("visits", thrice), ("patients", as_many)):
        metrics = Benchmark(question).score(vectors, "euclidean").metrics
        width[name] = metrics["probe/r2_hi"] - metrics["probe/r2_lo"]
    once = Benchmark(plain).score(vectors[::3], "euclidean").metrics
    assert width["visits"] == pytest.approx(once["probe/r2_hi"] - once["probe/r2_lo"], rel=0.25)
    assert width["patients"] < 0.8 * width["visits"]


def test_the_order_of_rows_moves_no_bound(make_question):
    question = make_question(40, visits=2)
    vectors = question.targets + 20 * np.random.default_rng(0).normal(size=(40, 3))
    whole = Benchmark(question).score(vectors, "euclidean").metrics
    # The same patients by other names of the cases, so that they are sorted otherwise.
    order = np.random.default_rng(1).permutation(40)
    shuffled = replace(
        make_question(40, centers_mm=question.targets[order]),
        patients=tuple(question.patients[place] for place in order),
    )
    again = Benchmark(shuffled).score(vectors[order], "euclidean").metrics
    assert again == pytest.approx(whole, rel=1e-9)


class Nothing:
    """A probe that costs no time."""

    def fit(self, X, y):
        return self

    def predict(self, X):
        return np.zeros((len(X), 3))


@pytest.fixture(scope="module")
def cohorts(make_question):
    """Intervals of two metrics in 300 cohorts of 24 patients, embeddings that know the position with noise."""
    names = ("retrieval/p_at_5", "retrieval/dist_mm_at_5")
    chosen = tuple(replace(metric, headline=True) for metric in RETRIEVAL_METRICS if metric.name in names)
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(300):
        centers = rng.normal(size=(24, 3)) * [30.0, 35.0, 20.0]
        question = replace(make_question(24, centers_mm=centers, radius_mm=35.0), metrics=chosen)
        vectors = centers + 30 * rng.normal(size=(24, 3))
        metrics = Benchmark(question).score(vectors, "euclidean", probe=Nothing()).metrics
        rows.append([[metrics[f"{name}{end}"] for end in ("", "_lo", "_hi")] for name in names])
    return dict(zip(names, np.array(rows).transpose(1, 2, 0), strict=True))


@pytest.mark.parametrize("name", ["retrieval/p_at_5", "retrieval/dist_mm_at_5"])
def test_intervals_hold_the_expectation_over_cohorts(cohorts, name):
    value, low, high = cohorts[name]
    held = ((low <= value.mean()) & (value.mean() <= high)).mean()
    # 93 to 97 %, and two standard deviations of the simulation on either side.
    assert 0.93 - 0.025 < held < 0.97 + 0.025, held

"""Is a leaderboard wrong about its best at most once in twenty? Does it see a difference? And does it contradict itself?"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy.linalg import hadamard
from scipy.stats import norm
from scipy.stats import t as students

from neuroprint.errors import NeuroprintError
from neuroprint.evaluation.benchmark import Benchmark
from neuroprint.evaluation.comparison import Comparison, with_one, with_the_best
from neuroprint.evaluation.influence import Influence, influence
from neuroprint.evaluation.metric import Metric
from neuroprint.evaluation.probe import RidgeProbe
from neuroprint.evaluation.regression import POSITION_METRICS
from neuroprint.tasks.leaderboard import rank_rows

P = "retrieval/p_at_5"
PRECISION = Metric(P, "precision at 5", headline=True, shown=True, lowest=0.0, highest=1.0)


def rows_of(values: np.ndarray) -> list[Influence]:
    """(runs, n) values of n patients who are queries alone -> a row a run."""
    n = values.shape[1]
    nothing = np.zeros((n, n))
    return [influence(float(row.mean()), (row - row.mean()) / n, nothing, n) for row in values]


def compared(values: np.ndarray, **how) -> Comparison:
    return with_the_best(rows_of(values), np.ones(len(values), dtype=bool), **how)


def precisions(runs: int, n: int, rng: np.random.Generator, better: float = 0.0) -> np.ndarray:
    """Precision at 5 of runs that share each query's difficulty; run 0 is better by that much on the latent scale."""
    latent = 0.7 * rng.normal(size=n) + 0.7 * rng.normal(size=(runs, n))
    latent[0] += better
    return np.searchsorted([0.35, 0.5, 0.62, 0.75, 0.88], norm.cdf(latent / 0.99).ravel()).reshape(runs, n) / 5


# The width


def test_of_two_rows_the_width_is_students_one_sided_quantile():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(2, 40))
    error = (values[0] - values[1]).std(ddof=1) / np.sqrt(40)
    found = compared(values)
    assert found.width == pytest.approx(
        students.ppf(0.955, 39) * error, rel=0.05
    )  # of 5 %, 0.5 % went to setting aside
    covariance = np.diag([1.0, 1.0]) * error**2
    known = compared(values, covariance=covariance)
    assert known.width == pytest.approx(students.ppf(0.955, 39) * np.sqrt(2) * error, rel=0.05)


def test_what_galleries_add_on_average_widens_all_and_no_more():
    """The pairs that are taken off lie in other directions than the effects: their difference is no covariance."""
    rng, runs, n = np.random.default_rng(0), 8, 64
    values = rng.normal(size=(runs, n))
    plain = rows_of(values)
    alone = n / (n - 1) * np.stack([row.own for row in plain]) @ np.stack([row.own for row in plain]).T
    beyond = 4.0 * np.sqrt(np.trace(alone) / runs) * hadamard(n)[1 : runs + 1] / np.sqrt(n)  # to all patients equally
    differences = np.trace(alone) - alone.sum() / runs
    taken = n / (n - 1) * np.square(beyond - beyond.mean(axis=0)).sum() - 0.5 * differences
    sketch = np.zeros((runs, len(plain[0].sketch)))
    sketch[:, 0] = np.sqrt(taken / runs) * np.resize([1.0, -1.0], runs)
    rows = [
        replace(row, effect=row.own + more, sketch=pairs, pairs=float(np.square(pairs).sum()))
        for row, more, pairs in zip(plain, beyond, sketch, strict=True)
    ]
    every = np.ones(runs, dtype=bool)
    found = with_the_best(rows, every).width
    assert found == pytest.approx(with_the_best(rows, every, covariance=1.5 * alone).width, rel=0.1)


def test_a_row_that_owes_its_error_to_one_patient_is_known_to():
    """Errors on the logarithmic scale: each patient is left out, and the logarithm taken again."""
    rng, n = np.random.default_rng(0), 40
    errors = np.abs(rng.normal(size=(2, n)))
    errors[0, 0] = 30.0  # of 61 in all
    found = compared(-errors, ideal=0.0)

    def logarithms(kept: np.ndarray) -> np.ndarray:
        return -np.log(errors[:, kept].mean(axis=1))

    without = np.array([np.subtract(*logarithms(np.arange(n) != one)) for one in range(n)])
    error = np.sqrt((n - 1) / n * np.square(without - without.mean()).sum())
    reach = students.ppf(0.955, n - 1) * error
    assert found.width == pytest.approx(errors[1].mean() * np.expm1(reach), rel=0.1)


def test_what_lies_further_behind_than_the_one_width_is_out():
    rng = np.random.default_rng(0)
    for _ in range(10):
        values = rng.normal(size=(8, 50)) + np.linspace(0, 1, 8)[:, None]
        found = compared(values)
        assert found.best == values.mean(axis=1).argmax()
        assert found.behind == pytest.approx(values.mean(axis=1).max() - values.mean(axis=1))
        assert np.array_equal(found.out, found.behind > found.width) and found.width > 0
        assert not found.out[found.best]


def test_the_best_and_its_copies_are_never_out():
    values = np.random.default_rng(0).random((4, 50))
    values[1] += 10
    values[3] = values[1]
    assert compared(values).out.tolist() == [True, False, True, False]
    assert compared(values[:1]).out.tolist() == [False]


def test_a_constant_lead_is_seen_in_values_of_any_size():
    rng = np.random.default_rng(0)
    for size in (1e-6, 1.0, 1e6):
        values = size * (rng.random(40) + np.array([[1e-3], [0.0]]) + 1e-4 * rng.random((2, 40)))
        assert compared(values).out.tolist() == [False, True]
        exactly = size * (rng.random(40) + np.array([[1e-6], [0.0]]))
        assert compared(exactly).out.tolist() == [False, True]


def test_a_planted_difference_is_seen():
    rng = np.random.default_rng(0)
    seen = [found.out[1:].mean() if not found.out[0] else 0.0 for found in plantings(rng)]
    assert np.mean(seen) > 0.9


def plantings(rng: np.random.Generator) -> list[Comparison]:
    return [compared(precisions(8, 100, rng, better=0.7)) for _ in range(15)]


def test_hopeless_rows_do_not_hide_a_lesser_one():
    rng = np.random.default_rng(0)
    base = rng.normal(size=60)
    values = np.stack([base + 0.6, base, *(base - 9 for _ in range(20))]) + 0.7 * rng.normal(size=(22, 60))
    assert compared(values).out.tolist() == [False] + [True] * 21
    assert compared(values).width == compared(values[:2]).width


def test_a_leaderboard_whose_others_are_all_hopeless_has_a_width_all_the_same():
    rng = np.random.default_rng(0)
    values = 0.5 * rng.normal(size=(5, 60)) - np.array([[0.0], [9.0], [10.0], [11.0], [12.0]])
    found = compared(values)
    error = (values[0] - values[1]).std(ddof=1) / np.sqrt(60)
    assert found.width == pytest.approx(students.ppf(0.955, 59) * error, rel=0.06)
    assert found.out.tolist() == [False, True, True, True, True]
    copied = compared(values[[0, 0, 1, 2, 3, 4]])
    assert copied.width == pytest.approx(found.width, rel=0.06) and copied.out.tolist() == [False, *found.out]


def test_of_equally_good_rows_the_truly_best_is_seldom_out():
    """Each row is as good as the best, so that the mean share of rows that are out is at most 5 %."""
    rng = np.random.default_rng(1)
    shares = []
    for _ in range(40):
        shares.append(compared(precisions(8, 64, rng)).out.mean())
    assert np.mean(shares) <= 0.05 + 2 * np.std(shares) / np.sqrt(len(shares))


def test_the_order_of_patients_does_not_matter():
    rng = np.random.default_rng(0)
    values = precisions(6, 19, rng, better=0.5)
    order = rng.permutation(19)
    assert compared(values[:, order]).width == pytest.approx(compared(values).width, rel=1e-6)


# Wild rows


class Wild:
    """Far off for some cases: the R² of its predictions lies below -1."""

    def __init__(self, size_mm: float, share: float, seed: int) -> None:
        self.size_mm, self.share, self.seed = size_mm, share, seed

    def fit(self, X, y):
        self.mean = y.mean(axis=0)
        return self

    def predict(self, X):
        rng = np.random.default_rng(self.seed)
        off = rng.random(len(X)) < self.share
        return self.mean + off[:, None] * self.size_mm * rng.normal(size=(len(X), 3))


@pytest.fixture(scope="module")
def boards(make_question) -> list[tuple[list, list, object]]:
    """Ten probes of features with more or less noise; probes that are far off; and chance."""
    chosen = tuple(metric for metric in POSITION_METRICS if metric.name in ("probe/r2", "probe/error_mm"))
    rng = np.random.default_rng(0)
    found = []
    for seed in range(4):
        question = replace(make_question(64, seed=seed), metrics=chosen)
        benchmark = Benchmark(question)

        def row(noise: float, benchmark=benchmark) -> dict[str, Influence]:
            targets = benchmark.question.targets
            features = targets @ rng.normal(size=(3, 8)) + noise * rng.normal(size=(len(targets), 8))
            return benchmark.score(features, probe=RidgeProbe([100.0])).influences

        rows = [row(noise) for noise in rng.choice([20, 40, 60, 100, 300], 10)]
        wild = [Wild(60.0, 0.5, seed), Wild(200.0, 0.1, seed), Wild(500.0, 0.06, seed)]
        off = [benchmark.score(question.targets, probe=probe).influences for probe in wild]
        found.append((rows, off, benchmark.chance.influences))
    return found


@pytest.mark.parametrize("name", ["probe/r2", "probe/error_mm"])
def test_a_wild_row_changes_no_star_and_no_width(boards, name):
    metric = next(metric for metric in POSITION_METRICS if metric.name == name)
    sign = -1.0 if metric.lower_is_better else 1.0
    below = []
    for rows, off, chance in boards:
        plain = [row[name].times(sign) for row in (*rows, chance)]
        candidates = np.array([True] * len(rows) + [False])
        scale = {"chance": plain[-1].value, "ideal": sign * metric.ideal}
        before = with_the_best(plain, candidates, **scale)
        for one in off:
            below.append(one[name].value)
            after = with_the_best([one[name].times(sign), *plain], np.array([True, *candidates]), **scale)
            assert after.out[0] and np.array_equal(after.out[1:], before.out)
            assert after.width == before.width
    assert name != "probe/r2" or np.median(below) < -2


# Differences to one row


def test_a_row_does_not_differ_from_itself():
    rows = rows_of(np.random.default_rng(0).random((4, 30)))
    differences, reaches = with_one(rows, rows[2])
    assert differences[2] == 0.0 and reaches[2] == 0.0
    assert (reaches[[0, 1, 3]] > 0).all()
    assert differences == pytest.approx([row.value - rows[2].value for row in rows])
    alone = with_one([rows[2]], rows[2])
    assert alone[0].tolist() == [0.0] and alone[1].tolist() == [0.0]


def test_of_one_row_the_interval_of_the_difference_is_students_and_of_more_it_is_wider():
    values = np.random.default_rng(0).normal(size=(6, 40))
    rows = rows_of(values)
    error = (values[0] - values[5]).std(ddof=1) / np.sqrt(40)
    one = with_one(rows[:1], rows[5])[1][0]
    assert one == pytest.approx(students.ppf(0.975, 39) * error, rel=0.05)
    five = with_one(rows[:5], rows[5])[1][0]
    assert 1.05 * one < five < 1.05 * students.ppf(1 - 0.025 / 5, 39) * error  # Bonferroni's is wider still


def test_differences_hold_for_all_rows_at_once():
    rng = np.random.default_rng(2)
    held = []
    for _ in range(60):
        rows = rows_of(precisions(6, 40, rng))
        differences, reaches = with_one(rows[:5], rows[5])
        held.append(bool((np.abs(differences) <= reaches).all()))
    assert np.mean(held) >= 0.95 - 2 * np.sqrt(0.05 * 0.95 / 60)


# Whole leaderboards


def board_of(
    values: np.ndarray, roles: Sequence[str], metric: Metric = PRECISION, queries: int | None = None, scale: float = 1.0
):
    """(rows, n) values of rows, which are candidates or the reference rows of these names."""
    influences = {str(place): {metric.name: row.times(scale)} for place, row in enumerate(rows_of(values))}
    rows = []
    for place, role in enumerate(roles):
        name = role if role != "candidate" else f"run {place:02d}"
        kind = "candidate" if role == "candidate" else "reference"
        rows.append({"run_id": str(place), "name": name, "role": kind, metric.name: scale * values[place].mean()})
    asked = values.shape[1] if queries is None else queries
    return rank_rows(rows, influences, metric.name, {metric.name: metric}, (asked, values.shape[1]))


def drawn_board(rng: np.random.Generator) -> tuple[np.ndarray, list[str]]:
    """Rows of any spread and quality, some of them clones, with reference rows anywhere among them."""
    runs, n = int(rng.integers(2, 9)), int(rng.integers(10, 70))
    spread = np.exp(rng.normal(size=(runs + 3, 1)))
    values = (
        rng.normal(size=n)
        + spread * rng.normal(size=(runs + 3, n))
        + rng.choice([0, 0.3, 2.0]) * rng.normal(size=(runs + 3, 1))
    )
    if runs > 3:
        values[1] = values[0]
    return values, ["candidate"] * runs + ["chance", "voxels", "oracle"]


@pytest.mark.parametrize("lower_is_better", [False, True])
def test_no_row_with_a_star_stands_below_one_without(lower_is_better):
    rng = np.random.default_rng(0)
    metric = Metric(P, "precision at 5", lower_is_better=lower_is_better)
    stars = 0
    for _ in range(60):
        board = board_of(*drawn_board(rng), metric)
        table = board.table
        marks = table["tied_with_best"].tolist()
        assert marks == sorted(marks, reverse=True) and marks[0] is True
        # The star says what the difference and its one reach say.
        best = table[P][table["role"] == "candidate"].iloc[0]
        assert table["to_best"].to_numpy() == pytest.approx(table[P].to_numpy() - best)
        behind = table["to_best"] * (1 if lower_is_better else -1)
        assert marks == (behind <= board.reach).tolist()
        voxels = table[table["name"] == "voxels"].iloc[0]
        assert (voxels["to_voxels"], voxels["to_voxels_reach"]) == (0.0, 0.0)
        assert table["to_voxels"].to_numpy() == pytest.approx(table[P].to_numpy() - voxels[P])
        stars += sum(marks)
    assert stars > 60


def test_where_less_is_better_rows_compare_as_their_negatives_do():
    values, roles = drawn_board(np.random.default_rng(3))
    up, down = board_of(values, roles), board_of(values, roles, Metric(P, "an error", lower_is_better=True), scale=-1.0)
    assert up.table["run_id"].tolist() == down.table["run_id"].tolist()
    assert up.table["tied_with_best"].tolist() == down.table["tied_with_best"].tolist()
    assert up.reach == down.reach and up.table["to_best"].to_numpy() == pytest.approx(-down.table["to_best"].to_numpy())


def test_the_order_of_the_rows_given_does_not_matter():
    rng = np.random.default_rng(5)
    values, roles = drawn_board(rng)
    influences = {str(place): {P: row} for place, row in enumerate(rows_of(values))}
    rows = [
        {"run_id": str(place), "name": f"{role} {place}", "role": "candidate", P: values[place].mean()}
        for place, role in enumerate(roles)
    ]
    given = [rank_rows(each, influences, P, {P: PRECISION}, (50, 50)) for each in (rows, rows[::-1])]
    assert given[0].table.equals(given[1].table) and given[0].reach == given[1].reach


def test_the_legend_says_that_the_best_is_not_told_from_chance_exactly_if_chance_is_within_reach():
    said = []
    for lead in (0.0, 0.02, 0.1, 0.15, 0.2, 0.4):
        values = precisions(4, 40, np.random.default_rng(1)) + np.array([[lead]] * 3 + [[0.0]])
        board = board_of(values, ["candidate"] * 3 + ["chance"])
        chance = board.table[board.table["name"] == "chance"].iloc[0]
        said.append("the best is not told from chance either" in board.legend)
        assert said[-1] == (-chance["to_best"] <= board.reach)
    assert said[0] and not said[-1]


@pytest.mark.parametrize("queries", [0, 9, 10])
def test_with_fewer_than_ten_queries_nothing_is_ranked_or_told_apart(queries):
    values = np.random.default_rng(0).normal(size=(4, 10)) + np.array([[0.0], [9.0], [0.0], [0.0]])
    board = board_of(values, ["candidate"] * 3 + ["voxels"], queries=queries)
    line = "fewer than 10 queries: nothing is ranked, and nothing told apart"
    assert board.legend[0].startswith(f"{queries} of 10 cases are queries")
    if queries < 10:
        assert not board.is_ranked and line in board.legend and np.isnan(board.reach)
        assert board.table["tied_with_best"].isna().all() and "to_best" not in board.table
        assert board.table["name"].tolist() == ["run 00", "run 01", "run 02", "voxels"]  # by name, not by value
        assert "*" not in "".join(str(board).splitlines()[3:8])
    else:
        assert board.is_ranked and line not in board.legend
        assert board.table["name"].iloc[0] == "run 01" and board.table["tied_with_best"].tolist()[0] is True


def test_rows_of_other_patients_are_not_compared():
    values = np.random.default_rng(0).random((2, 20))
    influences = {"0": {P: rows_of(values)[0]}, "1": {P: rows_of(values[:, :19])[1]}}
    rows = [{"run_id": str(n), "name": str(n), "role": "candidate", P: 0.5} for n in range(2)]
    with pytest.raises(NeuroprintError, match="their patients differ"):
        rank_rows(rows, influences, P, {P: PRECISION}, (20, 20))

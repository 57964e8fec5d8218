"""Is a leaderboard wrong about its best at most once in twenty? And does it see a real difference?"""

import numpy as np
import pytest
from scipy.stats import norm

from neuroprint.errors import NeuroprintError
from neuroprint.evaluation.statistics import tied_with_best

BOARDS = 150


def names(n: int, visits: int = 1) -> list[str]:
    return [f"patient-{number // visits:04d}" for number in range(n)]


def precisions(runs: int, n: int, rng: np.random.Generator, better: float = 0.0) -> np.ndarray:
    """Precision at 5 of runs that share each query's difficulty; run 0 is better by that much on the latent scale."""
    latent = 0.7 * rng.normal(size=n) + 0.7 * rng.normal(size=(runs, n))
    latent[0] += better
    return np.searchsorted([0.35, 0.5, 0.62, 0.75, 0.88], norm.cdf(latent / 0.99).ravel()).reshape(runs, n) / 5


def minus_squared_errors(runs: int, n: int, rng: np.random.Generator, better: float = 0.0) -> np.ndarray:
    """Of log-normal errors: skewed and heavy. Run 0's errors are smaller by that share."""
    error = np.exp(0.35 * rng.normal(size=n) + 0.35 * rng.normal(size=(runs, n)))
    error[0] *= 1 - better
    return -np.square(error)


@pytest.mark.parametrize("make", [precisions, minus_squared_errors])
@pytest.mark.parametrize(("runs", "n"), [(10, 64), (10, 250), (100, 64)])
def test_of_equally_good_runs_hardly_ever_any_is_marked_worse(make, runs, n):
    rng = np.random.default_rng(runs + n)
    wrong = sum(not tied_with_best(make(runs, n, rng), names(n), flips=300, seed=s).all() for s in range(BOARDS))
    # 5 %, and two standard deviations of the simulation.
    assert wrong / BOARDS <= 0.086


def test_errors_are_held_with_several_queries_per_patient():
    rng = np.random.default_rng(0)
    wrong = 0
    for seed in range(BOARDS):
        patient = np.repeat(rng.normal(size=(10, 40)), 3, axis=1)  # a patient's three queries say the same
        wrong += not tied_with_best(
            patient + 0.1 * rng.normal(size=(10, 120)), names(120, 3), flips=400, seed=seed
        ).all()
    assert wrong / BOARDS <= 0.086


@pytest.mark.parametrize(("make", "better", "n", "power"), [(precisions, 0.6, 64, 0.6), (precisions, 0.4, 250, 0.9)])
def test_a_planted_difference_is_seen(make, better, n, power):
    rng = np.random.default_rng(0)
    seen = []
    for seed in range(40):
        tied = tied_with_best(make(10, n, rng, better), names(n), flips=400, seed=seed)
        seen.append((~tied[1:]).mean() if tied[0] else 0.0)
    assert np.mean(seen) > power


def test_a_bad_run_does_not_hide_a_lesser_one():
    # Step-down: once the pairs with a hopeless run are set aside, the others are judged among themselves.
    rng = np.random.default_rng(0)
    base = rng.normal(size=60)
    values = np.stack([base + 0.6, base, *(base - 9 for _ in range(40))]) + 0.7 * rng.normal(size=(42, 60))
    tied = tied_with_best(values, names(60))
    assert tied[0] and not tied[1:].any()


def test_the_best_is_tied_with_itself_and_with_its_copies():
    values = np.random.default_rng(0).random((4, 50))
    values[1] += 10
    values[3] = values[1]
    assert tied_with_best(values, names(50)).tolist() == [False, True, False, True]
    assert tied_with_best(values[:1], names(50)).tolist() == [True]
    assert tied_with_best(values[:0], names(50)).tolist() == []


def test_a_constant_lead_is_seen_in_values_of_any_size():
    rng = np.random.default_rng(0)
    for size in (1e-6, 1.0, 1e6):
        values = size * (rng.random(40) + np.array([[1e-3], [0.0]]) + 1e-4 * rng.random((2, 40)))
        assert tied_with_best(values, names(40)).tolist() == [True, False]


def test_few_patients_can_show_nothing():
    # With four patients the smallest p-value of a sign flip is 1 in 8.
    values = np.array([[1.0] * 4, [0.0] * 4]) + 0.01 * np.random.default_rng(0).random((2, 4))
    assert tied_with_best(values, names(4)).all()


def test_order_of_runs_and_queries_does_not_matter():
    rng = np.random.default_rng(0)
    values = precisions(12, 80, rng, better=0.5)
    tied = tied_with_best(values, names(80))
    runs, queries = rng.permutation(12), rng.permutation(80)
    again = tied_with_best(values[runs][:, queries], [names(80)[place] for place in queries])
    assert not tied.all()
    assert np.array_equal(tied[runs], again)


def test_undefined_values_are_refused():
    with pytest.raises(NeuroprintError, match="value in every run"):
        tied_with_best(np.array([[0.0, np.nan]]), names(2))

import numpy as np
import pytest
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.model_selection import LeaveOneGroupOut
from sklearn.preprocessing import StandardScaler

from neuroprint.evaluation.probe import ALPHAS, RidgeProbe

SOME_ALPHAS = tuple(float(alpha) for alpha in np.logspace(-2, 4, 13))


def problem(n: int, d: int, seed: int = 0, noise: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) * rng.uniform(5, 50, d) + rng.normal(size=d) * 100
    y = StandardScaler().fit_transform(X) @ rng.normal(size=(d, 3)) / np.sqrt(d) + noise * rng.normal(size=(n, 3))
    return X, y


@pytest.mark.parametrize(("n", "d"), [(60, 5), (40, 40), (41, 40), (42, 40), (30, 300)])
@pytest.mark.parametrize("noise", [0.1, 1.0, 10.0])
def test_patients_of_one_case_each_are_scikit_learns_leave_one_out(n, d, noise):
    X, y = problem(n, d, noise=noise)
    y = StandardScaler().fit_transform(y)  # the axes weigh the same here and there
    reference = RidgeCV(SOME_ALPHAS, scoring=None).fit(StandardScaler().fit_transform(X), y)
    probe = RidgeProbe(SOME_ALPHAS).fit(X, y, np.arange(n))
    assert probe.alpha == reference.alpha_
    assert probe.coef * X.std(axis=0)[:, None] == pytest.approx(reference.coef_.T, rel=1e-6, abs=1e-9)
    new, _ = problem(20, d, seed=1)
    scaled = (new - X.mean(axis=0)) / X.std(axis=0)
    assert probe.predict(new) == pytest.approx(reference.predict(scaled), rel=1e-6, abs=1e-8)


@pytest.mark.parametrize(("n", "d"), [(60, 5), (25, 24), (30, 200), (80, 30)])
@pytest.mark.parametrize("most", [2, 3, 20])
def test_the_penalty_is_that_of_an_explicit_leave_one_patient_out(n, d, most):
    X, y = problem(n, d, seed=most)
    y *= [1.0, 10.0, 100.0]
    rng = np.random.default_rng(most)
    patients = max(2, n // most)
    groups = rng.integers(0, patients, n)
    X += rng.normal(size=(patients, d))[groups] * 30  # a patient's cases resemble each other
    scaled = StandardScaler().fit_transform(X)
    scores = []
    for alpha in SOME_ALPHAS:
        sse = np.zeros(3)
        for inside, outside in LeaveOneGroupOut().split(scaled, y, groups):
            model = Ridge(alpha).fit(scaled[inside], y[inside])
            sse += np.square(model.predict(scaled[outside]) - y[outside]).sum(axis=0)
        scores.append((1 - sse / np.square(y - y.mean(axis=0)).sum(axis=0)).mean())
    probe = RidgeProbe(SOME_ALPHAS).fit(X, y, groups)
    assert probe.alpha == SOME_ALPHAS[int(np.argmax(scores))]
    reference = Ridge(probe.alpha).fit(scaled, y)
    assert probe.coef * X.std(axis=0)[:, None] == pytest.approx(reference.coef_.T, rel=1e-6, abs=1e-8)


def test_the_penalty_does_not_depend_on_an_axis_unit():
    X, y = problem(50, 10)
    groups = np.arange(50) // 2
    assert RidgeProbe().fit(X, y, groups).alpha == RidgeProbe().fit(X, y * [1, 1e3, 1e-3], groups).alpha


def test_noise_is_answered_with_the_mean():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(200, 400)), rng.normal(size=(200, 3)) + 5
    probe = RidgeProbe().fit(X, y, np.arange(200))
    assert np.abs(probe.predict(rng.normal(size=(50, 400))) - y.mean(axis=0)).max() < 0.5


@pytest.mark.parametrize(("n", "d"), [(20, 1), (3, 1), (2, 4), (1, 4), (20, 6), (6, 50)])
@pytest.mark.parametrize("constant", [0.0, 1e-3, 123456.789])
def test_constant_columns_and_tiny_sides_give_finite_predictions(n, d, constant):
    X, y = problem(n, d)
    X[:, 0] = constant
    probe = RidgeProbe().fit(X, y, np.arange(n))
    assert not probe.coef[0].any()
    wild = X.copy()
    wild[:, 0] += 1e6
    assert np.isfinite(probe.predict(wild)).all()
    assert np.array_equal(probe.predict(wild), probe.predict(X)) or d > 1
    if d == 1 or n == 1:
        assert probe.predict(X) == pytest.approx(np.tile(y.mean(axis=0), (n, 1)))


def test_duplicated_columns_and_cases_are_no_trouble():
    X, y = problem(30, 4)
    X, y = np.tile(X, (2, 20)), np.tile(y, (2, 1))
    probe = RidgeProbe().fit(X, y, np.arange(60) % 30)
    assert np.isfinite(probe.coef).all()
    assert probe.predict(X[:30]) == pytest.approx(probe.predict(X[30:]))


def test_an_axis_without_spread_has_no_say():
    X, y = problem(40, 6)
    flat = y.copy()
    flat[:, 2] = 7.0
    probe = RidgeProbe().fit(X, flat, np.arange(40))
    assert probe.predict(X)[:, 2] == pytest.approx(np.full(40, 7.0))
    assert probe.alpha == RidgeProbe().fit(X, y[:, :2], np.arange(40)).alpha


def test_the_path_is_a_fit_at_every_penalty():
    X, y = problem(30, 8)
    new, _ = problem(5, 8, seed=2)
    path = RidgeProbe(SOME_ALPHAS).predict_path(X, y, new)
    for predicted, alpha in zip(path, SOME_ALPHAS, strict=True):
        assert predicted == pytest.approx(RidgeProbe().fit_at(X, y, alpha).predict(new))


@pytest.mark.parametrize(("n", "d"), [(60, 20_000), (5000, 768)])
def test_wide_and_long_problems_are_solved(n, d):
    X, y = problem(n, d)
    probe = RidgeProbe(ALPHAS).fit(X, y, np.arange(n) // 2)
    assert np.isfinite(probe.coef).all()


@pytest.mark.parametrize("alphas", [(), (0.0, 1.0), (-1.0,)])
def test_penalties_are_positive(alphas):
    with pytest.raises(ValueError, match="above 0"):
        RidgeProbe(alphas)


def test_a_column_that_hardly_varies_where_it_was_fitted_does_not_drown_the_others():
    """A voxel at the brain's edge: almost always empty, except in the query."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 6))
    y = X[:, :3] * 10
    X[:, 5] = 1e-3 * rng.normal(size=40)
    query = X[:1].copy()
    query[0, 5] = 1.0
    moved = RidgeProbe().fit(X, y, np.arange(40)).predict(query) - y[:1]
    assert np.abs(moved).max() < 5


@pytest.mark.parametrize(("n", "d"), [(60, 5), (25, 24), (30, 200)])
@pytest.mark.parametrize("most", [1, 3])
def test_what_predictions_move_by_is_a_refit_without_each_group(n, d, most):
    """Exact: scikit-learn's ridge on the others, with the penalty and the scale as they were."""
    X, y = problem(n, d)
    new, _ = problem(7, d, seed=1)
    groups = np.arange(n) if most == 1 else np.random.default_rng(0).integers(0, n // most, n)
    probe = RidgeProbe(SOME_ALPHAS).fit(X, y, groups)
    scaler = StandardScaler().fit(X)
    count = int(groups.max()) + 3  # the last two have no case here
    moved = probe.moved(new, groups, count)
    assert moved.shape == (count, 7, 3) and not moved[-2:].any()
    for group in np.unique(groups):
        kept = groups != group
        without = Ridge(probe.alpha).fit(scaler.transform(X[kept]), y[kept]).predict(scaler.transform(new))
        assert moved[group] == pytest.approx(without - probe.predict(new), rel=1e-5, abs=1e-8)


def test_the_one_group_of_a_fit_moves_nothing():
    X, y = problem(6, 4)
    assert not RidgeProbe().fit(X, y, np.zeros(6, dtype=int)).moved(X, np.full(6, 2), 4).any()
    assert not RidgeProbe().fit(X[:1], y[:1], np.zeros(1, dtype=int)).moved(X, np.array([1]), 4).any()

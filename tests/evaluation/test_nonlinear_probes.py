"""The probes beyond ridge: k nearest neighbors and kernel ridge, against scikit-learn."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist
from sklearn.kernel_ridge import KernelRidge
from sklearn.model_selection import LeaveOneGroupOut
from sklearn.neighbors import KNeighborsRegressor
from sklearn.preprocessing import KernelCenterer, StandardScaler

from neuroprint.evaluation.benchmark import Benchmark, Protocol
from neuroprint.evaluation.kernel_ridge import KernelRidgeProbe
from neuroprint.evaluation.knn import KNNProbe
from neuroprint.evaluation.probe import PenalizedProbe, RidgeProbe

SOME_ALPHAS = (1e-3, 1e-2, 0.1, 1.0, 10.0)


def curved(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings on a curved sheet: a straight line reads little off them."""
    rng = np.random.default_rng(seed)
    t = rng.uniform(-1.5, 1.5, size=(n, 3))
    X = np.concatenate([np.sin(3 * t), np.cos(3 * t), t**2], axis=1) * np.linspace(5, 50, 9) + 7
    return X + rng.normal(size=X.shape), t * [30, 10, 20]


@pytest.mark.parametrize("weights", ["distance", "uniform"])
@pytest.mark.parametrize("k", [1, 5, 100])
def test_knn_is_scikit_learns_on_standardized_embeddings(k, weights):
    X, y = curved(60)
    new, _ = curved(20, seed=1)
    new[:3] = X[:3]
    scaler = StandardScaler().fit(X)
    reference = KNeighborsRegressor(min(k, 60), weights=weights).fit(scaler.transform(X), y)
    found = KNNProbe(k, weights).fit(X, y, np.arange(60)).predict(new)
    assert found == pytest.approx(reference.predict(scaler.transform(new)))


def reference_predictions(X, y, new, gamma, alpha):
    """scikit-learn's kernel ridge on the centered kernel: its intercept is the mean, not penalized."""

    def kernel(a, b):
        return np.exp(-gamma * np.square(a[:, None] - b).sum(axis=2))

    center = KernelCenterer().fit(kernel(X, X))
    model = KernelRidge(alpha=alpha, kernel="precomputed").fit(center.transform(kernel(X, X)), y - y.mean(axis=0))
    return model.predict(center.transform(kernel(new, X))) + y.mean(axis=0)


@pytest.mark.parametrize("alpha", [1e-3, 1.0, 100.0])
def test_kernel_ridge_is_scikit_learns_on_the_centered_kernel(alpha):
    X, y = curved(50)
    new, _ = curved(20, seed=1)
    scaler = StandardScaler().fit(X)
    scaled, queries = scaler.transform(X), scaler.transform(new)
    probe = KernelRidgeProbe().fit_at(X, y, alpha)
    assert probe.gamma == pytest.approx(1 / np.median(pdist(scaled, "sqeuclidean")))
    assert probe.predict(new) == pytest.approx(reference_predictions(scaled, y, queries, probe.gamma, alpha), rel=1e-6)
    path = KernelRidgeProbe((alpha, 10 * alpha)).predict_path(X, y, new)
    assert path[0] == pytest.approx(probe.predict(new))


@pytest.mark.parametrize("visits", [1, 3])
def test_the_kernels_penalty_is_that_of_an_explicit_leave_one_patient_out(visits):
    X, y = curved(36, seed=visits)
    groups = np.arange(36) // visits
    scaled = StandardScaler().fit_transform(X)
    gamma = 1 / np.median(pdist(scaled, "sqeuclidean"))
    scores = []
    for alpha in SOME_ALPHAS:
        sse = np.zeros(3)
        for inside, outside in LeaveOneGroupOut().split(scaled, y, groups):
            predicted = reference_predictions(scaled[inside], y[inside], scaled[outside], gamma, alpha)
            sse += np.square(predicted - y[outside]).sum(axis=0)
        scores.append((1 - sse / np.square(y - y.mean(axis=0)).sum(axis=0)).mean())
    probe = KernelRidgeProbe(SOME_ALPHAS).fit(X, y, groups)
    assert probe.alpha == SOME_ALPHAS[int(np.argmax(scores))]


def test_a_curve_that_a_line_cannot_read_is_read():
    X, y = curved(150)
    new, truth = curved(60, seed=1)

    def r2(probe):
        found = probe.fit(X, y, np.arange(150)).predict(new)
        return 1 - np.square(found - truth).sum() / np.square(truth - y.mean(axis=0)).sum()

    assert r2(KernelRidgeProbe()) > r2(RidgeProbe()) + 0.2
    assert r2(KNNProbe()) > r2(RidgeProbe()) + 0.2


@pytest.mark.parametrize("make", [KNNProbe, KernelRidgeProbe])
@pytest.mark.parametrize(("n", "d"), [(1, 4), (2, 3), (20, 1), (6, 50)])
def test_tiny_and_constant_fit_sides_give_finite_predictions(make, n, d):
    X, y = np.random.default_rng(0).normal(size=(n, d)), np.random.default_rng(1).normal(size=(n, 3))
    X[:, 0] = 7.0
    probe = make().fit(X, y, np.arange(n))
    assert np.isfinite(probe.predict(X + 100)).all() and np.isfinite(probe.predict(X)).all()
    if n == 1 or d == 1:
        assert KernelRidgeProbe().fit(X, y, np.arange(n)).predict(X) == pytest.approx(np.tile(y.mean(axis=0), (n, 1)))


@pytest.mark.parametrize("make", [KNNProbe, KernelRidgeProbe])
def test_shuffled_labels_are_not_read_and_true_ones_are(make_question, make):
    question = make_question(60)
    rng = np.random.default_rng(1)
    benchmark = Benchmark(question, Protocol())
    vectors = question.targets @ rng.normal(size=(3, 20)) + rng.normal(size=(60, 20))
    assert benchmark.score(vectors, probe=make()).metrics["probe/r2"] > 0.6
    shuffled = [benchmark.score(vectors[rng.permutation(60)], probe=make()).metrics["probe/r2"] for _ in range(8)]
    assert max(shuffled) < 0.12 and np.mean(shuffled) < 0.0


@pytest.mark.parametrize("make", [KNNProbe, KernelRidgeProbe])
def test_a_querys_center_moves_no_prediction_of_its_fold(make_question, make):
    question = make_question(40)
    vectors = np.random.default_rng(0).normal(size=(40, 12)) + question.targets @ np.ones((3, 12)) / 30
    protocol = Protocol()
    benchmark = Benchmark(question, protocol)
    queries = benchmark.splits[1].queries
    centers = question.targets.copy()
    centers[queries] = 500.0
    moved = Benchmark(make_question(40, centers_mm=centers), protocol)
    before, after = (b.score(vectors, probe=make()).predicted[queries] for b in (benchmark, moved))
    assert np.array_equal(before, after)


def test_a_supervised_projection_chooses_the_kernels_penalty_from_outside():
    assert isinstance(KernelRidgeProbe(), PenalizedProbe)
    assert not isinstance(KNNProbe(), PenalizedProbe)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: KNNProbe(0), "k=0"),
        (lambda: KNNProbe(weights="gaussian"), "distance or uniform"),
        (lambda: KernelRidgeProbe(()), "above 0"),
    ],
)
def test_wrong_parameters_are_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()


@pytest.mark.parametrize("most", [1, 3])
def test_what_the_kernels_predictions_move_by_is_a_refit_without_each_group(most):
    """Scikit-learn's kernel ridge on the others, beside an intercept; scale, gamma and center of the kernel stay."""
    X, y = curved(40)
    new, _ = curved(6, seed=1)
    groups = np.arange(40) // most
    probe = KernelRidgeProbe([0.1]).fit(X, y, groups)
    moved = probe.moved(new, groups, 41)
    scaler = StandardScaler().fit(X)
    fitted, wanted = scaler.transform(X), scaler.transform(new)

    def kernel(a, b):
        return np.exp(-probe.gamma * np.square(a[:, None] - b).sum(axis=2))

    center = KernelCenterer().fit(kernel(fitted, fitted))
    gram, cross = center.transform(kernel(fitted, fitted)), center.transform(kernel(wanted, fitted))
    for group in np.unique(groups):
        kept = np.flatnonzero(groups != group)
        # (K + alpha I) w + b 1 = y and 1'w = 0: ridge in the kernel's space with a free intercept.
        n = len(kept)
        system = np.block([[gram[np.ix_(kept, kept)] + 0.1 * np.eye(n), np.ones((n, 1))], [np.ones((1, n)), 0]])
        solved = np.linalg.solve(system, np.concatenate([y[kept], np.zeros((1, 3))]))
        without = cross[:, kept] @ solved[:n] + solved[n]
        assert moved[group] == pytest.approx(without - probe.predict(new), rel=1e-5, abs=1e-7)
    assert not moved[groups.max() + 1 :].any()


@pytest.mark.parametrize("weights", ["distance", "uniform"])
@pytest.mark.parametrize("k", [1, 5, 100])
def test_what_the_nearest_predict_moves_by_is_scikit_learns_without_each_group(k, weights):
    X, y = curved(30)
    new, _ = curved(8, seed=1)
    groups = np.arange(30) // 2
    probe = KNNProbe(k, weights).fit(X, y, groups)
    moved = probe.moved(new, groups, 17)
    scaler = StandardScaler().fit(X)
    for group in range(15):
        kept = groups != group
        model = KNeighborsRegressor(min(k, 28), weights=weights).fit(scaler.transform(X[kept]), y[kept])
        without = model.predict(scaler.transform(new))
        assert moved[group] == pytest.approx(without - probe.predict(new), abs=1e-9)
    assert not moved[15:].any()
    only = KNNProbe(k, weights).fit(X[:2], y[:2], groups[:2])
    assert not only.moved(new, groups[:2], 3).any()

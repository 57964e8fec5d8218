"""Every projection on the menu: what it computes, at what sizes, and that none of them finds what is not there."""

import warnings

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.neighbors import NeighborhoodComponentsAnalysis
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

from neuroprint.catalog.menu import Catalog
from neuroprint.errors import NeuroprintError
from neuroprint.evaluation.benchmark import Benchmark, Protocol
from neuroprint.evaluation.perplexity import allowed_perplexity
from neuroprint.evaluation.probe import RidgeProbe
from neuroprint.evaluation.projection import clipped, fit_projection, is_supervised, transformed
from neuroprint.evaluation.projections import TSNE, Chain, TargetLDA, TargetRidge, target_groups

NAMES = Catalog().names("projection")
SUPERVISED = {"pls", "lda", "nca", "ridge"}
UNSIZED = {"none", "l2", "standardize"}
OF_THREE = {"ridge"}  # as many as there are targets, whatever they were predicted from


def named(name):
    return pytest.param(name, marks=pytest.mark.slow) if name == "umap" else name


TRANSDUCTIVE = {"tsne"}
EVERY = [named(name) for name in NAMES]
MENU = [named(name) for name in NAMES if name not in TRANSDUCTIVE]
SIZED = [named(name) for name in NAMES if name not in UNSIZED | TRANSDUCTIVE]


def build(name, components=5, seed=0):
    """As the menu has it; t-SNE has a size of its own there."""
    projection = Catalog().part("projection", name, components=components, seed=seed).made
    return projection if name in UNSIZED else projection.set_params(n_components=components)


def fitted(name, X, y, **keywords):
    projection = build(name, **keywords)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # tiny cohorts converge badly and fall apart; what counts is that they are served
        return fit_projection(projection, X, y if is_supervised(projection) else None)


def cohort(n, d=30, seed=0):
    """Embeddings that tell the position, and the centers."""
    rng = np.random.default_rng(seed)
    centers = rng.normal(size=(n, 3)) * [30, 35, 20]
    mix = np.random.default_rng(9).normal(size=(3, d)) / 40
    return centers @ mix + rng.normal(size=(n, d)) + 4, centers


@pytest.mark.parametrize("name", MENU)
def test_every_projection_fits_and_takes_new_rows(name):
    X, y = cohort(20)
    new, _ = cohort(7, seed=1)
    given = X.copy()
    projection = fitted(name, X, y)
    found = transformed(projection, new)
    assert found.shape == (7, 3 if name in OF_THREE else 30 if name in UNSIZED else 5)
    assert np.isfinite(found).all() and np.array_equal(X, given)
    assert transformed(projection, X).shape == (20, found.shape[1])
    assert np.array_equal(transformed(projection, new), found)


@pytest.mark.parametrize("name", MENU)
def test_a_fit_is_a_function_of_its_inputs(name):
    X, y = cohort(20)
    new, _ = cohort(7, seed=1)
    assert np.array_equal(transformed(fitted(name, X, y), new), transformed(fitted(name, X, y), new))


@pytest.mark.parametrize("name", MENU)
@pytest.mark.parametrize("cases", [6, 8])
def test_tiny_galleries_are_served(name, cases):
    # 8 cases, and what an inner fold leaves of them; scoring clips the size to the number of cases.
    X, y = cohort(cases, d=12)
    new, _ = cohort(3, d=12, seed=1)
    found = transformed(fitted(name, X, y, components=cases), new)
    assert len(found) == 3 and 1 <= found.shape[1] <= 12
    # A direction that the gallery does not know must not drown the others.
    assert np.isfinite(found).all() and np.abs(found).max() < 1e4


@pytest.mark.parametrize("name", SIZED)
@pytest.mark.parametrize("wanted", [1, 16])
def test_embeddings_of_low_rank_are_served(name, wanted):
    # Repeated scans and dead channels: 20 cases that span 3 directions, in float32.
    X, y = cohort(20, d=3)
    mix = np.random.default_rng(2).normal(size=(3, 30))
    flat = ((X @ mix).astype(np.float32)).astype(np.float64)
    new = cohort(5, d=3, seed=1)[0] @ mix
    found = transformed(fitted(name, flat, y, components=wanted), new)
    assert np.isfinite(found).all() and np.abs(found).max() < 1e3
    if name in {"pca", "whiten", "ica", "standardize_pca", "pls", "lda", "nca"}:
        assert found.shape[1] == min(wanted, 3)


def test_the_supervised_ones_are_marked():
    marked = {name for name in NAMES if is_supervised(build(name))}
    assert marked == SUPERVISED


def test_a_projection_of_scikit_learns_that_needs_targets_is_supervised():
    assert is_supervised(NeighborhoodComponentsAnalysis())
    assert not is_supervised(PCA()) and not is_supervised(Normalizer())


@pytest.mark.parametrize("name", sorted(SUPERVISED))
def test_what_sees_the_centers_uses_them(name):
    # The strongest directions say nothing of the center: only who sees the centers finds it in three.
    rng = np.random.default_rng(3)
    (X, y), (new, at), loud = cohort(80), cohort(200, seed=1), rng.normal(size=(3, 30))
    X, new = X + 2 * rng.normal(size=(80, 3)) @ loud, new + 2 * rng.normal(size=(200, 3)) @ loud
    shuffled = rng.permutation(y)

    def explained(projection):
        inside, outside = transformed(projection, X), transformed(projection, new)
        weights = np.linalg.lstsq(np.c_[inside, np.ones(len(inside))], y, rcond=None)[0]
        error = np.square(np.c_[outside, np.ones(len(outside))] @ weights - at).sum()
        return 1 - error / np.square(at - at.mean(axis=0)).sum()

    # A ridge gives three numbers whatever it sees: it is to see them all.
    size = 30 if name in OF_THREE else 3
    assert explained(fitted(name, X, y, components=size)) > explained(fitted(name, X, shuffled, components=size)) + 0.1


def gain_on_noise(make_question, seed, prepare=None, **score):
    """Mean average precision over chance, of embeddings that know nothing."""
    question = make_question(50, seed=seed)
    noise = np.random.default_rng(100 + seed).normal(size=(50, 60))
    if prepare is not None:
        noise = prepare(noise, question.targets)
    benchmark = Benchmark(question, Protocol(seed=seed))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        metrics = benchmark.score(noise, **score).metrics
    return metrics["retrieval/map"] - benchmark.chance.metrics["retrieval/map"], metrics["probe/r2"]


@pytest.mark.parametrize("name", EVERY)
def test_noise_is_retrieved_at_chance(make_question, name):
    # Supervised projections must not carry the gallery's centers to the queries.
    gains = [gain_on_noise(make_question, seed, projection=build(name)) for seed in range(3)]
    above_chance, r2 = np.mean(gains, axis=0)
    assert abs(above_chance) < 0.05
    assert r2 < 0.05


def test_noise_is_not_at_chance_if_the_queries_are_fitted_too(make_question):
    # The control: the same cohorts, the projection fitted once on all. The leak is there to be found.
    def leak(noise, centers):
        return transformed(fitted("pls", noise, centers), noise)

    above_chance, r2 = np.mean([gain_on_noise(make_question, seed, leak) for seed in range(3)], axis=0)
    assert above_chance > 0.1
    assert r2 > 0.3


def test_whitened_galleries_have_unit_covariance():
    X, y = cohort(40)
    projection = fitted("whiten", X, y, components=8)
    np.testing.assert_allclose(np.cov(transformed(projection, X).T), np.eye(8), atol=1e-9)
    centered = X - X.mean(axis=0)
    _, spectrum, directions = np.linalg.svd(centered)
    new, _ = cohort(5, seed=1)
    by_hand = (new - X.mean(axis=0)) @ directions[:8].T / spectrum[:8] * np.sqrt(39)
    np.testing.assert_allclose(np.abs(transformed(projection, new)), np.abs(by_hand), rtol=1e-6)


def test_independent_components_are_found_again():
    rng = np.random.default_rng(0)
    sources = rng.uniform(-1, 1, size=(400, 3))
    found = transformed(
        fitted("ica", sources @ rng.normal(size=(3, 10)), None, components=3), sources @ np.zeros((3, 10))
    )
    assert found.shape == (400, 3)
    mix = rng.normal(size=(3, 10))
    found = transformed(fitted("ica", sources @ mix, None, components=3), sources @ mix)
    correlation = np.abs(np.corrcoef(found.T, sources.T)[:3, 3:])
    assert (correlation.max(axis=1) > 0.98).all() and set(correlation.argmax(axis=1)) == {0, 1, 2}


def up_to_sign(found, expected, rtol=1e-6):
    """Components have no sign of their own."""
    signs = np.sign((found * expected).sum(axis=0))
    np.testing.assert_allclose(found * signs, expected, rtol=rtol, atol=rtol * np.abs(expected).max())


def test_without_a_projection_embeddings_stay_as_they_are():
    X, y = cohort(20)
    assert np.array_equal(transformed(fitted("none", X, y), X), X)


def test_standardized_numbers_have_the_gallerys_mean_and_deviation_taken_out():
    (X, y), (new, _) = cohort(20), cohort(7, seed=1)
    np.testing.assert_allclose(transformed(fitted("standardize", X, y), new), (new - X.mean(axis=0)) / X.std(axis=0))


def test_principal_components_are_the_leading_eigenvectors_of_the_covariance():
    (X, y), (new, _) = cohort(40), cohort(7, seed=1)
    values, vectors = np.linalg.eigh(np.cov(X.T))
    leading = vectors[:, np.argsort(-values)[:4]]
    up_to_sign(transformed(fitted("pca", X, y, components=4), new), (new - X.mean(axis=0)) @ leading)


def test_the_random_projection_is_a_gaussian_matrix():
    X, y = cohort(20)
    matrix = np.random.RandomState(3).normal(scale=1 / np.sqrt(6), size=(6, 30))
    np.testing.assert_allclose(transformed(fitted("random", X, y, components=6, seed=3), X), X @ matrix.T)


def test_partial_least_squares_follows_its_recursion():
    # Wold's recursion, each pair of weights by a singular value decomposition instead of iteration.
    (X, y), (new, _) = cohort(40), cohort(7, seed=1)
    left, right = ((M - M.mean(axis=0)) / M.std(axis=0, ddof=1) for M in (X, y))
    weights, loadings = [], []
    for _ in range(3):
        w = np.linalg.svd(left.T @ right)[0][:, 0]
        t = left @ w
        p, q = left.T @ t / (t @ t), right.T @ t / (t @ t)
        left, right = left - np.outer(t, p), right - np.outer(t, q)
        weights.append(w)
        loadings.append(p)
    W, P = np.transpose(weights), np.transpose(loadings)
    expected = (new - X.mean(axis=0)) / X.std(axis=0, ddof=1) @ W @ np.linalg.inv(P.T @ W)
    up_to_sign(transformed(fitted("pls", X, y, components=3), new), expected, rtol=1e-3)


def test_the_ridge_predicts_the_targets_as_the_probe_does_about_the_gallerys_mean():
    X, y = cohort(30)
    new, _ = cohort(4, seed=5)
    probe = RidgeProbe().fit(X, y, np.arange(30))
    np.testing.assert_allclose(TargetRidge().fit(X, y).transform(new), probe.predict(new) - y.mean(axis=0), rtol=1e-12)


def test_a_patients_other_visits_do_not_choose_the_ridges_penalty():
    """Noise, but the visits of a patient are alike: told apart by case, they would vouch for each other."""
    rng = np.random.default_rng(0)
    X = np.repeat(rng.normal(size=(12, 20)), 5, axis=0) + 1e-3 * rng.normal(size=(60, 20))
    y = np.repeat(rng.normal(size=(12, 3)) * 30, 5, axis=0)
    patients = [f"p{number // 5}" for number in range(60)]
    chain = Chain([PCA(whiten=True, svd_solver="full"), TargetRidge()], n_components=16)
    grouped, alone = (
        transformed(fit_projection(chain, X, y, names), X) for names in (patients, [*map(str, range(60))])
    )
    assert np.abs(grouped).mean() < 0.1 * np.abs(alone).mean()


def test_octant_discriminants_are_fishers_with_shrunken_covariances():
    (X, y), (new, _) = cohort(60, d=6), cohort(7, d=6, seed=1)
    found = TargetLDA(4, shrinkage=0.5).fit(X, y).transform(new)
    parts = target_groups(y)

    def shrunken(rows):
        matrix = np.cov(rows.T, ddof=0)
        return 0.5 * matrix + 0.5 * np.trace(matrix) / 6 * np.eye(6)

    within = sum((parts == part).mean() * shrunken(X[parts == part]) for part in range(8))
    values, vectors = np.linalg.eigh(within)
    root = vectors / np.sqrt(values)  # makes the covariance within octants the identity
    values, vectors = np.linalg.eigh(root.T @ (shrunken(X) - within) @ root)
    directions = root @ vectors[:, np.argsort(-values)[:4]]
    up_to_sign(found, new @ directions)


def test_neighborhood_components_raise_the_chance_that_neighbors_share_an_octant():
    X, y = cohort(60)
    parts = target_groups(y)

    def chance(points):
        """Goldberger et al.: the mean probability of drawing a neighbor of one's own part."""
        squared = np.square(points[:, None] - points[None]).sum(axis=2)
        np.fill_diagonal(squared, np.inf)
        share = np.exp(-(squared - squared.min(axis=1, keepdims=True)))
        return ((share / share.sum(axis=1, keepdims=True)) * (parts[:, None] == parts)).sum(axis=1).mean()

    assert chance(transformed(fitted("nca", X, y), X)) > chance(transformed(fitted("standardize_pca", X, y), X)) + 0.2


def test_tsne_is_scikit_learns_and_knows_no_new_case():
    from sklearn import manifold

    X, _ = cohort(40)
    projection = build("tsne", components=2)
    projection.set_params(perplexity=7)
    plain = manifold.TSNE(2, perplexity=7, init="pca", learning_rate="auto", random_state=0)
    assert np.array_equal(projection.fit_transform(X), plain.fit_transform(X))
    assert projection.transductive and not hasattr(projection, "transform") and not hasattr(projection, "fit")
    assert build("tsne", components=5).fit_transform(X).shape == (40, 5)
    assert not build("tsne").fit_transform(np.ones((9, 4))).any()


@pytest.mark.parametrize(
    ("wanted", "cases", "allowed"),
    [(None, 200, 30), (None, 25, 8), (24, 25, 24), (25, 25, 8), (50, 25, 8), (5, 200, 5)],
)
def test_a_perplexity_is_below_the_number_of_cases(wanted, cases, allowed):
    assert allowed_perplexity(wanted, cases) == allowed


def test_tsne_serves_a_cohort_smaller_than_its_perplexity():
    X, _ = cohort(25)
    assert np.array_equal(TSNE(perplexity=50).fit_transform(X), TSNE(perplexity=8).fit_transform(X))


def test_tsne_lays_out_gallery_and_queries_together(make_question):
    question = make_question(30)
    X = question.targets @ np.random.default_rng(0).normal(size=(3, 12))
    seen = []

    class Recording:
        transductive = True

        def fit_transform(self, rows, y=None):
            assert y is None
            seen.append(np.array(rows))
            return rows[:, :3]

    benchmark = Benchmark(question, Protocol())
    found = benchmark.score(X, projection=Recording())
    assert len(seen) == 5
    for split, rows in zip(benchmark.splits, seen, strict=True):
        assert np.array_equal(rows, np.concatenate([X[split.gallery], X[split.queries]]))
    assert found.metrics == benchmark.score(X[:, :3]).metrics


@pytest.mark.parametrize("name", ["none", "standardize", "l2", "pca", "whiten", "standardize_pca", "random"])
def test_equal_embeddings_stay_equal(name):
    found = transformed(fitted(name, np.full((20, 6), 0.1), None), np.full((5, 6), 0.1))
    assert np.isfinite(found).all() and not np.ptp(found, axis=0).any()


@pytest.mark.parametrize("name", MENU)
def test_embeddings_of_one_number_are_served(name):
    (X, y), (new, _) = cohort(20, d=1), cohort(5, d=1, seed=1)
    found = transformed(fitted(name, X, y, components=1), new)
    assert found.shape == (5, 3 if name in OF_THREE else 1) and np.isfinite(found).all()


def test_embeddings_in_half_precision_are_scored_as_the_numbers_they_are(make_question):
    question = make_question(30)
    half = (question.targets @ np.random.default_rng(0).normal(size=(3, 12))).astype(np.float16)
    benchmark = Benchmark(question, Protocol())
    for name in ("whiten", "pls"):
        found = [benchmark.score(X, projection=build(name)) for X in (half, half.astype(np.float64))]
        assert found[0].metrics == found[1].metrics


def test_unit_lengths():
    X, y = cohort(20)
    found = transformed(fitted("l2", X, y), X)
    np.testing.assert_allclose(found, X / np.linalg.norm(X, axis=1, keepdims=True))
    assert not transformed(fitted("l2", X, y), np.zeros((1, 30))).any()


def test_the_random_projection_knows_its_seed_only():
    X, y = cohort(20)
    same = fitted("random", X, y).components_
    assert np.array_equal(same, fitted("random", 2 * X, y).components_)
    assert not np.array_equal(same, fitted("random", X, y, seed=1).components_)


@pytest.mark.slow
def test_umap_keeps_groups_together():
    rng = np.random.default_rng(0)
    group = np.arange(60) % 3
    X = 10 * rng.normal(size=(3, 30))[group] + rng.normal(size=(60, 30))
    projection = fitted("umap", X[:45], None, components=2)
    inside, outside = transformed(projection, X[:45]), transformed(projection, X[45:])
    nearest = np.linalg.norm(outside[:, None] - inside[None], axis=2).argmin(axis=1)
    assert np.array_equal(group[:45][nearest], group[45:])


def test_a_chain_is_its_steps_one_after_the_other():
    X, y = cohort(20)
    new, _ = cohort(5, seed=1)
    scaled = (X - X.mean(axis=0)) / X.std(axis=0)
    by_hand = PCA(5, svd_solver="full").fit(scaled).transform((new - X.mean(axis=0)) / X.std(axis=0))
    np.testing.assert_allclose(transformed(fitted("standardize_pca", X, y), new), by_hand, atol=1e-9)


@pytest.mark.parametrize("shape", [(60, 900), (900, 60), (60, 60)])
@pytest.mark.parametrize("rank", [1, 7, 40])
@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_a_chain_clips_to_the_rank_that_singular_values_tell(shape, rank, offset):
    # Features in float32 whose directions fall off by a thousand, far from the origin and near it.
    rng = np.random.default_rng(0)
    scales = np.geomspace(1, 1e-3, rank)
    X = ((rng.normal(size=(shape[0], rank)) * scales) @ rng.normal(size=(rank, shape[1])) + offset).astype(np.float32)
    X = X.astype(np.float64)
    spectrum = np.linalg.svd(X - X.mean(axis=0), compute_uv=False)
    expected = int((spectrum > np.abs(X).max() * np.sqrt(X.size) * np.finfo(np.float32).eps).sum())
    assert Chain([PCA(svd_solver="full")], n_components=60).fit(X).transform(X).shape[1] == expected
    assert expected == rank or offset  # what is small beside the offset drowns in its rounding


def test_a_chain_leaves_the_steps_it_was_given_unfitted():
    X, _ = cohort(20)
    step = PCA(3)
    chain = Chain([step], n_components=40).fit(X)
    assert chain.transform(X).shape == (20, 19)
    assert step.n_components == 3 and not hasattr(step, "components_")


def test_the_last_step_with_a_size_gets_the_chains():
    X, _ = cohort(20)
    found = Chain([PCA(9), PCA(8), Normalizer()], n_components=4).fit(X).transform(X)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), np.ones(20))
    assert found.shape == (20, 4)
    assert Chain([Normalizer()]).fit(X).transform(X).shape == X.shape
    assert Chain([PCA(0.5), PCA(8)], n_components=20).fit(X).transform(X).shape == (20, PCA(0.5).fit(X).n_components_)


def test_numbers_are_grouped_by_octants_about_their_medians():
    _, centers = cohort(40)
    groups = target_groups(centers)
    assert set(groups) == set(range(8))
    same = groups[:, None] == groups[None]
    above = centers > np.median(centers, axis=0)
    assert np.array_equal(same, (above[:, None] == above[None]).all(axis=2))


def test_classes_are_their_own_groups():
    codes = np.random.default_rng(0).integers(0, 4, 30)
    assert np.array_equal(target_groups(np.eye(4)[codes]), codes)


def test_one_number_is_split_at_its_median_even_if_it_is_0_or_1():
    assert target_groups(np.array([[0.0], [0.0], [0.0], [1.0], [1.0]])).tolist() == [0, 0, 0, 1, 1]


def test_discriminants_of_classes_tell_them_apart():
    rng = np.random.default_rng(0)
    codes = np.arange(90) % 3
    X = 4 * rng.normal(size=(3, 8))[codes] + rng.normal(size=(90, 8))
    projection = build("lda", components=7).fit(X[:60], np.eye(3)[codes[:60]])
    inside, outside = projection.transform(X[:60]), projection.transform(X[60:])
    assert outside.shape == (30, 2)  # one less than there are classes
    nearest = np.linalg.norm(outside[:, None] - inside[None], axis=2).argmin(axis=1)
    assert np.array_equal(codes[:60][nearest], codes[60:])


def test_a_group_of_one_case_is_no_news(recwarn):
    X, y = cohort(12)
    assert 1 in np.bincount(target_groups(y))
    build("lda").fit(X, y)
    assert not recwarn.list


@pytest.mark.parametrize(("cases", "most"), [(3, 2), (4, 2), (5, 4), (8, 4), (9, 8)])
def test_cases_outnumber_the_groups(cases, most):
    centers = cohort(cases)[1]
    assert 2 <= len(np.unique(target_groups(centers))) <= most < cases


def test_few_cases_are_split_along_the_widest_axis():
    centers = np.array([[0, 50, 1], [1, -40, 2], [2, 60, 3], [3, -30, 0]], dtype=float)
    groups = target_groups(centers)
    assert groups[0] == groups[2] != groups[1] == groups[3]


@pytest.mark.parametrize("targets", [np.zeros((20, 3)), np.eye(3)[np.zeros(20, dtype=int)]])
def test_targets_that_are_all_alike_cannot_be_split(targets):
    X, _ = cohort(20)
    with pytest.raises(NeuroprintError, match="cannot be split"):
        TargetLDA().fit(X, targets)


def test_more_components_than_a_fit_can_have_are_clipped_and_said(caplog):
    assert clipped(PCA(8), 8).n_components == 8
    assert not caplog.records
    given = PCA(9)
    assert clipped(given, 8).n_components == 8 and given.n_components == 9
    assert [record.getMessage() for record in caplog.records] == [
        "components=9 is more than the gallery allows: clipped to 8"
    ]
    assert clipped(PCA(0.5), 8).n_components == 0.5  # a share of the variance
    assert isinstance(clipped(Normalizer(), 8), Normalizer)


def test_what_a_projection_draws_by_chance_is_the_same_each_time(make_question):
    """scikit-learn's PCA of many columns takes a random start, unless it is told which."""
    question = make_question(60)
    vectors = np.random.default_rng(0).normal(size=(60, 900))
    benchmark = Benchmark(question)
    wide = Pipeline([("scale", StandardScaler()), ("pca", PCA(5, svd_solver="randomized", iterated_power=0))])
    for projection in (PCA(5, svd_solver="randomized", iterated_power=0), wide):
        first, again = (benchmark.score(vectors, projection=projection).metrics for _ in range(2))
        assert first == again

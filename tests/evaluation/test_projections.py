"""Every projection on the menu: what it computes, at what sizes, and that none of them finds what is not there."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf
from sklearn.decomposition import PCA
from sklearn.preprocessing import Normalizer

from neuroprint.errors import NeuroprintError
from neuroprint.evaluation.benchmark import Benchmark, Protocol
from neuroprint.evaluation.projection import fit_projection, is_supervised, transformed
from neuroprint.evaluation.projections import Chain, OctantLDA, octants

CONF = Path(__file__).parents[2] / "conf" / "projection"
SUPERVISED = {"pls", "lda", "nca"}
UNSIZED = {"none", "l2", "standardize"}


def named(name):
    return pytest.param(name, marks=pytest.mark.slow) if name == "umap" else name


MENU = [named(path.stem) for path in sorted(CONF.glob("*.yaml"))]
SIZED = [named(path.stem) for path in sorted(CONF.glob("*.yaml")) if path.stem not in UNSIZED]


def build(name, components=5, seed=0):
    """As a job builds it, clipped or not."""
    config = OmegaConf.create(
        {"components": components, "seed": seed, "projection": OmegaConf.load(CONF / f"{name}.yaml")}
    )
    projection = instantiate(config.projection, _convert_="all")
    if name not in UNSIZED:
        projection.set_params(n_components=components)
    return projection


def fitted(name, X, y, **keywords):
    projection = build(name, **keywords)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # tiny cohorts converge badly and fall apart; what counts is that they are served
        return fit_projection(lambda: projection, X, y if is_supervised(projection) else None)


def cohort(n, d=30, seed=0):
    """Embeddings that tell the position, and the centres."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(n, 3)) * [30, 35, 20]
    mix = np.random.default_rng(9).normal(size=(3, d)) / 40
    return centres @ mix + rng.normal(size=(n, d)) + 4, centres


@pytest.mark.parametrize("name", MENU)
def test_every_projection_fits_and_takes_new_rows(name):
    X, y = cohort(20)
    new, _ = cohort(7, seed=1)
    given = X.copy()
    projection = fitted(name, X, y)
    found = transformed(projection, new)
    assert found.shape == (7, 30 if name in UNSIZED else 5)
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
    if name in {"whiten", "ica", "standardize_pca", "pls", "lda", "nca"}:
        assert found.shape[1] == min(wanted, 3)


def test_the_supervised_ones_are_marked():
    marked = {path.stem for path in CONF.glob("*.yaml") if is_supervised(build(path.stem))}
    assert marked == SUPERVISED


@pytest.mark.parametrize("name", sorted(SUPERVISED))
def test_what_sees_the_centres_uses_them(name):
    # The strongest directions say nothing of the centre: only who sees the centres finds it in three.
    rng = np.random.default_rng(3)
    (X, y), (new, at), loud = cohort(80), cohort(200, seed=1), rng.normal(size=(3, 30))
    X, new = X + 2 * rng.normal(size=(80, 3)) @ loud, new + 2 * rng.normal(size=(200, 3)) @ loud
    shuffled = rng.permutation(y)

    def explained(projection):
        inside, outside = transformed(projection, X), transformed(projection, new)
        weights = np.linalg.lstsq(np.c_[inside, np.ones(len(inside))], y, rcond=None)[0]
        error = np.square(np.c_[outside, np.ones(len(outside))] @ weights - at).sum()
        return 1 - error / np.square(at - at.mean(axis=0)).sum()

    assert explained(fitted(name, X, y, components=3)) > explained(fitted(name, X, shuffled, components=3)) + 0.1


def gain_on_noise(make_subjects, seed, prepare=None, **score):
    """Mean average precision over chance, of embeddings that know nothing."""
    subjects = make_subjects(50, seed=seed)
    noise = np.random.default_rng(100 + seed).normal(size=(50, 60))
    if prepare is not None:
        noise = prepare(noise, subjects.centres_mm)
    benchmark = Benchmark(subjects, Protocol(bootstrap=100, seed=seed))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        metrics = benchmark.score(noise, **score).metrics
    return metrics["retrieval/map"] - benchmark.chance.metrics["retrieval/map"], metrics["probe/r2"]


@pytest.mark.parametrize("name", MENU)
def test_noise_is_retrieved_at_chance(make_subjects, name):
    # Supervised projections must not carry the gallery's centres to the queries.
    gains = [gain_on_noise(make_subjects, seed, make_projection=lambda: build(name)) for seed in range(3)]
    above_chance, r2 = np.mean(gains, axis=0)
    assert abs(above_chance) < 0.05
    assert r2 < 0.05


def test_noise_is_not_at_chance_if_the_queries_are_fitted_too(make_subjects):
    # The control: the same cohorts, the projection fitted once on all. The leak is there to be found.
    def leak(noise, centres):
        return transformed(fitted("pls", noise, centres), noise)

    above_chance, r2 = np.mean([gain_on_noise(make_subjects, seed, leak) for seed in range(3)], axis=0)
    assert above_chance > 0.1
    assert r2 > 0.3


def test_whitened_galleries_have_unit_covariance():
    X, y = cohort(40)
    projection = fitted("whiten", X, y, components=8)
    np.testing.assert_allclose(np.cov(transformed(projection, X).T), np.eye(8), atol=1e-9)
    centred = X - X.mean(axis=0)
    _, spectrum, directions = np.linalg.svd(centred)
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


def test_octants_are_split_at_the_medians():
    _, centres = cohort(40)
    parts = octants(centres)
    assert set(parts) == set(range(8))
    same = parts[:, None] == parts[None]
    above = centres > np.median(centres, axis=0)
    assert np.array_equal(same, (above[:, None] == above[None]).all(axis=2))


def test_an_octant_of_one_case_is_no_news(recwarn):
    X, y = cohort(12)
    parts = octants(y)
    assert 1 in np.bincount(parts)
    build("lda").fit(X, y)
    assert not recwarn.list


@pytest.mark.parametrize(("cases", "most"), [(3, 2), (4, 2), (5, 4), (8, 4), (9, 8)])
def test_cases_outnumber_the_parts(cases, most):
    centres = cohort(cases)[1]
    assert 2 <= len(np.unique(octants(centres))) <= most < cases


def test_few_cases_are_split_along_the_widest_axis():
    centres = np.array([[0, 50, 1], [1, -40, 2], [2, 60, 3], [3, -30, 0]], dtype=float)
    parts = octants(centres)
    assert parts[0] == parts[2] != parts[1] == parts[3]


def test_centres_in_one_place_cannot_be_told_apart():
    X, _ = cohort(20)
    with pytest.raises(NeuroprintError, match="cannot be split"):
        OctantLDA().fit(X, np.zeros((20, 3)))

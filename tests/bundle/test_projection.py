"""Projections as plain arrays: what the library that fitted them gives, without it."""

import json

import numpy as np
import pytest
from sklearn.decomposition import PCA, FastICA
from sklearn.preprocessing import FunctionTransformer, Normalizer, StandardScaler
from sklearn.random_projection import GaussianRandomProjection

from neuroprint.bundle import projection
from neuroprint.bundle.format import save_arrays
from neuroprint.catalog.menu import Catalog
from neuroprint.errors import NeuroprintError
from neuroprint.evaluation.projection import Identity
from neuroprint.evaluation.projections import PLS, TSNE, UMAP, Chain, TargetLDA, TargetNCA, TargetRidge

SUPERVISED = {
    "pls": lambda: Chain([PLS()], 4),
    "ridge": lambda: Chain([PCA(whiten=True, svd_solver="full"), TargetRidge()], 8),
    "lda": lambda: Chain([StandardScaler(), PCA(16, svd_solver="full"), TargetLDA(shrinkage=0.5)], 6),
    "nca": lambda: Chain([StandardScaler(), PCA(8, svd_solver="full"), TargetNCA(max_iter=5)], 4),
}
UNSUPERVISED = {
    "none": Identity,
    "standardize": StandardScaler,
    "without_mean": lambda: StandardScaler(with_mean=False),
    "l2": lambda: Normalizer(norm="l2"),
    "l1": lambda: Normalizer(norm="l1"),
    "pca": lambda: Chain([PCA(svd_solver="full")], 6),
    "whiten": lambda: Chain([PCA(whiten=True, svd_solver="full")], 6),
    "bare_pca": lambda: PCA(5, whiten=True, svd_solver="full"),
    "standardize_pca": lambda: Chain([StandardScaler(), PCA(svd_solver="full")], 6),
    "ica": lambda: Chain([FastICA(whiten_solver="svd", max_iter=1000, tol=1e-3, random_state=0)], 5),
    "random": lambda: GaussianRandomProjection(7, random_state=0),
    "chain_of_chains": lambda: Chain([Chain([PCA(svd_solver="full")], 8), Normalizer()], 6),
}


@pytest.fixture(scope="module")
def data():
    """Embeddings as they are: far from zero, of very unequal scales, correlated; and centers that depend on them."""
    rng = np.random.default_rng(0)
    latent = rng.normal(size=(90, 12))
    X = (
        latent @ rng.normal(size=(12, 40)) * np.logspace(-2, 1, 40)
        + rng.normal(5, 3, 40)
        + rng.normal(0, 0.05, (90, 40))
    )
    y = latent[:, :3] * 30 + rng.normal(size=(90, 3))
    return X[:60], y[:60], X[60:]


def fitted(name, data):
    X, y, _ = data
    return SUPERVISED[name]().fit(X, y) if name in SUPERVISED else UNSUPERVISED[name]().fit(X)


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.float16])
@pytest.mark.parametrize("name", [*UNSUPERVISED, *SUPERVISED])
def test_plain_arrays_project_held_out_cases_as_the_library_does(name, kind, data, tmp_path):
    model = fitted(name, data)
    held = data[2].astype(kind)
    expected = model.transform(held.astype(np.float64))
    projection.save_steps(tmp_path, projection.steps_of(model))
    found = projection.apply_steps(projection.load_steps(tmp_path), held)
    assert found.dtype == np.float32
    assert found.shape == expected.shape
    assert np.linalg.norm(found - expected, axis=1) == pytest.approx(
        0, abs=1e-5 * np.linalg.norm(expected, axis=1).min()
    )


def test_of_every_entry_of_conf_those_that_place_a_new_case_by_a_formula_can_be_written():
    catalog = Catalog()
    problems = {name: projection.why_not(catalog.part("projection", name).made) for name in catalog.names("projection")}
    assert {name for name, problem in problems.items() if problem} == {"tsne", "umap"}


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (UMAP(), "UMAP places a new case by a search"),
        (TSNE(), "cannot place a new one"),
        (Chain([PCA(), UMAP()], 2), "UMAP places a new case by a search"),
        (FunctionTransformer(np.log), "function of its own"),
        (object(), "object is no projection that a bundle can hold"),
    ],
)
def test_what_cannot_be_written_says_why_in_one_line(model, said):
    problem = projection.why_not(model)
    assert said in problem
    assert "\n" not in problem
    with pytest.raises(NeuroprintError, match=said):
        projection.steps_of(model)


def test_a_row_of_zeros_stays():
    assert not projection.apply_steps([projection.Step("l2")], np.zeros((2, 3))).any()


def test_another_size_is_refused(data, tmp_path):
    steps = projection.steps_of(fitted("pca", data))
    with pytest.raises(NeuroprintError, match="takes 40 numbers a case; there are 39"):
        projection.apply_steps(steps, data[2][:, :-1])


def test_a_step_that_is_not_known_is_refused(tmp_path):
    (tmp_path / "projection.json").write_text(json.dumps({"steps": [{"kind": "exec"}]}))
    save_arrays(tmp_path / "projection.safetensors", {})
    with pytest.raises(NeuroprintError, match="does not know: exec"):
        projection.load_steps(tmp_path)

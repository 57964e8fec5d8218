"""Bundles from Python: of embeddings and of a result, and what cannot become one."""

import csv
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.decomposition import PCA

import neuroprint as npr
from neuroprint.bundle.format import mapped
from neuroprint.errors import CaseError, NeuroprintError
from neuroprint.evaluation.folds import in_holdout


def refusal(act):
    """What is said in one line."""
    with pytest.raises(NeuroprintError) as caught:
        act()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def place(tmp_path):
    return tmp_path / "bundle"


class Standardized(BaseEstimator, TransformerMixin):
    """An affine projection of the user's own: the cells in the middle of the head, each divided by its deviation."""

    def __init__(self, axes=4):
        self.axes = axes

    def fit(self, X, y=None):
        self.mean_, self.scale_ = X.mean(axis=0), 1 / (X.std(axis=0) + 0.1)
        return self

    def transform(self, X):
        return ((X - self.mean_) * self.scale_)[:, self._chosen]

    def as_steps(self):
        chosen = np.eye(len(self.mean_))[:, self._chosen]
        return [("center", self.mean_), ("scale", self.scale_), ("linear", chosen)]

    @property
    def _chosen(self):
        return slice(105, 105 + self.axes)


class Opaque(BaseEstimator, TransformerMixin):
    """One that does not say what it does."""

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return X**3


class Misspelt(Opaque):
    def as_steps(self):
        return [("centre", np.zeros(3))]


def test_embeddings_and_a_result_give_the_same_gallery(embeddings, tmp_path):
    task = npr.tasks.TumorPosition(radius_mm=60)
    result = npr.evaluate(embeddings, task, PCA(3), similarity="dot")
    one = npr.Bundle.build(embeddings, PCA(3), tmp_path / "one", similarity="dot")
    two = npr.Bundle.build(result, path=tmp_path / "two")
    for name in ("gallery.safetensors", "neighbors.safetensors", "mips.safetensors", "projection.safetensors"):
        first, second = mapped(one.folder / name), mapped(two.folder / name)
        assert first.keys() == second.keys()
        for key in first:
            np.testing.assert_allclose(first[key], second[key], rtol=1e-5, atol=1e-5, err_msg=f"{name} {key}")
    pd.testing.assert_frame_equal(one.cases, two.cases)
    assert one.similarity == two.similarity == "dot"


def test_a_result_brings_its_scores_and_embeddings_have_none(result, bundle_folder, embeddings, place):
    bundle = npr.Bundle.open(bundle_folder)
    assert bundle.name == result.name
    assert bundle.scores["sweep"] == result.metrics
    assert bundle.scores["headline"] == "retrieval/p_at_5"
    references = {role: evaluation.metrics for role, evaluation in result.references.items()}
    assert bundle.scores["references"] == references and set(references) == {"chance", "voxels", "oracle"}
    card = (bundle_folder / "card.md").read_text()
    assert "whose tumor's center lies within 60 mm" in card
    assert f"{result.metrics['retrieval/p_at_5']:.3f} [" in card
    plain = npr.Bundle.build(embeddings, path=place)
    assert dict(plain.scores) == {}
    assert "It was not scored: take its answers with caution." in (place / "card.md").read_text()


def test_a_result_is_not_told_what_it_has_itself(result, place):
    for own in ({"projection": PCA(2)}, {"similarity": "dot"}, {"holdout": 0.5}):
        said = refusal(lambda own=own: npr.Bundle.build(result, path=place, **own))
        assert said.startswith(f"{next(iter(own))}: the result has its own")
    assert not place.exists()


def test_without_a_projection_embeddings_are_compared_as_they_are_by_what_they_are_made_for(embeddings, place):
    bundle = npr.Bundle.build(embeddings, path=place)
    np.testing.assert_array_equal(bundle.projected, embeddings.vectors)
    assert bundle.similarity == "euclidean" and not bundle.is_fitted
    found = bundle.query(embeddings.cases[2], 9)
    expected = np.linalg.norm(embeddings.vectors - embeddings.vectors[2], axis=1)
    assert [match.row for match in found.matches] == list(np.argsort(expected, kind="stable"))
    np.testing.assert_allclose([-match.similarity for match in found.matches], np.sort(expected), atol=1e-3)


def test_a_projection_may_be_named_as_in_conf(embeddings, place):
    bundle = npr.Bundle.build(embeddings, "pca", place)
    assert bundle.projected.shape == (9, 8)  # nine cases have no more than eight directions about their mean
    node = {"_target_": "sklearn.decomposition.PCA", "n_components": 2}
    assert npr.Bundle.build(embeddings, node, place).projected.shape == (9, 2)


def test_patients_that_are_held_out_are_not_in_the_gallery(embeddings, place):
    bundle = npr.Bundle.build(embeddings, PCA(2), place, holdout=0.5)
    kept = [case.id for case in embeddings.cases if not in_holdout(case.patient, 0.5)]
    assert 0 < len(kept) < 9
    assert list(bundle.cases["case"]) == kept


def test_a_supervised_projection_needs_a_result_and_is_fitted_to_the_cases_with_a_target(graded_cohort, embed, place):
    unlabeled = replace(graded_cohort.cases[0], label=None)
    embeddings = embed([unlabeled, *graded_cohort.cases[1:]])
    assert "give Bundle.build the result" in refusal(lambda: npr.Bundle.build(embeddings, "pls", place))
    result = npr.evaluate(embeddings, npr.tasks.TumorPosition(radius_mm=60), "pls", folds=3)
    bundle = npr.Bundle.build(result, path=place)
    assert len(result.ids) == 8 and len(bundle.cases) == 9
    assert np.isnan(bundle.cases["x_mm"].iloc[0]) and bundle.cases["x_mm"].iloc[1:].notna().all()
    labeled = embeddings.vectors[1:].astype(float)
    np.testing.assert_allclose(bundle.projected[1:], result.projected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(bundle.project(labeled), bundle.projected[1:], rtol=1e-6)
    assert (bundle.neighborhoods.rows[:, 0] >= 0).all()


@pytest.mark.parametrize(
    ("name", "said"), [("tsne", "cannot place a new one"), ("umap", "by a search among the fitted")]
)
def test_a_projection_that_cannot_place_a_new_case_is_refused(embeddings, place, name, said):
    assert said in refusal(lambda: npr.Bundle.build(embeddings, name, place))
    assert not place.exists()


def test_embeddings_that_were_made_elsewhere_are_refused(graded_cohort, embeddings, place, tmp_path):
    made_elsewhere = npr.Embeddings(graded_cohort, np.eye(9), name="mine")
    embeddings.save(tmp_path / "vectors.parquet")
    file = {
        "_target_": "neuroprint.embedding.precomputed.PrecomputedEncoder",
        "path": str(tmp_path / "vectors.parquet"),
    }
    for source in (made_elsewhere, npr.embed(graded_cohort, file)):
        said = refusal(lambda source=source: npr.Bundle.build(source, path=place))
        assert said.startswith(source.name) and "made elsewhere cannot be exported" in said
    task = npr.tasks.Metadata(column="grade")
    result = npr.evaluate(made_elsewhere, task, folds=3, references=("chance",))
    assert "made elsewhere" in refusal(lambda: npr.Bundle.build(result, path=place))
    assert not place.exists()


def test_a_projection_of_the_users_own_becomes_plain_arrays(embeddings, place):
    wide = embeddings.vectors.astype(float)
    expected = Standardized(4).fit(wide).transform(wide)
    np.testing.assert_allclose(npr.Bundle.build(embeddings, Standardized(4), place).projected, expected, atol=1e-5)
    bundle = npr.Bundle.open(place)  # no code of the user's is needed any more
    assert bundle.is_fitted and bundle.query(embeddings.cases[1]).matches[0].case == embeddings.ids[1]
    assert "Standardized, fitted on the gallery" in (place / "card.md").read_text()


def test_a_projection_of_the_users_own_that_does_not_say_its_steps_is_refused(embeddings, place):
    said = refusal(lambda: npr.Bundle.build(embeddings, Opaque(), place))
    assert said.startswith("projection=Opaque: Opaque is no projection that a bundle can hold")
    assert "those with a method as_steps" in said
    said = refusal(lambda: npr.Bundle.build(embeddings, Misspelt(), place))
    assert "Misspelt.as_steps gives a step 'centre': choose among center, scale, linear" in said
    assert not place.exists()


def test_of_a_task_without_scans_the_gallery_has_its_centers_all_the_same(embeddings, place):
    result = npr.evaluate(embeddings, npr.tasks.Metadata(column="grade"), folds=3)
    bundle = npr.Bundle.build(result, path=place)
    assert bundle.cases["x_mm"].notna().all() and bundle.scores["headline"] == "retrieval/p_at_5"
    assert bundle.manifest["relevance"] == "with the same grade"


@pytest.fixture
def manifest(small_cohort, tmp_path):
    """Writes some small cases as a CSV; of one row it is a case, of several a cohort."""

    def write(*numbers):
        path = tmp_path / f"{len(numbers)}.csv"
        with path.open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["id", "patient", "flair", "t1", "label"])
            for number in numbers:
                name = f"Small_{number:05d}"
                files = [small_cohort / name / f"{name}_{kind}.nii.gz" for kind in ("flair", "t1", "seg")]
                rows.writerow([f"row-{number}", f"person-{number}", *map(str, files)])
        return path

    return write


def test_a_query_is_read_as_the_gallery_was_or_else_as_a_folder_in_brats_layout(
    manifest, small_cohort, features, place, tmp_path
):
    cohort = npr.load_cohort("manifest", manifest(0, 1, 2, 3), store=features)
    bundle = npr.Bundle.build(npr.embed(cohort, "voxels", store=features), PCA(2), place)
    assert bundle.modalities == ("flair", "t1") and bundle.manifest["position"]["frame"] == "brain"
    row, folder = bundle.read_case(manifest(7)), bundle.read_case(small_cohort / "Small_00007")
    assert (row.id, row.patient, row.label_convention) == ("row-7", "person-7", "any")
    assert (folder.id, folder.label_convention) == ("Small_00007", "brats")
    assert bundle.query(row).matches == bundle.query(folder).matches
    with pytest.raises(NeuroprintError, match="4 rows, expected one"):
        bundle.read_case(manifest(0, 1, 2, 3))
    with pytest.raises(NeuroprintError, match=r"nothing\.csv"):
        bundle.read_case(tmp_path / "nothing.csv")
    (tmp_path / "empty").mkdir()
    with pytest.raises(NeuroprintError, match="pass a CSV file"):
        bundle.read_case(tmp_path / "empty")
    torn = tmp_path / "Torn"
    torn.mkdir()
    (torn / "Torn_flair.nii.gz").write_bytes(b"")
    with pytest.raises(CaseError, match=r"Torn_t1\.nii\.gz missing"):
        bundle.read_case(torn)


def test_the_queries_of_a_cohort_made_by_hand_are_folders_in_brats_layout(graded_cohort, features, small_cohort, place):
    cohort = npr.Cohort("mine", graded_cohort.cases)
    bundle = npr.Bundle.build(npr.embed(cohort, "voxels", store=features), PCA(2), place)
    assert bundle.manifest["dataset"] == {"name": "mine", "reader": None}
    assert bundle.query(small_cohort / "Small_00003").known_as == "Small_00003"

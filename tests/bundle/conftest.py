"""A small bundle, made once, as a user makes one: nine small cases on the voxels encoder with a PCA."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sklearn.decomposition import PCA

import neuroprint as npr
from neuroprint.data.case import Case
from neuroprint.data.cohort import Cohort
from neuroprint.embedding.embeddings import Embeddings
from neuroprint.tasks.result import Result

VOXELS = {"_target_": "neuroprint.encoders.voxels.VoxelEncoder", "cells": [6, 6, 5]}

Embed = Callable[..., Embeddings]
MakeBundle = Callable[..., Path]


def small_pca() -> PCA:
    """The projection of every small bundle."""
    return PCA(n_components=4, svd_solver="full")


@pytest.fixture(scope="session")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A feature store that the tests of bundles share."""
    return tmp_path_factory.mktemp("features")


@pytest.fixture(scope="session")
def graded_cohort(small_cohort: Path, features: Path) -> Cohort:
    """All small cases but the last, each with a grade."""
    found = npr.load_cohort("brats", small_cohort, store=features)
    grades = ("II", "III", "IV")
    cases = [replace(case, metadata={"grade": grades[n % 3]}) for n, case in enumerate(found.cases[:-1])]
    return replace(found, cases=tuple(cases))


@pytest.fixture(scope="session")
def embed(graded_cohort: Cohort, features: Path) -> Embed:
    """Embeds some cases of the cohort, by default all, with an encoder, by default small voxels."""

    def run(cases: Sequence[Case] | None = None, encoder: Any = VOXELS, **choices: Any) -> Embeddings:
        cohort = graded_cohort if cases is None else replace(graded_cohort, cases=tuple(cases))
        return npr.embed(cohort, encoder, store=features, device="cpu", **choices)

    return run


@pytest.fixture(scope="session")
def embeddings(embed: Embed) -> Embeddings:
    """What :func:`bundle_folder` was made of, before projection."""
    return embed()


@pytest.fixture(scope="session")
def result(embeddings: Embeddings) -> Result:
    """What :func:`bundle_folder` was made from."""
    task = npr.tasks.TumorPosition(radius_mm=60)
    return npr.evaluate(embeddings, task, small_pca(), similarity="cosine", folds=3)


@pytest.fixture(scope="session")
def bundle_folder(result: Result, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle. Read only: ask for :func:`copy_of_bundle` to change one."""
    folder = tmp_path_factory.mktemp("bundles") / "bundle"
    npr.Bundle.build(result, path=folder)
    return folder


@pytest.fixture(scope="session")
def make_bundle(embed: Embed) -> MakeBundle:
    """Writes another bundle, of the cases and the encoder that it is told, without an evaluation."""

    def make(folder: Path, cases: Sequence[Case] | None = None, **choices: Any) -> Path:
        npr.Bundle.build(embed(cases, **choices), small_pca(), folder, similarity="cosine")
        return folder

    return make


@pytest.fixture
def copy_of_bundle(bundle_folder: Path, tmp_path: Path) -> Callable[[], Path]:
    """Makes a bundle that a test may damage."""
    return lambda: Path(shutil.copytree(bundle_folder, tmp_path / "bundle"))

"""A small bundle, made once, without MLflow: nine small cases on the voxels encoder with a PCA."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from neuroprint.bundle.contents import Contents, write_bundle
from neuroprint.bundle.recipe import View
from sklearn.decomposition import PCA

from neuroprint.bundle.projection import steps_of
from neuroprint.data.facts import Target, measure
from neuroprint.data.formats.brats import find_brats
from neuroprint.data.volume import read_volume
from neuroprint.embedding import poolings
from neuroprint.embedding.extraction import Request
from neuroprint.embedding.extractor import Extractor
from neuroprint.embedding.inferers import Whole
from neuroprint.encoders.voxels import VoxelEncoder

VOXELS = {"_target_": "neuroprint.encoders.voxels.VoxelEncoder", "cells": [6, 6, 5], "modalities": []}
WHOLE = {"_target_": "neuroprint.embedding.inferers.Whole"}
MEAN = {"_target_": "neuroprint.embedding.poolings.mean", "_partial_": True}
PROJECTION = "folds: 3\nprojection:\n  _target_: sklearn.decomposition.PCA\n  n_components: 4\n  svd_solver: full\n"
SCORES = {
    "sweep": {"retrieval/p_at_5": 0.5, "retrieval/p_at_5_lo": 0.4, "retrieval/p_at_5_hi": 0.6},
    "holdout": None,
    "optimism": {},
    "references": {},
}


@pytest.fixture(scope="session")
def bundle_contents(small_cohort: Path) -> Contents:
    """What :func:`bundle_folder` was written from: all small cases but the last."""
    found = find_brats(small_cohort).cases[:-1]
    cases = [
        type(case)(**{**vars(case), "metadata": {"grade": ["II", "III", "IV"][n % 3]}}) for n, case in enumerate(found)
    ]
    modalities = tuple(sorted(cases[0].images))
    extractor = Extractor(VoxelEncoder((6, 6, 5)), modalities, Whole(), "fp32", {"mean": poolings.mean})
    forward = extractor.encoder.load("cpu")
    facts, rows = {}, []
    for case in cases:
        volume = read_volume(case, modalities)
        facts[case.id] = measure(volume, case.label_convention)
        rows.append(extractor.vectors(extractor.prepare(volume, facts[case.id]), forward, "cpu")["voxels|mean"])
    embeddings = np.stack(rows)
    return Contents(
        name="voxels · mean · pca4",
        run_id="0123456789abcdef",
        config="encoder:\n  _target_: neuroprint.encoders.voxels.VoxelEncoder\nseed: 0\n" + PROJECTION,
        views=[View(VOXELS, WHOLE, Request(extractor, ("voxels",), "mean"))],
        pooling=MEAN,
        steps=steps_of(PCA(n_components=4, svd_solver="full").fit(embeddings.astype(np.float64))),
        similarity="cosine",
        target=Target(),
        frame="world",
        cases=cases,
        facts=facts,
        embeddings=embeddings,
        map_xy=np.random.default_rng(0).normal(size=(len(cases), 2)),
        scores=SCORES,
        card="# A card\n",
    )


@pytest.fixture(scope="session")
def bundle_folder(bundle_contents: Contents, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle. Read only: ask for :func:`copy_of_bundle` to change one."""
    folder = tmp_path_factory.mktemp("bundles") / "bundle"
    write_bundle(folder, bundle_contents)
    return folder


@pytest.fixture
def copy_of_bundle(bundle_folder: Path, tmp_path: Path) -> Callable[[], Path]:
    """Makes a bundle that a test may damage."""
    return lambda: Path(shutil.copytree(bundle_folder, tmp_path / "bundle"))

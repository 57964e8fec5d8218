"""Kept maps: a pooling thought of later needs no new pass, and gives what a pass would have given."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from neuroprint.data.formats.brats import BraTSFormat
from neuroprint.embedding import poolings
from neuroprint.embedding.extraction import Extract
from neuroprint.embedding.extractor import Extractor
from neuroprint.embedding.inferers import Inferer, Sliding, Whole, Windows
from neuroprint.embedding.kept_maps import Keeper, kept_levels
from neuroprint.embedding.reading import Request
from neuroprint.embedding.store import FeatureStore
from neuroprint.encoders.swin_unetr import SwinUNETREncoder

ENCODER = SwinUNETREncoder(("flair", "t1ce", "t1", "t2"), feature_size=12, spacing_mm=3.0)
LATER = {
    name: getattr(poolings, name)
    for name in ("mean", "max", "std", "gem", "quantile", "top_mean", "foreground_mean", "pyramid")
} | {"spatial_softmax": poolings.spatial_softmax, "covariance": poolings.covariance}
LEVELS = tuple(level.name for level in ENCODER.levels if level.name != "encoder10")  # it has NaN in windows of one cell


@pytest.fixture(scope="module")
def cohort(small_cohort):
    found = BraTSFormat(str(small_cohort)).cohort()
    return replace(found, cases=found.cases[:3])


def extract(cohort, store, menu, levels=("stage4",), pooling="mean", inferer: Inferer | None = None):
    extractor = Extractor(ENCODER, ENCODER.input.modalities, inferer or Whole(), "fp32", menu)
    return Extract(store, "cpu")(cohort, [Request(extractor, levels, pooling)])


MEAN = {"mean": poolings.mean}


@pytest.mark.parametrize(
    "inferer", [Whole(), Sliding(32, 0.5), Windows(32, 0.0)], ids=lambda inferer: type(inferer).__name__
)
def test_poolings_of_kept_maps_are_bit_for_bit_those_of_a_new_pass(tmp_path, cohort, inferer):
    kept, new = FeatureStore(tmp_path / "kept", keep_maps_mb=50), FeatureStore(tmp_path / "new", keep_maps_mb=0)
    assert extract(cohort, kept, MEAN, inferer=inferer).forwards == [3]
    for pooling in LATER:
        found = extract(cohort, kept, LATER, LEVELS, pooling, inferer)
        assert (found.forwards, found.cached) == ([0], [3])
        expected = extract(cohort, new, LATER, LEVELS, pooling, inferer)
        for case, vector in expected.embeddings[0].items():
            np.testing.assert_array_equal(found.embeddings[0][case], vector)


def test_a_level_whose_map_was_not_kept_costs_a_pass_and_the_others_none(tmp_path, cohort):
    store = FeatureStore(tmp_path, keep_maps_mb=0.2)
    extract(cohort, store, MEAN)
    (folder,) = (store.root / "maps").iterdir()
    assert all(path.stat().st_size < 0.21e6 for path in folder.iterdir())
    assert extract(cohort, store, LATER, ("stage3", "stage4"), "max").forwards == [0]
    assert extract(cohort, store, LATER, ("patch_embedding",), "max").forwards == [3]


def test_without_a_budget_nothing_is_kept_and_a_new_pooling_costs_a_pass(tmp_path, cohort):
    store = FeatureStore(tmp_path, keep_maps_mb=0)
    extract(cohort, store, MEAN)
    assert not (store.root / "maps").exists()
    assert extract(cohort, store, LATER, pooling="max").forwards == [3]


def test_a_torn_map_costs_a_pass_of_that_case_alone(tmp_path, cohort):
    store = FeatureStore(tmp_path, keep_maps_mb=50)
    extract(cohort, store, MEAN)
    torn = sorted((store.root / "maps").glob("*/*.safetensors"))[1]
    torn.write_bytes(torn.read_bytes()[:-9])
    assert extract(cohort, store, LATER, pooling="max").forwards == [1]


def test_what_was_pooled_before_stays_as_it_is(tmp_path, cohort):
    store = FeatureStore(tmp_path, keep_maps_mb=50)
    first = extract(cohort, store, MEAN).embeddings[0]
    extract(cohort, store, {"max": poolings.max}, pooling="max")
    again = extract(cohort, store, MEAN)
    assert again.forwards == [0]
    for case, vector in first.items():
        np.testing.assert_array_equal(again.embeddings[0][case], vector)


def test_the_smallest_levels_are_kept_first():
    keeper = Keeper(budget_mb=4 * (1 + 8) * 8e-6 + 4 * (2 + 1) * 1e-6)
    keeper.begin(1.0)
    for level, channels, edge in (("huge", 8, 4), ("large", 8, 2), ("small", 2, 1), ("also_large", 8, 2)):
        keeper.add(level, torch.zeros(channels, edge, edge, edge), torch.zeros(edge, edge, edge))
    assert kept_levels(keeper.entry()) == {"small", "large"}

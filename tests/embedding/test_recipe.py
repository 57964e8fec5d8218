"""A recipe: what an embedding is made of, and how it is called."""

from __future__ import annotations

import importlib
import sys
from functools import partial

import numpy as np
import pytest

from neuroprint.catalog.menu import Catalog, Part
from neuroprint.data.formats.brats import BraTSFormat
from neuroprint.embedding import poolings
from neuroprint.embedding.extraction import Extract
from neuroprint.embedding.recipe import (
    Recipe,
    encoders_of,
    menu_poolings,
    pooling_name,
    voxels_request,
    weights_digest,
)
from neuroprint.embedding.shares import join
from neuroprint.embedding.store import FeatureStore
from neuroprint.encoders.base import InputSpec, Level
from neuroprint.encoders.combined import CombinedEncoder
from neuroprint.encoders.swin_unetr import SwinUNETREncoder
from neuroprint.encoders.voxels import VoxelEncoder
from neuroprint.errors import NeuroprintError

MODALITIES = ("flair", "t1", "t1ce", "t2")
CATALOG = Catalog()
SWIN, VOXELS = SwinUNETREncoder(MODALITIES, feature_size=12), VoxelEncoder()
SOURCE = """
def spread(features, brain, power=1):
    return features.amax((1, 2, 3)) - features.amin((1, 2, 3))


class Pooling:
    def __call__(self, features, brain):
        return features.mean((1, 2, 3))
"""


def recipe(encoder, layer=None, pooling="mean", inferer="whole", **also) -> Recipe:
    part = CATALOG.part
    return Recipe.of(part("encoder", encoder), layer, part("pooling", pooling), part("inferer", inferer), **also)


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A user's own module with a pooling."""
    (tmp_path / "my_poolings.py").write_text(SOURCE, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module("my_poolings")
    sys.modules.pop("my_poolings", None)


# The name of a pooling


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        ({}, "gem"),
        ({"p": 3.0}, "gem(p=3)"),
        ({"p": 3}, "gem(p=3)"),
        ({"q": 1, "p": 2.5}, "gem(p=2.5, q=1)"),
        ({"_args_": [1], "p": 3}, "gem(_args_=[1], p=3)"),
        ({"cells": [1, 2.0], "statistic": "max", "deep": True}, "gem(cells=[1, 2], deep=True, statistic=max)"),
    ],
)
def test_a_poolings_name_has_its_parameters_in_alphabetical_order(parameters, name):
    node = {"_target_": "neuroprint.embedding.poolings.gem", "_partial_": True, **parameters}
    assert pooling_name(Part("anything", node, None)) == name


def test_a_function_and_the_menus_entry_have_one_name():
    named = [CATALOG.part("pooling", choice) for choice in ("mean", poolings.mean)]
    assert [pooling_name(part) for part in named] == ["mean", "mean"]
    bound = CATALOG.part("pooling", partial(poolings.gem, p=3, eps=1e-6))
    assert pooling_name(bound) == pooling_name(CATALOG.part("pooling", "gem"))


def test_the_menus_poolings_have_names_of_their_own():
    assert len(menu_poolings(CATALOG)) == len(CATALOG.names("pooling"))


def test_a_foreign_function_is_named_with_a_digest_of_its_source(module, tmp_path):
    named = pooling_name(CATALOG.part("pooling", module.spread))
    assert named.startswith("my_poolings.spread#") and len(named.partition("#")[2]) == 8
    assert pooling_name(CATALOG.part("pooling", {"_target_": "my_poolings.spread", "_partial_": True})) == named
    assert pooling_name(CATALOG.part("pooling", partial(module.spread, power=2))) == f"{named}(power=2)"
    assert pooling_name(CATALOG.part("pooling", module.spread)) == named

    (tmp_path / "my_poolings.py").write_text(SOURCE.replace("amax", "amin"), encoding="utf-8")
    changed = pooling_name(CATALOG.part("pooling", module.spread))
    assert changed.startswith("my_poolings.spread#") and changed != named


@pytest.mark.parametrize("kind", ["inside another", "lambda", "object", "positions bound", "an array bound"])
def test_a_pooling_that_has_no_name_of_its_own_is_refused(kind, module):
    def inside(features, brain):
        return features.mean((1, 2, 3))

    pooling = {
        "inside another": inside,
        "lambda": lambda features, brain: features.mean((1, 2, 3)),
        "object": module.Pooling(),
        "positions bound": partial(module.spread, 3.0),
        "an array bound": partial(module.spread, power=np.ones(5000)),
    }[kind]
    with pytest.raises(NeuroprintError, match="cannot be told from others by its name") as caught:
        recipe("voxels", pooling=pooling)
    assert "\n" not in str(caught.value)


# Putting a recipe together


def test_of_the_menu_all_poolings_are_computed_and_the_chosen_one_with_its_own_parameters():
    menu = menu_poolings(CATALOG)
    own = CATALOG.part("pooling", "gem", p=7.0)
    made = recipe("untrained", pooling=own, menu=menu, also={"further": poolings.std})
    assert set(made.poolings) == {*menu, "further", "gem(eps=1e-06, p=7)"}
    assert made.poolings["gem(eps=1e-06, p=7)"] is own.made


@pytest.mark.parametrize("in_the_sweep", [False, True])
@pytest.mark.parametrize(("parameter", "value"), [("p", "3"), ("p", -1.0), ("q", 2)])
def test_a_pooling_that_refuses_its_parameters_is_refused_before_a_scan_is_read(parameter, value, in_the_sweep):
    """``p='3'`` has the name of the menu's ``p=3``; and a sweep hands over the poolings of all its jobs."""
    node = {**CATALOG.node("pooling", "gem"), parameter: value}
    part = CATALOG.part("pooling", node)
    also = {pooling_name(part): part.made} if in_the_sweep else {}
    with pytest.raises(NeuroprintError, match=r"^pooling[:.]"):
        recipe("untrained", pooling=part, menu=menu_poolings(CATALOG), also=also)


def test_a_pooling_that_fails_on_a_tiny_map_may_do_on_a_scan():
    assert recipe("voxels", pooling=needs_many_cells).pooling.name == "needs_many_cells"


def needs_many_cells(features, brain):
    if brain.numel() < 100:
        raise ValueError("too few cells")
    return features.mean((1, 2, 3))


def test_a_window_that_the_encoder_cannot_take_is_refused_unless_it_is_voxels():
    windows = CATALOG.part("inferer", "sliding", window=48)
    with pytest.raises(NeuroprintError, match="multiple of 32"):
        recipe("untrained", inferer=windows)
    (inferer,) = recipe("voxels", inferer=windows).inferers()
    assert inferer.identity == {"inferer": "whole"}


def test_the_similarity_is_what_the_encoder_says_else_cosine():
    assert recipe("voxels").similarity == "euclidean"
    assert recipe("untrained").similarity == recipe("combined").similarity == "cosine"


@pytest.mark.parametrize("layer", [4, "4", "stage4", None, [4], ["stage4"]])
def test_a_level_has_one_name_however_it_is_given(layer):
    assert recipe("untrained", layer).layer == "stage4"


def test_several_levels_keep_their_order():
    made = recipe("untrained", [3, 1])
    assert made.layer == "stage3+stage1"
    assert [request.levels for request in made.requests(MODALITIES)] == [("stage3", "stage1")]


def test_the_description_covers_what_embeddings_depend_on_and_no_more():
    def described(**choices):
        return recipe(**{"encoder": "untrained", "menu": menu_poolings(CATALOG), **choices}).description(MODALITIES)

    same = described()
    assert described(layer="stage4") == described(also={"more": poolings.std}) == same
    others = (
        *({"layer": 3}, {"pooling": "max"}, {"inferer": "sliding"}, {"precision": "bf16"}),
        *({"encoder": CATALOG.part("encoder", "untrained", seed=1)}, {"encoder": "voxels"}),
    )
    for other in others:
        assert described(**other) != same


def test_the_reference_voxels_looks_as_the_menus_entry_does():
    own, reference = recipe("voxels").requests(MODALITIES)[0], voxels_request(MODALITIES)
    assert own.extractor.kind == reference.extractor.kind and own.names == reference.names


def test_weights_are_known_by_the_first_digits_of_their_sha256():
    packaged = CATALOG.part("encoder", "swin_unetr_phantom")
    digits = packaged.node["sha256"][:8]
    assert weights_digest(packaged.made) == digits
    assert weights_digest(SWIN) == weights_digest(VOXELS) == ""
    assert (
        weights_digest(CombinedEncoder({"a": packaged.made, "b": VOXELS, "c": packaged.made})) == f"{digits}+{digits}"
    )


# The untrained twin


def test_the_untrained_recipe_is_the_same_on_random_weights():
    trained = recipe("swin_unetr_phantom", [2, "stage4"], "max")
    twin = trained.untrained()
    assert trained.trained and not twin.trained
    assert twin.encoder.made.identity != trained.encoder.made.identity
    assert (twin.layer, twin.pooling, twin.inferer, twin.precision) == (
        *(trained.layer, trained.pooling, trained.inferer, trained.precision),
    )
    (own,), (other,) = twin.requests(MODALITIES), trained.requests(MODALITIES)
    assert own.names == other.names and own.extractor.kind != other.extractor.kind
    assert own.extractor.encoder.input == other.extractor.encoder.input


def test_the_untrained_recipes_node_makes_the_same_encoder():
    twin = recipe("swin_unetr_phantom").untrained()
    again = CATALOG.part("encoder", twin.encoder.node)
    assert again.made.identity == twin.encoder.made.identity


def test_what_is_not_trained_has_no_untrained_recipe():
    assert recipe("untrained").untrained() is None
    assert recipe("voxels").untrained() is None
    assert recipe("combined").untrained() is None, "one of its encoders has random weights already"


def test_of_a_combination_every_trained_encoder_is_replaced_and_voxels_stay():
    trained = CATALOG.part("encoder", "swin_unetr_phantom").made
    both = recipe(CombinedEncoder({"a": trained, "b": VoxelEncoder()}), [2])
    twin = both.untrained()
    swin, voxels = encoders_of(twin.encoder.made)
    assert not swin.trained and voxels is encoders_of(both.encoder.made)[1]
    assert twin.levels == ((swin, ("stage2",)), (voxels, ("voxels",)))
    assert twin.encoder.node is None, "objects do not say how they were made"


# Joined vectors


def cosine(a, b):
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_the_cosine_of_joined_vectors_is_the_mean_of_their_parts_cosines():
    rng = np.random.default_rng(0)
    one, other = (
        [rng.normal(scale=s, size=n).astype(np.float32) for s, n in ((1, 5), (300, 40), (0.01, 7))] for _ in "ab"
    )
    joined = [join(vectors) for vectors in (one, other)]
    assert joined[0].shape == (52,) and joined[0].dtype == np.float32
    parts = [cosine(a, b) for a, b in zip(one, other, strict=True)]
    assert cosine(*joined) == pytest.approx(np.mean(parts), abs=1e-6)


def test_a_single_vector_is_left_as_it_is_and_zeros_stay_zero():
    vector = np.array([3, 4], np.float32)
    assert join([vector]) is vector
    np.testing.assert_allclose(join([vector, np.zeros(2, np.float32)]), [0.6, 0.8, 0, 0])


# Several encoders


class Counting:
    """One level of averages; counts its forward passes."""

    trained = True
    default_level = "only"
    levels = (Level("only", 1, 2),)
    input = InputSpec(("flair",), spacing_mm=6.0, divisor=2)

    def __init__(self, weight):
        self.identity = {"network": "counting", "weight": weight}
        self.weight = weight
        self.forwards = 0

    def load(self, device):
        from torch.nn.functional import avg_pool3d

        def forward(batch):
            self.forwards += 1
            return [self.weight * avg_pool3d(batch.abs(), 2)]

        return forward


def test_each_encoder_passes_once_and_shares_with_runs_of_it_alone(tmp_path, small_cohort):
    cohort = BraTSFormat(str(small_cohort)).cohort().where(lambda case: case.id < "Small_00003")

    def extract(encoder):
        requests = recipe(encoder, pooling="mean_std").requests(cohort.modalities)
        return Extract(FeatureStore(tmp_path / "store"), "cpu")(cohort, requests)

    first, second = Counting(1.0), Counting(2.0)
    (alone,) = extract(first).embeddings
    both = extract(CombinedEncoder({"b": second, "a": first}))
    assert (first.forwards, second.forwards) == (3, 3)
    assert (both.forwards, both.cached) == ([0, 3], [3, 0])  # in the order of the names
    for case in cohort.cases:
        np.testing.assert_array_equal(both.embeddings[0][case.id], alone[case.id])
        np.testing.assert_allclose(both.embeddings[1][case.id], 2 * alone[case.id], rtol=1e-5)
        unit = alone[case.id] / np.linalg.norm(alone[case.id])
        joined = join([found[case.id] for found in both.embeddings])
        np.testing.assert_allclose(joined, np.concatenate([unit, unit]), rtol=1e-5)
    assert extract(second).cached == [3]

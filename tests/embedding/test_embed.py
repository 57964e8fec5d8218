"""Embedding a cohort from Python: by names, nodes and objects, and what goes wrong on the way."""

from __future__ import annotations

import importlib
import logging
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from neuroprint.catalog.code import class_code
from neuroprint.catalog.menu import Catalog
from neuroprint.data.formats.brats import BraTSFormat
from neuroprint.embedding import poolings
from neuroprint.embedding.embed import embed, embed_by, scan
from neuroprint.embedding.embeddings import Embeddings
from neuroprint.embedding.inferers import Sliding, Whole
from neuroprint.embedding.recipe import Recipe
from neuroprint.embedding.shares import join
from neuroprint.embedding.store import FeatureStore
from neuroprint.encoders.base import InputSpec, Level
from neuroprint.encoders.combined import CombinedEncoder
from neuroprint.encoders.voxels import VoxelEncoder
from neuroprint.errors import CaseError, NeuroprintError


class Blocks:
    """Two levels of block averages; counts its forward passes."""

    default_level = "coarse"
    input = InputSpec(("flair", "t2"), spacing_mm=6.0, divisor=4)
    levels = (Level("fine", 2, 2), Level("coarse", 2, 4))

    def __init__(self, weight: float = 1.0, trained: bool = True) -> None:
        self.identity = {"network": "blocks", "weight": weight}
        self.weight = weight
        self.trained = trained
        self.forwards = 0

    def load(self, device):
        from torch.nn.functional import avg_pool3d

        def forward(batch):
            self.forwards += 1
            return [self.weight * avg_pool3d(batch, level.stride) for level in self.levels]

        return forward


@pytest.fixture(scope="module")
def cohort(small_cohort):
    """Three of the small cases."""
    return BraTSFormat(str(small_cohort)).cohort().where(lambda case: case.id < "Small_00003")


@pytest.fixture
def store(tmp_path):
    return FeatureStore(tmp_path / "store")


def same(one: Embeddings, other: Embeddings) -> bool:
    return one.ids == other.ids and np.array_equal(one.vectors, other.vectors)


# Ways to say what is wanted


def test_a_name_a_node_and_an_object_are_one_choice(cohort, store):
    catalog = Catalog()
    named = embed(cohort, "voxels", pooling="gem", inferer="sliding", store=store)
    nodes = [
        catalog.node(group, name) for group, name in (("encoder", "voxels"), ("pooling", "gem"), ("inferer", "sliding"))
    ]
    by_node = embed(cohort, nodes[0], pooling=nodes[1], inferer=nodes[2], store=store)
    objects = embed(
        cohort, VoxelEncoder(), pooling=partial(poolings.gem, p=3.0, eps=1e-6), inferer=Sliding(), store=store
    )
    assert same(named, by_node) and same(named, objects)
    assert by_node.scanned.stored == objects.scanned.stored == 3, "all three have one place in the store"


def test_the_store_may_be_a_folder_and_is_that_of_the_cache_by_default(cohort, tmp_path, monkeypatch):
    monkeypatch.setenv("NEUROPRINT_CACHE", str(tmp_path / "cache"))
    by_default = embed(cohort, Blocks())
    assert (tmp_path / "cache" / "store" / "features").is_dir()
    elsewhere = embed(cohort, Blocks(), store=tmp_path / "elsewhere")
    assert (tmp_path / "elsewhere" / "features").is_dir()
    assert same(by_default, elsewhere) and elsewhere.store.root == tmp_path / "elsewhere"


def test_voxels_are_compared_by_euclidean_distance_and_all_others_by_cosine(cohort, store):
    voxels = embed(cohort, "voxels", store=store)
    assert voxels.similarity == "euclidean"
    assert voxels.vectors.shape == (3, 4 * 16 * 16 * 10)
    assert embed(cohort, Blocks(), store=store).similarity == "cosine"
    assert embed(cohort, CombinedEncoder({"a": Blocks(), "b": VoxelEncoder()}), store=store).similarity == "cosine"


def test_the_name_says_level_pooling_and_random_weights(cohort, store):
    assert embed(cohort, Blocks(), store=store).name == "coarse · mean"
    assert embed(cohort, Blocks(), ["fine", 1], "max", store=store).name == "fine+coarse · max"
    assert embed(cohort, Blocks(trained=False), store=store).name == "untrained · coarse · mean"


def test_another_level_or_pooling_reads_no_scan(cohort, store):
    encoder = Blocks()
    first = embed(cohort, encoder, store=store)
    assert (first.scanned.forwards, first.scanned.stored) == (3, 0) and first.scanned.seconds > 0
    other = embed(cohort, encoder, "fine", "spatial_softmax", store=store)
    assert (other.scanned.forwards, other.scanned.stored, encoder.forwards) == (0, 3, 3)


def test_a_combination_joins_what_its_encoders_give_alone(cohort, store):
    one, other = Blocks(), Blocks(2.0)
    alone = [embed(cohort, encoder, store=store) for encoder in (one, other)]
    both = embed(cohort, CombinedEncoder({"a": one, "b": other}), store=store)
    for row, case in enumerate(both.ids):
        expected = join([vectors.rows([case])[0] for vectors in alone])
        np.testing.assert_array_equal(both.vectors[row], expected)
    assert (both.scanned.forwards, both.scanned.stored) == (0, 3)


def test_what_was_measured_on_the_scans_is_handed_over(cohort, store):
    found = embed(cohort, Blocks(), store=store)
    assert set(found.scanned.facts) == set(found.scanned.voxels) == set(found.ids)
    assert scan(found) is found.scanned
    voxels = embed(cohort, "voxels", store=store)
    for case in found.ids:
        np.testing.assert_array_equal(found.scanned.voxels[case], voxels.rows([case])[0])


def test_scans_of_embeddings_from_elsewhere_are_read_when_they_are_asked_for(cohort, store):
    made = Embeddings(cohort, np.eye(3), store=store)
    read = scan(made)
    expected = embed(cohort, "voxels", store=store)
    assert set(read.facts) == set(made.ids)
    np.testing.assert_array_equal(read.voxels[made.ids[0]], expected.vectors[0])


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        ({"encoder": "voxel"}, "encoder=voxel: there is no such choice. Did you mean voxels?"),
        ({"pooling": "meen"}, "pooling=meen: there is no such choice. Did you mean mean?"),
        ({"inferer": "windowed"}, "inferer=windowed"),
        ({"encoder": Blocks(), "layer": "deep"}, r"layer=deep: this encoder has the levels 0 \(fine\), 1 \(coarse\)"),
        ({"encoder": "segresnet_brats"}, "encoder.monai_bundle is missing"),
    ],
)
def test_a_choice_that_does_not_exist_is_refused_before_a_scan_is_read(choices, said, cohort, store):
    with pytest.raises(NeuroprintError, match=said):
        embed(cohort, store=store, **choices)
    assert not store.root.exists()


# Poolings that fail


def raises_on_the_first_case(features, brain):
    """A pooling that fails on the one map whose sum is known."""
    if float(features.sum()) == FAILING["features"]:
        raise ZeroDivisionError("nothing\nto divide by")
    return features.mean((1, 2, 3))


def gives_nan(features, brain):
    return features.mean((1, 2, 3)) * float("nan")


FAILING: dict[str, float] = {}


@pytest.fixture
def failing(cohort, tmp_path, monkeypatch):
    """The pooling that fails on the cohort's first case and on no other."""
    seen = []

    def look(features, brain):
        seen.append(float(features.sum()))
        return features.mean((1, 2, 3))

    recipe = _recipe(Blocks(), "mean", {"look": look})
    first = cohort.where(lambda case: case.id == cohort.cases[0].id)
    embed_by(recipe, first, FeatureStore(tmp_path / "look"))
    monkeypatch.setitem(FAILING, "features", seen[-1])
    return raises_on_the_first_case


def _recipe(encoder, pooling, also=None) -> Recipe:
    part = Catalog().part
    return Recipe.of(part("encoder", encoder), None, part("pooling", pooling), part("inferer", Whole()), also=also)


def test_a_pooling_that_raises_loses_its_own_vectors_and_no_others(cohort, store, failing, caplog):
    first, *others = (case.id for case in cohort.cases)
    with caplog.at_level(logging.WARNING):
        found = embed(cohort, Blocks(), pooling=failing, store=store)
    assert found.ids == tuple(others)
    assert list(found.excluded) == [first]
    reason = found.excluded[first]
    assert "raises_on_the_first_case#" in reason and "ZeroDivisionError: nothing to divide by" in reason
    assert "\n" not in reason and caplog.text.count(f"case {first}") == 1
    mean = embed(cohort, Blocks(), pooling="mean", store=store)
    assert mean.ids == (first, *others) and mean.scanned.forwards == 0


def test_a_pooling_that_raises_but_is_not_asked_for_does_no_harm(cohort, store, failing):
    undisturbed = embed(cohort, Blocks(), store=FeatureStore(store.root / "other"))
    encoder = Blocks()
    found = embed_by(_recipe(encoder, "mean", {"fails": failing, "nan": gives_nan}), cohort, store, "cpu")
    assert same(found, undisturbed) and not found.excluded
    assert encoder.forwards == 3


def test_vectors_that_are_not_finite_leave_the_case_out(cohort, store):
    with pytest.raises(NeuroprintError, match=r"none of the 3 cases can be embedded \(Small_00000: NaN or infinite"):
        embed(cohort, Blocks(), pooling=gives_nan, store=store)
    assert len(embed(cohort, Blocks(), store=store)) == 3


def test_a_strict_cohort_stops_at_a_pooling_that_raises(cohort, store, failing):
    with pytest.raises(CaseError, match=r"Small_00000.*ZeroDivisionError"):
        embed(replace(cohort, strict=True), Blocks(), pooling=failing, store=store)


# Cases that cannot be used


@pytest.fixture
def torn(cohort, tmp_path):
    """The cohort; the t2 image of its second case cannot be read."""
    case = cohort.cases[1]
    file = tmp_path / "torn.nii.gz"
    file.write_bytes(case.images["t2"].path.read_bytes()[:2000])
    images = {**case.images, "t2": replace(case.images["t2"], path=file)}
    return replace(cohort, cases=(cohort.cases[0], replace(case, images=images), cohort.cases[2]))


def reads(monkeypatch) -> list[str]:
    """The ids of cases whose scans are read from now on."""
    from neuroprint.embedding import reading

    found, read = [], reading.read_volume
    monkeypatch.setattr(
        reading, "read_volume", lambda case, *given, **named: found.append(case.id) or read(case, *given, **named)
    )
    return found


def test_a_scan_that_cannot_be_read_is_tried_once_a_store(torn, store, monkeypatch, caplog):
    read = reads(monkeypatch)
    for pooling in ("mean", "max"):
        found = embed(torn, Blocks(), pooling=pooling, store=store)
        assert list(found.excluded) == ["Small_00001"] and "torn.nii.gz" in found.excluded["Small_00001"]
    assert read.count("Small_00001") == 1 and caplog.text.count("case Small_00001") == 1
    embed(torn, Blocks(), store=FeatureStore(store.root))
    assert read.count("Small_00001") == 2, "another process, or another store, looks again"


def test_a_case_without_the_vectors_of_one_pooling_is_asked_for_those_of_another(cohort, store, failing, monkeypatch):
    read = reads(monkeypatch)
    for _ in range(2):
        assert "Small_00000" in embed(cohort, Blocks(), pooling=failing, store=store).excluded
    assert len(read) == 3, "what failed is not tried again"
    assert not embed(cohort, Blocks(), pooling="mean", store=store).excluded


def test_of_other_encoders_nothing_is_known(torn, store):
    """A case without t2 can be embedded by a network that does not read it."""
    missing = replace(torn.cases[1], images={name: file for name, file in torn.cases[1].images.items() if name != "t2"})
    cohort = replace(torn, cases=(torn.cases[0], missing, torn.cases[2]))

    class Flair(Blocks):
        input = InputSpec(("flair",), spacing_mm=6.0, divisor=4)
        levels = tuple(replace(level, channels=1) for level in Blocks.levels)

    recipe = _recipe(Blocks(), "mean")
    assert "has no t2 image" in embed_by(recipe, cohort, store, "cpu").excluded["Small_00001"]
    flair = Flair()
    extracted = embed_flair(flair, cohort, store)
    assert set(extracted) == {case.id for case in cohort.cases}


def embed_flair(encoder, cohort, store):
    """Its vectors alone, without the voxels that compare every modality."""
    from neuroprint.embedding.extraction import Extract

    return Extract(store, "cpu")(cohort, _recipe(encoder, "mean").requests(cohort.modalities)).embeddings[0]


def test_a_strict_cohort_stops_at_the_first_case_that_cannot_be_read(torn, store):
    embed(torn, Blocks(), store=store)
    with pytest.raises(CaseError, match="Small_00001"):
        embed(replace(torn, strict=True), Blocks(), store=store)


@pytest.mark.parametrize(
    ("levels", "said"),
    [
        (
            tuple(replace(level, channels=3) for level in Blocks.levels),
            "level fine gives .*says that it has 3 channels",
        ),
        (tuple(replace(level, stride=4) for level in Blocks.levels), "level fine gives .* at a stride of 4"),
        (Blocks.levels[:1], "gives 2 maps for its 1 levels"),
    ],
)
def test_maps_that_are_not_what_the_levels_say_are_refused(levels, said, torn, store):
    wrong = Blocks()
    wrong.levels, wrong.load = levels, Blocks().load
    with pytest.raises(NeuroprintError, match=said):
        embed(torn, wrong, levels[0].name, store=store, device="cpu")


def test_an_encoder_without_a_member_is_refused_by_name(torn, store):
    class Half:
        levels, input = Blocks.levels, Blocks.input

    with pytest.raises(
        NeuroprintError, match=r"Half has no trained, default_level, identity, load: .*docs/extending\.md"
    ):
        embed(torn, Half(), store=store)


def test_features_of_a_class_are_not_those_of_another_or_of_its_changed_file(torn, store, tmp_path, monkeypatch):
    """Of an encoder that is not neuroprint's own the file of its class is part of what its features depend on."""
    source = """
from neuroprint.encoders.base import InputSpec, Level

class Mine:
    trained = True
    default_level = "only"
    levels = (Level("only", 4, 1),)
    input = InputSpec((), spacing_mm=12.0)
    identity = {"network": "mine"}

    def load(self, device):
        return lambda batch: [batch * FACTOR]
"""
    monkeypatch.syspath_prepend(str(tmp_path))
    found = []
    for factor in (1, 3):
        (tmp_path / f"my_file{factor}.py").write_text(source.replace("FACTOR", str(factor)), encoding="utf-8")
        mine = importlib.import_module(f"my_file{factor}").Mine
        embeddings = embed(torn, mine(), pooling="max", store=store)
        found.append(embeddings.rows(embeddings.ids))
    np.testing.assert_allclose(found[1], 3 * found[0], rtol=1e-5)


def test_a_class_without_a_file_is_known_by_its_methods_and_not_by_what_it_has_of_pythons():
    """As in a notebook, whose cells are no files."""
    import linecache
    from abc import ABC

    def written(factor):
        name, text = f"<cell {factor}>", f"class Mine(ABC):\n    def load(self, device):\n        return {factor}\n"
        linecache.cache[name] = (len(text), None, text.splitlines(True), name)
        scope = {"ABC": ABC, "__name__": "__main__"}
        exec(compile(text, name, "exec"), scope)
        return class_code(scope["Mine"])

    (one,), (other,) = (found.values() for found in (written(1), written(2)))
    assert one["source"] and one["source"] != other["source"]
    assert written(1) == written(1)

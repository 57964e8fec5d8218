"""A network of one channel on cases of several series: each by itself, then joined or averaged."""

from dataclasses import replace

import numpy as np
import pytest

import neuroprint as npr
from neuroprint.bundle.embedder import Embedder, write_embedder
from neuroprint.catalog.menu import Catalog
from neuroprint.data.measure import measure
from neuroprint.data.volume import read_volume
from neuroprint.embedding.shares import average, join
from neuroprint.encoders.base import InputSpec
from neuroprint.errors import NeuroprintError

SERIES = ("flair", "t1", "t1ce", "t2")
SWIN = {
    "_target_": "neuroprint.encoders.swin_unetr.SwinUNETREncoder",
    "modalities": list(SERIES),
    "feature_size": 12,
    "spacing_mm": 6.0,
}
DEEPBET = {"_target_": "neuroprint.encoders.deepbet.DeepbetEncoder", "spacing_mm": 3.0}
BOTH = {"_target_": "neuroprint.encoders.combined.CombinedEncoder", "encoders": {"a": DEEPBET, "b": SWIN}}


@pytest.fixture(scope="module")
def cohort():
    return npr.load_cohort("phantom", cases=3, spacing_mm=8.0)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("features")


@pytest.fixture(scope="module")
def embed(cohort, store):
    def run(encoder, per_series=None, **choices):
        node = encoder if per_series is None else {**encoder, "per_series": per_series}
        return npr.embed(cohort, node, store=store, device="cpu", **{"layer": 1, **choices})

    return run


def rows(embeddings):
    return embeddings.rows([case.id for case in embeddings.cohort.cases])


@pytest.mark.parametrize("encoder", [SWIN, DEEPBET], ids=["swin", "deepbet"])
@pytest.mark.parametrize("pooling", ["mean", "spatial_softmax", "covariance"])
def test_series_are_joined_or_averaged_in_order(embed, encoder, pooling):
    alone = [rows(embed(encoder, [series], pooling=pooling)) for series in SERIES]
    joined, averaged = (rows(embed(encoder, how, pooling=pooling)) for how in ("concat", "mean"))
    for place in range(3):
        of_case = [series[place] for series in alone]
        np.testing.assert_array_equal(joined[place], join(of_case))
        np.testing.assert_array_equal(averaged[place], average(of_case))
    assert not np.allclose(alone[0], alone[1])
    np.testing.assert_array_equal(
        rows(embed(encoder, ["t2", "t1"], pooling=pooling))[0], join([alone[3][0], alone[1][0]])
    )


def test_what_is_stored_serves_every_way_of_asking(embed):
    embed(SWIN, "concat")
    for how in ("mean", ["t1"], ["t2", "flair"]):
        assert embed(SWIN, how).scanned.forwards == 0
    assert embed(SWIN).scanned.forwards == 3  # one network of four channels is another


def test_a_series_is_normalized_by_itself(cohort):
    """What a network sees of one series does not hang on the others."""
    recipe = npr.embed(cohort, {**SWIN, "per_series": "concat"}, device="cpu").recipe
    volume = read_volume(cohort.cases[0], SERIES)
    box = measure(read_volume(cohort.cases[0], SERIES, label=True), cohort.cases[0].label_convention).brain_box
    changed = replace(volume, images=[volume.images[0] * 0 + 1, *volume.images[1:]])
    for place, request in enumerate(recipe.requests(SERIES)):
        one, other = (request.extractor.prepare(scan, box) for scan in (volume, changed))
        assert one.image.shape[0] == 1
        assert np.array_equal(one.image, other.image) == (place != 0)


def test_each_encoder_of_a_combination_has_the_same_say(embed):
    found = rows(embed(BOTH))[0]
    parts = rows(embed(DEEPBET))[0], rows(embed(SWIN))[0]
    np.testing.assert_array_equal(found, join(parts))
    assert np.linalg.norm(found[: len(parts[0])]) == pytest.approx(1, rel=1e-5)


def test_a_series_that_the_cohort_lacks_is_named(embed):
    with pytest.raises(NeuroprintError, match=r"needs the modalities t1, dwi; .*encoder\.per_series=\[\.\.\.\]"):
        embed(SWIN, ["t1", "dwi"])


def test_all_series_of_the_cohort_in_alphabetical_order_where_none_is_named():
    assert InputSpec((), per_series="mean").for_cohort(("t2", "t1")) == ("t1", "t2")
    assert InputSpec(("t2", "t1"), per_series="concat").for_cohort(SERIES) == ("t2", "t1")


def test_weights_of_several_channels_are_refused(cohort, tmp_path):
    phantom = Catalog().node("encoder", "swin_unetr_phantom")
    with pytest.raises(NeuroprintError, match="another shape"):
        npr.embed(cohort, {**phantom, "per_series": "concat"}, store=tmp_path, device="cpu")


@pytest.mark.parametrize("how", ["concat", "mean", ["t1"]])
@pytest.mark.parametrize("encoder", [DEEPBET, BOTH], ids=["alone", "combined"])
def test_a_bundle_embeds_a_scan_as_the_cohort_was(embed, cohort, tmp_path, encoder, how):
    asked = {**DEEPBET, "per_series": how}
    node = asked if encoder is DEEPBET else {**BOTH, "encoders": {"a": asked, "b": SWIN}}
    embeddings = embed(node)
    write_embedder(tmp_path, embeddings.recipe, cohort.modalities)
    case = cohort.cases[1]
    volume = read_volume(case, SERIES, label=True)
    found = Embedder(tmp_path)(case.id, volume, measure(volume, case.label_convention))
    np.testing.assert_allclose(found, embeddings.rows([case.id])[0], rtol=1e-4, atol=1e-5)


def test_the_untrained_twin_is_asked_alike(embed):
    twin = embed(DEEPBET, "mean").recipe.untrained()
    assert twin.encoder.made.input.per_series == "mean"
    assert not twin.trained
    assert len(twin.requests(SERIES)) == 4


def test_a_network_is_in_memory_once_for_all_series(embed):
    networks = {request.extractor.network for request in embed(DEEPBET).recipe.requests(SERIES)}
    assert len(networks) == 1


def test_vectors_of_zeros_stay_zeros():
    zeros, ones = np.zeros(2, np.float32), np.ones(2, np.float32)
    np.testing.assert_allclose(join([zeros, ones]), [0, 0, 0.5**0.5, 0.5**0.5])
    np.testing.assert_allclose(average([zeros, zeros]), 0)

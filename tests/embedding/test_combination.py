"""Joined vectors give every encoder the same say."""

import numpy as np
import pytest
from neuroprint.data.case_digests import fingerprint_cohort
from neuroprint.embedding.combination import join

from neuroprint.data.digests import FingerprintCache
from neuroprint.data.formats.brats import find_brats
from neuroprint.embedding import poolings
from neuroprint.embedding.extraction import Extract, Request
from neuroprint.embedding.extractor import Extractor
from neuroprint.embedding.inferers import Whole
from neuroprint.embedding.store import FeatureStore
from neuroprint.encoders.base import InputSpec, Level
from neuroprint.encoders.combined import CombinedEncoder, View, find_views
from neuroprint.encoders.swin_unetr import SwinUNETREncoder
from neuroprint.encoders.voxels import VoxelEncoder
from neuroprint.errors import NeuroprintError

MODALITIES = ("flair", "t1", "t1ce", "t2")


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


def requests_for(encoder, layer=None):
    menu = {"mean_std": poolings.mean_std}
    return [
        Request(
            Extractor(view.encoder, view.encoder.input.for_cohort(MODALITIES), Whole(), "fp32", menu),
            view.levels,
            "mean_std",
        )
        for view in find_views(encoder, layer)
    ]


def test_each_encoder_passes_once_and_shares_with_runs_of_it_alone(tmp_path, small_cohort):
    cohort = find_brats(small_cohort)
    prints, _ = fingerprint_cohort(cohort, FingerprintCache(tmp_path / "prints.sqlite"))
    cases = cohort.cases[:3]

    def extract(encoder):
        return Extract(FeatureStore(tmp_path / "store"), "cpu")(cases, prints, requests_for(encoder))

    first, second = Counting(1.0), Counting(2.0)
    (alone,) = extract(first).embeddings
    both = extract(CombinedEncoder({"b": second, "a": first}))
    assert (first.forwards, second.forwards) == (3, 3)
    assert (both.forwards, both.cached) == ([0, 3], [3, 0])  # in the order of the names
    for case in cases:
        np.testing.assert_array_equal(both.embeddings[0][case.id], alone[case.id])
        np.testing.assert_allclose(both.embeddings[1][case.id], 2 * alone[case.id], rtol=1e-5)
        unit = alone[case.id] / np.linalg.norm(alone[case.id])
        joined = join([found[case.id] for found in both.embeddings])
        np.testing.assert_allclose(joined, np.concatenate([unit, unit]), rtol=1e-5)
    assert extract(second).cached == [3]


SWIN, VOXELS = SwinUNETREncoder(MODALITIES, feature_size=12), VoxelEncoder()


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (None, ("stage4",)),
        (2, ("stage2",)),
        (0, ("patch_embedding",)),
        ([3, "encoder10"], ("stage3", "encoder10")),
        ("voxels", ("stage4",)),
    ],
)
def test_each_encoder_gives_the_levels_it_has_or_its_default(layer, expected):
    views = find_views(CombinedEncoder({"a": SWIN, "b": VOXELS}), layer)
    assert views == (View(SWIN, expected), View(VOXELS, ("voxels",)))


def test_a_level_that_no_encoder_has_is_refused():
    with pytest.raises(NeuroprintError, match=r"layer=9: these encoders have the levels .*stage4.*; 0 \(voxels\)"):
        find_views(CombinedEncoder({"a": SWIN, "b": VOXELS}), 9)


def test_a_combination_is_of_two_at_least_and_trained_if_all_are():
    with pytest.raises(NeuroprintError, match="at least two"):
        CombinedEncoder({"a": SWIN})
    assert not CombinedEncoder({"a": SWIN, "b": VOXELS}).trained
    assert CombinedEncoder({"a": VOXELS, "b": Counting(1)}).trained

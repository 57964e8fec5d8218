"""Encoders keep what they promise: levels, identities, and the network's own numbers."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from neuroprint.encoders.base import InputSpec, Level, find_levels
from neuroprint.encoders.swin_unetr import SwinUNETREncoder
from neuroprint.encoders.voxels import VoxelEncoder
from neuroprint.errors import NeuroprintError

MODALITIES = ("flair", "t1ce", "t1", "t2")
LEVELS = (Level("patch_embedding", 12, 2), Level("stage1", 24, 4), Level("stage2", 48, 8))


@pytest.fixture(scope="module")
def encoder():
    return SwinUNETREncoder(MODALITIES, feature_size=12)


def test_maps_have_the_promised_channels_and_strides(encoder, batch):
    with torch.inference_mode():
        maps = encoder.load("cpu")(batch)
    assert len(maps) == len(encoder.levels) == 6
    for level, features in zip(encoder.levels, maps, strict=True):
        assert features.shape == (1, level.channels, *(size // level.stride for size in batch.shape[2:]))


@pytest.mark.parametrize("layer_norm", [True, False])
def test_maps_are_those_of_monais_own_forward_pass(batch, layer_norm):
    """What is computed inside SwinUNETR.forward, without the fused attention, equals the encoder's maps."""
    from monai.networks.nets import SwinUNETR

    encoder = SwinUNETREncoder(MODALITIES, feature_size=12, layer_norm=layer_norm)
    torch.manual_seed(encoder.seed)
    plain = SwinUNETR(4, 3, feature_size=12, window_size=4, normalize=layer_norm).eval()
    seen = []
    plain.swinViT.register_forward_hook(lambda module, inputs, output: seen.extend(output))
    plain.encoder10.register_forward_hook(lambda module, inputs, output: seen.append(output))
    with torch.no_grad():
        plain(batch)
    with torch.inference_mode():
        maps = encoder.load("cpu")(batch)
    assert len(seen) == 6
    for expected, found in zip(seen, maps, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_random_weights_follow_from_the_seed_and_leave_torchs_own_alone(batch):
    def features(seed):
        return SwinUNETREncoder(MODALITIES, feature_size=12, seed=seed).load("cpu")(batch)[0]

    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    assert torch.equal(features(1), features(1))
    assert not torch.equal(features(1), features(2))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_identity_tells_architectures_and_weights_apart():
    base = SwinUNETREncoder(MODALITIES).identity
    assert SwinUNETREncoder(MODALITIES).identity == base
    for change in (
        {"seed": 1},
        {"feature_size": 48},
        {"window_size": 7},
        {"depths": (2, 2, 6, 2)},
        {"layer_norm": False},
    ):
        assert SwinUNETREncoder(MODALITIES, **change).identity != base


def test_the_bottleneck_is_the_default_though_encoder10_comes_after_it(encoder):
    assert encoder.default_level == "stage4" == encoder.levels[4].name
    assert [level.name for level in encoder.levels[5:]] == ["encoder10"]


def test_a_bottleneck_of_one_cell_leaves_encoder10_undefined_and_the_rest_whole(encoder):
    with torch.inference_mode():
        *maps, last = encoder.load("cpu")(torch.ones(1, 4, 32, 32, 32))
    assert last.shape == (1, 192, 1, 1, 1) and last.isnan().all()
    assert all(features.isfinite().all() for features in maps)


def test_the_whole_network_segments(encoder, batch):
    with torch.inference_mode():
        assert encoder.network("cpu")(batch).shape == (1, 3, 64, 32, 32)


@pytest.mark.parametrize("change", [{"crop": "head"}, {"normalization": "z"}])
def test_a_wish_that_preprocessing_does_not_know_is_refused(change):
    with pytest.raises(NeuroprintError, match=f"encoder.{next(iter(change))}=.*must be one of"):
        SwinUNETREncoder(MODALITIES, **change)


def test_random_weights_say_that_they_are_untrained():
    assert not SwinUNETREncoder(MODALITIES).trained


def test_a_feature_size_that_swin_cannot_split_is_refused():
    with pytest.raises(NeuroprintError, match="multiple of 12"):
        SwinUNETREncoder(MODALITIES, feature_size=32)


CHOICES = ("swin_unetr_phantom", "untrained", "voxels", "combined")


def test_what_an_encoder_says_of_itself_needs_no_torch():
    code = (
        "import sys; from neuroprint.catalog.menu import Catalog; from neuroprint.embedding.recipe import encoders_of; "
        "from neuroprint.encoders.base import describe; "
        f"parts = [Catalog().part('encoder', name).made for name in {CHOICES}]; "
        "told = [describe(encoder) for part in parts for encoder in encoders_of(part)]; "
        "print(len(told), 'torch' in sys.modules, 'monai' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["5", "False", "False"]


def test_voxels_are_cell_averages_and_their_distance_is_subtraction():
    image = torch.randn(1, 2, 16, 16, 10, generator=torch.Generator().manual_seed(1))
    (features,) = VoxelEncoder((8, 8, 5)).load("cpu")(image)
    assert features.shape == (1, 2 * 8 * 8 * 5, 1, 1, 1)
    blocks = image.numpy().reshape(2, 8, 2, 8, 2, 5, 2).mean(axis=(2, 4, 6))
    np.testing.assert_allclose(features.numpy().ravel(), blocks.ravel(), rtol=1e-4, atol=1e-6)
    assert VoxelEncoder().similarity == "euclidean"


@pytest.mark.parametrize(
    ("layer", "expected"), [(None, (1,)), (0, (0,)), ("stage1", (1,)), ("2", (2,)), ([2, "patch_embedding"], (2, 0))]
)
def test_levels_are_found_by_number_and_by_name(layer, expected):
    assert find_levels(LEVELS, layer, "stage1") == expected


@pytest.mark.parametrize("layer", [3, -1, "stage9", [], [1, "stage1"]])
def test_a_level_that_is_not_there_or_named_twice_is_refused(layer):
    with pytest.raises(NeuroprintError, match="layer="):
        find_levels(LEVELS, layer, "stage1")


def test_an_encoder_says_which_modalities_it_misses():
    with pytest.raises(NeuroprintError, match="t1ce"):
        InputSpec(MODALITIES).for_cohort(("flair", "t1", "t2"))


def test_an_encoder_without_wishes_takes_all_modalities():
    assert InputSpec(()).for_cohort(("t2", "flair")) == ("flair", "t2")

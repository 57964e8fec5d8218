"""BrainIAC's transformer gives the tokens of MONAI's own ViT, laid out as maps, on any grid of patches."""

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from neuroprint.encoders.brainiac import BrainIACEncoder
from neuroprint.encoders.twins import untrained_twin
from neuroprint.errors import NeuroprintError

SIZE = {"width": 48, "depth": 3, "heads": 4}


def published():
    """The authors' ``ViTBackboneNet.backbone``, small."""
    from monai.networks.nets import ViT

    torch.manual_seed(7)
    return ViT(
        in_channels=1,
        img_size=(96, 96, 96),
        patch_size=(16, 16, 16),
        hidden_size=48,
        mlp_dim=192,
        num_layers=3,
        num_heads=4,
        save_attn=True,
    ).eval()


def checkpoint(network, keep_unused=False):
    """As Lightning saves SimCLR; MONAI 1.3 has no norm of cross attention, later versions save it unused."""
    state = {
        f"backbone.{name}": value
        for name, value in network.state_dict().items()
        if keep_unused or "cross_attn" not in name
    }
    return {
        "epoch": 200,
        "global_step": 100000,
        "pytorch-lightning_version": "2.3.3",
        "state_dict": {**state, "projection_head.0.weight": torch.ones(8, 48), "projection_head.0.bias": torch.ones(8)},
        "loops": {"fit_loop": {"state_dict": {}}},
        "callbacks": {"ModelCheckpoint{'monitor': 'val_loss'}": {"best_model_score": torch.tensor(0.5)}},
        "optimizer_states": [{"state": {}, "param_groups": [{"lr": 1e-4}]}],
        "lr_schedulers": [],
        "hyper_parameters": {"lr": 1e-4},
    }


@pytest.fixture
def written(tmp_path):
    def write(content):
        torch.save(content, tmp_path / "BrainIAC.ckpt")
        return str(tmp_path / "BrainIAC.ckpt")

    return write


@pytest.mark.parametrize("keep_unused", [False, True])
def test_every_level_is_a_blocks_tokens_laid_out_as_a_map(written, keep_unused):
    network = published()
    encoder = BrainIACEncoder(written(checkpoint(network, keep_unused)), **SIZE)
    batch = torch.randn(2, 1, 96, 96, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        last, hidden = network(batch)
        found = encoder.load("cpu")(batch)
    assert [level.name for level in encoder.levels] == ["block1", "block2", "block3", "norm"]
    for level, ours, tokens in zip(encoder.levels, found, [*hidden, last], strict=True):
        assert ours.shape == (2, level.channels, 6, 6, 6) and level.stride == 16
        for place in range(216):  # token t is the patch (t // 36, t // 6 % 6, t % 6)
            torch.testing.assert_close(ours[:, :, place // 36, place // 6 % 6, place % 6], tokens[:, place])


def test_position_embeddings_are_stretched_over_another_grid(written):
    network = published()
    encoder = BrainIACEncoder(written(checkpoint(network)), **SIZE)
    batch = torch.randn(1, 1, 80, 112, 96, generator=torch.Generator().manual_seed(0))
    positions = network.patch_embedding.position_embeddings.detach()[0].T.reshape(48, 6, 6, 6).numpy()
    cells = np.meshgrid(*((np.arange(n) + 0.5) * 6 / n - 0.5 for n in (5, 7, 6)), indexing="ij")
    stretched = np.stack([map_coordinates(channel, cells, order=1, mode="nearest") for channel in positions])
    with torch.inference_mode():
        tokens = network.patch_embedding.patch_embeddings(batch) + torch.from_numpy(stretched)
        tokens = tokens.flatten(2).transpose(1, 2)
        for block in network.blocks:
            tokens = block(tokens)
        expected = network.norm(tokens).transpose(1, 2).reshape(1, 48, 5, 7, 6)
        found = encoder.load("cpu")(batch)[-1]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_the_published_size_is_vit_b():
    encoder = BrainIACEncoder(None, seed=0)
    assert len(encoder.levels) == 13 and {level.channels for level in encoder.levels} == {768}
    assert encoder.input.divisor == 16 and encoder.input.channels == 1


def test_the_identity_covers_size_and_weights_and_the_twin_is_drawn(written):
    encoder = BrainIACEncoder(written(checkpoint(published())), per_series=["t1"], spacing_mm=3, **SIZE)
    assert encoder.trained and len(encoder.identity["weights"]["sha256"]) == 64
    twin = untrained_twin(encoder)
    assert (twin.trained, twin.levels, twin.input) == (False, encoder.levels, encoder.input)
    assert twin.identity == BrainIACEncoder(None, seed=0, **SIZE).identity != BrainIACEncoder(None, seed=0).identity


def test_wrong_and_absent_files_are_named_in_one_line(written):
    path = written({"state_dict": {"backbone.conv1.weight": torch.ones(64, 1, 7, 7, 7)}})  # the first version's ResNet
    with pytest.raises(NeuroprintError, match=r"BrainIAC\.ckpt: these weights are not of this network") as refusal:
        BrainIACEncoder(path, **SIZE).load("cpu")
    assert "\n" not in str(refusal.value)
    with pytest.raises(NeuroprintError, match=r"weights is missing; get BrainIAC\.ckpt"):
        BrainIACEncoder(None)
    with pytest.raises(NeuroprintError, match="has one channel"):
        BrainIACEncoder(path, per_series=None)

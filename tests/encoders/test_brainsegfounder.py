"""BrainSegFounder's files, of both stages, give the maps that MONAI gave when they were trained."""

import pytest
import torch
from torch import nn

from neuroprint.encoders.brainsegfounder import BrainSegFounderEncoder
from neuroprint.encoders.swin_unetr import SwinUNETREncoder
from neuroprint.encoders.swin_unetr_brats21 import BraTS21SwinUNETREncoder
from neuroprint.encoders.twins import untrained_twin
from neuroprint.errors import NeuroprintError

MODALITIES = ("flair", "t1ce", "t1", "t2")
SIZE = {"feature_size": 12, "window_size": 7}


def merge_as_monai_did(self, x):
    """``PatchMerging.forward`` of MONAI 0.9 to 1.4."""
    x0 = x[:, 0::2, 0::2, 0::2, :]
    x1 = x[:, 1::2, 0::2, 0::2, :]
    x2 = x[:, 0::2, 1::2, 0::2, :]
    x3 = x[:, 0::2, 0::2, 1::2, :]
    x4 = x[:, 1::2, 0::2, 1::2, :]
    x5 = x[:, 0::2, 1::2, 0::2, :]
    x6 = x[:, 0::2, 0::2, 1::2, :]
    x7 = x[:, 1::2, 1::2, 1::2, :]
    return self.reduction(self.norm(torch.cat([x0, x1, x2, x3, x4, x5, x6, x7], -1)))


def network_of(channels, monkeypatch):
    """MONAI's SwinUNETR, merging as it did then."""
    from monai.networks.nets import SwinUNETR, swin_unetr

    monkeypatch.setattr(swin_unetr.PatchMerging, "forward", merge_as_monai_did)
    torch.manual_seed(3)
    return SwinUNETR(in_channels=channels, out_channels=3, **SIZE).eval()


def finetuned(network):
    """As Downstream/BraTS saves it."""
    return {"epoch": 199, "best_acc": 0.9, "state_dict": network.state_dict()}


def pretrained(network):
    """As pretraining saves an SSLHead from several GPUs."""
    state = {f"swinViT.{name}": value for name, value in network.swinViT.state_dict().items()}
    heads = {"rotation_head": nn.Linear(192, 4), "contrastive_head": nn.Linear(192, 512), "conv": nn.Conv3d(192, 96, 3)}
    state |= {f"{part}.{name}": value for part, head in heads.items() for name, value in head.state_dict().items()}
    return {
        "epoch": 99,
        "state_dict": {f"module.{name}": value for name, value in state.items()},
        "optimizer": torch.optim.AdamW(network.parameters()).state_dict(),
    }


def encoder_of(path, channels, **change):
    asked = {} if channels == 4 else {"modalities": (), "per_series": "concat"}
    return BrainSegFounderEncoder(**{"modalities": MODALITIES, "weights": str(path), **SIZE, **asked, **change})


@pytest.mark.parametrize("save", [finetuned, pretrained])
@pytest.mark.parametrize("channels", [4, 1])
def test_every_level_equals_the_map_of_that_time(save, channels, tmp_path, monkeypatch):
    network = network_of(channels, monkeypatch)
    torch.save(save(network), tmp_path / "weights.pt")
    batch = torch.randn(1, channels, 64, 32, 32, generator=torch.Generator().manual_seed(0))
    encoder = encoder_of(tmp_path / "weights.pt", channels)
    with torch.inference_mode():
        expected = network.swinViT(batch, True)
        *found, encoder10 = encoder.load("cpu")(batch)
    for level, ours, theirs in zip(encoder.levels, found, expected, strict=False):
        assert ours.shape == (1, level.channels, *(size // level.stride for size in batch.shape[2:]))
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)
    assert encoder10.isnan().all() == (save is pretrained)


def test_todays_merging_gives_other_maps_and_another_identity(tmp_path, monkeypatch):
    with monkeypatch.context() as then:
        network = network_of(4, then)
    torch.save(finetuned(network), tmp_path / "weights.pt")
    batch = torch.randn(1, 4, 64, 32, 32, generator=torch.Generator().manual_seed(0))
    old, new = (encoder_of(tmp_path / "weights.pt", 4, legacy_merging=legacy) for legacy in (True, False))
    with torch.inference_mode():
        one, other, expected = old.load("cpu")(batch), new.load("cpu")(batch), network.swinViT(batch, True)
    torch.testing.assert_close(one[0], other[0])
    for level in (1, 2, 3, 4):
        assert not torch.allclose(one[level], other[level], atol=0.1)
        torch.testing.assert_close(other[level], expected[level], rtol=1e-3, atol=1e-4)
    assert old.identity["legacy_merging"] and "legacy_merging" not in new.identity


def test_the_weights_of_brats21_are_merged_as_they_were_trained_and_so_is_the_twin(tmp_path):
    torch.save({}, tmp_path / "weights.pt")
    encoder = BraTS21SwinUNETREncoder(MODALITIES, str(tmp_path / "weights.pt"))
    twin = untrained_twin(encoder)
    assert encoder.architecture.legacy_merging and twin.architecture == encoder.architecture
    assert not SwinUNETREncoder(MODALITIES).architecture.legacy_merging


def test_wrong_and_absent_files_are_named(tmp_path):
    torch.save({"state_dict": nn.Conv3d(4, 2, 1).state_dict()}, tmp_path / "weights.pt")
    with pytest.raises(NeuroprintError, match="these weights are not of this network") as refusal:
        encoder_of(tmp_path / "weights.pt", 4).load("cpu")
    assert "\n" not in str(refusal.value)
    with pytest.raises(NeuroprintError, match=r"gone\.pt: there is no such file; get model_weights_BRATS-finetune\.pt"):
        encoder_of(tmp_path / "gone.pt", 4)

"""deepbet's encoder in plain PyTorch gives the maps of the published TorchScript."""

from importlib.metadata import PackageNotFoundError, distribution

import pytest
import torch

from neuroprint.encoders import deepbet
from neuroprint.encoders.deepbet import DeepbetEncoder
from neuroprint.errors import NeuroprintError

NETWORKS = ("model", "bbox_model")


@pytest.mark.parametrize("network", NETWORKS)
def test_every_level_equals_torchscripts_map(network):
    published = torch.jit.load(distribution("deepbet").locate_file(f"data/models/{network}.pt"), map_location="cpu")
    relu = getattr(published.conv, "2")  # traced as one, shared by all
    batch = torch.rand(1, 1, 96, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        stem = getattr(published.init, "1").forward(getattr(published.init, "0").forward(batch)).relu()
        expected = [stem]
        features = published.init.forward(relu, batch)
        for stage in ("down0", "down1", "down2", "down3"):
            features = getattr(published, stage).forward(relu, features)
            expected.append(features)
        found = DeepbetEncoder(network).load("cpu")(batch)
    assert len(found) == len(expected) == len(DeepbetEncoder.levels)
    for level, ours, theirs in zip(DeepbetEncoder.levels, found, expected, strict=True):
        assert ours.shape == (1, level.channels, *(size // level.stride for size in batch.shape[2:]))
        assert theirs.std() > 0.1
        assert (ours - theirs).abs().max() < 1e-5


def test_no_scale_of_the_intensities_shows():
    batch = torch.rand(1, 1, 64, 64, 64, generator=torch.Generator().manual_seed(0))
    batch[:, :, :8] = batch[:, :, -8:] = 0
    forward = DeepbetEncoder().load("cpu")
    with torch.inference_mode():
        for one, other in zip(forward(batch), forward(5 * batch), strict=True):
            torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-3)


def test_the_identity_tells_the_networks_and_random_weights_apart():
    identities = [str(encoder.identity) for encoder in (*map(DeepbetEncoder, NETWORKS), DeepbetEncoder(seed=0))]
    assert len(set(identities)) == 3
    twin = DeepbetEncoder(per_series="mean", spacing_mm=2).untrained()
    assert (twin.trained, twin.input.per_series, twin.input.spacing_mm) == (False, "mean", 2)
    assert twin.identity == DeepbetEncoder(seed=0).identity


def test_other_weights_than_the_known_ones_are_refused(monkeypatch, tmp_path):
    (tmp_path / "data" / "models").mkdir(parents=True)
    (tmp_path / "data" / "models" / "model.pt").write_bytes(b"other")

    class Elsewhere:
        def locate_file(self, name):
            return tmp_path / name

    monkeypatch.setattr(deepbet, "distribution", lambda name: Elsewhere())
    with pytest.raises(NeuroprintError, match=r"model\.pt: .*SHA-256"):
        DeepbetEncoder().load("cpu")
    with pytest.raises(NeuroprintError, match=r"bbox_model\.pt: there is no such file.*deepbet==1\.0\.2"):
        DeepbetEncoder("bbox_model")


def test_a_missing_package_is_named(monkeypatch):
    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(deepbet, "distribution", missing)
    with pytest.raises(NeuroprintError, match=r"pip install 'neuroprint\[deepbet\]'"):
        DeepbetEncoder()
    assert DeepbetEncoder(seed=0).load("cpu")  # random weights need no package


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"network": "other"}, "must be one of model, bbox_model"),
        ({"per_series": None}, "have one channel"),
        ({"per_series": "sum"}, "must be concat, mean, null"),
        ({"per_series": []}, "each once"),
        ({"per_series": ["t1", "t1"]}, "each once"),
    ],
)
def test_choices_that_do_not_fit_are_refused(choices, message):
    with pytest.raises(NeuroprintError, match=message):
        DeepbetEncoder(**choices)

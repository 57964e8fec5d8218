"""Weights come back as they were saved, into the network they are of, or not at all."""

import hashlib

import pytest
import torch

from neuroprint.data.digests import file_sha256
from neuroprint.encoders import checkpoints, weights_file
from neuroprint.encoders.checkpoints import load_weights, save_weights
from neuroprint.encoders.swin_unetr import SwinUNETREncoder, TrainedSwinUNETREncoder
from neuroprint.errors import NeuroprintError

MODALITIES = ("flair", "t1ce", "t1", "t2")


@pytest.fixture(scope="module")
def saved(small_swin, tmp_path_factory):
    """The small network's weights as safetensors, and their SHA-256."""
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    return path, save_weights(path, small_swin.state_dict(), {"trained_on": "nothing"})


def trained(weights, sha256=None, **change):
    return TrainedSwinUNETREncoder(MODALITIES, str(weights), sha256, **{"feature_size": 12, **change})


def test_weights_come_back_in_half_precision(saved, small_swin):
    path, sha256 = saved
    assert sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    found = load_weights(path, sha256)
    wanted = {name: value for name, value in small_swin.state_dict().items() if value.is_floating_point()}
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert found[name].dtype == torch.float32
        assert torch.equal(found[name], tensor.half().float())


def test_the_header_carries_the_metadata_and_the_file_is_half_the_size(saved, small_swin):
    from safetensors import safe_open

    path, _ = saved
    with safe_open(path, "pt") as file:
        assert file.metadata() == {"trained_on": "nothing"}
    numbers = sum(tensor.numel() for tensor in small_swin.state_dict().values() if tensor.is_floating_point())
    assert 2 * numbers < path.stat().st_size < 2.05 * numbers


def test_integers_stay_integers_and_views_and_shared_tensors_are_saved(tmp_path):
    matrix = torch.arange(6.0).reshape(2, 3)
    given = {"count": torch.tensor(3), "turned": matrix.T, "again": matrix, "tied": matrix}
    found = load_weights(tmp_path / "x.safetensors", save_weights(tmp_path / "x.safetensors", given, {}))
    assert found["count"].dtype == torch.int64
    for name, tensor in given.items():
        assert torch.equal(found[name], tensor)


def test_weights_beyond_half_precision_are_refused_and_leave_nothing(tmp_path):
    with pytest.raises(NeuroprintError, match=r"big.*not finite in float16"):
        save_weights(tmp_path / "x.safetensors", {"big": torch.tensor([1e6])}, {})
    assert not list(tmp_path.iterdir())


def test_a_trained_encoder_gives_the_maps_of_the_network_that_was_saved(saved, small_swin, batch):
    path, sha256 = saved
    encoder = trained(path, sha256)
    assert encoder.trained
    with torch.inference_mode():
        maps = encoder.load("cpu")(batch)
        expected = small_swin.swinViT(batch, True)
        logits = encoder.network("cpu")(batch)
        torch.testing.assert_close(logits, small_swin(batch), rtol=0.05, atol=0.02)
    for level, found, wanted in zip(encoder.levels, maps, expected, strict=False):
        assert found.shape[1] == level.channels
        torch.testing.assert_close(found, wanted, rtol=0.02, atol=0.02)


def test_the_identity_follows_the_files_content_and_the_architecture(saved, tmp_path):
    path, sha256 = saved
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(path.read_bytes())
    identity = trained(path, sha256).identity
    assert trained(copy).identity == identity  # computed from the file
    assert trained(path, layer_norm=False).identity != identity
    assert trained(path, sha256, window_size=7).identity != identity
    assert identity != SwinUNETREncoder(MODALITIES, feature_size=12).identity
    save_weights(copy, {"other": torch.zeros(1)}, {})
    assert trained(copy).identity != identity


def test_a_known_hash_is_an_identity_without_reading_the_file(saved, monkeypatch):
    path, sha256 = saved
    for module in (checkpoints, weights_file):
        monkeypatch.setattr(module, "file_sha256", None)
    assert trained(path, sha256.upper()).identity["weights"] == {"sha256": sha256}


def test_a_hash_that_is_not_known_is_computed_once_an_encoder(saved, monkeypatch):
    path, sha256 = saved
    hashed = []
    monkeypatch.setattr(weights_file, "file_sha256", lambda path: hashed.append(path) or file_sha256(path))
    encoder = trained(path)
    assert [encoder.identity["weights"], encoder.weights.sha256, encoder.identity["weights"]] == [
        {"sha256": sha256},
        sha256,
        {"sha256": sha256},
    ]
    assert hashed == [path]


def test_another_file_than_the_expected_one_is_refused(saved):
    path, sha256 = saved
    with pytest.raises(NeuroprintError, match=f"its SHA-256 is {sha256}, expected {'0' * 64}; restore") as refusal:
        trained(path, "0" * 64).load("cpu")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"nothing", lambda data: b""])
def test_torn_weights_are_refused_in_one_line(saved, tmp_path, damage):
    path, sha256 = saved
    torn = tmp_path / "torn.safetensors"
    torn.write_bytes(damage(path.read_bytes()))
    with pytest.raises(NeuroprintError, match=r"torn\.safetensors: cannot be read as safetensors") as refusal:
        trained(torn).load("cpu")
    assert "\n" not in str(refusal.value)
    with pytest.raises(NeuroprintError, match="torn, or not the expected file"):
        trained(torn, sha256).load("cpu")


def test_a_missing_file_is_said_before_anything_is_loaded(tmp_path):
    with pytest.raises(NeuroprintError, match="there is no such file; restore"):
        trained(tmp_path / "gone.safetensors")
    with pytest.raises(NeuroprintError, match=r"encoder\.weights=gone\.safetensors: there is no such file; restore"):
        trained("gone.safetensors")
    with pytest.raises(NeuroprintError, match=r"gone\.safetensors: cannot be read"):
        load_weights(tmp_path / "gone.safetensors", None)


def test_the_packages_weights_that_are_missing_are_reinstalled(tmp_path, monkeypatch):
    monkeypatch.setattr(weights_file, "PRETRAINED", tmp_path)
    monkeypatch.setattr(checkpoints, "PRETRAINED", tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NeuroprintError, match="there is no such file; reinstall neuroprint"):
        trained(checkpoints.PACKAGED[0])


def test_a_file_in_the_working_folder_comes_before_the_packages_unless_it_is_another(saved, tmp_path, monkeypatch):
    path, sha256 = saved
    (tmp_path / "package").mkdir()
    monkeypatch.setattr(weights_file, "PRETRAINED", tmp_path / "package")
    monkeypatch.chdir(tmp_path)
    packaged = tmp_path / "package" / "x.safetensors"
    packaged.write_bytes(path.read_bytes())
    assert trained("x.safetensors").weights.path == packaged
    own = save_weights(tmp_path / "x.safetensors", {"own": torch.zeros(1)}, {})
    assert trained("x.safetensors").weights.sha256 == own
    assert trained("x.safetensors", own).weights.path.resolve() == tmp_path / "x.safetensors"
    assert trained("x.safetensors", sha256).weights.path == packaged


def test_weights_of_another_architecture_are_refused_and_listed_in_short(saved):
    path, _ = saved
    with pytest.raises(NeuroprintError, match=r"of another shape: .* instead of .* and \d+ more") as refusal:
        trained(path, feature_size=24).load("cpu")
    assert len(str(refusal.value)) < 1000

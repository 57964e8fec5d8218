"""Any network's sub-modules are levels, and what cannot be one is said before a scan is read."""

import pytest
import torch
from torch import nn

from neuroprint.catalog.menu import Catalog
from neuroprint.encoders.checkpoints import save_weights
from neuroprint.encoders.module import ModuleEncoder
from neuroprint.encoders.taps import measure_levels, tap
from neuroprint.encoders.twins import untrained_twin
from neuroprint.errors import NeuroprintError

UNET = {"_target_": "monai.networks.nets.BasicUNet", "in_channels": 2, "features": [4, 4, 8, 8, 16, 4]}
LEVELS = ["conv_0", "down_1", "down_2"]


def unet(levels=LEVELS, **change):
    return ModuleEncoder(**{"network": UNET, "levels": levels, "modalities": ["t1", "t2"], "divisor": 16, **change})


@pytest.fixture
def image():
    return torch.randn(1, 2, 32, 16, 16, generator=torch.Generator().manual_seed(2))


def test_maps_are_those_of_a_manual_forward_pass(image):
    from monai.networks.nets import BasicUNet

    encoder = unet(seed=4)
    torch.manual_seed(4)
    network = BasicUNet(in_channels=2, features=(4, 4, 8, 8, 16, 4)).eval()
    with torch.no_grad():
        first = network.conv_0(image)
        second = network.down_1(first)
        third = network.down_2(second)
    for _ in range(2):  # nothing is left over from one scan to the next
        for found, expected in zip(encoder.load("cpu")(image), (first, second, third), strict=True):
            assert torch.equal(found, expected)


def test_channels_and_strides_are_measured():
    levels = unet().levels
    assert [(level.name, level.channels, level.stride) for level in levels] == [
        ("conv_0", 4, 1),
        ("down_1", 4, 2),
        ("down_2", 8, 4),
    ]
    assert unet().default_level == "down_2"


def test_levels_keep_their_order_and_may_lie_anywhere(image):
    maps = unet(["upcat_1", "down_1.convs.conv_1", "conv_0"]).load("cpu")(image)
    assert [tuple(features.shape[1:]) for features in maps] == [(4, 32, 16, 16), (4, 16, 8, 8), (4, 32, 16, 16)]


def test_what_comes_after_the_last_level_is_not_run(image):
    network = nn.Sequential(nn.Conv3d(2, 3, 1), nn.Conv3d(3, 3, 1), nn.Conv3d(3, 3, 1))
    ran = []
    network[2].register_forward_hook(lambda *_: ran.append(True))
    tap(network, ["0", "1"])(image)
    assert not ran


def test_a_map_is_not_changed_by_what_comes_after_it(image):
    network = nn.Sequential(nn.Conv3d(2, 3, 1), nn.ReLU(inplace=True), nn.Conv3d(3, 3, 1)).eval()
    with torch.no_grad():
        expected = network[0](image)
        found, _ = tap(network, ["0", "2"])(image)
    assert expected.min() < 0 and torch.equal(found, expected)


def test_weights_are_loaded_strictly_and_make_the_encoder_trained(tmp_path, image):
    from monai.networks.nets import BasicUNet

    torch.manual_seed(9)
    network = BasicUNet(in_channels=2, features=(4, 4, 8, 8, 16, 4)).eval()
    torch.save(network.state_dict(), tmp_path / "unet.pt")
    save_weights(tmp_path / "unet.safetensors", network.state_dict(), {})
    with torch.no_grad():
        expected = network.conv_0(image)
    for name in ("unet.pt", "unet.safetensors"):
        encoder = unet(weights=str(tmp_path / name))
        assert encoder.trained and not unet().trained
        torch.testing.assert_close(encoder.load("cpu")(image)[0], expected, rtol=1e-2, atol=1e-2)
    torch.save(nn.Conv3d(2, 2, 1).state_dict(), tmp_path / "other.pt")
    with pytest.raises(NeuroprintError, match="these weights are not of this network"):
        unet(weights=str(tmp_path / "other.pt")).load("cpu")


def test_the_identity_covers_network_levels_and_weights(tmp_path):
    torch.save({}, tmp_path / "x.pt")
    base = unet().identity
    assert unet().identity == base
    changes = [
        {"seed": 1},
        {"network": {**UNET, "features": [4, 4, 8, 8, 16, 8]}},
        {"levels": LEVELS[::-1]},
        {"weights": str(tmp_path / "x.pt")},
    ]
    for change in changes:
        assert unet(**change).identity != base


def test_the_identity_follows_the_code_of_the_network(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    source = tmp_path / "my_networks.py"
    source.write_text("from torch import nn\n\nclass Mine(nn.Sequential):\n    pass\n")
    conv = {"_target_": "torch.nn.Conv3d", "in_channels": 2, "out_channels": 3, "kernel_size": 1}

    def identity():
        network = {"_target_": "my_networks.Mine", "_args_": [conv]}
        return ModuleEncoder(network, ["0"], ["t1", "t2"], 16).identity

    before = identity()
    assert before["code"].keys() == {"my_networks.Mine", "torch.nn.Conv3d"}
    assert before["code"]["torch.nn.Conv3d"]["version"] == torch.__version__.split("+")[0]
    assert identity() == before
    source.write_text(source.read_text() + "\n    scale = 2\n")
    assert identity() != before


def test_trained_weights_have_an_untrained_twin_of_the_same_network(tmp_path, image):
    torch.save({}, tmp_path / "x.pt")
    trained = unet(weights=str(tmp_path / "x.pt"), spacing_mm=2.0)
    twin = untrained_twin(trained)
    assert not twin.trained and (twin.input, twin.levels) == (trained.input, trained.levels)
    for found, expected in zip(twin.load("cpu")(image), unet(seed=0).load("cpu")(image), strict=True):
        assert torch.equal(found, expected)
    assert untrained_twin(unet()) is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"levels": ["dwn_1"]}, "no sub-module 'dwn_1'; similar: down_1"),
        ({"levels": ["xyz"]}, "no sub-module 'xyz'; it begins with conv_0, down_1"),
        ({"levels": [""]}, "no sub-module ''"),
        ({"levels": []}, "name at least one"),
        ({"levels": ["conv_0", "conv_0"]}, "each once"),
        ({"levels": ["conv_0", "down_4"], "divisor": 8}, "fails on an input|multiple of every level's stride"),
        ({"modalities": ["t1"]}, "are its channels those of encoder.modalities"),
        ({"divisor": 0}, "encoder.divisor=0: must be at least 1"),
        ({"network": {**UNET, "feetures": 3}}, "BasicUNet cannot be built: .*feetures"),
        (
            {"network": {"_target_": "torch.nn.Nothing"}},
            "encoder.network: torch.nn.Nothing cannot be found: torch.nn has no Nothing",
        ),
        ({"network": {"_target_": "fractions.Fraction"}}, "is no torch.nn.Module but Fraction"),
        ({"network": {}}, "encoder.network is missing"),
        ({"network": None}, "encoder.network is missing"),
    ],
)
def test_what_cannot_work_is_said_at_once_in_one_line(change, said):
    with pytest.raises(NeuroprintError, match=said) as refusal:
        unet(**change)
    assert "\n" not in str(refusal.value)


class Odd(nn.Module):
    """Sub-modules whose outputs are no feature maps."""

    def __init__(self):
        super().__init__()
        self.flat = nn.Flatten()
        self.pair = nn.LSTM(2, 2)
        self.thirds = nn.MaxPool3d(3)
        self.uneven = nn.MaxPool3d((2, 1, 1))
        self.idle = nn.Identity()

    def forward(self, batch):
        self.pair(batch[0, :, 0, 0].T)
        return self.flat(batch), self.thirds(batch), self.uneven(batch)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("flat", r"flat gives \(1, 16384\), not a feature map"),
        ("pair", "pair gives tuple, not a feature map"),
        ("thirds", r"thirds gives \(10, 5, 5\) cells of \(32, 16, 16\) voxels"),
        ("uneven", r"uneven gives \(16, 16, 16\) cells"),
        ("idle", "idle did not run"),
    ],
)
def test_an_output_that_is_no_feature_map_is_named(image, name, said):
    with pytest.raises(NeuroprintError, match=said):
        measure_levels(tap(Odd(), [name]), [name], image)


def test_the_decoders_last_level_is_what_the_default_encoders_network_segments():
    decoder, whole = (Catalog().part("encoder", f"swin_unetr_phantom{part}") for part in ("_decoder", ""))
    for key in ("modalities", "weights", "sha256", "spacing_mm", "normalization"):
        assert decoder.node[key] == whole.node[key]
    batch = torch.randn(1, 4, 32, 32, 64, generator=torch.Generator().manual_seed(0))
    *_, out = decoder.made.load("cpu")(batch)
    with torch.no_grad():
        segmented = whole.made.network("cpu")(batch)
    torch.testing.assert_close(out, segmented, rtol=1e-4, atol=1e-4)

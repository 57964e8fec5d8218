"""MedicalNet's ResNets: MONAI's network with its strides and dilations gives the maps of MedicalNet's own."""

import pytest
import torch
from torch import nn
from torch.nn.functional import avg_pool3d, pad

from neuroprint.encoders.medicalnet import MedicalNetEncoder
from neuroprint.encoders.twins import untrained_twin
from neuroprint.errors import NeuroprintError


class Block(nn.Module):
    """MedicalNet's BasicBlock and Bottleneck, of its models/resnet.py."""

    def __init__(self, inside, planes, stride, dilation, bottleneck, shortcut):
        super().__init__()
        out = planes * (4 if bottleneck else 1)
        wide = {"kernel_size": 3, "dilation": dilation, "padding": dilation, "bias": False}
        if bottleneck:
            convs = [
                nn.Conv3d(inside, planes, 1, bias=False),
                nn.Conv3d(planes, planes, stride=stride, **wide),
                nn.Conv3d(planes, out, 1, bias=False),
            ]
        else:
            convs = [nn.Conv3d(inside, planes, stride=stride, **wide), nn.Conv3d(planes, planes, **wide)]
        for number, conv in enumerate(convs, start=1):
            setattr(self, f"conv{number}", conv)
            setattr(self, f"bn{number}", nn.BatchNorm3d(conv.out_channels))
        self.count, self.stride, self.added = len(convs), stride, out - inside
        self.downsample = None
        if (stride != 1 or inside != out) and shortcut == "B":
            self.downsample = nn.Sequential(nn.Conv3d(inside, out, 1, stride, bias=False), nn.BatchNorm3d(out))

    def forward(self, x):
        residual = x
        if self.downsample is not None:
            residual = self.downsample(x)
        elif self.stride != 1 or self.added:
            residual = pad(avg_pool3d(x, 1, self.stride), (0, 0, 0, 0, 0, 0, 0, self.added))
        for number in range(1, self.count + 1):
            x = getattr(self, f"bn{number}")(getattr(self, f"conv{number}")(x))
            x = x.relu() if number < self.count else x
        return (x + residual).relu()


class Published(nn.Module):
    """MedicalNet's ResNet with its head of segmentation."""

    def __init__(self, bottleneck, layers, shortcut):
        super().__init__()
        self.conv1 = nn.Conv3d(1, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm3d(64)
        inside = 64
        for number, (planes, blocks, stride, dilation) in enumerate(
            zip((64, 128, 256, 512), layers, (1, 2, 1, 1), (1, 1, 2, 4), strict=True), start=1
        ):
            made = []
            for block in range(blocks):
                made.append(Block(inside, planes, stride if block == 0 else 1, dilation, bottleneck, shortcut))
                inside = planes * (4 if bottleneck else 1)
            setattr(self, f"layer{number}", nn.Sequential(*made))
        self.conv_seg = nn.Sequential(nn.ConvTranspose3d(inside, 32, 2, stride=2), nn.BatchNorm3d(32))

    def forward(self, x):
        maps = [self.bn1(self.conv1(x)).relu()]
        x = nn.functional.max_pool3d(maps[0], 3, 2, 1)
        for number in range(1, 5):
            x = getattr(self, f"layer{number}")(x)
            maps.append(x)
        return maps


KINDS = {10: (False, (1, 1, 1, 1), "B"), 18: (False, (2, 2, 2, 2), "A"), 50: (True, (3, 4, 6, 3), "B")}


@pytest.fixture(scope="module", params=KINDS)
def published(request, tmp_path_factory):
    """Depth, network and file, as MedicalNet's training saves it from two GPUs."""
    torch.manual_seed(request.param)
    network = Published(*KINDS[request.param]).eval()
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm3d):
            norm.running_mean.normal_(0, 0.1)
            norm.running_var.uniform_(0.5, 1.5)
    path = tmp_path_factory.mktemp("medicalnet") / f"resnet_{request.param}_23dataset.pth"
    torch.save({"state_dict": {f"module.{name}": value for name, value in network.state_dict().items()}}, path)
    yield request.param, network, path
    path.unlink()


def test_every_level_equals_the_published_networks_map(published):
    depth, network, path = published
    encoder = MedicalNetEncoder(str(path), depth)
    batch = torch.randn(1, 1, 24, 16, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected, found = network(batch), encoder.load("cpu")(batch)
    assert len(found) == len(expected) == len(encoder.levels)
    for level, ours, theirs in zip(encoder.levels, found, expected, strict=True):
        assert ours.shape == (1, level.channels, *(size // level.stride for size in batch.shape[2:]))
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4 * float(theirs.abs().max()))


def test_a_file_without_head_or_counters_or_prefix_gives_the_same_maps(published, tmp_path):
    depth, network, path = published
    bare = {
        name: value
        for name, value in network.state_dict().items()
        if not name.startswith("conv_seg") and not name.endswith("num_batches_tracked")
    }
    torch.save(bare, tmp_path / "bare.pth")
    batch = torch.randn(1, 1, 8, 8, 16, generator=torch.Generator().manual_seed(0))
    one, other = (MedicalNetEncoder(str(file), depth).load("cpu")(batch) for file in (path, tmp_path / "bare.pth"))
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(one, other, strict=True))


def test_weights_of_another_depth_are_refused_in_one_line(published):
    depth, _, path = published
    with pytest.raises(NeuroprintError, match="these weights are not of this network") as refusal:
        MedicalNetEncoder(str(path), 34 if depth != 50 else 101).load("cpu")
    assert "\n" not in str(refusal.value)


def test_the_identity_covers_depth_and_weights_and_the_twin_is_drawn(published):
    depth, _, path = published
    encoder = MedicalNetEncoder(str(path), depth, per_series="mean", spacing_mm=2)
    assert encoder.trained and len(encoder.identity["weights"]["sha256"]) == 64
    assert MedicalNetEncoder(str(path), 152).identity != encoder.identity
    twin = untrained_twin(encoder)
    assert (twin.trained, twin.depth, twin.input) == (False, depth, encoder.input)
    assert twin.identity == MedicalNetEncoder(None, depth, seed=0).identity


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        ({"weights": None}, r"encoder\.weights is missing; get resnet_50_23dataset\.pth"),
        ({"weights": "gone.pth"}, r"gone\.pth: there is no such file; get resnet_50_23dataset\.pth"),
        ({"depth": 20}, "depth=20: must be one of 10, 18"),
        ({"per_series": None}, "have one channel"),
    ],
)
def test_choices_that_do_not_fit_are_refused(choices, said):
    with pytest.raises(NeuroprintError, match=said):
        MedicalNetEncoder(**{"weights": None, "seed": None if "weights" in choices else 0, **choices})

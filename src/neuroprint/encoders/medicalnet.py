"""The 3-D ResNets that MedicalNet pretrained on segmentation of 23 datasets, MR and CT (Chen et al. 2019, arXiv:1904.00625).

github.com/Tencent/MedicalNet, huggingface.co/TencentMedicalNet; MIT license. MONAI has the same networks, and the weights fit
them, but not the same computation: MedicalNet's last two stages keep their resolution and dilate instead. They do so here.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from neuroprint.catalog.monai_import import import_monai
from neuroprint.encoders.base import Forward, InputSpec, Level, PerSeries
from neuroprint.encoders.weights_file import WeightsFile
from neuroprint.encoders.weights_fit import load_strictly
from neuroprint.errors import NeuroprintError

if TYPE_CHECKING:
    from torch import Tensor, nn

# By depth: the kind of block, blocks a stage, the kind of shortcut, as the table in MedicalNet's README has it.
_NETWORKS = {
    10: ("basic", (1, 1, 1, 1), "B"),
    18: ("basic", (2, 2, 2, 2), "A"),
    34: ("basic", (3, 4, 6, 3), "A"),
    50: ("bottleneck", (3, 4, 6, 3), "B"),
    101: ("bottleneck", (3, 4, 23, 3), "B"),
    152: ("bottleneck", (3, 8, 36, 3), "B"),
    200: ("bottleneck", (3, 24, 36, 3), "B"),
}
_WIDTHS = (64, 128, 256, 512)
_STRIDES = (4, 8, 8, 8)
_DILATED = {"layer3": 2, "layer4": 4}
_WHERE_TO_GET = (
    "get resnet_50_23dataset.pth, or another depth, from github.com/Tencent/MedicalNet or huggingface.co/TencentMedicalNet, "
    "and give encoder.weights=FILE"
)


class MedicalNetEncoder:
    """A ResNet of MedicalNet. Levels are the stem at half the resolution, and four stages at 1/4, 1/8, 1/8 and 1/8.

    MedicalNet resizes scans and z-scores them over what is not zero, as here; it then fills the background with noise, where
    zero stays here.

    Args:
        weights: As :class:`~neuroprint.encoders.weights_file.WeightsFile` takes them; None for random weights.
        depth: 10, 18, 34, 50, 101, 152 or 200: of the file.
        modalities: Series to look at; empty for all that the cohort has.
        per_series: See :class:`~neuroprint.encoders.base.InputSpec`.
        spacing_mm: Input voxel size; None keeps the scan's own grid.
        sha256: Of the file, which is then refused if it is another; None takes it as it is.
        cache: Folder for weights that are downloaded.
        seed: Random weights drawn by it in the place of the trained ones; None for the trained.

    Raises:
        NeuroprintError: There is no such depth, or no such file.

    Example:
        >>> [f"{level.name}: {level.channels} channels, 1/{level.stride}" for level in MedicalNetEncoder(None, seed=0).levels]
        ['stem: 64 channels, 1/2', 'stage1: 256 channels, 1/4', ..., 'stage4: 2048 channels, 1/8']
    """

    default_level = "stage4"

    def __init__(
        self,
        weights: str | None,
        depth: int = 50,
        modalities: Sequence[str] = (),
        per_series: PerSeries = "concat",
        spacing_mm: float | None = 1.0,
        sha256: str | None = None,
        cache: str = ".neuroprint/weights",
        seed: int | None = None,
    ) -> None:
        if depth not in _NETWORKS:
            raise NeuroprintError(f"encoder.depth={depth}: must be one of {', '.join(map(str, _NETWORKS))}")
        if not weights and seed is None:
            raise NeuroprintError(f"encoder.weights is missing; {_WHERE_TO_GET}")
        if per_series is None:
            raise NeuroprintError(
                "encoder.per_series=null: MedicalNet's networks have one channel: give concat, mean or [t1]"
            )
        self.depth, self.seed = depth, seed
        self.weights = WeightsFile(weights or "", sha256, cache, where_to_get=_WHERE_TO_GET) if seed is None else None
        self.input = InputSpec(tuple(modalities), spacing_mm, divisor=max(_STRIDES), per_series=per_series)

    @property
    def trained(self) -> bool:
        return self.weights is not None

    @property
    def levels(self) -> tuple[Level, ...]:
        widening = 4 if _NETWORKS[self.depth][0] == "bottleneck" else 1
        stages = zip(_WIDTHS, _STRIDES, strict=True)
        return (
            Level("stem", _WIDTHS[0], 2),
            *(Level(f"stage{n}", width * widening, stride) for n, (width, stride) in enumerate(stages, start=1)),
        )

    @cached_property
    def identity(self) -> dict[str, Any]:
        drawn = {"seed": self.seed, "monai": version("monai"), "torch": version("torch").split("+")[0]}
        weights = {"sha256": self.weights.sha256} if self.weights else drawn
        return {"network": "MedicalNet", "depth": self.depth, "weights": weights}

    def untrained(self) -> MedicalNetEncoder:
        """The same network and input on random weights of seed 0."""
        read = self.input
        return MedicalNetEncoder(None, self.depth, read.modalities, read.per_series, read.spacing_mm, seed=0)

    def load(self, device: str) -> Forward:
        """As :class:`~neuroprint.encoders.base.Encoder` says.

        Raises:
            NeuroprintError: The weights are not the expected ones, or not of this depth.
        """
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed or 0)
            network = _build(self.depth)
        stages = [f"layer{n}" for n in range(1, len(_WIDTHS) + 1)]
        if self.weights is not None:
            load_strictly(network, _with_counters(self.weights.load()), self.weights.source, ["conv1", "bn1", *stages])
        network.eval().requires_grad_(False).to(device)
        stem = torch.nn.Sequential(*(network.get_submodule(name) for name in ("conv1", "bn1", "act")))

        def forward(batch: Tensor) -> list[Tensor]:
            maps = [stem(batch)]
            features = network.get_submodule("maxpool")(maps[0])
            for stage in stages:
                features = network.get_submodule(stage)(features)
                maps.append(features)
            return maps

        return forward


def _build(depth: int) -> nn.Module:
    """MONAI's ResNet of that depth, with MedicalNet's strides and dilations."""
    import_monai()
    from monai.networks.nets.resnet import ResNet

    block, layers, shortcut = _NETWORKS[depth]
    network: nn.Module = ResNet(
        block,
        list(layers),
        list(_WIDTHS),
        n_input_channels=1,
        conv1_t_stride=2,
        shortcut_type=shortcut,
        bias_downsample=False,
        feed_forward=False,
    )
    for name, dilation in _DILATED.items():
        _dilate(network.get_submodule(name), dilation)
    return network


def _dilate(stage: nn.Module, dilation: int) -> None:
    """Keep the resolution in a stage, and see as far by dilation."""
    from torch import nn

    for conv in stage.modules():
        if isinstance(conv, nn.Conv3d):
            conv.stride = (1, 1, 1)
            if conv.kernel_size == (3, 3, 3):
                conv.dilation = conv.padding = (dilation, dilation, dilation)
    first: Any = stage.get_submodule("0")
    if isinstance(first.downsample, partial):  # a shortcut without weights
        first.downsample = partial(first.downsample.func, **{**first.downsample.keywords, "stride": 1})


def _with_counters(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights with a batch norm's counter of batches, which old files lack and nothing here needs."""
    import torch

    means = (name for name in weights if name.endswith(".running_mean"))
    counters = {name.removesuffix("running_mean") + "num_batches_tracked": torch.tensor(0) for name in means}
    return {**counters, **weights}

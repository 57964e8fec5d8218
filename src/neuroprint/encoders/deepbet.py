"""The encoder of deepbet's brain-extraction networks: trained on real scans, and at hand without a download.

Fisch et al., deepbet: Fast brain extraction of T1-weighted MRI using convolutional neural networks, Computers in Biology and
Medicine 179 (2024) 108845; github.com/wwu-mmll/deepbet, MIT license. A LinkNet whose encoder is a ResNet-18 in three
dimensions, trained on 7,837 T1 scans of adults, skull included.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from functools import cached_property
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuroprint.encoders.base import Forward, InputSpec, Level, PerSeries
from neuroprint.encoders.checkpoints import check_sha256
from neuroprint.encoders.weights_fit import load_strictly
from neuroprint.errors import NeuroprintError

if TYPE_CHECKING:
    from torch import Tensor, nn

# Of the two networks' files in deepbet 1.0.2.
_SHA256 = {
    "model": "de8ee7c69654d0dd3935dc4a5d84571d8ecf4637a6bfc01df399c4c2bc86e0fd",
    "bbox_model": "39a7b2b5f799faa1391ea97bfcdc0b9299f20d84f2316a4ff8918dc4685e40aa",
}
_WIDTHS = (16, 32, 64, 128)
_PARTS = ("init", *(f"down{stage}" for stage in range(len(_WIDTHS))))  # the file's names of what the levels need


class DeepbetEncoder:
    """The encoder of one of deepbet's networks, read from the installed package: ``pip install 'neuroprint[deepbet]'``.

    Levels are the stem, a convolution at half the resolution, and four stages at 1/4 to 1/32. Each convolution is followed by
    an instance norm without parameters, so that no scale of the intensities shows in a map.

    deepbet itself stretches the box around a head to 256 x 256 x 256 voxels of 0.7 to 0.8 mm, another size along each axis;
    here they are as large along all. Voxels of 1.5 mm cost a sixth of that.

    Args:
        network: ``model``, which draws the mask, or ``bbox_model``, which finds the head in a scan of 128 x 128 x 128 first.
        modalities: Series to look at; empty for all that the cohort has. It was trained on T1.
        per_series: See :class:`~neuroprint.encoders.base.InputSpec`.
        spacing_mm: Input voxel size; None keeps the scan's own grid.
        seed: Random weights drawn by it in the place of the trained ones; None for the trained.

    Raises:
        NeuroprintError: There is no such network, or the package is not installed.

    Example:
        >>> [f"{level.name}: {level.channels} channels, 1/{level.stride}" for level in DeepbetEncoder(seed=0).levels]
        ['stem: 16 channels, 1/2', 'stage0: 16 channels, 1/4', ..., 'stage3: 128 channels, 1/32']
    """

    levels = (Level("stem", 16, 2), *(Level(f"stage{n}", width, 2 ** (n + 2)) for n, width in enumerate(_WIDTHS)))
    default_level = "stage3"

    def __init__(
        self,
        network: str = "model",
        modalities: Sequence[str] = (),
        per_series: PerSeries = "concat",
        spacing_mm: float | None = 1.5,
        seed: int | None = None,
    ) -> None:
        if network not in _SHA256:
            raise NeuroprintError(f"encoder.network={network}: must be one of {', '.join(_SHA256)}")
        if per_series is None:
            raise NeuroprintError(
                "encoder.per_series=null: deepbet's networks have one channel: give concat, mean or [t1]"
            )
        self._network, self.seed = network, seed
        self._file = None if seed is not None else _installed(network)
        self.input = InputSpec(
            tuple(modalities), spacing_mm, "nonzero_percentile", divisor=32, orientation="RAS", per_series=per_series
        )

    @property
    def trained(self) -> bool:
        return self.seed is None

    @cached_property
    def identity(self) -> dict[str, Any]:
        drawn = {"seed": self.seed, "torch": version("torch").split("+")[0]}
        return {"network": "deepbet", "weights": {"sha256": _SHA256[self._network]} if self.trained else drawn}

    def untrained(self) -> DeepbetEncoder:
        """The same network and input on random weights of seed 0."""
        read = self.input
        return DeepbetEncoder(self._network, read.modalities, read.per_series, read.spacing_mm, seed=0)

    def load(self, device: str) -> Forward:
        """As :class:`~neuroprint.encoders.base.Encoder` says.

        Raises:
            NeuroprintError: The package holds other weights than those of deepbet 1.0.2.
        """
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed or 0)
            network = _build()
        if self._file is not None:
            check_sha256(self._file, _SHA256[self._network])
            published = torch.jit.load(self._file, map_location="cpu").state_dict()  # type: ignore[no-untyped-call]
            # The rest is the decoder's.
            encoder = {name: tensor for name, tensor in published.items() if name.startswith(_PARTS)}
            load_strictly(network, encoder, str(self._file))
        first, *stages = network.eval().requires_grad_(False).to(device).children()
        *before, pool = first.children()
        stem = torch.nn.Sequential(*before)

        def forward(batch: Tensor) -> list[Tensor]:
            maps = [stem(batch)]
            features = pool(maps[0])
            for stage in stages:
                features = stage(features)
                maps.append(features)
            return maps

        return forward


def _installed(network: str) -> Path:
    """The file of a network in the package deepbet: it lies in a top-level package of the wheel's that is called ``data``."""
    try:
        file = Path(str(distribution("deepbet").locate_file(f"data/models/{network}.pt")))
    except PackageNotFoundError as error:
        raise NeuroprintError("encoder=deepbet needs the package deepbet: pip install 'neuroprint[deepbet]'") from error
    if not file.is_file():
        raise NeuroprintError(f"{file}: there is no such file, which deepbet 1.0.2 brings: pip install deepbet==1.0.2")
    return file


def _build() -> nn.Sequential:
    """The stem with its pooling, and the stages, with names as in the published file."""
    from torch import nn

    def conv(inside: int, out: int, kernel: int, stride: int = 1) -> list[nn.Module]:
        same = nn.Conv3d(inside, out, kernel, stride, kernel // 2, bias=False)
        return [same, nn.InstanceNorm3d(out)]

    class Block(nn.Module):
        """Two convolutions beside the input itself."""

        def __init__(self, inside: int, out: int, stride: int) -> None:
            super().__init__()
            self.double_conv = nn.Sequential(*conv(inside, out, 3, stride), nn.ReLU(), *conv(out, out, 3))
            self.downsample = nn.Sequential(*conv(inside, out, 1, stride)) if stride > 1 else nn.Identity()

        def forward(self, features: Tensor) -> Tensor:
            added: Tensor = self.double_conv(features) + self.downsample(features)
            return added.relu_()

    class Down(nn.Module):
        def __init__(self, inside: int, out: int, stride: int) -> None:
            super().__init__()
            self.block1, self.block2 = Block(inside, out, stride), Block(out, out, 1)

        def forward(self, features: Tensor) -> Tensor:
            deeper: Tensor = self.block2(self.block1(features))
            return deeper

    stem = nn.Sequential(*conv(1, 16, 7, 2), nn.ReLU(), nn.MaxPool3d(3, 2, 1))
    widths = zip((16, *_WIDTHS), _WIDTHS, (1, 2, 2, 2), strict=False)
    return nn.Sequential(OrderedDict(zip(_PARTS, (stem, *(Down(*shape) for shape in widths)), strict=True)))

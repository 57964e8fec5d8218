"""MONAI's SwinUNETR seen as an encoder with five levels (Hatamizadeh et al. 2022, arXiv:2201.01266)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from neuroprint.encoders.base import Forward, InputSpec, Level, Normalisation
from neuroprint.errors import NeuroprintError

if TYPE_CHECKING:
    from monai.networks.nets import SwinUNETR

LEVEL_NAMES = ("patch_embedding", "stage1", "stage2", "stage3", "stage4")
OUT_CHANNELS = 3  # whole tumour, tumour core, enhancing tumour


@dataclass(frozen=True)
class Architecture:
    """The arguments of MONAI's ``SwinUNETR`` that change its weights or its numbers."""

    in_channels: int
    feature_size: int
    window_size: int
    depths: tuple[int, ...] = (2, 2, 2, 2)
    num_heads: tuple[int, ...] = (3, 6, 12, 24)

    def __post_init__(self) -> None:
        if self.feature_size % 12:
            raise NeuroprintError(f"encoder.feature_size={self.feature_size}: SwinUNETR needs a multiple of 12")

    def build(self) -> SwinUNETR:
        """The network with freshly initialised weights; attention is fused wherever autograd is off."""
        from monai.networks.nets import SwinUNETR

        return SwinUNETR(
            in_channels=self.in_channels,
            out_channels=OUT_CHANNELS,
            feature_size=self.feature_size,
            window_size=self.window_size,
            depths=self.depths,
            num_heads=self.num_heads,
            use_flash_attention=True,
        )


class SwinUNETREncoder:
    """SwinUNETR with seeded random weights: the architecture alone, which every trained encoder has to beat.

    Levels are 0, the patch embedding, and 1 to 4, the Swin stages; 4 is the bottleneck. The decoder is not run.

    Args:
        modalities: Channel order.
        feature_size: Channels of level 0; they double at every level.
        window_size: Edge of the attention windows, in cells.
        spacing_mm: Input voxel size.
        seed: Of the random weights.
        depths: Swin blocks a stage.
        normalisation: See :class:`~neuroprint.encoders.base.InputSpec`.
    """

    trained = False

    def __init__(
        self,
        modalities: Sequence[str],
        feature_size: int = 24,
        window_size: int = 4,
        spacing_mm: float | None = 3.0,
        seed: int = 0,
        depths: Sequence[int] = (2, 2, 2, 2),
        normalisation: Normalisation = "nonzero_channelwise",
    ) -> None:
        self.architecture = Architecture(len(modalities), feature_size, window_size, tuple(depths))
        self.seed = seed
        self.input = InputSpec(tuple(modalities), spacing_mm, normalisation, divisor=32)

    @cached_property
    def levels(self) -> tuple[Level, ...]:
        size = self.architecture.feature_size
        return tuple(Level(name, size * 2**depth, 2 ** (depth + 1)) for depth, name in enumerate(LEVEL_NAMES))

    @cached_property
    def identity(self) -> dict[str, Any]:
        # Random weights follow from the seed and from how these versions draw them.
        return {
            "network": "monai.SwinUNETR",
            **vars(self.architecture),
            "weights": {"seed": self.seed, "monai": version("monai"), "torch": version("torch").split("+")[0]},
        }

    def load(self, device: str) -> Forward:
        """The five Swin feature maps, layer-normalised over channels as MONAI's decoder takes them."""
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            network = self.architecture.build()
        return swin_levels(network, device)


def swin_levels(network: SwinUNETR, device: str) -> Forward:
    """The network's Swin transformer as a function from a batch to its five feature maps."""
    transformer = network.swinViT.eval().requires_grad_(False).to(device)
    return lambda batch: transformer(batch, network.normalize)

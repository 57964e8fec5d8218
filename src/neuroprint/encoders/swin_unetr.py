"""MONAI's SwinUNETR seen as an encoder with named levels (Hatamizadeh et al. 2022, arXiv:2201.01266)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from neuroprint.catalog.monai_import import import_monai
from neuroprint.encoders.base import Crop, Forward, InputSpec, Level, Normalization, PerSeries
from neuroprint.encoders.swin_pass import swin_maps
from neuroprint.encoders.weights_file import WeightsFile
from neuroprint.encoders.weights_fit import load_strictly
from neuroprint.errors import NeuroprintError

if TYPE_CHECKING:
    from monai.networks.nets import SwinUNETR
    from torch import Tensor, nn

LEVEL_NAMES = ("patch_embedding", "stage1", "stage2", "stage3", "stage4")
BOTTLENECK = "stage4"
OUT_CHANNELS = 3  # whole tumor, tumor core, enhancing tumor
_LEGACY_CELLS = ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 0, 1), (0, 1, 0), (0, 0, 1), (1, 1, 1))


@dataclass(frozen=True)
class Architecture:
    """The arguments of MONAI's ``SwinUNETR`` that change its weights or its numbers.

    Attributes:
        layer_norm: Layer norm over the channels of every map, which discards its magnitude. Weights fit either way; but those
            that were trained with it feed ``encoder10`` what it never saw when it is off.
        legacy_merging: Between stages eight cells become one. MONAI before 1.5 took two of the eight twice and two not at all
            (Project-MONAI/MONAI issue 4757). Weights from that time fit either way, and give their maps only with it.
    """

    in_channels: int
    feature_size: int
    window_size: int
    depths: tuple[int, ...] = (2, 2, 2, 2)
    num_heads: tuple[int, ...] = (3, 6, 12, 24)
    layer_norm: bool = True
    legacy_merging: bool = False

    def __post_init__(self) -> None:
        if self.feature_size < 12 or self.feature_size % 12:
            raise NeuroprintError(f"encoder.feature_size={self.feature_size}: SwinUNETR needs a multiple of 12")

    @property
    def identity(self) -> dict[str, Any]:
        """JSON-able; that of networks without ``legacy_merging`` is as it was before there was any."""
        return {name: value for name, value in vars(self).items() if name != "legacy_merging" or value}

    @property
    def levels(self) -> tuple[Level, ...]:
        size = self.feature_size
        stages = [Level(name, size * 2**depth, 2 ** (depth + 1)) for depth, name in enumerate(LEVEL_NAMES)]
        return (*stages, Level("encoder10", size * 16, 32))

    def build(self) -> SwinUNETR:
        """The network with freshly initialized weights; attention is fused wherever autograd is off."""
        import_monai()
        from monai.networks.nets import SwinUNETR

        return SwinUNETR(
            in_channels=self.in_channels,
            out_channels=OUT_CHANNELS,
            feature_size=self.feature_size,
            window_size=self.window_size,
            depths=self.depths,
            num_heads=self.num_heads,
            normalize=self.layer_norm,
            downsample=_legacy_merging() if self.legacy_merging else "merging",
            use_flash_attention=True,
        )


class SwinUNETREncoder:
    """SwinUNETR with seeded random weights: the architecture alone, which every trained encoder has to beat.

    Levels are 0, the patch embedding, 1 to 4, the Swin stages, of which 4 is the bottleneck, and 5, ``encoder10``: the
    convolutions between bottleneck and decoder. The decoder is not run.

    Args:
        modalities: Channel order.
        feature_size: Channels of level 0; they double at every level.
        window_size: Edge of the attention windows, in cells.
        spacing_mm: Input voxel size; None keeps the scan's own grid.
        seed: Of the random weights.
        depths: Swin blocks a stage.
        normalization: See :class:`~neuroprint.encoders.base.InputSpec`.
        crop: See :class:`~neuroprint.encoders.base.InputSpec`.
        layer_norm: See :class:`Architecture`.
        per_series: Of a network of one channel, see :class:`~neuroprint.encoders.base.InputSpec`.
        legacy_merging: See :class:`Architecture`.
    """

    trained = False
    default_level = BOTTLENECK

    def __init__(
        self,
        modalities: Sequence[str],
        feature_size: int = 24,
        window_size: int = 4,
        spacing_mm: float | None = 3.0,
        seed: int = 0,
        depths: Sequence[int] = (2, 2, 2, 2),
        normalization: Normalization = "nonzero_channelwise",
        crop: Crop = "brain",
        layer_norm: bool = True,
        per_series: PerSeries = None,
        legacy_merging: bool = False,
    ) -> None:
        self.seed = seed
        self.input = InputSpec(tuple(modalities), spacing_mm, normalization, 32, crop=crop, per_series=per_series)
        self.architecture = Architecture(
            self.input.channels,
            feature_size,
            window_size,
            tuple(depths),
            layer_norm=layer_norm,
            legacy_merging=legacy_merging,
        )

    @property
    def levels(self) -> tuple[Level, ...]:
        return self.architecture.levels

    @cached_property
    def identity(self) -> dict[str, Any]:
        # Random weights follow from the seed and from how these versions draw them.
        return {
            "network": "monai.SwinUNETR",
            **self.architecture.identity,
            "weights": {"seed": self.seed, "monai": version("monai"), "torch": version("torch").split("+")[0]},
        }

    def network(self, device: str) -> SwinUNETR:
        """The whole network, decoder included, as it segments."""
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            network = self.architecture.build()
        return _frozen(network, device)

    def load(self, device: str) -> Forward:
        return swin_levels(self.network(device))


class TrainedSwinUNETREncoder:
    """SwinUNETR with trained weights; levels as in :class:`SwinUNETREncoder`.

    Args:
        modalities: Channel order.
        weights: As :class:`~neuroprint.encoders.weights_file.WeightsFile` takes them.
        sha256: Of the file, which is then refused if it is another; None takes the file as it is.
        feature_size: Channels of level 0; they double at every level.
        window_size: Edge of the attention windows, in cells.
        spacing_mm: Input voxel size; None keeps the scan's own grid.
        depths: Swin blocks a stage.
        normalization: See :class:`~neuroprint.encoders.base.InputSpec`.
        crop: See :class:`~neuroprint.encoders.base.InputSpec`.
        layer_norm: See :class:`Architecture`.
        cache: Folder for weights that are downloaded.
        per_series: Of a network of one channel, see :class:`~neuroprint.encoders.base.InputSpec`.
        legacy_merging: See :class:`Architecture`; None for what the class' weights were trained with.
    """

    trained = True
    default_level = BOTTLENECK
    where_to_get = ""
    trained_with_legacy_merging = False

    def __init__(
        self,
        modalities: Sequence[str],
        weights: str | None,
        sha256: str | None = None,
        feature_size: int = 24,
        window_size: int = 4,
        spacing_mm: float | None = 3.0,
        depths: Sequence[int] = (2, 2, 2, 2),
        normalization: Normalization = "nonzero_channelwise",
        crop: Crop = "brain",
        layer_norm: bool = True,
        cache: str = ".neuroprint/weights",
        per_series: PerSeries = None,
        legacy_merging: bool | None = None,
    ) -> None:
        self.input = InputSpec(tuple(modalities), spacing_mm, normalization, 32, crop=crop, per_series=per_series)
        self.architecture = Architecture(
            self.input.channels,
            feature_size,
            window_size,
            tuple(depths),
            layer_norm=layer_norm,
            legacy_merging=self.trained_with_legacy_merging if legacy_merging is None else legacy_merging,
        )
        if not weights:
            raise NeuroprintError(f"encoder.weights is missing; {self.where_to_get or 'give a file or an address'}")
        self.weights = WeightsFile(weights, sha256, cache, where_to_get=self.where_to_get)

    @property
    def levels(self) -> tuple[Level, ...]:
        return self.architecture.levels

    @cached_property
    def identity(self) -> dict[str, Any]:
        return {"network": "monai.SwinUNETR", **self.architecture.identity, "weights": {"sha256": self.weights.sha256}}

    def untrained(self) -> SwinUNETREncoder:
        """The same network and input on random weights of seed 0."""
        network, read = self.architecture, self.input
        return SwinUNETREncoder(
            modalities=read.modalities,
            feature_size=network.feature_size,
            window_size=network.window_size,
            spacing_mm=read.spacing_mm,
            depths=network.depths,
            normalization=read.normalization,
            crop=read.crop,
            layer_norm=network.layer_norm,
            per_series=read.per_series,
            legacy_merging=network.legacy_merging,
        )

    def network(self, device: str) -> SwinUNETR:
        """The whole network, decoder included, as it segments.

        Raises:
            NeuroprintError: The weights are not the expected ones, or not of this architecture.
        """
        network = self.architecture.build()
        load_strictly(network, self.weights.load(), self.weights.source)
        return _frozen(network, device)

    def load(self, device: str) -> Forward:
        """The levels. The file's decoder and head may be others, or absent.

        Files of self-supervised training have no ``encoder10``. The level of that name is then NaN, and a run that asks for
        it excludes every case for "NaN or infinite features". The other levels need nothing of it.

        Raises:
            NeuroprintError: The weights are not the expected ones, or not of this architecture's encoder.
        """
        network, weights = self.architecture.build(), self.weights.load()
        has_encoder10 = any("encoder10." in name for name in weights)
        used = ("swinViT", "encoder10") if has_encoder10 else ("swinViT",)
        load_strictly(network, weights, self.weights.source, used)
        return swin_levels(_frozen(network, device))


def swin_levels(network: SwinUNETR) -> Forward:
    """A function from a batch to the network's five Swin feature maps and the map of ``encoder10``.

    ``encoder10`` normalizes each channel over space: of a bottleneck of one cell its map is NaN.
    """
    import torch

    def levels(batch: Tensor) -> list[Tensor]:
        # On a GPU what MONAI copies costs little, and under autocast every step has a precision of its own.
        plain = batch.device.type == "cpu" and not torch.is_autocast_enabled("cpu")
        maps = (
            swin_maps(network.swinViT, batch, network.normalize) if plain else network.swinViT(batch, network.normalize)
        )
        bottleneck = maps[-1]
        defined = bottleneck[0, 0].numel() > 1
        return [*maps, network.encoder10(bottleneck) if defined else torch.full_like(bottleneck, torch.nan)]

    return levels


def _legacy_merging() -> type[nn.Module]:
    """Patch merging as MONAI had it from 0.9 to 1.4."""
    import torch
    from monai.networks.nets.swin_unetr import PatchMergingV2

    class LegacyMerging(PatchMergingV2):  # type: ignore[misc] # MONAI is not typed
        def forward(self, x: Tensor) -> Tensor:
            """``(B, X, Y, Z, C)``, sizes even, to half the sizes and twice the channels."""
            merged = torch.cat([x[:, i::2, j::2, k::2] for i, j, k in _LEGACY_CELLS], dim=-1)
            halved: Tensor = self.reduction(self.norm(merged))
            return halved

    return LegacyMerging


def _frozen(network: SwinUNETR, device: str) -> SwinUNETR:
    return network.eval().requires_grad_(False).to(device)

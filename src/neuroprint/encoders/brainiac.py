"""BrainIAC: a ViT-B pretrained without labels on 32,000 brain MRIs of many series and diseases (SimCLR).

Tak et al., BrainIAC: a foundation model for generalized brain MRI analysis, medRxiv 2024, doi:10.1101/2024.12.02.24317992,
and Nature Neuroscience 2026, doi:10.1038/s41593-026-02202-6; github.com/AIM-KannLab/BrainIAC. The weights are for
non-commercial academic research.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from neuroprint.catalog.monai_import import import_monai
from neuroprint.encoders.base import Forward, InputSpec, Level, PerSeries
from neuroprint.encoders.weights_file import WeightsFile
from neuroprint.encoders.weights_fit import load_strictly
from neuroprint.errors import NeuroprintError

if TYPE_CHECKING:
    from torch import Tensor, nn

PATCH = 16
_GRID = (6, 6, 6)  # patches of an image of 96 x 96 x 96
_WHERE_TO_GET = "get BrainIAC.ckpt by the link in github.com/AIM-KannLab/BrainIAC, and give encoder.weights=FILE"


class BrainIACEncoder:
    """The vision transformer of BrainIAC's second version. The first, a ResNet-50, is another network.

    Levels are the tokens behind each block, and as ``norm`` those behind the last layer norm: ``(768, X/16, Y/16, Z/16)``.
    There is no class token: what its authors call the feature is the token of the first patch, at a corner.

    BrainIAC registers a scan to a template, strips the skull, and stretches it to 96 x 96 x 96 voxels. Its 6 x 6 x 6 position
    embeddings then span the field of view. Here the box around the brain is cut into patches at ``spacing_mm``, and the
    position embeddings are stretched over as many patches by trilinear interpolation. On 96 x 96 x 96 they stay as they are.

    Args:
        weights: As :class:`~neuroprint.encoders.weights_file.WeightsFile` takes them; None for random weights.
        modalities: Series to look at; empty for all that the cohort has.
        per_series: See :class:`~neuroprint.encoders.base.InputSpec`.
        spacing_mm: Input voxel size; None keeps the scan's own grid. At 2 mm a brain has about 90 voxels from front to back.
        sha256: Of the file, which is then refused if it is another; None takes it as it is.
        cache: Folder for weights that are downloaded.
        seed: Random weights drawn by it in the place of the trained ones; None for the trained.
        width: Channels of a token.
        depth: Transformer blocks.
        heads: Attention heads a block.

    Raises:
        NeuroprintError: There is no such file.

    Example:
        >>> [f"{level.name}: {level.channels} channels, 1/{level.stride}" for level in BrainIACEncoder(None, seed=0).levels]
        ['block1: 768 channels, 1/16', ..., 'block12: 768 channels, 1/16', 'norm: 768 channels, 1/16']
    """

    default_level = "norm"

    def __init__(
        self,
        weights: str | None,
        modalities: Sequence[str] = (),
        per_series: PerSeries = "concat",
        spacing_mm: float | None = 2.0,
        sha256: str | None = None,
        cache: str = ".neuroprint/weights",
        seed: int | None = None,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
    ) -> None:
        if not weights and seed is None:
            raise NeuroprintError(f"encoder.weights is missing; {_WHERE_TO_GET}")
        if per_series is None:
            raise NeuroprintError("encoder.per_series=null: BrainIAC has one channel: give concat, mean or [t1]")
        self.width, self.depth, self.heads = width, depth, heads
        self.seed = seed
        self.weights = WeightsFile(weights or "", sha256, cache, where_to_get=_WHERE_TO_GET) if seed is None else None
        self.input = InputSpec(tuple(modalities), spacing_mm, divisor=PATCH, per_series=per_series)

    @property
    def trained(self) -> bool:
        return self.weights is not None

    @property
    def levels(self) -> tuple[Level, ...]:
        names = [*(f"block{n}" for n in range(1, self.depth + 1)), "norm"]
        return tuple(Level(name, self.width, PATCH) for name in names)

    @cached_property
    def identity(self) -> dict[str, Any]:
        drawn = {"seed": self.seed, "monai": version("monai"), "torch": version("torch").split("+")[0]}
        weights = {"sha256": self.weights.sha256} if self.weights else drawn
        size = {"width": self.width, "depth": self.depth, "heads": self.heads}
        return {"network": "BrainIAC", **size, "weights": weights}

    def untrained(self) -> BrainIACEncoder:
        """The same network and input on random weights of seed 0."""
        read = self.input
        return BrainIACEncoder(
            None,
            read.modalities,
            read.per_series,
            read.spacing_mm,
            seed=0,
            width=self.width,
            depth=self.depth,
            heads=self.heads,
        )

    def load(self, device: str) -> Forward:
        """As :class:`~neuroprint.encoders.base.Encoder` says.

        Raises:
            NeuroprintError: The weights are not the expected ones, or not of this network.
        """
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed or 0)
            network = _build(self.width, self.depth, self.heads)
        if self.weights is not None:
            # MONAI 1.4 and 1.5 saved these, and no version uses them.
            weights = {name: value for name, value in self.weights.load().items() if "cross_attn" not in name}
            load_strictly(network, weights, self.weights.source)
        network.eval().requires_grad_(False).to(device)
        embedding: Any = network.get_submodule("patch_embedding")
        blocks, norm = network.get_submodule("blocks").children(), network.get_submodule("norm")
        steps = [*blocks, norm]

        def forward(batch: Tensor) -> list[Tensor]:
            patches = embedding.patch_embeddings(batch)
            grid = patches.shape[2:]
            tokens = (patches + _stretched(embedding.position_embeddings, grid)).flatten(2).transpose(1, 2)
            maps = []
            for step in steps:
                tokens = step(tokens)
                maps.append(tokens.transpose(1, 2).reshape(patches.shape))
            return maps

        return forward


def _build(width: int, depth: int, heads: int) -> nn.Module:
    """MONAI's ViT, without the norms of cross attention, which are never used."""
    import_monai()
    from monai.networks.nets import ViT
    from torch import nn

    image = tuple(cells * PATCH for cells in _GRID)
    network: nn.Module = ViT(
        in_channels=1,
        img_size=image,
        patch_size=PATCH,
        hidden_size=width,
        mlp_dim=4 * width,
        num_layers=depth,
        num_heads=heads,
    )
    for block in network.get_submodule("blocks").children():
        block.norm_cross_attn = block.cross_attn = nn.Identity()
    return network


def _stretched(positions: Tensor, grid: Sequence[int]) -> Tensor:
    """Position embeddings ``(1, patches, C)`` as a map ``(1, C, *grid)``, interpolated where the grid is another."""
    from torch.nn.functional import interpolate

    laid_out = positions.transpose(1, 2).reshape(1, -1, *_GRID)
    if tuple(grid) == _GRID:
        return laid_out
    return interpolate(laid_out, size=list(grid), mode="trilinear", align_corners=False)

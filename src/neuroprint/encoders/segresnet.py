"""MONAI's bundle ``brats_mri_segmentation``: a SegResNet trained on BraTS 2018 (Myronenko 2018, arXiv:1810.11654)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuroprint.catalog.monai_import import import_monai
from neuroprint.encoders.base import Forward, InputSpec, Level
from neuroprint.encoders.weights_file import WeightsFile
from neuroprint.encoders.weights_fit import load_strictly
from neuroprint.errors import NeuroprintError

if TYPE_CHECKING:
    from monai.networks.nets import SegResNet

MONAI_BUNDLE_NAME = "brats_mri_segmentation"
FILTERS = 16
BLOCKS_DOWN = (1, 2, 2, 4)
_ENCODER = ("convInit", "down_layers")  # the sub-modules that the levels need
WHERE_TO_GET = (
    "pip install fire huggingface_hub, then python -m monai.bundle download "
    f"--name {MONAI_BUNDLE_NAME} --bundle_dir DIR, and give encoder.monai_bundle=DIR/{MONAI_BUNDLE_NAME}"
)


class SegResNetEncoder:
    """The network of that MONAI bundle. Levels are its four encoder stages, 0 to 3; 3 is the deepest. The decoder is not run.

    Args:
        modalities: Channel order.
        monai_bundle: Folder of the MONAI bundle, with ``models/model.pt`` in it, or such a file by itself.
        sha256: Of that file, which is then refused if it is another; None takes it as it is.
        spacing_mm: Input voxel size; it was trained at 1 mm.
    """

    trained = True
    default_level = f"stage{len(BLOCKS_DOWN) - 1}"
    levels = tuple(Level(f"stage{depth}", FILTERS * 2**depth, 2**depth) for depth in range(len(BLOCKS_DOWN)))

    def __init__(
        self,
        modalities: Sequence[str],
        monai_bundle: str | None,
        sha256: str | None = None,
        spacing_mm: float | None = 1.0,
    ) -> None:
        if not monai_bundle:
            raise NeuroprintError(f"encoder.monai_bundle is missing; {WHERE_TO_GET}")
        file = Path(monai_bundle) if Path(monai_bundle).is_file() else Path(monai_bundle) / "models" / "model.pt"
        self.weights = WeightsFile(str(file), sha256, key="encoder.monai_bundle", where_to_get=WHERE_TO_GET)
        self.input = InputSpec(tuple(modalities), spacing_mm, divisor=8)

    @cached_property
    def identity(self) -> dict[str, Any]:
        return {"network": f"monai.SegResNet of {MONAI_BUNDLE_NAME}", "weights": {"sha256": self.weights.sha256}}

    def untrained(self) -> UntrainedSegResNetEncoder:
        """The same network and input on random weights of seed 0."""
        return UntrainedSegResNetEncoder(self.input.modalities, self.input.spacing_mm)

    def network(self, device: str) -> SegResNet:
        """The whole network, decoder included, as it segments.

        Raises:
            NeuroprintError: The weights are not the expected ones, or not of this network.
        """
        return self._loaded(device, None)

    def load(self, device: str) -> Forward:
        """The encoder stages; the file's decoder and head may be others, or absent.

        Raises:
            NeuroprintError: The weights are not the expected ones, or not of this network's encoder.
        """
        network = self._loaded(device, _ENCODER)
        return lambda batch: network.encode(batch)[1]

    def _loaded(self, device: str, used: Collection[str] | None) -> SegResNet:
        network = _build(len(self.input.modalities))
        load_strictly(network, self.weights.load(), self.weights.source, used)
        return network.eval().requires_grad_(False).to(device)


class UntrainedSegResNetEncoder:
    """The same network with seeded random weights: what its architecture alone is worth.

    Args:
        modalities: Channel order.
        spacing_mm: Input voxel size.
        seed: Of the random weights.
    """

    trained = False
    default_level = SegResNetEncoder.default_level
    levels = SegResNetEncoder.levels

    def __init__(self, modalities: Sequence[str], spacing_mm: float | None = 1.0, seed: int = 0) -> None:
        self.seed = seed
        self.input = InputSpec(tuple(modalities), spacing_mm, divisor=8)

    @cached_property
    def identity(self) -> dict[str, Any]:
        drawn = {"seed": self.seed, "monai": version("monai"), "torch": version("torch").split("+")[0]}
        return {"network": f"monai.SegResNet of {MONAI_BUNDLE_NAME}", "weights": drawn}

    def load(self, device: str) -> Forward:
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            network = _build(len(self.input.modalities))
        network.eval().requires_grad_(False).to(device)
        return lambda batch: network.encode(batch)[1]


def _build(channels: int) -> SegResNet:
    import_monai()
    from monai.networks.nets import SegResNet

    return SegResNet(
        in_channels=channels,
        out_channels=3,
        init_filters=FILTERS,
        blocks_down=BLOCKS_DOWN,
        blocks_up=(1, 1, 1),
        dropout_prob=0.2,
    )

"""One way to turn a scan into vectors: an encoder, how a volume goes through it, and the poolings that are computed."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from neuroprint.data.digests import digest
from neuroprint.embedding.entry import Entry
from neuroprint.embedding.inferers import Inferer
from neuroprint.embedding.kept_maps import Keeper, kept_parts
from neuroprint.embedding.poolings import Pooling
from neuroprint.embedding.preprocessing import NetworkInput, prepare
from neuroprint.encoders.base import Encoder, Forward, Level, describe, network_of
from neuroprint.errors import NeuroprintError

if TYPE_CHECKING:
    from torch import Tensor

    from neuroprint.data.volume import Volume
    from neuroprint.embedding.perturbations import Perturbation

# Raised whenever preprocessing, an inferer or a pooling gives other numbers than before: stored features are then not used.
FEATURES_VERSION = 2

Vectors = dict[str, npt.NDArray[np.float32]]


@dataclass(frozen=True)
class Pooled:
    """What the poolings gave of one case.

    Attributes:
        vectors: float32, by :func:`vector_name`.
        failed: Why a pooling raised, by :func:`vector_name`. The others' vectors are not touched by it.
        maps: The feature maps to keep, if any.
    """

    vectors: Vectors = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    maps: Entry | None = None


@dataclass(frozen=True)
class Extractor:
    """Everything that a case's vectors depend on.

    Attributes:
        encoder: The network.
        modalities: Channels to read, in the network's order.
        inferer: Whole volume or windows.
        precision: ``fp32``, ``tf32`` (matrix units of NVIDIA GPUs, 10 bits of mantissa) or ``bf16`` (autocast).
        poolings: All that one forward pass computes, by canonical name.
        perturbation: How scans are changed before they are looked at; None: as they are.
    """

    encoder: Encoder
    modalities: tuple[str, ...]
    inferer: Inferer
    precision: str
    poolings: Mapping[str, Pooling]
    perturbation: Perturbation | None = None

    @cached_property
    def description(self) -> dict[str, Any]:
        """What the folder of the store stands for; the poolings name the vectors inside instead."""
        return {
            "version": FEATURES_VERSION,
            "encoder": describe(self.encoder),
            "modalities": list(self.modalities),
            "inferer": self.inferer.identity,
            "precision": self.precision,
            **({"perturbation": self.perturbation.description} if self.perturbation else {}),
        }

    @cached_property
    def network(self) -> str:
        """Digest of the network and its weights: extractors of one digest share it in memory."""
        return digest(network_of(self.encoder))

    @cached_property
    def kind(self) -> str:
        """The extractor's folder in the feature store."""
        return f"features/{digest(self.description)[:24]}"

    @cached_property
    def maps_kind(self) -> str:
        """The folder of the maps that were kept."""
        return self.kind.replace("features/", "maps/", 1)

    def prepare(self, volume: Volume, brain_box: npt.NDArray[np.int64]) -> NetworkInput:
        """One case as the network wants it; a perturbation has been done before.

        Args:
            volume: Its voxels.
            brain_box: (3, 2) bounds of the brain in it.
        """
        images = [volume.images[volume.modalities.index(name)] for name in self.modalities]
        wanted = self.encoder.input if self.inferer.padded else replace(self.encoder.input, divisor=1)
        return prepare(images, volume.affine, brain_box, wanted)

    def run(
        self, batch: Sequence[NetworkInput], forward: Forward, device: str, keep_maps_mb: float = 0.0
    ) -> list[Pooled]:
        """Cases through the network, side by side, and every level by every pooling.

        Of a volume in several parts, the mean over the parts; each counts by the brain in it, and what has none is left out.

        Args:
            batch: Cases of one shape.
            forward: The network, on the device.
            device: Torch device.
            keep_maps_mb: Of each case, the maps that fit this budget are given back as well.
        """
        import torch

        def at_precision(image: Tensor) -> Sequence[Tensor]:
            with _precision(self.precision, device):
                maps = forward(image)
            _check_maps(maps, image, self.encoder.levels)
            return maps

        tallies = [_Tally(self.poolings) for _ in batch]
        keepers = [Keeper(keep_maps_mb) for _ in batch]
        with torch.inference_mode():
            images = [torch.from_numpy(prepared.image)[None] for prepared in batch]
            image = (images[0] if len(images) == 1 else torch.cat(images)).to(device)
            brains = [torch.from_numpy(prepared.brain).to(device) for prepared in batch]
            for part in self.inferer(image, at_precision, self.encoder.levels):
                for place, prepared in enumerate(batch):
                    inside = float(prepared.brain[part.place].sum(dtype=np.float64))
                    weight = inside if prepared.brain.any() else 1.0
                    if not weight:
                        continue
                    tallies[place].total += weight
                    keepers[place].begin(weight)
                    for level, maps in zip(self.encoder.levels, part.maps, strict=True):
                        features = maps[place].float().contiguous()
                        share = brain_share(brains[place][part.place], features.shape[1:])
                        tallies[place].add(weight, level.name, features, share)
                        keepers[place].add(level.name, features, share)
            return [tally.pooled(keeper.entry()) for tally, keeper in zip(tallies, keepers, strict=True)]

    def pool_kept(self, kept: Entry, besides: Container[str] = ()) -> Pooled:
        """What :meth:`run` gives for the levels whose maps were kept, without the network.

        Args:
            kept: One case's maps.
            besides: Names of vectors that are not wanted.
        """
        import torch

        tally = _Tally(self.poolings, besides)
        with torch.inference_mode():
            for part in kept_parts(kept):
                tally.total += part.weight
                for level, (features, share) in part.maps.items():
                    tally.add(part.weight, level, torch.tensor(features), torch.tensor(share))
            return tally.pooled(None)


class _Tally:
    """The poolings of one case, added up over its parts."""

    def __init__(self, poolings: Mapping[str, Pooling], besides: Container[str] = ()) -> None:
        self.total = 0.0
        self._poolings = poolings
        self._besides = besides
        self._sums: dict[str, Tensor] = {}
        self._failed: dict[str, str] = {}

    def add(self, weight: float, level: str, features: Tensor, share: Tensor) -> None:
        import torch

        for pooling_name, pooling in self._poolings.items():
            name = vector_name(level, pooling_name)
            if name in self._besides or name in self._failed:
                continue
            try:
                vector = weight * pooling(features, share).double().flatten()
                self._sums[name] = self._sums[name] + vector if name in self._sums else vector
            except torch.OutOfMemoryError:
                raise
            except Exception as error:  # of a pooling that may be the user's own: it loses its own vectors
                self._failed[name] = f"{type(error).__name__}: {' '.join(str(error).split())}"
                self._sums.pop(name, None)

    def pooled(self, maps: Entry | None) -> Pooled:
        import torch

        if not self._sums:
            return Pooled({}, self._failed, maps)
        # All in one go: from a GPU every transfer waits for all that was asked of it before.
        numbers = (torch.cat(list(self._sums.values())) / self.total).float().cpu().numpy()
        ends = np.cumsum([len(vector) for vector in self._sums.values()])
        return Pooled(dict(zip(self._sums, np.split(numbers, ends[:-1]), strict=True)), self._failed, maps)


def vector_name(level: str, pooling: str) -> str:
    """How a vector is called inside a store entry."""
    return f"{level}|{pooling}"


def brain_share(brain: Tensor, shape: Sequence[int]) -> Tensor:
    """The share of each feature cell that is brain: ``brain`` averaged to the map's ``shape``."""
    from torch.nn.functional import adaptive_avg_pool3d

    return adaptive_avg_pool3d(brain[None, None], (shape[0], shape[1], shape[2]))[0, 0]


def _check_maps(maps: Sequence[Tensor], image: Tensor, levels: Sequence[Level]) -> None:
    """Refuse maps that are not what the encoder says of its levels: they would be pooled all the same, and mean nothing.

    Raises:
        NeuroprintError: Names the level, what it gives and what it should.
    """
    if len(maps) != len(levels):
        raise NeuroprintError(
            f"the encoder gives {len(maps)} maps for its {len(levels)} levels: load has to give one for each"
        )
    for level, features in zip(levels, maps, strict=True):
        if level.channels is None:  # as many as the cohort makes them, on a grid of the encoder's own
            continue
        expected = (level.channels, *(size // level.stride for size in image.shape[2:]))
        if tuple(features.shape[1:]) != expected:
            raise NeuroprintError(
                f"the encoder's level {level.name} gives {tuple(features.shape[1:])} of {tuple(image.shape[2:])} voxels, and "
                f"says that it has {level.channels} channels at a stride of {level.stride}, which is {expected}: correct its "
                "levels, or input.divisor"
            )


def _precision(precision: str, device: str) -> Any:
    import torch

    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=precision == "bf16")

"""One way to turn a scan into vectors: an encoder, how a volume goes through it, and the poolings on the menu."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from neuroprint.embedding.inferers import Inferer, Part
from neuroprint.embedding.poolings import Pooling
from neuroprint.embedding.preprocessing import NetworkInput, prepare
from neuroprint.embedding.store import digest
from neuroprint.encoders.base import Encoder, Forward, describe

if TYPE_CHECKING:
    from torch import Tensor

    from neuroprint.data.facts import CaseFacts
    from neuroprint.data.volume import Volume

# Raised whenever preprocessing, an inferer or a pooling gives other numbers than before: stored features are then not used.
FEATURES_VERSION = 1


@dataclass(frozen=True)
class Extractor:
    """Everything that a case's vectors depend on.

    Attributes:
        encoder: The network.
        modalities: Channels to read, in the network's order.
        inferer: Whole volume or sliding windows.
        precision: ``fp32``, ``tf32`` (matrix units of NVIDIA GPUs, 10 bits of mantissa) or ``bf16`` (autocast).
        poolings: All that one forward pass computes, by canonical name.
    """

    encoder: Encoder
    modalities: tuple[str, ...]
    inferer: Inferer
    precision: str
    poolings: Mapping[str, Pooling]

    @cached_property
    def description(self) -> dict[str, Any]:
        """What the folder of the store stands for; the poolings name the vectors inside instead."""
        return {
            "version": FEATURES_VERSION,
            "encoder": describe(self.encoder),
            "modalities": list(self.modalities),
            "inferer": self.inferer.identity,
            "precision": self.precision,
        }

    @cached_property
    def kind(self) -> str:
        """The extractor's folder in the feature store."""
        return f"features/{digest(self.description)[:24]}"

    def prepare(self, volume: Volume, facts: CaseFacts) -> NetworkInput:
        """One case as the network wants it."""
        images = [volume.images[volume.modalities.index(name)] for name in self.modalities]
        wanted = self.encoder.input if self.inferer.padded else replace(self.encoder.input, divisor=1)
        return prepare(images, volume.affine, facts.brain_box, wanted)

    def vectors(self, prepared: NetworkInput, forward: Forward, device: str) -> dict[str, npt.NDArray[np.float32]]:
        """Every level by every pooling: float32 vectors by :func:`vector_name`.

        Of a volume in several parts, the mean over the parts; each counts by the brain in it, and what has none is left out.
        """
        import torch

        def at_precision(batch: Tensor) -> Sequence[Tensor]:
            with _precision(self.precision, device):
                return forward(batch)

        sums: dict[str, npt.NDArray[np.float64]] = {}
        total = 0.0
        with torch.inference_mode():
            image = torch.from_numpy(prepared.image)[None].to(device)
            brain = torch.from_numpy(prepared.brain).to(device)
            for part in self.inferer(image, at_precision, self.encoder.levels):
                inside = brain[part.place]
                weight = float(inside.sum()) if bool(brain.any()) else 1.0
                if not weight:
                    continue
                total += weight
                for name, vector in self._pooled(part, inside):
                    sums[name] = sums.get(name, 0.0) + weight * vector.double().cpu().numpy()
        return {name: (vector / total).astype(np.float32) for name, vector in sums.items()}

    def _pooled(self, part: Part, brain: Tensor) -> Iterator[tuple[str, Tensor]]:
        for level, batch in zip(self.encoder.levels, part.maps, strict=True):
            features = batch[0].float()
            share = brain_share(brain, features.shape[1:])
            for name, pooling in self.poolings.items():
                yield vector_name(level.name, name), pooling(features, share)


def vector_name(level: str, pooling: str) -> str:
    """How a vector is called inside a store entry."""
    return f"{level}|{pooling}"


def brain_share(brain: Tensor, shape: Sequence[int]) -> Tensor:
    """The share of each feature cell that is brain: ``brain`` averaged to the map's ``shape``."""
    from torch.nn.functional import adaptive_avg_pool3d

    return adaptive_avg_pool3d(brain[None, None], (shape[0], shape[1], shape[2]))[0, 0]


def _precision(precision: str, device: str) -> Any:
    import torch

    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=precision == "bf16")

"""How a volume goes through an encoder: whole in one pass, or by windows, stitched or pooled one by one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import product
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from neuroprint.catalog.monai_import import import_monai
from neuroprint.encoders.base import Forward, InputSpec, Level
from neuroprint.errors import NeuroprintError

if TYPE_CHECKING:
    from torch import Tensor

Place = tuple[slice, slice, slice]
WHOLE: Place = (slice(None), slice(None), slice(None))


@dataclass(frozen=True)
class Piece:
    """What is pooled at once: the whole volume, or one window of it.

    Attributes:
        place: Where it lies in the volume, in input voxels.
        maps: One ``(1, channels, X, Y, Z)`` a level.
    """

    place: Place
    maps: Sequence[Tensor]


class Inferer(Protocol):
    """Runs one prepared volume through a network."""

    @property
    def padded(self) -> bool:
        """Whether volumes are to come padded to a multiple of the network's divisor."""

    @property
    def identity(self) -> dict[str, Any]:
        """JSON-able description of everything the maps depend on."""

    def check(self, spec: InputSpec) -> None:
        """Raises NeuroprintError where this inferer cannot serve such a network."""

    def __call__(self, image: Tensor, forward: Forward, levels: Sequence[Level]) -> Iterator[Piece]:
        """``(1, C, X, Y, Z)`` to the parts whose pooled vectors are averaged; one part only where windows are stitched."""


@dataclass(frozen=True)
class Whole:
    """The whole volume in one forward pass: every voxel sees all the context that the network can use."""

    padded: ClassVar[bool] = True

    @property
    def identity(self) -> dict[str, Any]:
        return {"inferer": "whole"}

    def check(self, spec: InputSpec) -> None:
        """Any network can take the whole volume."""

    def __call__(self, image: Tensor, forward: Forward, levels: Sequence[Level]) -> Iterator[Piece]:
        yield Piece(WHOLE, forward(image))


@dataclass(frozen=True)
class _Windowed:
    """Cubic windows over a volume.

    Attributes:
        window: Edge of the window in input voxels, a multiple of the network's divisor.
        overlap: Share of a window that its neighbor covers again, from 0 up to but not including 1.
    """

    window: int = 128
    overlap: float = 0.25

    def __post_init__(self) -> None:
        if not isinstance(self.window, int) or isinstance(self.window, bool):
            raise NeuroprintError(f"inferer.window={self.window}: must be a whole number of voxels")
        if not isinstance(self.overlap, int | float) or not 0 <= self.overlap < 1:
            raise NeuroprintError(f"inferer.overlap={self.overlap}: must be at least 0 and less than 1")

    @property
    def identity(self) -> dict[str, Any]:
        return {"inferer": type(self).__name__.lower(), **vars(self)}

    def check(self, spec: InputSpec) -> None:
        if self.window < spec.divisor or self.window % spec.divisor:
            raise NeuroprintError(
                f"inferer.window={self.window}: must be a multiple of {spec.divisor}, the encoder's size divisor"
            )

    def starts(self, size: int, divisor: int) -> list[int]:
        """First voxels of the windows along an axis of ``size`` voxels, all multiples of ``divisor``.

        So every level's cells fall on one common grid: a window that starts between two bottleneck cells cannot be
        stitched without shifting the map. Windows overlap at least as asked.
        """
        window = min(self.window, size)
        step = max(divisor, int(window * (1 - self.overlap)) // divisor * divisor)
        return [*range(0, size - window, step), size - window]

    def windows(self, image: Tensor, forward: Forward, levels: Sequence[Level]) -> Iterator[Piece]:
        """Every window of ``(1, C, X, Y, Z)`` through the network, one at a time."""
        sizes = image.shape[2:]
        divisor = max(level.stride for level in levels)
        for corner in product(*(self.starts(size, divisor) for size in sizes)):
            x, y, z = (slice(a, a + min(self.window, size)) for a, size in zip(corner, sizes, strict=True))
            yield Piece((x, y, z), forward(image[:, :, x, y, z]))


@dataclass(frozen=True)
class Windows(_Windowed):
    """Overlapping windows, each pooled by itself; the case's vector is the mean of theirs, by the brain in each.

    The cheap alternative to stitching: no map is larger than a window's, whatever the size of the scan. A pooling that
    keeps position tells where in its window something lies, not where in the head: stitch for those.
    """

    padded: ClassVar[bool] = True

    def __call__(self, image: Tensor, forward: Forward, levels: Sequence[Level]) -> Iterator[Piece]:
        return self.windows(image, forward, levels)


@dataclass(frozen=True)
class Sliding(_Windowed):
    """Overlapping windows, blended at each level's own resolution.

    Attributes:
        blending: ``gaussian`` weighs a window's center more than its border, ``constant`` does not.
    """

    padded: ClassVar[bool] = True
    blending: Literal["gaussian", "constant"] = "gaussian"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.blending not in ("gaussian", "constant"):
            raise NeuroprintError(f"inferer.blending={self.blending}: must be gaussian or constant")

    def __call__(self, image: Tensor, forward: Forward, levels: Sequence[Level]) -> Iterator[Piece]:
        import torch

        sizes = image.shape[2:]
        maps: list[Tensor] = []
        weights: list[Tensor] = []
        for part in self.windows(image, forward, levels):
            for index, (level, features) in enumerate(zip(levels, part.maps, strict=True)):
                if index == len(maps):
                    shape = [size // level.stride for size in sizes]
                    maps.append(features.new_zeros((*features.shape[:2], *shape), dtype=torch.float32))
                    weights.append(features.new_zeros(shape, dtype=torch.float32))
                blend = self._blend(features.shape[2:], features.device)
                place = [slice(x.start // level.stride, x.stop // level.stride) for x in part.place]
                maps[index][:, :, *place] += features * blend
                weights[index][*place] += blend
        yield Piece(WHOLE, [stitched / weight for stitched, weight in zip(maps, weights, strict=True)])

    def _blend(self, shape: Sequence[int], device: Any) -> Tensor:
        import torch

        blend = torch.ones(tuple(shape), device=device)
        if self.blending == "gaussian":
            for axis, size in enumerate(shape):
                # A standard deviation of an eighth of the window, as in nnU-Net and MONAI.
                position = (torch.arange(size, device=device) - (size - 1) / 2) / (size / 8)
                blend *= torch.exp(-(position**2) / 2).clamp_min(1e-3).view([-1 if i == axis else 1 for i in range(3)])
        return blend


@dataclass(frozen=True)
class MonaiWindows(_Windowed):
    """MONAI's ``sliding_window_inference`` over a network of several outputs, misplacement included.

    Windows start where the overlap says, be it between two cells of a level: each is put down at the cell that its first
    voxel lies in, and a map has ``int(size / stride)`` cells. On a BraTS scan of 240 voxels windows of 128 start at 0, 96
    and 112, which is 3.5 cells of a bottleneck of stride 32: there the map is half a cell off, and it is cut to 7 x 7 x 4.
    :class:`Sliding` is right; this one is for comparing with what was published. Scans smaller than the window are padded
    by MONAI. Poolings that look at the brain take the map as if it covered the scan evenly, which it nearly does.
    """

    padded: ClassVar[bool] = False

    @property
    def identity(self) -> dict[str, Any]:
        return {**super().identity, "monai": version("monai")}

    def __call__(self, image: Tensor, forward: Forward, levels: Sequence[Level]) -> Iterator[Piece]:
        import_monai()
        from monai.inferers import sliding_window_inference

        window = (self.window,) * 3
        maps = sliding_window_inference(image, window, 1, lambda batch: tuple(forward(batch)), overlap=self.overlap)
        for level, features in zip(levels, maps, strict=True):
            if not features.numel():  # MONAI rounds what it cuts off from a padded scan
                size = " x ".join(map(str, image.shape[2:]))
                raise NeuroprintError(
                    f"inferer.window={self.window}: MONAI leaves no cell of {level.name} of a scan of {size} voxels; choose "
                    "a smaller window, or another inferer"
                )
        yield Piece(WHOLE, maps)

"""What an encoder must offer: an input specification, named levels, an identity, and a forward pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

from neuroprint.errors import NeuroprintError

if TYPE_CHECKING:
    from torch import Tensor

Normalization = Literal["nonzero_channelwise", "nonzero_joint"]
Crop = Literal["brain", "image"]
Forward = Callable[["Tensor"], Sequence["Tensor"]]


@dataclass(frozen=True)
class InputSpec:
    """What a network wants to see.

    Attributes:
        modalities: Channel order. Empty: whatever modalities the cohort has, in alphabetical order.
        spacing_mm: Edge of the isotropic voxels the scan is resampled to; None keeps the scan's own grid.
        normalization: Zero mean and unit variance over the non-zero voxels, of each channel by itself
            (``nonzero_channelwise``) or of all channels together (``nonzero_joint``).
        divisor: Every spatial size is padded with zeros to a multiple of it.
        orientation: Direction that each array axis points to, in nibabel's letters.
        crop: ``brain`` keeps the box around the brain, ``image`` the whole field of view.
    """

    modalities: tuple[str, ...]
    spacing_mm: float | None = None
    normalization: Normalization = "nonzero_channelwise"
    divisor: int = 1
    orientation: str = "LPS"
    crop: Crop = "brain"

    def __post_init__(self) -> None:
        for key, allowed in (("normalization", get_args(Normalization)), ("crop", get_args(Crop))):
            if getattr(self, key) not in allowed:
                raise NeuroprintError(f"encoder.{key}={getattr(self, key)}: must be one of {', '.join(allowed)}")
        if self.spacing_mm is not None:
            if not self.spacing_mm > 0:
                raise NeuroprintError(f"encoder.spacing_mm={self.spacing_mm}: must be greater than 0 mm")
            object.__setattr__(self, "spacing_mm", float(self.spacing_mm))  # 3 and 3.0 are one specification

    def for_cohort(self, available: Sequence[str]) -> tuple[str, ...]:
        """The modalities to read, in channel order.

        Raises:
            NeuroprintError: The cohort lacks a modality that the network needs.
        """
        wanted = self.modalities or tuple(sorted(available))
        lacking = [name for name in wanted if name not in available]
        if lacking:
            raise NeuroprintError(
                f"the encoder needs the modalities {', '.join(wanted)}; the cohort has {', '.join(available) or 'none'}. "
                "Choose an encoder for these modalities, or name the channels to use with encoder.modalities=[...]"
            )
        return wanted


@dataclass(frozen=True)
class Level:
    """One depth of the network at which feature maps are taken.

    Attributes:
        name: How people call it, as in ``layer=stage4``.
        channels: Number of feature channels; None where it depends on the cohort.
        stride: Input voxels an edge of one feature cell.
    """

    name: str
    channels: int | None
    stride: int


class Encoder(Protocol):
    """A network seen as feature maps at named levels.

    Everything but :meth:`load` is known without importing torch, so that a run whose features are stored never does.
    """

    @property
    def trained(self) -> bool:
        """False for random weights: every output then says ``untrained``."""

    @property
    def input(self) -> InputSpec: ...

    @property
    def levels(self) -> tuple[Level, ...]: ...

    @property
    def default_level(self) -> str:
        """Name of the level that is taken where none is chosen."""

    @property
    def identity(self) -> dict[str, Any]:
        """JSON-able description that covers architecture and weights: equal identities give equal features."""

    def load(self, device: str) -> Forward:
        """The network on ``device``: ``(B, C, X, Y, Z)`` to one ``(B, channels, X/stride, Y/stride, Z/stride)`` a level."""


def find_level(levels: Sequence[Level], item: int | str) -> int | None:
    """Position of the level of that number or name, or None."""
    names = [level.name for level in levels]
    text = str(item)
    if text in names:
        return names.index(text)
    return int(text) if text.isdecimal() and int(text) < len(names) else None


def list_levels(levels: Sequence[Level]) -> str:
    """The levels by number and name, for messages."""
    return ", ".join(f"{number} ({level.name})" for number, level in enumerate(levels))


def find_levels(
    levels: Sequence[Level], layer: int | str | Sequence[int | str] | None, default: str
) -> tuple[int, ...]:
    """Positions of the chosen levels: by number, by name, a list of either, or None for the one named ``default``.

    Raises:
        NeuroprintError: A level of that number or name does not exist.
    """
    if layer is None:
        layer = default
    chosen = list(layer) if isinstance(layer, Sequence) and not isinstance(layer, str) else [layer]
    found = []
    for item in chosen:
        position = find_level(levels, item)
        if position is None:
            raise NeuroprintError(f"layer={item}: this encoder has the levels {list_levels(levels)}")
        found.append(position)
    if not found or len(set(found)) != len(found):
        raise NeuroprintError(f"layer={layer}: name at least one level, each once")
    return tuple(found)


def describe(encoder: Encoder) -> dict[str, Any]:
    """Everything of an encoder that its features depend on, JSON-able."""
    return {"identity": encoder.identity, "input": asdict(encoder.input), "levels": [asdict(x) for x in encoder.levels]}

"""What an encoder must offer: an input specification, named levels, an identity, and a forward pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from inspect import getattr_static
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

from neuroprint.catalog.code import class_code
from neuroprint.errors import NeuroprintError

if TYPE_CHECKING:
    from torch import Tensor

Normalization = Literal[
    "nonzero_channelwise", "nonzero_joint", "nonzero_percentile", "brain_channelwise", "box_channelwise"
]
Crop = Literal["brain", "image"]
PerSeries = Literal["concat", "mean"] | Sequence[str] | None
Forward = Callable[["Tensor"], Sequence["Tensor"]]


_MEMBERS = ("trained", "input", "levels", "default_level", "identity", "load")


@dataclass(frozen=True)
class InputSpec:
    """What a network wants to see.

    Attributes:
        modalities: Channel order. Empty: whatever modalities the cohort has, in alphabetical order.
        spacing_mm: Edge of the isotropic voxels the scan is resampled to; None keeps the scan's own grid.
        normalization: Zero mean and unit variance over the non-zero voxels, of each channel by itself
            (``nonzero_channelwise``) or of all channels together (``nonzero_joint``). Or each channel's range from zero to
            the 99.5th percentile of its non-zero voxels becomes 0 to 1, and what is beyond is clipped
            (``nonzero_percentile``). nnU-Net's z-score takes each channel by itself, over the voxels where any channel is not
            zero and the holes among them (``brain_channelwise``), or over all voxels of the box around these
            (``box_channelwise``): background in the box is then not zero.
        divisor: Every spatial size is padded with zeros to a multiple of it.
        orientation: Direction that each array axis points to, in nibabel's letters.
        crop: ``brain`` keeps the box around the brain, ``image`` the whole field of view.
        per_series: How a network of one channel looks at a case of several series: at each by itself, their vectors joined
            (``concat``) or averaged (``mean``). A list of series asks for those alone, and joins them. None: all series are
            channels of one input.

    Raises:
        NeuroprintError: A value is none of these.

    Example:
        >>> InputSpec((), per_series="concat").for_cohort(["t2", "t1"])
        ('t1', 't2')
        >>> InputSpec((), per_series=["t1"]).for_cohort(["t2", "t1"])
        ('t1',)
    """

    modalities: tuple[str, ...]
    spacing_mm: float | None = None
    normalization: Normalization = "nonzero_channelwise"
    divisor: int = 1
    orientation: str = "LPS"
    crop: Crop = "brain"
    per_series: PerSeries = None

    def __post_init__(self) -> None:
        for key, allowed in (("normalization", get_args(Normalization)), ("crop", get_args(Crop))):
            if getattr(self, key) not in allowed:
                raise NeuroprintError(f"encoder.{key}={getattr(self, key)}: must be one of {', '.join(allowed)}")
        if self.spacing_mm is not None:
            if not self.spacing_mm > 0:
                raise NeuroprintError(f"encoder.spacing_mm={self.spacing_mm}: must be greater than 0 mm")
            object.__setattr__(self, "spacing_mm", float(self.spacing_mm))  # 3 and 3.0 are one specification
        if self.per_series is not None and self.per_series not in ("concat", "mean"):
            named = [] if isinstance(self.per_series, str) else [str(name) for name in self.per_series]
            if not named or len(set(named)) != len(named):
                found = self.per_series if isinstance(self.per_series, str) else f"[{','.join(named)}]"
                raise NeuroprintError(
                    f"encoder.per_series={found}: must be concat, mean, null, or a list of series, each once, such as [t1]"
                )
            object.__setattr__(self, "per_series", tuple(named))

    @property
    def channels(self) -> int:
        """Channels that the network takes: one where it is asked per series; 0 where that is the cohort's number of them."""
        return 1 if self.per_series is not None else len(self.modalities)

    def for_cohort(self, available: Sequence[str]) -> tuple[str, ...]:
        """The modalities to read, in channel order, or in the order in which they are asked per series.

        Raises:
            NeuroprintError: The cohort lacks a modality that the network needs.
        """
        named = () if self.per_series in (None, "concat", "mean") else tuple(self.per_series or ())
        wanted = named or self.modalities or tuple(sorted(available))
        lacking = [name for name in wanted if name not in available]
        if lacking:
            raise NeuroprintError(
                f"the encoder needs the modalities {', '.join(wanted)}; the cohort has {', '.join(available) or 'none'}. "
                "Choose an encoder for these modalities, or name those to use with "
                f"encoder.{'modalities' if self.per_series is None else 'per_series'}=[...]"
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


def check_encoder(made: Any) -> None:
    """Refuse an object that lacks something of :class:`Encoder`.

    Raises:
        NeuroprintError: Names what is missing.
    """
    lacking = [name for name in _MEMBERS if getattr_static(made, name, None) is None]
    if lacking:
        raise NeuroprintError(
            f"encoder: {type(made).__name__} has no {', '.join(lacking)}: an encoder needs {', '.join(_MEMBERS)}; see "
            "docs/extending.md"
        )


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
    """Everything of an encoder that its features depend on, JSON-able: of one that is asked per series, those of a series."""
    read = asdict(encoder.input)
    del read["per_series"]
    return {**network_of(encoder), "input": read, "levels": [asdict(level) for level in encoder.levels]}


def network_of(encoder: Encoder) -> dict[str, Any]:
    """What the network itself is: its identity, and the code of a class that is not neuroprint's own."""
    code = class_code(type(encoder.encoder if isinstance(encoder, OneSeries) else encoder))
    return {"identity": encoder.identity, **({"code": code} if code else {})}


@dataclass(frozen=True)
class OneSeries:
    """A network of one channel, as it looks at one of a case's series.

    Attributes:
        encoder: The network; one of :class:`InputSpec`'s ``per_series``.
        series: Name of the modality that is its channel.
    """

    encoder: Encoder
    series: str

    @property
    def trained(self) -> bool:
        return self.encoder.trained

    @property
    def input(self) -> InputSpec:
        return replace(self.encoder.input, modalities=(self.series,), per_series=None)

    @property
    def levels(self) -> tuple[Level, ...]:
        return self.encoder.levels

    @property
    def default_level(self) -> str:
        return self.encoder.default_level

    @property
    def identity(self) -> dict[str, Any]:
        return self.encoder.identity

    def load(self, device: str) -> Forward:
        """As the network itself loads: it is the same for every series."""
        return self.encoder.load(device)

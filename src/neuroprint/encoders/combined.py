"""Several encoders behind one embedding: each sees the scan in its own way, and their vectors are joined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from neuroprint.encoders.base import Encoder, find_level, find_levels, list_levels
from neuroprint.errors import NeuroprintError

ChosenLevels = tuple[tuple[Encoder, tuple[str, ...]], ...]
"""Of each encoder, names of its levels in the order in which their vectors are joined."""


class CombinedEncoder:
    """Encoders whose vectors are joined by :func:`neuroprint.embedding.shares.join`.

    Each makes its own forward pass, and what it computes is stored under its own key: runs of it alone share it.

    Args:
        encoders: By a name of the user's choice; their vectors are joined in the alphabetical order of the names.
    """

    def __init__(self, encoders: Mapping[str, Encoder]) -> None:
        if len(encoders) < 2:
            raise NeuroprintError("encoder.encoders: a combination needs at least two encoders")
        self.encoders = tuple(encoders[name] for name in sorted(encoders))

    @property
    def trained(self) -> bool:
        return all(encoder.trained for encoder in self.encoders)


def choose_levels(encoder: Encoder | CombinedEncoder, layer: int | str | Sequence[int | str] | None) -> ChosenLevels:
    """The levels that ``layer`` chooses, as :func:`~neuroprint.encoders.base.find_levels` reads it.

    In a combination each encoder contributes those of the chosen levels that it has, and its default level where it has none
    of them: voxels, which have one level, always contribute it.

    Raises:
        NeuroprintError: No encoder has a level of that number or name.
    """
    if not isinstance(encoder, CombinedEncoder):
        return ((encoder, _names(encoder, layer)),)
    chosen = (
        [] if layer is None else list(layer) if isinstance(layer, Sequence) and not isinstance(layer, str) else [layer]
    )
    for item in chosen:
        if all(find_level(part.levels, item) is None for part in encoder.encoders):
            menus = "; ".join(list_levels(part.levels) for part in encoder.encoders)
            raise NeuroprintError(f"layer={item}: these encoders have the levels {menus}")
    return tuple(
        (part, _names(part, [item for item in chosen if find_level(part.levels, item) is not None] or None))
        for part in encoder.encoders
    )


def _names(encoder: Encoder, layer: int | str | Sequence[int | str] | None) -> tuple[str, ...]:
    found = find_levels(encoder.levels, layer, encoder.default_level)
    return tuple(encoder.levels[index].name for index in found)

"""The untrained twin of a trained encoder: what the architecture alone is worth."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from neuroprint.encoders.base import Encoder
from neuroprint.encoders.combined import CombinedEncoder


@runtime_checkable
class HasTwin(Protocol):
    """An encoder that knows its own architecture on random weights."""

    def untrained(self) -> Encoder | None:
        """The same network and input on random weights of seed 0; None where there is none."""


def untrained_twin(encoder: Encoder | CombinedEncoder) -> Encoder | CombinedEncoder | None:
    """The same architecture and input on seeded random weights, or None where the encoder is not trained or has no twin.

    In a combination every encoder that has a twin is replaced by it; one without, such as voxels, stays.
    """
    if not encoder.trained:
        return None
    if isinstance(encoder, CombinedEncoder):
        twins = [_twin(part) for part in encoder.encoders]
        if all(twin is None for twin in twins):
            return None
        return CombinedEncoder({f"{n:06d}": twin or encoder.encoders[n] for n, twin in enumerate(twins)})
    return _twin(encoder)


def _twin(encoder: Encoder) -> Encoder | None:
    return encoder.untrained() if encoder.trained and isinstance(encoder, HasTwin) else None

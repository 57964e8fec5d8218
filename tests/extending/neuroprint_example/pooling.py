"""A pooling: one function from a feature map to a vector."""

from torch import Tensor


def spread(features: Tensor, brain: Tensor, share: float = 1.0) -> Tensor:
    """Largest minus smallest value of each channel, times ``share``: ``(C,)``.

    Args:
        features: ``(C, X, Y, Z)``, one level's map of one case.
        brain: ``(X, Y, Z)``, the share of each cell that lies in the brain.
        share: A parameter; every one after the first two can be swept.
    """
    return share * (features.amax(dim=(1, 2, 3)) - features.amin(dim=(1, 2, 3)))

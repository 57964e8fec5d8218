"""Networks small enough to be written, published and read by a test."""

import pytest
import torch


@pytest.fixture(scope="session")
def small_swin():
    """A SwinUNETR as its users train it, in float32 with random weights."""
    from monai.networks.nets import SwinUNETR

    with torch.random.fork_rng():
        torch.manual_seed(11)
        return SwinUNETR(in_channels=4, out_channels=3, feature_size=12, window_size=4).eval()


@pytest.fixture(scope="session")
def batch():
    """Random numbers, more than one cell wide at the bottleneck."""
    return torch.randn(1, 4, 64, 32, 32, generator=torch.Generator().manual_seed(0))

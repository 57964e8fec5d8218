"""The fast pass through the Swin transformer gives MONAI's own maps."""

from __future__ import annotations

import pytest
import torch
from monai.networks.nets import SwinUNETR

from neuroprint.encoders.swin_unetr import swin_levels


def network(window: int, normalize: bool, depths=(2, 2, 2, 2)) -> SwinUNETR:
    torch.manual_seed(0)
    model = SwinUNETR(4, 3, feature_size=12, window_size=window, normalize=normalize, depths=depths)
    for parameter in model.parameters():  # biases start at zero, and norms at one: those would hide a mistake
        torch.nn.init.normal_(parameter, mean=0.05, std=0.2)
    return model.eval().requires_grad_(False)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize(
    ("window", "size"),
    [
        (4, (64, 64, 64)),  # windows fill the maps
        (7, (64, 96, 32)),  # padded; smaller than a window along an axis
        (5, (96, 32, 64)),
        (7, (32, 32, 32)),  # one window, deeper down one that is cut
    ],
)
def test_every_level_is_that_of_monai(window, size, normalize):
    model = network(window, normalize)
    batch = torch.randn(2, 4, *size, generator=torch.Generator().manual_seed(1))
    given = batch.clone()
    with torch.inference_mode():
        expected = model.swinViT(batch, normalize)
        found = swin_levels(model)(batch)
    assert torch.equal(batch, given)
    for level, (ours, theirs) in enumerate(zip(found[:5], expected, strict=True)):
        assert ours.shape == theirs.shape
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5 * float(theirs.abs().max()), msg=f"level {level}")


def test_more_blocks_a_stage_alternate_between_shifted_windows_and_others():
    model = network(4, True, depths=(3, 1, 2, 2))
    batch = torch.randn(1, 4, 64, 32, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected, found = model.swinViT(batch, True), swin_levels(model)(batch)
    torch.testing.assert_close(found[2], expected[2], rtol=1e-4, atol=1e-4)

"""What a SwinUNETR costs by its size and its grid: weights, an extraction's forward pass, a training step; medians.

python benchmarks/architecture.py [--repeats 5]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

from neuroprint.cli.environment import prepare_process

prepare_process()  # as the commands do, before PyTorch is loaded

import torch  # noqa: E402

from neuroprint.encoders.swin_unetr import Architecture  # noqa: E402
from neuroprint.training.trainer import region_loss  # noqa: E402

# Feature size, window, edge of the volume in voxels, and the voxels' size: a brain's box is about 140 x 175 x 145 mm.
MENU = [(12, 4, (64, 64, 64), 3.0), (24, 4, (64, 64, 64), 3.0), (24, 7, (64, 64, 64), 3.0), (24, 4, (96, 96, 96), 2.0)]
BYTES = 2  # float16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    print(
        "| feature size | window | grid | million weights | MB as float16 | forward to the levels, s | training step, s |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for size, window, shape, spacing in MENU:
        network = Architecture(4, size, window).build()
        weights = sum(weight.numel() for weight in network.parameters())
        image, truth = torch.randn(1, 4, *shape), (torch.rand(1, 3, *shape) > 0.9).float()
        optimizer = torch.optim.AdamW(network.parameters())

        def forward() -> None:
            with torch.inference_mode():
                network.swinViT(image)  # noqa: B023

        def step() -> None:
            optimizer.zero_grad(set_to_none=True)  # noqa: B023
            region_loss(network(image), truth, 2.0).backward()  # type: ignore[no-untyped-call] # noqa: B023
            optimizer.step()  # noqa: B023

        times = [f"{median(act, repeats):.2f}" for act in (forward, step)]
        grid = f"{' x '.join(map(str, shape))}, {spacing:g} mm"
        print(
            f"| {size} | {window} | {grid} | {weights / 1e6:.1f} | {weights * BYTES / 1e6:.1f} | {' | '.join(times)} |"
        )


def median(act: Callable[[], None], repeats: int) -> float:
    """Seconds, after one call that does not count."""
    act()
    taken = []
    for _ in range(repeats):
        started = time.perf_counter()
        act()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


if __name__ == "__main__":
    main()

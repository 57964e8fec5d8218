"""What an optimizer step of the default network costs: in float32 and bfloat16, in PyTorch's own layout and channels last.

    python benchmarks/training.py [--device cpu] [--repeats 5]

One example of 64 x 64 x 64 voxels in memory; training also draws its examples, in another process.
"""

from __future__ import annotations

import argparse
import statistics
import time

from neuroprint.cli.environment import prepare_process

prepare_process()  # as the commands do, before PyTorch is loaded

import torch  # noqa: E402

from neuroprint.encoders.swin_unetr import Architecture  # noqa: E402
from neuroprint.training.trainer import region_loss  # noqa: E402

SIZE = (64, 64, 64)
LAYOUTS = {"PyTorch's own": torch.contiguous_format, "channels last": torch.channels_last_3d}


def seconds(bf16: bool, layout: torch.memory_format, device: str, repeats: int) -> list[float]:
    """Seconds of each step after the first."""
    torch.manual_seed(0)
    network = Architecture(4, 24, 4, (2, 2, 2, 2)).build().to(device).train()
    for parameter in network.parameters():
        if parameter.dim() == 5:
            parameter.data = parameter.data.to(memory_format=layout)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-5)
    image = torch.randn(1, 4, *SIZE, device=device)
    truth = (torch.rand(1, 3, *SIZE, device=device) > 0.9).float()
    taken = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=bf16):
            logits = network(image)
        optimizer.zero_grad(set_to_none=True)
        region_loss(logits.float(), truth, 2.0).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if device != "cpu":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - started)
    return taken[1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    print("| numbers | layout | s a step | fastest | slowest |\n| --- | --- | --- | --- | --- |")
    for bf16 in (False, True):
        for name, layout in LAYOUTS.items():
            taken = seconds(bf16, layout, options.device, options.repeats)
            cells = " | ".join(f"{value:.2f}" for value in (statistics.median(taken), min(taken), max(taken)))
            print(f"| {'bfloat16' if bf16 else 'float32'} | {name} | {cells} |", flush=True)


if __name__ == "__main__":
    main()

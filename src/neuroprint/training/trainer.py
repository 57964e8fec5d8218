"""The training loop: Dice and cross-entropy on three overlapping regions, resumable at any step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils.data import DataLoader, Dataset

from neuroprint.data.targets import REGIONS
from neuroprint.errors import NeuroprintError
from neuroprint.training.regions import dice
from neuroprint.training.sources import Example, Source

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

Log = Callable[[Mapping[str, float], int], None]


@dataclass(frozen=True)
class TrainSettings:
    """The recipe.

    Attributes:
        steps: Optimiser steps.
        batch: Examples a step.
        learning_rate: At its peak: a linear rise over ``warmup`` steps, then half a cosine down to zero.
        warmup: Steps.
        weight_decay: AdamW's.
        clip: Largest norm of the gradient.
        cross_entropy: Weight of the cross-entropy; Dice has 1.
        validate_every: Steps between validations.
        checkpoint_every: Steps between checkpoints.
        workers: Processes that draw examples; 0 draws them in this one.
        bf16: Autocast to bfloat16, for GPUs that have it.
        stop: Step at which to stop before the schedule's end; a later command without it goes on from there.
    """

    steps: int
    batch: int = 1
    learning_rate: float = 5e-4
    warmup: int = 50
    weight_decay: float = 1e-5
    clip: float = 5.0
    cross_entropy: float = 2.0
    validate_every: int = 100
    checkpoint_every: int = 50
    workers: int = 1
    bf16: bool = False
    stop: int | None = None

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "validate_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise NeuroprintError(f"recipe.{name}={getattr(self, name)}: must be at least 1")

    @property
    def last(self) -> int:
        """The step after which training ends."""
        return min(self.steps, self.stop or self.steps)

    def rate(self, step: int) -> float:
        """Learning rate of a step, from 0."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        done = (step - self.warmup) / max(self.steps - self.warmup, 1)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


def region_loss(logits: Tensor, truth: Tensor, cross_entropy: float) -> Tensor:
    """Soft Dice loss, averaged over regions and batch, plus weighted binary cross-entropy.

    The regions of BraTS overlap: three sigmoid outputs, not a softmax.

    Args:
        logits: ``(B, 3, X, Y, Z)``.
        truth: ``(B, 3, X, Y, Z)``, 0 or 1.
        cross_entropy: Weight of the cross-entropy.
    """
    axes = (2, 3, 4)
    shown = logits.sigmoid()
    both = 2 * (shown * truth).sum(axes) + 1
    overlap = both / (shown.square().sum(axes) + truth.sum(axes) + 1)
    loss: Tensor = (1 - overlap).mean() + cross_entropy * binary_cross_entropy_with_logits(logits, truth)
    return loss


def fit(
    network: Module,
    source: Source,
    settings: TrainSettings,
    checkpoint: Path,
    device: str = "cpu",
    log: Log = lambda metrics, step: None,
    progress: Callable[[int, float], None] = lambda step, loss: None,
) -> dict[str, float]:
    """Train a network in place, from its checkpoint where there is one.

    Args:
        network: ``(B, C, X, Y, Z)`` to logits ``(B, 3, X, Y, Z)``.
        source: Examples.
        settings: The recipe.
        checkpoint: File that is written every so many steps, and read at the start.
        device: Where to compute.
        log: Called with metrics and the number of steps done.
        progress: Called after every step with the number of steps done and the loss.

    Returns:
        Mean Dice of each region over the validation scans at the end, as ``validation/dice_whole_tumor`` ...
    """
    network.to(device).train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    first = _resume(network, optimiser, checkpoint, device)
    scans = source.validation()
    recent: list[float] = []
    for step, (image, truth) in enumerate(_examples(source, settings, first), start=first):
        for group in optimiser.param_groups:
            group["lr"] = settings.rate(step)
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=settings.bf16):
            logits = network(image.to(device, non_blocking=True))
        loss = region_loss(logits.float(), truth.to(device, non_blocking=True), settings.cross_entropy)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), settings.clip)
        optimiser.step()
        done = step + 1
        recent.append(float(loss.detach()))
        progress(done, recent[-1])
        if not math.isfinite(recent[-1]):
            raise NeuroprintError(
                f"training diverged at step {done}: the loss is {recent[-1]}; lower recipe.learning_rate and start anew"
            )
        if done % settings.validate_every == 0 or done == settings.last:
            found = validate(network, scans, device)
            log({"train/loss": sum(recent) / len(recent), "train/learning_rate": settings.rate(step), **found}, done)
            recent.clear()
        if done % settings.checkpoint_every == 0 or done == settings.last:
            _save(checkpoint, network, optimiser, done)
    return validate(network, scans, device)


def validate(network: Module, scans: list[Example], device: str) -> dict[str, float]:
    """Mean Dice of each region, at a threshold of 0.5."""
    import numpy as np

    training = network.training
    network.eval()
    found = []
    with torch.inference_mode():
        for image, truth in scans:
            shown = network(image[None].to(device))[0] > 0
            found.append(dice(shown.cpu().numpy(), truth.numpy() > 0))
    network.train(training)
    means = np.mean(found, axis=0)
    return {f"validation/dice_{region}": float(value) for region, value in zip(REGIONS, means, strict=True)}


class _Numbered(Dataset[Example]):
    """A source as PyTorch's DataLoader wants it."""

    def __init__(self, source: Source) -> None:
        self.source = source

    def __getitem__(self, number: int) -> Example:
        return self.source.example(number)


def _examples(source: Source, settings: TrainSettings, first: int) -> Iterator[Any]:
    """Batches from step ``first`` on: the same whether training was interrupted or not."""
    numbers = range(first * settings.batch, settings.last * settings.batch)
    return iter(
        DataLoader(
            _Numbered(source),
            batch_size=settings.batch,
            sampler=numbers,
            num_workers=settings.workers,
            prefetch_factor=4 if settings.workers else None,
        )
    )


def _save(checkpoint: Path, network: Module, optimiser: torch.optim.Optimizer, done: int) -> None:
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    unfinished = checkpoint.with_suffix(".unfinished")
    torch.save({"network": network.state_dict(), "optimiser": optimiser.state_dict(), "done": done}, unfinished)
    unfinished.rename(checkpoint)


def _resume(network: Module, optimiser: torch.optim.Optimizer, checkpoint: Path, device: str) -> int:
    """Steps that are done already."""
    if not checkpoint.is_file():
        return 0
    try:
        found = torch.load(checkpoint, map_location=device, weights_only=True)
    except Exception as error:
        raise NeuroprintError(f"{checkpoint}: the checkpoint cannot be read; delete it to start anew") from error
    network.load_state_dict(found["network"])
    optimiser.load_state_dict(found["optimiser"])
    return int(found["done"])

"""The training loop: Dice and cross-entropy on three overlapping regions, resumable at any step."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils.data import DataLoader, Dataset, default_collate

from neuroprint.data.files import written_whole
from neuroprint.data.labels import REGIONS
from neuroprint.errors import NeuroprintError
from neuroprint.training.examples import Example, Source
from neuroprint.training.regions import dice

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

Log = Callable[[Mapping[str, float], int], None]


@dataclass(frozen=True)
class TrainSettings:
    """The recipe.

    Attributes:
        steps: Optimizer steps.
        batch: Examples a step.
        learning_rate: At its peak: a linear rise over ``warmup`` steps, then half a cosine down to zero.
        warmup: Steps.
        weight_decay: AdamW's.
        clip: Largest norm of the gradient.
        cross_entropy: Weight of the cross-entropy; Dice has 1.
        validate_every: Steps between validations.
        checkpoint_every: Steps between checkpoints.
        workers: Processes that draw examples; 0 draws them in this one.
        bf16: Autocast to bfloat16, for GPUs and CPUs that multiply in it: a step takes half the time.
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
        for name in ("workers", "warmup", "weight_decay", "cross_entropy"):
            if getattr(self, name) < 0:
                raise NeuroprintError(f"recipe.{name}={getattr(self, name)}: must be at least 0")
        for name in ("learning_rate", "clip"):
            if not getattr(self, name) > 0:
                raise NeuroprintError(f"recipe.{name}={getattr(self, name)}: must be greater than 0")
        if self.stop is not None and self.stop < 1:
            raise NeuroprintError(f"recipe.stop={self.stop}: must be at least 1, or null to train to the end")

    @property
    def last(self) -> int:
        """The step after which training ends."""
        return min(self.steps, self.stop or self.steps)

    def validates(self, done: int) -> bool:
        """Whether the network is validated after so many steps."""
        return done % self.validate_every == 0 or done == self.last

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


def train_network(
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
        log: Called with metrics and the number of steps done; a second time with the same number where training was broken
            off between a checkpoint and its validation's end.
        progress: Called after every step with the number of steps done and the loss.

    Returns:
        Mean Dice of each region over the validation scans at the end, as ``validation/dice_whole_tumor`` ...
    """
    # Channels last: a step on a CPU takes a little less (benchmarks/training.py).
    network.to(device).to(memory_format=torch.channels_last_3d).train()  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    source.ready()
    state = _resume(network, optimizer, checkpoint, device)
    started = time.monotonic() - state.seconds
    found: dict[str, float] = {}

    def report() -> dict[str, float]:
        means = validate(network, source.validation(), device)
        loss = sum(state.recent) / len(state.recent)
        took = {"train/seconds": time.monotonic() - started}
        log({"train/loss": loss, "train/learning_rate": settings.rate(state.done - 1), **took, **means}, state.done)
        state.recent.clear()
        return means

    if state.recent and settings.validates(state.done):
        found = report()  # broken off before it could be logged
    for image, truth in _examples(source, settings, state.done):
        for group in optimizer.param_groups:
            group["lr"] = settings.rate(state.done)
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=settings.bf16):
            logits = network(image.to(device, non_blocking=True))
        loss = region_loss(logits.float(), truth.to(device, non_blocking=True), settings.cross_entropy)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), settings.clip)
        optimizer.step()
        state.done += 1
        state.recent.append(float(loss.detach()))
        progress(state.done, state.recent[-1])
        if not math.isfinite(state.recent[-1]):
            raise NeuroprintError(
                f"training diverged at step {state.done}: the loss is {state.recent[-1]}; lower recipe.learning_rate and "
                "start anew"
            )
        validates = settings.validates(state.done)
        # Before the validation: what was logged is never trained again.
        if validates or state.done % settings.checkpoint_every == 0:
            state.seconds = time.monotonic() - started
            _save(checkpoint, network, optimizer, state)
        if validates:
            found = report()
    return found or validate(network, source.validation(), device)


def validate(network: Module, scans: Iterable[Example], device: str) -> dict[str, float]:
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


class _Numbered(Dataset[Example | NeuroprintError]):
    """A source as PyTorch's DataLoader wants it.

    Errors for the user are handed over as they are: raised in a worker, they would come out wrapped in its traceback.
    """

    def __init__(self, source: Source) -> None:
        self.source = source

    def __getitem__(self, number: int) -> Example | NeuroprintError:
        try:
            return self.source.example(number)
        except NeuroprintError as error:
            return error


def _collate(items: list[Example | NeuroprintError]) -> Any:
    return next((item for item in items if isinstance(item, NeuroprintError)), None) or default_collate(items)


def _examples(source: Source, settings: TrainSettings, first: int) -> Iterator[Any]:
    """Batches from step ``first`` on: the same whether training was interrupted or not."""
    numbers = range(first * settings.batch, settings.last * settings.batch)
    batches = DataLoader(
        _Numbered(source),
        batch_size=settings.batch,
        sampler=numbers,
        num_workers=settings.workers,
        prefetch_factor=4 if settings.workers else None,
        collate_fn=_collate,
    )
    for batch in batches:
        if isinstance(batch, NeuroprintError):
            raise batch
        yield batch


@dataclass
class _State:
    """How far a training is.

    Attributes:
        done: Steps.
        seconds: Spent on them, pauses left out.
        recent: Losses of the steps since the last validation.
    """

    done: int = 0
    seconds: float = 0.0
    recent: list[float] = field(default_factory=list)


def _save(checkpoint: Path, network: Module, optimizer: torch.optim.Optimizer, state: _State) -> None:
    with written_whole(checkpoint) as file:
        torch.save({"network": network.state_dict(), "optimizer": optimizer.state_dict(), **vars(state)}, file)


def _resume(network: Module, optimizer: torch.optim.Optimizer, checkpoint: Path, device: str) -> _State:
    """Where training was broken off; checkpoints of older versions know the steps alone."""
    if not checkpoint.is_file():
        return _State()
    try:
        found = torch.load(checkpoint, map_location=device, weights_only=True)
        network.load_state_dict(found["network"])
        optimizer.load_state_dict(found["optimizer"])
        return _State(int(found["done"]), float(found.get("seconds", 0.0)), list(found.get("recent", [])))
    except Exception as error:
        raise NeuroprintError(f"{checkpoint}: the checkpoint cannot be read; delete it to start anew") from error

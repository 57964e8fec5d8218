"""What training is fed with: an example, where examples come from, and how prepared ones are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import torch

from neuroprint.data.files import written_whole
from neuroprint.errors import NeuroprintError

if TYPE_CHECKING:
    from torch import Tensor


class Example(NamedTuple):
    """One scan and its truth.

    Attributes:
        image: ``(C, X, Y, Z)`` as the network wants it.
        regions: ``(3, X, Y, Z)`` 0 or 1: whole tumor, core, enhancing.
    """

    image: Tensor
    regions: Tensor


class Source(Protocol):
    """Where examples come from."""

    @property
    def identity(self) -> dict[str, Any]:
        """JSON-able: equal identities give equal examples."""

    @property
    def learned_from(self) -> frozenset[str]:
        """Marks of the image files that are learned from, as :mod:`neuroprint.encoders.trained_on` makes them."""

    def ready(self) -> None:
        """Check and prepare what can be prepared; called once, before the first step.

        Raises:
            NeuroprintError: There is nothing to learn from, or nothing to validate on.
        """

    def example(self, number: int) -> Example:
        """The training example of this number: a pure function of it, so that training can be resumed anywhere."""

    def validation(self) -> Iterator[Example]:
        """Scans that are never trained on, as they come, one at a time."""


def kept(file: Path, make: Callable[[], Example]) -> Example:
    """The example in a file; made and written the first time, the image in float16: thousands have to fit on a disk."""
    if file.is_file():
        with np.load(file) as stored:
            image, regions = stored["image"], stored["regions"]
    else:
        made = make()
        image, regions = made.image.half().numpy(), made.regions.bool().numpy()
        with written_whole(file) as stream:
            np.savez(stream, image=image, regions=regions)
    return Example(torch.from_numpy(image).float(), torch.from_numpy(regions).float())


def widened(example: Example, divisor: int) -> Example:
    """With background beside it where the network's bottleneck would be one cell: instance norm is undefined on that."""
    if max(example.image.shape[1:]) > divisor:
        return example
    return Example(*(torch.nn.functional.pad(part, (0, divisor)) for part in example))


def framed(example: Example, size: Sequence[int]) -> Example:
    """An example in a field of view of ``size`` voxels about its own middle: cropped, or with background around it."""
    missing = [wanted - found for wanted, found in zip(size, example.image.shape[1:], strict=True)]
    # PyTorch wants the last axis first; less than nothing is cropped.
    padding = [side for n in reversed(missing) for side in (n // 2, n - n // 2)]
    return Example(*(torch.nn.functional.pad(part, padding) for part in example))


def shuffled(seed: int, cases: int, number: int) -> int:
    """Which case example ``number`` shows: every case once an epoch, in an order of its own."""
    epoch, place = divmod(number, cases)
    return int(np.random.default_rng([seed, epoch, cases]).permutation(cases)[place])


def check_size(size: Sequence[int], divisor: int) -> None:
    """Refuse a field of view that the network cannot take.

    Raises:
        NeuroprintError: It is not three multiples of the network's divisor.
    """
    if len(size) != 3 or any(n < divisor or n % divisor for n in size) or max(size) == divisor:
        raise NeuroprintError(
            f"learn_from.size={list(size)}: must be three multiples of {divisor} voxels, not all of them {divisor}"
        )

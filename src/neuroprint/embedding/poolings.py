"""Poolings: a feature map becomes a vector. Each is one pure function.

Every pooling takes

- ``features``: ``(C, X, Y, Z)``, one level's map of one case, of any float type;
- ``brain``: ``(X, Y, Z)``, the share of each cell that lies in the brain, from 0 to 1;

and returns a vector, float32, finite wherever the features are. A vector of more than one number a channel is made of
blocks of ``C``: all channels' first number, then all channels' second. Parameters beyond ``features`` and ``brain``
come from the pooling's YAML file.

Sums run in double precision: squares of large features do not overflow, and a GPU's other order of adding up stays
below the precision of what is stored. They run over a few channels at a time, which then stay in the processor's cache:
a level of full resolution has 30 million numbers, and all poolings of it together must not cost more than the network.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal, Protocol

from neuroprint.errors import NeuroprintError

if TYPE_CHECKING:
    from torch import Tensor

_FLOAT32_MAX = 3.4028234663852886e38
_BLOCK = 2**20  # numbers that are in double precision at once


class Pooling(Protocol):
    """A function from a feature map and the brain's share of each of its cells to a vector."""

    def __call__(self, features: Tensor, brain: Tensor) -> Tensor: ...


def mean(features: Tensor, brain: Tensor) -> Tensor:
    """Average of each channel over all cells: ``(C,)``."""
    return _by_block(features, lambda cells: cells.mean(dim=1))


def max(features: Tensor, brain: Tensor) -> Tensor:
    """Largest value of each channel over all cells: ``(C,)``."""
    return _vector(features.amax(dim=(1, 2, 3)))


def std(features: Tensor, brain: Tensor) -> Tensor:
    """Standard deviation of each channel over all cells, with the number of cells as the divisor: ``(C,)``."""
    return mean_std(features, brain)[features.shape[0] :]


def mean_std(features: Tensor, brain: Tensor) -> Tensor:
    """:func:`mean`, then :func:`std`: ``(2C,)``."""
    import torch

    def moments(cells: Tensor) -> Tensor:
        average = cells.mean(dim=1)
        cells -= average[:, None]
        return torch.stack([average, cells.square_().mean(dim=1).sqrt()])

    return _by_block(features, moments)


def gem(features: Tensor, brain: Tensor, p: float = 3.0, eps: float = 1e-6) -> Tensor:
    """Generalized mean of each channel: ``(1/N sum_i max(x_i, eps)^p)^(1/p)``, ``(C,)``.

    Between the mean (p = 1) and the maximum (p to infinity); Radenović, Tolias and Chum 2018, arXiv:1711.02512, eq. 3.
    Features below ``eps`` count as ``eps``, as in the authors' code: made for features after a ReLU, it does not see how
    negative the others are. Powers are of shares of the largest feature, so that none overflows.
    """
    _require(p > 0, "p", p, "must be greater than 0")
    _require(eps > 0, "eps", eps, "must be greater than 0")

    def generalized(cells: Tensor) -> Tensor:
        largest = cells.clamp_(min=eps).amax(dim=1)
        return (cells / largest[:, None]).pow(p).mean(dim=1).pow(1 / p) * largest

    return _by_block(features, generalized)


def quantile(features: Tensor, brain: Tensor, q: Sequence[float] = (0.1, 0.5, 0.9)) -> Tensor:
    """Quantiles of each channel over all cells, interpolated linearly between cells: ``(len(q) C,)``."""
    import torch

    _require(len(q) > 0 and all(0 <= share <= 1 for share in q), "q", q, "must be numbers from 0 to 1")
    ranked = _ranked(features.flatten(1))
    blocks = []
    for share in q:
        below, fraction = divmod(share * (ranked.shape[1] - 1), 1)
        low, high = ranked[:, int(below)].double(), ranked[:, math.ceil(below + fraction)].double()
        blocks.append(low + fraction * (high - low))
    return _vector(torch.cat(blocks))


def top_mean(features: Tensor, brain: Tensor, share: float = 0.05) -> Tensor:
    """Mean of the strongest ``share`` of each channel's cells, of one cell at least: ``(C,)``."""
    _require(0 < share <= 1, "share", share, "must be greater than 0 and at most 1")
    cells = features.flatten(1)
    count = round(share * cells.shape[1]) or 1
    return _vector(_largest(cells, count).double().mean(dim=1))


def foreground_mean(features: Tensor, brain: Tensor) -> Tensor:
    """Average of each channel over the brain: cells weigh by their share of it. ``(C,)``.

    Where no cell has any brain, the average over all cells.
    """
    weights = _brain_weights(brain)
    return _by_block(features, lambda cells: cells @ weights)


def pyramid(
    features: Tensor, brain: Tensor, cells: Sequence[int] = (1, 2, 4), statistic: Literal["mean", "max"] = "mean"
) -> Tensor:
    """Spatial pyramid: each channel's mean or maximum in n x n x n parts of the brain's box, for each n in ``cells``.

    Lazebnik, Schmid and Ponce 2006, for feature maps instead of histograms, levels concatenated without weights. Parts
    divide the box evenly, wherever it lies in the map, so that padding plays no role: cells that a border cuts weigh in a
    mean by what lies within, and take part in the maximum on both sides.

    Returns:
        ``(sum_n n^3 C,)``: a block of C for every part, x slowest and z fastest, level after level.
    """
    import torch

    _require(len(cells) > 0 and all(n >= 1 for n in cells), "cells", cells, "must be whole numbers from 1 on")
    _require(statistic in ("mean", "max"), "statistic", statistic, "must be mean or max")
    faces = _box_faces(brain)
    if statistic == "mean":
        return _pyramid_of_means(features, faces, [int(n) for n in cells])
    blocks = []
    for n in cells:
        parts = features.double()
        for low, high in faces:
            # The axis at hand is always the first after the channels; its parts go last.
            weights = _overlaps(low, high, int(n), parts.shape[1])
            # Less than a thousandth of the most is a border that rounding has moved.
            inside = weights > 1e-3 * weights.amax(dim=1, keepdim=True)
            parts = torch.stack([parts[:, row].amax(dim=1) for row in inside], dim=-1)
        blocks.append(parts.flatten(1).T.flatten())
    return _vector(torch.cat(blocks))


def _pyramid_of_means(features: Tensor, faces: Sequence[tuple[Tensor, Tensor]], cells: Sequence[int]) -> Tensor:
    """The means of all levels of a pyramid together: each axis is gone through once."""
    import torch

    x, y, z = (
        torch.cat([_overlaps(low, high, n, size) for n in cells])
        for (low, high), size in zip(faces, features.shape[1:], strict=True)
    )
    starts = [sum(cells[:place]) for place in range(len(cells))]

    def parts(block: Tensor) -> Tensor:
        grid = y @ (block.reshape(-1, *features.shape[1:]) @ z.T)  # (c, X, y parts, z parts)
        grid = (x @ grid.flatten(2)).reshape(-1, len(x), len(y), len(z))
        levels = [grid[:, a : a + n, a : a + n, a : a + n].flatten(1) for a, n in zip(starts, cells, strict=True)]
        return torch.cat(levels, dim=1).T

    return _by_block(features, parts)


def spatial_softmax(features: Tensor, brain: Tensor, temperature: float = 1.0) -> Tensor:
    """Where each channel is active: its expected position in the brain's box, ``(3C,)``, x then y then z.

    Finn et al. 2016, arXiv:1509.06113, eq. 2: the mean position of the cells under a softmax of the features. Here the
    softmax runs over the brain, cells weighing by their share of it, and positions along each axis of the map are 0 in
    the middle of the brain's box and -1 and 1 at its faces, so that neither padding nor where and how large the head lies
    in the scan plays a role. Each channel is standardized over the brain first: the temperature is in its standard
    deviations. A channel without contrast gives the brain's center of gravity.

    Args:
        features: ``(C, X, Y, Z)``.
        brain: ``(X, Y, Z)``.
        temperature: Low, and the position is that of the strongest cell; high, and all is the brain's center of gravity.
    """
    import torch

    _require(temperature > 0, "temperature", temperature, "must be greater than 0")
    inside, weights = _brain_cells(brain)
    places = _places(brain)[inside]

    def positions(cells: Tensor) -> Tensor:
        largest = cells.abs().amax(dim=1, keepdim=True)
        cells = cells[:, inside]
        cells -= (cells @ weights)[:, None]
        deviation = (cells.square() @ weights).sqrt()[:, None]
        # The features' own rounding is no contrast to be blown up to unit size.
        flat = deviation <= 1e-6 * largest
        cells *= torch.where(flat, 0.0, 1 / (torch.where(flat, 1.0, deviation) * temperature))
        cells += weights.log()
        return (cells.softmax(dim=1) @ places).T

    return _by_block(features, positions)


def center_of_mass(features: Tensor, brain: Tensor) -> Tensor:
    """Where the mass of each channel lies in the brain's box, mass being sigmoid(feature): ``(3C,)``, x then y then z.

    Of the logits of a segmentation this is the expected center of the region: each cell counts by the probability that it
    belongs to it. Unlike :func:`spatial_softmax` it takes features in their own unit, and once the network is sure of a
    part, how sure no longer matters. Cells and coordinates are as there.
    """
    import torch

    inside, weights = _brain_cells(brain)
    places = _places(brain)[inside]

    def centers(cells: Tensor) -> Tensor:
        cells = cells[:, inside]
        # By their logarithms: where there is next to no mass, what there is still has a center.
        mass = torch.nn.functional.logsigmoid(cells).where(cells.isfinite(), torch.nan)
        return ((mass + weights.log()).softmax(dim=1) @ places).T

    return _by_block(features, centers)


def covariance(features: Tensor, brain: Tensor, rank: int = 32, seed: int = 0) -> Tensor:
    """Second-order pooling: how channels vary together over the brain, ``(R (R + 1) / 2,)`` for R = min(rank, C).

    The upper triangle, row by row, of the channels' covariance over the brain, each number replaced by its signed square
    root as in bilinear pooling (Lin, RoyChowdhury and Maji 2015, arXiv:1504.07889; about the mean: Acharya et al. 2018,
    arXiv:1805.00794). More than ``rank`` channels are mixed to ``rank`` first, by a fixed Gaussian matrix drawn from
    ``seed`` (variance 1 / C), which keeps the vector short (Gao et al. 2016, arXiv:1511.06062, to the same end).
    """
    import torch

    _require(rank >= 1, "rank", rank, "must be at least 1")
    inside, weights = _brain_cells(brain)
    cells = features.flatten(1)[:, inside].double()
    channels = len(cells)
    if channels > rank:
        generator = torch.Generator().manual_seed(seed)
        mix = torch.randn(rank, channels, generator=generator, dtype=torch.float64) / math.sqrt(channels)
        cells = mix.to(cells.device) @ cells
    centered = cells - (cells @ weights)[:, None]
    matrix = (centered * weights) @ centered.T
    row, column = torch.triu_indices(len(cells), len(cells), device=cells.device)
    upper = matrix[row, column]
    # A mixture of very large channels may be larger than single precision holds.
    return _vector(upper.sign() * upper.abs().sqrt().clamp_max(_FLOAT32_MAX))


def _by_block(features: Tensor, pool: Callable[[Tensor], Tensor]) -> Tensor:
    """Pool a few channels at a time and put the results together.

    Args:
        features: ``(C, X, Y, Z)``.
        pool: From ``(c, cells)`` in double precision, its own copy, to ``(c,)``, or ``(n, c)``: n numbers a channel.

    Returns:
        ``(C,)``, or ``(n C,)``: a block of C for each of the numbers.
    """
    import torch

    return _vector(torch.cat([pool(block) for block in _blocks(features.flatten(1))], dim=-1).flatten())


def _blocks(rows: Tensor) -> Iterator[Tensor]:
    """Two rows at least, so that what is added up in which order does not depend on the number of threads."""
    import torch

    channels = _BLOCK // rows.shape[1]
    for block in torch.split(rows, channels if channels > 2 else 2):
        yield block.to(dtype=torch.float64, copy=True)


def _ranked(rows: Tensor) -> Tensor:
    """Each row sorted. NumPy does it ten times as fast as PyTorch on a processor."""
    import numpy as np
    import torch

    return rows.sort(dim=1).values if _on_gpu(rows) else torch.from_numpy(np.sort(rows.float().numpy(), axis=1))


def _largest(rows: Tensor, count: int) -> Tensor:
    """The ``count`` largest numbers of each row, in no particular order."""
    import numpy as np
    import torch

    if _on_gpu(rows):
        return rows.topk(count, dim=1, sorted=False).values
    first = rows.shape[1] - count
    return torch.from_numpy(np.partition(rows.float().numpy(), first, axis=1)[:, first:])


def _on_gpu(rows: Tensor) -> bool:
    return rows.device.type != "cpu"


def _vector(numbers: Tensor) -> Tensor:
    """Single precision. Infinite features stay infinite, or become NaN: extraction is to see them."""
    return numbers.float()


def _brain_weights(brain: Tensor) -> Tensor:
    """Each cell's share of the brain, ``(cells,)``, summing to 1; of the whole map where there is no brain."""
    weights = brain.flatten().double()
    if not bool(weights.any()):
        weights = weights + 1
    return weights / weights.sum()


def _brain_cells(brain: Tensor) -> tuple[Tensor, Tensor]:
    """Where there is brain, ``(n,)`` numbers of cells, and each one's share of it, ``(n,)``, summing to 1."""
    weights = _brain_weights(brain)
    inside = weights.nonzero()[:, 0]
    return inside, weights[inside]


def _places(brain: Tensor) -> Tensor:
    """Positions of a map's cells in the brain's box, ``(cells, 3)``: 0 in its middle, -1 and 1 at its faces."""
    import torch

    middles = [
        (2 * (torch.arange(size, dtype=torch.float64, device=brain.device) + 0.5) - low - high) / (high - low)
        for size, (low, high) in zip(brain.shape, _box_faces(brain), strict=True)
    ]
    return torch.stack([grid.flatten() for grid in torch.meshgrid(*middles, indexing="ij")], dim=1)


def _box_faces(brain: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Both faces of the brain's box along each axis, in cells from the map's edge, to a fraction of a cell.

    The fullest cell of each slice, relative to the fullest of all, tells how much of the slice's thickness the brain
    takes up. The box reaches from inside the brain as far as these shares add up to, on either side: exact for a box
    that fills a cell, and a speck of brain in the air moves a face by no more than its own share of a cell.
    Where there is no brain, the whole map.
    """
    import torch

    brain = brain.double() if bool(brain.any()) else torch.ones_like(brain, dtype=torch.float64)
    faces = []
    for axis in range(3):
        profile = brain.amax(dim=[other for other in range(3) if other != axis]) / brain.amax()
        start = torch.arange(len(profile), dtype=torch.float64, device=brain.device)
        inside = (profile * (start + 0.5)).sum() / profile.sum()
        low = inside - (profile * (inside - start).clamp(0, 1)).sum()
        high = inside + (profile * (start + 1 - inside).clamp(0, 1)).sum()
        faces.append((low, high))
    return faces


def _overlaps(low: Tensor, high: Tensor, n: int, size: int) -> Tensor:
    """The share that each of ``size`` cells has in each of ``n`` even parts from ``low`` to ``high``: ``(n, size)``."""
    import torch

    edges = low + (high - low) * torch.arange(n + 1, dtype=torch.float64, device=low.device) / n
    start = torch.arange(size, dtype=torch.float64, device=low.device)
    shared = torch.minimum(edges[1:, None], start + 1) - torch.maximum(edges[:-1, None], start)
    shared = shared.clamp_min(0)
    return shared / shared.sum(dim=1, keepdim=True)


def _require(holds: bool, name: str, value: object, rule: str) -> None:
    if not holds:
        raise NeuroprintError(f"pooling.{name}={value}: {rule}")

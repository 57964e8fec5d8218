"""Any PyTorch network as an encoder: levels are outputs of sub-modules that the configuration names."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from neuroprint.catalog.code import foreign_code
from neuroprint.catalog.instantiate import instantiate
from neuroprint.encoders.base import Forward, InputSpec, Level, Normalization, PerSeries
from neuroprint.encoders.taps import measure_levels, tap, watch_weights
from neuroprint.encoders.weights_file import WeightsFile
from neuroprint.encoders.weights_fit import load_strictly
from neuroprint.errors import NeuroprintError

if TYPE_CHECKING:
    from torch.nn import Module


class ModuleEncoder:
    """A network of the user's choice.

    Its identity covers the source files of the classes that the configuration names and the versions of their packages; not
    what a file of the user's own imports from other files of theirs.

    Channels and strides of the levels are measured on an input of zeros as soon as the encoder is made: what is wrong is said
    before a scan is read. It is the one encoder that needs PyTorch for that.

    Args:
        network: The network's class by ``_target_``, and its arguments.
        levels: Dotted names of sub-modules, shallow to deep; the last is the default.
        modalities: Channel order.
        divisor: What the network needs every spatial size to be a multiple of.
        spacing_mm: Input voxel size; None keeps the scan's own grid.
        normalization: See :class:`~neuroprint.encoders.base.InputSpec`.
        weights: As :class:`~neuroprint.encoders.weights_file.WeightsFile` takes them; None for random weights. Only what the
            levels are computed with must be in the file and fit: a head may be another, or absent.
        sha256: Of the weights' file, which is then refused if it is another; None takes it as it is.
        seed: Of random weights.
        cache: Folder for weights that are downloaded.
        per_series: Of a network of one channel, see :class:`~neuroprint.encoders.base.InputSpec`.

    Raises:
        NeuroprintError: The network cannot be built, or a level is not a feature map of it.
    """

    def __init__(
        self,
        network: Mapping[str, Any] | None,
        levels: Sequence[str],
        modalities: Sequence[str],
        divisor: int = 32,
        spacing_mm: float | None = None,
        normalization: Normalization = "nonzero_channelwise",
        weights: str | None = None,
        sha256: str | None = None,
        seed: int = 0,
        cache: str = ".neuroprint/weights",
        per_series: PerSeries = None,
    ) -> None:
        if not network or "_target_" not in network:
            raise NeuroprintError(
                "encoder.network is missing: give its class and arguments, {_target_: package.Class, ...}"
            )
        self._names = tuple(str(name) for name in levels)
        if not self._names or len(set(self._names)) != len(self._names):
            raise NeuroprintError(f"encoder.levels={list(levels)}: name at least one sub-module, each once")
        if divisor < 1:
            raise NeuroprintError(f"encoder.divisor={divisor}: must be at least 1")
        self.seed = seed
        self.weights = WeightsFile(weights, sha256, cache) if weights else None
        self.input = InputSpec(tuple(modalities), spacing_mm, normalization, divisor, per_series=per_series)
        self._network = json.dumps(dict(network), sort_keys=True)
        self.levels, self._used = _measured(self._network, self._names, self.input.channels, divisor)

    @property
    def trained(self) -> bool:
        return self.weights is not None

    @property
    def default_level(self) -> str:
        return self._names[-1]

    @cached_property
    def identity(self) -> dict[str, Any]:
        drawn = {"seed": self.seed, "monai": version("monai"), "torch": version("torch").split("+")[0]}
        weights = {"sha256": self.weights.sha256} if self.weights else drawn
        network = json.loads(self._network)
        return {"network": network, "code": foreign_code(network), "levels": list(self._names), "weights": weights}

    def untrained(self) -> ModuleEncoder:
        """The same network and input on random weights of seed 0."""
        read = self.input
        return ModuleEncoder(
            network=json.loads(self._network),
            levels=self._names,
            modalities=read.modalities,
            divisor=read.divisor,
            spacing_mm=read.spacing_mm,
            normalization=read.normalization,
            per_series=read.per_series,
        )

    def load(self, device: str) -> Forward:
        network = _build(self._network, self.seed)
        if self.weights:
            load_strictly(network, self.weights.load(), self.weights.source, self._used)
        return tap(network.to(device), self._names)


def _measured(network: str, names: tuple[str, ...], channels: int, divisor: int) -> tuple[tuple[Level, ...], set[str]]:
    """The levels, and the names of the weights that they are computed with."""
    import torch

    built = _build(network, 0)
    forward = tap(built, names)
    # Longer along one axis: instance norm is undefined on a bottleneck of one cell.
    batch = torch.zeros(1, channels, 2 * divisor, divisor, divisor)
    try:
        with watch_weights(built) as used:
            levels = measure_levels(forward, names, batch)
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
        raise NeuroprintError(
            f"encoder.network: fails on an input of {tuple(batch.shape)} ({_line(error)}); "
            "are its channels those of encoder.modalities, and its sizes multiples of encoder.divisor?"
        ) from error
    unfit = [f"{level.name} {level.stride}" for level in levels if divisor % level.stride]
    if unfit:
        raise NeuroprintError(
            f"encoder.divisor={divisor}: must be a multiple of every level's stride ({', '.join(unfit)})"
        )
    return levels, used


def _build(network: str, seed: int) -> Module:
    """The network of a JSON configuration, its random weights drawn by ``seed``, for inference."""
    import torch

    config = json.loads(network)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        built = instantiate(config, "encoder.network")
    if not isinstance(built, torch.nn.Module):
        raise NeuroprintError(f"encoder.network: {config['_target_']} is no torch.nn.Module but {type(built).__name__}")
    return built.eval().requires_grad_(False)


def _line(error: BaseException) -> str:
    return re.sub(r"\s+", " ", str(error))[:200]

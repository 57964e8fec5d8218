"""Encoders of nnU-Net's family: the stages of a U-Net of the package dynamic-network-architectures, without its decoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal

from neuroprint.encoders.base import Forward, InputSpec, Level, PerSeries
from neuroprint.encoders.unet_plan import UNetPlan
from neuroprint.encoders.weights_file import WeightsFile
from neuroprint.encoders.weights_fit import load_strictly
from neuroprint.errors import NeuroprintError

if TYPE_CHECKING:
    from torch import Tensor

PlannedSpacing = float | Literal["plan"] | None


class DynamicUNetEncoder:
    """A U-Net's encoder as a plan describes it. Levels are its stages, from the full resolution down; the decoder is not run.

    Args:
        plan: See :class:`~neuroprint.encoders.unet_plan.UNetPlan`.
        read: What the network wants to see.
        weights: A file with the whole network or its encoder alone; None for random weights.
        seed: Of random weights.
    """

    def __init__(self, plan: UNetPlan, read: InputSpec, weights: WeightsFile | None = None, seed: int = 0) -> None:
        self.plan, self.input, self.weights, self.seed = plan, read, weights, seed

    @property
    def trained(self) -> bool:
        return self.weights is not None

    @property
    def levels(self) -> tuple[Level, ...]:
        return self.plan.levels

    @property
    def default_level(self) -> str:
        return self.levels[-1].name

    @property
    def carried(self) -> dict[str, Any]:
        """Arguments in the place of files beside the weights: with them the weights alone make this encoder again."""
        return {"plan": asdict(self.plan)}

    @cached_property
    def identity(self) -> dict[str, Any]:
        packages = {name: version(name).split("+")[0] for name in ("dynamic-network-architectures", "torch")}
        weights = {"sha256": self.weights.sha256} if self.weights else {"seed": self.seed, **packages}
        return {"network": self.plan.network, **self.plan.arguments, "channels": self.plan.channels, "weights": weights}

    def untrained(self) -> DynamicUNetEncoder:
        """The same network and input on random weights of seed 0."""
        return DynamicUNetEncoder(self.plan, self.input)

    def load(self, device: str) -> Forward:
        """As :class:`~neuroprint.encoders.base.Encoder` says.

        Raises:
            NeuroprintError: The weights are not the expected ones, or not of this network's encoder.
        """
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            network = self.plan.build()
        if self.weights is not None:
            load_strictly(network, self.weights.load(), self.weights.source)
        network.eval().requires_grad_(False).to(device)
        stem, stages = getattr(network, "stem", None), list(network.get_submodule("stages").children())

        def forward(batch: Tensor) -> list[Tensor]:
            features = batch if stem is None else stem(batch)
            maps = []
            for stage in stages[: len(self.levels)]:
                features = stage(features)
                maps.append(features)
            return maps

        return forward


def planned_input(
    plan: UNetPlan, modalities: Sequence[str], per_series: PerSeries, spacing_mm: PlannedSpacing
) -> InputSpec:
    """The input specification of a planned network.

    Args:
        plan: See :class:`~neuroprint.encoders.unet_plan.UNetPlan`.
        modalities: Channel order; empty for the plan's own.
        per_series: For a network of one channel, see :class:`~neuroprint.encoders.base.InputSpec`.
        spacing_mm: Edge of the voxels; ``plan`` for the plan's.

    Raises:
        NeuroprintError: The number of channels is not the network's, or the plan's voxels are no cubes.
    """
    if spacing_mm == "plan":
        sizes = plan.spacing_mm
        if sizes is not None and max(sizes) - min(sizes) > 1e-3:
            edges = " x ".join(f"{size:g}" for size in sizes)
            raise NeuroprintError(
                f"encoder.spacing_mm=plan: the network was trained on voxels of {edges} mm, and "
                "neuroprint resamples to cubes: choose their edge, as encoder.spacing_mm=1.0"
            )
        spacing_mm = None if sizes is None else float(sizes[0])
    series = tuple(modalities) or (() if per_series is not None else tuple(plan.names))
    if per_series is None and len(series) != plan.channels:
        raise NeuroprintError(
            f"encoder.modalities=[{','.join(series)}]: the network has {plan.channels} channels"
            + (f", {', '.join(plan.names)}" if plan.names else "")
            + ("; or give encoder.per_series=concat" if plan.channels == 1 else ": name them in this order")
        )
    if per_series is not None and plan.channels != 1:
        raise NeuroprintError(f"encoder.per_series={per_series}: the network has {plan.channels} channels, not one")
    return InputSpec(
        series,
        spacing_mm,
        plan.normalization,
        divisor=max(level.stride for level in plan.levels),
        orientation=plan.orientation,
        per_series=per_series,
    )


def carried_plan(plan: Mapping[str, Any]) -> UNetPlan:
    """A plan that a bundle carries.

    Raises:
        NeuroprintError: It is damaged.
    """
    try:
        return UNetPlan(**plan)
    except (TypeError, KeyError, ValueError) as error:
        raise NeuroprintError(f"encoder.plan: cannot be read ({error}); export the bundle anew") from error

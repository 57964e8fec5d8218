"""An encoder with weights: what a class needs so that scores, store and bundle tell one file of weights from another."""

from collections.abc import Sequence
from typing import Any, Self

import torch

from neuroprint.encoders.base import Forward, InputSpec, Level, PerSeries
from neuroprint.encoders.weights_file import WeightsFile
from neuroprint.encoders.weights_fit import load_strictly
from neuroprint_example.network import TwoStages


class TwoStagesEncoder:
    """The network of ``network.py``.

    Args:
        modalities: Series that it is asked for; empty for all that the cohort has.
        weights: A file or an address; None for random weights.
        sha256: Of that file; None takes it as it is. A bundle gives both arguments by these names.
        per_series: ``concat``, ``mean``, or a list of series.
    """

    levels = (Level("first", 8, 1), Level("second", 16, 2))
    default_level = "second"

    def __init__(
        self,
        modalities: Sequence[str] = (),
        weights: str | None = None,
        sha256: str | None = None,
        per_series: PerSeries = "concat",
    ) -> None:
        self.weights = WeightsFile(weights, sha256) if weights else None  # a bundle looks for this attribute
        self.input = InputSpec(tuple(modalities), spacing_mm=4.0, divisor=2, per_series=per_series)

    @property
    def trained(self) -> bool:
        return self.weights is not None

    @property
    def identity(self) -> dict[str, Any]:
        """The key ``weights`` says which file it is, or how random weights are drawn."""
        weights = {"sha256": self.weights.sha256} if self.weights else {"seed": 0, "torch": torch.__version__}
        return {"network": "two_stages", "version": 1, "weights": weights}

    def untrained(self) -> Self:
        """The same on random weights, for the reference row ``untrained``; without this method there is no such row."""
        return type(self)(self.input.modalities, per_series=self.input.per_series)

    def load(self, device: str) -> Forward:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = TwoStages()
        if self.weights:
            load_strictly(network, self.weights.load(), self.weights.source)
        return network.to(device).eval().requires_grad_(False)

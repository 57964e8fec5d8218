"""A perturbation: one method from a scan to a changed one."""

from dataclasses import dataclass, replace

import numpy as np

from neuroprint.embedding.perturbations import Perturbation, StrippedScan


@dataclass(frozen=True, kw_only=True)
class Darker(Perturbation):
    """Every series is darker towards one end of the volume's last axis.

    Attributes:
        share: How much darker at that end.
    """

    share: float = 0.5

    def change(self, scan: StrippedScan) -> StrippedScan:
        ramp = np.linspace(1.0 - self.share, 1.0, scan.images.shape[-1], dtype=np.float32)
        return replace(scan, images=scan.images * ramp)

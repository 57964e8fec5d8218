"""What is left to chance in a phantom, and what is settled before."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from neuroprint.phantom.contrast import USUAL, Scanner
from neuroprint.phantom.tumor import GLIOMA, TumorKind


@dataclass(frozen=True)
class Draws:
    """One generator for each part of a phantom, so that no part depends on how much another one draws.

    Attributes:
        anatomy: Draws the person.
        tumor: Draws the tumor.
        pose: Draws how the head lies.
        contrast: Draws the signal of tissues, their texture and the receive field.
        noise: Draws slices and noise.
        age: From 0 (young) to 1 (old); None leaves it to ``anatomy``.
        kind: What is asked of the tumor.
        scanner: How the scanner sees.
    """

    anatomy: np.random.Generator
    tumor: np.random.Generator
    pose: np.random.Generator
    contrast: np.random.Generator
    noise: np.random.Generator
    age: float | None = None
    kind: TumorKind = GLIOMA
    scanner: Scanner = USUAL


def usual_draws(seed: int, index: int) -> Draws:
    """Those of case ``index`` of the default phantoms; the generators are fresh at every call."""
    anatomy, tumor, pose, contrast, noise = np.random.default_rng([seed, index]).spawn(5)
    return Draws(anatomy, tumor, pose, contrast, noise)

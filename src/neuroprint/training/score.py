"""How well a trained network outlines tumors it has never seen, on its own grid."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from neuroprint.data.brain_box import brain_box
from neuroprint.data.volume import read_volume
from neuroprint.embedding.preprocessing import prepare
from neuroprint.training.regions import dice, prepare_regions, without_specks

if TYPE_CHECKING:
    from torch.nn import Module

    from neuroprint.data.case import Case
    from neuroprint.encoders.base import InputSpec


class Segmenter(Protocol):
    """An encoder that has kept its decoder."""

    @property
    def input(self) -> InputSpec: ...

    def network(self, device: str) -> Module:
        """``(B, C, X, Y, Z)`` to the logits of whole tumor, core and enhancing tumor ``(B, 3, X, Y, Z)``."""


def dice_of_cases(
    segmenter: Segmenter, cases: Sequence[Case], device: str = "cpu"
) -> Iterator[npt.NDArray[np.float64]]:
    """Dice of whole tumor, core and enhancing tumor, case by case, at a probability of one half: ``(4,)``.

    Specks of enhancing tumor are dropped (:func:`~neuroprint.training.regions.without_specks`); the last number is that of
    enhancing tumor where they are not.

    Raises:
        CaseError: A case cannot be read.
        ValueError: A case has no label.
    """
    import torch

    network, spec = segmenter.network(device), segmenter.input
    for case in cases:
        volume = read_volume(case, spec.modalities)
        if volume.label is None:
            raise ValueError(f"case {case.id} has no label to compare with")
        box = brain_box(volume.images)
        image = torch.from_numpy(prepare(list(volume.images), volume.affine, box, spec).image)
        with torch.inference_mode():
            shown = (network(image[None].to(device))[0] > 0).cpu().numpy()
        truth = prepare_regions(volume.label, case.label_convention, volume.affine, box, spec)
        as_shown = dice(shown, truth)
        if spec.spacing_mm is not None:
            shown = without_specks(shown, spec.spacing_mm**3)
        yield np.append(dice(shown, truth), as_shown[2])

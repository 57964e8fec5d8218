"""A case: who was scanned, and which file holds what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Frame = Literal["world", "brain"]
LabelConvention = str
"""What a label's numbers mean: a name, or the numbers spelled out (see :mod:`neuroprint.data.labels`)."""


@dataclass(frozen=True)
class ImageFile:
    """One 3-D image on disk: a file, and the channel where the file is 4-D."""

    path: Path
    channel: int | None = None


@dataclass(frozen=True)
class Case:
    """One examination of one patient.

    Attributes:
        id: Unique within the cohort; the only name that leaves this machine's disk.
        patient: Examinations of one patient share it; folds and galleries are by patient.
        images: File of each modality, by the modality's name (``flair``, ``t1ce``, ``t1``, ``t2`` ...).
        label: The tumor segmentation, where there is one.
        label_convention: What the label's numbers mean (see :mod:`neuroprint.data.labels`).
        metadata: Further columns (response, grade, site ...), as read.
    """

    id: str
    patient: str
    images: Mapping[str, ImageFile]
    label: ImageFile | None = None
    label_convention: LabelConvention = "brats"
    metadata: Mapping[str, str | float] = field(default_factory=dict)

    def files(self) -> dict[str, ImageFile]:
        """Every file of the case by role: the modalities, then ``label``."""
        return {**self.images, **({"label": self.label} if self.label else {})}

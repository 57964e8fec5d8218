"""What is kept of a case's voxels once they have been read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from neuroprint.data.mips import PLANES

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from neuroprint.data.case import LabelConvention


@dataclass(frozen=True)
class CaseFacts:
    """The few numbers and small pictures that stand for a case's voxels.

    Attributes:
        affine: Voxel to world RAS+ mm, (4, 4) float64.
        shape: Voxels along each axis.
        spacing: Size of a voxel along each axis, mm.
        brain_box: (3, 2) int64, first voxel of the brain and the one after the last, per axis.
        has_label: Whether the case has a label at all; an empty label is one.
        label_convention: What the label's numbers mean.
        label_moments: For each non-zero value of the label its number of voxels and their mean index (i, j, k). The
            center of any region under any weighting follows from them.
        mips: Maximum intensity projections of FLAIR (else the first modality) over the brain box, uint8, by plane
            (see :mod:`neuroprint.data.mips`).
        outlines: The whole tumor projected likewise: bool masks of the same shapes, whose edge is the outline.
        label_cells: Where in the brain each non-zero value of the label lies (see :mod:`neuroprint.data.brain_grid`):
            numbers of the cells it reaches, uint16 ascending, and the share of each that it fills, uint8 in 255ths.
        contents: Hash of each modality's voxels within the brain's box, by which the same image is known again after
            it was compressed, cropped, padded or turned anew.
        appearance: What each series looks like as an image (see :mod:`neuroprint.data.appearance`).
        shifted: Modalities whose background is another value than 0.
    """

    affine: np.ndarray
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    brain_box: np.ndarray
    has_label: bool
    label_convention: LabelConvention
    label_moments: Mapping[int, tuple[int, tuple[float, float, float]]]
    mips: Mapping[str, np.ndarray]
    outlines: Mapping[str, np.ndarray]
    label_cells: Mapping[int, tuple[np.ndarray, np.ndarray]]
    contents: Mapping[str, str]
    appearance: Mapping[str, float]
    shifted: tuple[str, ...] = ()

    def to_arrays(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return the facts for storage: arrays by name, and a record that JSON can hold."""
        arrays = {"affine": self.affine, "brain_box": self.brain_box}
        arrays |= {f"mip_{plane}": picture for plane, picture in self.mips.items()}
        arrays |= {f"outline_{plane}": mask for plane, mask in self.outlines.items()}
        for value, (cells, filled) in self.label_cells.items():
            arrays |= {f"cells_{value}": cells, f"filled_{value}": filled}
        record = {
            "shape": list(self.shape),
            "spacing": list(self.spacing),
            "has_label": self.has_label,
            "label_convention": self.label_convention,
            "label_moments": {str(value): [count, *mean] for value, (count, mean) in self.label_moments.items()},
            "contents": dict(self.contents),
            "appearance": dict(self.appearance),
            "shifted": list(self.shifted),
        }
        return arrays, record

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], record: Mapping[str, Any]) -> CaseFacts:
        """Return the facts that :meth:`to_arrays` took apart."""
        x, y, z = (int(n) for n in record["shape"])
        dx, dy, dz = (float(mm) for mm in record["spacing"])
        moments = {int(value): (int(n), (i, j, k)) for value, (n, i, j, k) in record["label_moments"].items()}
        return cls(
            affine=arrays["affine"],
            shape=(x, y, z),
            spacing=(dx, dy, dz),
            brain_box=arrays["brain_box"],
            has_label=bool(record["has_label"]),
            label_convention=record["label_convention"],
            label_moments=moments,
            mips={plane: arrays[f"mip_{plane}"] for plane in PLANES},
            outlines={plane: arrays[f"outline_{plane}"] for plane in PLANES},
            label_cells={value: (arrays[f"cells_{value}"], arrays[f"filled_{value}"]) for value in moments},
            contents=record["contents"],
            appearance=record["appearance"],
            shifted=tuple(record["shifted"]),
        )

"""What scans are laid on: the mean T1 of a cohort, in that cohort's own space, or the MNI template."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np
import numpy.typing as npt

from neuroprint.data.case import Case, ImageFile
from neuroprint.data.digests import case_digests, digest
from neuroprint.data.files import written_whole
from neuroprint.data.volume import GRID_TOLERANCE_MM, Volume, read_volume
from neuroprint.errors import NeuroprintError
from neuroprint.prepare.naming import role_of

if TYPE_CHECKING:
    from neuroprint.data.cohort import Cohort

FEWEST_PATIENTS = 10
"""A mean of fewer shows a patient's own brain."""

_MOST_PATIENTS = 60  # more make it no sharper
_STEPS_PER_SD = 30.0  # in which a mean is kept, as whole numbers from 1 to 255 around the middle
_MIDDLE = 128.0


@dataclass(frozen=True, eq=False)
class BrainTemplate:
    """A brain to lay others on.

    Attributes:
        t1: (X, Y, Z) uint8. Each patient's T1 is scaled to mean 0 and deviation 1 within the brain and then averaged over
            those whose brain is there; 128 is that mean, 30 steps are one deviation, 0 is where nobody's brain is.
        share: (X, Y, Z) uint8, the share of the patients whose brain is there, in 1/255.
        affine: Voxel to world RAS+ mm, (4, 4).
        patients: How many.
        name: What it is, for people.
    """

    t1: npt.NDArray[np.uint8]
    share: npt.NDArray[np.uint8]
    affine: npt.NDArray[np.float64]
    patients: int
    name: str

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all that scans are prepared by."""
        return digest([self.t1.tobytes().hex(), self.share.tobytes().hex(), self.affine.round(6).tolist()])

    @cached_property
    def brain(self) -> npt.NDArray[np.bool_]:
        """(X, Y, Z) where at least half of the patients have brain."""
        return np.asarray(self.share >= 128)

    @cached_property
    def soft(self) -> npt.NDArray[np.float32]:
        """(X, Y, Z) the T1, fading to 0 as fewer patients have brain there: the mean over all of them, air included."""
        return np.asarray(self.t1 * (self.share / np.float32(255)), np.float32)

    def save(self, path: Path) -> None:
        """Write it as one NIfTI file of two images, which any viewer shows."""
        image = nib.Nifti1Image(np.stack([self.t1, self.share], axis=-1), self.affine)
        image.header["descrip"] = f"{self.patients} {self.name}".encode()[:79]
        with written_whole(path) as file:
            file.write(_packed(image))

    @classmethod
    def read(cls, path: Path) -> BrainTemplate:
        """The template in a file that :meth:`save` wrote.

        Raises:
            NeuroprintError: The file is no such file.
        """
        images = {"t1": ImageFile(path, 0), "share": ImageFile(path, 1)}
        volume = read_volume(Case(path.name, path.name, images), ("t1", "share"), label=False)
        patients, _, name = bytes(nib.load(path).header["descrip"].item()).decode().partition(" ")
        if volume.images.dtype != np.uint8 or not patients.isdigit():
            raise NeuroprintError(f"{path} is no template of neuroprint's: export the bundle anew")
        return cls(volume.images[0], volume.images[1], volume.affine, int(patients), name)


def cohort_template(cohort: Cohort, folder: Path | None = None) -> BrainTemplate:
    """The mean T1 of a cohort, of the first case of each patient.

    Args:
        cohort: Registered to one space, stripped of the skull.
        folder: Where templates are remembered, under the digest of the images they are made of.

    Raises:
        NeuroprintError: There are fewer than ten patients, or the cases have no T1 or lie on different grids.
        CaseError: A scan cannot be read.
    """
    firsts: dict[str, Case] = {}
    for case in sorted(cohort.cases, key=lambda case: case.id):
        image = next((image for name, image in case.images.items() if role_of(name) == "t1"), None)
        if image is not None:
            firsts.setdefault(case.patient, Case(case.id, case.patient, {"t1": image}))
    cases = list(firsts.values())[:_MOST_PATIENTS]
    if len(cases) < FEWEST_PATIENTS:
        raise NeuroprintError(
            f"{cohort.name}: a template needs the T1 of at least {FEWEST_PATIENTS} patients, found {len(cases)}: the mean of "
            "few is a patient's scan; give a larger cohort, or leave --like out for the MNI template"
        )
    if folder is None:
        return _mean(cases, cohort.name)
    key = digest([case_digests(case).images for case in cases])
    file = folder / f"{key}.nii.gz"
    if file.is_file():
        return BrainTemplate.read(file)
    made = _mean(cases, cohort.name)
    made.save(file)
    return made


def mni_template() -> BrainTemplate:
    """The MNI ICBM152 T1, 1 mm, skull-stripped, that nilearn ships (Fonov et al., 2011): the mean of 152 adults."""
    from nilearn import datasets

    image = datasets.load_mni152_template(resolution=1)
    t1 = np.asarray(image.get_fdata(dtype=np.float32))
    brain = t1 > 0
    scaled = (t1 - t1[brain].mean()) / t1[brain].std()
    share = np.where(brain, np.uint8(255), np.uint8(0))
    return BrainTemplate(_as_steps(scaled, brain), share, np.asarray(image.affine, np.float64), 152, "MNI ICBM152")


def _mean(cases: list[Case], name: str) -> BrainTemplate:
    total: npt.NDArray[np.float32] | None = None
    first: Volume | None = None
    for case in cases:
        volume = read_volume(case, ("t1",), label=False)
        image = volume.images[0].astype(np.float32)
        inside = image != 0
        if first is None or total is None:
            first, total, count = volume, np.zeros_like(image), np.zeros(image.shape, np.int32)
        elif image.shape != total.shape or np.abs(volume.affine - first.affine).max() > GRID_TOLERANCE_MM:
            raise NeuroprintError(
                f"{name}: the T1 of {case.id} lies on another grid than that of {cases[0].id}, expected one space; "
                "a template can be made of such a cohort only"
            )
        if inside.mean() > 0.5:
            raise NeuroprintError(
                f"{name}: the T1 of {case.id} is not 0 in {inside.mean():.0%} of its voxels, expected a scan without skull"
            )
        total[inside] += (image[inside] - image[inside].mean()) / image[inside].std()
        count += inside
    if first is None or total is None:
        raise TypeError(cases)
    share = np.rint(count * (255 / len(cases))).astype(np.uint8)
    return BrainTemplate(
        _as_steps(np.divide(total, np.maximum(count, 1), dtype=np.float32), count > 0),
        share,
        first.affine,
        len(cases),
        name,
    )


def _as_steps(scaled: npt.NDArray[np.float32], brain: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    return np.where(brain, np.clip(np.rint(_MIDDLE + _STEPS_PER_SD * scaled), 1, 255), 0).astype(np.uint8)


def _packed(image: nib.Nifti1Image) -> bytes:
    import gzip

    return gzip.compress(image.to_bytes(), compresslevel=6, mtime=0)

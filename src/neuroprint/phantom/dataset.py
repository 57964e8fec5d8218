"""``dataset=phantom`` and ``phantom_clinic``: a phantom cohort, written into the cache the first time it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from neuroprint.data.case import Case
from neuroprint.data.cohort import Cohort
from neuroprint.data.formats.brats import MODALITIES, BraTSFormat
from neuroprint.data.formats.manifest import ManifestFormat
from neuroprint.phantom.types import PHANTOM_DATASETS


class PhantomFormat:
    """The phantom cohort of these settings, in a folder of its own below a root; in the layout of BraTS.

    Args:
        root: Folder of phantom cohorts.
        cases: How many.
        spacing_mm: Voxel size.
        seed: Of the cohort.
        pose_jitter: Whether heads are turned, shifted and scaled.
    """

    clinic: ClassVar[bool] = False

    def __init__(
        self, root: str | Path, cases: int = 80, spacing_mm: float = 2.0, seed: int = 0, pose_jitter: bool = False
    ) -> None:
        self.root = Path(root).expanduser()
        self.cases = cases
        self.spacing_mm = spacing_mm
        self.seed = seed
        self.pose_jitter = pose_jitter

    @staticmethod
    def recognizes(path: Path) -> bool:
        """None: a phantom cohort on disk is one of BraTS's layout."""
        return False

    @property
    def folder(self) -> Path:
        """Of this cohort."""
        jitter = "-pose_jitter" if self.pose_jitter else ""
        clinic = "-clinic" if self.clinic else ""
        return self.root / f"{self.cases}-cases-{self.spacing_mm:g}mm-seed{self.seed}{jitter}{clinic}"

    def cohort(self) -> Cohort:
        """The cohort; written where it is not whole.

        Raises:
            NeuroprintError: The settings cannot work, or the folder holds something else.
        """
        write_with_progress(self.folder, self.cases, self.spacing_mm, self.seed, self.pose_jitter, self.clinic)
        # Heads that lie as they please are compared in their own frame.
        return replace(self._read(), frame="brain" if self.pose_jitter else "world")

    def case(self, path: Path, modalities: Sequence[str] = MODALITIES) -> Case:
        """The case of one folder, as :meth:`BraTSFormat.case` reads it."""
        return BraTSFormat(self.root).case(path, modalities)

    def _read(self) -> Cohort:
        return replace(BraTSFormat(self.folder).cohort(), name=PHANTOM_DATASETS[0])


class ClinicFormat(PhantomFormat):
    """The clinic's phantoms: a cohort with metadata, to try tasks by metadata, confounds and survival on.

    Its columns are drawn before any image is made, from the seed and the patient. A case is the same at every spacing and
    in cohorts of every size.

    ==================  ==============================================================================================
    column              how it is made
    ==================  ==============================================================================================
    ``grade``           ``HGG`` of 60 % of the patients, else ``LGG``. An HGG has an enhancing rim 1.4 to 5.5 mm thick
                        around necrosis, but for one in ten. Of LGG 60 % have no enhancing tumor; the rim of the
                        others is 0.6 to 2.6 mm thick. So grades overlap.
    ``response``        ``yes`` or ``no``, by the toss of a coin. Nothing in the images tells it.
    ``age``             20 to 85 years. Sulci and ventricles widen with age, and white matter lesions become more; the
                        tumor does not depend on it.
    ``survival_days``   From the first scan to death or to the end of the follow-up. The hazard rises with the volume
                        of the tumor at the first scan, to the power of 1.5. Grade and age do not matter.
    ``event``           1 if the patient died, 0 if the follow-up ended before (censored); a matter of the time of the
                        follow-up, which is drawn for itself.
    ``scanner``         ``A``, ``B`` or ``C``, with equal chances for every scan. The families differ in the contrast
                        between tissues, in noise, and in the receive field. The tumor does not depend on it.
    ``field_strength``  1.5 for scanner A, 3 for B and C.
    ==================  ==============================================================================================

    One patient of five is scanned twice, perhaps on another scanner. The anatomy is the same. In three of four of these
    patients the tumor has grown by 15 to 100 %, up to 240 cm3. All columns but the scanner's are the patient's. ``grade``
    is missing of one patient in 20, and so is ``response``.

    Files are named as in BraTS 2023, ``Clinic-00003-001`` being the second scan of ``Clinic-00003``. The columns stand in
    ``clinic.csv`` in the cohort's folder, which is a manifest too.

    Args:
        root: Folder of the clinic's cohorts.
        cases: How many; a patient who is scanned twice has two.
        spacing_mm: Voxel size.
        seed: Of the cohort.
        pose_jitter: Whether heads are turned, shifted and scaled, anew for every scan.
    """

    clinic: ClassVar[bool] = True

    def _read(self) -> Cohort:
        from neuroprint.phantom.cohort import TABLE_FILE

        return replace(ManifestFormat(self.folder / TABLE_FILE, "brats2023").cohort(), name=PHANTOM_DATASETS[1])


def write_with_progress(
    folder: Path, cases: int, spacing_mm: float, seed: int, pose_jitter: bool, clinic: bool = False
) -> None:
    """Write a cohort under a progress bar, which shows only where there is something to write."""
    from tqdm import tqdm

    from neuroprint.phantom.cohort import write_cohort

    bar: tqdm[None] | None = None

    def show(done: int) -> None:
        nonlocal bar
        bar = bar or tqdm(total=cases, desc="phantoms", unit="case", dynamic_ncols=True)
        bar.update(done - bar.n)

    write_cohort(folder, cases, spacing_mm, seed, pose_jitter, progress=show, clinic=clinic)
    if bar is not None:
        bar.close()

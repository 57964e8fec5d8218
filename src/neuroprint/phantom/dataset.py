"""``dataset=phantom``: a phantom cohort, written into the cache the first time it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from neuroprint.data.case import Case
from neuroprint.data.cohort import Cohort
from neuroprint.data.formats.brats import MODALITIES, BraTSFormat


class PhantomFormat:
    """The phantom cohort of these settings, in a folder of its own below a root; in the layout of BraTS.

    Args:
        root: Folder of phantom cohorts.
        cases: How many.
        spacing_mm: Voxel size.
        seed: Of the cohort.
        pose_jitter: Whether heads are turned, shifted and scaled.
    """

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
        return self.root / f"{self.cases}-cases-{self.spacing_mm:g}mm-seed{self.seed}{jitter}"

    def cohort(self) -> Cohort:
        """The cohort; written where it is not whole.

        Raises:
            NeuroprintError: The settings cannot work, or the folder holds something else.
        """
        write_with_progress(self.folder, self.cases, self.spacing_mm, self.seed, self.pose_jitter)
        # Heads that lie as they please are compared in their own frame.
        return replace(
            BraTSFormat(self.folder).cohort(), name="phantom", frame="brain" if self.pose_jitter else "world"
        )

    def case(self, path: Path, modalities: Sequence[str] = MODALITIES) -> Case:
        """The case of one folder, as :meth:`BraTSFormat.case` reads it."""
        return BraTSFormat(self.root).case(path, modalities)


def write_with_progress(folder: Path, cases: int, spacing_mm: float, seed: int, pose_jitter: bool) -> None:
    """Write a cohort under a progress bar, which shows only where there is something to write."""
    from tqdm import tqdm

    from neuroprint.phantom.cohort import write_cohort

    bar: tqdm[None] | None = None

    def show(done: int) -> None:
        nonlocal bar
        bar = bar or tqdm(total=cases, desc="phantoms", unit="case", dynamic_ncols=True)
        bar.update(done - bar.n)

    write_cohort(folder, cases, spacing_mm, seed, pose_jitter, progress=show)
    if bar is not None:
        bar.close()

"""Which kind of dataset a path holds, told from its content."""

from __future__ import annotations

from pathlib import Path

from neuroprint.data.formats.brats import find_brats
from neuroprint.data.case import Cohort
from neuroprint.data.formats.manifest import find_manifest
from neuroprint.data.formats.msd import find_msd


def find_cohort(path: Path) -> Cohort:
    """The cohort at ``path``: a manifest if it is a CSV, MSD if it holds a dataset.json, else BraTS.

    Raises:
        NeuroprintError: There is no such dataset.
    """
    if path.suffix.lower() == ".csv":
        return find_manifest(path)
    if (path / "dataset.json").is_file():
        return find_msd(path)
    return find_brats(path)

"""A dataset format: a class that finds the cases of a dataset, and reads a single one."""

from collections.abc import Sequence
from pathlib import Path

from neuroprint.data.case import Case, ImageFile
from neuroprint.data.cohort import Cohort
from neuroprint.errors import CaseError, NeuroprintError

MODALITIES = ("flair", "t1ce", "t1", "t2")


class FlatFormat:
    """All files in one folder: ``<case>.flair.nii.gz`` and so on, the label as ``<case>.seg.nii.gz``.

    Args:
        root: The folder. Nothing is read before :meth:`cohort`.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    @staticmethod
    def recognizes(path: Path) -> bool:
        """Whether a path looks like this format, for ``neuroprint check``."""
        return path.is_dir() and any(path.glob("*.flair.nii.gz"))

    def cohort(self) -> Cohort:
        """All cases, sorted by id; one that lacks a file is left out with the reason."""
        cases, excluded = [], {}
        for flair in sorted(self.root.glob("*.flair.nii.gz")):
            try:
                cases.append(self.case(flair))
            except CaseError as error:
                excluded[error.case] = error.problem
        if not cases:
            raise NeuroprintError(f"{self.root}: found no file <case>.flair.nii.gz; name the folder with the images")
        return Cohort("flat", tuple(cases), frame="world", excluded=excluded)

    def case(self, path: Path, modalities: Sequence[str] = MODALITIES) -> Case:
        """The case of one FLAIR file, wherever it lies: for ``query``, ``add`` and ``serve``."""
        case = path.name.removesuffix(".flair.nii.gz")
        files = {name: path.with_name(f"{case}.{name}.nii.gz") for name in (*modalities, "seg")}
        for name in modalities:
            if not files[name].is_file():
                raise CaseError(case, f"{files[name].name} is not there; add it")
        label = ImageFile(files["seg"]) if files["seg"].is_file() else None
        return Case(case, case, {name: ImageFile(files[name]) for name in modalities}, label, "brats")

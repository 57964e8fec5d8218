"""Dataset formats: each is one reader, through which everything that reads a dataset goes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from neuroprint.data.case import Case
    from neuroprint.data.cohort import Cohort


class DatasetFormat(Protocol):
    """Reads one layout of files. Making one touches no file.

    A format of your own is one class like this and one file ``conf/dataset/NAME.yaml``, whose ``reader`` names it. Then
    ``dataset=NAME`` finds its cohorts, and ``neuroprint check`` tells its folders by :meth:`recognizes`. ``query``, ``add``
    and ``serve`` read single cases by :meth:`case`, where a bundle's gallery was read by it.
    """

    @staticmethod
    def recognizes(path: Path) -> bool:
        """Whether a path looks like a dataset of this format."""

    def cohort(self) -> Cohort:
        """The cases of the dataset, sorted by id, and why others are left out.

        Raises:
            NeuroprintError: There is no such dataset.
        """

    def case(self, path: Path, modalities: Sequence[str]) -> Case:
        """A single case, which need not lie in the dataset.

        Args:
            path: A folder or file.
            modalities: Those that are needed.

        Raises:
            CaseError: The case cannot be used.
            NeuroprintError: There is no case at the path.
        """

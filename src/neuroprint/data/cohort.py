"""A cohort: the cases of one evaluation, and what their files hold."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from neuroprint.data.case import Case, Frame
from neuroprint.data.digests import CaseDigests, DigestCache, case_digests, digest, hash_files
from neuroprint.data.metadata import is_missing

if TYPE_CHECKING:
    from collections.abc import Callable

Duplicates = Literal["refuse", "allow"]


@dataclass(frozen=True, eq=False)
class Cohort:
    """The cases of one evaluation, sorted by id. Make one with :func:`neuroprint.load_cohort`.

    Attributes:
        name: Of the dataset format, as the user chose it.
        cases: Cases that look complete on disk; whether their voxels are sound is found on reading.
        frame: Where positions are comparable: ``world`` if all scans are registered to one atlas, else ``brain``.
        excluded: Cases that cannot be used, with the problem, found without reading voxels.
        format: How the dataset's reader is made: a node with ``_target_``. A bundle reads its queries by it.
        strict: Whether a case that cannot be used stops an extraction, instead of being left out.
        duplicates: Whether one image under two patients is refused when the cohort is scored.
        digest_cache: File in which the digests of files are remembered; None hashes them in every process.

    Example:
        >>> import neuroprint as npr
        >>> cohort = npr.load_cohort("phantom", cases=3, spacing_mm=8.0)
        >>> cohort
        Cohort(phantom: 3 cases of 3 patients)
        >>> cohort.where(lambda case: case.id != "Phantom_00000")
        Cohort(phantom: 2 cases of 2 patients)
    """

    name: str
    cases: tuple[Case, ...]
    frame: Frame = "world"
    excluded: Mapping[str, str] = field(default_factory=dict)
    format: Mapping[str, Any] | None = None
    strict: bool = False
    duplicates: Duplicates = "refuse"
    digest_cache: Path | None = None

    def __len__(self) -> int:
        return len(self.cases)

    def __repr__(self) -> str:
        left_out = f", {len(self.excluded)} left out" if self.excluded else ""
        return f"Cohort({self.name}: {len(self.cases)} cases of {len(self.patients)} patients{left_out})"

    def where(self, kept: Callable[[Case], bool]) -> Cohort:
        """The cohort without the cases that are not ``kept``."""
        return replace(self, cases=tuple(case for case in self.cases if kept(case)))

    @cached_property
    def modalities(self) -> tuple[str, ...]:
        """The modalities that a case of the cohort has, in alphabetical order."""
        return tuple(sorted({name for case in self.cases for name in case.images}))

    @cached_property
    def patients(self) -> frozenset[str]:
        """The patients' ids."""
        return frozenset(case.patient for case in self.cases)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The columns of metadata that a case of the cohort has, in alphabetical order."""
        return tuple(sorted({column for case in self.cases for column in case.metadata}))

    @cached_property
    def digests(self) -> Mapping[str, CaseDigests]:
        """Digests of every case's files, by case id.

        Raises:
            CaseError: A file cannot be read.
        """
        sha256 = DigestCache(self.digest_cache) if self.digest_cache else hash_files
        # All files in one go, in threads. What cannot be read is named, with its case, by the look at the case below.
        with suppress(OSError):
            sha256(file.path for case in self.cases for file in case.files().values())
        return {case.id: case_digests(case, sha256) for case in self.cases}

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all that an evaluation knows of its cohort.

        It covers each case's id, patient, files' bytes, label convention and metadata, the frame, and the ids of the
        excluded cases; neither the paths nor the order of the cases nor the cohort's name. A missing value of the metadata
        is as good as none.

        Raises:
            CaseError: A file cannot be read.
        """
        records = [
            [case.id, case.patient, self.digests[case.id].case, _known(case.metadata)]
            for case in sorted(self.cases, key=lambda case: case.id)
        ]
        return digest({"cases": records, "excluded": sorted(self.excluded), "frame": self.frame})


def _known(metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {column: value for column, value in metadata.items() if not is_missing(value)}

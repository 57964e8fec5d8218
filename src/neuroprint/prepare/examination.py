"""Examinations as they come: folders of NIfTI files or of DICOM series, one or many."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from neuroprint.data.ids import unsafe_id
from neuroprint.errors import CaseError, NeuroprintError
from neuroprint.prepare.naming import SERIES, role_of

_NIFTI = (".nii", ".nii.gz")


@dataclass(frozen=True)
class RawSeries:
    """One series on disk.

    Attributes:
        name: What it is called: a file's name, or the description that a scanner gave it.
        files: One NIfTI file, or the DICOM files.
    """

    name: str
    files: tuple[Path, ...]

    @property
    def is_nifti(self) -> bool:
        return is_nifti(self.files[0])


@dataclass(frozen=True)
class RawExamination:
    """One examination of one patient, not yet read.

    Attributes:
        id: Name of its folder; that of the prepared case.
        series: What was found, by ``t1``, ``t1ce``, ``t2``, ``flair`` and, where there is one, ``label``.
        problem: Why it cannot be prepared, where that is known already.
    """

    id: str
    series: Mapping[str, RawSeries] = field(default_factory=dict)
    problem: str = ""


def find_examinations(source: Path, chosen: Mapping[str, str] | None = None) -> list[RawExamination]:
    """The examination of a folder, or those of the folders in it.

    Args:
        source: A folder of NIfTI files or DICOM series; or a folder of such folders.
        chosen: By modality, a pattern as of a shell that the name of its series matches; settles what is in doubt.

    Raises:
        NeuroprintError: There is no such folder, or no series in it.
    """
    from neuroprint.prepare.dicom import dicom_series

    if not source.is_dir():
        raise NeuroprintError(f"{source}: there is no such folder; expected one with NIfTI or DICOM files")
    if unknown := [name for name in chosen or {} if name not in (*SERIES, "label")]:
        raise NeuroprintError(f"--series {unknown[0]}=...: must be one of {', '.join((*SERIES, 'label'))}")
    wanted = chosen or {}
    if own := [RawSeries(path.name, (path,)) for path in sorted(source.iterdir()) if is_nifti(path)]:
        return [_examination(source.resolve().name, own, wanted)]
    inner = [folder for folder in sorted(source.iterdir()) if folder.is_dir() and not folder.name.startswith(".")]
    found = []
    for folder in inner:
        files = sorted(path for path in folder.rglob("*") if is_nifti(path))
        if files:
            found.append(
                _examination(folder.name, [RawSeries(_within(folder, path), (path,)) for path in files], wanted)
            )
    if found:
        return found
    by_folder = (
        {folder: dicom_series(folder) for folder in (source, *inner)} if inner else {source: dicom_series(source)}
    )
    studies = {series.study for series in by_folder[source]}
    if len(studies) == 1 or not inner:
        inner = [source] if studies else []
    for folder in inner:
        if series := by_folder[folder]:
            found.append(_examination(folder.resolve().name, [one.source for one in series if one.may_be_used], wanted))
    if not found:
        raise NeuroprintError(
            f"{source}: found neither NIfTI nor DICOM files; expected that of an examination, or a folder of such"
        )
    return found


def is_nifti(path: Path) -> bool:
    """Whether a file is called as NIfTI files are."""
    return path.name.lower().endswith(_NIFTI) and not path.name.startswith(".")


def _examination(name: str, sources: Sequence[RawSeries], chosen: Mapping[str, str]) -> RawExamination:
    if problem := unsafe_id(name):
        return RawExamination(re.sub(r"[^\w.-]", "_", name), problem=f"{problem}; rename the folder")
    try:
        return RawExamination(name, _told_apart(name, sources, chosen))
    except CaseError as error:
        return RawExamination(name, problem=error.problem)


def _told_apart(case: str, sources: Sequence[RawSeries], chosen: Mapping[str, str]) -> dict[str, RawSeries]:
    known = {source.name: source for source in sources}
    found: dict[str, RawSeries] = {}
    for role, pattern in chosen.items():
        matches = [name for name in known if fnmatchcase(name.lower(), pattern.lower())]
        if len(matches) != 1:
            raise CaseError(
                case,
                f"--series {role}={pattern} names {_listed(matches) if matches else 'none of its series'}, expected one; "
                f"the series are {_listed(known)}",
            )
        found[role] = known.pop(matches[0])
    by_role: dict[str, list[str]] = {}
    for name in known:
        told = role_of(_without(case, name))
        if told is not None and told not in found:
            by_role.setdefault(told, []).append(name)
    for role, names in by_role.items():
        if len(names) > 1:
            raise CaseError(
                case,
                f"{len(names)} series may be its {role}: {_listed(names)}; name one, --series '{role}={names[0]}'",
            )
        found[role] = known[names[0]]
    if not set(found) & {"t1", "t1ce"}:
        raise CaseError(
            case,
            f"no T1 with or without contrast is told among its series ({_listed(source.name for source in sources)}), "
            "which finding the brain needs; name it: --series 't1=PATTERN'",
        )
    return {role: found[role] for role in (*SERIES, "label") if role in found}


def _without(case: str, name: str) -> str:
    """A file's name without its case's, which may hold anything."""
    return re.sub(re.escape(case), "", name, flags=re.IGNORECASE)


def _within(folder: Path, path: Path) -> str:
    return path.relative_to(folder).as_posix()


def _listed(names: object) -> str:
    shown = [str(name) for name in names]  # type: ignore[attr-defined]
    more = f" and {len(shown) - 8} more" if len(shown) > 8 else ""
    return ", ".join(shown[:8]) + more if shown else "none"

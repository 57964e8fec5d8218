"""DICOM series: found by their headers, told apart by them, and converted by dcm2niix.

Of a header nothing is kept but what tells a series: its description, how it was acquired, and whether contrast was given.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from neuroprint.errors import CaseError, NeuroprintError
from neuroprint.prepare.naming import role_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from neuroprint.prepare.examination import RawSeries

_STUDY, _SERIES, _NUMBER = "0020|000d", "0020|000e", "0020|0011"
_DESCRIPTION, _PROTOCOL, _KIND = "0008|103e", "0018|1030", "0008|0008"
_REPETITION_MS, _ECHO_MS, _INVERSION_MS, _AGENT = "0018|0080", "0018|0081", "0018|0082", "0018|0010"
_KEPT = (_STUDY, _SERIES, _NUMBER, _DESCRIPTION, _PROTOCOL, _KIND, _REPETITION_MS, _ECHO_MS, _INVERSION_MS, _AGENT)
_NO_AGENT = ("", "no", "none", "n")
_FEWEST_SLICES = 10
_MADE_UP = ("DERIVED", "LOCALIZER", "PROJECTION IMAGE", "MIP", "MPR", "SUBTRACTION", "ADC")
_WORDS = {"t1": "T1", "t1ce": "T1 contrast", "t2": "T2", "flair": "FLAIR"}


@dataclass(frozen=True)
class DicomSeries:
    """One series of a study.

    Attributes:
        study: UID of the study, by which examinations are told apart; it is not kept.
        source: Its files, under the description that the scanner gave it, with the role that its header tells.
        may_be_used: Whether it was acquired as a stack of slices, and not made up from others.
    """

    study: str
    source: RawSeries
    may_be_used: bool


def dicom_series(folder: Path) -> list[DicomSeries]:
    """The series below a folder, by their UID; file names say nothing.

    Raises:
        NeuroprintError: SimpleITK is not installed.
    """
    from neuroprint.prepare.examination import RawSeries

    headers: dict[str, Mapping[str, str]] = {}
    files: dict[str, list[Path]] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        if (header := _header(path)) is not None:
            uid = header[_SERIES]
            headers.setdefault(uid, header)
            files.setdefault(uid, []).append(path)
    names = {uid: _told(header) for uid, header in headers.items()}
    repeated = {name for name, count in Counter(names.values()).items() if count > 1}
    found = [
        DicomSeries(
            header[_STUDY],
            RawSeries(
                f"{names[uid]}, number {header.get(_NUMBER, uid)}" if names[uid] in repeated else names[uid],
                tuple(files[uid]),
            ),
            _is_acquired(header, len(files[uid])),
        )
        for uid, header in headers.items()
    ]
    return sorted(found, key=lambda series: series.source.name)


def role_by_header(description: str, header: Mapping[str, str]) -> str | None:
    """What a series is: as its description says, and where that says nothing, by its times and the contrast agent.

    Times in ms: an inversion of 1500 or more with a long echo is FLAIR; an echo below 30 with a repetition below 1200, or
    with an inversion, is T1; an echo of 60 or more with a repetition of 1800 or more is T2 (Westbrook, MRI in Practice).

    Example:
        >>> role_by_header("AX BRAIN", {"0018|0080": "500", "0018|0081": "10", "0018|0010": "MAGNEVIST"})
        't1ce'
    """
    named = role_of(description)
    agent = header.get(_AGENT, "").strip().lower() not in _NO_AGENT
    if named is not None:
        return "t1ce" if named == "t1" and agent and role_of(f"{description} gd") == "t1ce" else named
    if role_of(f"{description} t1") is None:  # a kind of scan that none of the four is
        return None
    repetition, echo, inversion = (_number(header, key) for key in (_REPETITION_MS, _ECHO_MS, _INVERSION_MS))
    if echo is None or repetition is None:
        return None
    if inversion is not None and inversion >= 1500 and echo >= 60:
        return "flair"
    if echo < 30 and (repetition < 1200 or inversion is not None):
        return "t1ce" if agent else "t1"
    return "t2" if echo >= 60 and repetition >= 1800 else None


def converted(case: str, source: RawSeries, scratch: str | Path) -> Path:
    """The NIfTI file that dcm2niix makes of a series, in a folder of its own below ``scratch``.

    Raises:
        CaseError: dcm2niix makes none, or several images of it.
        NeuroprintError: It is not installed.
    """
    import subprocess
    import tempfile

    try:
        from dcm2niix import bin as program
    except ModuleNotFoundError as error:
        raise NeuroprintError("DICOM files need dcm2niix: pip install 'neuroprint[prepare]'") from error
    folder = Path(tempfile.mkdtemp(dir=scratch))
    (folder / "in").mkdir()
    (folder / "out").mkdir()
    for number, path in enumerate(source.files):
        (folder / "in" / f"{number:06d}.dcm").symlink_to(path.resolve())
    command = [program, "-b", "n", "-z", "n", "-f", "series", "-o", str(folder / "out"), str(folder / "in")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    made = sorted((folder / "out").glob("*.nii"))
    if upright := [path for path in made if path.stem.endswith("_Eq")]:  # of slices at uneven distances
        made = upright
    if len(made) != 1:
        said = ended.stderr.strip().splitlines()
        raise CaseError(
            case,
            f"dcm2niix makes {len(made)} images of the series '{source.name}', expected one"
            + (f" ({said[-1]})" if said else "")
            + "; convert it yourself and give NIfTI files",
        )
    return made[0]


def _header(path: Path) -> Mapping[str, str] | None:
    """What is needed of a file's header; None where it is no DICOM image."""
    with path.open("rb") as file:
        if file.read(132)[128:] != b"DICM":
            return None
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError:  # a report, a DICOMDIR: no image
        return None
    known = {key: reader.GetMetaData(key).strip() for key in _KEPT if reader.HasMetaDataKey(key)}
    return known if _SERIES in known and _STUDY in known else None


def _told(header: Mapping[str, str]) -> str:
    """A series' description, and what the header tells beyond it."""
    description = header.get(_DESCRIPTION) or header.get(_PROTOCOL) or "no description"
    role = role_by_header(description, header)
    return (
        description if role is None or role == role_of(description) else f"{description} ({_WORDS[role]} by its header)"
    )


def _is_acquired(header: Mapping[str, str], slices: int) -> bool:
    kinds = header.get(_KIND, "").upper().split("\\")
    return slices >= _FEWEST_SLICES and not any(kind.strip() in _MADE_UP for kind in kinds)


def _number(header: Mapping[str, str], key: str) -> float | None:
    try:
        return float(header[key])
    except (KeyError, ValueError):
        return None

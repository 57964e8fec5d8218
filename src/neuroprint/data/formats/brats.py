"""BraTS folders: one folder per case, in the naming of 2018 to 2021 or that of 2023 and later."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from neuroprint.data.case import Case, ImageFile, LabelConvention
from neuroprint.data.cohort import Cohort
from neuroprint.data.files import NIFTI
from neuroprint.data.ids import unsafe_id
from neuroprint.data.labels import AUTO, convention_by_name, convention_of
from neuroprint.data.patients import patient_by_name
from neuroprint.errors import CaseError, NeuroprintError, one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

MODALITIES = ("flair", "t1ce", "t1", "t2")
"""Those of every BraTS case."""

_LABEL = "label"
_SHOWN = "flair"  # is drawn of a case, where there is one, whatever modalities are needed
_UNDERSCORE = {"flair": "flair", "t1ce": "t1ce", "t1": "t1", "t2": "t2", "seg": _LABEL}
_DASH = {"t2f": "flair", "t1c": "t1ce", "t1n": "t1", "t2w": "t2", "seg": _LABEL}
_NAMINGS = {"_": _UNDERSCORE, "-": _DASH}
_CONVENTIONS: dict[str, LabelConvention] = {"_": "brats", "-": "brats2023"}
_FILE = re.compile(
    r"(?P<stem>.+)(?:(?P<underscore>_)(?P<old>flair|t1ce|t1|t2|seg)|(?P<dash>-)(?P<new>t2f|t1c|t1n|t2w|seg))\.nii(?:\.gz)?",
    re.IGNORECASE,
)
_TIME_POINT = re.compile(r"(?P<patient>.+-\d+)-\d{3}")
_LAYOUT = (
    "expected one folder per case, directly below or one level deeper,\n"
    "with files <case>_{flair,t1ce,t1,t2,seg}.nii.gz (2018 to 2021) or <case>-{t2f,t1c,t1n,t2w,seg}.nii.gz (2023 on)"
)

_DENIED = "{} may not be read (permission denied);\ngive yourself read access to it"


@dataclass(frozen=True)
class _Folder:
    """What lies in a folder, hidden entries left out."""

    path: Path
    files: tuple[str, ...]
    folders: tuple[str, ...]

    @property
    def is_case(self) -> bool:
        return any(_FILE.fullmatch(name) for name in self.files)

    @property
    def looks_broken(self) -> bool:
        """A leaf that can hardly be anything but a case gone wrong: empty, or with images under other names."""
        images = any(name.endswith(NIFTI) for name in self.files)
        return self.is_unpacked or (not self.folders and (images or not self.files))

    @property
    def is_unpacked(self) -> bool:
        """A case whose files have become folders of their names, as Kaggle unpacks them."""
        return any(name.endswith(NIFTI) for name in self.folders)


class BraTSFormat:
    """A BraTS download, found by what its folders hold.

    Both namings may be mixed. Modalities are named ``flair``, ``t1ce``, ``t1``, ``t2`` whatever the files say. A case
    whose files are not clear (one is missing, or there are two for one modality) is excluded with the reason.

    Args:
        root: One folder a case lies in it, directly or one level deeper.
        labels: What the numbers of the labels mean, as :func:`neuroprint.data.labels.convention_of` takes it; ``auto`` is
            told by each case's name.
    """

    def __init__(self, root: str | Path, labels: str | Mapping[int, str] = AUTO) -> None:
        self.root = Path(root).expanduser()
        self.labels = None if labels == AUTO else convention_of(labels)

    @staticmethod
    def recognizes(path: Path) -> bool:
        """Any folder may be one of BraTS's: what is wrong with it is said when it is read."""
        return path.is_dir()

    def cohort(self) -> Cohort:
        """All cases below the root.

        Raises:
            NeuroprintError: The root is missing, a file, a single case's folder or holds no case; or two folders share a
                case's id.
        """
        top = _root_folder(self.root)
        folders = list(_below(top))
        if not any(folder.is_case for folder in folders):
            raise NeuroprintError(_no_cases(top))
        _refuse_repeated_ids(folders, self.root)
        cases, excluded = [], {}
        for folder in folders:
            try:
                cases.append(_case(folder, self.labels))
            except CaseError as error:
                excluded[error.case] = error.problem
        return Cohort("brats", tuple(sorted(cases, key=lambda case: case.id)), "world", dict(sorted(excluded.items())))

    def case(self, path: Path, modalities: Sequence[str] = MODALITIES) -> Case:
        """The case that one folder holds, named by the folder; it need not lie below the root.

        Args:
            path: The folder. Its files are named as BraTS names them, ``<case>_flair.nii.gz`` or ``<case>-t2f.nii.gz``; that
                of a modality which BraTS does not have ends with the modality's name, ``<case>_adc.nii.gz`` or
                ``<case>-adc.nii.gz``.
            modalities: Those that are needed. Other images are ignored, but for a FLAIR image: the case has it where it is
                clear which file it is.

        Raises:
            CaseError: A file is missing, or there are two for one modality.
            NeuroprintError: The folder does not exist, or holds no file of a case.
        """
        found = _root_folder(path)
        wanted = dict.fromkeys((*modalities, *MODALITIES))
        if not _named(found, tuple(wanted)):
            inner = [sub for sub in _below(found) if _named(sub, tuple(wanted))]
            if inner:
                raise NeuroprintError(
                    f"{path} holds {len(inner)} case folder(s), expected a single case;\n"
                    f"pass one of them: {inner[0].path}"
                )
            named = (
                f"<case>{joint}{{{','.join(_suffix(joint, name) for name in modalities)}}}.nii.gz" for joint in _NAMINGS
            )
            raise NeuroprintError(
                f"{path} holds no case: expected files {' or '.join(named)},\nfound {_contents(found)}"
            )
        return _case(found, self.labels, modalities)


def _list(path: Path) -> _Folder:
    files: list[str] = []
    folders: list[str] = []
    for entry in sorted(path.iterdir()):
        if not entry.name.startswith("."):
            (folders if entry.is_dir() else files).append(entry.name)
    return _Folder(path, tuple(files), tuple(folders))


def _root_folder(root: Path) -> _Folder:
    if not root.exists():
        raise NeuroprintError(f"there is no folder {root};\n{_LAYOUT}")
    if not root.is_dir():
        raise NeuroprintError(f"{root} is a file;\n{_LAYOUT};\npass the folder, unpacked")
    try:
        return _list(root.absolute())
    except PermissionError as error:
        raise NeuroprintError(_DENIED.format(root)) from error


def _below(top: _Folder) -> Iterator[_Folder]:
    for name in top.folders:
        try:
            folder = _list(top.path / name)
            closed = folder.is_case or folder.is_unpacked
            inner = [] if closed else [_list(folder.path / deeper) for deeper in folder.folders]
        except PermissionError as error:
            raise NeuroprintError(_DENIED.format(error.filename)) from error
        yield from (sub for sub in (folder, *inner) if sub.is_case or sub.looks_broken)


@dataclass(frozen=True)
class _Named:
    """A file whose name says what it is."""

    file: str
    stem: str
    naming: str
    role: str


def _named(folder: _Folder, modalities: Sequence[str]) -> list[_Named]:
    """The files of a folder that are said to be one of some modalities, or the label."""
    found = []
    for naming, pattern, roles in _patterns(tuple(modalities)):
        for match in filter(None, map(pattern.fullmatch, folder.files)):
            found.append(_Named(match[0], match["stem"], naming, roles[match["suffix"].lower()]))
    return sorted(found, key=lambda named: folder.files.index(named.file))


def _patterns(modalities: tuple[str, ...]) -> tuple[tuple[str, re.Pattern[str], dict[str, str]], ...]:
    """Of each naming: its joint, what a file's name looks like, and what its suffixes mean."""
    found = []
    for naming in _NAMINGS:
        roles = {_suffix(naming, role).lower(): role for role in (*modalities, _LABEL)}
        suffixes = "|".join(map(re.escape, roles))
        pattern = re.compile(rf"(?P<stem>.+?){naming}(?P<suffix>{suffixes})\.nii(?:\.gz)?", re.IGNORECASE)
        found.append((naming, pattern, roles))
    return tuple(found)


def _suffix(naming: str, role: str) -> str:
    """How a naming's files end: as BraTS says for its own modalities, with any other's own name."""
    return next((suffix for suffix, known in _NAMINGS[naming].items() if known == role), role)


def _own(matches: list[_Named], case_id: str) -> list[_Named]:
    """A file named like its folder is the case's own; others beside it are leftovers."""
    return [match for match in matches if match.stem == case_id] or matches


def _case(folder: _Folder, labels: LabelConvention | None, modalities: Sequence[str] = MODALITIES) -> Case:
    case_id = folder.path.name
    if problem := unsafe_id(case_id):
        raise CaseError(case_id, f"{problem}; rename the folder")
    matches = _own(_named(folder, modalities), case_id)
    first = {match.naming: match.file for match in reversed(matches)}
    if len(first) > 1:
        raise CaseError(
            case_id,
            f"files in both namings ({' and '.join(first.values())}), expected one; move one set out of the folder",
        )
    naming = next(iter(first), "_")
    files: dict[str, str] = {}
    for match in matches:
        if match.role in files:
            raise CaseError(
                case_id,
                f"two files for {match.role}: {files[match.role]} and {match.file}; expected one, remove the other",
            )
        files[match.role] = match.file
    if missing := [name for name in modalities if name not in files]:
        expected = ", ".join(f"{case_id}{naming}{_suffix(naming, name)}.nii.gz" for name in missing)
        wanted = "all four modalities" if set(modalities) == set(MODALITIES) else ", ".join(modalities)
        raise CaseError(
            case_id,
            f"{expected} missing: expected {wanted}, found {_contents(folder)}; add what is missing or remove the folder",
        )
    if _SHOWN not in modalities:
        stems = {match.stem for match in matches}
        shown = [match.file for match in _named(folder, (_SHOWN,)) if match.role == _SHOWN and match.stem in stems]
        files |= {_SHOWN: shown[0]} if len(shown) == 1 else {}
    ordered = [role for role in dict.fromkeys((*modalities, *files)) if role in files]
    paths = {role: ImageFile(folder.path / files[role]) for role in ordered}
    label = paths.pop(_LABEL, None)
    convention = labels or convention_by_name(case_id, _CONVENTIONS[naming])
    return Case(case_id, _patient(case_id, naming), paths, label, convention)


def _patient(case_id: str, naming: str) -> str:
    match = _TIME_POINT.fullmatch(case_id) if naming == "-" else None
    return match["patient"] if match else patient_by_name(case_id)


def _refuse_repeated_ids(folders: list[_Folder], root: Path) -> None:
    repeated = [name for name, count in Counter(folder.path.name for folder in folders).items() if count > 1]
    if repeated:
        places = [str(folder.path) for folder in folders if folder.path.name == repeated[0]]
        raise NeuroprintError(
            f"{len(repeated)} case id(s) occur twice below {root}, the first is {repeated[0]}:\n"
            + "\n".join(places)
            + "\nexpected each id once: remove or rename one of the folders"
        )


def _no_cases(top: _Folder) -> str:
    stems = {match["stem"] for match in map(_FILE.fullmatch, top.files) if match}
    if len(stems) == 1:
        return f"{top.path} is the folder of a single case;\npass the folder above: {top.path.parent}"
    if stems:
        return f"{top.path} holds the files of {len(stems)} cases side by side;\n{_LAYOUT};\nmake a folder for each"
    return f"no case found in {top.path};\n{_LAYOUT};\nfound {_contents(top)}"


def _contents(folder: _Folder, shown: int = 5) -> str:
    names = [*folder.files, *(f"{name}/" for name in folder.folders)]
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return one_line(", ".join(names[:shown]) + more) or "an empty folder"

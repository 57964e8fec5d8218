"""Any folder of NIfTI files whose names follow a rule: one pattern a modality, with ``{case}`` and ``{patient}``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any

from neuroprint.data.case import Case, Frame, ImageFile
from neuroprint.data.cohort import Cohort
from neuroprint.data.files import NIFTI
from neuroprint.data.formats.tree import niftis_below
from neuroprint.data.ids import unsafe_id
from neuroprint.data.labels import AUTO, convention_by_name, convention_of
from neuroprint.data.patients import patient_by_name
from neuroprint.errors import CaseError, NeuroprintError

_LABEL = "label"
_PLACES = ("case", "patient")
# Told by the first that fits, as words of a name in small letters.
_WORDS = {
    role: re.compile(rf"(?<![a-z0-9])(?:{words})(?![a-z0-9])")
    for role, words in {
        "label": r"\w*(?:seg|segm|segmentation|mask|dseg|label)|tumou?r",
        "flair": r"(?:t2)?[_-]?flair|t2f",
        "t1ce": r"t1(?:ce|c|gd|kmt?)|t1w?[_-](?:ce|c|gd|post|contrast)|ct1|ce[_-]?t1w?",
        "t1": r"t1(?:n|w)?|mprage",
        "t2": r"t2w?",
    }.items()
}
_WILD = {"**/": "(?:[^/]+/)*", "*": "[^/]*?", "?": "[^/]"}
_EXAMPLE = "dataset.images={flair: '{patient}/{case}/FLAIR.nii*'}"

_Key = tuple[str, str]
"""What a file's path tells: the case and the patient, empty where it does not."""
_Patterns = Mapping[str, Sequence[str]]
"""By role, a modality or the label: the patterns of its files, the first that is found counts."""


class PatternFormat:
    """A folder in which the paths of files say what they are.

    A pattern is a path below the root. ``{case}`` and ``{patient}`` stand for what differs from case to case, ``*`` for
    any part of a name, ``?`` for one sign, and ``**`` for any number of folders. Files of one case have the same
    ``{case}`` and ``{patient}``. A case is called by both where ``{case}`` is only the session; a patient who is not in the
    pattern is told by the case's name. A case that lacks a modality, or has two files for one, is excluded with the reason.

    Args:
        root: The folder.
        images: By modality one pattern, or several of which the first that is found counts.
        label: The same of the tumor label; empty where there is none.
        ids: What ``{case}`` may be, such as ``BraTS-MEN-RT-*``.
        labels: What the numbers of the labels mean, as :func:`neuroprint.data.labels.convention_of` takes it; ``auto`` is
            told by each case's name, and ``any`` where that tells nothing.
        frame: ``world`` where all scans are registered to one atlas, else ``brain``.
        name: Of the cohort.

    Example:
        >>> from pathlib import Path
        >>> folder = Path("scans/P1/before")
        >>> folder.mkdir(parents=True)
        >>> (folder / "FLAIR.nii").touch()
        >>> case, = PatternFormat("scans", {"flair": "{patient}/{case}/FLAIR.nii*"}).cohort().cases
        >>> case.id, case.patient
        ('P1_before', 'P1')
    """

    def __init__(
        self,
        root: str | Path,
        images: Mapping[str, str | Sequence[str]],
        label: str | Sequence[str] = (),
        ids: str = "*",
        labels: str | Mapping[int, str] = AUTO,
        frame: Frame = "brain",
        name: str = "pattern",
    ) -> None:
        self.root = Path(root).expanduser()
        self.labels = None if labels == AUTO else convention_of(labels)
        self.frame, self.name, self.ids = frame, name, ids
        if frame not in ("world", "brain"):
            raise NeuroprintError(f"dataset.frame={frame}: must be one of world, brain")
        if not isinstance(images, Mapping) or not images:
            raise NeuroprintError(f"dataset.images={images}: expected a pattern for each modality, e.g. {_EXAMPLE}")
        given = {**images, _LABEL: label} if label else dict(images)
        self._patterns = {str(role): _listed(patterns) for role, patterns in given.items()}
        for role, pattern in ((role, pattern) for role, patterns in self._patterns.items() for pattern in patterns):
            _check(role, pattern)

    def recognizes(self, path: Path) -> bool:
        """Whether there is a file for every modality, of one case."""
        if not path.is_dir():
            return False
        wanted = set(self._modalities)
        seen: dict[_Key, set[str]] = {}
        for role, key, _, _ in _matches(niftis_below(path), path, self._patterns, self.ids):
            seen.setdefault(key, set()).add(role)
            if wanted <= seen[key]:
                return True
        return False

    def cohort(self) -> Cohort:
        """All cases below the root.

        Raises:
            NeuroprintError: There is no such folder, no file in it follows a pattern, or two cases have one name.
        """
        found = _by_case(_matches(niftis_below(self.root), self.root, self._patterns, self.ids))
        if not any(set(files) - {_LABEL} for files in found.values()):
            seen = [
                str(path.relative_to(self.root)) for path, _ in zip(niftis_below(self.root), range(3), strict=False)
            ]
            wanted = ", ".join(chain.from_iterable(self._patterns[role] for role in self._modalities))
            raise NeuroprintError(
                f"no file below {self.root} follows the patterns {wanted};\nfound {', '.join(seen) or 'no NIfTI file'}"
            )
        cases: dict[str, Case] = {}
        excluded: dict[str, str] = {}
        for key, files in sorted(found.items()):
            try:
                case = self._case(key, files)
            except CaseError as error:
                excluded[error.case] = error.problem
                continue
            if case.id in cases:
                raise NeuroprintError(f"two cases below {self.root} are called {case.id}; rename the folder of one")
            cases[case.id] = case
        ordered = tuple(sorted(cases.values(), key=lambda case: case.id))
        return Cohort(self.name, ordered, self.frame, dict(sorted(excluded.items())))

    def case(self, path: Path, modalities: Sequence[str] = ()) -> Case:
        """The case of a folder, or of one of its images; it need not lie below the root.

        The end of the patterns is enough where the folders above the case are others. The folder's name is the case's where
        no pattern tells it.

        Raises:
            CaseError: It lacks a modality, or has two files for one.
            NeuroprintError: There is no such path, no case of this layout there, or more than one.
        """
        folder = path if path.is_dir() else path.parent
        files = list(niftis_below(folder))
        depth = max(pattern.count("/") + 1 for patterns in self._patterns.values() for pattern in patterns)
        for dropped in range(depth):
            patterns = _without_folders(self._patterns, dropped)
            for above in (folder, *folder.absolute().parents)[: depth + 1]:
                found = _by_case(_matches(files, above, patterns, self.ids))
                if len(here := _only_cases(found, path)) > 1:
                    ids = ", ".join(sorted(_id(key, folder) for key in here)[:3])
                    raise NeuroprintError(f"{path} holds {len(here)} cases ({ids}), expected one;\npass one of them")
                for key, roles in here.items():
                    elsewhere = {} if dropped or _LABEL in roles else self._label_below(above, key)
                    return self._case(key, roles | elsewhere, modalities, folder)
        wanted = ", ".join(
            self._patterns[role][0] for role in self._modalities if role in (modalities or self._patterns)
        )
        raise NeuroprintError(f"{path} holds no case: expected files such as {wanted}")

    @property
    def _modalities(self) -> list[str]:
        return [role for role in self._patterns if role != _LABEL]

    def _label_below(self, root: Path, key: _Key) -> dict[str, list[Path]]:
        """The label of a case whose images were found, where it lies apart from them."""
        for pattern in self._patterns.get(_LABEL, ()):
            name = pattern.removeprefix("**/").replace("{case}", key[0]).replace("{patient}", key[1] or "*")
            if found := sorted(root.glob(name)):
                return {_LABEL: found}
        return {}

    def _case(
        self, key: _Key, files: Mapping[str, list[Path]], wanted: Sequence[str] = (), folder: Path | None = None
    ) -> Case:
        case_id = _id(key, folder)
        if problem := unsafe_id(case_id):
            raise CaseError(case_id, f"{problem}; rename its folder or files")
        for role, paths in files.items():
            if len(paths) > 1:
                names = " and ".join(_told_apart(paths[:2]))
                raise CaseError(
                    case_id, f"two files for {role}: {names}; expected one: narrow the pattern, or remove one"
                )
        if missing := [role for role in wanted or self._modalities if role not in files]:
            expected = ", ".join(
                self._patterns.get(role, (role,))[0].replace("{case}", key[0] or "*") for role in missing
            )
            names = ", ".join(path.name for paths in files.values() for path in paths)
            raise CaseError(
                case_id, f"no file for {', '.join(missing)} (expected {expected}, found {names}); add what is missing"
            )
        images = {role: ImageFile(files[role][0]) for role in self._modalities if role in files}
        label = ImageFile(files[_LABEL][0]) if _LABEL in files else None
        convention = self.labels or convention_by_name(case_id, "any")
        return Case(case_id, key[1] or patient_by_name(case_id), images, label, convention)


def guessed_patterns(root: Path) -> dict[str, Any] | None:
    """What ``dataset=pattern`` would be told to read a folder: ``images``, and ``label`` where there is one.

    It is guessed from the names in the first folder that holds images: what its folder is called becomes ``{case}``, the
    folder above that ``{patient}``.

    Returns:
        None where no modality can be told by its name, or the images lie in the root itself.

    Example:
        >>> from pathlib import Path
        >>> for name in ("flair", "t1_gd", "T1w", "tumor_mask"):
        ...     path = Path("study") / "P1" / "may" / f"{name}.nii.gz"
        ...     path.parent.mkdir(parents=True, exist_ok=True)
        ...     path.touch()
        >>> guessed_patterns(Path("study"))["images"]["t1ce"]
        '{patient}/{case}/t1_gd.nii*'
    """
    first = next(niftis_below(root), None)
    folders = first.parent.relative_to(root).parts if first else ()
    if first is None or not folders:
        return None
    above = "{case}" if len(folders) == 1 else "{patient}/{case}" if len(folders) == 2 else "**/{patient}/{case}"
    found: dict[str, list[str]] = {}
    for path in sorted(first.parent.iterdir()):
        role = next((role for role, words in _WORDS.items() if words.search(path.name.lower())), None)
        if role and path.name.endswith(NIFTI):
            name = path.name.removesuffix(".gz").removesuffix(".nii").replace(folders[-1], "{case}")
            found.setdefault(role, []).append(f"{above}/{name}.nii*")
    clear = {role: patterns[0] for role, patterns in found.items() if len(patterns) == 1}
    label = clear.pop(_LABEL, None)
    return {"images": clear, **({"label": label} if label else {})} if clear else None


def _listed(patterns: str | Sequence[str]) -> tuple[str, ...]:
    return (patterns,) if isinstance(patterns, str) else tuple(map(str, patterns))


def _check(role: str, pattern: str) -> None:
    named = re.findall(r"\{([^}]*)\}", pattern)
    if "case" not in named or set(named) - set(_PLACES):
        raise NeuroprintError(
            f"dataset: the pattern {pattern!r} of {role} must hold {{case}}, and may hold {{patient}}; e.g. {_EXAMPLE}"
        )


def _matches(files: Iterable[Path], root: Path, patterns: _Patterns, ids: str) -> Iterator[tuple[str, _Key, int, Path]]:
    """Role, case and pattern's rank of each file that follows a pattern, and the file."""
    compiled = [
        (role, rank, _regex(pattern, ids)) for role, listed in patterns.items() for rank, pattern in enumerate(listed)
    ]
    absolute = f"{root.absolute()}/"
    for path in files:
        name = str(path if path.is_absolute() else path.absolute())
        if not name.startswith(absolute):
            continue
        below = name[len(absolute) :]
        found = [(role, rank, match) for role, rank, regex in compiled if (match := regex.fullmatch(below))]
        if len({role for role, _, _ in found}) > 1:
            continue  # a pattern that takes any file tells nothing
        for role, rank, match in found[:1]:
            groups = match.groupdict()
            yield role, (groups.get("case") or "", groups.get("patient") or ""), rank, path


def _by_case(matches: Iterable[tuple[str, _Key, int, Path]]) -> dict[_Key, dict[str, list[Path]]]:
    """The files by case and role: those of the first pattern that is found.

    A pattern without ``{patient}`` is of the patient whose other files have the same ``{case}``, if it is one.
    """
    ranked: dict[_Key, dict[str, dict[int, list[Path]]]] = {}
    for role, key, rank, path in matches:
        ranked.setdefault(key, {}).setdefault(role, {}).setdefault(rank, []).append(path)
    found = {key: {role: ranks[min(ranks)] for role, ranks in roles.items()} for key, roles in ranked.items()}
    patients: dict[str, list[_Key]] = {}
    for case, patient in found:
        if patient:
            patients.setdefault(case, []).append((case, patient))
    for key in [key for key in found if not key[1] and len(patients.get(key[0], ())) == 1]:
        (owner,) = patients[key[0]]
        found[owner] = found.pop(key) | found[owner]
    return found


def _only_cases(found: Mapping[_Key, dict[str, list[Path]]], path: Path) -> dict[_Key, dict[str, list[Path]]]:
    """What has an image; of a path that is a file, what has that file."""
    files = {key: [file for role in roles.values() for file in role] for key, roles in found.items()}
    return {
        key: roles
        for key, roles in found.items()
        if set(roles) - {_LABEL} and (path.is_dir() or any(path.samefile(file) for file in files[key]))
    }


def _regex(pattern: str, ids: str) -> re.Pattern[str]:
    shapes = {"case": "".join(_WILD.get(sign, re.escape(sign)) for sign in ids), "patient": "[^/]+?"}
    parts: list[str] = []
    for sign in re.split(r"(\*\*/|\*|\?|\{case\}|\{patient\})", pattern):
        place = sign.strip("{}")
        if sign == f"{{{place}}}" and place in _PLACES:
            known = any(f"(?P<{place}>" in part for part in parts)
            parts.append(f"(?P={place})" if known else f"(?P<{place}>{shapes[place]})")
        else:
            parts.append(_WILD.get(sign, re.escape(sign)))
    return re.compile("".join(parts))


def _without_folders(patterns: _Patterns, count: int) -> dict[str, tuple[str, ...]]:
    """The patterns without so many of their first folders, as far as they have them."""
    return {
        role: tuple("/".join(parts[min(count, len(parts) - 1) :]) for parts in (p.split("/") for p in listed))
        for role, listed in patterns.items()
    }


def _id(key: _Key, folder: Path | None) -> str:
    case, patient = key
    if not case:
        return folder.absolute().name if folder else patient
    return case if not patient or case.startswith(patient) else f"{patient}_{case}"


def _told_apart(paths: Sequence[Path]) -> list[str]:
    """Names of files, with so much of their folders that they differ."""
    if len({path.name for path in paths}) == len(paths):
        return [path.name for path in paths]
    return [str(PurePosixPath(*path.parts[-3:])) for path in paths]

"""The Brain Imaging Data Structure (Gorgolewski et al. 2016, doi:10.1038/sdata.2016.44): subjects, sessions, entities."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from neuroprint.data.case import Case, Frame, ImageFile
from neuroprint.data.cohort import Cohort
from neuroprint.data.formats.tree import niftis_below
from neuroprint.data.ids import unsafe_id
from neuroprint.data.labels import AUTO, convention_by_name, convention_of
from neuroprint.data.metadata import is_known_text, is_number_text
from neuroprint.errors import CaseError, NeuroprintError

_MODALITIES = {"T1w": "t1", "T2w": "t2", "FLAIR": "flair"}
_LABELS = ("dseg", "mask")  # the first that is found counts
_NOT_OF_TUMORS = re.compile(r"brain|head|skull|aseg|aparc|ribbon|[GW]M|CSF|gm|wm|csf")
_NAME = re.compile(r"(?P<entities>sub-[^_]+(?:_[A-Za-z]+-[^_]+)*)_(?P<suffix>[A-Za-z0-9]+)\.nii(?:\.gz)?")
_LAYOUT = (
    "expected a BIDS data set: sub-<label>/[ses-<label>/]anat/"
    "sub-<label>[_ses-<label>][_ce-<agent>]_{T1w,T2w,FLAIR}.nii.gz"
)
_Key = tuple[str, str]
"""Subject and session; an empty session where a data set has none."""


@dataclass(frozen=True)
class _File:
    """A file whose name says what it is."""

    path: Path
    entities: Mapping[str, str]
    suffix: str

    @property
    def key(self) -> _Key:
        return self.entities["sub"], self.entities.get("ses", "")

    @property
    def role(self) -> str | None:
        """The modality, or what kind of label; None for what is neither."""
        if self.suffix in _LABELS:
            return None if self._is_no_tumor else self.suffix
        contrast = self.suffix == "T1w" and self.entities.get("ce", "none") != "none"
        return "t1ce" if contrast else _MODALITIES.get(self.suffix)

    @property
    def _is_no_tumor(self) -> bool:
        """Whether a mask or segmentation is said to be of something else, as a brain mask is."""
        said = [self.entities.get(name, "") for name in ("label", "desc", "seg")]
        return "atlas" in self.entities or any(_NOT_OF_TUMORS.search(value) for value in said)


class BIDSFormat:
    """A BIDS data set: a case is a session of a subject, or the subject where there are no sessions.

    Modalities are told by suffix and the entity ``ce``: ``T1w`` is t1, with ``ce-gadolinium`` t1ce; ``T2w`` t2, ``FLAIR``
    flair. The label is a ``dseg`` or ``mask`` of the session, below ``derivatives`` or beside the images; brain masks and
    the segmentations of tissues are passed over. Columns of ``participants.tsv`` and of a subject's ``sessions.tsv`` are
    metadata. Images processed by a pipeline are read with ``derivatives/<pipeline>`` as the root.

    Args:
        root: The folder with the subjects' folders.
        entities: Which file to take where a session has several of one modality, such as ``{acq: iso, run: "1"}``.
        label: The same of labels, such as ``{desc: tumor}``.
        labels: What the numbers of the labels mean, as :func:`neuroprint.data.labels.convention_of` takes it.
        frame: ``world`` where all scans are registered to one atlas, else ``brain``.
    """

    def __init__(
        self,
        root: str | Path,
        entities: Mapping[str, str] | None = None,
        label: Mapping[str, str] | None = None,
        labels: str | Mapping[int, str] = "any",
        frame: Frame = "brain",
    ) -> None:
        self.root = Path(root).expanduser()
        self.entities = {str(name): str(value) for name, value in (entities or {}).items()}
        self.label = {str(name): str(value) for name, value in (label or {}).items()}
        self.labels = None if labels == AUTO else convention_of(labels)
        self.frame = frame
        if frame not in ("world", "brain"):
            raise NeuroprintError(f"dataset.frame={frame}: must be one of world, brain")

    @staticmethod
    def recognizes(path: Path) -> bool:
        """A folder with a folder ``sub-<label>`` that holds a T1w, T2w or FLAIR image under its BIDS name."""
        return any(file.suffix in _MODALITIES for file in chain.from_iterable(map(_files, _subjects(path))))

    def cohort(self) -> Cohort:
        """All sessions below the root.

        Raises:
            NeuroprintError: The root is no BIDS data set, or a table in it cannot be read.
        """
        subjects = _subjects(self.root)
        grouped = _grouped(chain.from_iterable(map(_files, subjects)))
        if not any(set(roles) - set(_LABELS) for roles in grouped.values()):
            raise NeuroprintError(f"no subject with a T1w, T2w or FLAIR image in {self.root};\n{_LAYOUT}")
        derived = _grouped(chain.from_iterable(_derived(self.root, subject.name) for subject in subjects))
        people = _table(self.root / "participants.tsv", "participant_id")
        cases, excluded = [], {}
        for key, roles in sorted(grouped.items()):
            try:
                if images := {role: files for role, files in roles.items() if role not in _LABELS}:
                    cases.append(
                        self._case(key, images, _labels_of(key, roles, derived), _about(self.root, key, people))
                    )
            except CaseError as error:
                excluded[error.case] = error.problem
        return Cohort("bids", tuple(sorted(cases, key=lambda case: case.id)), self.frame, excluded)

    def case(self, path: Path, modalities: Sequence[str] = ()) -> Case:
        """The case of a session's folder, of a subject's with one session, or of one image; it may lie anywhere.

        Raises:
            CaseError: It lacks a modality, or has two files for one.
            NeuroprintError: There is no such path, no BIDS name there, or more than one session.
        """
        found = _grouped(_files(path if path.is_dir() else path.parent))
        if not path.is_dir() and (match := _NAME.fullmatch(path.name)):
            only = _File(path, _entities(match), match["suffix"]).key
            found = {key: roles for key, roles in found.items() if key == only}
        found = {key: roles for key, roles in found.items() if set(roles) - set(_LABELS)}
        if len(found) != 1:
            if not found:
                raise NeuroprintError(f"{path} holds no case;\n{_LAYOUT}")
            ids = ", ".join(_id(key) for key in sorted(found)[:3])
            raise NeuroprintError(f"{path} holds {len(found)} sessions ({ids}), expected one;\npass the folder of one")
        ((key, roles),) = found.items()
        images = {role: files for role, files in roles.items() if role not in _LABELS}
        root = _root_of(next(iter(images.values()))[0].path, key)
        derived = _grouped(_derived(root, f"sub-{key[0]}")) if root else {}
        about = _about(root, key, _table(root / "participants.tsv", "participant_id")) if root else {}
        return self._case(key, images, _labels_of(key, roles, derived), about, modalities)

    def _case(
        self,
        key: _Key,
        images: Mapping[str, Sequence[_File]],
        labels: Sequence[_File],
        about: Mapping[str, str | float],
        wanted: Sequence[str] = (),
    ) -> Case:
        case_id = _id(key)
        if problem := unsafe_id(case_id):
            raise CaseError(case_id, f"{problem}; rename its files")
        chosen = {
            role: ImageFile(_only(case_id, role, files, self.entities, "entities"))
            for role, files in sorted(images.items())
        }
        if missing := [role for role in wanted if role not in chosen]:
            raise CaseError(
                case_id, f"no file for {', '.join(missing)}, found {', '.join(chosen)}; add what is missing"
            )
        label = ImageFile(_only(case_id, "label", labels, self.label, "label")) if labels else None
        convention = self.labels or convention_by_name(case_id, "any")
        return Case(case_id, f"sub-{key[0]}", chosen, label, convention, about)


def _subjects(root: Path) -> list[Path]:
    return sorted(path for path in root.glob("sub-*") if path.is_dir())


def _files(folder: Path) -> Iterator[_File]:
    for path in niftis_below(folder):
        if match := _NAME.fullmatch(path.name):
            yield _File(path, _entities(match), match["suffix"])


def _derived(root: Path, subject: str) -> Iterator[_File]:
    """A subject's labels below ``derivatives``, of whatever pipeline."""
    for pipeline in sorted(root.glob("derivatives/*")):
        for folder in (pipeline / subject, *pipeline.glob(f"*/{subject}")):
            if folder.is_dir():
                yield from (file for file in _files(folder) if file.suffix in _LABELS)


def _entities(match: re.Match[str]) -> dict[str, str]:
    return {name: value for name, _, value in (part.partition("-") for part in match["entities"].split("_"))}


def _grouped(files: Iterable[_File]) -> dict[_Key, dict[str, list[_File]]]:
    """Those that are an image or a label, by session and role."""
    found: dict[_Key, dict[str, list[_File]]] = {}
    for file in files:
        if file.role is not None:
            found.setdefault(file.key, {}).setdefault(file.role, []).append(file)
    return found


def _labels_of(
    key: _Key, own: Mapping[str, Sequence[_File]], derived: Mapping[_Key, Mapping[str, Sequence[_File]]]
) -> list[_File]:
    """The segmentations of a session, else its masks."""
    for kind in _LABELS:
        if found := [*own.get(kind, ()), *derived.get(key, {}).get(kind, ())]:
            return found
    return []


def _only(case_id: str, role: str, files: Sequence[_File], wanted: Mapping[str, str], setting: str) -> Path:
    """The one file of a role that has the wanted entities; where none has them all, the one that there is."""
    agreeing = [file for file in files if all(file.entities.get(name) == value for name, value in wanted.items())]
    left = agreeing or files
    if len(left) > 1:
        differing = sorted(
            {name for file in left for name in set(file.entities.items()) ^ set(left[0].entities.items())}
        )
        example = (
            f"{{{', '.join(f'{name}: {value}' for name, value in differing[:1])}}}" if differing else "{desc: tumor}"
        )
        raise CaseError(
            case_id,
            f"{len(left)} files for {role}: {left[0].path.name} and {left[1].path.name}; say which by "
            f"dataset.{setting}, e.g. dataset.{setting}='{example}'",
        )
    return left[0].path


def _root_of(path: Path, key: _Key) -> Path | None:
    """The data set that a file lies in: the folder above its subject's."""
    return next((above.parent for above in path.absolute().parents if above.name == f"sub-{key[0]}"), None)


def _id(key: _Key) -> str:
    subject, session = key
    return f"sub-{subject}_ses-{session}" if session else f"sub-{subject}"


def _about(root: Path, key: _Key, people: Mapping[str, Mapping[str, str | float]]) -> dict[str, str | float]:
    """What the tables of a data set say of a session."""
    subject = f"sub-{key[0]}"
    sessions = _table(root / subject / f"{subject}_sessions.tsv", "session_id") if key[1] else {}
    return {**people.get(subject, {}), **sessions.get(f"ses-{key[1]}", {})}


def _table(path: Path, index: str) -> dict[str, dict[str, str | float]]:
    """The rows of a table by a column, without what is not known; numbers where a whole column is."""
    if not path.is_file():
        return {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file, delimiter="\t", restval=""))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise NeuroprintError(
            f"{path} cannot be read ({error});\nexpected a table in UTF-8, columns set off by tabs"
        ) from error
    if rows and index not in rows[0]:
        raise NeuroprintError(f"{path} has no column {index} (found {', '.join(map(str, rows[0]))});\nadd it")
    columns = [column for column in (rows[0] if rows else ()) if column not in (index, None)]
    known = {column: [row[column] for row in rows if is_known_text(row[column])] for column in columns}
    numeric = {column for column in columns if all(map(is_number_text, known[column]))}
    return {
        row[index]: {c: float(row[c]) if c in numeric else row[c] for c in columns if is_known_text(row[c])}
        for row in rows
    }

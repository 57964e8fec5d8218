"""A cohort written down as a CSV table: one row per case, one column per modality."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from neuroprint.data.case import Case, ImageFile, LabelConvention
from neuroprint.data.cohort import Cohort
from neuroprint.data.ids import unsafe_id
from neuroprint.data.labels import convention_of
from neuroprint.data.metadata import is_known_text, is_number_text
from neuroprint.data.patients import patient_by_name
from neuroprint.errors import CaseError, NeuroprintError

_EXAMPLE = "id,patient,flair,t1,label,grade"


@dataclass(frozen=True)
class _Table:
    """The rows of a manifest with their line numbers, and what each column is."""

    path: Path
    rows: list[tuple[int, dict[str, str]]]
    modalities: list[str]
    numeric: list[str]
    text: list[str]


class ManifestFormat:
    """A CSV with a header row.

    Columns: ``id``; optionally ``patient`` (else told by the id) and ``label``; every other column whose values are NIfTI
    paths is a modality; all the rest is metadata (a column of numbers as float; empty, NA and NaN mean not known).
    Relative paths start at the CSV's folder. A case one of whose files does not exist, or that has no image at all,
    is excluded with the reason. Scans need not be registered: the frame is ``brain``.

    Args:
        root: The CSV, UTF-8, separated by commas.
        labels: What the numbers of the labels mean, as :func:`neuroprint.data.labels.convention_of` takes it.
    """

    def __init__(self, root: str | Path, labels: str | Mapping[int, str] = "any") -> None:
        self.root = Path(root).expanduser()
        self.labels = convention_of(labels)

    @staticmethod
    def recognizes(path: Path) -> bool:
        """A file whose name ends in ``.csv``."""
        return path.suffix.lower() == ".csv"

    def cohort(self) -> Cohort:
        """All cases of the table.

        Raises:
            NeuroprintError: The file is missing, empty or malformed, has no ``id`` or no modality column, repeats an id or
                a file, or an id cannot name a file.
        """
        cases, excluded = _cases(self.root, self.labels)
        ordered = tuple(sorted(cases, key=lambda case: case.id))
        return Cohort("manifest", ordered, "brain", dict(sorted(excluded.items())))

    def case(self, path: Path, modalities: Sequence[str] = ()) -> Case:
        """The case of a CSV that has one row.

        Raises:
            CaseError: The case cannot be used.
            NeuroprintError: The file has more than one row, or cannot be read.
        """
        cases, excluded = _cases(path, self.labels)
        for case_id, problem in excluded.items():
            raise CaseError(case_id, problem)
        if len(cases) > 1:
            raise NeuroprintError(f"{path} has {len(cases)} rows, expected one: the case to be read")
        return cases[0]


def _cases(path: Path, labels: LabelConvention) -> tuple[list[Case], dict[str, str]]:
    table = _read_table(path)
    folder = path.absolute().parent
    seen_ids: dict[str, int] = {}
    seen_files: dict[Path, str] = {}
    cases: list[Case] = []
    excluded: dict[str, str] = {}
    for line, row in table.rows:
        case_id = row["id"]
        if problem := unsafe_id(case_id):
            raise NeuroprintError(f"{path} line {line}: {problem}; change the id")
        if case_id in seen_ids:
            raise NeuroprintError(
                f"{path} lines {seen_ids[case_id]} and {line} have the same id {case_id};\nexpected each id once: "
                "give each examination its own id, and say in the column patient who was examined"
            )
        seen_ids[case_id] = line
        named = {column: row[column] for column in (*table.modalities, "label") if row.get(column)}
        files = {column: folder / Path(value).expanduser() for column, value in named.items()}
        for column, file in files.items():
            _refuse_repeated_file(path, line, f"{case_id} ({column})", file, seen_files)
        absent = [column for column, file in files.items() if not file.is_file()]
        if absent:
            excluded[case_id] = (
                f"the {absent[0]} file {named[absent[0]]} (line {line}) is not there; expected it "
                f"{'at this place' if Path(named[absent[0]]).is_absolute() else 'below the folder of the CSV'}; "
                "correct the path"
            )
            continue
        label = files.pop("label", None)
        if not files:
            excluded[case_id] = (
                f"line {line} names no image, expected one of {', '.join(table.modalities)}; fill in a path"
            )
            continue
        images = {column: ImageFile(file) for column, file in files.items()}
        metadata: dict[str, str | float] = {
            name: float(row[name]) for name in table.numeric if is_known_text(row[name])
        }
        metadata |= {name: row[name] for name in table.text if is_known_text(row[name])}
        cases.append(
            Case(
                case_id,
                row.get("patient") or patient_by_name(case_id),
                images,
                ImageFile(label) if label else None,
                labels,
                metadata,
            )
        )
    return cases, excluded


def _read_table(path: Path) -> _Table:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            stripped = ((reader.line_num, [cell.strip() for cell in cells]) for cells in reader)
            lines = [(line, cells) for line, cells in stripped if any(cells)]
    except OSError as error:
        raise NeuroprintError(f"the manifest {path} cannot be read ({error.strerror});\npass a CSV file") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise NeuroprintError(f"{path} is no CSV in UTF-8 ({error});\nsave it again as 'CSV UTF-8'") from error
    if not lines:
        raise NeuroprintError(f"{path} is empty;\nexpected a header such as {_EXAMPLE} and a row per case")
    header = lines[0][1]
    if "id" not in header:
        hint = "separate the columns by commas" if len(header) == 1 and ";" in header[0] else "add the column id"
        raise NeuroprintError(f"{path} has no column id (found {', '.join(header)});\nexpected e.g. {_EXAMPLE}; {hint}")
    unusable = sorted({name or "(no name)" for name in header if not name or header.count(name) > 1})
    if unusable:
        raise NeuroprintError(f"{path} has columns that repeat or have no name: {', '.join(unusable)};\nrename them")
    if len(lines) == 1:
        raise NeuroprintError(f"{path} has a header and no row;\nexpected a row per case: add them")
    for line, cells in lines[1:]:
        if len(cells) != len(header):
            raise NeuroprintError(
                f"{path} line {line} has {len(cells)} cells, expected {len(header)} as the header has;\n"
                "correct the row (a comma inside a value needs quotes)"
            )
    rows = [(line, dict(zip(header, cells, strict=True))) for line, cells in lines[1:]]
    return _sorted_columns(path, rows, [name for name in header if name not in ("id", "patient", "label")])


def _sorted_columns(path: Path, rows: list[tuple[int, dict[str, str]]], columns: list[str]) -> _Table:
    table = _Table(path, rows, [], [], [])
    for column in columns:
        values = [(line, row[column]) for line, row in rows if row[column]]
        odd = [(line, value) for line, value in values if not value.lower().endswith((".nii", ".nii.gz"))]
        if values and not odd:
            table.modalities.append(column)
        elif len(odd) < len(values):
            raise NeuroprintError(
                f"{path} line {odd[0][0]}: the column {column} holds NIfTI paths, but here {odd[0][1]!r};\n"
                "expected a path ending in .nii or .nii.gz, or nothing: correct the value"
            )
        elif all(is_number_text(value) for _, value in values if is_known_text(value)):
            table.numeric.append(column)
        else:
            table.text.append(column)
    if not table.modalities:
        raise NeuroprintError(
            f"{path} has no modality column (found {', '.join(columns) or 'nothing'} beside id, patient and label);\n"
            "expected a column, e.g. flair, whose values are paths ending in .nii or .nii.gz: add it"
        )
    return table


def _refuse_repeated_file(path: Path, line: int, user: str, file: Path, seen: dict[Path, str]) -> None:
    resolved = file.resolve()
    if resolved in seen:
        raise NeuroprintError(
            f"{path} line {line}: {file.name} is used twice, by {seen[resolved]} and by {user};\n"
            "expected each file once: correct the path, or remove the repeated row"
        )
    seen[resolved] = user

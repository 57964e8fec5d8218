"""A new scan put to a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from neuroprint.bundle.answer import Answer, Match
from neuroprint.data.formats.brats import read_case_folder
from neuroprint.errors import NeuroprintError
from neuroprint.evaluation.vote import group_vote, neighbor_weights

if TYPE_CHECKING:
    from collections.abc import Sequence

    from neuroprint.bundle.bundle import Bundle, Query
    from neuroprint.data.case import Case
    from neuroprint.data.case_facts import CaseFacts
    from neuroprint.evaluation.vote import GroupVote

MAP_NEIGHBORS = 5
"""The query is drawn on the map between this many of its nearest cases."""
_META = "meta:"
_EXACT = 2.0**53  # from here on a float does not tell one whole number from the next


def answer(bundle: Bundle, case_dir: Path, k: int = 5, group: str | None = None, patient: str | None = None) -> Answer:
    """Put a case's folder to a bundle.

    Args:
        bundle: The bundle.
        case_dir: A folder in BraTS layout, with or without a label.
        k: How many cases to find, and of other patients to vote; all where the gallery has fewer.
        group: Metadata column of the gallery, or ``side``, on which the neighbors vote.
        patient: Whose scan it is, as the gallery names patients: his cases have no vote. By default the patient of the
            folder's name. Of a scan that is in the gallery, whatever its name, it is the patient of that case.

    Raises:
        CaseError: The scan cannot be used.
        NeuroprintError: There is no such folder or column, or k is less than 1.
    """
    if k < 1:
        raise NeuroprintError(f"-k {k}: ask for one case at least")
    if group is not None:
        groups_of(bundle, group)  # a typing error is found before the network runs
    case = read_case_folder(case_dir, bundle.modalities)
    return answer_to(bundle, case, bundle.embed(case), k, group, patient)


def answer_to(
    bundle: Bundle, case: Case, query: Query, k: int, group: str | None, patient: str | None = None
) -> Answer:
    """Put a scan that was embedded to a bundle; otherwise as :func:`answer`."""
    found = bundle.rank(query.projected, k)
    distances = _distances_mm(bundle, query, found.rows)
    matches = tuple(
        Match(place + 1, name, row, float(similarity), _finite(percentile), distance)
        for place, (name, row, similarity, percentile, distance) in enumerate(
            zip(found.cases, found.rows, found.similarities, found.percentiles, distances, strict=True)
        )
    )
    known = known_as(bundle, query.facts)
    return Answer(
        query=query,
        bundle=bundle.name,
        matches=matches,
        unlike_gallery=bundle.unlike_gallery(found.similarities),
        known_as=known,
        map_xy=place_on_map(bundle, query, known),
        column=group,
        group=None
        if group is None
        else _vote(bundle, query, _patient(bundle, known) or patient or case.patient, group, k),
    )


def group_columns(bundle: Bundle) -> tuple[str, ...]:
    """Columns that neighbors can vote on: the gallery's metadata, and the tumor's side."""
    named = [str(column) for column in bundle.cases.columns]
    return (*sorted(column.removeprefix(_META) for column in named if column.startswith(_META)), "side")


def groups_of(bundle: Bundle, column: str) -> list[str | None]:
    """Each gallery case's value in a column, as a name; None where it is not known.

    Raises:
        NeuroprintError: There is no such column.
    """
    if column not in (known := group_columns(bundle)):
        raise NeuroprintError(f"the bundle has no column {column}: there is {', '.join(known)}")
    values = bundle.cases[column if column == "side" else _META + column]
    return [_group_name(value) for value in values]


def known_as(bundle: Bundle, facts: CaseFacts) -> str | None:
    """The gallery's case that has an image in common with a scan, voxel for voxel; the first by id."""
    for modality, content in sorted(facts.contents.items()):
        column = f"content:{modality}"
        if column in bundle.cases.columns:
            same = np.flatnonzero((bundle.cases[column] == content).to_numpy(dtype=bool))
            if len(same):
                return str(bundle.cases["case"].iloc[int(same[0])])
    return None


def place_on_map(bundle: Bundle, query: Query, known: str | None = None) -> npt.NDArray[np.float64]:
    """Where a query falls on the map, (2,): between its nearest cases, each pulling by its weight as a voter; on ``known``,
    the case itself, where the query is in the gallery.
    """
    points: npt.NDArray[np.float64] = np.asarray(bundle.map_xy, dtype=np.float64)
    if known is not None:
        row = [str(case) for case in bundle.cases["case"]].index(known)
        return np.array(points[row])
    found = bundle.rank(query.projected, MAP_NEIGHBORS + 1)
    values = np.full((1, MAP_NEIGHBORS + 1), -np.inf)
    values[0, : len(found.rows)] = found.similarities
    weights = neighbor_weights(values)[0][: len(found.rows)]
    place: npt.NDArray[np.float64] = weights @ points[list(found.rows[: len(weights)])] / weights.sum()
    return place


def _distances_mm(bundle: Bundle, query: Query, rows: Sequence[int]) -> list[float | None]:
    if query.center_mm is None or bundle.manifest["target"]["units"] != "mm":
        return [None] * len(rows)
    centers = bundle.cases[["x_mm", "y_mm", "z_mm"]].iloc[list(rows)].to_numpy(dtype=np.float64)
    return [_finite(float(distance)) for distance in np.linalg.norm(centers - query.center_mm, axis=1)]


def _patient(bundle: Bundle, known: str | None) -> str | None:
    """The patient of a case of the gallery."""
    if known is None:
        return None
    return str(bundle.cases.loc[bundle.cases["case"] == known, "patient"].iloc[0])


def _vote(bundle: Bundle, query: Query, patient: str, column: str, k: int) -> GroupVote:
    try:
        return group_vote(
            query.projected,
            bundle.projected,
            [str(case) for case in bundle.cases["case"]],
            [str(name) for name in bundle.cases["patient"]],
            groups_of(bundle, column),
            bundle.neighborhoods.rows,
            bundle.neighborhoods.similarities,
            query_patient=patient,
            similarity=bundle.similarity,
            k=k,
        )
    except NeuroprintError as error:
        raise NeuroprintError(f"no vote on {column}: {error}") from error


def _group_name(value: Any) -> str | None:
    if value is None or value != value or value == "":
        return None
    if isinstance(value, float):  # which a column of whole numbers becomes where one is missing
        return str(int(value)) if value.is_integer() and abs(value) < _EXACT else repr(float(value))
    return str(value)


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None

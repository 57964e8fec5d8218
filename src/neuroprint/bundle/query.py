"""A new scan put to a bundle."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from neuroprint.bundle.answer import Answer, Match
from neuroprint.bundle.gallery import META
from neuroprint.data.case import Case
from neuroprint.data.metadata import class_name
from neuroprint.errors import NeuroprintError
from neuroprint.evaluation.vote import group_vote, neighbor_weights

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from neuroprint.bundle.bundle import Bundle, Query
    from neuroprint.data.case_facts import CaseFacts
    from neuroprint.evaluation.vote import GroupVote

MAP_NEIGHBORS = 5
"""The query is drawn on the map between this many of its nearest cases."""


def answer(
    bundle: Bundle, case: str | Path | Case, k: int = 5, group: str | None = None, patient: str | None = None
) -> Answer:
    """Put a case to a bundle; see :meth:`neuroprint.bundle.bundle.Bundle.query`."""
    if k < 1:
        raise NeuroprintError(f"-k {k}: ask for one case at least")
    if group is not None:
        groups_of(bundle, group)  # a typing error is found before the network runs
    found = case if isinstance(case, Case) else bundle.read_case(case)
    return answer_to(bundle, found, bundle.embed(found), k, group, patient)


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
        gallery=len(bundle.cases),
        similarity=bundle.similarity,
        matches=matches,
        novelty=bundle.novelty(query),
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
    return (*sorted(column.removeprefix(META) for column in named if column.startswith(META)), "side")


def groups_of(bundle: Bundle, column: str) -> list[str | None]:
    """Each gallery case's value in a column, as a name; None where it is not known.

    Raises:
        NeuroprintError: There is no such column.
    """
    if column not in (known := group_columns(bundle)):
        raise NeuroprintError(f"the bundle has no column {column}: there is {', '.join(known)}")
    values = bundle.cases[column if column == "side" else META + column]
    return [class_name(value) for value in values]


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
    if query.center_mm is None:
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


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None

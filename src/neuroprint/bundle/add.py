"""More cases for a bundle: it is written anew beside itself, and takes its own place once it is whole."""

from __future__ import annotations

import re
import shutil
import time
from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from neuroprint.bundle.bundle import Bundle
from neuroprint.bundle.format import write_bundle
from neuroprint.bundle.gallery import GALLERY_FILES, Gallery, cases_table, pictures_of, write_gallery
from neuroprint.bundle.index import Neighborhoods, neighborhoods_of
from neuroprint.bundle.query import known_as, place_on_map
from neuroprint.errors import CaseError, NeuroprintError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import pandas as pd

    from neuroprint.bundle.bundle import Query
    from neuroprint.bundle.novelty import Novelty
    from neuroprint.data.case import Case

# Written anew by the manifest's writer; all else of a bundle but the gallery stays as it is.
_OF_THE_MANIFEST = ("format_version", "created", "versions", "files", "sha256")
_ABANDONED_S = 24 * 3600


@dataclass(frozen=True)
class Added:
    """One case that is now in the gallery.

    Attributes:
        case: Its id.
        novelty: How it lay to the gallery before.
    """

    case: str
    novelty: Novelty


def add_cases(
    folder: Path,
    case_paths: Sequence[Path],
    weights: Sequence[Path] = (),
    progress: Callable[[], object] = lambda: None,
    patient: str | None = None,
    trust: Sequence[str] = (),
) -> list[Added]:
    """Add cases to a bundle's gallery, all of them or none.

    The bundle stays valid and in place until the new one is whole. The scores of the card stay those of the gallery that was
    scored, and say so, and so do the percentiles; what is unlike the gallery is judged by all its cases. A new case is
    placed on the map as a query is.

    The projection has not seen the new cases, so that their neighbors are those that it finds in the whole gallery; of a
    patient that it was fitted to they are left open, and such a case is not counted when a vote is scored.

    Args:
        folder: The bundle.
        case_paths: Where the cases are, as :meth:`Bundle.read_case` reads them.
        weights: Files for the weights that a bundle names but does not hold.
        progress: Called after each case.
        patient: Whose cases they all are; by default the patient of each case's name.
        trust: Packages whose code the bundle may name, beside neuroprint's own.

    Raises:
        CaseError: A scan cannot be used; or its id or one of its images is in the gallery, or given twice.
        NeuroprintError: Another process adds to the bundle, or it cannot be read or written.
    """
    from filelock import FileLock, Timeout

    folder = folder.resolve()
    if not folder.is_dir():
        raise NeuroprintError(f"there is no bundle {folder}: make one with neuroprint export")
    try:
        with FileLock(folder.with_name(f".{folder.name}.lock"), timeout=0):
            bundle = Bundle.open(folder, weights, trust)
            _tidy(folder)
            cases = [bundle.read_case(path) for path in case_paths]
            if patient is not None:
                cases = [replace(case, patient=patient) for case in cases]
            _refuse_known_ids(bundle, cases)
            queries = _embed(bundle, cases, progress)
            if cases:
                _write(bundle, cases, queries)
    except Timeout as error:
        raise NeuroprintError(f"another neuroprint add is at work on {folder}: wait for it to end") from error
    except PermissionError as error:
        raise NeuroprintError(f"{folder.parent} may not be written to (permission denied)") from error
    return [Added(query.case, bundle.novelty(query)) for query in queries]


def _tidy(folder: Path) -> None:
    """Remove what killed writers left half written; what is young may be another's work."""
    unfinished = re.compile(rf"\.{re.escape(folder.name)}\.[0-9a-f]{{32}}")
    for leftover in folder.parent.iterdir():
        if unfinished.fullmatch(leftover.name) and time.time() - leftover.stat().st_mtime > _ABANDONED_S:
            shutil.rmtree(leftover, ignore_errors=True)


def _refuse_known_ids(bundle: Bundle, cases: Sequence[Case]) -> None:
    there = {str(case) for case in bundle.cases["case"]}
    for case, count in Counter(case.id for case in cases).items():
        if case in there:
            raise CaseError(case, "the bundle has a case of this id already; nothing was added")
        if count > 1:
            raise CaseError(case, "given more than once; nothing was added")


def _embed(bundle: Bundle, cases: Sequence[Case], progress: Callable[[], object]) -> list[Query]:
    queries: list[Query] = []
    seen: dict[str, str] = {}
    for case in cases:
        query = bundle.embed(case)
        known = known_as(bundle, query.facts)
        known = known or next((seen[content] for content in query.facts.contents.values() if content in seen), None)
        if known is not None:
            raise CaseError(
                case.id, f"holds an image that is the same, voxel for voxel, as one of {known}; nothing was added"
            )
        seen |= dict.fromkeys(query.facts.contents.values(), case.id)
        queries.append(query)
        progress()
    return queries


def _write(bundle: Bundle, cases: Sequence[Case], queries: Sequence[Query]) -> None:
    gallery = _longer(bundle, cases, queries)
    added = [*bundle.scores.get("added", []), *(case.id for case in cases)]

    def fill(unfinished: Path) -> None:
        for name in bundle.manifest["files"]:
            if name not in GALLERY_FILES:
                (unfinished / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(bundle.folder / name, unfinished / name)
        card = (bundle.folder / "card.md").read_text(encoding="utf-8")
        (unfinished / "card.md").write_text(card + _note(cases, len(gallery.table)), encoding="utf-8")
        write_gallery(unfinished, gallery, {**bundle.scores, "added": added})

    about = {key: value for key, value in bundle.manifest.items() if key not in _OF_THE_MANIFEST}
    write_bundle(bundle.folder, about, fill)


def _longer(bundle: Bundle, cases: Sequence[Case], queries: Sequence[Query]) -> Gallery:
    """The bundle's gallery and the new cases, sorted by id."""
    import pandas as pd

    facts = [query.facts for query in queries]
    table = pd.concat([bundle.cases, cases_table(cases, facts, bundle.placing)], ignore_index=True)
    order = sorted(range(len(table)), key=[str(case) for case in table["case"]].__getitem__)
    places = [place_on_map(bundle, query) for query in queries]
    old_pictures = [_stored_pictures(bundle, str(case)) for case in bundle.cases["case"]]
    pictures = [*old_pictures, *map(pictures_of, facts)]
    table = table.iloc[order].reset_index(drop=True)
    projected = np.concatenate([bundle.projected, [query.projected for query in queries]])[order]
    return Gallery(
        table=table,
        embeddings=np.concatenate([bundle.embeddings, [query.embedding for query in queries]])[order],
        projected=projected,
        map_xy=np.concatenate([bundle.map_xy, np.array(places, dtype=np.float32)])[order],
        pictures=[pictures[row] for row in order],
        neighborhoods=_longer_lists(bundle, table, projected, np.argsort(order)),
        quantiles=bundle.quantiles,
    )


def _longer_lists(
    bundle: Bundle, table: pd.DataFrame, projected: npt.NDArray[np.float32], place: npt.NDArray[np.int64]
) -> Neighborhoods:
    """The old cases' lists as they are, and the new cases'.

    Args:
        bundle: Before the cases came.
        table: Of all cases.
        projected: (n, d) of all cases.
        place: (n,) where in these the bundle's cases are now, and after them the new ones.
    """
    before = len(bundle.cases)
    came_later = set(bundle.scores.get("added", []))
    rows = zip(bundle.cases["case"], bundle.cases["patient"], strict=True)
    fitted = {str(patient) for case, patient in rows if case not in came_later} if bundle.is_fitted else set()
    patients = [str(patient) for patient in table["patient"]]
    new = [int(row) for row in place[before:] if patients[row] not in fitted]
    longer = neighborhoods_of(new, projected, patients, bundle.similarity)
    old = bundle.neighborhoods
    width = old.rows.shape[1]
    longer.rows[place[:before], :width] = np.where(old.rows >= 0, place[old.rows], -1)
    longer.similarities[place[:before], :width] = old.similarities
    return longer


def _stored_pictures(bundle: Bundle, case: str) -> dict[str, npt.NDArray[Any]]:
    gray, masks = bundle.pictures(case)
    sizes = {f"{plane}/mm": np.array(mm, dtype=np.float32) for plane, mm in bundle.picture_mm(case).items()}
    return {**gray, **{f"{plane}/tumor": mask.astype(np.uint8) for plane, mask in masks.items()}, **sizes}


def _note(cases: Sequence[Case], total: int) -> str:
    today = datetime.now(UTC).date().isoformat()
    names: Any = ", ".join(case.id for case in cases)
    return (
        f"\n## Added on {today}\n{names}. The gallery has {total} cases now; the scores above are those of the gallery "
        "before.\n"
    )

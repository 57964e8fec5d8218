"""Embeddings: the vectors of a cohort's cases, made here or elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from neuroprint.data.files import written_whole
from neuroprint.errors import NeuroprintError

if TYPE_CHECKING:
    import pandas as pd

    from neuroprint.data.case import Case
    from neuroprint.data.case_facts import CaseFacts
    from neuroprint.data.cohort import Cohort
    from neuroprint.embedding.recipe import Recipe
    from neuroprint.embedding.store import FeatureStore


@dataclass(frozen=True)
class Scanned:
    """What reading the scans gave beside the embeddings, in the same pass.

    Attributes:
        facts: Of every case that could be read, by id: where its tumor is, how large, and small pictures.
        voxels: What the reference row ``voxels`` compares, by case id.
        forwards: Forward passes through the encoders.
        stored: Cases that were found in the feature store; of several encoders, by the one with the fewest.
        seconds: Wall-clock time of the extraction.
        changed_voxels: As ``voxels``, of the perturbed scans; empty where none was perturbed.
    """

    facts: Mapping[str, CaseFacts]
    voxels: Mapping[str, npt.NDArray[np.float32]]
    forwards: int = 0
    stored: int = 0
    seconds: float = 0.0
    changed_voxels: Mapping[str, npt.NDArray[np.float32]] = field(default_factory=dict)


class Embeddings:
    """One vector a case.

    Vectors that were made elsewhere are as good as those of :func:`neuroprint.embed`.

    Args:
        cohort: The cases.
        vectors: ``(n, d)``, a row for each case of the cohort in its order; or a mapping from case ids to ``(d,)``; or a
            table with the columns ``case`` and ``embedding``; or a Parquet file of such a table. Cases without a vector are
            left out.
        similarity: What they are made for: ``cosine``, ``dot`` or ``euclidean``.
        name: What they are called in tables.
        perturbed: Vectors of the same cases after their scans were changed, which are then what is asked with: in the
            galleries, and in all that is fitted, scans are as they are. In any of the forms of ``vectors``.

    Attributes:
        cohort: The cases, those without a vector among them.
        ids: Ids of the cases with a vector, ascending.
        vectors: ``(len(ids), d)`` float32.
        excluded: Why cases have no vector, by id.
        recipe: How they were made; None for vectors from elsewhere, which cannot be exported.
        scanned: What was measured while the scans were read; None where no scan was.
        store: Where what is still to be read of the scans is kept.
        device: Torch device of what is still to be computed.
        queries: ``(len(ids), d)`` float32, the perturbed vectors; None where scans were not changed.

    Raises:
        NeuroprintError: A vector is not finite, has another size than the others, or is of no case of the cohort.

    Example:
        >>> import neuroprint as npr
        >>> cohort = npr.load_cohort("phantom", cases=3, spacing_mm=8.0)
        >>> npr.Embeddings(cohort, np.eye(3), name="one-hot")
        Embeddings(one-hot: 3 cases of 3 numbers, compared by cosine)
        >>> npr.Embeddings(cohort, np.eye(3)).save("vectors.parquet")
        >>> again = npr.Embeddings(cohort, "vectors.parquet")
        >>> again.to_frame()["case"].tolist()
        ['Phantom_00000', 'Phantom_00001', 'Phantom_00002']
        >>> again.rows(["Phantom_00001"])
        array([[0., 1., 0.]], dtype=float32)
        >>> changed = npr.Embeddings(cohort, np.eye(3), perturbed=np.eye(3)[::-1])
        >>> changed.query_rows(["Phantom_00000"])
        array([[0., 0., 1.]], dtype=float32)
    """

    def __init__(
        self,
        cohort: Cohort,
        vectors: npt.ArrayLike | Mapping[str, npt.ArrayLike] | pd.DataFrame | str | Path,
        similarity: str = "cosine",
        name: str = "embeddings",
        *,
        excluded: Mapping[str, str] | None = None,
        recipe: Recipe | None = None,
        scanned: Scanned | None = None,
        store: FeatureStore | None = None,
        device: str = "auto",
        perturbed: npt.ArrayLike | Mapping[str, npt.ArrayLike] | pd.DataFrame | str | Path | None = None,
    ) -> None:
        if similarity not in ("cosine", "dot", "euclidean"):
            raise NeuroprintError(f"similarity={similarity}: must be cosine, dot or euclidean")
        by_id = _by_id(cohort, vectors)
        changed = None if perturbed is None else _by_id(cohort, perturbed)
        self.cohort = cohort
        self.ids = tuple(sorted(case.id for case in cohort.cases if case.id in by_id))
        self.vectors = _stacked(by_id, self.ids)
        self.queries = None if changed is None else _like(self.vectors, changed, self.ids)
        self.similarity = similarity
        self.name = name
        missing = {case.id: "it has no embedding" for case in cohort.cases if case.id not in by_id}
        self.excluded: Mapping[str, str] = {**missing, **(excluded or {})}
        self.recipe = recipe
        self.scanned = scanned
        self.store = store
        self.device = device
        self._row = {case: row for row, case in enumerate(self.ids)}

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        size = f"{len(self)} cases of {self.vectors.shape[1]} numbers"
        return f"Embeddings({self.name}: {size}, compared by {self.similarity})"

    @property
    def cases(self) -> tuple[Case, ...]:
        """The cases with a vector, in the order of ``ids``."""
        by_id = {case.id: case for case in self.cohort.cases}
        return tuple(by_id[case] for case in self.ids)

    def rows(self, ids: Sequence[str]) -> npt.NDArray[np.float32]:
        """The vectors of these cases, ``(len(ids), d)``."""
        return self.vectors[[self._row[case] for case in ids]]

    @property
    def change(self) -> str | None:
        """How query scans were changed, in words; None where they were not."""
        if self.queries is None:
            return None
        known = self.recipe.perturbation if self.recipe else None
        return known.words if known else "as their vectors are"

    def query_rows(self, ids: Sequence[str]) -> npt.NDArray[np.float32] | None:
        """The perturbed vectors of these cases, ``(len(ids), d)``; None where scans were not changed."""
        return None if self.queries is None else self.queries[[self._row[case] for case in ids]]

    def to_frame(self) -> pd.DataFrame:
        """A row a case: ``case`` and ``embedding``, a list of float32."""
        import pandas as pd

        return pd.DataFrame({"case": list(self.ids), "embedding": list(self.vectors)})

    def save(self, path: str | Path) -> None:
        """Write :meth:`to_frame` as a Parquet file, which ``encoder=precomputed encoder.path=FILE`` reads."""
        with written_whole(Path(path)) as file:
            self.to_frame().to_parquet(file, index=False)


def read_vectors(path: str | Path) -> dict[str, npt.NDArray[np.float32]]:
    """Vectors by case id from a Parquet file with the columns ``case`` and ``embedding``.

    Raises:
        NeuroprintError: There is no such file or it is no such table, or it has a case twice.
    """
    import pandas as pd

    file = Path(path).expanduser()
    if not file.is_file():
        raise NeuroprintError(
            f"{path}: there is no such file; expected a Parquet file with the columns case and embedding"
        )
    try:
        table = pd.read_parquet(file)
    except (OSError, ValueError) as error:
        raise NeuroprintError(f"{path}: cannot be read as Parquet ({' '.join(str(error).split())[:200]})") from error
    return _of_table(table, str(path))


def _by_id(cohort: Cohort, vectors: Any) -> dict[str, npt.NDArray[np.float32]]:
    if isinstance(vectors, str | Path):
        found = read_vectors(vectors)
    elif isinstance(vectors, Mapping):
        found = {str(case): _numbers(vector, f"case {case}: its vector") for case, vector in vectors.items()}
    elif hasattr(vectors, "columns"):
        found = _of_table(vectors, "vectors")
    else:
        array = _numbers(vectors, "vectors")
        if array.ndim != 2 or len(array) != len(cohort.cases):
            raise NeuroprintError(
                f"vectors have shape {array.shape}, expected ({len(cohort.cases)}, d): a row for each case"
            )
        found = {case.id: row for case, row in zip(cohort.cases, array, strict=True)}
    known = {case.id for case in cohort.cases} | set(cohort.excluded)
    if foreign := sorted(set(found) - known):
        more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        raise NeuroprintError(
            f"vectors: the cohort {cohort.name} has no case {foreign[0]}{more}; expected its cases' ids"
        )
    return {case: vector for case, vector in found.items() if case not in cohort.excluded}


def _of_table(table: pd.DataFrame, where: str) -> dict[str, npt.NDArray[np.float32]]:
    if not {"case", "embedding"} <= set(table.columns):
        raise NeuroprintError(
            f"{where}: has the columns {', '.join(map(str, table.columns))}, expected case and embedding"
        )
    if (twice := table["case"][table["case"].duplicated()]).size:
        raise NeuroprintError(f"{where}: case {twice.iloc[0]} appears twice, expected one vector a case")
    rows = zip(table["case"], table["embedding"], strict=True)
    return {str(case): _numbers(vector, f"{where}: the embedding of case {case}") for case, vector in rows}


def _numbers(given: Any, what: str) -> npt.NDArray[np.float32]:
    try:
        with np.errstate(over="ignore"):  # what becomes infinite is refused
            return np.asarray(given, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise NeuroprintError(f"{what} cannot be read as numbers ({' '.join(str(error).split())})") from error


def _like(
    vectors: npt.NDArray[np.float32], changed: Mapping[str, npt.NDArray[np.float32]], ids: Sequence[str]
) -> npt.NDArray[np.float32]:
    """The perturbed vectors of all cases, of the size of the others."""
    if lacking := [case for case in ids if case not in changed]:
        raise NeuroprintError(f"perturbed: there is no vector of case {lacking[0]}, expected one for every case")
    found = _stacked(changed, ids)
    if found.shape != vectors.shape:
        raise NeuroprintError(f"perturbed: vectors have {found.shape[1]} numbers, expected {vectors.shape[1]}")
    return found


def _stacked(by_id: Mapping[str, npt.NDArray[np.float32]], ids: Sequence[str]) -> npt.NDArray[np.float32]:
    for case in ids:
        shape, expected = by_id[case].shape, by_id[ids[0]].shape
        if len(shape) != 1 or not shape[0]:
            raise NeuroprintError(f"case {case}: its vector has shape {shape}, expected (d,): a list of numbers")
        if shape != expected:
            raise NeuroprintError(
                f"case {case}: its vector has {shape[0]} numbers, expected {expected[0]} as {ids[0]} has"
            )
        if not np.isfinite(by_id[case]).all():
            raise NeuroprintError(f"case {case}: its vector holds NaN or infinity, expected numbers")
    return np.stack([by_id[case] for case in ids]) if ids else np.zeros((0, 1), dtype=np.float32)

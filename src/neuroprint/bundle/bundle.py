"""A bundle, opened: a gallery of fingerprints that a new scan can be put to."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from neuroprint.bundle import projection
from neuroprint.bundle.format import FORMAT_VERSION, mapped, read
from neuroprint.bundle.index import NEIGHBORS, Neighborhoods, Search, percentiles
from neuroprint.bundle.recipe import Recipe
from neuroprint.bundle.upload import check_space
from neuroprint.data.case import Case
from neuroprint.data.facts import CaseFacts, Target, is_right, measure, volume_cm3
from neuroprint.data.positions import position
from neuroprint.data.mips import VIEWS
from neuroprint.data.volume import Volume, read_volume
from neuroprint.errors import CaseError, NeuroprintError

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Query:
    """A new scan as a bundle sees it.

    Attributes:
        case: Its id.
        embedding: (D,) pooled, before projection.
        projected: (d,) what is compared.
        facts: Its measures and small pictures; its label's, where it has one.
        volume: Its voxels: the modalities that the bundle needs, and FLAIR.
        center_mm: (3,) the tumor's center as the gallery's are given; None without a label or a tumor.
        volume_cm3: The tumor's volume; None without a label.
        side: ``left`` or ``right``; None without a center.
    """

    case: str
    embedding: Floats
    projected: Floats
    facts: CaseFacts
    volume: Volume
    center_mm: npt.NDArray[np.float64] | None
    volume_cm3: float | None
    side: str | None


@dataclass(frozen=True, eq=False)
class Neighbors:
    """The most similar cases of a gallery, best first.

    Attributes:
        rows: (k,) where in the gallery they are.
        cases: (k,) ids.
        similarities: (k,) float64; of ``euclidean`` the negative distance.
        percentiles: (k,) which share, 0 to 100, of the gallery's pairs of different patients is less similar, each of a
            case and one of another fold, by a projection that was fitted on the other folds: as new to it as the query
            is. Of the gallery as it was exported; NaN where that had one patient only.
    """

    rows: tuple[int, ...]
    cases: tuple[str, ...]
    similarities: npt.NDArray[np.float64]
    percentiles: npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Bundle:
    """A search index that needs nothing but its own folder; make one with :meth:`open`.

    Attributes:
        folder: Where it is.
        manifest: ``bundle.json``.
        config: The run's resolved configuration, for people and for names: nothing is built from it.
        cases: The gallery, sorted by id: ``case``, ``patient``, ``x_mm``, ``y_mm``, ``z_mm``, ``volume_cm3``, ``side``
            (``left``, ``right``), the cohort's metadata as ``meta:NAME``, and a hash of each image's voxels as
            ``content:MODALITY``; unknown values are missing.
        projected: (n, d) float32, mapped: what is compared.
        embeddings: (n, D) float32, mapped: before projection.
        map_xy: (n, 2) float32, the cohort's 2-D picture.
        neighborhoods: Which cases of other patients each case of the gallery finds when the projection has not seen it.
            Of a case that was added, but whose patient the projection was fitted to, this is not known: its list is
            empty.
        scores: ``scores.json``.
        similarity: ``cosine``, ``dot`` or ``euclidean``.
    """

    folder: Path
    manifest: Mapping[str, Any]
    config: Mapping[str, Any]
    cases: pd.DataFrame
    projected: Floats
    embeddings: Floats
    map_xy: Floats
    neighborhoods: Neighborhoods
    scores: Mapping[str, Any]
    similarity: str
    _arrays: Mapping[str, npt.NDArray[Any]] = field(repr=False)
    _recipe: Recipe = field(repr=False)
    _steps: Sequence[projection.Step] = field(repr=False)

    @classmethod
    def open(cls, folder: Path, weights: Sequence[Path] = ()) -> Bundle:
        """Open a bundle once all its files were found to be as they were written.

        Args:
            folder: The bundle.
            weights: Files for the weights that a bundle names but does not hold.

        Raises:
            NeuroprintError: In one line: it is no bundle, damaged, of a newer or older format, or names what it may not.
        """
        import pandas as pd
        import yaml

        folder = Path(folder).resolve()
        manifest = read(folder)
        if manifest["format_version"] < FORMAT_VERSION:
            raise NeuroprintError(
                f"{folder}: a bundle of format {manifest['format_version']}, which lacks what a vote and a query's novelty "
                "are judged by; export it anew"
            )
        try:
            config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
            scores = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
            cases = pd.read_parquet(folder / "cases.parquet")
            arrays = mapped(folder / "gallery.safetensors")
            rows = {len(cases), *(len(arrays[name]) for name in ("projected", "embeddings", "map", "lengths"))}
            if len(rows) > 1 or "quantiles" not in arrays:
                raise ValueError(f"its files differ in the number of cases: {sorted(rows)}")
            neighborhoods = _neighborhoods(folder, len(cases))
        except (OSError, ValueError, KeyError, yaml.YAMLError) as error:
            raise NeuroprintError(f"{folder}: not a sound bundle ({type(error).__name__}: {error})") from error
        return cls(
            folder,
            manifest,
            config,
            cases,
            arrays["projected"],
            arrays["embeddings"],
            arrays["map"],
            neighborhoods,
            scores,
            str(manifest["similarity"]),
            arrays,
            Recipe(folder, weights, manifest["files"]),
            projection.load(folder),
        )

    @property
    def name(self) -> str:
        """The configuration's name."""
        return str(self.manifest["name"])

    @property
    def is_fitted(self) -> bool:
        """Whether there is a projection that has learned from the gallery."""
        return any(step.array is not None for step in self._steps)

    @property
    def quantiles(self) -> Floats:
        """(1001,) of the similarities that percentiles are taken from; empty where there are none."""
        return np.asarray(self._arrays["quantiles"])

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities that a query must have."""
        return self._recipe.modalities

    def embed(self, case: Case, device: str = "cpu") -> Query:
        """Read a scan and extract it exactly as the gallery was.

        Raises:
            CaseError: A modality is missing, or the scan cannot be used.
            NeuroprintError: The bundle's weights are missing.
        """
        self._recipe.check_weights()
        absent = [name for name in self.modalities if name not in case.images]
        if absent:
            raise CaseError(case.id, f"has no {', '.join(absent)} image, which the bundle needs; add it")
        shown = [name for name in ("flair",) if name in case.images and name not in self.modalities]
        check_space(case, (*self.modalities, *shown))
        volume = read_volume(case, (*self.modalities, *shown))
        facts = measure(volume, case.label_convention)
        embedding = self._recipe.embed(case.id, volume, facts, device)
        target, frame = self.target
        right = is_right(facts, case.label_convention, target)
        return Query(
            case=case.id,
            embedding=embedding,
            projected=self.project(embedding[None])[0],
            facts=facts,
            volume=volume,
            center_mm=position(facts, case.label_convention, target, frame),
            volume_cm3=volume_cm3(facts, case.label_convention, target.region),
            side=None if right is None else "right" if right else "left",
        )

    def project(self, embeddings: npt.NDArray[np.floating[Any]]) -> Floats:
        """(m, D) -> (m, d) by the bundle's projection."""
        return projection.apply(self._steps, embeddings)

    def rank(self, projected: npt.NDArray[np.floating[Any]], k: int) -> Neighbors:
        """The k cases of the gallery that are most similar to a projected fingerprint, (d,); equals by id.

        Raises:
            NeuroprintError: The fingerprint has another size than the gallery's, or k is less than 1.
        """
        rows, similarities = self._search(projected, k)
        ids = tuple(str(self.cases["case"].iloc[row]) for row in rows)
        return Neighbors(tuple(rows), ids, similarities, percentiles(self.quantiles, similarities))

    def unlike_gallery(self, similarities: npt.NDArray[np.floating[Any]]) -> bool:
        """Whether the best of a query's similarities is low: below the 5th percentile (``scores["novelty"]``) of how
        similar the gallery's own cases are to their nearest case of another patient, out of fold: by a projection that
        has seen them no more than it has seen the query.
        """
        threshold = self.scores["novelty"]["threshold"]
        return threshold is not None and bool(np.max(similarities) < threshold)

    def pictures(self, case: str) -> tuple[dict[str, npt.NDArray[np.uint8]], dict[str, npt.NDArray[np.bool_]]]:
        """A gallery case's FLAIR projections (uint8) and tumor masks (bool) by view, as in ``CaseFacts``.

        Raises:
            NeuroprintError: There is no such case.
        """
        row = self._row_of.get(case)
        if row is None:
            raise NeuroprintError(f"the bundle has no case {case}")
        gray = {view: np.asarray(self._pictures[f"{row}/{view}"]) for view in VIEWS}
        masks = {view: np.asarray(self._pictures[f"{row}/{view}/tumor"]).astype(bool) for view in VIEWS}
        return gray, masks

    @cached_property
    def _row_of(self) -> dict[str, int]:
        return {str(case): row for row, case in enumerate(self.cases["case"])}

    @cached_property
    def _pictures(self) -> dict[str, npt.NDArray[Any]]:
        return mapped(self.folder / "projections.safetensors")

    @cached_property
    def _search(self) -> Search:
        return Search(self.projected, self._arrays["lengths"], list(map(str, self.cases["case"])), self.similarity)

    @property
    def target(self) -> tuple[Target, Any]:
        """What positions are, and the frame they are compared in."""
        target = dict(self.manifest["target"])
        frame = target.pop("frame")
        return Target(**target), frame


def _neighborhoods(folder: Path, cases: int) -> Neighborhoods:
    """The lists of a gallery's own cases.

    Raises:
        ValueError: They are not of these cases.
        NeuroprintError: Their file cannot be read.
    """
    arrays = mapped(folder / NEIGHBORS)
    rows, similarities = arrays["neighbors"], arrays["neighbor_similarity"]
    if (
        rows.ndim != 2
        or len(rows) != cases
        or rows.shape != similarities.shape
        or not np.issubdtype(rows.dtype, np.integer)
    ):
        raise ValueError(f"{NEIGHBORS} has lists of shape {rows.shape} and {similarities.shape} for {cases} cases")
    if rows.size and not -1 <= int(rows.min()) <= int(rows.max()) < cases:
        raise ValueError(f"{NEIGHBORS} names cases that are not there")
    return Neighborhoods(rows, similarities)

"""A bundle, opened: a gallery of embeddings that a new scan can be put to."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from neuroprint.bundle.build import build_bundle, part_of_projection
from neuroprint.bundle.embedder import Embedder
from neuroprint.bundle.format import FORMAT_VERSION, TEMPLATE_FILE, mapped, read_manifest
from neuroprint.bundle.gallery import IMAGE, NEIGHBORS_FILE, Placing
from neuroprint.bundle.index import Floats32, Neighborhoods, Search, percentiles
from neuroprint.bundle.novelty import Novelty, novelty
from neuroprint.bundle.projection import Step, apply_steps, load_steps
from neuroprint.catalog.gate import Gate
from neuroprint.catalog.instantiate import instantiate
from neuroprint.catalog.menu import Catalog
from neuroprint.data.appearance import series_of
from neuroprint.data.case import Case
from neuroprint.data.case_facts import CaseFacts
from neuroprint.data.formats import DatasetFormat
from neuroprint.data.load import read_case
from neuroprint.data.measure import measure
from neuroprint.data.mips import PLANES
from neuroprint.data.volume import Volume, read_volume
from neuroprint.errors import CaseError, NeuroprintError
from neuroprint.prepare.template import FEWEST_PATIENTS, BrainTemplate

if TYPE_CHECKING:
    import pandas as pd

    from neuroprint.bundle.answer import Answer
    from neuroprint.embedding.embeddings import Embeddings
    from neuroprint.tasks.result import Result

log = logging.getLogger(__name__)


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
    embedding: Floats32
    projected: Floats32
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
    """A search index that needs nothing but its own folder; make one with :meth:`build`, and open it with :meth:`open`.

    Attributes:
        folder: Where it is.
        manifest: ``bundle.json``.
        config: The run's resolved configuration, for people: nothing is built from it. Empty where there was none.
        cases: The gallery, sorted by id: ``case``, ``patient``, ``x_mm``, ``y_mm``, ``z_mm``, ``volume_cm3``, ``side``
            (``left``, ``right``), the cohort's metadata as ``meta:NAME``, a hash of each image's voxels as
            ``content:MODALITY``, and what the images look like as ``image:FACT`` (see
            :mod:`neuroprint.data.appearance`); unknown values are missing.
        projected: (n, d) float32, mapped: what is compared.
        embeddings: (n, D) float32, mapped: before projection.
        map_xy: (n, 2) float32, the cohort's 2-D picture.
        neighborhoods: Which cases of other patients each case of the gallery finds when the projection has not seen it.
            Of a case that was added, but whose patient the projection was fitted to, this is not known: its list is
            empty.
        scores: ``scores.json``.
        similarity: ``cosine``, ``dot`` or ``euclidean``.

    Example:
        >>> import neuroprint as npr
        >>> cohort = npr.load_cohort("phantom", cases=12, spacing_mm=8.0)
        >>> _ = npr.Bundle.build(npr.embed(cohort, encoder="voxels"), path="voxel_bundle")
        >>> bundle = npr.Bundle.open("voxel_bundle")
        >>> bundle
        Bundle(voxels · mean: 12 cases, compared by euclidean)
        >>> case = bundle.read_case(".neuroprint/phantom/12-cases-8mm-seed0/Phantom_00004")
        >>> answer = bundle.query(case, k=3)
        >>> answer.matches[0].case
        'Phantom_00004'
        >>> seen = bundle.embed(case)
        >>> nearest = bundle.rank(bundle.project(seen.embedding[None])[0], k=2)
        >>> nearest.cases[0], bundle.novelty(seen).is_unlike
        ('Phantom_00004', False)
        >>> gray, mask = bundle.pictures("Phantom_00004")
        >>> gray["axial"].shape == mask["axial"].shape
        True
        >>> height, width = bundle.picture_mm("Phantom_00004")["axial"]
        >>> 100 < width < height < 300
        True
    """

    folder: Path
    manifest: Mapping[str, Any]
    config: Mapping[str, Any]
    cases: pd.DataFrame
    projected: Floats32
    embeddings: Floats32
    map_xy: Floats32
    neighborhoods: Neighborhoods
    scores: Mapping[str, Any]
    similarity: str
    _arrays: Mapping[str, npt.NDArray[Any]] = field(repr=False)
    _embedder: Embedder = field(repr=False)
    _steps: Sequence[Step] = field(repr=False)
    _gate: Gate = field(repr=False)

    @classmethod
    def build(
        cls,
        source: Embeddings | Result,
        projection: Any = None,
        path: str | Path = "bundle",
        *,
        similarity: str | None = None,
        holdout: str | float = "auto",
        trust: Sequence[str] = (),
        catalog: Catalog | None = None,
    ) -> Bundle:
        """Write a bundle in one step, and open it.

        Args:
            source: Embeddings that :func:`neuroprint.embed` made; or the result of an evaluation, whose projection,
                similarity, hold-out and scores are then the bundle's.
            projection: Of embeddings: a scikit-learn transformer, an entry of conf/projection, or a node. None uses them as
                they are.
            path: Folder of the bundle: nothing, an empty folder, or a bundle, which is replaced.
            similarity: Of embeddings, in the place of what they are made for.
            holdout: Of embeddings, the share of the patients that stays out of the gallery; ``auto`` is 0.2 from 50 patients
                on, as in :func:`neuroprint.evaluate`. 0 takes all.
            trust: Packages of your own whose encoder or pooling the bundle may name.
            catalog: The menu; by default conf/.

        Raises:
            NeuroprintError: The place is taken by something else, or the encoder, the pooling or the projection cannot be
                kept in a bundle.

        Example:
            >>> import neuroprint as npr
            >>> cohort = npr.load_cohort("phantom", cases=12, spacing_mm=8.0)
            >>> bundle = npr.Bundle.build(npr.embed(cohort, encoder="voxels"), projection="pca", path="example_bundle")
            >>> len(bundle.cases)
            12
        """
        gate = Gate(trust)
        part = part_of_projection(projection, catalog)
        build_bundle(source, Path(path), part, similarity=similarity, holdout=holdout, gate=gate)
        return cls.open(path, trust=trust)

    @classmethod
    def open(cls, folder: str | Path, weights: Sequence[str | Path] = (), trust: Sequence[str] = ()) -> Bundle:
        """Open a bundle once all its files were found to be as they were written.

        Args:
            folder: The bundle.
            weights: Files for the weights that a bundle names but does not hold.
            trust: Packages whose code the bundle may name, beside neuroprint's own.

        Raises:
            NeuroprintError: In one line: it is no bundle, damaged, of a newer or older format, or names what it may not.
        """
        import pandas as pd
        import yaml

        folder = Path(folder).expanduser().resolve()
        gate = Gate(trust)
        manifest = read_manifest(folder)
        if manifest["format_version"] < FORMAT_VERSION:
            raise NeuroprintError(
                f"{folder}: a bundle of format {manifest['format_version']}; this neuroprint reads format {FORMAT_VERSION}: "
                "export it anew"
            )
        try:
            config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8")) or {}
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
            Embedder(folder, [Path(file).expanduser() for file in weights], manifest["files"], gate),
            load_steps(folder),
            gate,
        )

    def __repr__(self) -> str:
        return f"Bundle({self.name}: {len(self.cases)} cases, compared by {self.similarity})"

    @property
    def name(self) -> str:
        """The configuration's name."""
        return str(self.manifest["name"])

    @property
    def is_fitted(self) -> bool:
        """Whether there is a projection that has learned from the gallery."""
        return any(step.array is not None for step in self._steps)

    @property
    def quantiles(self) -> Floats32:
        """(1001,) of the similarities that percentiles are taken from; empty where there are none."""
        return np.asarray(self._arrays["quantiles"])

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities that a query must have."""
        return self._embedder.modalities

    @property
    def placing(self) -> Placing:
        """How tumors are placed and measured."""
        return Placing(**self.manifest["position"])

    def read_case(self, path: str | Path) -> Case:
        """The case at a path: as the gallery's dataset format reads it, else as any of neuroprint's own does.

        Raises:
            CaseError: The case cannot be used.
            NeuroprintError: There is no case at the path.
        """
        node = self.manifest["dataset"]["reader"]
        gallerys: DatasetFormat | None = instantiate(node, "dataset", self._gate) if node else None
        return read_case(Path(path).expanduser(), self.modalities, gallerys)

    def query(
        self, case: str | Path | Case, k: int = 5, group: str | None = None, patient: str | None = None
    ) -> Answer:
        """The most similar cases of the gallery.

        Args:
            case: Where the scan is, or the case.
            k: How many cases to find, and of other patients to vote; all where the gallery has fewer.
            group: Metadata column of the gallery, or ``side``, on which the neighbors vote.
            patient: Whose scan it is, as the gallery names patients: their cases have no vote. By default the case's. Of a
                scan that is in the gallery, whatever its name, it is the patient of that case.

        Raises:
            CaseError: The scan cannot be used.
            NeuroprintError: There is no such case or column, or k is less than 1.
        """
        from neuroprint.bundle.query import answer

        return answer(self, case, k, group, patient)

    def embed(self, case: Case, device: str = "cpu") -> Query:
        """Read a scan and extract it exactly as the gallery was.

        Raises:
            CaseError: A modality is missing, or the scan cannot be used.
            NeuroprintError: The bundle's weights are missing.
        """
        self._embedder.check_weights()
        absent = [name for name in self.modalities if name not in case.images]
        if absent:
            raise CaseError(case.id, f"has no {', '.join(absent)} image, which the bundle needs; add it")
        shown = [name for name in ("flair",) if name in case.images and name not in self.modalities]
        volume = read_volume(case, (*self.modalities, *shown))
        for doubt in volume.doubts:
            log.warning("case %s: %s", case.id, doubt)
        facts = measure(volume, case.label_convention)
        embedding = self._embedder(case.id, volume, facts, device)
        placing = self.placing
        return Query(
            case=case.id,
            embedding=embedding,
            projected=self.project(embedding[None])[0],
            facts=facts,
            volume=volume,
            center_mm=placing.center_mm(facts),
            volume_cm3=placing.volume_cm3(facts),
            side=placing.side(facts),
        )

    @cached_property
    def template(self) -> BrainTemplate:
        """What a raw scan is to be laid on before it is put to the bundle.

        Raises:
            NeuroprintError: The bundle holds none.
        """
        if TEMPLATE_FILE not in self.manifest["files"]:
            raise NeuroprintError(
                f"{self.name}: the bundle holds no template to lay raw scans on: its gallery has fewer than "
                f"{FEWEST_PATIENTS} patients with a T1, or they lie in no common space; give prepared scans"
            )
        return BrainTemplate.read(self.folder / TEMPLATE_FILE)

    def project(self, embeddings: npt.NDArray[np.floating[Any]]) -> Floats32:
        """(m, D) -> (m, d) by the bundle's projection."""
        return apply_steps(self._steps, embeddings)

    def rank(self, projected: npt.NDArray[np.floating[Any]], k: int) -> Neighbors:
        """The k cases of the gallery that are most similar to a projected embedding, (d,); equals by id.

        Raises:
            NeuroprintError: The embedding has another size than the gallery's, or k is less than 1.
        """
        rows, similarities = self._search(projected, k)
        ids = tuple(str(self.cases["case"].iloc[row]) for row in rows)
        return Neighbors(tuple(rows), ids, similarities, percentiles(self.quantiles, similarities))

    def novelty(self, query: Query) -> Novelty:
        """Whether a scan is unlike anything in the gallery, and why; see :mod:`neuroprint.bundle.novelty`.

        It is not where all of its images are those of one case of the gallery.
        """
        patients = [str(patient) for patient in self.cases["patient"]]
        if self._holds(query.facts):
            return Novelty(None, len(set(patients)))
        facts = self._image_facts
        return novelty(
            facts,
            self.cases[[f"{IMAGE}{fact}" for fact in facts]].to_numpy(dtype=np.float64),
            self.embeddings,
            patients,
            np.array([query.facts.appearance[fact] for fact in facts]),
            query.embedding,
        )

    def _holds(self, facts: CaseFacts) -> bool:
        same = [
            (self.cases[f"content:{name}"] == facts.contents[name]).to_numpy(dtype=bool) for name in self.modalities
        ]
        return bool(np.logical_and.reduce(same).any())

    @cached_property
    def _image_facts(self) -> list[str]:
        """What is known of every case's images, of the modalities that a query must have."""
        known = [str(column) for column in self.cases.columns[self.cases.notna().all()]]
        facts = [column.removeprefix(IMAGE) for column in known if column.startswith(IMAGE)]
        return [fact for fact in facts if set(series_of(fact)) <= set(self.modalities)]

    def pictures(self, case: str) -> tuple[dict[str, npt.NDArray[np.uint8]], dict[str, npt.NDArray[np.bool_]]]:
        """A gallery case's FLAIR MIPs (uint8) and tumor masks (bool) by plane, as in ``CaseFacts``.

        Raises:
            NeuroprintError: There is no such case.
        """
        row = self._row_of.get(case)
        if row is None:
            raise NeuroprintError(f"the bundle has no case {case}")
        gray = {plane: np.asarray(self._pictures[f"{row}/{plane}"]) for plane in PLANES}
        masks = {plane: np.asarray(self._pictures[f"{row}/{plane}/tumor"]).astype(bool) for plane in PLANES}
        return gray, masks

    def picture_mm(self, case: str) -> dict[str, tuple[float, float]]:
        """Height and width in mm of a gallery case's pictures, by plane."""
        row = self._row_of[case]
        sizes = {plane: np.asarray(self._pictures[f"{row}/{plane}/mm"]) for plane in PLANES}
        return {plane: (float(height), float(width)) for plane, (height, width) in sizes.items()}

    @cached_property
    def _row_of(self) -> dict[str, int]:
        return {str(case): row for row, case in enumerate(self.cases["case"])}

    @cached_property
    def _pictures(self) -> dict[str, npt.NDArray[Any]]:
        return mapped(self.folder / "mips.safetensors")

    @cached_property
    def _search(self) -> Search:
        return Search(self.projected, self._arrays["lengths"], list(map(str, self.cases["case"])), self.similarity)


def _neighborhoods(folder: Path, cases: int) -> Neighborhoods:
    """The lists of a gallery's own cases.

    Raises:
        ValueError: They are not of these cases.
        NeuroprintError: Their file cannot be read.
    """
    arrays = mapped(folder / NEIGHBORS_FILE)
    rows, similarities = arrays["neighbors"], arrays["neighbor_similarity"]
    if (
        rows.ndim != 2
        or len(rows) != cases
        or rows.shape != similarities.shape
        or not np.issubdtype(rows.dtype, np.integer)
    ):
        raise ValueError(f"{NEIGHBORS_FILE} has lists of shape {rows.shape} and {similarities.shape} for {cases} cases")
    if rows.size and not -1 <= int(rows.min()) <= int(rows.max()) < cases:
        raise ValueError(f"{NEIGHBORS_FILE} names cases that are not there")
    return Neighborhoods(rows, similarities)

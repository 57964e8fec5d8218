"""From a cohort and a configuration to scores: extraction, then evaluation, with what rows share done once a process."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from neuroprint.data.duplicates import refuse_shared_images
from neuroprint.data.facts import CaseFacts, Target, is_right, region_cells, volume_cm3
from neuroprint.data.positions import midline, position
from neuroprint.embedding.combination import join
from neuroprint.embedding.extraction import Extract, Extraction, Request
from neuroprint.embedding.store import FeatureStore, digest
from neuroprint.errors import CaseError, NeuroprintError
from neuroprint.evaluation.subjects import Subjects, known
from neuroprint.experiment.identified import IdentifiedCohort
from neuroprint.experiment.job import Job, voxels_extractor

if TYPE_CHECKING:
    from neuroprint.data.case import Case
    from neuroprint.evaluation.benchmark import Benchmark
    from neuroprint.evaluation.evaluation import Evaluation

log = logging.getLogger(__name__)

REFERENCES = ("chance", "voxels", "oracle")
"""Rows that every group has."""

UNTRAINED = "untrained"
"""The row that trained encoders are measured by."""

_ONE_CORES_WORK = 2_000_000  # numbers of all embeddings


@dataclass(frozen=True)
class Standard:
    """What all rows of one leaderboard share: the scored cases, the benchmark, and the reference rows.

    Attributes:
        benchmark: Folds, relevance and distances of the scored cases.
        facts: Of the scored cases, by id.
        volumes_cm3: Tumor volume of the scored cases.
        midlines_mm: x of the brain box's center of the scored cases, in the frame of the positions.
        voxels_embeddings: ``(n, d)``, what the reference row ``voxels`` compares.
        excluded: Why cases were left out, by id.
    """

    benchmark: Benchmark
    facts: Mapping[str, CaseFacts]
    volumes_cm3: npt.NDArray[np.float64]
    midlines_mm: npt.NDArray[np.float64]
    voxels_embeddings: npt.NDArray[np.float32]
    excluded: Mapping[str, str]

    @property
    def subjects(self) -> Subjects:
        return self.benchmark.subjects

    @cached_property
    def references(self) -> dict[str, Evaluation]:
        """The rows that give the scale, scored by the same code on the same folds."""
        voxels = self.benchmark.score(self.voxels_embeddings, similarity="euclidean")
        return {"chance": self.benchmark.chance, "voxels": voxels, "oracle": self.benchmark.oracle}

    def embeddings(self, role: str) -> npt.NDArray[np.float32] | None:
        """What a reference row compares, ``(n, d)``; chance compares nothing."""
        if role == "oracle":
            return self.benchmark.oracle_embeddings.astype(np.float32)
        return self.voxels_embeddings if role == "voxels" else None


@dataclass(frozen=True)
class Row:
    """One configuration's embeddings of the scored cases, and the standard to score them by."""

    standard: Standard
    embeddings: npt.NDArray[np.float32]
    extraction: Extraction

    @property
    def forwards(self) -> int:
        """Forward passes through the configuration's own encoders."""
        return sum(self.extraction.forwards[:-1])

    @property
    def cached(self) -> int:
        """Cases that were found in the store; of several encoders, by the one with the fewest."""
        return min(self.extraction.cached[:-1])


_standards: dict[str, Standard] = {}
_KEPT = 4  # standards of the last few protocols; a sweep's jobs mostly come one protocol after the other


def extract(job: Job, cohort: IdentifiedCohort) -> Extraction:
    """Facts and embeddings of the whole cohort, the hold-out included, by this job and by the reference row ``voxels``."""
    requests = [
        *job.requests(cohort.modalities),
        Request(voxels_extractor(cohort.modalities), ("voxels",), "mean"),
    ]
    store = FeatureStore(Path(job.config.store.root), job.config.store.keep_maps)
    work = Extract(store, job.config.device, job.config.dataset.strict)
    return work(cohort.cohort.cases, cohort.prints, requests)


def prepare(job: Job, cohort: IdentifiedCohort, extraction: Extraction) -> Row:
    """The scored cases' embeddings, and what they are scored by.

    Raises:
        NeuroprintError: Too few cases or patients are left to be scored.
    """
    *own, voxels = extraction.embeddings
    standard = _standard(job, cohort, extraction, voxels)
    return Row(standard, np.stack([join([found[case] for found in own]) for case in standard.subjects.ids]), extraction)


def score(job: Job, row: Row) -> Evaluation:
    """Probe and retrieval scores of one configuration."""
    benchmark = row.standard.benchmark
    gallery = min(len(split.gallery) for split in benchmark.splits)
    dimensions = row.embeddings.shape[1]
    if job.components is not None and job.components > min(gallery, dimensions):
        log.warning(
            "components=%d is more than %d gallery cases of %d numbers allow: clipped to %d",
            *(job.components, gallery, dimensions, min(gallery, dimensions)),
        )
    # On matrices this small a second thread waits as long as it works, on a core that another job could use.
    threads = 1 if row.embeddings.size < _ONE_CORES_WORK else None
    try:
        with threadpool_limits(threads, user_api="blas"):
            return benchmark.score(
                row.embeddings,
                similarity=job.config.retrieval.similarity,
                make_projection=partial(clipped_projection, job, gallery, dimensions),
                make_probe=job.build_probe,
            )
    except (ValueError, TypeError) as error:
        log.debug("the fit failed", exc_info=True)
        what = f"projection={job.choices['projection']} or probe={job.choices['probe']}"
        raise NeuroprintError(f"{what} cannot be fitted to {gallery} cases of {dimensions} numbers: {error}") from error


def clipped_projection(job: Job, cases: int, dimensions: int) -> Any:
    """A new projection, of no more components than the fit can have."""
    projection = job.build_projection()
    if job.components is not None:
        projection.set_params(n_components=min(job.components, cases, dimensions))
    return projection


def _standard(
    job: Job, cohort: IdentifiedCohort, extraction: Extraction, voxels: Mapping[str, npt.NDArray[np.float32]]
) -> Standard:
    from neuroprint.evaluation.benchmark import Benchmark, Protocol
    from neuroprint.evaluation.relevance import RelevanceRule

    config = job.config
    key = digest([job.group(cohort), config.repeats, sorted(extraction.excluded)])
    if key in _standards:
        return _standards[key]
    while len(_standards) >= _KEPT:
        del _standards[next(iter(_standards))]
    if config.dataset.duplicates == "refuse":
        # The files differ, or the cohort would not have come so far; now that they are read, so must the images.
        refuse_shared_images(cohort.cohort.cases, {case: facts.contents for case, facts in extraction.facts.items()})
    target = Target(config.target.region, config.target.weighting, config.target.units)
    frame = cohort.frame(config.target.frame)
    if target.units == "voxel":
        log.warning("target.units=voxel: positions are in voxels, and so are the radius and all errors that say mm")
    excluded = {**cohort.cohort.excluded, **extraction.excluded}
    needs_center = config.retrieval.relevance != "metadata"
    cases, centers, right = [], [], []
    for case in cohort.swept(config.holdout):
        facts = extraction.facts.get(case.id)
        if facts is None:
            continue
        center = position(facts, case.label_convention, target, frame)
        if center is None and needs_center:
            what = f"its label has no voxel of {target.region}" if facts.has_label else "it has no label"
            excluded[case.id] = f"{what}: it has no center to score"
            log.warning("left out: case %s: %s", case.id, excluded[case.id])
            if config.dataset.strict:
                raise CaseError(case.id, excluded[case.id])
            continue
        cases.append(case)
        centers.append(np.full(3, np.nan) if center is None else center)
        right.append(bool(is_right(facts, case.label_convention, target)))
    if not cases:
        raise NeuroprintError(f"no case is left to be scored; {len(excluded)} were left out, as listed above")
    wanted = config.retrieval
    rule = RelevanceRule(wanted.relevance, wanted.radius_mm, wanted.min_dice, wanted.column)
    facts_of = {case.id: extraction.facts[case.id] for case in cases}
    subjects = Subjects(
        ids=tuple(case.id for case in cases),
        patients=tuple(case.patient for case in cases),
        centers_mm=np.array(centers),
        right=np.array(right),
        metadata={
            column: np.array([case.metadata.get(column) for case in cases], dtype=object)
            for column in sorted({column for case in cases for column in case.metadata})
        },
        masks=_masks(cases, facts_of, target.region) if wanted.relevance == "overlap" else None,
    )
    protocol = Protocol(folds=config.folds, seed=config.seed, relevance=rule, repeats=config.repeats)
    sizes = [volume_cm3(facts_of[case.id], case.label_convention, target.region) for case in cases]
    _standards[key] = Standard(
        benchmark=Benchmark(subjects, protocol),
        facts=facts_of,
        volumes_cm3=np.array([np.nan if size is None else size for size in sizes]),
        midlines_mm=np.array([midline(facts, target, frame) for facts in facts_of.values()]),
        voxels_embeddings=np.stack([voxels[case.id] for case in cases]),
        excluded=excluded,
    )
    return _standards[key]


def _masks(cases: Sequence[Case], facts: Mapping[str, CaseFacts], region: str) -> npt.NDArray[np.uint8]:
    return np.stack([region_cells(facts[case.id], case.label_convention, region) for case in cases])


def project_all(job: Job, row: Row) -> npt.NDArray[np.float64]:
    """The projection fitted on all scored cases, for the picture: ``(n, components)``."""
    from neuroprint.evaluation.projection import fit_projection, is_supervised, transformed

    projection = clipped_projection(job, len(row.embeddings), row.embeddings.shape[1])
    embeddings = row.embeddings.astype(np.float64)
    if getattr(projection, "transductive", False):
        return np.asarray(projection.fit_transform(embeddings), dtype=np.float64)
    subjects = row.standard.subjects
    located = known(subjects.centers_mm) if is_supervised(projection) else np.ones(len(embeddings), dtype=bool)
    patients = [patient for patient, kept in zip(subjects.patients, located, strict=True) if kept]
    centers = subjects.centers_mm[located] if is_supervised(projection) else None
    return transformed(fit_projection(lambda: projection, embeddings[located], centers, patients), embeddings)

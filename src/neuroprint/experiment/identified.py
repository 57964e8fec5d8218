"""A cohort whose content is known: the fingerprint of every case, before any voxel is decoded."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from neuroprint.data.case import Case, Cohort, Frame
from neuroprint.data.duplicates import refuse_shared_images
from neuroprint.data.digests import FingerprintCache
from neuroprint.data.case_digests import Fingerprints, fingerprint_cohort
from neuroprint.data.labels import region_labels
from neuroprint.errors import CaseError, NeuroprintError
from neuroprint.evaluation.folds import assign_folds, holdout_share, in_holdout

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class IdentifiedCohort:
    """A cohort and what its files hold, by SHA-256.

    Attributes:
        cohort: The cases.
        prints: Fingerprints by case id.
        fingerprint: Of the whole cohort: equal ones hold the same scans, labels, patients and metadata.
    """

    cohort: Cohort
    prints: Mapping[str, Fingerprints]
    fingerprint: str

    @cached_property
    def modalities(self) -> tuple[str, ...]:
        """Names of the modalities that the cohort has, in alphabetical order."""
        present = {name for case in self.cohort.cases for name in case.images}
        return tuple(sorted(present))

    @cached_property
    def patients(self) -> frozenset[str]:
        return frozenset(case.patient for case in self.cohort.cases)

    def holdout_share(self, holdout: str | float) -> float:
        """The share of patients that takes no part in a sweep."""
        return holdout_share(holdout, len(self.patients))

    def swept(self, holdout: str | float) -> list[Case]:
        """The cases that a sweep may score: all but the hold-out."""
        share = self.holdout_share(holdout)
        return [case for case in self.cohort.cases if not in_holdout(case.patient, share)]

    def check(self, config: DictConfig) -> None:
        """Refuse what this cohort cannot be asked: better now than after the extraction.

        Raises:
            NeuroprintError: Fewer patients than folds, a region that the labels do not tell, an unknown column, or the
                same image file under two patients.
        """
        assign_folds([case.patient for case in self.swept(config.holdout)], config.folds, config.seed)
        for convention in sorted({case.label_convention for case in self.cohort.cases}):
            region_labels(convention, config.target.region, ())
        columns = sorted({column for case in self.cohort.cases for column in case.metadata})
        if config.retrieval.relevance == "metadata" and config.retrieval.column not in columns:
            raise NeuroprintError(
                f"retrieval.column={config.retrieval.column}: the cohort has the columns {', '.join(columns) or 'none'}"
            )
        if config.dataset.duplicates == "refuse":
            refuse_shared_images(self.cohort.cases, {case: prints.each for case, prints in self.prints.items()})

    def frame(self, choice: str) -> Frame:
        """Where positions are compared: the cohort's own declaration, unless the target says otherwise."""
        if choice == "auto":
            return self.cohort.frame
        return "brain" if choice == "brain" else "world"


_known: dict[str, IdentifiedCohort] = {}
_checked: set[tuple[Any, ...]] = set()


def load_cohort(config: DictConfig) -> IdentifiedCohort:
    """Find the cases of ``dataset=...`` and fingerprint their files; once a process.

    Raises:
        NeuroprintError: There is no such dataset; it has fewer patients than folds; an image is that of two patients; or,
            with ``dataset.strict=true``, one of its cases cannot be used.
    """
    from hydra.utils import instantiate

    key = json.dumps(OmegaConf.to_container(config.dataset, resolve=True), sort_keys=True, default=str)
    if key not in _known:
        cohort = _find(instantiate, config)
        for case, problem in cohort.excluded.items():
            if config.dataset.strict:
                raise CaseError(case, problem)
            log.warning("left out: case %s: %s", case, problem)
        cache = FingerprintCache(Path(config.store.root) / "fingerprints.sqlite")
        prints, fingerprint = fingerprint_cohort(cohort, cache)
        _known[key] = IdentifiedCohort(cohort, prints, fingerprint)
    wanted = config.retrieval
    asked = (key, config.holdout, config.folds, config.seed, config.target.region, wanted.relevance, wanted.column)
    if asked not in _checked:
        _known[key].check(config)
        _checked.add(asked)
    return _known[key]


def _find(instantiate: Any, config: DictConfig) -> Cohort:
    from hydra.errors import InstantiationException

    find = config.dataset.find
    places = {key: Path(str(find[key])) for key in ("root", "path") if key in find}
    try:
        cohort: Cohort = instantiate(find, _convert_="all", **places)
    except InstantiationException as error:
        if isinstance(error.__cause__, NeuroprintError):
            raise error.__cause__ from None
        raise
    if not cohort.cases:
        reasons = "; ".join(f"{case}: {problem}" for case, problem in list(cohort.excluded.items())[:3])
        raise NeuroprintError(f"dataset={config.dataset.name}: none of its cases can be used ({reasons})")
    return cohort

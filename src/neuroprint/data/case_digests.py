"""Fingerprints of a whole cohort at once: what the feature store and the identity of a run are keyed by."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from neuroprint.data.case import Cohort
from neuroprint.data.digests import (
    FingerprintCache,
    case_fingerprint,
    cohort_fingerprint,
    image_fingerprint,
    image_hashes,
)


@dataclass(frozen=True)
class Fingerprints:
    """What is known of a case is stored under these.

    Attributes:
        images: SHA-256 of its images alone, which features depend on.
        case: SHA-256 of images, label and what the label's numbers are said to mean, which facts depend on.
        each: SHA-256 of each image by modality, by which the same image under two patients is found.
    """

    images: str
    case: str
    each: Mapping[str, str] = field(default_factory=dict)


def fingerprint_cohort(cohort: Cohort, cache: FingerprintCache) -> tuple[dict[str, Fingerprints], str]:
    """Fingerprints of every case by id, and of the cohort as a whole.

    Raises:
        CaseError: A file cannot be read.
    """
    # All files in one go, in threads; what cannot be read is named, with its case, by the look at the case below.
    with suppress(OSError):
        cache.sha256(file.path for case in cohort.cases for file in case.files().values())
    prints = {
        case.id: Fingerprints(
            image_fingerprint(case, cache),
            hashlib.sha256(f"{case_fingerprint(case, cache)} {case.label_convention}".encode()).hexdigest(),
            image_hashes(case, cache),
        )
        for case in cohort.cases
    }
    return prints, cohort_fingerprint(cohort, cache)

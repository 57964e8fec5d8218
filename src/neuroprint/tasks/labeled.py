"""What tasks on a region of the tumor have in common: labels that tell it, and cases that have it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from neuroprint.data.facts import volume_cm3
from neuroprint.data.labels import REGIONS, region_labels
from neuroprint.tasks.task import require

if TYPE_CHECKING:
    from neuroprint.data.case_facts import CaseFacts
    from neuroprint.data.cohort import Cohort


def require_region(task: str, region: str) -> None:
    """Refuse a region that does not exist.

    Raises:
        NeuroprintError: Names those that do.
    """
    require(region in REGIONS, task, "region", region, f"one of {', '.join(REGIONS)}")


def check_labels_tell(cohort: Cohort, region: str) -> None:
    """Refuse a region that the cohort's labels do not tell.

    Raises:
        NeuroprintError: The label's numbers are not known to mean it.
    """
    for convention in sorted({case.label_convention for case in cohort.cases}):
        region_labels(convention, region, ())


def why_without(facts: CaseFacts | None, region: str, what: str) -> str | None:
    """Why a case lacks what a task asks of a region; None where it has a voxel of it.

    Args:
        facts: Of the case; None where its scans were not read.
        region: One of :data:`neuroprint.data.labels.REGIONS`.
        what: The region would have it, such as ``center``.
    """
    if facts is None:
        return f"its scans were not read: it has no {what} to score"
    if not volume_cm3(facts, region):
        lacking = f"its label has no voxel of {region}" if facts.has_label else "it has no label"
        return f"{lacking}: it has no {what} to score"
    return None

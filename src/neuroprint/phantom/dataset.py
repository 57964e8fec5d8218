"""``dataset=phantom``: a phantom cohort, written into the cache the first time it is asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from neuroprint.data.formats.brats import find_brats
from neuroprint.data.case import Cohort


def find_phantom(root: Path, cases: int, spacing_mm: float, seed: int, pose_jitter: bool) -> Cohort:
    """The phantom cohort of these settings, in a folder of its own below ``root``; written where it is not whole.

    Raises:
        NeuroprintError: The settings cannot work, or the folder holds something else.
    """
    jitter = "-pose_jitter" if pose_jitter else ""
    folder = root / f"{cases}-cases-{spacing_mm:g}mm-seed{seed}{jitter}"
    write_with_progress(folder, cases, spacing_mm, seed, pose_jitter)
    # Heads that lie as they please are compared in their own frame.
    return replace(find_brats(folder), name="phantom", frame="brain" if pose_jitter else "world")


def write_with_progress(folder: Path, cases: int, spacing_mm: float, seed: int, pose_jitter: bool) -> None:
    """Write a cohort under a progress bar, which shows only where there is something to write."""
    from tqdm import tqdm

    from neuroprint.phantom.cohort import write_cohort

    bar: tqdm[None] | None = None

    def show(done: int) -> None:
        nonlocal bar
        bar = bar or tqdm(total=cases, desc="phantoms", unit="case", dynamic_ncols=True)
        bar.update(done - bar.n)

    write_cohort(folder, cases, spacing_mm, seed, pose_jitter, progress=show)
    if bar is not None:
        bar.close()

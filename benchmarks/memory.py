"""What one process holds after many cases: memory must not grow with their number.

    python benchmarks/memory.py [--cases 500] [--first 50]

A network of feature size 12 with random weights at 6 mm; few scans under many names, so that only the number of cases counts.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import neuroprint as npr
from neuroprint.cli.environment import prepare_process
from neuroprint.data.digests import CaseDigests, digest
from neuroprint.embedding import poolings
from neuroprint.embedding.extraction import Extract
from neuroprint.embedding.extractor import Extractor
from neuroprint.embedding.inferers import Whole
from neuroprint.embedding.reading import Request
from neuroprint.embedding.store import FeatureStore
from neuroprint.encoders.swin_unetr import SwinUNETREncoder


class Renamed(npr.Cohort):
    """Scans under many names: each name is taken for a scan of its own."""

    @cached_property
    def digests(self) -> Mapping[str, CaseDigests]:
        return {case.id: CaseDigests(digest(case.id), digest(case.id)) for case in self.cases}


def held_mb() -> float:
    """What the process holds now, in MB (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=500)
    parser.add_argument("--first", type=int, default=50)
    options = parser.parse_args()
    prepare_process()
    with tempfile.TemporaryDirectory() as folder:
        scans = npr.load_cohort("phantom", Path(folder) / "phantom", cases=10, spacing_mm=4.0).cases
        encoder = SwinUNETREncoder(("flair", "t1ce", "t1", "t2"), feature_size=12, spacing_mm=6.0)
        extractor = Extractor(encoder, encoder.input.modalities, Whole(), "fp32", {"mean": poolings.mean})
        work = Extract(FeatureStore(Path(folder) / "store", keep_maps_mb=8), "cpu")
        named = tuple(replace(scans[number % len(scans)], id=f"{number:05d}") for number in range(options.cases))
        print("| cases | held, MB |\n| --- | --- |")
        results = []  # held until the end, as a run holds what it extracted
        for first in range(0, options.cases, options.first):
            some = Renamed("memory", named[first : first + options.first])
            results.append(work(some, [Request(extractor, ("stage4",), "mean")]))
            print(f"| {first + len(some)} | {held_mb():.0f} |", flush=True)


if __name__ == "__main__":
    main()

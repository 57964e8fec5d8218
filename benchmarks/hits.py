"""Of new phantoms that have a gallery case within 20 mm, how many find one among the first five?

    python benchmarks/hits.py BUNDLE [BUNDLE ...] [--cases 64] [--seed 1] [--radius 20] [-k 5]

Each is put to the bundle as ``neuroprint query`` puts it. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from tqdm import tqdm

import neuroprint as npr
from neuroprint.cli.environment import prepare_process


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundles", nargs="+", type=Path, metavar="BUNDLE")
    parser.add_argument("--cases", type=int, default=64)
    parser.add_argument("--seed", type=int, default=1, help="of the phantoms; the default gallery's is 0")
    parser.add_argument("--radius", type=float, default=20.0, help="mm")
    parser.add_argument("-k", type=int, default=5)
    options = parser.parse_args()
    prepare_process()
    cases = npr.load_cohort("phantom", cases=options.cases, seed=options.seed).cases
    print(f"| bundle | have a case within {options.radius:g} mm | one among the first {options.k} | the first |")
    print("| --- | --- | --- | --- |")
    for path in options.bundles:
        bundle = npr.Bundle.open(path)
        centers = bundle.cases[["x_mm", "y_mm", "z_mm"]].to_numpy(float)
        asked = among = first = 0
        for case in tqdm(cases, unit="case"):
            answer = bundle.query(case, options.k)
            near = np.linalg.norm(centers - answer.query.center_mm, axis=1) <= options.radius
            if near.any():
                hits = [near[match.row] for match in answer.matches]
                asked, among, first = asked + 1, among + any(hits), first + bool(hits[0])
        print(f"| {bundle.name} | {asked} of {len(cases)} | {among / asked:.0%} | {first / asked:.0%} |")


if __name__ == "__main__":
    main()

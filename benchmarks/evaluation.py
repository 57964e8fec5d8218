"""What an evaluation costs: all metrics, folds and intervals, without figures, by cohort size.

    python benchmarks/evaluation.py [--cases 300,1251,5000] [--dimensions 768] [--repeats 5]

Embeddings are random; the time does not depend on what they say. Prints a Markdown table of medians.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np

from neuroprint.evaluation.benchmark import Benchmark, Protocol
from neuroprint.evaluation.subjects import Subjects


def subjects(cases: int) -> Subjects:
    """A cohort of one case a patient, spread like tumours in a brain."""
    centres = np.random.default_rng(0).normal(size=(cases, 3)) * [30, 30, 20]
    ids = tuple(f"case{number:05d}" for number in range(cases))
    return Subjects(ids, ids, centres, centres[:, 0] > 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", default="300,1251,5000")
    parser.add_argument("--dimensions", type=int, default=768)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    print("| cases | shared by all rows, s | one row, s (median) | fastest | slowest |")
    print("| --- | --- | --- | --- | --- |")
    for cases in (int(number) for number in options.cases.split(",")):
        embeddings = np.random.default_rng(1).normal(size=(cases, options.dimensions)).astype(np.float32)
        started = time.perf_counter()
        benchmark = Benchmark(subjects(cases), Protocol())
        _ = benchmark.chance, benchmark.oracle
        shared = time.perf_counter() - started
        seconds = []
        for _ in range(options.repeats):
            started = time.perf_counter()
            benchmark.score(embeddings)
            seconds.append(time.perf_counter() - started)
        row = (shared, statistics.median(seconds), min(seconds), max(seconds))
        print(f"| {cases} | {' | '.join(f'{value:.1f}' for value in row)} |", flush=True)


if __name__ == "__main__":
    main()

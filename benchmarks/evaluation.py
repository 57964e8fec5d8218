"""What an evaluation costs: all metrics, folds and intervals, without figures, and the statistics by themselves.

    python benchmarks/evaluation.py [--cases 300,1251,5000] [--dimensions 768] [--repeats 5] [--draws 3]

Embeddings are random; the time does not depend on what they say. Prints Markdown tables of medians.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
from neuroprint.evaluation.subjects import Subjects

from neuroprint.evaluation.benchmark import Benchmark, Protocol
from neuroprint.evaluation.statistics import MeanOfRatios, bootstrap_intervals, tied_with_best


def subjects(cases: int) -> Subjects:
    """A cohort of one case a patient, spread like tumors in a brain."""
    centers = np.random.default_rng(0).normal(size=(cases, 3)) * [30, 30, 20]
    ids = tuple(f"case{number:05d}" for number in range(cases))
    return Subjects(ids, ids, centers, centers[:, 0] > 0)


def seconds(call: Callable[[], object], repeats: int) -> str:
    """Median, fastest and slowest of several calls, as cells of a table."""
    taken = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        taken.append(time.perf_counter() - started)
    return " | ".join(f"{value:.2f}" for value in (statistics.median(taken), min(taken), max(taken)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", default="300,1251,5000")
    parser.add_argument("--dimensions", type=int, default=768)
    parser.add_argument("--repeats", type=int, default=5, help="of the measurement")
    parser.add_argument("--draws", type=int, default=3, help="of the folds, as the key repeats of a run")
    options = parser.parse_args()
    Benchmark(subjects(20), Protocol()).score(np.eye(20))  # imports are not what is measured
    rng = np.random.default_rng(1)
    print("| what | median, s | fastest | slowest |")
    print("| --- | --- | --- | --- |")
    for cases in (int(number) for number in options.cases.split(",")):
        cohort = subjects(cases)
        embeddings = rng.normal(size=(cases, options.dimensions)).astype(np.float32)
        benchmark = Benchmark(cohort, Protocol(repeats=options.draws))
        _ = benchmark.chance, benchmark.oracle

        def share(cohort: Subjects = cohort) -> object:
            prepared = Benchmark(cohort, Protocol(repeats=options.draws))
            return prepared.chance, prepared.oracle

        print(f"| {cases} cases: what all rows share | {seconds(share, options.repeats)} |", flush=True)
        cost = seconds(partial(benchmark.score, embeddings), options.repeats)
        print(f"| {cases} cases: one row of {options.dimensions} numbers | {cost} |", flush=True)
    names = [f"p{number:04d}" for number in range(1251)]
    five = {str(k): MeanOfRatios(rng.random((1251, 1)), np.ones((1251, 1))) for k in range(4)}
    five["r2"] = MeanOfRatios(rng.random((1251, 3)), rng.random((1251, 3)), complement=True)
    intervals = seconds(lambda: bootstrap_intervals(five, names, 10_000, seed=0), options.repeats)
    print(f"| intervals of 5 metrics, 1251 queries, 10,000 resamples | {intervals} |")
    values = rng.random((100, 1251))
    print(f"| 100 rows of 1251 queries compared | {seconds(lambda: tied_with_best(values, names), options.repeats)} |")


if __name__ == "__main__":
    main()

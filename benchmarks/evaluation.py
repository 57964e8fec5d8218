"""What an evaluation costs: all metrics, folds and intervals, without figures, and the statistics by themselves.

    python benchmarks/evaluation.py [--cases 300,1251,5000] [--dimensions 768] [--repeats 5]

Embeddings are random; the time does not depend on what they say. Prints Markdown tables of medians.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np

from neuroprint.evaluation.benchmark import Benchmark
from neuroprint.evaluation.question import Question
from neuroprint.evaluation.statistics import MeanOfRatios, Resamples, bootstrap_intervals, tied_with_best
from questions import position_question

SPREAD_MM = (30, 30, 20)


def question_of(cases: int) -> Question:
    """One case a patient, spread like tumors in a brain."""
    return position_question(np.random.default_rng(0).normal(size=(cases, 3)) * SPREAD_MM)


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
    options = parser.parse_args()
    Benchmark(question_of(20)).score(np.eye(20))  # imports are not what is measured
    rng = np.random.default_rng(1)
    print("| what | median, s | fastest | slowest |")
    print("| --- | --- | --- | --- |")
    for cases in (int(number) for number in options.cases.split(",")):
        question = question_of(cases)
        embeddings = rng.normal(size=(cases, options.dimensions)).astype(np.float32)
        benchmark = Benchmark(question)
        _ = benchmark.chance, benchmark.oracle

        def share(question: Question = question) -> object:
            prepared = Benchmark(question)
            return prepared.chance, prepared.oracle

        print(f"| {cases} cases: what all rows share | {seconds(share, options.repeats)} |", flush=True)
        cost = seconds(partial(benchmark.score, embeddings), options.repeats)
        print(f"| {cases} cases: one row of {options.dimensions} numbers | {cost} |", flush=True)
    names = [f"p{number:04d}" for number in range(1251)]
    five = {str(k): MeanOfRatios(rng.random((1251, 1)), np.ones((1251, 1))) for k in range(4)}
    five["r2"] = MeanOfRatios(rng.random((1251, 3)), rng.random((1251, 3)), complement=True)
    intervals = seconds(lambda: bootstrap_intervals(five, names, Resamples(10_000, seed=0)), options.repeats)
    print(f"| intervals of 5 metrics, 1251 queries, 10,000 resamples | {intervals} |")
    values = rng.random((100, 1251))
    print(f"| 100 rows of 1251 queries compared | {seconds(lambda: tied_with_best(values, names), options.repeats)} |")


if __name__ == "__main__":
    main()

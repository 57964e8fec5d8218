"""What an evaluation costs: all metrics, folds and intervals, without figures, and a leaderboard.

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
from neuroprint.evaluation.influence import Groups, influence
from neuroprint.evaluation.question import Question
from neuroprint.evaluation.retrieval import RETRIEVAL_METRICS
from neuroprint.tasks.leaderboard import rank_rows
from questions import position_question

SPREAD_MM = (30, 30, 20)
METRIC = "retrieval/p_at_5"


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
    print(f"| 100 rows of 1251 queries compared | {seconds(comparison(), options.repeats)} |")


def comparison() -> Callable[[], object]:
    """A leaderboard of 100 rows, ranked and compared with the best and with voxels."""
    rng = np.random.default_rng(0)
    groups = len(np.unique(Groups.of([f"p{number:04d}" for number in range(1251)]).of_case))
    known = {metric.name: metric for metric in RETRIEVAL_METRICS}
    shared = rng.normal(size=groups)
    rows, influences = [], {}
    for number in range(100):
        own = (shared + rng.normal(size=groups)) / 1251
        lost = 0.1 * rng.normal(size=(groups, groups)) / 1251
        name, value = f"row {number:03d}", 0.3 + 0.001 * number
        role = {0: ("chance", "reference"), 1: ("voxels", "reference")}.get(number, (name, "candidate"))
        rows.append({"run_id": name, "name": role[0], "role": role[1], METRIC: value})
        influences[name] = {METRIC: influence(value, own - own.mean(), lost, groups)}
    return partial(rank_rows, rows, influences, METRIC, known, (1251, 1251))


if __name__ == "__main__":
    main()

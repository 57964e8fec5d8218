"""How often a leaderboard of equally good runs calls one of them worse than the best, and how often it sees a better one.

    python benchmarks/leaderboards.py [--boards 150] [--runs 10] [--patients 64] [--better 0.3]

Each run's embedding is a random map of every tumor's center, seen through noise of its own, plus noise in every
number; in a board of the second kind the first run's noise is smaller by a share. All go through the benchmark as in a
sweep, and the leaderboard's marks are counted: at 5 %, 5 in 100 boards of equals would have one.
Prints a Markdown table.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from tqdm import tqdm

from neuroprint.evaluation.benchmark import Benchmark, Protocol
from neuroprint.evaluation.comparison import tied
from neuroprint.evaluation.regression import POSITION_METRICS
from neuroprint.evaluation.retrieval import RETRIEVAL_METRICS
from questions import position_question

SPREAD_MM = (30, 35, 20)
METRICS = [metric for metric in (*RETRIEVAL_METRICS, *POSITION_METRICS) if metric.headline]
DIMENSIONS = 32


def board(seed: int, runs: int, patients: int, better: float) -> list[Any]:
    """Tables of queries of one board's runs."""
    rng = np.random.default_rng([seed, runs, patients])
    centers = rng.normal(size=(patients, 3)) * SPREAD_MM
    benchmark = Benchmark(position_question(centers), Protocol(seed=seed, resamples=100))
    tables = []
    for run in range(runs):
        noise = rng.normal(size=(patients, 3)) * (1 - better if run == 0 else 1)
        seen = (centers / 30 + noise) @ rng.normal(size=(3, DIMENSIONS))
        tables.append(benchmark.score(seen + 0.3 * rng.normal(size=seen.shape)).queries)
    return tables


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--boards", type=int, default=150)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--patients", type=int, default=64)
    parser.add_argument("--better", type=float, default=0.3)
    options = parser.parse_args()
    wrong = {metric.name: 0 for metric in METRICS}
    seen = {metric.name: 0.0 for metric in METRICS}
    for seed in tqdm(range(options.boards), unit="board"):
        equal = board(seed, options.runs, options.patients, 0.0)
        unequal = board(seed, options.runs, options.patients, options.better)
        for metric in METRICS:
            wrong[metric.name] += not tied(equal, metric).all()
            marks = tied(unequal, metric)
            seen[metric.name] += float((~marks[1:]).mean()) if marks[0] else 0.0
    print(
        f"| {options.boards} boards of {options.runs} runs, {options.patients} patients | "
        f"of equals, a board marks any | of one with {options.better:.0%} less noise, it is told from |"
    )
    print("| --- | --- | --- |")
    for name in wrong:
        print(f"| {name} | {wrong[name] / options.boards:.1%} | {seen[name] / options.boards:.0%} |")


if __name__ == "__main__":
    main()

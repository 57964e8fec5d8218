"""What noise scores above chance: by retrieval, through a supervised projection, and for whom.

    python benchmarks/noise.py [--cohorts 300] [--patients 50] [--dimensions 60] [--components 5]

Embeddings are noise, and so an honest score is chance. Each cohort is split into five folds; the queries are the left-out
fold, as in a sweep, or new patients of the same population, who share nothing with the gallery. A bias that only the
first have comes from splitting one cohort; one that both have comes from how directions and centers are distributed.
Prints a Markdown table of means over cohorts with their standard errors. components=0 is no projection.
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy.spatial.distance import cdist

from neuroprint.evaluation import retrieval
from neuroprint.evaluation.projections import PLS
from neuroprint.evaluation.similarity import cosine

SPREAD_MM = (30, 35, 20)
NAMES = ("p_at_5", "map", "ndcg_at_10", "auc")


def above_chance(similarity: np.ndarray, queries_mm: np.ndarray, gallery_mm: np.ndarray) -> list[float]:
    """Metrics of a ranking minus their expected values under a random one."""
    order = np.argsort(-similarity, axis=1)
    apart = cdist(queries_mm, gallery_mm)
    relevant, gain = apart <= 20, np.maximum(0, 1 - apart / 40)
    count, size, ranked = relevant.sum(axis=1), len(gallery_mm), np.take_along_axis(relevant, order, axis=1)
    pairs = (
        (retrieval.precision_at_k(ranked, 5), retrieval.expected_precision(count, size, 5)),
        (retrieval.average_precision(ranked), retrieval.expected_average_precision(count, size)),
        (retrieval.ndcg_at_k(np.take_along_axis(gain, order, axis=1), 10), retrieval.expected_ndcg(gain, 10)),
        (retrieval.auc(ranked), retrieval.expected_auc(count, size)),
    )
    return [float(np.nanmean((found - expected)[count > 0])) for found, expected in pairs]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cohorts", type=int, default=300)
    parser.add_argument("--patients", type=int, default=50)
    parser.add_argument("--dimensions", type=int, default=60)
    parser.add_argument("--components", type=int, default=5)
    options = parser.parse_args()
    n, d = options.patients, options.dimensions
    found: dict[str, list[list[float]]] = {"the left-out fold": [], "new patients": []}
    for seed in range(options.cohorts):
        rng = np.random.default_rng(seed)
        centers, noise = rng.normal(size=(n, 3)) * SPREAD_MM, rng.normal(size=(n, d))
        new_centers, new_noise = rng.normal(size=(2 * n, 3)) * SPREAD_MM, rng.normal(size=(2 * n, d))
        fold = rng.permutation(n) % 5
        for number in range(5):
            inside = fold != number
            projection = PLS(n_components=options.components) if options.components else None
            if projection is not None:
                projection.fit(noise[inside], centers[inside])

            def project(rows: np.ndarray, fitted: PLS | None = projection) -> np.ndarray:
                return rows if fitted is None else fitted.transform(rows)

            gallery = project(noise[inside])
            left_out = cosine(project(noise[~inside]), gallery)
            found["the left-out fold"].append(above_chance(left_out, centers[~inside], centers[inside]))
            found["new patients"].append(
                above_chance(cosine(project(new_noise), gallery), new_centers, centers[inside])
            )
    print(f"| queries | {' | '.join(NAMES)} |")
    print("| --- " * (len(NAMES) + 1) + "|")
    for queries, rows in found.items():
        by_cohort = np.array(rows).reshape(options.cohorts, 5, -1).mean(axis=1)
        errors = by_cohort.std(axis=0) / np.sqrt(options.cohorts)
        cells = [f"{mean:+.4f} ± {error:.4f}" for mean, error in zip(by_cohort.mean(axis=0), errors, strict=True)]
        print(f"| {queries} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()

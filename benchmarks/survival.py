"""What a probe of survival is to be fitted to, where some patients still live.

    python benchmarks/survival.py [--cohorts 200] [--patients 80] [--dimensions 12]

Embeddings are normal numbers, and the hazard of a patient depends on the first three of them, or on none. Each cohort is
split into five folds; a ridge probe is fitted to the other folds, and its risk is scored by concordance. Compared are:
the logarithm of the time of those who died; martingale residuals with a cumulative hazard (Nelson and Aalen) of the whole
cohort, and of the other folds; and, as ``task=survival`` does, event and time, of which the risk is made. Prints a Markdown
table of means over cohorts with their standard errors.
"""

from __future__ import annotations

import argparse

import numpy as np

from neuroprint.evaluation.metric import Predictions
from neuroprint.evaluation.probe import RidgeProbe
from neuroprint.evaluation.survival import concordance, risks

TARGETS = ("log time of deaths", "residuals, whole cohort", "residuals, other folds", "event and time")
CENSORED = {"0 %": np.inf, "30 %": 3.0, "75 %": 0.6}  # mean time of the last contact, in median survivals


def residuals(time: np.ndarray, event: np.ndarray) -> np.ndarray:
    """(n,) deaths less the cumulative hazard up to each time."""
    deaths = np.unique(time[event])
    rate = [(event & (time == death)).sum() / (time >= death).sum() for death in deaths]
    passed = np.searchsorted(deaths, time, side="right")
    return np.asarray(event - np.concatenate([[0.0], np.cumsum(rate)])[passed], dtype=np.float64)


def predicted(gallery: np.ndarray, targets: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """(m, targets) of a ridge probe."""
    return RidgeProbe().fit(gallery, targets, np.arange(len(gallery))).predict(queries)


def scores(vectors: np.ndarray, time: np.ndarray, event: np.ndarray, fold: np.ndarray) -> list[float]:
    """Concordance by what the probe is fitted to."""
    risk = np.zeros((len(TARGETS), len(time)))
    known = residuals(time, event)
    for number in range(5):
        inside, asked = fold != number, fold == number
        died, rows, queries = inside & event, vectors[inside], vectors[asked]
        both = np.stack([event[inside].astype(float), time[inside]], axis=1)
        said = predicted(rows, both, queries)
        risk[0, asked] = -predicted(vectors[died], np.log(time[died])[:, None], queries)[:, 0]
        risk[1, asked] = predicted(rows, known[inside][:, None], queries)[:, 0]
        risk[2, asked] = predicted(rows, residuals(time[inside], event[inside])[:, None], queries)[:, 0]
        risk[3, asked] = risks(Predictions(said, said, np.broadcast_to(both.mean(axis=0), said.shape)))
    return [concordance(time, event, one) for one in risk]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cohorts", type=int, default=200)
    parser.add_argument("--patients", type=int, default=80)
    parser.add_argument("--dimensions", type=int, default=12)
    options = parser.parse_args()
    n = options.patients
    print(f"| embeddings | censored, about | {' | '.join(TARGETS)} |")
    print("| --- " * (len(TARGETS) + 2) + "|")
    for knowing in (0.0, 0.8):
        for name, contact in CENSORED.items():
            found = []
            for seed in range(options.cohorts):
                rng = np.random.default_rng(seed)
                vectors = rng.normal(size=(n, options.dimensions))
                log_hazard = knowing * vectors[:, :3].sum(axis=1) / np.sqrt(3)
                death = rng.weibull(1.5, n) * np.exp(-log_hazard / 1.5)
                last = rng.exponential(size=n) * np.median(death) * contact
                found.append(scores(vectors, np.minimum(death, last), death <= last, rng.permutation(n) % 5))
            errors = np.std(found, axis=0) / np.sqrt(options.cohorts)
            cells = [f"{mean:.3f} ± {error:.3f}" for mean, error in zip(np.mean(found, axis=0), errors, strict=True)]
            print(f"| {'know the hazard' if knowing else 'know nothing'} | {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()

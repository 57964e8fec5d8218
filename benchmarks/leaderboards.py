"""What the interval, the star and the differences of a leaderboard are worth, on cohorts that are made by the thousand.

    python benchmarks/leaderboards.py boards [--boards 1000] [--rows 'isotropic, 64, 100, retrieval/p_at_5']
    python benchmarks/leaderboards.py coverage [--cohorts 2000 --expected-from 20000]
    python benchmarks/leaderboards.py tables

``boards``: every run's embedding is the tumors' centers seen through noise, and turned at random into more dimensions. On a
board of equals all runs have the same expectation. One of them is drawn before scoring; it may be left out in 5 % of boards.
The share of a board's runs that is out has the same expectation. On an unequal board one run is best by construction,
and may be left out as rarely. The others are to be out as often as if the covariance of the errors were known (the ceiling).

``coverage``: how often the interval of a metric holds its expectation over cohorts of that size.

``tables`` prints what was found, as Markdown.

What is finished is kept in ``--folder`` (default: ``.neuroprint/leaderboards``) and not done again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from neuroprint.evaluation.benchmark import Benchmark, Protocol
from neuroprint.evaluation.comparison import with_the_best
from neuroprint.evaluation.influence import Groups, Influence
from neuroprint.evaluation.metric import Predictions, ProbeMetric, RetrievalMetric
from neuroprint.evaluation.probe import RidgeProbe
from neuroprint.evaluation.ranking import rank
from neuroprint.evaluation.regression import POSITION_METRICS
from neuroprint.evaluation.retrieval import RETRIEVAL_METRICS
from neuroprint.evaluation.similarity import cosine
from neuroprint.evaluation.splits import Split, sweep_splits
from neuroprint.evaluation.tally import Tally
from questions import position_question

Array = npt.NDArray[np.float64]

METRICS: dict[str, Any] = {metric.name: metric for metric in (*RETRIEVAL_METRICS, *POSITION_METRICS)}
SPREAD_MM = (30.0, 35.0, 20.0)
DIMENSIONS = 16
NOISE = 0.35
"""Of a run beside a tumor's center in units of 30 mm, where nothing else is said."""
SHARED = 0.9
"""Of the noise of runs that are all but clones."""
LEVEL = 0.05
_CALIBRATED_ON = 600


def isotropic(centers: Array, noise: float, rng: np.random.Generator) -> Array:
    """(n, DIMENSIONS) the same normal noise everywhere."""
    return _mapped(centers / 30.0 + noise * rng.normal(size=centers.shape), rng)


def hubs(centers: Array, noise: float, rng: np.random.Generator) -> Array:
    """Vectors around a common direction, at very different lengths: the short ones are everybody's neighbors."""
    seen = centers / 30.0 + noise * rng.normal(size=centers.shape)
    return _mapped(seen, rng, rng.lognormal(0.0, 0.8, size=(len(centers), 1)))


def heavy_tails(centers: Array, noise: float, rng: np.random.Generator) -> Array:
    """Noise of Student's distribution with three degrees of freedom, which has no more than a variance.

    With two it would have none, and an R² of what is predicted from it no expectation that runs could share.
    """
    return _mapped(centers / 30.0 + noise * rng.standard_t(3, size=centers.shape), rng)


def halves(centers: Array, noise: float, rng: np.random.Generator) -> Array:
    """Little noise in one half of the brain, and four times as much in the other."""
    knows = centers[:, :1] > 0
    return _mapped(centers / 30.0 + np.where(knows, noise, 4.0 * noise) * rng.normal(size=centers.shape), rng)


def _mapped(seen: Array, rng: np.random.Generator, lengths: Array | None = None) -> Array:
    """Put into DIMENSIONS by a random turn, with a little noise of their own; with ``lengths``, seen from far off.

    A turn, and no other map: what one draw does to all cases at once, no inference over cases can know, and runs with maps of
    different quality are no equals.
    """
    turn = np.linalg.qr(rng.normal(size=(DIMENSIONS, 4)))[0].T * np.sqrt(DIMENSIONS)
    vectors = seen @ turn[:3]
    vectors = vectors + 0.3 * rng.normal(size=vectors.shape)
    return np.asarray(vectors if lengths is None else vectors * lengths + 2.0 * turn[3], dtype=np.float64)


SHAPES: dict[str, Callable[[Array, float, np.random.Generator], Array]] = {
    "isotropic": isotropic,
    "hubs": hubs,
    "heavy tails": heavy_tails,
}


@dataclass(frozen=True)
class Row:
    """One row of the table of boards.

    Attributes:
        geometry: A key of SHAPES, ``near-clones``, or ``unequal variance``.
        patients: In each cohort.
        runs: On each board.
        metric: Its name.
        noises: Of each run; empty on a board of equals. The first is the best.
    """

    geometry: str
    patients: int
    runs: int
    metric: str
    noises: tuple[float, ...] = ()

    def __str__(self) -> str:
        kind = "unequal" if self.noises else "equal"
        return f"{self.geometry}, {self.patients}, {self.runs}, {self.metric}, {kind}"

    def embeddings(self, centers: Array, rng: np.random.Generator, halved: float) -> Iterator[Array]:
        """Those of every run; ``halved`` is the noise of halves of a brain."""
        noises = self.noises or (NOISE,) * self.runs
        if self.geometry == "near-clones":
            common = rng.normal(size=centers.shape)
            toward = np.linalg.qr(rng.normal(size=(DIMENSIONS, 3)))[0].T * np.sqrt(DIMENSIONS)
            for noise in noises:
                own = rng.normal(size=centers.shape)
                seen = centers / 30.0 + noise * (np.sqrt(SHARED) * common + np.sqrt(1 - SHARED) * own)
                yield seen @ toward + 0.1 * rng.normal(size=(len(centers), DIMENSIONS))
        elif self.geometry == "unequal variance":
            for place, noise in enumerate(noises):
                if place % 2:
                    yield halves(centers, halved * noise / NOISE, rng)
                else:
                    yield isotropic(centers, noise, rng)
        else:
            for noise in noises:
                yield SHAPES[self.geometry](centers, noise, rng)


class Cohort:
    """A cohort, and its scores by the library's own parts, without the tables of a run.

    Args:
        seed: Of the cohort and its folds.
        patients: How many.
    """

    def __init__(self, seed: int, patients: int) -> None:
        self.rng = np.random.default_rng([seed, patients])
        self.centers = self.rng.normal(size=(patients, 3)) * SPREAD_MM
        self.question = position_question(self.centers)
        self.protocol = Protocol(seed=int(self.rng.integers(2**31)))
        self.splits = sweep_splits(self.question.patients, self.protocol.folds, self.protocol.seed)
        self.groups = Groups.of(self.question.patients)
        self.judged = [self.question.judged(split.queries, split.gallery) for split in self.splits]

    def owed(self, vectors: Array, metric: Any) -> Influence:
        """What a metric of these embeddings owes to whom, as :meth:`Benchmark.score` finds it."""
        if isinstance(metric, RetrievalMetric):
            return self._retrieved(vectors, metric)
        return Tally(self.groups, self.protocol.folds).of_predictions(
            metric, np.arange(len(vectors)), self._predicted(vectors, keep=True)
        )

    def value(self, vectors: Array, metric: Any) -> float:
        """The metric alone."""
        return self.values(vectors, [metric])[metric.name]

    def values(self, vectors: Array, metrics: Sequence[Any]) -> dict[str, float]:
        """Metrics alone, by name."""
        probe = [metric for metric in metrics if isinstance(metric, ProbeMetric)]
        found = self._predicted(vectors, keep=False) if probe else None
        values = {metric.name: metric.of(found) for metric in probe if found}
        retrieval = [metric for metric in metrics if isinstance(metric, RetrievalMetric)]
        worth = {metric.name: np.full(len(vectors), np.nan) for metric in retrieval}
        for split, judged in zip(self.splits, self.judged, strict=True) if retrieval else ():
            ranked = judged.ranked(self._order(split, vectors))
            for metric in retrieval:
                worth[metric.name][split.queries] = np.where(judged.count > 0, metric.of_query(ranked), np.nan)
        return values | {name: float(np.nanmean(each)) for name, each in worth.items()}

    def _order(self, split: Split, vectors: Array) -> npt.NDArray[np.int64]:
        ids = [self.question.ids[case] for case in split.gallery]
        return rank(cosine(vectors[split.queries], vectors[split.gallery]), ids)

    def _retrieved(self, vectors: Array, metric: RetrievalMetric) -> Influence:
        tally, values = Tally(self.groups, self.protocol.folds), np.full(len(vectors), np.nan)
        for split, judged in zip(self.splits, self.judged, strict=True):
            order = self._order(split, vectors)
            ranked = judged.ranked(order)
            values[split.queries] = worth = np.where(judged.count > 0, metric.of_query(ranked), np.nan)
            only = ranked.relevant & (judged.count == 1)[:, None]
            without = np.where(only, np.nan, metric.worth_without(ranked))
            tally.add(metric.name, split.queries, split.gallery[order], worth, without)
        owed = tally.of_queries(metric.name, np.arange(len(vectors)), values)[1]
        assert owed is not None
        return owed

    def _predicted(self, vectors: Array, keep: bool) -> Predictions:
        targets = self.question.targets
        predicted, baseline = np.empty_like(targets), np.empty_like(targets)
        count = self.groups.count if keep else 0
        moved, moved_baseline = (np.zeros((count, *targets.shape)) for _ in range(2))
        for split in self.splits:
            gallery = targets[split.gallery]
            groups = self.groups.of_case[split.gallery]
            probe = RidgeProbe().fit(vectors[split.gallery], gallery, groups)
            predicted[split.queries] = probe.predict(vectors[split.queries])
            baseline[split.queries] = mean = gallery.mean(axis=0)
            if keep:
                moved[:, split.queries] = probe.moved(vectors[split.queries], groups, count)
                without = np.zeros((count, targets.shape[1]))
                without[groups] = -(gallery - mean) / (len(gallery) - 1)
                moved_baseline[:, split.queries] = without[:, None]
        columns = self.question.columns
        return Predictions(predicted, targets, baseline, columns, moved=moved, moved_baseline=moved_baseline)


def check() -> None:
    """The scores above are those of the benchmark."""
    cohort = Cohort(0, 40)
    vectors = isotropic(cohort.centers, NOISE, cohort.rng)
    scored = Benchmark(cohort.question, cohort.protocol).score(vectors)
    for name in ("retrieval/p_at_5", "retrieval/map", "retrieval/ndcg_at_10", "probe/r2", "probe/error_mm"):
        owed = cohort.owed(vectors, METRICS[name])
        np.testing.assert_allclose(cohort.value(vectors, METRICS[name]), scored.metrics[name], rtol=1e-9)
        np.testing.assert_allclose(owed.effect, scored.influences[name].effect, atol=1e-9)
        np.testing.assert_allclose(owed.variance, scored.influences[name].variance, rtol=1e-9)


def one_board(row: Row, seed: int, halved: float) -> tuple[list[float], float]:
    """The values of a board, better is more, and its half-width."""
    metric, cohort = METRICS[row.metric], Cohort(seed, row.patients)
    sign = -1.0 if metric.lower_is_better else 1.0
    owed = [cohort.owed(vectors, metric).times(sign) for vectors in row.embeddings(cohort.centers, cohort.rng, halved)]
    ideal = None if metric.ideal is None else sign * metric.ideal
    best = with_the_best(owed, np.ones(len(owed), dtype=bool), ideal=ideal)
    return [one.value for one in owed], best.width


def known_width(row: Row, values: Array, covariance: Array) -> float:
    """The half-width that the same procedure finds where the covariance of the errors is known."""
    metric = METRICS[row.metric]
    sign = -1.0 if metric.lower_is_better else 1.0
    nothing = np.zeros(row.patients)
    rows = [Influence(value, nothing, nothing, 0.0, np.zeros(1), row.patients, 0.0) for value in values]
    ideal = None if metric.ideal is None else sign * metric.ideal
    return with_the_best(rows, np.ones(len(rows), dtype=bool), ideal=ideal, covariance=covariance).width


def found(row: Row, values: Array, widths: Array, shortest: int) -> dict[str, Any]:
    """What the boards of a row come to."""
    metric = METRICS[row.metric]
    sign = -1.0 if metric.lower_is_better else 1.0
    out = values.max(axis=1, keepdims=True) - values > widths[:, None]
    boards = len(values)
    drawn = np.random.default_rng(0).integers(row.runs, size=boards) if not row.noises else np.zeros(boards, dtype=int)
    left_out = out[np.arange(boards), drawn].mean()
    told: dict[str, Any] = {
        "boards": boards,
        "value": [float(sign * values[:, place].mean()) for place in (0, -1)],
        "width": float(widths.mean()),
        "left_out": float(left_out),
        "error": float(np.sqrt(max(left_out * (1 - left_out), 1 / boards) / boards)),
        "each_out": float(out.mean()),
        "any_out": float(out.any(axis=1).mean()),
    }
    if row.noises:
        errors = values if metric.ideal is None else -np.log(np.maximum(sign * metric.ideal - values, 1e-9))
        covariance = np.cov(errors.T)
        known = np.array([known_width(row, board, covariance) for board in values[:shortest]])
        ceiling = values[:shortest].max(axis=1, keepdims=True) - values[:shortest] > known[:, None]
        told["lesser_out"] = float(out[:, 1:].mean())
        told["ceiling"] = float(ceiling[:, 1:].mean())
    return told


def calibrated(
    make: Callable[[Array, float, np.random.Generator], Array], metric: str, patients: int, aim: float
) -> float:
    """The noise at which the metric's expectation is as wanted."""

    def reached(noise: float) -> float:
        values = []
        for seed in range(_CALIBRATED_ON):
            cohort = Cohort(10**6 + seed, patients)
            values.append(cohort.value(make(cohort.centers, noise, cohort.rng), METRICS[metric]))
        return float(np.mean(values))

    low, high = np.log(0.02), np.log(20.0)
    falls = reached(0.05) > reached(5.0)
    for _ in range(9):
        middle = (low + high) / 2.0
        if (reached(float(np.exp(middle))) > aim) == falls:
            low = middle
        else:
            high = middle
    return float(np.exp((low + high) / 2.0))


def expectation(make: Callable[[Array, float, np.random.Generator], Array], metric: str, patients: int) -> float:
    """Of a run with the usual noise."""
    values = []
    for seed in range(2 * _CALIBRATED_ON):
        cohort = Cohort(2 * 10**6 + seed, patients)
        values.append(cohort.value(make(cohort.centers, NOISE, cohort.rng), METRICS[metric]))
    return float(np.mean(values))


def all_rows() -> list[Row]:
    """Of the table, the quick ones first."""
    geometries = (*SHAPES, "near-clones", "unequal variance")
    lesser = tuple(float(noise) for noise in NOISE * np.linspace(0.6, 1.8, 10))
    ten = [
        Row(geometry, patients, 10, metric, noises)
        for metric in ("retrieval/p_at_5", "probe/r2")
        for patients in (64, 250)
        for geometry in geometries
        for noises in ((), lesser)
    ]
    hundred = [Row(geometry, 64, 100, metric) for metric in ("retrieval/p_at_5", "probe/r2") for geometry in geometries]
    hundred += [Row(geometry, 250, 100, "retrieval/p_at_5") for geometry in ("isotropic", "hubs")]
    hundred += [Row("isotropic", 250, 100, "probe/r2")]
    return ten + hundred


def run_boards(rows: Sequence[Row], boards: int, folder: Path, workers: int) -> None:
    """Find what is not there yet."""
    check()
    with ProcessPoolExecutor(workers) as pool:
        for row in rows:
            file = folder / f"{str(row).replace('/', '-').replace(', ', '_').replace(' ', '-')}.json"
            if file.is_file():
                continue
            halved = NOISE
            if row.geometry == "unequal variance":
                halved = halved_noise(row.metric, row.patients, folder)
            tasks = [pool.submit(one_board, row, seed, halved) for seed in range(boards)]
            made = [task.result() for task in tqdm(tasks, desc=str(row), unit="board", leave=False)]
            told = found(row, np.array([values for values, _ in made]), np.array([width for _, width in made]), 200)
            file.write_text(json.dumps({"row": str(row), **told}, indent=1) + "\n")
            print(row, told, flush=True)


def halved_noise(metric: str, patients: int, folder: Path) -> float:
    """The noise at which halves of a brain have the expectation of isotropic noise; found once."""
    file = folder / f"halves_{metric.replace('/', '-')}_{patients}.txt"
    if not file.is_file():
        aim = expectation(isotropic, metric, patients)
        file.write_text(repr(calibrated(halves, metric, patients, aim)))
    return float(file.read_text())


def run_one_against_many(boards: int, folder: Path, workers: int) -> None:
    """One run at 0.25 in precision at 5 against 29 at 0.07, at 65 patients."""
    file = folder / "one-against-29.json"
    if file.is_file():
        return
    name = "retrieval/p_at_5"
    good, poor = (calibrated(isotropic, name, 65, aim) for aim in (0.25, 0.07))
    row = Row("isotropic", 65, 30, name, (good, *(poor,) * 29))
    with ProcessPoolExecutor(workers) as pool:
        tasks = [pool.submit(one_board, row, seed, NOISE) for seed in range(boards)]
        made = [task.result() for task in tqdm(tasks, desc="one against 29", unit="board", leave=False)]
    told = found(row, np.array([values for values, _ in made]), np.array([width for _, width in made]), 200)
    file.write_text(
        json.dumps({"row": "one at 0.25 against 29 at 0.07, 65, 30, retrieval/p_at_5, unequal", **told}, indent=1)
    )
    print(row, told, flush=True)


HEADLINE = ("retrieval/p_at_5", "retrieval/map", "retrieval/ndcg_at_10", "probe/r2", "probe/error_mm")


def one_cohort(seed: int, patients: int, intervals: bool) -> dict[str, Any]:
    """The headline metrics of a cohort, with their intervals or alone."""
    cohort = Cohort(seed, patients)
    vectors = isotropic(cohort.centers, NOISE, cohort.rng)
    if not intervals:
        return cohort.values(vectors, [METRICS[name] for name in HEADLINE])
    question = replace(cohort.question, metrics=tuple(METRICS[name] for name in HEADLINE))
    scored = Benchmark(question, cohort.protocol).score(vectors).metrics
    return {name: [scored.get(f"{name}{end}", np.nan) for end in ("", "_lo", "_hi")] for name in HEADLINE}


def run_coverage(cohorts: int, expected_from: int, folder: Path, workers: int) -> None:
    """How often intervals hold the expectation."""
    with ProcessPoolExecutor(workers) as pool:
        for patients in (20, 64, 250):
            file = folder / f"coverage_{patients}.json"
            if file.is_file():
                continue
            seeds = range(10**7, 10**7 + expected_from)
            values = list(
                tqdm(
                    pool.map(one_cohort, seeds, [patients] * expected_from, [False] * expected_from, chunksize=50),
                    total=expected_from,
                    desc=f"expectation, {patients}",
                    leave=False,
                )
            )
            bounds = list(
                tqdm(
                    pool.map(one_cohort, range(cohorts), [patients] * cohorts, [True] * cohorts, chunksize=10),
                    total=cohorts,
                    desc=f"intervals, {patients}",
                    leave=False,
                )
            )
            told = {}
            for name in HEADLINE:
                truth = float(np.nanmean([value[name] for value in values]))
                three = np.array([bound[name] for bound in bounds])
                three = three[np.isfinite(three).all(axis=1)]
                held = float(((three[:, 1] <= truth) & (truth <= three[:, 2])).mean())
                told[name] = {
                    "expectation": truth,
                    "held": held,
                    "cohorts": len(three),
                    "width": float((three[:, 2] - three[:, 1]).mean()),
                }
            file.write_text(json.dumps(told, indent=1) + "\n")
            print(patients, told, flush=True)


def print_tables(folder: Path) -> None:
    """Markdown of what is there."""
    kept = [json.loads(file.read_text()) for file in sorted(folder.glob("*equal.json"))]
    kept += [json.loads(file.read_text()) for file in sorted(folder.glob("one-against-29.json"))]
    equal = [told for told in kept if "ceiling" not in told]
    print(
        "| boards of equals: geometry | patients | runs | metric | boards | value | w | one drawn is out | share out "
        "| any is out |"
    )
    print("| --- " * 10 + "|")
    for told in equal:
        geometry, patients, runs, metric, _ = told["row"].split(", ")
        out = f"{told['left_out']:.1%} ± {2 * told['error']:.1%} | {told['each_out']:.1%} | {told['any_out']:.0%}"
        value = f"{told['value'][0]:.2f} | {told['width']:.3f}"
        print(f"| {geometry} | {patients} | {runs} | {metric} | {told['boards']} | {value} | {out} |")
    print()
    print(
        "| unequal boards: geometry | patients | runs | metric | boards | best, least | w | the best is out | lesser out "
        "| ceiling | of it |"
    )
    print("| --- " * 11 + "|")
    for told in kept:
        if "ceiling" in told:
            geometry, patients, runs, metric, _ = told["row"].split(", ")
            print(
                f"| {geometry} | {patients} | {runs} | {metric} | {told['boards']} | "
                f"{told['value'][0]:.2f}, {told['value'][1]:.2f} | {told['width']:.3f} | "
                f"{told['left_out']:.1%} ± {2 * told['error']:.1%} | {told['lesser_out']:.0%} | "
                f"{told['ceiling']:.0%} | {told['lesser_out'] / told['ceiling']:.2f} |"
            )
    print()
    print("| coverage | patients | cohorts | expectation | mean width | held in |")
    print("| --- " * 6 + "|")
    for patients in (20, 64, 250):
        file = folder / f"coverage_{patients}.json"
        for name, told in json.loads(file.read_text()).items() if file.is_file() else ():
            numbers = f"{told['expectation']:.3f} | {told['width']:.3f} | {told['held']:.1%}"
            print(f"| {name} | {patients} | {told['cohorts']} | {numbers} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=["boards", "coverage", "tables"])
    parser.add_argument("--boards", type=int, default=1000)
    parser.add_argument("--rows", nargs="*", default=[], help="only rows whose name begins so")
    parser.add_argument("--cohorts", type=int, default=2000)
    parser.add_argument("--expected-from", type=int, default=20_000)
    parser.add_argument("--folder", type=Path, default=Path(".neuroprint/leaderboards"))
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    if options.part == "tables":
        print_tables(options.folder)
    elif options.part == "coverage":
        run_coverage(options.cohorts, options.expected_from, options.folder, options.workers)
    else:
        if not options.rows:
            run_one_against_many(options.boards, options.folder, options.workers)
        rows = [row for row in all_rows() if not options.rows or str(row).startswith(tuple(options.rows))]
        run_boards(rows, options.boards, options.folder, options.workers)


if __name__ == "__main__":
    main()

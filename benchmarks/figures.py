"""What a run's pictures cost, at 64 and at 1,251 cases: drawn and saved, medians.

python benchmarks/figures.py [--cases 64,1251] [--repeats 5] [--pdf]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from neuroprint.figures.map import draw_map, embed_2d
from neuroprint.figures.map_html import interactive_map
from neuroprint.figures.precision_at_k import draw_precision_at_k
from neuroprint.figures.predictions import BODY_PANELS, draw_predictions
from neuroprint.figures.retrieval import Plate, Tile, draw_retrieval
from neuroprint.figures.style import save


def figures(cases: int, folder: Path, pdf: bool) -> dict[str, Callable[[], object]]:
    """Each picture of a run, as a call that draws and saves it, with ``pdf`` for print too."""
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(cases, 3)) * [30, 30, 20]
    points = rng.normal(size=(cases, 2))
    ids = [f"case{number:05d}" for number in range(cases)]
    pictures = {case: rng.integers(0, 255, (96, 80), dtype=np.uint8) for case in ids}
    tile = Tile("case", pictures[ids[0]], np.eye(96, 80, dtype=bool), 12.0, True)
    plates = [Plate(tile, [tile] * 5, 0.5, "best") for _ in range(6)]
    curve = np.linspace(0.6, 0.2, 20)
    return {
        "t-SNE of 384 numbers": lambda: embed_2d(rng.normal(size=(cases, 384)), "tsne", 0),
        "map.png": lambda: save(draw_map(points, centers, "map"), folder / "map.png", pdf),
        "map.html": lambda: interactive_map(points, ids, centers, np.ones(cases), pictures, "map"),
        "probe.png": lambda: save(
            draw_predictions(centers, centers, [1, 1, 1], BODY_PANELS), folder / "probe.png", pdf
        ),
        "precision_at_k.png": lambda: save(draw_precision_at_k({"run": curve, "chance": curve}), folder / "p.png", pdf),
        "retrieval.png": lambda: save(draw_retrieval(plates), folder / "r.png", pdf),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", default="64,1251")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--pdf", action="store_true", help="write each picture as PDF too")
    options = parser.parse_args()
    print("| cases | picture | median, s | fastest | slowest |")
    print("| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        for cases in (int(number) for number in options.cases.split(",")):
            for name, draw in figures(cases, Path(folder), options.pdf).items():
                draw()
                taken = []
                for _ in range(options.repeats):
                    started = time.perf_counter()
                    draw()
                    taken.append(time.perf_counter() - started)
                cells = (statistics.median(taken), min(taken), max(taken))
                print(f"| {cases} | {name} | {' | '.join(f'{value:.2f}' for value in cells)} |", flush=True)


if __name__ == "__main__":
    main()

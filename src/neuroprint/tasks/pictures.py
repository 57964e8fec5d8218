"""The pictures of a result: the cohort's map, the probe, precision at k, and what queries found."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from neuroprint.data.facts import center_mm, midline_mm, picture_mm, volume_cm3
from neuroprint.evaluation.curve import precision_band, precision_by_query
from neuroprint.tasks.influence_file import save_influences
from neuroprint.tasks.leaderboard import metrics_of
from neuroprint.tasks.task import Draw

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from neuroprint.data.case_facts import CaseFacts
    from neuroprint.evaluation.evaluation import Evaluation
    from neuroprint.figures.retrieval import Plate, Rank
    from neuroprint.tasks.result import Result

MapMethod = Literal["tsne", "umap", "pca"]

CAPTION = "FLAIR, maximum intensity projection seen from below, patient's right on the left"


def figures_of(result: Result, method: MapMethod = "tsne", perplexity: float | None = None) -> dict[str, Draw]:
    """The pictures of a result by the name of their file; each is drawn when it is called.

    Args:
        result: The result.
        method: How the map is made.
        perplexity: Of a t-SNE map; None for the usual.
    """
    found: dict[str, Draw] = {
        "precision_at_k": lambda: _draw_precision(result),
        **result.task.figures(result.evaluation),
    }
    if result.has_ranking:
        found["map"] = lambda: _draw_map(result, map_points(result, method, perplexity), f"{result.name} ({method})")
        if result.facts:
            found["retrieval"] = lambda: draw_plates(result.evaluation, result.facts)
    return found


def save_result(result: Result, folder: Path, method: MapMethod = "tsne", perplexity: float | None = None) -> None:
    """Write the tables of a result, and its pictures below ``plots``, for the screen and for print."""
    save_tables(result, folder)
    save_pictures(result, folder / "plots", method, perplexity, pdf=True)


def save_pictures(
    result: Result, folder: Path, method: MapMethod = "tsne", perplexity: float | None = None, pdf: bool = False
) -> None:
    """Write the pictures of a result, and the interactive map.

    Args:
        result: The result.
        folder: Where to.
        method: How the map is made.
        perplexity: Of a t-SNE map; None for the usual.
        pdf: Write each as PDF too.
    """
    from neuroprint.figures.style import save

    folder.mkdir(parents=True, exist_ok=True)
    drawn = figures_of(result, method, perplexity)
    if drawn.pop("map", None) is not None:  # laid out once for both
        points, title = map_points(result, method, perplexity), f"{result.name} ({method})"
        save(_draw_map(result, points, title), folder / "map.png", pdf)
        (folder / "map.html").write_text(_map_page(result, points, title), encoding="utf-8")
    for name, draw in drawn.items():
        save(draw(), folder / f"{name}.png", pdf)


def save_tables(result: Result, folder: Path) -> None:
    """Write ``queries.parquet``, the records of the metrics with it, ``influence.safetensors`` and ``embeddings.parquet``."""
    import pandas as pd

    folder.mkdir(parents=True, exist_ok=True)
    result.queries.to_parquet(folder / "queries.parquet", index=False)
    save_influences(folder, result.evaluation.influences)
    if result.has_ranking:
        table = pd.DataFrame({"case": list(result.ids), "embedding": list(result.vectors.astype(np.float32))})
        if (changed := result.embeddings.query_rows(result.ids)) is not None:
            table["perturbed"] = list(changed)
        table.to_parquet(folder / "embeddings.parquet", index=False)


def map_points(result: Result, method: MapMethod, perplexity: float | None = None) -> npt.NDArray[np.float64]:
    """(n, 2) places of the scored cases on the cohort's map."""
    from neuroprint.figures.map import embed_2d

    return embed_2d(result.projected, method, result.benchmark.protocol.seed, perplexity)


def draw_plates(evaluation: Evaluation, facts: Mapping[str, CaseFacts]) -> Figure:
    """The best, the median and the worst queries beside what was found for them."""
    from neuroprint.figures.retrieval import Plate, Tile, choose_queries, draw_retrieval

    queries = evaluation.queries

    def tile(case: str, distance_mm: float | None = None, relevant: bool | None = None) -> Tile:
        found = facts[case]
        size = picture_mm(found)["axial"]
        return Tile(case, found.mips["axial"], found.outlines["axial"], distance_mm, relevant, size)

    def plate(index: int, rank: Rank) -> Plate:
        query = queries.iloc[index]
        apart = query.get("neighbor_distance_mm", [None] * len(query["neighbors"]))
        found = list(zip(query["neighbors"], apart, query["neighbor_relevant"], strict=True))[:5]
        neighbors = [tile(case, mm, bool(relevant)) for case, mm, relevant in found]
        return Plate(tile(query["case"]), neighbors, float(query["map"]), rank)

    chosen = choose_queries(queries["map"].to_numpy(dtype=float))
    return draw_retrieval([plate(index, rank) for index, rank in chosen], CAPTION)


def _draw_precision(result: Result) -> Figure:
    from neuroprint.figures.precision_at_k import draw_precision_at_k

    rows = {**result.references, result.name: result.evaluation}
    by_query = {row: precision_by_query(found.queries) for row, found in rows.items()}
    curves = {row: values.mean(axis=0) for row, values in by_query.items() if len(values)}
    known = metrics_of(result.queries)
    lower_is_better = "retrieval/p_at_5" in known and known["retrieval/p_at_5"].lower_is_better
    return draw_precision_at_k(curves, precision_band(result.queries), result.name, lower_is_better)


def _draw_map(result: Result, points: npt.NDArray[np.float64], title: str) -> Figure:
    from neuroprint.figures.map import draw_map

    centers, midlines, _ = _places(result)
    return draw_map(points, centers, title, midlines)


def _map_page(result: Result, points: npt.NDArray[np.float64], title: str) -> str:
    from neuroprint.figures.map_html import interactive_map

    centers, midlines, volumes = _places(result)
    thumbnails = {case: found.mips["axial"] for case, found in result.facts.items()}
    return interactive_map(points, result.ids, centers, volumes, thumbnails, title, midlines)


def _places(result: Result) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Of the scored cases: centers of the tumors, x of the heads' middles, and volumes; NaN where not known."""
    frame, region, weighting = result.embeddings.cohort.frame, "whole_tumor", "binary"
    own = result.task.parameters()
    frame = own["frame"] if own.get("frame", "auto") != "auto" else frame
    region, weighting = own.get("region", region), own.get("weighting", weighting)
    centers, midlines, volumes = [], [], []
    for case in result.ids:
        facts = result.facts.get(case)
        center = None if facts is None else center_mm(facts, region, weighting, frame)
        volume = None if facts is None else volume_cm3(facts, region)
        centers.append(np.full(3, np.nan) if center is None else center)
        midlines.append(0.0 if facts is None else midline_mm(facts, frame))
        volumes.append(np.nan if volume is None else volume)
    return np.array(centers), np.array(midlines), np.array(volumes)

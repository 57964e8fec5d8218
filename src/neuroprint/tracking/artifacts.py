"""The artifacts of a run: tables a script reads, pictures a person looks at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from neuroprint.evaluation.benchmark import Benchmark
from neuroprint.evaluation.curve import precision_band, precision_by_query
from neuroprint.evaluation.evaluation import Evaluation

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from neuroprint.data.facts import CaseFacts
    from neuroprint.figures.retrieval import Plate, Rank

CAPTION = "FLAIR, maximum intensity projection seen from below, patient's right on the left"


@dataclass(frozen=True)
class Evidence:
    """Everything that a run's artifacts show.

    Attributes:
        name: The run's name.
        config: The resolved configuration, as YAML.
        benchmark: What the run was scored by.
        evaluation: Its scores.
        embeddings: ``(n, d)`` pooled, before projection; None for chance.
        projected: ``(n, c)`` what the 2-D map shows; None for chance.
        facts: Of the scored cases, by id.
        volumes_cm3: ``(n,)`` tumor volumes.
        midlines_mm: ``(n,)`` x of the brain's middle, in the frame of the centers.
        references: Scores of the reference rows, by role.
        map_method: How the map is made.
        perplexity: Of a t-SNE map; None for the usual.
        seed: Of the map and the band.
    """

    name: str
    config: str
    benchmark: Benchmark
    evaluation: Evaluation
    embeddings: npt.NDArray[np.float32] | None
    projected: npt.NDArray[np.floating[Any]] | None
    facts: Mapping[str, CaseFacts]
    volumes_cm3: npt.NDArray[np.float64]
    midlines_mm: npt.NDArray[np.float64]
    references: Mapping[str, Evaluation]
    map_method: Literal["tsne", "umap", "pca"]
    perplexity: float | None
    seed: int


def write_artifacts(evidence: Evidence, folder: Path, figures: bool) -> None:
    """Write a run's artifacts into ``folder``, under the names that the design fixes."""
    (folder / "config.yaml").write_text(evidence.config, encoding="utf-8")
    evidence.evaluation.queries.to_parquet(folder / "queries.parquet", index=False)
    if evidence.embeddings is not None:
        embeddings_table(evidence.benchmark.subjects.ids, evidence.embeddings).to_parquet(
            folder / "embeddings.parquet", index=False
        )
    if figures:
        (folder / "plots").mkdir()
        _draw(evidence, folder / "plots")


def embeddings_table(ids: tuple[str, ...], embeddings: npt.NDArray[np.float32]) -> pd.DataFrame:
    """One row a case: ``case`` and ``embedding``, a list of float32."""
    import pandas as pd

    return pd.DataFrame({"case": list(ids), "embedding": list(embeddings.astype(np.float32))})


def _draw(evidence: Evidence, folder: Path) -> None:
    from neuroprint.figures.center_of_mass import draw_center_of_mass
    from neuroprint.figures.retrieval import draw_retrieval
    from neuroprint.figures.style import save

    metrics = evidence.evaluation.metrics
    save(_precision_figure(evidence), folder / "precision_at_k.png")
    centers = evidence.benchmark.subjects.centers_mm
    axes = [metrics.get(f"probe/r2_{axis}", np.nan) for axis in "xyz"]
    save(draw_center_of_mass(centers, evidence.evaluation.predicted_mm, axes), folder / "center_of_mass.png")
    if evidence.projected is not None:
        _draw_maps(evidence, evidence.projected, folder)
        plates = _plates(evidence)
        if plates:
            save(draw_retrieval(plates, CAPTION), folder / "retrieval.png")


def _draw_maps(evidence: Evidence, projected: npt.NDArray[np.floating[Any]], folder: Path) -> None:
    from neuroprint.figures.map import draw_map, embed_2d
    from neuroprint.figures.map_html import interactive_map
    from neuroprint.figures.style import save

    subjects = evidence.benchmark.subjects
    points = embed_2d(projected, evidence.map_method, evidence.seed, evidence.perplexity)
    title = f"{evidence.name} ({evidence.map_method})"
    midline = float(np.median(evidence.midlines_mm))
    save(draw_map(points, subjects.centers_mm, title, midline), folder / "map.png")
    thumbnails = {case: evidence.facts[case].projections["axial"] for case in subjects.ids}
    page = interactive_map(
        points, subjects.ids, subjects.centers_mm, evidence.volumes_cm3, thumbnails, title, evidence.midlines_mm
    )
    (folder / "map.html").write_text(page, encoding="utf-8")


def _precision_figure(evidence: Evidence) -> Figure:
    from neuroprint.figures.precision_at_k import draw_precision_at_k

    ids, relevant = evidence.benchmark.subjects.ids, evidence.benchmark.relevance.relevant
    rows = {**evidence.references, evidence.name: evidence.evaluation}
    by_query = {name: precision_by_query(row.queries, ids, relevant) for name, row in rows.items()}
    own = evidence.evaluation.queries
    patients = own.loc[own["relevant"] > 0, "patient"].tolist()
    curves = {name: values.mean(axis=0) for name, values in by_query.items() if len(values)}
    band = precision_band(by_query[evidence.name], patients, evidence.seed) if patients else None
    return draw_precision_at_k(curves, band, evidence.name)


def _plates(evidence: Evidence) -> list[Plate]:
    """The best, the median and the worst queries beside what was found for them."""
    from neuroprint.figures.retrieval import Plate, Tile, choose_queries

    queries = evidence.evaluation.queries
    ids = evidence.benchmark.subjects.ids
    place = {case: index for index, case in enumerate(ids)}

    def tile(case: str, distance_mm: float | None = None, relevant: bool | None = None) -> Tile:
        facts = evidence.facts[case]
        return Tile(case, facts.projections["axial"], facts.outlines["axial"], distance_mm, relevant)

    def plate(index: int, rank: Rank) -> Plate:
        query = queries.iloc[index]
        row = evidence.benchmark.relevance.relevant[place[query["case"]]]
        found = list(zip(query["neighbors"], query["distances_mm"], strict=True))[:5]
        neighbors = [tile(case, mm, bool(row[place[case]])) for case, mm in found]
        return Plate(tile(query["case"]), neighbors, float(query["average_precision"]), rank)

    return [plate(index, rank) for index, rank in choose_queries(queries["average_precision"].to_numpy(dtype=float))]

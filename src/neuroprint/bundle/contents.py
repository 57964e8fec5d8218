"""What goes into a bundle, and the writing of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from neuroprint.bundle import projection
from neuroprint.bundle.format import save_arrays, write
from neuroprint.bundle.index import INDEX, NEIGHBORS, Neighborhoods, leave_fold_out, lengths_of, write_faiss
from neuroprint.bundle.recipe import View, write_recipe
from neuroprint.data.case import Case, Frame
from neuroprint.data.facts import CaseFacts, Target, is_right, volume_cm3
from neuroprint.data.positions import position
from neuroprint.errors import NeuroprintError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Contents:
    """Everything that a bundle holds.

    Attributes:
        name: The configuration's name, for people.
        run_id: MLflow's id of the run.
        config: The run's resolved configuration as YAML, without the folders of this machine. By its ``projection``,
            ``folds`` and ``seed`` the gallery's own cases are projected out of fold.
        views: How scans were extracted.
        pooling: The pooling's configuration.
        steps: The projection.
        similarity: ``cosine``, ``dot`` or ``euclidean``.
        target: What the tumors' positions are.
        frame: Where they are compared.
        cases: The gallery, sorted by id.
        facts: Of the gallery, by id.
        embeddings: (n, D) float32, before projection.
        map_xy: (n, 2), the 2-D picture.
        scores: What goes into ``scores.json``, the novelty threshold apart.
        card: ``card.md``.
    """

    name: str
    run_id: str
    config: str
    views: Sequence[View]
    pooling: Mapping[str, Any]
    steps: Sequence[projection.Step]
    similarity: str
    target: Target
    frame: Frame
    cases: Sequence[Case]
    facts: Mapping[str, CaseFacts]
    embeddings: npt.NDArray[np.float32]
    map_xy: npt.NDArray[np.floating[Any]]
    scores: Mapping[str, Any]
    card: str


def write_bundle(folder: Path, contents: Contents) -> None:
    """Write a bundle in one step.

    Raises:
        NeuroprintError: The place is taken by something else, the configuration names what a bundle cannot hold, or its
            projection cannot be fitted without one of the folds.
    """
    target = contents.target
    about = {
        "name": contents.name,
        "run_id": contents.run_id,
        "similarity": contents.similarity,
        "target": {
            "region": target.region,
            "weighting": target.weighting,
            "units": target.units,
            "frame": contents.frame,
        },
    }
    write(folder, about, lambda unfinished: _fill(unfinished, contents))


def _fill(folder: Path, contents: Contents) -> None:
    (folder / "config.yaml").write_text(contents.config, encoding="utf-8")
    (folder / "card.md").write_text(contents.card, encoding="utf-8")
    write_recipe(folder, contents.views, contents.pooling)
    projection.save(folder, contents.steps)
    facts = [contents.facts[case.id] for case in contents.cases]
    table = cases_table(contents.cases, facts, contents.target, contents.frame)
    neighborhoods, quantiles = _out_of_fold(contents, table)
    gallery = Gallery(
        table,
        contents.embeddings.astype(np.float32),
        projection.apply(contents.steps, contents.embeddings),
        np.asarray(contents.map_xy, dtype=np.float32),
        [pictures_of(found) for found in facts],
        neighborhoods,
        quantiles,
    )
    write_gallery(folder, gallery, contents.similarity, contents.scores)


def _out_of_fold(contents: Contents, table: pd.DataFrame) -> tuple[Neighborhoods, npt.NDArray[np.float32]]:
    import yaml
    from hydra.utils import instantiate

    config = yaml.safe_load(contents.config)
    try:
        node, folds, seed = config["projection"], int(config["folds"]), int(config["seed"])
    except KeyError as error:
        raise NeuroprintError(f"the run's configuration has no {error}, by which the gallery is to be scored") from None

    def make(cases: int) -> Any:
        # As in the sweep, of no more components than the fit can have.
        made = instantiate(node, _convert_="all")
        if "n_components" in node:
            made.set_params(n_components=min(int(node["n_components"]), cases, contents.embeddings.shape[1]))
        return made

    return leave_fold_out(
        contents.embeddings.astype(np.float32),
        table[["x_mm", "y_mm", "z_mm"]].to_numpy(dtype=np.float64),
        [str(patient) for patient in table["patient"]],
        make,
        similarity=contents.similarity,
        folds=folds,
        seed=seed,
    )


@dataclass(frozen=True, eq=False)
class Gallery:
    """The cases of a bundle, a row each in every part, sorted by id.

    Attributes:
        table: As :func:`cases_table` makes it.
        embeddings: (n, D) float32, before projection.
        projected: (n, d) float32.
        map_xy: (n, 2) float32.
        pictures: Of each case, as :func:`pictures_of` makes them.
        neighborhoods: Which cases of other patients each case finds when the projection has not seen it.
        quantiles: (1001,) float32, of the similarities of such pairs; empty where there are none.
    """

    table: pd.DataFrame
    embeddings: npt.NDArray[np.float32]
    projected: npt.NDArray[np.float32]
    map_xy: npt.NDArray[np.float32]
    pictures: Sequence[Mapping[str, npt.NDArray[np.uint8]]]
    neighborhoods: Neighborhoods
    quantiles: npt.NDArray[np.float32]


def write_gallery(folder: Path, gallery: Gallery, similarity: str, scores: Mapping[str, Any]) -> None:
    """Write the part of a bundle that grows with its cases, and the scores with the novelty threshold of these cases."""
    save_arrays(
        folder / "gallery.safetensors",
        {
            "projected": gallery.projected,
            "embeddings": gallery.embeddings,
            "lengths": lengths_of(gallery.projected),
            "map": gallery.map_xy,
            "quantiles": gallery.quantiles,
        },
    )
    lists = gallery.neighborhoods
    save_arrays(folder / NEIGHBORS, {"neighbors": lists.rows, "neighbor_similarity": lists.similarities})
    write_faiss(folder / INDEX, gallery.projected, similarity)
    gallery.table.to_parquet(folder / "cases.parquet", index=False)
    named = {f"{row}/{name}": array for row, found in enumerate(gallery.pictures) for name, array in found.items()}
    save_arrays(folder / "projections.safetensors", named)
    novelty = {
        "threshold": lists.novelty_threshold,
        "percentile": 5,
        "of": "similarity to the nearest case of another patient, by a projection that was fitted without the case",
    }
    (folder / "scores.json").write_text(json.dumps({**scores, "novelty": novelty}, indent=2) + "\n", encoding="utf-8")


def cases_table(cases: Sequence[Case], facts: Sequence[CaseFacts], target: Target, frame: Frame) -> pd.DataFrame:
    """A row a case: id, patient, center, volume, side, metadata, and by which the same image is known again."""
    import pandas as pd

    columns = sorted({column for case in cases for column in case.metadata})
    modalities = sorted({modality for found in facts for modality in found.contents})
    rows = []
    for case, found in zip(cases, facts, strict=True):
        center = position(found, case.label_convention, target, frame)
        right = is_right(found, case.label_convention, target)
        x, y, z = (np.nan, np.nan, np.nan) if center is None else map(float, center)
        row = {
            "case": case.id,
            "patient": case.patient,
            "x_mm": x,
            "y_mm": y,
            "z_mm": z,
            "volume_cm3": volume_cm3(found, case.label_convention, target.region),
            "side": None if right is None else "right" if right else "left",
        }
        row |= {f"meta:{column}": case.metadata.get(column) for column in columns}
        rows.append(row | {f"content:{modality}": found.contents.get(modality) for modality in modalities})
    table = pd.DataFrame(rows)
    table["volume_cm3"] = table["volume_cm3"].astype("float64")
    for column in columns:
        values = table[f"meta:{column}"]
        if any(isinstance(value, str) for value in values):  # a column of numbers and words is one of words
            table[f"meta:{column}"] = [None if _missing(value) else str(value) for value in values]
    return table


def pictures_of(facts: CaseFacts) -> dict[str, npt.NDArray[np.uint8]]:
    """A case's small pictures by name: a view, and a view's tumor."""
    found = {}
    for view, picture in facts.projections.items():
        found[view] = picture
        found[f"{view}/tumor"] = facts.outlines[view].astype(np.uint8)
    return found


def _missing(value: Any) -> bool:
    return value is None or value == "" or value != value

"""The gallery of a bundle: the part that grows with its cases."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from neuroprint.bundle.format import save_arrays
from neuroprint.bundle.index import Neighborhoods, lengths_of
from neuroprint.data.case import Case, Frame
from neuroprint.data.case_facts import CaseFacts
from neuroprint.data.facts import Weighting, center_mm, is_right, picture_mm, volume_cm3
from neuroprint.data.metadata import is_missing

if TYPE_CHECKING:
    import pandas as pd

META = "meta:"
"""Beginning of the columns of metadata in the table of cases."""
IMAGE = "image:"
"""Beginning of the columns of what the images look like."""
NEIGHBORS_FILE = "neighbors.safetensors"
GALLERY_FILES = (
    "gallery.safetensors",
    NEIGHBORS_FILE,
    "cases.parquet",
    "mips.safetensors",
    "scores.json",
    "card.md",
)
"""What is written anew when cases are added."""


@dataclass(frozen=True)
class Placing:
    """How a tumor is placed and measured in a bundle.

    Attributes:
        region: One of :data:`neuroprint.data.labels.REGIONS`.
        weighting: See :func:`neuroprint.data.facts.center_mm`.
        frame: Where positions are compared.
    """

    region: str = "whole_tumor"
    weighting: Weighting = "binary"
    frame: Frame = "world"

    def center_mm(self, facts: CaseFacts) -> npt.NDArray[np.float64] | None:
        """(3,) the tumor's center; None without a label or a tumor."""
        return center_mm(facts, self.region, self.weighting, self.frame)

    def volume_cm3(self, facts: CaseFacts) -> float | None:
        """The tumor's volume; None without a label."""
        return volume_cm3(facts, self.region)

    def side(self, facts: CaseFacts) -> str | None:
        """``left`` or ``right``; None without a center."""
        right = is_right(facts, self.region, self.weighting)
        return None if right is None else "right" if right else "left"


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
    pictures: Sequence[Mapping[str, npt.NDArray[Any]]]
    neighborhoods: Neighborhoods
    quantiles: npt.NDArray[np.float32]


def write_gallery(folder: Path, gallery: Gallery, scores: Mapping[str, Any]) -> None:
    """Write the part of a bundle that grows with its cases, and its scores."""
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
    save_arrays(folder / NEIGHBORS_FILE, {"neighbors": lists.rows, "neighbor_similarity": lists.similarities})
    gallery.table.to_parquet(folder / "cases.parquet", index=False)
    named = {f"{row}/{name}": array for row, found in enumerate(gallery.pictures) for name, array in found.items()}
    save_arrays(folder / "mips.safetensors", named)
    (folder / "scores.json").write_text(json.dumps(dict(scores), indent=2) + "\n", encoding="utf-8")


def cases_table(cases: Sequence[Case], facts: Sequence[CaseFacts], placing: Placing) -> pd.DataFrame:
    """A row a case: id, patient, center, volume, side, metadata, by which the same image is known again, and its looks."""
    import pandas as pd

    columns = sorted({column for case in cases for column in case.metadata})
    modalities = sorted({modality for found in facts for modality in found.contents})
    rows = []
    for case, found in zip(cases, facts, strict=True):
        center = placing.center_mm(found)
        x, y, z = (np.nan, np.nan, np.nan) if center is None else map(float, center)
        row = {
            "case": case.id,
            "patient": case.patient,
            "x_mm": x,
            "y_mm": y,
            "z_mm": z,
            "volume_cm3": placing.volume_cm3(found),
            "side": placing.side(found),
        }
        row |= {f"{META}{column}": case.metadata.get(column) for column in columns}
        row |= {f"content:{modality}": found.contents.get(modality) for modality in modalities}
        rows.append(row | {f"{IMAGE}{fact}": value for fact, value in found.appearance.items()})
    table = pd.DataFrame(rows)
    table["volume_cm3"] = table["volume_cm3"].astype("float64")
    for column in columns:
        values = table[f"{META}{column}"]
        if any(isinstance(value, str) for value in values):  # a column of numbers and words is one of words
            table[f"{META}{column}"] = [None if is_missing(value) else str(value) for value in values]
    return table


def pictures_of(facts: CaseFacts) -> dict[str, npt.NDArray[Any]]:
    """A case's small pictures by name: a plane (uint8), its tumor, and its height and width in mm (float32)."""
    found: dict[str, npt.NDArray[Any]] = {}
    sizes = picture_mm(facts)
    for plane, picture in facts.mips.items():
        found[plane] = picture
        found[f"{plane}/mm"] = np.array(sizes[plane], dtype=np.float32)
        found[f"{plane}/tumor"] = facts.outlines[plane].astype(np.uint8)
    return found

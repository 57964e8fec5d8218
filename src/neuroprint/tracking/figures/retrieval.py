"""Queries and the cases found for them, as pictures: the first thing a reader of scans wants to see."""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import fill
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from matplotlib.lines import Line2D

from neuroprint.tracking.figures.style import (
    GREEN,
    GREY,
    INK,
    SKY,
    VERMILLION,
    WIDTH_INCHES,
    new_figure,
    shorten,
    styled,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from neuroprint.tracking.figures.body_axes import Floats

Rank = Literal["best", "median", "worst"]
NEIGHBOURS = 5
_GAP_INCHES = 0.09
_TILE_INCHES = (WIDTH_INCHES - _GAP_INCHES) / (NEIGHBOURS + 1) - _GAP_INCHES
# Room above the first row, for a tile's line above and both of its lines, and for the caption and the legend.
_HEAD_INCHES, _VERDICT_INCHES, _TEXT_INCHES, _FOOT_INCHES = 0.3, 0.2, 0.45, 0.68
_TITLE: dict[str, Any] = {"fontsize": 8, "fontweight": "normal", "loc": "center", "pad": 4, "color": INK}
_OUTLINE = SKY
_FRAMES: dict[bool | None, tuple[str, Any]] = {
    True: (GREEN, "-"),
    False: (VERMILLION, (0, (2.4, 1.4))),
    None: (GREY, "-"),
}


@dataclass(frozen=True, eq=False)
class Tile:
    """One case as a picture.

    Attributes:
        case: Its id, printed below.
        projection: (rows, columns) grey picture, first row on top; uint8 from 0 to 255, or floats scaled per tile.
        outline: (rows, columns) mask of the tumour in the same projection, where known.
        distance_mm: From the query's tumour centre, where known.
        relevant: Whether it counts as truly similar to the query, where known.
    """

    case: str
    projection: NDArray[Any]
    outline: NDArray[np.bool_] | None = None
    distance_mm: float | None = None
    relevant: bool | None = None


@dataclass(frozen=True, eq=False)
class Plate:
    """One query and its nearest cases, best first; the first five are drawn.

    Attributes:
        query: The case that was searched with.
        neighbours: What was found.
        average_precision: The query's score.
        rank: Which part of the cohort's queries it stands for.
    """

    query: Tile
    neighbours: Sequence[Tile]
    average_precision: float
    rank: Rank


def choose_queries(average_precision: Floats, rows: int = 6) -> list[tuple[int, Rank]]:
    """Pick the best, median and worst queries, so that the picture flatters nobody.

    Args:
        average_precision: (n,) score of each query; NaN where it is not defined: never picked.
        rows: How many to pick, in equal parts; fewer if there are fewer.

    Returns:
        (index, rank) by falling score; equal scores by index. No query appears twice.
    """
    scores = np.asarray(average_precision, dtype=np.float64)
    order = [int(index) for index in np.argsort(-scores, kind="stable") if np.isfinite(scores[index])]
    count = min(rows, len(order))
    best, median, worst = (count + 2) // 3, count // 3, (count + 1) // 3
    start = min(max((len(order) - median) // 2, best), len(order) - worst - median)
    chosen: list[tuple[int, Rank]] = [(index, "best") for index in order[:best]]
    chosen += [(index, "median") for index in order[start : start + median]]
    chosen += [(index, "worst") for index in order[len(order) - worst :]]
    return chosen


@styled
def draw_retrieval(plates: Sequence[Plate], caption: str = "Maximum intensity projections of FLAIR") -> Figure:
    """Draw each query beside its five nearest cases, with tumour outlines and distances.

    Args:
        plates: One a row.
        caption: What the pictures show and how they are turned, such as "FLAIR, maximum intensity, seen from below,
            patient's right on the left"; printed below.
    """
    tiles = [tile for plate in plates for tile in (plate.query, *plate.neighbours[:NEIGHBOURS])]
    window = _common_window(tiles)
    shape = tiles[0].projection[window].shape if tiles else (1, 1)
    high = _TILE_INCHES * min(max(shape[0] / shape[1], 0.6), 1.5)
    figure = new_figure(_HEAD_INCHES + len(plates) * (high + _TEXT_INCHES) + _FOOT_INCHES)
    # Placed by hand: every tile has the same size, whatever is written around it.
    figure.set_layout_engine("none")
    total = figure.get_figheight()
    for row, plate in enumerate(plates):
        bottom = total - _HEAD_INCHES - row * (high + _TEXT_INCHES) - _VERDICT_INCHES - high
        for column, tile in enumerate((plate.query, *plate.neighbours[:NEIGHBOURS])):
            left = _GAP_INCHES + column * (_TILE_INCHES + _GAP_INCHES)
            axes = figure.add_axes((left / WIDTH_INCHES, bottom / total, _TILE_INCHES / WIDTH_INCHES, high / total))
            _draw_tile(axes, tile, window)
            axes.set_title(_query_text(plate) if column == 0 else _distance(tile), **_TITLE)
            _frame(axes, *((INK, "-") if column == 0 else _FRAMES[tile.relevant]))
    for column in range(1 + max((len(plate.neighbours[:NEIGHBOURS]) for plate in plates), default=0)):
        middle = _GAP_INCHES + column * (_TILE_INCHES + _GAP_INCHES) + _TILE_INCHES / 2
        heading = "query" if column == 0 else f"nearest {column}"
        figure.text(middle / WIDTH_INCHES, 1 - 0.08 / total, heading, ha="center", va="top", fontweight="bold")
    _draw_legend(figure, caption)
    return figure


def _draw_legend(figure: Figure, caption: str) -> None:
    handles = [
        Line2D([], [], color=colour, linestyle=line, linewidth=2.2) for colour, line in list(_FRAMES.values())[:2]
    ]
    handles.append(Line2D([], [], color=_OUTLINE, linewidth=1.4))
    legend = figure.legend(
        handles, ["relevant", "not relevant", "tumour outline"], loc="lower left", bbox_to_anchor=(0.003, 0), ncols=3,
        title=fill(f"{caption}. AP: average precision of the query.", 125), alignment="left", title_fontsize=8,
    )  # fmt: skip
    legend.get_title().set_color(GREY)


def _draw_tile(axes: Axes, tile: Tile, window: tuple[slice, slice]) -> None:
    picture = tile.projection[window]
    low, high = (0.0, 255.0) if picture.dtype == np.uint8 else _grey_range(picture)
    axes.imshow(picture, cmap="gray", vmin=low, vmax=high, interpolation="antialiased")
    if tile.outline is not None and tile.outline[window].any():
        axes.contour(tile.outline[window].astype(np.float64), levels=[0.5], colors=[_OUTLINE], linewidths=1.2)
    axes.set(xticks=[], yticks=[])
    axes.set_xlabel(shorten(tile.case, 18), fontsize=7.5, labelpad=4, color=GREY)


def _frame(axes: Axes, colour: str, line: Any) -> None:
    axes.spines[:].set(visible=True, color=colour, linewidth=2.2, linestyle=line)


def _query_text(plate: Plate) -> str:
    score = plate.average_precision
    return f"{plate.rank}, AP {score:.2f}" if np.isfinite(score) else plate.rank


def _distance(tile: Tile) -> str:
    return "" if tile.distance_mm is None or not np.isfinite(tile.distance_mm) else f"{tile.distance_mm:.0f} mm"


def _grey_range(picture: NDArray[Any]) -> tuple[float, float]:
    """Black and white of a float picture: a few bright voxels do not darken the rest."""
    known = picture[np.isfinite(picture)]
    low, high = (float(known.min()), float(np.percentile(known, 99.8))) if known.size else (0.0, 1.0)
    return low, high if high > low else low + 1.0


def _common_window(tiles: Sequence[Tile]) -> tuple[slice, slice]:
    """The part that any tile fills, if all have one shape: empty margins go, and sizes still compare between tiles."""
    shapes = {tile.projection.shape for tile in tiles}
    if len(shapes) != 1:
        return slice(None), slice(None)
    filled = np.any([tile.projection > tile.projection.min() for tile in tiles], axis=0)
    if not filled.any():
        return slice(None), slice(None)
    rows, columns = np.flatnonzero(filled.any(axis=1)), np.flatnonzero(filled.any(axis=0))
    return slice(max(int(rows[0]) - 3, 0), int(rows[-1]) + 4), slice(max(int(columns[0]) - 3, 0), int(columns[-1]) + 4)

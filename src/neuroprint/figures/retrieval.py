"""Queries and the cases found for them, as pictures: the first thing a reader of scans wants to see."""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import fill
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from contourpy import contour_generator
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from neuroprint.figures.style import (
    GRAY,
    GREEN,
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

    from neuroprint.figures.body_axes import Floats

Rank = Literal["best", "median", "worst"]
_NEIGHBORS = 5
_GAP_INCHES = 0.09
_TILE_INCHES = (WIDTH_INCHES - _GAP_INCHES) / (_NEIGHBORS + 1) - _GAP_INCHES
# Room above the first row, for a tile's line above and both of its lines, and for the caption and the legend.
_HEAD_INCHES, _VERDICT_INCHES, _TEXT_INCHES, _FOOT_INCHES = 0.3, 0.2, 0.45, 0.68
_TITLE_GAP_INCHES, _NAME_GAP_INCHES = 0.055, 0.06
_TITLE: dict[str, Any] = {"fontsize": 8, "ha": "center", "va": "baseline", "color": INK}
_NAME: dict[str, Any] = {"fontsize": 7.5, "ha": "center", "va": "top", "color": GRAY}
_OUTLINE = SKY
_FRAMES: dict[bool | None, tuple[str, Any]] = {
    True: (GREEN, "-"),
    False: (VERMILLION, (0, (2.4, 1.4))),
    None: (GRAY, "-"),
}


@dataclass(frozen=True, eq=False)
class Tile:
    """One case as a picture.

    Attributes:
        case: Its id, printed below.
        mip: (rows, columns) gray maximum intensity projection, first row on top; uint8 from 0 to 255, or floats, which are
            scaled per tile.
        outline: (rows, columns) mask of the tumor of the same shape, where known.
        distance_mm: From the query's tumor center, where known.
        relevant: Whether it counts as truly similar to the query, where known.
    """

    case: str
    mip: NDArray[Any]
    outline: NDArray[np.bool_] | None = None
    distance_mm: float | None = None
    relevant: bool | None = None


@dataclass(frozen=True, eq=False)
class Plate:
    """One query and its nearest cases, best first; the first five are drawn.

    Attributes:
        query: The case that was searched with.
        neighbors: What was found.
        average_precision: The query's score.
        rank: Which part of the cohort's queries it stands for.
    """

    query: Tile
    neighbors: Sequence[Tile]
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
    """Draw each query beside its five nearest cases, with tumor outlines and distances.

    Everything lies on one pair of axes in inches: a pair for each tile would take most of a second each way.

    Args:
        plates: One a row.
        caption: What the pictures show and how they are turned, such as "FLAIR, maximum intensity, seen from below,
            patient's right on the left"; printed below.
    """
    rows = [(plate, (plate.query, *plate.neighbors[:_NEIGHBORS])) for plate in plates]
    window = _common_window([tile for _, tiles in rows for tile in tiles])
    shape = rows[0][1][0].mip[window].shape if rows else (1, 1)
    high = _TILE_INCHES * min(max(shape[0] / shape[1], 0.6), 1.5)
    total = _HEAD_INCHES + len(rows) * (high + _TEXT_INCHES) + _FOOT_INCHES
    figure = new_figure(total, placed=True)
    page = figure.add_axes((0, 0, 1, 1))
    page.set_axis_off()
    for number, (plate, tiles) in enumerate(rows):
        bottom = total - _HEAD_INCHES - number * (high + _TEXT_INCHES) - _VERDICT_INCHES - high
        for column, tile in enumerate(tiles):
            box = _draw_tile(page, tile, window, (_middle(column), bottom + high / 2), (_TILE_INCHES, high))
            color, line = (INK, "-") if column == 0 else _FRAMES[tile.relevant]
            box.set(edgecolor=color, linestyle=line)
            above = _query_text(plate) if column == 0 else _distance(tile)
            page.text(_middle(column), box.get_y() + box.get_height() + _TITLE_GAP_INCHES, above, **_TITLE)
            page.text(_middle(column), box.get_y() - _NAME_GAP_INCHES, shorten(tile.case, 18), **_NAME)
    for column in range(max((len(tiles) for _, tiles in rows), default=1)):
        heading = f"nearest {column}" if column else "query"
        page.text(_middle(column), total - 0.08, heading, ha="center", va="top", fontweight="bold")
    # Pictures reset the limits when they are drawn.
    page.set(xlim=(0, WIDTH_INCHES), ylim=(0, total), aspect="auto")
    _draw_legend(figure, caption)
    return figure


def _middle(column: int) -> float:
    """Where a column of tiles has its middle, in inches."""
    return _GAP_INCHES + column * (_TILE_INCHES + _GAP_INCHES) + _TILE_INCHES / 2


def _draw_legend(figure: Figure, caption: str) -> None:
    handles = [Line2D([], [], color=color, linestyle=line, linewidth=2.2) for color, line in list(_FRAMES.values())[:2]]
    handles.append(Line2D([], [], color=_OUTLINE, linewidth=1.4))
    legend = figure.legend(
        handles, ["relevant", "not relevant", "tumor outline"], loc="lower left", bbox_to_anchor=(0.003, 0), ncols=3,
        title=fill(f"{caption}. AP: average precision of the query.", 125), alignment="left", title_fontsize=8,
    )  # fmt: skip
    legend.get_title().set_color(GRAY)


def _draw_tile(
    page: Axes, tile: Tile, window: tuple[slice, slice], middle: tuple[float, float], room: tuple[float, float]
) -> Rectangle:
    """One picture with its tumor's outline, as large as its room; the frame around it."""
    picture = tile.mip[window]
    low, high = (0.0, 255.0) if picture.dtype == np.uint8 else _gray_range(picture)
    rows, columns = picture.shape
    pixel = min(room[0] / columns, room[1] / rows)
    left, top = middle[0] - pixel * columns / 2, middle[1] + pixel * rows / 2
    extent = (left, left + pixel * columns, top - pixel * rows, top)
    page.imshow(picture, cmap="gray", vmin=low, vmax=high, interpolation="antialiased", extent=extent)
    if tile.outline is not None and tile.outline[window].any():
        # A vertex is at a pixel's middle, which is half a pixel from the picture's edge.
        lines = contour_generator(z=tile.outline[window].astype(np.float64)).lines(0.5)
        placed = [np.array([left, top]) + pixel * (np.asarray(line) + 0.5) * [1, -1] for line in lines]
        page.add_collection(LineCollection(placed, colors=_OUTLINE, linewidths=1.2), autolim=False)
    frame = Rectangle((left, extent[2]), extent[1] - left, top - extent[2], fill=False, linewidth=2.2, zorder=3)
    page.add_patch(frame)
    return frame


def _query_text(plate: Plate) -> str:
    score = plate.average_precision
    return f"{plate.rank}, AP {score:.2f}" if np.isfinite(score) else plate.rank


def _distance(tile: Tile) -> str:
    return "" if tile.distance_mm is None or not np.isfinite(tile.distance_mm) else f"{tile.distance_mm:.0f} mm"


def _gray_range(picture: NDArray[Any]) -> tuple[float, float]:
    """Black and white of a float picture: a few bright voxels do not darken the rest."""
    known = picture[np.isfinite(picture)]
    low, high = (float(known.min()), float(np.percentile(known, 99.8))) if known.size else (0.0, 1.0)
    return low, high if high > low else low + 1.0


def _common_window(tiles: Sequence[Tile]) -> tuple[slice, slice]:
    """The part that any tile fills, if all have one shape: empty margins go, and sizes still compare between tiles."""
    shapes = {tile.mip.shape for tile in tiles}
    if len(shapes) != 1:
        return slice(None), slice(None)
    filled = np.any([tile.mip > tile.mip.min() for tile in tiles], axis=0)
    if not filled.any():
        return slice(None), slice(None)
    rows, columns = np.flatnonzero(filled.any(axis=1)), np.flatnonzero(filled.any(axis=0))
    return slice(max(int(rows[0]) - 3, 0), int(rows[-1]) + 4), slice(max(int(columns[0]) - 3, 0), int(columns[-1]) + 4)

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
    BLUE,
    GRAY,
    GREEN,
    INK,
    SKY,
    SMALL,
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
_GAP_INCHES = 0.08
_TILE_INCHES = (WIDTH_INCHES - _GAP_INCHES) / (_NEIGHBORS + 1) - _GAP_INCHES
# Height of a tile, in its width: that of the tallest picture, within these bounds.
_FLATTEST, _TALLEST = 0.6, 1.5
# Between a picture and its frame.
_RIM_INCHES = 0.02
# Room above the first row, for a tile's line above and both of its lines, and for the caption and the legend.
_HEAD_INCHES, _VERDICT_INCHES, _TEXT_INCHES, _FOOT_INCHES = 0.24, 0.16, 0.36, 0.5
_TITLE_GAP_INCHES, _NAME_GAP_INCHES = 0.045, 0.05
_LONGEST_NAME = 20
_BAR_MM = 50.0
_TITLE: dict[str, Any] = {"fontsize": 7, "ha": "center", "va": "baseline", "color": INK}
_NAME: dict[str, Any] = {"fontsize": SMALL, "ha": "center", "va": "top", "color": GRAY}
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
        size_mm: Height and width of the projection; None takes its pixels for millimeters.
    """

    case: str
    mip: NDArray[Any]
    outline: NDArray[np.bool_] | None = None
    distance_mm: float | None = None
    relevant: bool | None = None
    size_mm: tuple[float, float] | None = None

    def extent(self, window: tuple[slice, slice] = (slice(None), slice(None))) -> tuple[float, float]:
        """Height and width in mm of a part of the projection."""
        (rows, columns), shown = self.mip.shape, self.mip[window].shape
        high, wide = self.size_mm or (float(rows), float(columns))
        return high * shown[0] / rows, wide * shown[1] / columns


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

    All tiles are of one size, and all pictures of one scale: a small head is small. Everything lies on one pair of axes in
    inches: a pair for each tile would take most of a second each way.

    Args:
        plates: One a row.
        caption: What the pictures show and how they are turned, such as "FLAIR, maximum intensity, seen from below,
            patient's right on the left"; printed below.
    """
    rows = [(plate, (plate.query, *plate.neighbors[:_NEIGHBORS])) for plate in plates]
    every = [tile for _, tiles in rows for tile in tiles]
    window = _common_window(every)
    extents = np.array([tile.extent(window) for tile in every] or [(1.0, 1.0)])
    tallest, widest = extents.max(axis=0)
    high = _TILE_INCHES * min(max(tallest / widest, _FLATTEST), _TALLEST)
    scale = min((high - 2 * _RIM_INCHES) / tallest, (_TILE_INCHES - 2 * _RIM_INCHES) / widest)
    total = _HEAD_INCHES + len(rows) * (high + _TEXT_INCHES) + _FOOT_INCHES
    figure = new_figure(total, placed=True)
    page = figure.add_axes((0, 0, 1, 1))
    page.set_axis_off()
    for number, (plate, tiles) in enumerate(rows):
        bottom = total - _HEAD_INCHES - number * (high + _TEXT_INCHES) - _VERDICT_INCHES - high
        for column, tile in enumerate(tiles):
            frame = Rectangle(
                (_middle(column) - _TILE_INCHES / 2, bottom),
                _TILE_INCHES,
                high,
                facecolor="black",
                linewidth=1.6,
                zorder=-1,
            )
            color, line = (BLUE, "-") if column == 0 else _FRAMES[tile.relevant]
            frame.set(edgecolor=color, linestyle=line)
            page.add_patch(frame)
            _draw_tile(page, tile, window, (_middle(column), bottom + high / 2), scale)
            above = _query_text(plate) if column == 0 else _distance(tile)
            page.text(_middle(column), bottom + high + _TITLE_GAP_INCHES, above, **_TITLE)
            page.text(_middle(column), bottom - _NAME_GAP_INCHES, shorten(tile.case, _LONGEST_NAME), **_NAME)
    for column in range(max((len(tiles) for _, tiles in rows), default=1)):
        heading = f"nearest {column}" if column else "query"
        page.text(_middle(column), total - 0.06, heading, ha="center", va="top", fontweight="bold")
    # Pictures reset the limits when they are drawn.
    page.set(xlim=(0, WIDTH_INCHES), ylim=(0, total), aspect="auto")
    _draw_legend(figure, caption)
    if every and all(tile.size_mm for tile in every):
        _draw_bar(page, scale)
    return figure


def _middle(column: int) -> float:
    """Where a column of tiles has its middle, in inches."""
    return _GAP_INCHES + column * (_TILE_INCHES + _GAP_INCHES) + _TILE_INCHES / 2


def _draw_legend(figure: Figure, caption: str) -> None:
    handles = [Line2D([], [], color=color, linestyle=line, linewidth=1.6) for color, line in list(_FRAMES.values())[:2]]
    handles.append(Line2D([], [], color=_OUTLINE, linewidth=1))
    legend = figure.legend(
        handles, ["relevant", "not relevant", "tumor outline"], loc="lower left", bbox_to_anchor=(0.003, 0), ncols=3,
        title=fill(f"{caption}. AP: average precision of the query.", 130), alignment="left", title_fontsize=SMALL,
    )  # fmt: skip
    legend.get_title().set_color(GRAY)


def _draw_bar(page: Axes, scale: float) -> None:
    """How long 5 cm are in all the pictures."""
    right, low = WIDTH_INCHES - _GAP_INCHES, 0.12
    page.add_collection(
        LineCollection([[(right - _BAR_MM * scale, low), (right, low)]], colors=INK, linewidths=1.6), autolim=False
    )
    words = f"{_BAR_MM:.0f} mm"
    page.text(right - _BAR_MM * scale - 0.06, low, words, ha="right", va="center", fontsize=SMALL, color=INK)


def _draw_tile(page: Axes, tile: Tile, window: tuple[slice, slice], middle: tuple[float, float], scale: float) -> None:
    """One picture with its tumor's outline about the middle of its tile, at so many inches a millimeter."""
    picture = tile.mip[window]
    low, high = (0.0, 255.0) if picture.dtype == np.uint8 else _gray_range(picture)
    tall, wide = (scale * mm for mm in tile.extent(window))
    pixel = np.array([wide / picture.shape[1], tall / picture.shape[0]])
    left, top = middle[0] - wide / 2, middle[1] + tall / 2
    extent = (left, left + wide, top - tall, top)
    page.imshow(picture, cmap="gray", vmin=low, vmax=high, interpolation="antialiased", extent=extent)
    if tile.outline is not None and tile.outline[window].any():
        # A rim of background closes outlines at the picture's edge; a vertex is at a pixel's middle.
        lines = contour_generator(z=np.pad(tile.outline[window].astype(np.float64), 1)).lines(0.5)
        placed = [np.array([left, top]) + pixel * (np.asarray(line) - 0.5) * [1, -1] for line in lines]
        page.add_collection(LineCollection(placed, colors=_OUTLINE, linewidths=0.9), autolim=False)


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

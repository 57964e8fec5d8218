"""The cohort's 2-D map as a vector drawing, with the query and its matches on it."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Final

import numpy as np

from neuroprint.figures.style import BLUE, CATEGORIES, GRAY, VERMILLION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_WIDTH, _HEIGHT, _MARGIN = 640.0, 440.0, 26.0
MOST_POINTS: Final = 3000
"""Of a larger gallery so many cases are drawn, evenly spread over the ids, and all matches."""


def map_drawing(
    points: NDArray[np.floating],
    titles: Sequence[str],
    groups: Sequence[str | None],
    matches: Sequence[int],
    query: NDArray[np.floating],
) -> str:
    """Draw the map as SVG: a dot a case, numbers for the matches in their order, a star for the query.

    Args:
        points: (n, 2) places of the gallery's cases; distances have no unit.
        titles: (n,) what is shown when a dot is pointed at.
        groups: (n,) by which dots are colored; None is gray and hollow.
        matches: Rows of the matches, best first.
        query: (2,) place of the query.
    """
    where = _fit(np.vstack([np.asarray(points, dtype=np.float64), np.asarray(query, dtype=np.float64)]))
    colors = group_colors(groups)
    shown = np.unique(np.linspace(0, len(points) - 1, min(MOST_POINTS, len(points))).astype(int)).tolist()
    star_x, star_y = where[-1]
    radius = 5.0 if len(shown) <= 200 else 3.4 if len(shown) <= 800 else 2.2
    parts = [f'<line x1="{star_x:.1f}" y1="{star_y:.1f}" x2="{x:.1f}" y2="{y:.1f}"/>' for x, y in where[list(matches)]]
    for row in sorted({*shown, *matches}):
        x, y = where[row]
        color = colors.get(groups[row] or "")
        look = f'fill="{color}"' if color else f'class="unknown" stroke="{GRAY}"'
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" {look}><title>{html.escape(titles[row])}</title></circle>'
        )
    for rank, row in reversed(list(enumerate(matches, start=1))):
        x, y = where[row]
        parts.append(
            f'<g class="match" transform="translate({x:.1f} {y:.1f})"><circle r="9"/><text>{rank}</text>'
            f"<title>{rank}: {html.escape(titles[row])}</title></g>"
        )
    parts.append(f'<path class="star" transform="translate({star_x:.1f} {star_y:.1f})" d="{_star()}"/>')
    return (
        f'<svg class="map" viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" role="img" '
        f'aria-label="Map of the cohort with the query and its matches">{"".join(parts)}</svg>'
    )


def group_colors(groups: Sequence[str | None]) -> dict[str, str]:
    """A color for each group by name: blue and vermillion for two, such as left and right, else as figures have them.

    What is beyond the sixth group in number of cases is drawn like the unknown.
    """
    names, counts = np.unique([group for group in groups if group is not None], return_counts=True)
    if len(names) <= 2:
        return dict(zip(map(str, names), (BLUE, VERMILLION), strict=False))
    largest = sorted(str(names[place]) for place in np.argsort(-counts, kind="stable")[:6])
    return dict(zip(largest, (BLUE, *CATEGORIES), strict=False))


def _fit(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scale alike along both axes into the drawing; y grows upwards on the map and downwards in it."""
    low, high = points.min(axis=0), points.max(axis=0)
    room = np.array([_WIDTH - 2 * _MARGIN, _HEIGHT - 2 * _MARGIN])
    extent = np.where(high > low, high - low, 1.0)
    scale = float((room / extent).min())
    middle = (low + high) / 2
    fitted: NDArray[np.float64] = (points - middle) * [scale, -scale] + [_WIDTH / 2, _HEIGHT / 2]
    return fitted


def _star() -> str:
    angles = -np.pi / 2 + np.arange(10) * np.pi / 5
    radii = np.where(np.arange(10) % 2, 5.2, 12.5)
    corners = zip(radii * np.cos(angles), radii * np.sin(angles), strict=True)
    return "M" + "L".join(f"{x:.2f} {y:.2f}" for x, y in corners) + "Z"

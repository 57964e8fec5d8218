"""The 2-D map as a page to explore: one file, without network, as MLflow shows it in a sandboxed frame."""

from __future__ import annotations

import html
import json
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING, Any, Final

import matplotlib
import numpy as np
from matplotlib.colors import to_hex

from neuroprint.figures.body_axes import BODY_AXES, Floats, as_centers, color_limits
from neuroprint.figures.thumbnails import data_uris

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

_ROOM: Final = 200_000  # characters of a page without pictures: its script, and numbers of a small cohort
_A_CASE: Final = 5_000
_COLOR_STEPS: Final = 17


def interactive_map(
    points: Floats,
    ids: Sequence[str],
    centers_mm: Floats,
    volumes_cm3: Floats | None,
    thumbnails: Mapping[str, NDArray[np.uint8]] | None,
    title: str,
    midline_mm: Floats | float = 0.0,
) -> str:
    """Write the map as a self-contained HTML page of at most 300 kB and 5 kB a case.

    Hovering over a case shows its id, side, tumor center and volume, and its picture beside the map; a click keeps it
    there. Buttons switch the colors between the center's x, y and z. Two regions can be drawn, as a box or a lasso: the
    pictures of their cases stand side by side below the map, under what the cases share.

    Args:
        points: (n, 2) positions on the map.
        ids: n case ids.
        centers_mm: (n, 3) tumor centers in mm, RAS+; a row with NaN is a case without a center.
        volumes_cm3: (n,) tumor volumes, or None.
        thumbnails: Case id -> (rows, columns) uint8 picture, first row on top; as large as the page has room for.
        title: Heading of the page.
        midline_mm: The x that separates left from right, mm: one for all, or (n,) where heads are not registered.
    """
    centers = as_centers(centers_mm)
    midlines = np.broadcast_to(np.asarray(midline_mm, dtype=np.float64), len(ids))
    where = np.asarray(points, dtype=np.float64).reshape(-1, 2)
    middle = float(np.median(midlines)) if len(ids) else 0.0
    data: dict[str, Any] = {
        "ids": [str(case) for case in ids],
        "x": _rounded(where[:, 0], 4),
        "y": _rounded(where[:, 1], 4),
        "centers": [_rounded(values, 1) for values in centers.T],
        "volumes": None if volumes_cm3 is None else _rounded(np.asarray(volumes_cm3, dtype=np.float64), 1),
        "sides": [_side(x - midline) for x, midline in zip(centers[:, 0], midlines, strict=True)],
        "axes": [
            {
                "label": axis.label,
                "ends": [axis.low, axis.high],
                "colors": _color_stops(axis.color_map),
                "range": color_limits(values, axis, middle),
            }
            for axis, values in zip(BODY_AXES, centers.T, strict=True)
        ],
        "pictures": [],
    }
    room = _ROOM + _A_CASE * len(ids) - len(json.dumps(data))
    data["pictures"] = data_uris([(thumbnails or {}).get(str(case)) for case in ids], room)
    return _page(title, data)


def _page(title: str, data: dict[str, Any]) -> str:
    assets = files("neuroprint.figures") / "assets"
    # Inside a script element, "<" could end the element whatever the quotes around it.
    written = json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return Template((assets / "map.html").read_text(encoding="utf-8")).substitute(
        title=html.escape(title),
        style=(assets / "map.css").read_text(encoding="utf-8"),
        script=(assets / "map.js").read_text(encoding="utf-8"),
        data=written,
    )


def _rounded(values: NDArray[np.float64], digits: int) -> list[float | None]:
    return [round(float(value), digits) if np.isfinite(value) else None for value in values]


def _side(x_mm: float) -> str:
    if not np.isfinite(x_mm):
        return "unknown"
    return "midline" if x_mm == 0 else "left" if x_mm < 0 else "right"


def _color_stops(name: str) -> list[str]:
    colors = matplotlib.colormaps[name]
    return [to_hex(colors(share)) for share in np.linspace(0, 1, _COLOR_STEPS).tolist()]

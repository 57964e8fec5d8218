"""One look for all figures, without pyplot: its global state does not bear runs that draw in threads."""

from __future__ import annotations

import io
import logging
from contextlib import contextmanager
from functools import cache, wraps
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

# Journals print figures one column wide (89 mm) or over the page (183 mm).
COLUMN_INCHES: Final = 3.5
WIDTH_INCHES: Final = 7.2
# A PNG has 300 dots per inch, and no more pixels across than a screen shows.
WIDEST_PNG: Final = 1200
LARGEST_PNG: Final = 2_000_000
_PNG_DPI: Final = 300
# Of the pictures in a PDF that are no photographs; its lines and letters have no pixels.
_PDF_DPI: Final = 220
_SMALLEST_PHOTOGRAPH: Final = 1000
# Points of the type of notes and of what stands in a picture; the style has those of the rest.
SMALL: Final = 6.5

# Okabe and Ito's colors, told apart with every kind of color vision.
BLUE: Final = "#0072B2"
VERMILLION: Final = "#D55E00"
GREEN: Final = "#009E73"
PINK: Final = "#CC79A7"
ORANGE: Final = "#E69F00"
SKY: Final = "#56B4E9"
CATEGORIES: Final = (VERMILLION, GREEN, PINK, ORANGE, SKY)
INK: Final = "#222222"
GRAY: Final = "#767676"
PALE: Final = "#EDEDED"

# How the rows that give the scale look in every figure: marker and line.
REFERENCE_MARKERS: Final = {"chance": "x", "voxels": "s", "untrained": "^", "oracle": "*"}
REFERENCE_LINES: Final = {"chance": ":", "voxels": "-.", "untrained": (0, (5, 2)), "oracle": "--"}

_STYLE: Final = Path(__file__).with_name("neuroprint.mplstyle")
_ONE_AT_A_TIME: Final = RLock()

P = ParamSpec("P")
R = TypeVar("R")


@cache
def _parameters() -> Any:
    """Matplotlib's defaults under our style: a user's own matplotlibrc does not change the figures."""
    parameters = dict(matplotlib.rc_params_from_file(_STYLE, use_default_template=True))
    del parameters["backend"]
    return parameters


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Run a function in the project's style, one thread at a time: Matplotlib's parameters are global."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> R:
        with _ONE_AT_A_TIME, matplotlib.rc_context(_parameters()):
            return draw(*args, **kwargs)

    return drawn


def new_figure(height_inches: float, width_inches: float = WIDTH_INCHES, placed: bool = False) -> Figure:
    """An empty figure that renders by Agg and belongs to no window.

    Args:
        height_inches: Of the page.
        width_inches: Of the page.
        placed: Everything in it is placed by hand. Matplotlib then draws it once, not once more to lay it out.
    """
    layout: Any = "none" if placed else "constrained"  # Matplotlib takes "none", its types do not
    figure = Figure(figsize=(width_inches, height_inches), layout=layout)
    FigureCanvasAgg(figure)
    return figure


def place(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Axes at a place of the page, in inches: laying a figure out by trial costs as much as drawing it."""
    across, up = figure.get_size_inches()
    return figure.add_axes((left / across, bottom / up, width / across, height / up))


def marker_area(cases: int) -> float:
    """Area of a scatter's marker in points squared: large for a handful of cases, small for a thousand."""
    return min(70.0, max(9.0, 2600.0 / max(cases, 1)))


def decimals(values: NDArray[np.float64]) -> int:
    """Digits after the point that a figure prints: one for tens of millimeters, two for shares."""
    return 1 if values.size and float(np.nanmax(np.abs(values))) >= 10 else 2


def shorten(text: str, limit: int) -> str:
    """Cut the middle out of a long name: cases and runs differ at their ends."""
    if len(text) <= limit:
        return text
    tail = (limit - 1) // 2
    return f"{text[: limit - 1 - tail]}…{text[len(text) - tail :]}"


def text_inches(text: str, size: float = 7.0) -> float:
    """Width of a line of text, of so many points, in the figures' type."""
    if not text:
        return 0.0
    font = FontProperties(family="DejaVu Sans", size=size)
    width, _, _ = text_to_path.get_text_width_height_descent(text, font, False)
    return float(width) / 72


@styled
def save(figure: Figure, path: Path, pdf: bool = False) -> None:
    """Write a figure as PNG; one that would exceed 2 MB (many photographs) gets fewer pixels.

    Args:
        figure: As wide as it is printed: one column or the whole page.
        path: Of the PNG.
        pdf: Write a PDF beside it, for print: letters are TrueType fonts, which the file holds.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    dpi = min(_PNG_DPI, WIDEST_PNG / figure.get_figwidth())
    for share in (1.0, 0.8, 0.65, 0.5, 0.33, 0.16):
        buffer = io.BytesIO()
        # Level 6, the default, takes more than twice as long to save a twentieth of the bytes.
        options: dict[str, Any] = {"metadata": {"Software": None}, "pil_kwargs": {"compress_level": 3}}
        figure.savefig(buffer, format="png", dpi=share * dpi, **options)
        if buffer.tell() < LARGEST_PNG:
            break
    path.write_bytes(buffer.getvalue())
    if pdf:
        # It would tell which tables of a font it leaves out.
        with _quiet("fontTools"), _own_pixels(figure):
            figure.savefig(path.with_suffix(".pdf"), dpi=_PDF_DPI, metadata={"CreationDate": None})


@contextmanager
def _own_pixels(figure: Figure) -> Iterator[None]:
    """Photographs as they are, not scaled up: a PDF places them itself, and is a fifth as large."""
    images = [image for axes in figure.axes for image in axes.images]
    photographs = [image for image in images if np.asarray(image.get_array()).size > _SMALLEST_PHOTOGRAPH]
    before = [image.get_interpolation() for image in photographs]
    for image in photographs:
        image.set_interpolation("none")
    try:
        yield
    finally:
        for image, interpolation in zip(photographs, before, strict=True):
            image.set_interpolation(interpolation)


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Hear only the warnings of a package."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(before)

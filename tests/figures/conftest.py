"""What every test of a figure asks for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from neuroprint.figures.style import COLUMN_INCHES, WIDTH_INCHES, save


@pytest.fixture(scope="session")
def words() -> Callable[[Figure], str]:
    """Everything that is written in a figure."""
    return lambda figure: "\n".join(text.get_text() for text in figure.findobj(Text))


@pytest.fixture
def saved(tmp_path: Path) -> Callable[[Figure], int]:
    """Saves a figure and checks what holds for all of them: a PNG below 2 MB, as wide as a column or a page of a journal,
    every word within the page; its bytes."""

    def check(figure: Figure) -> int:
        assert figure.get_figwidth() in (COLUMN_INCHES, WIDTH_INCHES)
        path = tmp_path / "plots" / "figure.png"
        save(figure, path)
        with Image.open(path) as image:
            assert image.format == "PNG"
            assert 1000 < image.width <= 1200
            figure.set_dpi(image.width / figure.get_figwidth())  # letters differ in width by their size in pixels
        size = path.stat().st_size
        assert size < 2_000_000
        renderer, page = figure.canvas.get_renderer(), figure.bbox  # type: ignore[attr-defined]
        for artist in (*figure.axes, *figure.texts, *(figure._suptitle, figure._supxlabel), *figure.legends):  # type: ignore[attr-defined]
            box = artist.get_tightbbox(renderer) if artist is not None else None
            if box is None:
                continue
            assert box.x0 > page.x0 - 2 and box.x1 < page.x1 + 2, (artist, box, page)
            assert box.y0 > page.y0 - 2 and box.y1 < page.y1 + 2, (artist, box, page)
        return size

    return check


@pytest.fixture(scope="session")
def cohort() -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """Points on a map and tumor centers in mm, of so many cases."""

    def make(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        random = np.random.default_rng(seed)
        return random.normal(size=(n, 2)), random.uniform([-60, -90, -40], [60, 60, 70], (n, 3))

    return make

"""Figures need no global state, and are the same from threads."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from neuroprint.figures.map import draw_map
from neuroprint.figures.precision_at_k import draw_precision_at_k
from neuroprint.figures.style import COLUMN_INCHES, WIDTH_INCHES, save, shorten


def test_figures_do_not_need_pyplot_and_leave_the_settings_alone() -> None:
    script = (
        "import sys, pathlib, pkgutil, importlib, numpy as np, matplotlib;"
        "before = str(matplotlib.rcParams.copy());"
        "import neuroprint.figures as f;"
        "[importlib.import_module(f'{f.__name__}.{m.name}') for m in pkgutil.iter_modules(f.__path__)];"
        "f.map.draw_map(np.zeros((3, 2)), np.zeros((3, 3)), 't');"
        "assert 'matplotlib.pyplot' not in sys.modules;"
        "assert str(matplotlib.rcParams.copy()) == before"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_figures_drawn_in_threads_equal_those_drawn_alone(tmp_path: Path, cohort: Any) -> None:
    points, centers = cohort(30)
    save(draw_map(points, centers, "alone"), tmp_path / "alone.png")

    def draw(name: int) -> None:
        save(draw_map(points, centers, "alone"), tmp_path / f"{name}.png")

    threads = [threading.Thread(target=draw, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    alone = (tmp_path / "alone.png").read_bytes()
    assert [(tmp_path / f"{name}.png").read_bytes() == alone for name in range(4)] == [True] * 4


def drawn(name: str, cohort: Any) -> Figure:
    points, centers = cohort(30)
    return draw_map(points, centers, "a map") if name == "map" else draw_precision_at_k({"run": np.linspace(1, 0, 20)})


@pytest.mark.parametrize(("name", "inches"), [("map", WIDTH_INCHES), ("precision", COLUMN_INCHES)])
def test_a_pdf_is_as_wide_as_it_is_printed_and_holds_its_letters(
    name: str, inches: float, tmp_path: Path, cohort: Any
) -> None:
    figure = drawn(name, cohort)
    save(figure, tmp_path / "figure.png")
    assert not (tmp_path / "figure.pdf").exists()
    save(figure, tmp_path / "figure.png", pdf=True)
    written = (tmp_path / "figure.pdf").read_bytes()
    box = re.search(rb"/MediaBox \[ 0 0 ([\d.]+) ([\d.]+) \]", written)
    assert box is not None and float(box[1]) == pytest.approx(72 * inches)
    assert b"/Subtype /Type3" not in written
    assert b"/CIDFontType2" in written and b"/FontFile2" in written  # TrueType, type 42, within the file
    assert len(written) < 100_000
    with Image.open(tmp_path / "figure.png") as image:
        assert image.width / figure.get_figwidth() >= 166
    save(drawn(name, cohort), tmp_path / "again.png", pdf=True)
    assert (tmp_path / "again.pdf").read_bytes() == written


def test_letters_are_of_a_size_that_journals_print(cohort: Any) -> None:
    sizes = {text.get_fontsize() for name in ("map", "precision") for text in drawn(name, cohort).findobj(Text)}
    assert min(sizes) >= 6 and max(sizes) <= 9


def test_long_names_lose_their_middle() -> None:
    assert shorten("abcdefghij", 10) == "abcdefghij"
    assert shorten("abcdefghijk", 7) == "abc…ijk"

"""Figures need no global state, and are the same from threads."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from neuroprint.figures.map import draw_map
from neuroprint.figures.style import save, shorten


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


def test_long_names_lose_their_middle() -> None:
    assert shorten("abcdefghij", 10) == "abcdefghij"
    assert shorten("abcdefghijk", 7) == "abc…ijk"

"""Make the README's pictures from a sweep over the phantoms: what the search finds, and what the UI shows.

    python docs/pictures.py

The sweep's runs lie in .neuroprint/pictures; what is finished is not computed again. Screenshots need Chromium and are
left as they are where there is none (apt-get install chromium).
"""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np
import pandas as pd
from PIL import Image

from neuroprint.data.mips import as_gray, as_mask, project
from neuroprint.figures.body_axes import BODY_AXES
from neuroprint.figures.retrieval import Plate, Tile, draw_retrieval
from neuroprint.figures.style import (
    BLUE,
    GRAY,
    GREEN,
    INK,
    REFERENCE_MARKERS,
    VERMILLION,
    new_figure,
    shorten,
    styled,
)
from neuroprint.tasks.pictures import CAPTION
from neuroprint.tracking.store import TrackingStore
from neuroprint.tracking.ui import addresses, running_ui
from neuroprint.tracking.view import latest_sweep

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HERE = Path(__file__).parent
ROOT = HERE.parent
OUT = HERE / "pictures"
MLRUNS = ROOT / ".neuroprint" / "pictures" / "mlruns"
PHANTOMS = ROOT / ".neuroprint" / "phantom" / "80-cases-2mm-seed0"
SWEEP = ("layer=1,2,4", "pooling=mean,pyramid,spatial_softmax")
METRIC = "retrieval/p_at_5"
CHROMIUM = ("chromium", "chromium-browser")
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]


@dataclass(frozen=True)
class Found:
    """What a run of the sweep left behind.

    Attributes:
        board: The sweep's leaderboard.
        best: Id of its best run.
        queries: What each query of the best run found.
        map: Ids, points and centers of its map.
    """

    board: pd.DataFrame
    best: str
    queries: pd.DataFrame
    map: dict[str, Any]


def main() -> None:
    command = [sys.executable, str(ROOT / "run.py"), "-m", *SWEEP, f"tracking.root={MLRUNS}"]
    subprocess.run(command, cwd=ROOT, check=True)
    store = TrackingStore(MLRUNS, "neuroprint")
    found = read(store)
    OUT.mkdir(exist_ok=True)
    shown = plate(found)
    pages = [rendered(draw_retrieval([shown], CAPTION)), rendered(draw_overview(found, shown))]
    stacked = Image.new("RGB", (pages[0].width, sum(page.height for page in pages)), "white")
    stacked.paste(pages[0], (0, 0))
    stacked.paste(pages[1], (0, pages[0].height))
    stacked.save(OUT / "overview.png", optimize=True)
    browser = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if browser is None:
        print("no Chromium: the screenshots are left as they are")
        return
    screenshots(store, found.best, browser)


def read(store: TrackingStore) -> Found:
    """The sweep's results."""
    sweep = latest_sweep(store)
    assert sweep is not None
    board = pd.read_csv(store.artifact(sweep, "leaderboard.csv"))
    best = store.client.get_run(board[board["role"] == "candidate"].iloc[0]["run_id"])
    page = store.artifact(best, "plots/map.html").read_text(encoding="utf-8")
    data = json.loads(re.search(r"^const data = (.*);$", page, re.MULTILINE).group(1))  # type: ignore[union-attr]
    queries = pd.read_parquet(store.artifact(best, "queries.parquet"))
    return Found(board, str(best.info.run_id), queries, data)


def plate(found: Found) -> Plate:
    """The query that was answered best, with its five nearest cases."""
    query = found.queries.sort_values(["map", "case"], ascending=[False, True]).iloc[0]
    nearest = zip(query["neighbors"], query["neighbor_distance_mm"], query["neighbor_relevant"], strict=True)
    tiles = [tile(str(case), float(mm), bool(relevant)) for case, mm, relevant in list(nearest)[:5]]
    return Plate(tile(str(query["case"])), tiles, float(query["map"]), "best")


def tile(case: str, distance_mm: float | None = None, relevant: bool | None = None) -> Tile:
    """A phantom's FLAIR, seen from below, with its tumor's outline."""
    flair, label = (nib.load(PHANTOMS / case / f"{case}_{name}.nii.gz") for name in ("flair", "seg"))
    gray = as_gray(project(np.asarray(flair.dataobj, dtype=np.float32), flair.affine))["axial"]
    outline = as_mask(project((np.asarray(label.dataobj) > 0).astype(np.float32), label.affine))["axial"]
    return Tile(case, gray, outline, distance_mm, relevant)


@styled
def draw_overview(found: Found, shown: Plate) -> Figure:
    """The map with the query and what it found on the left, the leaderboard on the right."""
    figure = new_figure(3.7)
    left, right = figure.subplots(1, 2, width_ratios=[1, 1.25])
    _draw_map(figure, left, found.map, shown)
    _draw_board(right, found.board)
    return figure


def _draw_map(figure: Figure, axes: Axes, data: dict[str, Any], shown: Plate) -> None:
    cases, relevants = [tile.case for tile in (shown.query, *shown.neighbors)], [n.relevant for n in shown.neighbors]
    points, x = np.column_stack([data["x"], data["y"]]), np.array(data["centers"][0], dtype=float)
    low, high = data["axes"][0]["range"]
    dots = axes.scatter(*points.T, c=x, s=34, cmap=BODY_AXES[0].color_map, vmin=low, vmax=high, edgecolors=INK, lw=0.4)
    query, *nearest = (points[data["ids"].index(case)] for case in cases)
    for point, relevant in zip(nearest, relevants, strict=True):
        axes.plot(*zip(query, point, strict=True), color=INK, linewidth=0.8, zorder=0)
        axes.scatter(*point, s=110, facecolors="none", edgecolors=GREEN if relevant else VERMILLION, linewidths=1.8)
    axes.scatter(*query, s=130, facecolors="none", edgecolors=INK, linewidths=2.2)
    axes.set(xticks=[], yticks=[])
    axes.set_title("every case where its fingerprint puts it")
    axes.spines[:].set(visible=True, color="#BBBBBB")
    bar = figure.colorbar(dots, cax=axes.inset_axes((0.05, -0.08, 0.9, 0.035)), orientation="horizontal")
    bar.outline.set_visible(False)  # type: ignore[operator]
    bar.set_label("tumor's place, left  ←  x (mm)  →  right")


def _draw_board(axes: Axes, board: pd.DataFrame) -> None:
    for height, row in enumerate(board.to_dict("records")):
        reference, value = row["role"] == "reference", row[METRIC]
        color = GRAY if reference else BLUE
        axes.hlines(height, row.get(f"{METRIC}_lo"), row.get(f"{METRIC}_hi"), color=color, linewidth=1.4)
        axes.plot(
            value, height, color=color, marker=REFERENCE_MARKERS.get(row["name"], "D") if reference else "o",
            markersize=6.5, markeredgewidth=1.4,
            markerfacecolor=color if reference or row["tied_with_best"] is True else "white",
        )  # fmt: skip
    axes.set_yticks(range(len(board)), [shorten(str(name), 40) for name in board["name"]])
    for label, role in zip(axes.get_yticklabels(), board["role"], strict=True):
        label.set(color=GRAY, fontstyle="italic") if role == "reference" else None
    axes.set(ylim=(len(board) - 0.4, -0.6))
    axes.set_xlabel("precision at 5, with 95 % intervals\nfilled: may be as good as the best")
    axes.set_title("which fingerprint to search by?")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(True, axis="x")


def rendered(figure: Figure) -> Image.Image:
    """A figure as an image, 1,200 pixels wide."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    return Image.open(buffer).convert("RGB")


def screenshots(store: TrackingStore, best: str, browser: str) -> None:
    """The ranked view, and the interactive map with the pointer on a case."""
    from playwright.sync_api import sync_playwright

    with running_ui(store) as (address, _), sync_playwright() as playwright, tempfile.TemporaryDirectory() as profile:
        context = playwright.chromium.launch_persistent_context(
            profile, executable_path=browser, args=FLAGS, viewport={"width": 1700, "height": 620}
        )
        context.set_default_timeout(120_000)
        page = context.new_page()
        page.goto(addresses(store, address)[0])
        page.wait_for_selector("text=oracle")
        page.click("[data-component-id='mlflow.assistant.chat_panel.close']")  # it is none of ours
        page.wait_for_timeout(2000)
        page.screenshot(path=OUT / "ranked_view.png")
        run = store.client.get_run(best)
        page.set_viewport_size({"width": 1100, "height": 640})
        page.goto(store.artifact(run, "plots/map.html").as_uri())
        x, y = page.evaluate("placeOf(20)")
        page.locator("#map").hover(position={"x": x, "y": y})
        page.locator("#picture img").wait_for()
        page.wait_for_timeout(500)
        page.screenshot(path=OUT / "interactive_map.png")
        context.close()


if __name__ == "__main__":
    main()

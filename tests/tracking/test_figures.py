"""The figures show the numbers they are given, at 3 cases and at 1,251, without global state."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba
from matplotlib.text import Text
from PIL import Image

from neuroprint.errors import NeuroprintError
from neuroprint.tracking.figures.center_of_mass import calibration, draw_center_of_mass
from neuroprint.tracking.figures.heatmap import draw_heatmap
from neuroprint.tracking.figures.leaderboard import draw_leaderboard
from neuroprint.tracking.figures.map import draw_map, embed_2d
from neuroprint.tracking.figures.map_html import interactive_map
from neuroprint.tracking.figures.precision_at_k import draw_precision_at_k
from neuroprint.tracking.figures.retrieval import Plate, Tile, choose_queries, draw_retrieval
from neuroprint.tracking.figures.style import BLUE, GREEN, VERMILLION, save, shorten
from neuroprint.tracking.figures.thumbnails import data_uris

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

SIZES = [3, 1251]


def words(figure: Figure) -> str:
    """Everything that is written in a figure."""
    return "\n".join(text.get_text() for text in figure.findobj(Text))


def saved_bytes(figure: Figure, folder: Path) -> int:
    """Save a figure and check what holds for all of them: a PNG below 2 MB, every word within the page."""
    path = folder / "plots" / "figure.png"
    save(figure, path)
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert image.width == 1200
    size = path.stat().st_size
    assert size < 2_000_000
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    page = figure.bbox
    for axes in figure.axes:
        box = axes.get_tightbbox(renderer)
        assert box is not None
        assert box.x0 > page.x0 - 2 and box.x1 < page.x1 + 2, (words(figure), box, page)
        assert box.y0 > page.y0 - 2 and box.y1 < page.y1 + 2, (words(figure), box, page)
    return size


def cohort(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return random.normal(size=(n, 2)), random.uniform([-60, -90, -40], [60, 60, 70], (n, 3))


def two_groups(n: int) -> np.ndarray:
    random = np.random.default_rng(1)
    return random.normal(size=(n, 12)) + 30.0 * (np.arange(n) % 2)[:, None]


class TestEmbed2d:
    @pytest.mark.parametrize("method", ["tsne", "pca"])
    @pytest.mark.parametrize("n", [0, 1, 2, 3, 4, 40])
    def test_every_cohort_size_gets_finite_points_without_a_warning(self, method: Any, n: int) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            points = embed_2d(two_groups(n), method, seed=0)
        assert points.shape == (n, 2)
        assert np.isfinite(points).all()

    @pytest.mark.parametrize("method", ["tsne", pytest.param("umap", marks=pytest.mark.slow), "pca"])
    def test_same_seed_same_points_and_groups_stay_apart(self, method: Any) -> None:
        data = two_groups(24)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            points = embed_2d(data, method, seed=3)
        np.testing.assert_array_equal(points, embed_2d(data.copy(), method, seed=3))
        even, odd = points[::2], points[1::2]
        gap = np.linalg.norm(even[:, None] - odd[None], axis=2).min()
        nearest = [np.sort(np.linalg.norm(group - point, axis=1))[1] for group in (even, odd) for point in group]
        assert gap > max(nearest)

    @pytest.mark.slow
    def test_umap_bears_three_cases(self) -> None:
        assert np.isfinite(embed_2d(two_groups(3), "umap", seed=0)).all()

    @pytest.mark.parametrize("method", ["tsne", "umap", "pca"])
    def test_equal_embeddings_fall_on_the_origin(self, method: Any) -> None:
        np.testing.assert_array_equal(embed_2d(np.full((9, 5), 0.1), method, seed=0), np.zeros((9, 2)))

    @pytest.mark.parametrize("method", ["tsne", "pca"])
    def test_one_dimension_and_tiny_or_huge_numbers_are_no_obstacle(self, method: Any) -> None:
        for scale in (1e-30, 1.0, 1e30):
            points = embed_2d(np.arange(12.0)[:, None] * scale, method, seed=0)
            assert np.isfinite(points).all()
            assert np.ptp(points[:, 0]) > 0

    def test_pca_keeps_the_distances_of_two_dimensional_data(self) -> None:
        data = np.random.default_rng(0).normal(size=(30, 2))
        points = embed_2d(np.pad(data, ((0, 0), (0, 5))), "pca", seed=0)
        ratio = np.linalg.norm(points[1:] - points[0], axis=1) / np.linalg.norm(data[1:] - data[0], axis=1)
        np.testing.assert_allclose(ratio, ratio[0], rtol=1e-9)

    def test_what_cannot_be_drawn_is_said(self) -> None:
        with pytest.raises(NeuroprintError, match="choose tsne, umap or pca"):
            embed_2d(two_groups(5), "mds", seed=0)  # type: ignore[arg-type]
        with pytest.raises(NeuroprintError, match="1 of 5 embeddings"):
            embed_2d(np.where(np.arange(5)[:, None] == 2, np.nan, two_groups(5)), "pca", seed=0)


class TestMap:
    @pytest.mark.parametrize("n", SIZES)
    def test_each_panel_shows_the_points_in_the_colours_of_its_axis(self, n: int, tmp_path: Path) -> None:
        points, centres = cohort(n)
        figure = draw_map(points, centres, "layer 4, mean")
        assert "layer 4, mean" in words(figure) and f"{n:,} cases" in words(figure)
        for number, name in enumerate(("left-right x", "back-front y", "down-up z")):
            axes = figure.axes[number]
            dots = axes.collections[-1]
            np.testing.assert_allclose(dots.get_offsets(), points)
            np.testing.assert_allclose(dots.get_array(), centres[:, number])
            assert axes.get_title(loc="left") == name
            assert len(axes.get_xticks()) == len(axes.get_yticks()) == 0
        saved_bytes(figure, tmp_path)

    def test_left_and_right_colours_meet_at_the_midline(self) -> None:
        points, centres = cohort(20)
        for midline in (0.0, -119.5):
            dots = draw_map(points, np.add(centres, [midline, 0, 0]), "", midline_mm=midline).axes[0].collections[-1]
            low, high = dots.get_clim()
            assert (low + high) / 2 == pytest.approx(midline)
            assert high - midline == pytest.approx(np.abs(centres[:, 0]).max())

    def test_cases_without_a_centre_are_hollow_and_counted(self) -> None:
        points, centres = cohort(8)
        centres[[1, 5]] = np.nan
        figure = draw_map(points, centres, "")
        hollow, filled = figure.axes[2].collections[:2]
        np.testing.assert_allclose(hollow.get_offsets(), points[[1, 5]])
        assert len(filled.get_offsets()) == 6
        assert "8 cases, 2 of them without a tumour centre" in words(figure)

    def test_no_centres_or_equal_points_still_draw(self, tmp_path: Path) -> None:
        saved_bytes(draw_map(np.zeros((3, 2)), np.full((3, 3), np.nan), "nothing known"), tmp_path)
        saved_bytes(draw_map(np.zeros((4, 2)), np.zeros((4, 3)), "all equal"), tmp_path)


def page_data(page: str) -> dict[str, Any]:
    found = re.search(r"^const data = (.*);$", page, re.MULTILINE)
    assert found is not None
    return json.loads(found.group(1))  # type: ignore[no-any-return]


class TestInteractiveMap:
    @pytest.mark.parametrize("n", SIZES)
    def test_the_page_holds_every_case_and_stays_small(self, n: int) -> None:
        points, centres = cohort(n)
        ids = [f"case-{i}" for i in range(n)]
        noise = np.random.default_rng(0).integers(0, 255, (n, 120, 100), dtype=np.uint8)
        page = interactive_map(points, ids, centres, np.arange(n) / 2, dict(zip(ids, noise, strict=True)), "a cohort")
        assert len(page.encode()) < 10_000_000
        data = page_data(page)
        assert data["ids"] == ids
        np.testing.assert_allclose(data["x"], points[:, 0], atol=1e-4)
        np.testing.assert_allclose(np.transpose(data["centres"]), centres, atol=0.051)
        assert data["sides"] == ["left" if x < 0 else "right" for x in centres[:, 0]]
        assert data["volumes"][2] == 1.0
        assert all(uri.startswith("data:image/jpeg;base64,") for uri in data["pictures"])
        assert [axis["label"][:-5] for axis in data["axes"]] == ["left-right x", "back-front y", "down-up z"]

    def test_the_page_loads_nothing_from_elsewhere(self) -> None:
        page = interactive_map(*cohort(3)[:1], ["a", "b", "c"], cohort(3)[1], None, None, "t")
        assert not re.search(r"<(script|img|link|iframe)[^>]+(src|href)=", page.replace("Plotly", ""))
        assert "default-src 'none'" in page
        assert page_data(page)["pictures"] == [None, None, None]
        assert page_data(page)["volumes"] is None

    def test_ids_and_title_cannot_become_markup(self) -> None:
        evil = "</script><img src=x onerror=alert(1)>"
        points, centres = cohort(3)
        page = interactive_map(points, [evil, "b & c", '"d"'], centres, None, None, evil)
        assert evil not in page
        data = page_data(page)
        assert data["ids"][0] == evil
        assert data["hover"][:2] == ["&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt;", "b &amp; c"]

    def test_unknown_centres_and_own_midlines(self) -> None:
        points, centres = cohort(4)
        centres[:, 0] = [-100.0, -140.0, np.nan, -110.0]
        data = page_data(interactive_map(points, list("abcd"), centres, None, None, "", midline_mm=-120.0))
        assert data["sides"] == ["right", "left", "unknown", "right"]
        assert data["centres"][1][2] is None
        assert np.mean(data["axes"][0]["range"]) == pytest.approx(-120.0)
        own = np.array([-90.0, -150.0, 0.0, -110.0])
        data = page_data(interactive_map(points, list("abcd"), centres, None, None, "", midline_mm=own))
        assert data["sides"] == ["left", "right", "unknown", "midline"]

    def test_pictures_shrink_to_the_budget_and_stop_at_it(self) -> None:
        pictures = list(np.random.default_rng(0).integers(0, 255, (40, 200, 200), dtype=np.uint8))
        for budget in (2_000_000, 200_000, 20_000):
            uris = data_uris(pictures, budget)
            assert sum(len(uri or "") for uri in uris) <= budget
            assert (None in uris) == (budget == 20_000)
        assert data_uris([None, *pictures[:1]], 10**6)[0] is None


class TestCenterOfMass:
    @pytest.mark.parametrize("n", SIZES)
    def test_each_panel_shows_predicted_against_true(self, n: int, tmp_path: Path) -> None:
        true = cohort(n)[1]
        predicted = true * 0.7 + [1.0, 2.0, 3.0]
        figure = draw_center_of_mass(true, predicted, [0.811, -0.25, float("nan")])
        for number, (name, score) in enumerate(
            (("left-right x", "R² 0.81"), ("back-front y", "R² −0.25"), ("down-up z", "R² undefined"))
        ):
            axes = figure.axes[number]
            pairs = np.column_stack([true[:, number], predicted[:, number]])
            np.testing.assert_allclose(axes.collections[0].get_offsets(), pairs)
            error = np.abs(true[:, number] - predicted[:, number]).mean()
            assert axes.get_title(loc="left") == f"{name}\n{score}, MAE {error:.1f} mm"
            assert axes.get_xlabel() == f"true {name} (mm)"
            assert axes.get_xlim() == axes.get_ylim()
            assert np.array_equal(*axes.lines[0].get_data())
            assert axes.get_xlim()[0] <= pairs.min() and axes.get_xlim()[1] >= pairs.max()
        spans = [np.ptp(axes.get_xlim()) for axes in figure.axes]
        np.testing.assert_allclose(spans, spans[0])
        saved_bytes(figure, tmp_path)

    def test_each_panel_shows_the_calibration(self, tmp_path: Path) -> None:
        true = cohort(64)[1]
        predicted = true * [0.8, 0.3, 0.0] + [1.0, -2.0, 3.0] + np.random.default_rng(0).normal(size=true.shape)
        figure = draw_center_of_mass(true, predicted, [0.8, 0.3, 0.0])
        for number, axes in enumerate(figure.axes):
            slope, intercept = np.polyfit(true[:, number], predicted[:, number], 1)
            np.testing.assert_allclose(calibration(true[:, number], predicted[:, number]), (slope, intercept))
            x, y = axes.lines[1].get_data()
            np.testing.assert_allclose(y, slope * np.asarray(x) + intercept)
            (text,) = [text.get_text() for text in axes.texts]
            assert text.replace("−", "-") == f"slope {slope:.2f}\nintercept {intercept:.1f} mm"
        saved_bytes(figure, tmp_path)
        assert calibration(np.ones(5), np.arange(5.0)) is None

    def test_cases_without_truth_or_prediction_are_left_out(self, tmp_path: Path) -> None:
        true = cohort(6)[1]
        predicted = true.copy()
        true[0], predicted[3, 1] = np.nan, np.nan
        figure = draw_center_of_mass(true, predicted, [1.0, 1.0, 1.0])
        assert len(figure.axes[0].collections[0].get_offsets()) == 4
        assert "4 cases" in words(figure)
        saved_bytes(draw_center_of_mass(true[:0], predicted[:0], [float("nan")] * 3), tmp_path)


class TestPrecisionAtK:
    @pytest.mark.parametrize("depth", [1, 5, 50])
    def test_curves_are_drawn_from_one_and_named_at_their_ends(self, depth: int, tmp_path: Path) -> None:
        curves = {
            "chance": np.full(depth, 0.1), "layer 4": np.linspace(0.8, 0.4, depth), "voxels": np.full(depth, 0.11),
            "untrained": np.full(depth, 0.105), "oracle": np.ones(depth), "layer $1$ max": np.full(depth, 0.5),
        }  # fmt: skip
        band = (curves["layer 4"] - 0.1, curves["layer 4"] + 0.1)
        figure = draw_precision_at_k(curves, band)
        axes = figure.axes[0]
        lines = {line.get_label(): line for line in axes.lines}
        for name, curve in curves.items():
            np.testing.assert_array_equal(lines[name].get_xdata(), np.arange(1, depth + 1))
            np.testing.assert_array_equal(lines[name].get_ydata(), curve)
        assert set(curves) <= {text.get_text() for text in axes.texts}
        assert lines["layer 4"].get_color() == BLUE
        assert lines["layer 4"].get_linewidth() > max(
            lines[name].get_linewidth() for name in curves if name != "layer 4"
        )
        references = [lines[name] for name in ("chance", "voxels", "untrained", "oracle")]
        assert len({line.get_color() for line in references}) == 1
        assert len({str(line._dash_pattern) for line in references}) == 4  # type: ignore[attr-defined]
        corners = axes.collections[0].get_paths()[0].vertices
        assert corners[:, 1].min() == pytest.approx(band[0].min())
        assert corners[:, 1].max() == pytest.approx(band[1].max())
        saved_bytes(figure, tmp_path)
        boxes = sorted((text.get_window_extent() for text in axes.texts), key=lambda box: box.y0)
        heights = [(box.y0 + box.y1) / 2 for box in boxes]
        assert min(np.diff(heights)) > 8.5

    def test_the_named_candidate_is_emphasised(self) -> None:
        figure = draw_precision_at_k({"a": np.ones(3), "b": np.zeros(3)}, candidate="b")
        assert {line.get_label(): line.get_color() == BLUE for line in figure.axes[0].lines} == {"a": False, "b": True}


class TestChooseQueries:
    def test_best_median_and_worst_by_falling_score(self) -> None:
        scores = np.random.default_rng(0).permutation(np.arange(1251.0))
        chosen = choose_queries(scores)
        assert [rank for _, rank in chosen] == ["best"] * 2 + ["median"] * 2 + ["worst"] * 2
        assert [scores[index] for index, _ in chosen] == [1250, 1249, 626, 625, 1, 0]

    @pytest.mark.parametrize("n", range(12))
    @pytest.mark.parametrize("rows", [1, 2, 3, 4, 6])
    def test_nobody_twice_and_never_undefined(self, n: int, rows: int) -> None:
        scores = np.append(np.arange(float(n)), [np.nan, np.nan])
        indices = [index for index, _ in choose_queries(scores, rows)]
        assert len(indices) == len(set(indices)) == min(n, rows)
        assert all(index < n for index in indices)
        assert indices == sorted(indices, reverse=True)

    def test_equal_scores_go_by_index(self) -> None:
        assert choose_queries(np.full(3, 0.5)) == [(0, "best"), (1, "median"), (2, "worst")]


def tile(case: str, seed: int, **known: Any) -> Tile:
    picture = np.zeros((70, 60), dtype=np.uint8)
    picture[10:60, 10:50] = np.random.default_rng(seed).integers(1, 255, (50, 40), dtype=np.uint8)
    outline = np.zeros((70, 60), dtype=bool)
    outline[20:30, 15 + seed % 20 : 30 + seed % 20] = True
    return Tile(case, picture, outline, **known)


class TestRetrieval:
    def test_rows_are_queries_with_their_neighbours_distances_and_frames(self, tmp_path: Path) -> None:
        neighbours = [tile(f"n{k}", k, distance_mm=4.4 * k, relevant=k < 3) for k in range(1, 8)]
        plates = [Plate(tile("query-with-a-very-long-name", 0), neighbours, 0.25, "worst")] * 6
        figure = draw_retrieval(plates, "seen from below, patient's right on the left")
        assert len(figure.axes) == 36
        row = figure.axes[:6]
        assert [axes.get_xlabel() for axes in row] == ["query-wit…ong-name", "n1", "n2", "n3", "n4", "n5"]
        assert [axes.get_title() for axes in row] == ["worst, AP 0.25", "4 mm", "9 mm", "13 mm", "18 mm", "22 mm"]
        colours = [axes.spines["left"].get_edgecolor() for axes in row[1:]]
        assert colours == [to_rgba(GREEN)] * 2 + [to_rgba(VERMILLION)] * 3
        styles = {str(axes.spines["left"].get_linestyle()) for axes in (row[1], row[5])}
        assert len(styles) == 2
        shown = np.asarray(row[2].images[0].get_array())
        np.testing.assert_array_equal(shown, neighbours[1].projection[7:63, 7:53])
        contour = np.concatenate([path.vertices for path in row[2].collections[0].get_paths()])
        assert contour.min(axis=0) == pytest.approx([16.5 - 7, 19.5 - 7])
        assert contour.max(axis=0) == pytest.approx([31.5 - 7, 29.5 - 7])
        assert "seen from below, patient's right on the left" in words(figure).replace("\n", " ")
        saved_bytes(figure, tmp_path)

    def test_what_is_not_known_is_left_out(self, tmp_path: Path) -> None:
        floats = np.random.default_rng(0).normal(size=(20, 30))
        blank = Tile("blank", np.zeros((9, 9)), np.zeros((9, 9), dtype=bool))
        plate = Plate(Tile("a", floats), [blank], float("nan"), "best")
        figure = draw_retrieval([plate])
        assert [axes.get_title() for axes in figure.axes] == ["best", ""]
        assert not figure.axes[1].collections
        saved_bytes(figure, tmp_path)
        saved_bytes(draw_retrieval([]), tmp_path)

    def test_a_page_of_noise_still_keeps_to_two_megabytes(self, tmp_path: Path) -> None:
        random = np.random.default_rng(0)
        noisy = [Tile("n", random.integers(0, 255, (240, 240), dtype=np.uint8)) for _ in range(6)]
        figure = draw_retrieval([Plate(noisy[0], noisy[1:], 0.5, "best")] * 6)
        path = tmp_path / "figure.png"
        save(figure, path)
        assert 100_000 < path.stat().st_size < 2_000_000


def leaderboard_table(n: int, metric: str) -> pd.DataFrame:
    values = np.random.default_rng(0).permutation(np.linspace(0.1, 0.7, n))
    table = pd.DataFrame({"name": [f"run $_{i}$" for i in range(n)], "role": "candidate", metric: values})
    table["tied_with_best"] = table[metric].rank(ascending=False) <= 2
    scale = pd.DataFrame({"name": ["chance", "oracle", "voxels"], "role": "reference", metric: [0.05, 0.95, 0.4]})
    table = pd.concat([table, scale], ignore_index=True)
    table[f"{metric}_lo"], table[f"{metric}_hi"] = table[metric] - 0.05, table[metric] + 0.04
    table.loc[table["name"] == "chance", [f"{metric}_lo", f"{metric}_hi"]] = np.nan
    return table


class TestLeaderboard:
    @pytest.mark.parametrize("n", SIZES)
    def test_rows_are_ranked_with_intervals_and_references_in_grey(self, n: int, tmp_path: Path) -> None:
        table = leaderboard_table(n, "retrieval/p_at_5")
        figure = draw_leaderboard(table, "retrieval/p_at_5")
        axes = figure.axes[0]
        values = [float(line.get_xdata()[0]) for line in axes.lines]
        assert values == sorted(values, reverse=True)
        assert len(values) == min(n, 40) + 3
        names = [label.get_text() for label in axes.get_yticklabels()]
        lookup = table.set_index("name")["retrieval/p_at_5"]
        np.testing.assert_allclose([lookup[name] for name in names], values)
        assert names[0] == "oracle" and names[-1] == "chance"
        bars = [segment for bar in axes.collections for segment in bar.get_segments()]
        assert len(bars) == len(values) - 1
        np.testing.assert_allclose(np.array(bars[0])[:, 0], [0.9, 0.99])
        filled = [name for name, line in zip(names, axes.lines, strict=True) if line.get_markerfacecolor() == BLUE]
        assert len(filled) == 2 and set(filled) == set(table.loc[table["tied_with_best"].eq(True), "name"])
        assert {line.get_color() == BLUE for name, line in zip(names, axes.lines, strict=True) if "run" in name} == {
            True
        }
        assert ("the best 40 of 1,251" in words(figure)) == (n == 1251)
        assert "0.95  [0.90, 0.99]" in words(figure)
        saved_bytes(figure, tmp_path)

    def test_of_errors_the_smallest_is_on_top(self) -> None:
        figure = draw_leaderboard(leaderboard_table(5, "probe/error_mm"), "probe/error_mm")
        values = [float(line.get_xdata()[0]) for line in figure.axes[0].lines]
        assert values == sorted(values)
        assert "(mm)" in figure.axes[0].get_xlabel() and "lower is better" in figure.axes[0].get_xlabel()

    def test_undefined_rows_are_counted_and_bounds_may_be_missing(self, tmp_path: Path) -> None:
        table = leaderboard_table(6, "probe/side_auc")[["name", "role", "probe/side_auc"]]
        table.loc[:1, "probe/side_auc"] = np.nan
        figure = draw_leaderboard(table, "probe/side_auc")
        assert "4 candidates; 2 rows without this metric" in words(figure)
        assert not figure.axes[0].collections
        saved_bytes(draw_leaderboard(table.iloc[:2], "probe/side_auc"), tmp_path)


def heatmap_table(runs: int) -> pd.DataFrame:
    random = np.random.default_rng(0)
    choices = {"layer": range(5), "pooling": ["mean", "max", "gem"], "projection": ["none", "pca"]}
    table = pd.DataFrame({name: random.choice(list(values), runs) for name, values in choices.items()})
    return table.assign(role="candidate", score=random.uniform(0, 0.8, runs))


class TestHeatmap:
    @pytest.mark.parametrize("runs", SIZES)
    @pytest.mark.parametrize("metric", ["retrieval/map", "probe/error_mm"])
    def test_cells_hold_the_best_of_their_runs(self, runs: int, metric: str, tmp_path: Path) -> None:
        table = heatmap_table(runs).rename(columns={"score": metric})
        reference = table.iloc[:1].assign(role="reference", **{metric: -9.0 if "error" in metric else 9.0})
        figure = draw_heatmap(pd.concat([table, reference]), metric)
        panels = {
            axes.get_title(loc="left"): axes for axes in figure.axes if axes.images and axes.get_title(loc="left")
        }
        assert sorted(panels) == [f"projection: {name}" for name in sorted(set(table["projection"]))]
        for title, axes in panels.items():
            layers = [label.get_text() for label in axes.get_yticklabels()] or sorted(map(str, set(table["layer"])))
            poolings = [label.get_text() for label in axes.get_xticklabels()]
            cells = np.ma.filled(axes.images[0].get_array(), np.nan)
            assert cells.shape == (len(layers), len(poolings))
            for row, layer in enumerate(sorted(map(str, set(table["layer"])))):
                for column, pooling in enumerate(poolings):
                    inside = table[
                        (table["layer"].astype(str) == layer)
                        & (table["pooling"] == pooling)
                        & (table["projection"] == title.removeprefix("projection: "))
                    ][metric]
                    expected = inside.min() if "error" in metric else inside.max()
                    np.testing.assert_equal(cells[row, column], expected)
            assert sorted(text.get_text() for text in axes.texts) == sorted(
                f"{v:.2f}" for v in cells[np.isfinite(cells)]
            )
        assert ("best of" in words(figure)) == (runs == 1251)
        saved_bytes(figure, tmp_path)

    def test_layers_are_ordered_as_numbers_and_lists_and_names_follow(self) -> None:
        table = pd.DataFrame(
            {"layer": ["10", "2", "[3, 4]", None], "pooling": "mean", "retrieval/map": [0.1, 0.2, 0.3, 0.4]}
        )
        axes = draw_heatmap(table, "retrieval/map").axes[0]
        assert [label.get_text() for label in axes.get_yticklabels()] == ["2", "10", "[3, 4]"]

    def test_many_choices_and_no_runs_still_draw(self, tmp_path: Path) -> None:
        random = np.random.default_rng(0)
        rows = [(layer, f"pooling {p}", f"projection {j}") for layer in range(6) for p in range(14) for j in range(3)]
        table = pd.DataFrame(rows, columns=["layer", "pooling", "projection"]).assign(m=random.uniform(size=len(rows)))
        saved_bytes(draw_heatmap(table, "m"), tmp_path)
        saved_bytes(draw_heatmap(table.iloc[:0], "m"), tmp_path)


def test_figures_do_not_need_pyplot_and_leave_the_settings_alone() -> None:
    script = (
        "import sys, pathlib, pkgutil, importlib, numpy as np, matplotlib;"
        "before = str(matplotlib.rcParams.copy());"
        "import neuroprint.tracking.figures as f;"
        "[importlib.import_module(f'{f.__name__}.{m.name}') for m in pkgutil.iter_modules(f.__path__)];"
        "f.map.draw_map(np.zeros((3, 2)), np.zeros((3, 3)), 't');"
        "assert 'matplotlib.pyplot' not in sys.modules;"
        "assert str(matplotlib.rcParams.copy()) == before"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_figures_drawn_in_threads_equal_those_drawn_alone(tmp_path: Path) -> None:
    points, centres = cohort(30)
    save(draw_map(points, centres, "alone"), tmp_path / "alone.png")

    def draw(name: int) -> None:
        save(draw_map(points, centres, "alone"), tmp_path / f"{name}.png")

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

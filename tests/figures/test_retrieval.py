"""The plate shows the pictures, outlines, distances and verdicts that it is given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgba

from neuroprint.figures.retrieval import Plate, Tile, choose_queries, draw_retrieval
from neuroprint.figures.style import GREEN, VERMILLION, save


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


def middle_of(image: Any) -> tuple[float, float]:
    left, right, bottom, top = image.get_extent()
    return (left + right) / 2, (bottom + top) / 2


class TestRetrieval:
    def test_rows_are_queries_with_their_neighbors_distances_and_frames(self, words: Any, saved: Any) -> None:
        neighbors = [tile(f"n{k}", k, distance_mm=4.4 * k, relevant=k < 3) for k in range(1, 8)]
        plates = [Plate(tile("query-with-a-very-long-name", 0), neighbors, 0.25, "worst")] * 6
        figure = draw_retrieval(plates, "seen from below, patient's right on the left")
        (page,) = figure.axes
        assert len(page.images) == len(page.patches) == 36
        written = [text.get_text() for text in page.texts]
        assert written[1:12:2] == ["query-with…long-name", "n1", "n2", "n3", "n4", "n5"]
        assert written[0:12:2] == ["worst, AP 0.25", "4 mm", "9 mm", "13 mm", "18 mm", "22 mm"]
        assert written[-6:] == ["query", *(f"nearest {k}" for k in range(1, 6))]
        frames = page.patches[1:6]
        assert [frame.get_edgecolor() for frame in frames] == [to_rgba(GREEN)] * 2 + [to_rgba(VERMILLION)] * 3
        assert frames[0].get_linestyle() != frames[4].get_linestyle()
        shown = np.asarray(page.images[2].get_array())
        np.testing.assert_array_equal(shown, neighbors[1].mip[7:63, 7:53])
        assert "seen from below, patient's right on the left" in words(figure).replace("\n", " ")
        saved(figure)

    def test_an_outline_lies_on_its_tumor_and_a_frame_on_its_picture(self) -> None:
        neighbors = [tile(f"n{k}", k) for k in range(1, 6)]
        (page,) = draw_retrieval([Plate(tile("query", 0), neighbors, 0.5, "best")]).axes
        left, right, bottom, top = page.images[2].get_extent()
        rows, columns = page.images[2].get_array().shape
        contour = np.concatenate([path.vertices for path in page.collections[2].get_paths()])
        # Back to the picture's pixels, whose window begins 7 rows and 7 columns into the whole.
        column = (contour[:, 0] - left) / (right - left) * columns - 0.5 + 7
        row = (top - contour[:, 1]) / (top - bottom) * rows - 0.5 + 7
        assert (column.min(), column.max()) == pytest.approx((16.5, 31.5))
        assert (row.min(), row.max()) == pytest.approx((19.5, 29.5))
        assert (right - left) / columns == pytest.approx((top - bottom) / rows)
        for image, frame in zip(page.images, page.patches, strict=True):
            assert middle_of(image) == pytest.approx(frame.get_center())

    @pytest.mark.parametrize("neighbors", [1, 3, 5, 8])
    def test_tiles_are_even_and_pictures_of_one_scale(self, neighbors: int, saved: Any) -> None:
        random = np.random.default_rng(0)
        shapes = [(96, 70), (80, 96), (40, 30), (96, 96), (60, 90), (96, 80), (50, 50), (90, 60), (96, 75)]
        sizes = [(175.0, 130.0), (140.0, 150.0), (90.0, 60.0), (160.0, 160.0), (100.0, 150.0), *[(170.0, 140.0)] * 4]
        tiles = [
            Tile(f"case {k}", random.integers(0, 255, shape, dtype=np.uint8), np.ones(shape, bool), 3.0, True, size)
            for k, (shape, size) in enumerate(zip(shapes, sizes, strict=True))
        ]
        figure = draw_retrieval([Plate(tiles[k], tiles[k + 1 : k + 1 + neighbors], 0.5, "best") for k in range(3)])
        (page,) = figure.axes
        frames = [frame.get_bbox() for frame in page.patches]
        assert len(frames) == len(page.images) == sum(1 + min(neighbors, 5, 8 - k) for k in range(3))
        np.testing.assert_allclose([box.size for box in frames], [frames[0].size] * len(frames))
        assert len({round(box.y0, 6) for box in frames}) == 3
        assert len({round(box.x0, 6) for box in frames}) == 1 + min(neighbors, 5)
        shown = [tile for k in range(3) for tile in tiles[k : k + 2 + min(neighbors, 5) - 1]]
        scales = []
        for tile, image, frame in zip(shown, page.images, frames, strict=True):
            left, right, bottom, top = image.get_extent()
            scales.append([(top - bottom) / tile.size_mm[0], (right - left) / tile.size_mm[1]])  # type: ignore[index]
            assert frame.x0 <= left < right <= frame.x1 and frame.y0 <= bottom < top <= frame.y1
        np.testing.assert_allclose(scales, scales[0][0])
        bar = page.collections[-1].get_segments()[0]
        assert bar[1][0] - bar[0][0] == pytest.approx(50 * scales[0][0])
        assert "50 mm" in [text.get_text() for text in page.texts]
        saved(figure)

    def test_what_is_not_known_is_left_out(self, saved: Any) -> None:
        floats = np.random.default_rng(0).normal(size=(20, 30))
        blank = Tile("blank", np.zeros((9, 9)), np.zeros((9, 9), dtype=bool))
        plate = Plate(Tile("a", floats), [blank], float("nan"), "best")
        figure = draw_retrieval([plate])
        (page,) = figure.axes
        assert [text.get_text() for text in page.texts] == ["best", "a", "", "blank", "query", "nearest 1"]
        assert not page.collections
        saved(figure)
        saved(draw_retrieval([]))

    def test_a_page_of_noise_still_keeps_to_two_megabytes(self, tmp_path: Path) -> None:
        random = np.random.default_rng(0)
        noisy = [Tile("n", random.integers(0, 255, (240, 240), dtype=np.uint8)) for _ in range(6)]
        figure = draw_retrieval([Plate(noisy[0], noisy[1:], 0.5, "best")] * 6)
        path = tmp_path / "figure.png"
        save(figure, path, pdf=True)
        assert 100_000 < path.stat().st_size < 2_000_000

    def test_a_pdf_holds_photographs_once_and_as_they_are(self, tmp_path: Path) -> None:
        random = np.random.default_rng(0)
        noisy = [Tile("n", random.integers(0, 255, (96, 80), dtype=np.uint8)) for _ in range(6)]
        figure = draw_retrieval([Plate(noisy[0], noisy[1:], 0.5, "best")] * 6)
        save(figure, tmp_path / "figure.png", pdf=True)
        assert (tmp_path / "figure.pdf").stat().st_size < 36 * 96 * 80 * 1.1 + 50_000
        assert (tmp_path / "figure.pdf").read_bytes().count(b"/Subtype /Image") == 36
        assert {image.get_interpolation() for image in figure.axes[0].images} == {"antialiased"}

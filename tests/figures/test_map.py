"""The map shows each case where its embedding lies, in the color of its tumor's place."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from neuroprint.errors import NeuroprintError
from neuroprint.figures.map import draw_map, embed_2d


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
    @pytest.mark.parametrize("n", [3, 1251])
    def test_each_panel_shows_the_points_in_the_colors_of_its_axis(
        self, n: int, words: Any, saved: Any, cohort: Any
    ) -> None:
        points, centers = cohort(n)
        figure = draw_map(points, centers, "layer 4, mean")
        assert "layer 4, mean" in words(figure) and f"{n:,} cases" in words(figure)
        for number, name in enumerate(("left-right x", "back-front y", "down-up z")):
            axes = figure.axes[number]
            dots = axes.collections[-1]
            np.testing.assert_allclose(dots.get_offsets(), points)
            np.testing.assert_allclose(dots.get_array(), centers[:, number])
            assert axes.get_title(loc="left") == name
            assert len(axes.get_xticks()) == len(axes.get_yticks()) == 0
        saved(figure)

    def test_left_and_right_colors_meet_at_the_midline(self, cohort: Any) -> None:
        points, centers = cohort(20)
        for midline in (0.0, -119.5):
            figure = draw_map(points, np.add(centers, [midline, 0, 0]), "", midline_mm=midline)
            dots = figure.axes[0].collections[-1]
            np.testing.assert_allclose(dots.get_array(), centers[:, 0])
            low, high = dots.get_clim()
            assert -low == high == pytest.approx(np.abs(centers[:, 0]).max())
            assert dots.get_cmap().name == "coolwarm"
            assert {axes.collections[-1].get_cmap().name for axes in figure.axes[1:3]} == {"viridis"}

    def test_each_head_has_its_own_midline(self, cohort: Any) -> None:
        points, centers = cohort(20)
        midlines = np.random.default_rng(0).uniform(-150, -90, 20)
        figure = draw_map(points, centers + midlines[:, None] * [1, 0, 0], "", midlines)
        np.testing.assert_allclose(figure.axes[0].collections[-1].get_array(), centers[:, 0])

    def test_cases_without_a_center_are_hollow_and_counted(self, words: Any, cohort: Any) -> None:
        points, centers = cohort(8)
        centers[[1, 5]] = np.nan
        figure = draw_map(points, centers, "")
        hollow, filled = figure.axes[2].collections[:2]
        np.testing.assert_allclose(hollow.get_offsets(), points[[1, 5]])
        assert len(filled.get_offsets()) == 6
        assert "8 cases, 2 of them without a tumor center" in words(figure)

    def test_no_centers_or_equal_points_still_draw(self, saved: Any) -> None:
        saved(draw_map(np.zeros((3, 2)), np.full((3, 3), np.nan), "nothing known"))
        saved(draw_map(np.zeros((4, 2)), np.zeros((4, 3)), "all equal"))

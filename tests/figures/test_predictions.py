"""Predicted against true numbers, with the calibration."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from neuroprint.figures.predictions import BODY_PANELS, Panel, calibration, draw_predictions
from neuroprint.figures.style import COLUMN_INCHES, WIDTH_INCHES


class TestPredictions:
    @pytest.mark.parametrize("n", [3, 1251])
    def test_each_panel_shows_predicted_against_true(self, n: int, saved: Any, cohort: Any) -> None:
        true = cohort(n)[1]
        predicted = true * 0.7 + [1.0, 2.0, 3.0]
        figure = draw_predictions(true, predicted, [0.811, -0.25, float("nan")], BODY_PANELS)
        for number, (name, score) in enumerate(
            (("left-right x", "R² 0.81"), ("back-front y", "R² −0.25"), ("down-up z", "R² undefined"))
        ):
            axes = figure.axes[number]
            pairs = np.column_stack([true[:, number], predicted[:, number]])
            np.testing.assert_allclose(axes.collections[0].get_offsets(), pairs)
            error = np.abs(true[:, number] - predicted[:, number]).mean()
            assert axes.get_title(loc="left") == f"{name}\n{score}, MAE {error:.3g} mm"
            assert axes.get_xlabel() == f"true {name} (mm)"
            assert axes.get_ylabel() == f"predicted {name[-1]} (mm)"
            assert axes.get_xlim() == axes.get_ylim()
            assert np.array_equal(*axes.lines[0].get_data())
            assert axes.get_xlim()[0] <= pairs.min() and axes.get_xlim()[1] >= pairs.max()
        spans = [np.ptp(axes.get_xlim()) for axes in figure.axes]
        np.testing.assert_allclose(spans, spans[0])
        saved(figure)

    def test_left_and_right_are_told_by_color_about_the_midline(self, cohort: Any) -> None:
        true = cohort(30)[1]
        for midline in (0.0, -119.5, np.linspace(-130, -110, 30)):
            moved = true + np.multiply.outer(np.broadcast_to(midline, 30), [1, 0, 0])
            panels = draw_predictions(moved, moved, [1.0] * 3, BODY_PANELS, midline).axes
            x, y, z = (axes.collections[0] for axes in panels)
            np.testing.assert_allclose(x.get_array(), true[:, 0])
            assert x.get_clim() == pytest.approx((-np.abs(true[:, 0]).max(), np.abs(true[:, 0]).max()))
            np.testing.assert_allclose(y.get_array(), true[:, 1])
            assert [dots.get_cmap().name for dots in (x, y, z)] == ["coolwarm", "viridis", "viridis"]

    @pytest.mark.parametrize(("panels", "inches"), [(1, COLUMN_INCHES), (2, WIDTH_INCHES), (3, WIDTH_INCHES)])
    def test_panels_fill_the_page(self, panels: int, inches: float, saved: Any) -> None:
        true = np.random.default_rng(0).normal(size=(20, panels))
        figure = draw_predictions(true, true, [1.0] * panels, [Panel(f"number {k}") for k in range(panels)])
        assert figure.get_figwidth() == inches
        assert sum(axes.get_position().width for axes in figure.axes) > 0.7
        assert figure.axes[-1].get_position().x1 > 0.95
        saved(figure)

    def test_each_panel_shows_the_calibration(self, saved: Any, cohort: Any) -> None:
        true = cohort(64)[1]
        predicted = true * [0.8, 0.3, 0.0] + [1.0, -2.0, 3.0] + np.random.default_rng(0).normal(size=true.shape)
        figure = draw_predictions(true, predicted, [0.8, 0.3, 0.0], BODY_PANELS)
        for number, axes in enumerate(figure.axes):
            slope, intercept = np.polyfit(true[:, number], predicted[:, number], 1)
            np.testing.assert_allclose(calibration(true[:, number], predicted[:, number]), (slope, intercept))
            x, y = axes.lines[1].get_data()
            np.testing.assert_allclose(y, slope * np.asarray(x) + intercept)
            (text,) = [text.get_text() for text in axes.texts]
            assert text.replace("−", "-") == f"slope {slope:.2f}\nintercept {intercept:.1f} mm"
        saved(figure)
        assert calibration(np.ones(5), np.arange(5.0)) is None

    def test_cases_without_truth_or_prediction_are_left_out(self, words: Any, saved: Any, cohort: Any) -> None:
        true = cohort(6)[1]
        predicted = true.copy()
        true[0], predicted[3, 1] = np.nan, np.nan
        figure = draw_predictions(true, predicted, [1.0, 1.0, 1.0], BODY_PANELS)
        assert len(figure.axes[0].collections[0].get_offsets()) == 4
        assert "4 cases" in words(figure)
        saved(draw_predictions(true[:0], predicted[:0], [float("nan")] * 3, BODY_PANELS))

    @pytest.mark.parametrize("n", [3, 1251])
    def test_one_number_is_one_panel_in_its_own_unit(self, n: int, words: Any, saved: Any) -> None:
        true = np.random.default_rng(0).uniform(30, 80, (n, 1))
        predicted = true * 0.5 + 25
        (axes,) = draw_predictions(true, predicted, [0.75], [Panel("age", "years")]).axes
        np.testing.assert_allclose(axes.collections[0].get_offsets(), np.hstack([true, predicted]))
        error = np.abs(true - predicted).mean()
        assert axes.get_title(loc="left") == f"age\nR² 0.75, MAE {error:.3g} years"
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("true age (years)", "predicted age (years)")
        assert [text.get_text() for text in axes.texts] == ["slope 0.50\nintercept 25.0 years"]
        figure = draw_predictions(true[:, 0], predicted[:, 0], [0.75], [Panel("score")])
        assert figure.axes[0].get_xlabel() == "true score" and f"{n:,} cases" in words(figure)
        saved(figure)

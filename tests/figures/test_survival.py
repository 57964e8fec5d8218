"""Survival of the halves by predicted risk."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from neuroprint.figures.survival import draw_survival


def drawn(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    time = random.exponential(size=n) * 300
    return time, random.random(n) < 0.7, -time + 200 * random.normal(size=n)


class TestSurvival:
    @pytest.mark.parametrize("n", [4, 40, 1251])
    def test_each_half_falls_from_one_at_its_deaths(self, n: int, words: Any, saved: Any) -> None:
        time, event, risk = drawn(n)
        figure = draw_survival(time, event, risk, 0.71234, "survival_days")
        (axes,) = figure.axes
        low, high = (line for line in axes.lines if len(line.get_xdata()) and line.get_drawstyle() == "steps-post")
        for line in (low, high):
            assert line.get_xdata()[0] == 0 and line.get_ydata()[0] == 1
            assert (np.diff(line.get_ydata()) <= 0).all()
        text = words(figure)
        assert "concordance 0.71" in text and "survival_days" in text
        assert f"of {n // 2} died" in text
        saved(figure)

    def test_the_curves_are_those_of_lifelines(self) -> None:
        from lifelines import KaplanMeierFitter

        time, event, risk = drawn(60)
        (axes,) = draw_survival(time, event, risk, 0.7, "days").axes
        high = risk > np.sort(risk)[29]
        curves = [line for line in axes.lines if line.get_drawstyle() == "steps-post"]
        for line, members in zip(curves, (~high, high), strict=True):
            expected = (
                KaplanMeierFitter().fit(time[members], event[members]).survival_function_at_times(line.get_xdata())
            )
            np.testing.assert_allclose(line.get_ydata(), expected)

    def test_cases_that_are_not_known_are_left_out(self, words: Any) -> None:
        time, event, risk = drawn(10)
        risk[:4] = np.nan
        text = words(draw_survival(time, event, risk, float("nan"), "days"))
        assert "of 3 died" in text and "concordance undefined" in text

    def test_nothing_known_is_an_empty_picture(self, saved: Any) -> None:
        saved(draw_survival(np.full(3, np.nan), np.zeros(3, bool), np.full(3, np.nan), float("nan"), "days"))

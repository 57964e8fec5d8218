"""The leaderboard's picture shows ranks, intervals and what is tied."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from neuroprint.evaluation.metric import Metric
from neuroprint.figures.leaderboard import draw_leaderboard
from neuroprint.figures.style import BLUE

PRECISION = Metric("retrieval/p_at_5", "precision at 5")
ERROR = Metric("probe/error_mm", "mean error", lower_is_better=True, unit="mm")
SIDE = Metric("probe/side_auc", "AUC of the side")


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
    @pytest.mark.parametrize("n", [3, 1251])
    def test_rows_are_ranked_with_intervals_and_references_in_gray(self, n: int, words: Any, saved: Any) -> None:
        table = leaderboard_table(n, "retrieval/p_at_5")
        figure = draw_leaderboard(table, PRECISION)
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
        saved(figure)

    def test_of_errors_the_smallest_is_on_top(self) -> None:
        figure = draw_leaderboard(leaderboard_table(5, ERROR.name), ERROR)
        values = [float(line.get_xdata()[0]) for line in figure.axes[0].lines]
        assert values == sorted(values)
        assert figure.axes[0].get_xlabel() == "mean error (mm)  [probe/error_mm], lower is better"

    def test_undefined_rows_are_counted_and_bounds_may_be_missing(self, words: Any, saved: Any) -> None:
        table = leaderboard_table(6, "probe/side_auc")[["name", "role", "probe/side_auc"]]
        table.loc[:1, "probe/side_auc"] = np.nan
        figure = draw_leaderboard(table, SIDE)
        assert "4 candidates; 2 rows without this metric" in words(figure)
        assert not figure.axes[0].collections
        saved(draw_leaderboard(table.iloc[:2], SIDE))


def compared(n: int, metric: Metric, reach: float) -> pd.DataFrame:
    """A board as it is compared, its names long, its references far apart."""
    table = leaderboard_table(n, metric.name)
    sign = -1.0 if metric.lower_is_better else 1.0
    best = sign * (sign * table[metric.name][table["role"] == "candidate"]).max()
    table["name"] = [
        f"a/long/encoder · stage1+stage2+stage3 · {'W' * 12} · {name}" if "run" in name else name
        for name in table["name"]
    ]
    table["to_best"] = table[metric.name] - best
    table["tied_with_best"] = (sign * table["to_best"] >= -reach).astype("boolean")
    table["to_voxels"] = table[metric.name] - 0.4
    table["to_voxels_reach"] = np.where(table["name"] == "voxels", 0.0, 0.07)
    return table


class TestComparedLeaderboard:
    @pytest.mark.parametrize("n", [3, 42])
    @pytest.mark.parametrize("metric", [PRECISION, ERROR])
    def test_star_shade_and_columns_say_the_same(self, n: int, metric: Metric, saved: Any) -> None:
        table = compared(n, metric, 0.1)
        figure = draw_leaderboard(table, metric, 0.1)
        saved(figure)
        (axes,) = figure.axes
        values = np.array([line.get_xdata()[0] for line in axes.lines])
        (shade,) = axes.patches
        best = table[metric.name].iloc[table["to_best"].abs().argmin()]
        ends = (best, best + 0.1) if metric.lower_is_better else (best - 0.1, best)
        assert (shade.get_x(), shade.get_x() + shade.get_width()) == pytest.approx(ends)
        starred = sorted(text.xy[1] for text in axes.texts if text.get_text() == "★")  # type: ignore[attr-defined]
        behind = (values - best) * (1 if metric.lower_is_better else -1)
        assert starred == np.flatnonzero(behind <= 0.1).tolist()
        written = [text.get_text() for text in axes.texts]
        assert f"to the best\n± {0.1:.{metric.decimals}f}" in written and "\nto voxels" in written
        cell = f"{values[0] - 0.4:+.{metric.decimals}f} ± {0.07:.{metric.decimals}f}".replace("-", "−")
        assert cell in written

    def test_names_stars_scale_and_numbers_do_not_overlap(self, saved: Any) -> None:
        figure = draw_leaderboard(compared(42, PRECISION, 0.1), PRECISION, 0.1)
        saved(figure)
        (axes,) = figure.axes
        scale = axes.get_window_extent()
        names = [label.get_window_extent() for label in axes.get_yticklabels()]
        stars = [text.get_window_extent() for text in axes.texts if text.get_text() == "★"]
        numbers = [text.get_window_extent() for text in axes.texts if text.get_text() != "★"]
        assert scale.width > 0.15 * figure.bbox.width
        assert max(box.x1 for box in names) < min(box.x0 for box in stars)
        assert max(box.x1 for box in stars) < scale.x0
        assert scale.x1 < min(box.x0 for box in numbers)
        assert not any(one.overlaps(other) for place, one in enumerate(numbers) for other in numbers[:place])

    @pytest.mark.parametrize("metric", [SIDE, ERROR])
    def test_a_hopeless_row_does_not_press_the_others_together(self, metric: Metric, saved: Any) -> None:
        table = compared(9, metric, 0.1)
        wild = 40.0 if metric.lower_is_better else -40.0
        table.loc[0, metric.name] = wild
        figure = draw_leaderboard(table, metric, 0.1)
        saved(figure)
        (axes,) = figure.axes
        low, high = axes.get_xlim()
        assert high - low < 3
        arrow = axes.lines[int(np.argmax(np.abs(np.array([line.get_xdata()[0] for line in axes.lines]) - 0.4)))]
        assert arrow.get_marker() in ("<", ">") and low <= arrow.get_xdata()[0] <= high
        assert any(f"{wild:.{metric.decimals}f}".replace("-", "−") in text.get_text() for text in axes.texts)

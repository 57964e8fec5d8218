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

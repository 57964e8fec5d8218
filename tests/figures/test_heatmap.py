"""The heat map's cells hold the best of their runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from neuroprint.evaluation.metric import Metric
from neuroprint.figures.heatmap import draw_heatmap

PRECISION = Metric("retrieval/p_at_5", "precision at 5")
ERROR = Metric("probe/error_mm", "mean error", lower_is_better=True, unit="mm")


def heatmap_table(runs: int) -> pd.DataFrame:
    random = np.random.default_rng(0)
    choices = {"layer": range(5), "pooling": ["mean", "max", "gem"], "projection": ["none", "pca"]}
    table = pd.DataFrame({name: random.choice(list(values), runs) for name, values in choices.items()})
    return table.assign(role="candidate", score=random.uniform(0, 0.8, runs))


class TestHeatmap:
    @pytest.mark.parametrize("runs", [3, 1251])
    @pytest.mark.parametrize("metric", [PRECISION, ERROR])
    def test_cells_hold_the_best_of_their_runs(self, runs: int, metric: Metric, words: Any, saved: Any) -> None:
        table = heatmap_table(runs).rename(columns={"score": metric.name})
        reference = table.iloc[:1].assign(role="reference", **{metric.name: -9.0 if metric is ERROR else 9.0})
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
                    ][metric.name]
                    expected = inside.min() if metric is ERROR else inside.max()
                    np.testing.assert_equal(cells[row, column], expected)
            assert sorted(text.get_text() for text in axes.texts) == sorted(
                f"{v:.2f}" for v in cells[np.isfinite(cells)]
            )
        assert ("best of" in words(figure)) == (runs == 1251)
        title = "precision at 5 [retrieval/p_at_5], higher is better"
        if metric is ERROR:
            title = "mean error (mm) [probe/error_mm], lower is better"
        assert title in " ".join(words(figure).split())
        saved(figure)

    def test_layers_are_ordered_as_numbers_and_lists_and_names_follow(self) -> None:
        table = pd.DataFrame(
            {"layer": ["10", "2", "[3, 4]", None], "pooling": "mean", "retrieval/p_at_5": [0.1, 0.2, 0.3, 0.4]}
        )
        axes = draw_heatmap(table, PRECISION).axes[0]
        assert [label.get_text() for label in axes.get_yticklabels()] == ["2", "10", "[3, 4]"]

    def test_many_choices_and_no_runs_still_draw(self, saved: Any) -> None:
        random = np.random.default_rng(0)
        rows = [(layer, f"pooling {p}", f"projection {j}") for layer in range(6) for p in range(14) for j in range(3)]
        table = pd.DataFrame(rows, columns=["layer", "pooling", "projection"]).assign(
            **{PRECISION.name: random.uniform(size=len(rows))}
        )
        saved(draw_heatmap(table, PRECISION))
        saved(draw_heatmap(table.iloc[:0], PRECISION))

    def test_a_page_of_few_cells_is_narrow_and_full(self, saved: Any) -> None:
        table = pd.DataFrame({"layer": [4, 4], "pooling": ["mean", "max"], "retrieval/p_at_5": [0.2, 0.3]})
        few = draw_heatmap(table, PRECISION)
        saved(few)
        assert few.get_figwidth() < 5
        assert few.axes[0].get_position().width > 0.6

    def test_panels_below_each_other_name_their_columns_once(self, saved: Any) -> None:
        rows = [(4, f"pooling {p:02}", f"projection {j}", p / 10 + j) for p in range(12) for j in range(3)]
        figure = draw_heatmap(pd.DataFrame(rows, columns=["layer", "pooling", "projection", PRECISION.name]), PRECISION)
        saved(figure)
        panels = [axes for axes in figure.axes if axes.images and axes.get_title(loc="left")]
        assert [axes.get_xlabel() for axes in panels] == ["", "", "pooling"]
        assert [axes.xaxis.get_tick_params()["labelbottom"] for axes in panels] == [False, False, True]

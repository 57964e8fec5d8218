"""Curves of precision, named at their ends."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from neuroprint.figures.precision_at_k import draw_precision_at_k
from neuroprint.figures.style import BLUE


class TestPrecisionAtK:
    @pytest.mark.parametrize("depth", [1, 5, 50])
    def test_curves_are_drawn_from_one_and_named_at_their_ends(self, depth: int, saved: Any) -> None:
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
        legends = [[text.get_text() for text in legend.get_texts()] for legend in figure.legends]
        assert legends == [
            ["layer 4", "its 95 % interval", "layer $1$ max"],
            ["oracle", "voxels", "untrained", "chance"],
        ]
        assert lines["layer 4"].get_color() == BLUE
        assert lines["layer 4"].get_linewidth() > max(
            lines[name].get_linewidth() for name in curves if name != "layer 4"
        )
        references = [lines[name] for name in ("chance", "voxels", "untrained", "oracle")]
        assert len({line.get_color() for line in references}) == 1
        assert len({line.get_marker() for line in references}) == 4
        assert len({str(line._dash_pattern) for line in references}) == 4  # type: ignore[attr-defined]
        corners = axes.collections[0].get_paths()[0].vertices
        assert corners[:, 1].min() == pytest.approx(band[0].min())
        assert corners[:, 1].max() == pytest.approx(band[1].max())
        saved(figure)
        texts = [text.get_window_extent() for legend in figure.legends for text in legend.get_texts()]
        assert not any(one.overlaps(other) for place, one in enumerate(texts) for other in texts[:place])
        assert min(box.y0 for box in texts) > axes.get_window_extent().y1

    def test_the_named_candidate_is_emphasized(self) -> None:
        figure = draw_precision_at_k({"a": np.ones(3), "b": np.zeros(3)}, candidate="b")
        assert {line.get_label(): line.get_color() == BLUE for line in figure.axes[0].lines} == {"a": False, "b": True}

    def test_a_single_k_has_a_bar_instead_of_a_band(self) -> None:
        axes = draw_precision_at_k({"run": np.array([0.5])}, (np.array([0.2]), np.array([0.9]))).axes[0]
        (segment,) = axes.collections[0].get_segments()
        np.testing.assert_allclose(segment, [[1, 0.2], [1, 0.9]])

    def test_long_names_are_wrapped_above_the_curves(self, saved: Any) -> None:
        curves = {"encoder " * 9 + "one": np.ones(20), "W" * 90: np.ones(20), "chance": np.full(20, 0.1)}
        saved(draw_precision_at_k(curves, (np.zeros(20), np.ones(20))))

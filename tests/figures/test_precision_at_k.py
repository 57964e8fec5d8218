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
        saved(figure)
        boxes = sorted((text.get_window_extent() for text in axes.texts), key=lambda box: box.y0)
        heights = [(box.y0 + box.y1) / 2 for box in boxes]
        assert min(np.diff(heights)) > 8.5

    def test_the_named_candidate_is_emphasized(self) -> None:
        figure = draw_precision_at_k({"a": np.ones(3), "b": np.zeros(3)}, candidate="b")
        assert {line.get_label(): line.get_color() == BLUE for line in figure.axes[0].lines} == {"a": False, "b": True}

    def test_a_single_k_has_a_bar_instead_of_a_band(self) -> None:
        axes = draw_precision_at_k({"run": np.array([0.5])}, (np.array([0.2]), np.array([0.9]))).axes[0]
        (segment,) = axes.collections[0].get_segments()
        np.testing.assert_allclose(segment, [[1, 0.2], [1, 0.9]])
        assert axes.get_title(loc="left") == "bar: 95 % interval"

"""The scores of a probe by class: each class's own cases apart from all others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgba
from sklearn.metrics import roc_auc_score

from neuroprint.figures.classes import draw_classes
from neuroprint.figures.style import BLUE, GRAY


def scored(n: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores that know a little of the class, and the true class as one column each; every class has a case."""
    random = np.random.default_rng(0)
    one_hot = np.eye(classes)[np.concatenate([np.arange(classes), random.integers(0, classes, n - classes)])]
    return one_hot + random.normal(size=(n, classes)), one_hot


class TestClasses:
    @pytest.mark.parametrize("n", [6, 1251])
    def test_a_row_a_class_with_its_own_cases_above_the_others_and_the_auc(
        self, n: int, words: Any, saved: Any
    ) -> None:
        scores, one_hot = scored(n, 3)
        figure = draw_classes(scores, one_hot, ["II", "III", "IV"])
        (axes,) = figure.axes
        assert [label.get_text() for label in axes.get_yticklabels()] == ["II", "III", "IV"]
        assert axes.yaxis_inverted()
        for row in range(3):
            own, others = axes.collections[2 * row : 2 * row + 2]
            mine = one_hot[:, row] == 1
            np.testing.assert_allclose(own.get_offsets()[:, 0], scores[mine, row])
            np.testing.assert_allclose(others.get_offsets()[:, 0], scores[~mine, row])
            # Rows grow downwards: a class's own cases lie above its line, the others below it, within the row.
            assert row - 0.5 < own.get_offsets()[:, 1].min() and own.get_offsets()[:, 1].max() < row
            assert row < others.get_offsets()[:, 1].min() and others.get_offsets()[:, 1].max() < row + 0.5
            np.testing.assert_allclose(own.get_facecolor()[0, :3], to_rgba(BLUE)[:3])
            np.testing.assert_allclose(others.get_facecolor()[0, :3], to_rgba(GRAY)[:3])
            expected = f"AUC {roc_auc_score(mine, scores[:, row]):.2f}\n{mine.sum()} of {n}"
            assert axes.texts[row].get_text() == expected
        saved(figure)

    def test_cases_without_a_score_or_a_class_are_left_out(self, words: Any) -> None:
        scores, one_hot = scored(30, 2)
        scores[4, 1] = np.nan
        one_hot[7] = np.nan
        figure = draw_classes(scores, one_hot, ["no", "yes"])
        kept = np.delete(np.arange(30), [4, 7])
        assert sum(len(dots.get_offsets()) for dots in figure.axes[0].collections[:2]) == 28
        auc = roc_auc_score(one_hot[kept, 0], scores[kept, 0])
        assert f"AUC {auc:.2f}\n{int(one_hot[kept, 0].sum())} of 28" in words(figure)

    def test_of_many_classes_the_largest_are_drawn_and_long_names_are_cut(self, words: Any, saved: Any) -> None:
        random = np.random.default_rng(0)
        sizes = [2, *range(20, 5, -1)]
        truth = np.repeat(np.arange(16), sizes)
        names = [f"site-{number:02d}-{'x' * 40}" for number in range(16)]
        figure = draw_classes(random.normal(size=(len(truth), 16)), np.eye(16)[truth], names)
        labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
        assert [label[:7] for label in labels] == [f"site-{number:02d}" for number in range(1, 13)]
        assert all(len(label) == 30 and "…" in label for label in labels)
        saved(figure)

    def test_where_a_class_has_all_cases_or_none_its_auc_is_not_defined(self, words: Any, saved: Any) -> None:
        one_hot = np.tile([1.0, 0.0], (5, 1))
        figure = draw_classes(np.zeros((5, 2)), one_hot, ["all", "none"])
        assert words(figure).count("AUC undefined") == 2
        saved(figure)
        saved(draw_classes(np.zeros((0, 2)), np.zeros((0, 2)), ["a", "b"]))

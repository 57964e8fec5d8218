"""Star, picture and differences of one leaderboard say the same."""

from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib.colors import to_hex
from rich.console import Console

from neuroprint.evaluation.influence import influence
from neuroprint.evaluation.metric import Metric
from neuroprint.figures.leaderboard import draw_leaderboard
from neuroprint.figures.style import BLUE
from neuroprint.tasks.leaderboard import Leaderboard, rank_rows

CASES = 60
BY = {
    metric.name: metric
    for metric in (
        Metric("retrieval/p_at_5", "precision at 5", lowest=0.0, highest=1.0),
        Metric("probe/r2", "R²", highest=1.0),
        Metric("probe/error_mm", "mean error", lower_is_better=True, unit="mm", lowest=0.0),
    )
}
ROLES = ("chance", "voxels", "oracle")


def drawn(metric: Metric, seed: int) -> Leaderboard:
    """Nine runs among the reference rows, from near-equals to hopeless ones; all share what is hard for whom."""
    rng = np.random.default_rng(seed)
    level = np.concatenate([rng.uniform(0.3, 0.7, 9), [0.1, 0.4, 0.95]])
    noise = 0.1 * rng.normal(size=CASES) + rng.choice([0.05, 0.2], (12, 1)) * rng.normal(size=(12, CASES))
    values = level[:, None] + noise
    values = 100 * (1 - values) if metric.lower_is_better else values
    rows, owed = [], {}
    for place, own in enumerate(values):
        name = ROLES[place - 9] if place >= 9 else f"config-{place}"
        value = float(own.mean())
        owed[name] = {metric.name: influence(value, (own - value) / CASES, np.zeros((CASES, CASES)), CASES)}
        role = "reference" if name in ROLES else "candidate"
        bounds = {f"{metric.name}_lo": value - 0.05, f"{metric.name}_hi": value + 0.05}
        rows.append({"run_id": name, "name": name, "role": role, metric.name: value, **bounds})
    return rank_rows(rows, owed, metric.name, BY, (CASES, CASES))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", list(BY))
def test_table_picture_and_differences_agree(name, seed):
    metric = BY[name]
    board = drawn(metric, seed)
    console = Console(width=140, file=io.StringIO())
    console.print(board.to_terminal())
    printed = [line for line in console.file.getvalue().splitlines() if " [" in line]  # rows have intervals
    figure = draw_leaderboard(board.table, metric, board.reach)
    axes = figure.axes[0]
    names = [label.get_text() for label in axes.get_yticklabels()]
    (shade,) = axes.patches
    low, high = shade.get_x(), shade.get_x() + shade.get_width()
    assert high - low == pytest.approx(board.reach)
    assert names == board.table["name"].tolist()
    table = board.table.set_index("name")
    best = table[name][table["role"] == "candidate"].iloc[0]
    told = []
    for place, (run, dot) in enumerate(zip(names, axes.lines, strict=True)):
        value = float(dot.get_xdata()[0])
        assert value == table.loc[run, name] and dot.get_ydata()[0] == place
        behind = (value - best) * (1 if metric.lower_is_better else -1)
        starred = table.loc[run, "tied_with_best"]
        assert starred == (behind <= board.reach)
        line = printed[place]
        assert f" {run} " in line
        assert line.strip().startswith("*") == starred
        difference = board.differences(board.records()[place])["to the best"]
        assert difference in line
        if value != best:
            assert difference.endswith(f"± {board.reach:.{metric.decimals}f}")
        if table.loc[run, "role"] == "candidate":
            assert (to_hex(dot.get_markerfacecolor()) == to_hex(BLUE)) == starred
            assert (low <= value <= high) == starred
            told.append(starred)
    assert 0 < sum(told) < 9
    assert f"{board.reach:.{metric.decimals}f}" in board.legend[1]


def test_where_nothing_is_ranked_nothing_is_shaded_or_hollow():
    board = drawn(BY["probe/r2"], 0)
    few = rank_rows(board.records(), {}, "probe/r2", BY, (9, CASES))
    axes = draw_leaderboard(few.table, BY["probe/r2"], few.reach).axes[0]
    assert not axes.patches
    dots = dict(zip((label.get_text() for label in axes.get_yticklabels()), axes.lines, strict=True))
    assert {to_hex(dot.get_markerfacecolor()) for run, dot in dots.items() if run not in ROLES} == {to_hex(BLUE)}
    assert few.table["tied_with_best"].isna().all()

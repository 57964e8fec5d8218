"""Which leaderboard an export is of: never one of a confound that nobody named."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from neuroprint.catalog.gate import Gate
from neuroprint.errors import NeuroprintError
from neuroprint.evaluation.influence import influence
from neuroprint.evaluation.metric import Metric
from neuroprint.experiment import choice
from neuroprint.tasks.leaderboard import Leaderboard, rank_rows

P = Metric("retrieval/p_at_5", "precision at 5")


def board(group: str, metric: Metric) -> Leaderboard:
    noise = np.random.default_rng(0).normal(size=12) / 100
    owed = influence(0.5, noise - noise.mean(), np.zeros((12, 12)), 12)
    rows = [{"run_id": f"run of {group}", "name": group, "role": "candidate", metric.name: 0.5}]
    return rank_rows(
        rows, {rows[0]["run_id"]: {metric.name: owed}}, metric.name, {metric.name: metric}, (12, 12), (), group, group
    )


@pytest.fixture
def best(monkeypatch):
    """The best run of these boards, of which each has one run."""
    store = SimpleNamespace(
        client=SimpleNamespace(
            get_run=lambda run_id: SimpleNamespace(info=SimpleNamespace(run_name=run_id, start_time=0))
        )
    )
    monkeypatch.setattr(choice, "finished_candidates", lambda store: [])
    monkeypatch.setattr(choice, "problem_of", lambda store, run, gate: None)

    def choose(*boards: Leaderboard, named: str | None = None) -> str:
        monkeypatch.setattr(choice, "leaderboards", lambda store, runs, metric: list(boards))
        return choice.best_run(store, None, named, Gate(()), False).info.run_name

    return choose


def test_a_confounds_leaderboard_is_refused_in_one_line(best):
    with pytest.raises(NeuroprintError, match=r"leaderboard site is of a confound .*--run") as refused:
        best(board("site", P.of_confound()))
    assert "\n" not in str(refused.value)


def test_beside_another_leaderboard_it_does_not_count_unless_it_is_named(best):
    both = board("site", P.of_confound()), board("place", P)
    assert best(*both) == "run of place"
    with pytest.raises(NeuroprintError, match="is of a confound"):
        best(*both, named="si")


def test_a_run_of_a_confound_that_is_named_is_not_held_against_voxels(caplog):
    found = board("site", P.of_confound())
    choice._compare_with_voxels(found, found.records()[0], anyway=False)
    assert "how little it tells of a confound" in caplog.text

"""What is ranked, what is left out by name, and what is said to be missing."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pytest

from neuroprint.errors import NeuroprintError
from neuroprint.evaluation.influence import influence
from neuroprint.evaluation.metric import Metric
from neuroprint.tasks.influence_file import save_influences
from neuroprint.tracking.boards import by_rank, finished_candidates, leaderboards, read_queries
from neuroprint.tracking.description import closing
from neuroprint.tracking.store import TrackingStore
from neuroprint.tracking.view import view_state

METRICS = (
    Metric("retrieval/p_at_5", "precision at 5", headline=True, shown=True),
    Metric("probe/error_mm", "mean error", lower_is_better=True, unit="mm"),
)
DUE = ("chance", "oracle", "voxels")
CASES = [f"case{number:02d}" for number in range(12)]


@pytest.fixture
def store(tmp_path):
    return TrackingStore(tmp_path / "mlruns", "trial")


def add(store, tmp_path, group, role="candidate", score=0.5, metrics=METRICS, **tags):
    """A finished run of a group, with a table of twelve queries that scored about alike."""
    shared = {"group": group, "identity": f"{group} {role}", "cohort/cases": "12", "cohort/queries": "11"}
    if role == "candidate":
        own = {"role": "candidate", "rank_by": metrics[0].name, "references": ",".join(DUE)}
    else:
        own = {"role": "reference", "reference": role}
    run_id = store.create(f"{role} of {group}", {**shared, **own, **tags})
    queries = pd.DataFrame({"case": CASES, "patient": CASES, "fold": 0, "relevant": 1})
    queries = queries.assign(**{metric.column: score for metric in metrics})
    queries.attrs["metrics"] = [metric.record() for metric in metrics]
    folder = tmp_path / run_id
    folder.mkdir()
    queries.to_parquet(folder / "queries.parquet")
    noise = np.random.default_rng(sum(map(ord, role))).normal(size=len(CASES)) / 1000
    nothing = np.zeros((len(CASES), len(CASES)))
    owed = {metric.name: influence(score, noise - noise.mean(), nothing, len(CASES)) for metric in metrics}
    save_influences(folder, owed)
    with store.running(run_id):
        parameters = {"exportable": False} if tags.get("exportable") == "false" else {}
        store.log(run_id, {metric.name: score for metric in metrics if np.isfinite(score)}, parameters)
        store.log_folder(run_id, folder)
    return run_id


def add_references(store, tmp_path, group, score=0.1, **how):
    for role in DUE:
        add(store, tmp_path, group, role, score, **how)


def ranked(store, metric=None):
    return leaderboards(store, finished_candidates(store), metric)


def test_a_group_without_reference_rows_is_named_and_the_others_are_shown(store, tmp_path, caplog):
    add(store, tmp_path, "whole")
    add(store, tmp_path, "torn")
    with pytest.raises(NeuroprintError, match="chance, oracle, voxels of candidate of"):
        ranked(store)
    add_references(store, tmp_path, "whole")
    with caplog.at_level(logging.WARNING):
        (board,) = ranked(store)
    assert board.group == "whole" and board.note == "" and len(board.table) == 4
    assert "candidate of torn" in caplog.text and "candidate of whole" not in caplog.text


def test_a_board_that_lacks_untrained_alone_says_so_and_the_newest_of_two_counts(store, tmp_path):
    add(store, tmp_path, "whole", untrained_row="twin")
    add_references(store, tmp_path, "whole")
    (board,) = ranked(store)
    assert "not yet scored" in board.note and "not yet scored" in str(board.to_terminal().caption)
    older, newer = (add(store, tmp_path, "whole", "untrained", score, identity="twin") for score in (0.1, 0.2))
    (board,) = ranked(store)
    assert board.note == ""
    assert newer in set(board.table["run_id"]) and older not in set(board.table["run_id"])


def test_what_has_seen_the_queries_is_listed_last_and_never_the_best(store, tmp_path):
    add(store, tmp_path, "whole", score=0.4, identity="plain", untrained_row="twin of plain")
    seen = add(store, tmp_path, "whole", score=0.9, identity="tsne", untrained_row="twin of tsne", exportable="false")
    add_references(store, tmp_path, "whole")
    for identity in ("twin of plain", "twin of tsne"):
        add(store, tmp_path, "whole", "untrained", 0.2, identity=identity)
    (board,) = ranked(store)
    table = board.table.set_index("run_id")
    assert table.index[-1] == seen and pd.isna(table["tied_with_best"][seen])
    assert bool(table["tied_with_best"].iloc[0])
    assert table["retrieval/p_at_5"].iloc[0] == 0.4
    untrained = store.client.get_run(table.index[table["name"] == "untrained"][0])
    assert untrained.data.tags["identity"] == "twin of plain"
    assert "laid out together with the queries" in board.note and seen not in set(board.ranked_rows["run_id"])


def test_without_a_finished_run_that_is_said(store, tmp_path):
    store.create("running", {"role": "candidate"})
    with pytest.raises(NeuroprintError, match="'trial' has no finished run to rank"):
        finished_candidates(store)
    run_id = add(store, tmp_path, "whole")
    assert [run.info.run_id for run in finished_candidates(store)] == [run_id]


def test_of_runs_of_one_identity_the_newest_counts_and_groups_stand_apart(store, tmp_path):
    older, newer = (add(store, tmp_path, "old", score=score) for score in (0.3, 0.4))
    other = add(store, tmp_path, "new")
    for group in ("old", "new"):
        add_references(store, tmp_path, group)
    new, old = ranked(store)
    assert (new.group, old.group) == ("new", "old")
    assert other in set(new.table["run_id"])
    assert newer in set(old.table["run_id"]) and older not in set(old.table["run_id"])


def test_each_group_is_ranked_by_its_own_tasks_metric_or_by_the_one_that_is_asked_for(store, tmp_path):
    auc = (Metric("probe/auc", "AUC", headline=True),)
    add(store, tmp_path, "places")
    add_references(store, tmp_path, "places")
    add(store, tmp_path, "classes", metrics=auc)
    add_references(store, tmp_path, "classes", metrics=auc)
    assert {board.group: board.metric.name for board in ranked(store)} == {
        "places": "retrieval/p_at_5",
        "classes": "probe/auc",
    }
    (board,) = ranked(store, "probe/error_mm")
    assert board.group == "places" and board.metric.lower_is_better
    assert list(board.table["probe/error_mm"]) == sorted(board.table["probe/error_mm"])
    with pytest.raises(
        NeuroprintError, match="no run has the metric accuracy: choose one of probe/auc, probe/error_mm"
    ):
        ranked(store, "accuracy")


def test_reference_rows_are_those_that_the_groups_task_has(store, tmp_path):
    """A task without an ideal ranking has no oracle; its leaderboard lacks nothing."""
    add(store, tmp_path, "whole", references="chance,voxels")
    for role in ("chance", "voxels"):
        add(store, tmp_path, "whole", role)
    (board,) = ranked(store)
    assert set(board.table["name"]) == {"candidate of whole", "chance", "voxels"}


def test_a_metric_that_no_run_defines_is_ranked_as_unknown_and_said(store, tmp_path, caplog):
    run_id = add(
        store, tmp_path, "whole", metrics=METRICS[1:], rank_by="retrieval/p_at_5", undefined="retrieval/p_at_5"
    )
    table = read_queries(store, store.client.get_run(run_id))
    assert [record["name"] for record in table.attrs["metrics"]] == ["probe/error_mm"]
    table.attrs["metrics"] = [metric.record() for metric in METRICS]
    table.to_parquet(store.artifact(store.client.get_run(run_id), "queries.parquet"))
    for role in DUE:
        add(store, tmp_path, "whole", role, metrics=METRICS[1:])
    with caplog.at_level(logging.WARNING):
        (board,) = ranked(store)
    assert board.table["retrieval/p_at_5"].isna().all() and board.table["tied_with_best"].isna().all()
    assert "no query has a relevant case" in caplog.text


def test_a_board_says_how_many_queries_stand_behind_its_numbers(store, tmp_path):
    add(store, tmp_path, "whole")
    add_references(store, tmp_path, "whole")
    (board,) = ranked(store)
    assert board.queries == (11, 12) and board.is_ranked and board.reach > 0
    assert ranked(store, "probe/error_mm")[0].queries == (12, 12)  # the probe predicts all of them


def test_rows_are_compared_by_what_their_files_say(store, tmp_path):
    best, low = (add(store, tmp_path, "whole", score=score, identity=str(score)) for score in (0.5, 0.4))
    add_references(store, tmp_path, "whole", score=0.2)
    (board,) = ranked(store)
    table = board.table.set_index("run_id")
    assert table.loc[low, "to_best"] == pytest.approx(-0.1) and bool(table.loc[best, "tied_with_best"])
    assert table.loc[best, "to_voxels"] == pytest.approx(0.3) and table.loc[best, "to_voxels_reach"] > 0


def test_of_few_queries_nothing_is_ranked(store, tmp_path):
    add(store, tmp_path, "whole", **{"cohort/queries": "9"})
    add_references(store, tmp_path, "whole")
    (board,) = ranked(store)
    assert not board.is_ranked and board.table["tied_with_best"].isna().all()


CONFOUND = tuple(metric.of_confound() for metric in METRICS)


def test_of_a_confound_logged_elsewhere_the_lowest_is_the_best_as_its_runs_own_record_says(store, tmp_path):
    """Of the runs nothing is known but what was logged: the name of the metric is that of any other task."""
    about = "confound site, better the less is told: a case with the same site"
    how = {"metrics": CONFOUND, "about": about}
    little = add(store, tmp_path, "site", score=0.2, identity="little", untrained_row="twin of little", **how)
    much = add(store, tmp_path, "site", score=0.9, identity="much", untrained_row="twin of much", **how)
    lost = add(store, tmp_path, "site", score=float("nan"), identity="lost", untrained_row="twin of lost", **how)
    add_references(store, tmp_path, "site", score=0.3, metrics=CONFOUND)
    for identity in ("twin of little", "twin of much", "twin of lost"):
        add(store, tmp_path, "site", "untrained", 0.4, identity=identity, metrics=CONFOUND)
    (board,) = ranked(store)
    candidates = [row["run_id"] for row in board.records() if row["role"] == "candidate"]
    assert candidates == [little, much, lost]
    assert board.metric.lower_is_better and "lower is better" in board.title and about in board.title
    assert view_state(board, "standing.x")["orderByAsc"] is True
    untrained = store.client.get_run(board.table["run_id"][board.table["name"] == "untrained"].iloc[0])
    assert untrained.data.tags["identity"] == "twin of little"
    runs = [store.client.get_run(run_id) for run_id in (much, lost, little)]
    assert [run.info.run_id for run in by_rank(store, runs)] == [little, much, lost]
    said = closing([board], {})
    assert "lower is better" in said and "confound site" in said and "neuroprint export" not in said


def test_of_any_other_task_the_highest_is_the_best_and_what_is_not_defined_the_last(store, tmp_path):
    scores = {"low": 0.2, "lost": float("nan"), "high": 0.9}
    made = {name: add(store, tmp_path, "g", score=score, identity=name) for name, score in scores.items()}
    runs = [store.client.get_run(run_id) for run_id in made.values()]
    assert [run.info.run_id for run in by_rank(store, runs)] == [made[name] for name in ("high", "low", "lost")]


def test_p_values_are_no_metrics_to_rank_by(store, tmp_path):
    run_id = add(store, tmp_path, "whole")
    store.client.log_metric(run_id, "retrieval/p_at_5_p", 0.01)
    add_references(store, tmp_path, "whole")
    with pytest.raises(NeuroprintError) as refused:
        ranked(store, "nothing")
    assert "p_at_5" in str(refused.value) and "p_at_5_p" not in str(refused.value)


def test_of_many_runs_the_newest_are_looked_at_with_all_others_of_their_leaderboards(store, tmp_path):
    """Others than those of the newest runs' leaderboards are left out, and found by who asks for all."""
    oldest = add(store, tmp_path, "old", identity="o")
    first = add(store, tmp_path, "new", identity="a")
    other = add(store, tmp_path, "other", identity="b")
    last = add(store, tmp_path, "new", identity="c")
    assert [run.info.run_id for run in finished_candidates(store, newest=1)] == [last, first]
    assert {run.info.run_id for run in finished_candidates(store, newest=2)} == {first, other, last}
    assert [run.info.run_id for run in finished_candidates(store)] == [last, other, first, oldest]


def test_runs_are_fetched_page_by_page_until_who_asks_has_enough(store, tmp_path, monkeypatch):
    added = [add(store, tmp_path, "whole", identity=str(number)) for number in range(5)][::-1]
    asked = []
    search = store.client.search_runs
    monkeypatch.setattr(store.client, "search_runs", lambda *a, **k: asked.append(k["max_results"]) or search(*a, **k))
    condition = "tags.role = 'candidate'"
    assert [run.info.run_id for run in store.each(condition, page=2)] == added and asked == [2, 2, 2]
    asked.clear()
    assert next(iter(store.each(condition, page=2))).info.run_id == added[0] and asked == [2]
    assert [run.info.run_id for run in store.search(condition, most=3)] == added[:3]

"""The ranked view shows the runs of a sweep's leaderboard, and of them what differs."""

from __future__ import annotations

import json

import pytest

from neuroprint.tracking.view import latest_sweep, standing_tag, view_paths, view_state, write_views


@pytest.fixture(scope="module")
def viewed(seen_sweep):
    seen_sweep.store.end(seen_sweep.parent)
    write_views(seen_sweep.store, seen_sweep.parent, seen_sweep.boards())
    return seen_sweep


BEST = "the best"


def runs_of(sweep):
    return {name: sweep.store.client.get_run(run_id) for name, run_id in sweep.runs.items()}


def standings(sweep):
    tag = standing_tag(sweep.parent)
    return {name: run.data.tags[tag].split("; ")[0] for name, run in runs_of(sweep).items()}


def test_every_run_says_where_it_stands(viewed):
    best = standings(viewed)
    assert {role: best.pop(role) for role in ("chance", "voxels", "oracle")} == dict.fromkeys(
        ("chance", "voxels", "oracle"), "reference"
    )
    assert best == {"mean": BEST, "max": "behind the best", "seen": "not ranked"}


def test_standings_say_how_far_a_run_lies_from_the_best_and_from_voxels(viewed):
    (board,) = viewed.boards()
    tags = {name: run.data.tags for name, run in runs_of(viewed).items()}
    for record in board.ranked_rows.to_dict("records"):
        said = tags[record["name"]][standing_tag(viewed.parent)].split("; ")[1:]
        differences = board.differences(record).items()
        assert said == [f"{text} {head}" for head, text in differences if text not in ("–", BEST)]
    assert f"-0.10 ± {board.reach:.2f} to the best" in tags["max"][standing_tag(viewed.parent)]


def test_the_state_is_sorted_by_the_metric_and_holds_only_what_differs(viewed):
    (board,) = viewed.boards()
    state = view_state(board, "standing.x")
    assert state["orderByKey"] == "metrics.`retrieval/p_at_5`" and state["orderByAsc"] is False
    columns = state["selectedColumns"]
    assert "params.`pooling`" in columns
    assert "params.`layer`" not in columns and "params.`dataset`" not in columns
    assert columns.index("metrics.`retrieval/p_at_5_lo`") == columns.index("metrics.`retrieval/p_at_5`") + 1
    assert columns.index("metrics.`probe/error_mm`") < columns.index("params.`pooling`")
    assert "metrics.`probe/r2`" in columns
    assert "metrics.`retrieval/map`" not in columns, "no run has it"


def test_the_filter_finds_the_ranked_rows_and_no_other(viewed):
    (path,) = view_paths(viewed.store, viewed.store.client.get_run(viewed.parent))
    key = path.rpartition("=")[2]
    experiment = viewed.store.client.get_experiment(viewed.store.experiment_id)
    state = json.loads(experiment.tags[f"mlflow.sharedViewState.{key}"])
    found = {run.info.run_name for run in viewed.store.search(state["searchFilter"])}
    assert found == set(viewed.runs) - {"seen"}


def test_of_an_error_the_smallest_is_on_top(viewed):
    from dataclasses import replace

    (board,) = viewed.boards()
    state = view_state(replace(board, metric=board.metrics["probe/error_mm"]), "x")
    assert state["orderByKey"] == "metrics.`probe/error_mm`" and state["orderByAsc"] is True


def test_the_latest_sweep_is_the_one_that_ended_last_with_a_leaderboard(viewed):
    empty = viewed.store.create("sweep that was killed", {"role": "sweep"})
    viewed.store.end(empty, "KILLED")
    assert latest_sweep(viewed.store).info.run_id == viewed.parent
    assert view_paths(viewed.store, viewed.store.client.get_run(empty)) == []


def test_a_row_that_left_the_leaderboard_loses_its_tag_and_another_sweeps_view_stands(swept):
    sweep = swept()
    write_views(sweep.store, sweep.parent, sweep.boards())
    other = sweep.store.create("another sweep", {"role": "sweep"})
    write_views(sweep.store, other, sweep.boards())
    newer = sweep.add("mean", 0.5, {"pooling": "mean"})
    write_views(sweep.store, sweep.parent, sweep.boards())
    older = sweep.store.client.get_run(sweep.runs["mean"]).data.tags
    assert standing_tag(sweep.parent) not in older and older[standing_tag(other)].startswith(BEST)
    assert sweep.store.client.get_run(newer).data.tags[standing_tag(sweep.parent)].startswith(BEST)


def test_columns_are_wide_enough_for_names_and_choices(viewed):
    (board,) = viewed.boards()
    long = "a_pooling_with_quite_a_long_name"
    board.table.loc[board.table["role"] == "candidate", "pooling"] = [long, *["mean"] * (len(board.table) - 4)]
    widths = view_state(board, "standing.x")["columnWidths"]
    assert widths["params.`pooling`"] > 7 * len(long)
    assert widths["metrics.`retrieval/p_at_5_lo`"] > 7 * len("retrieval/p_at_5_lo")


def test_the_experiment_says_where_its_latest_leaderboard_is(viewed):
    experiment = viewed.store.client.get_experiment(viewed.store.experiment_id)
    said = experiment.tags["mlflow.note.content"]
    (path,) = view_paths(viewed.store, viewed.store.client.get_run(viewed.parent))
    assert f"[pooling x projection: mean, 0.40]({path.removeprefix('/')})" in said


def test_what_a_person_wrote_about_the_experiment_stays(swept):
    sweep = swept()
    sweep.store.client.set_experiment_tag(sweep.store.experiment_id, "mlflow.note.content", "mine")
    write_views(sweep.store, sweep.parent, sweep.boards())
    assert sweep.store.client.get_experiment(sweep.store.experiment_id).tags["mlflow.note.content"] == "mine"

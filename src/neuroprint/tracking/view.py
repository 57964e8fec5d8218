"""The ranked view: an address in MLflow's UI that shows a sweep's leaderboard as one flat table, the best first."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from neuroprint.tracking.description import about, is_about, note, title
from neuroprint.tracking.store import TrackingStore

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.entities import Run

    from neuroprint.tasks.leaderboard import Leaderboard

_METRICS_FIRST: Final = 5
# Where MLflow's UI looks for the state of a view that was shared. It is not documented: tests/browser guards it.
_STATE_TAG: Final = "mlflow.sharedViewState."
# MLflow's UI otherwise asks what an experiment is for before it shows it.
_KIND: Final = ("mlflow.experimentKind", "custom_model_development")
_COUNT_TAG: Final = "ranked_views"


def write_views(store: TrackingStore, parent: str, boards: Sequence[Leaderboard]) -> None:
    """Write the ranked views of a sweep into the store, one for each leaderboard.

    Runs are tagged with where they stand, because a finished run that another sweep began is no child of this one.

    Args:
        store: Where the runs are.
        parent: Id of the sweep's parent run.
        boards: Its leaderboards.
    """
    # Copies of a sweep end together, and MLflow cannot set one tag twice at once.
    with store.lock("views"):
        _write(store, parent, boards)
    store.log(parent, tags={_COUNT_TAG: str(len(boards))})


def _write(store: TrackingStore, parent: str, boards: Sequence[Leaderboard]) -> None:
    tag = standing_tag(parent)
    standings = {run_id: standing for board in boards for run_id, standing in _standings(board).items()}
    # Tags are written only where they change: a view of hundreds of runs that are all there costs one search.
    tagged = {run.info.run_id: run.data.tags[tag] for run in store.search(f"tags.`{tag}` LIKE '%'")}
    for run_id in tagged.keys() - standings.keys():
        store.client.delete_tag(run_id, tag)
    for run_id, standing in standings.items():
        if tagged.get(run_id) != standing:
            store.log(run_id, tags={tag: standing})
    for number, board in enumerate(boards):
        state = json.dumps(view_state(board, tag))
        store.client.set_experiment_tag(store.experiment_id, f"{_STATE_TAG}{_key(parent, number)}", state)
    store.client.set_experiment_tag(store.experiment_id, *_KIND)
    if boards:
        _describe(store, about(_path(store, _key(parent, 0)), title(boards)))


def _describe(store: TrackingStore, text: str) -> None:
    """Write the experiment's description, unless somebody has written another."""
    known = store.client.get_experiment(store.experiment_id).tags
    for tag, value in note(text).items():
        if tag not in known or is_about(known[tag]):
            store.client.set_experiment_tag(store.experiment_id, tag, value)


def view_state(board: Leaderboard, tag: str) -> dict[str, Any]:
    """What MLflow's UI is told: which runs, in which order, with which columns.

    Args:
        board: The leaderboard to show.
        tag: The tag that says where a run stands in it.
    """
    by = board.metric.name
    headline = [metric.name for metric in board.metrics.values() if metric.shown or metric.headline]
    first = (by, f"{by}_lo", f"{by}_hi", *sorted(headline, key=lambda name: not board.metrics[name].shown))
    metrics = [f"metrics.`{metric}`" for metric in dict.fromkeys(first) if metric in board.table]
    choices = [f"params.`{choice}`" for choice in board.varied_choices]
    # Metrics come before choices: MLflow opens its assistant beside the table, and the runs' names tell the choices.
    columns = [*metrics[:_METRICS_FIRST], f"tags.`{tag}`", *choices, *metrics[_METRICS_FIRST:]]
    ranked = f"tags.`{tag}` != 'not ranked' and tags.`group` = '{board.group}' and attributes.status = 'FINISHED'"
    return {
        "searchFilter": ranked,
        "orderByKey": f"metrics.`{by}`",
        "orderByAsc": board.metric.lower_is_better,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs",
        "datasetsFilter": [],
        "selectedColumns": columns,
        # Otherwise metrics stand in alphabetical order.
        "columnOrder": columns,
        "columnWidths": {column: _width(column, board.table) for column in columns},
        "runsExpanded": {},
    }


def view_paths(store: TrackingStore, parent: Run) -> list[str]:
    """What comes after a UI's address to see a sweep's ranked views; nothing where it has none."""
    count = int(parent.data.tags.get(_COUNT_TAG, 0))
    return [f"/{_path(store, _key(parent.info.run_id, number))}" for number in range(count)]


def _path(store: TrackingStore, key: str) -> str:
    """Where in the UI a view is. Without its first part MLflow opens on what is for language models."""
    return f"#/experiments/{store.experiment_id}/runs?workflowType=machine_learning&viewStateShareKey={key}"


def latest_sweep(store: TrackingStore) -> Run | None:
    """The sweep that ended last with a leaderboard; one that was taken up again began long before."""
    swept = [run for run in store.search("tags.role = 'sweep'") if _COUNT_TAG in run.data.tags]
    return max(swept, key=lambda run: run.info.end_time or run.info.start_time, default=None)


def standing_tag(parent: str) -> str:
    """The tag that says where a run stands in the leaderboard of a sweep."""
    return f"standing.{parent[:6]}"


def _standings(board: Leaderboard) -> dict[str, str]:
    ranked = set(board.ranked_rows["run_id"])
    standings = {}
    for row in board.table.to_dict("records"):
        if row["run_id"] not in ranked:
            standing = "not ranked"
        elif row["role"] == "reference":
            standing = "reference"
        else:
            told = {True: "may be as good as the best", False: "behind the best"}
            standing = told.get(row["tied_with_best"], "not compared")
        if standing != "not ranked":
            record = {str(name): value for name, value in row.items()}
            differences = board.differences(record)
            if differences.get("to the best") == "the best":
                standing = differences.pop("to the best")
            said = [f"{text} {head}" for head, text in differences.items() if text != "–"]
            standing = "; ".join([standing, *said])
        standings[str(row["run_id"])] = standing
    return standings


def _width(column: str, table: pd.DataFrame) -> int:
    """Pixels in which a column's whole name and its choices can be read."""
    name = column.split("`")[1]
    values = table[name].dropna().astype("string") if column.startswith("params") else ()
    return 34 + 7 * max(map(len, (name, *values)))


def _key(parent: str, number: int) -> str:
    return f"{parent}-{number + 1}" if number else parent

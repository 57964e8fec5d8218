"""Copy the leaderboard and the pictures of the sweep that ended last into an experiment's folder.

    python experiments/publish.py experiments/pretrain_phantom

Pictures of cases are copied from phantoms only: a real patient's scan has no place in a repository.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from neuroprint.evaluation.metric import Metric
from neuroprint.tasks import leaderboard
from neuroprint.tracking.store import FINISHED_CANDIDATES, TrackingStore

if TYPE_CHECKING:
    from mlflow.entities import Run

SWEEP_PICTURES = ("plots/leaderboard.png", "plots/heatmap.png")
RUN_PICTURES = ("plots/map.png", "plots/probe.png", "plots/precision_at_k.png", "plots/retrieval.png")
COLUMNS = {
    "retrieval/p_at_5": "precision at 5",
    "retrieval/p_at_5_share": "share of the way from chance to oracle",
    "retrieval/auc": "retrieval AUC",
    "probe/r2": "R² of the center",
    "probe/error_mm": "error, mm",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--mlruns", type=Path, default=Path("mlruns"))
    parser.add_argument("--mlflow-experiment", default="neuroprint")
    options = parser.parse_args()
    store = TrackingStore(options.mlruns, options.mlflow_experiment)
    publish(store, newest_sweep(store), options.folder)


def newest_sweep(store: TrackingStore) -> Run:
    """The sweep that ended last; one that was taken up again began long before."""
    finished = store.search("tags.role = 'sweep' and attributes.status = 'FINISHED'")
    if not finished:
        raise SystemExit(f"there is no finished sweep in {store.root}, experiment {store.experiment}")
    return max(finished, key=lambda run: run.info.end_time)


def publish(store: TrackingStore, parent: Run, folder: Path) -> pd.DataFrame:
    """Copy a sweep's tables and pictures, those of its best run too where it has drawn them; the leaderboard."""
    board = pd.read_csv(store.artifact(parent, "leaderboard.csv"))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "leaderboard.md").write_text(as_markdown(board), encoding="utf-8")
    board.drop(columns="run_id").to_csv(folder / "leaderboard.csv", index=False)
    for picture in SWEEP_PICTURES:
        shutil.copy(store.artifact(parent, picture), folder)
    if set(board["dataset"]) == {"phantom"}:
        best = store.client.get_run(board[board["role"] == "candidate"].iloc[0]["run_id"])
        # Perhaps it was run again since, for its figures.
        drawn = store.search(f"{FINISHED_CANDIDATES} and tags.identity = '{best.data.tags['identity']}'", most=1)[0]
        if drawn.data.tags["figures"] == "true":
            for picture in RUN_PICTURES:
                shutil.copy(store.artifact(drawn, picture), folder)
    print(f"{parent.info.run_name} -> {folder}")
    return board


def as_markdown(board: pd.DataFrame, columns: Mapping[str, str] = COLUMNS) -> str:
    """The leaderboard as a Markdown table, the best first; a star marks what cannot be told from the best."""
    lines = [f"| run | {' | '.join(columns.values())} |", "| --- " * (len(columns) + 1) + "|"]
    for row in board.to_dict("records"):
        star = " *" if row["tied_with_best"] is True else ""
        name = f"*{row['name']}*" if row["role"] == "reference" else row["name"]
        lines.append(f"| {name}{star} | {' | '.join(cell(row, metric) for metric in columns)} |")
    return "\n".join(lines) + "\n"


def cell(row: Mapping[str, float], metric: str) -> str:
    """A metric with its interval, where it has one."""
    return leaderboard.cell(row, Metric(metric, metric, unit="mm" if metric.endswith("_mm") else ""))


if __name__ == "__main__":
    main()

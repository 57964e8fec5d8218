"""Copy the newest finished sweep's leaderboard and pictures into an experiment's folder.

    python experiments/publish.py experiments/first_look

Pictures of cases are copied from phantoms only: a real patient's scan has no place in a repository.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import pandas as pd

from neuroprint.tracking.store import TrackingStore

SWEEP_PICTURES = ("plots/leaderboard.png", "plots/heatmap.png")
RUN_PICTURES = ("plots/map.png", "plots/center_of_mass.png", "plots/precision_at_k.png", "plots/retrieval.png")
COLUMNS = {
    "retrieval/p_at_5": "precision at 5",
    "retrieval/p_at_5_share": "share of the way from chance to oracle",
    "retrieval/auc": "retrieval AUC",
    "probe/r2": "R² of the centre",
    "probe/error_mm": "error, mm",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--mlruns", type=Path, default=Path("mlruns"))
    parser.add_argument("--mlflow-experiment", default="neuroprint")
    options = parser.parse_args()
    store = TrackingStore(options.mlruns, options.mlflow_experiment)
    parent = store.search("tags.role = 'sweep' and attributes.status = 'FINISHED'", most=1)[0]
    board = pd.read_csv(store.artifact(parent, "leaderboard.csv"))
    options.folder.mkdir(parents=True, exist_ok=True)
    (options.folder / "leaderboard.md").write_text(as_markdown(board), encoding="utf-8")
    board.drop(columns=["run_id", "group"]).to_csv(options.folder / "leaderboard.csv", index=False)
    for picture in SWEEP_PICTURES:
        shutil.copy(store.artifact(parent, picture), options.folder)
    if set(board["dataset"]) == {"phantom"}:
        best = board[board["role"] == "candidate"].iloc[0]
        run = store.client.get_run(best["run_id"])
        for picture in RUN_PICTURES:
            shutil.copy(store.artifact(run, picture), options.folder)
    print(f"{parent.info.run_name} -> {options.folder}")


def as_markdown(board: pd.DataFrame) -> str:
    """The leaderboard as a Markdown table, the best first; a star marks what cannot be told from the best."""
    lines = [f"| run | {' | '.join(COLUMNS.values())} |", "| --- " * (len(COLUMNS) + 1) + "|"]
    for row in board.to_dict("records"):
        star = " *" if row["tied_with_best"] is True else ""
        name = f"*{row['name']}*" if row["role"] == "reference" else row["name"]
        lines.append(f"| {name}{star} | {' | '.join(_cell(row, metric) for metric in COLUMNS)} |")
    return "\n".join(lines) + "\n"


def _cell(row: dict[str, float], metric: str) -> str:
    if row[metric] != row[metric]:
        return "–"
    digits = 1 if metric.endswith("_mm") else 2
    low, high = row.get(f"{metric}_lo", float("nan")), row.get(f"{metric}_hi", float("nan"))
    interval = f" [{low:.{digits}f}, {high:.{digits}f}]" if low == low else ""
    return f"{row[metric]:.{digits}f}{interval}".replace("-0.00", "0.00")


if __name__ == "__main__":
    main()

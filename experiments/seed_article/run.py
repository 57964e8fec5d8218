"""The published recipe beside the default fingerprint and one that keeps position: by distance and by side.

    python experiments/seed_article/run.py [KEY=VALUE ...]
    python experiments/seed_article/run.py --real FOLDER [KEY=VALUE ...]

Further keys go to every run as they are. With ``--real`` the same on a folder of BraTS cases instead of phantoms; of
these only aggregate numbers are written, into ``real/``. What is finished is not run again.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pandas as pd

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from command import parse  # noqa: E402
from publish import cell  # noqa: E402

from neuroprint.tracking.boards import finished_candidates, leaderboards  # noqa: E402
from neuroprint.tracking.store import TrackingStore  # noqa: E402

RECIPES = {
    "published recipe": ["experiment=seed_article", "task.weighting=binary"],
    "whole brain, same level and pooling": ["layer=4", "pooling=mean"],
    "position-aware": ["layer=1", "pooling=spatial_softmax"],
}
TASKS = {"tumor_position": "within 20 mm", "side": "same side"}
COLUMNS = {"retrieval/p_at_5": "precision at 5", "retrieval/auc": "retrieval AUC"}
PROBE = {"probe/side_auc": "side AUC of the probe", "probe/r2": "R² of the center", "probe/error_mm": "error, mm"}


def main() -> None:
    command = parse(str(__doc__), HERE)
    for recipe in RECIPES.values():
        command.run("-m", *recipe, f"task={','.join(TASKS)}", *command.given)
    store, out = command.store, command.out
    tables = by_task(store)
    out.mkdir(parents=True, exist_ok=True)
    (out / "results.md").write_text(as_markdown(tables), encoding="utf-8")
    if not command.real:
        copy_maps(store, tables["tumor_position"], out)
    print(f"-> {out / 'results.md'}")


def by_task(store: TrackingStore) -> dict[str, pd.DataFrame]:
    """The newest leaderboard of each task, its rows named by recipe."""
    found: dict[str, pd.DataFrame] = {}
    for board in leaderboards(store, finished_candidates(store)):
        table = board.table.assign(recipe=[recipe_of(row) for row in board.records()])
        found.setdefault(str(table["task"].iloc[0]), table)
    return found


def recipe_of(row: dict[str, object]) -> str:
    if row["role"] == "reference":
        return str(row["name"])
    if row["inferer"] == "monai_windows":
        return "published recipe"
    return "position-aware" if row["pooling"] == "spatial_softmax" else "whole brain, same level and pooling"


def as_markdown(tables: dict[str, pd.DataFrame]) -> str:
    """A row a recipe and reference: what it finds by either task, and what a probe reads off it."""
    head = [f"{text}, {relevant}" for relevant in TASKS.values() for text in COLUMNS.values()] + list(PROBE.values())
    lines = ["Written by run.py.", "", f"| | {' | '.join(head)} |", "| --- " * (len(head) + 1) + "|"]
    records = {task: {row["recipe"]: row for row in tables[task].to_dict("records")} for task in TASKS}
    for name, row in records["tumor_position"].items():
        label = f"*{name}*" if row["role"] == "reference" else name
        cells = [cell(records[task].get(name, {}), metric) for task in TASKS for metric in COLUMNS]
        lines.append(f"| {label} | {' | '.join([*cells, *(cell(row, metric) for metric in PROBE)])} |")
    return "\n".join(lines) + "\n"


def copy_maps(store: TrackingStore, table: pd.DataFrame, out: Path) -> None:
    """The 2-D maps of the recipes, and what the published one and the position-aware one find."""
    for row in table[table["role"] == "candidate"].to_dict("records"):
        name = str(row["recipe"]).replace(",", "").replace(" ", "_").replace("-", "_")
        run = store.client.get_run(row["run_id"])
        for picture in ("map",) if "whole" in name else ("map", "retrieval"):
            shutil.copy(store.artifact(run, f"plots/{picture}.png"), out / f"{picture}_{name}.png")


if __name__ == "__main__":
    main()

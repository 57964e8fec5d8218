"""Every level by every pooling by six projections, beside the published recipe: sweep, then write what it shows.

    python experiments/pooling_and_layers/run.py [KEY=VALUE ...]
    python experiments/pooling_and_layers/run.py --real FOLDER [KEY=VALUE ...]

Further keys go to every run as they are. With ``--real`` the same on a folder of BraTS cases instead of phantoms; of
these only aggregate numbers are written, into ``real/``. What is finished is not run again.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import pandas as pd

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from publish import as_markdown, newest_sweep, publish  # noqa: E402

from neuroprint.tracking.leaderboard import leaderboards  # noqa: E402
from neuroprint.tracking.store import TrackingStore  # noqa: E402

EXPERIMENT = "pooling_and_layers"
SWEPT = ("layer", "pooling", "projection")
BY = {"retrieval/p_at_5": "precision at 5", "probe/r2": "R² of the centre"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--real", type=Path, metavar="FOLDER", help="BraTS cases instead of phantoms")
    parser.add_argument("--out", type=Path)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    options = parser.parse_args()
    experiment = f"{EXPERIMENT}_real" if options.real else EXPERIMENT
    out = options.out or (HERE / "real" if options.real else HERE)
    given = [*options.overrides, f"tracking.experiment={experiment}"]
    if options.real:
        given += ["dataset=brats", f"dataset.root={options.real}"]
    common = [item for item in given if item.partition("=")[0] not in SWEPT]
    run("experiment=seed_article", "target=center_of_mass", "figures=false", *common)
    run("-m", f"experiment={EXPERIMENT}", *given)
    roots = [item.partition("=")[2] for item in given if item.startswith("tracking.root=")]
    store = TrackingStore(Path(roots[-1] if roots else "mlruns"), experiment)
    parent = newest_sweep(store)
    board = pd.read_csv(store.artifact(parent, "leaderboard.csv"))
    if not options.real:
        run(*choices(board[board["role"] == "candidate"].iloc[0]), "figures=true", *common)
    publish(store, parent, out)
    (out / "summary.md").write_text(summary(everything(store, board)), encoding="utf-8")


def run(*arguments: str) -> None:
    subprocess.run([sys.executable, HERE.parents[1] / "run.py", *arguments], check=True)


def choices(row: pd.Series) -> list[str]:
    """The command line of a row of the sweep."""
    size = [] if pd.isna(row.get("components")) else [f"components={row['components']:.0f}"]
    return [f"{key}={row[key]}" for key in SWEPT] + size


def everything(store: TrackingStore, board: pd.DataFrame) -> pd.DataFrame:
    """The sweep's leaderboard with the published recipe in its place."""
    known = set(board["run_id"])
    finished = store.search("tags.role = 'candidate' and attributes.status = 'FINISHED'")
    recipe = [run for run in finished if run.data.params.get("inferer") == "monai_windows"]
    runs = [run for run in finished if run.info.run_id in known] + recipe
    (whole,) = [found.table for found in leaderboards(store, runs) if known & set(found.table["run_id"])]
    return whole


def summary(table: pd.DataFrame) -> str:
    """What the published recipe gets, what the best gets, and what each level and pooling keeps."""
    candidates = table[table["role"] == "candidate"]
    recipe = candidates["inferer"] == "monai_windows"
    supervised = candidates["supervised"] == "True" if "supervised" in candidates else candidates["role"] == ""
    picks = {
        "the published recipe, exactly": candidates[recipe],
        "its level and pooling (stage4, mean)": candidates[
            ~recipe
            & (candidates["layer"] == "stage4")
            & (candidates["pooling"] == "mean")
            & (candidates["projection"] == "none")
        ],
        "the best unsupervised": candidates[~recipe & ~supervised],
        "the best supervised": candidates[supervised],
        "the best by R²": candidates.sort_values("probe/r2", ascending=False),
    }
    chosen = [
        rows.head(1).assign(name=[f"{what}: {rows.iloc[0]['name']}"]) for what, rows in picks.items() if len(rows)
    ]
    shown = pd.concat([*chosen, table[table["role"] == "reference"]]).sort_values("retrieval/p_at_5", ascending=False)
    parts = ["Written by run.py. A star: cannot be told from the best of the whole sweep.", "", as_markdown(shown)]
    plain = candidates[~recipe & (candidates["projection"] == "none")]
    by = {metric: text for metric, text in BY.items() if metric in table}
    for metric, text in by.items():
        grid = plain.pivot_table(index="pooling", columns="layer", values=metric)
        grid = grid.loc[grid.max(axis=1).sort_values(ascending=False).index]
        parts += [f"**{text.capitalize()}, without projection**", "", _grid(grid)]
    best = candidates[~recipe].groupby("projection")[list(by)].max().sort_values(next(iter(by)), ascending=False)
    parts += ["**The best of each projection, over levels and poolings**", "", _grid(best.rename(columns=BY))]
    return "\n".join(parts)


def _grid(table: pd.DataFrame) -> str:
    lines = [f"| | {' | '.join(map(str, table.columns))} |", "| --- " * (len(table.columns) + 1) + "|"]
    for name, row in table.iterrows():
        lines.append(f"| {name} | {' | '.join('–' if pd.isna(value) else f'{value:.2f}' for value in row)} |")
    return "\n".join(lines).replace("-0.00", "0.00") + "\n"


if __name__ == "__main__":
    main()

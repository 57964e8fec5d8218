"""Every level by every pooling by seven projections, beside the published recipe: sweep, then write what it shows.

Around it two small sweeps: two levels together, and the levels of the decoder, with what the network itself segments.

    python experiments/pooling_and_layers/run.py [KEY=VALUE ...]
    python experiments/pooling_and_layers/run.py --real FOLDER [KEY=VALUE ...]

Further keys go to every run as they are. With ``--real`` the same on a folder of BraTS cases instead of phantoms; of
these only aggregate numbers are written, into ``real/``. What is finished is not run again.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from command import parse  # noqa: E402
from publish import as_markdown, newest_sweep, publish  # noqa: E402

from neuroprint.tracking.boards import finished_candidates, leaderboards  # noqa: E402
from neuroprint.tracking.store import TrackingStore  # noqa: E402

SWEPT = ("layer", "pooling", "projection")
DECODER = "swin_unetr_phantom_decoder"
PUBLISHED = ("experiment=seed_article", "task.weighting=binary")
TOGETHER = ("layer=[1,2]", "pooling=pyramid,spatial_softmax", "projection=none,pca,ridge", "components=6,16,32")
DECODED = (
    f"encoder={DECODER}",
    "layer=decoder3,decoder2,decoder1,out",
    "pooling=mean,pyramid,spatial_softmax,center_of_mass",
    "projection=none,pca,ridge",
)
BY = {"retrieval/p_at_5": "precision at 5", "probe/r2": "R² of the center"}


def main() -> None:
    command = parse(str(__doc__), HERE)
    common = [item for item in command.given if item.partition("=")[0] not in SWEPT]
    for around in (PUBLISHED, TOGETHER, DECODED):
        command.run("-m", *around, "figures=false", *common)
    command.run("-m", "experiment=pooling_and_layers", *command.given)
    store = command.store
    parent = newest_sweep(store)
    board = pd.read_csv(store.artifact(parent, "leaderboard.csv"))
    if not command.real:
        command.run(*choices(board[board["role"] == "candidate"].iloc[0]), "figures=true", *common)
    publish(store, parent, command.out)
    (command.out / "summary.md").write_text(summary(everything(store, board)), encoding="utf-8")


def choices(row: pd.Series) -> list[str]:
    """The command line of a row of the sweep."""
    size = [] if pd.isna(row.get("components")) else [f"components={row['components']:.0f}"]
    return [f"{key}={row[key]}" for key in SWEPT] + size


def everything(store: TrackingStore, board: pd.DataFrame) -> pd.DataFrame:
    """The sweep's leaderboard with the published recipe and the two small sweeps in their places."""
    known, boards = set(board["run_id"]), leaderboards(store, finished_candidates(store))
    (whole,) = [found.table for found in boards if known & set(found.table["run_id"])]
    return whole


def summary(table: pd.DataFrame) -> str:
    """What the published recipe gets, what the best gets, and what each level and pooling keeps."""
    candidates = table[table["role"] == "candidate"]
    recipe, decoder = candidates["inferer"] == "monai_windows", candidates["encoder"] == DECODER
    supervised = candidates["supervised"] == "True" if "supervised" in candidates else candidates["role"] == ""
    unprojected = candidates["projection"] == "none"
    own = candidates[~recipe & ~decoder]
    picks = {
        "the published recipe, exactly": candidates[recipe],
        "its level and pooling (stage4, mean)": own[
            (own["layer"] == "stage4") & (own["pooling"] == "mean") & (own["projection"] == "none")
        ],
        "the best unsupervised": own[~supervised[own.index]],
        "the best supervised": own[supervised[own.index]],
        "the best by R²": own.sort_values("probe/r2", ascending=False),
        "the decoder's best before the segmentation": candidates[
            decoder & ~supervised & (candidates["layer"] != "out")
        ],
        "the segmentation's own center": candidates[
            decoder & unprojected & (candidates["layer"] == "out") & (candidates["pooling"] == "center_of_mass")
        ],
    }
    chosen = [
        rows.head(1).assign(name=[f"{what}: {rows.iloc[0]['name']}"]) for what, rows in picks.items() if len(rows)
    ]
    shown = pd.concat([*chosen, table[table["role"] == "reference"]]).sort_values("retrieval/p_at_5", ascending=False)
    parts = ["Written by run.py. A star: cannot be told from the best of the whole sweep.", "", as_markdown(shown)]
    single = ~candidates["layer"].str.contains("+", regex=False)
    by = {metric: text for metric, text in BY.items() if metric in table}
    for whose, rows in (("", single & ~decoder), (", levels of the decoder", decoder)):
        plain = candidates[~recipe & unprojected & rows]
        for metric, text in by.items():
            grid = plain.pivot_table(index="pooling", columns="layer", values=metric)
            grid = grid.loc[grid.max(axis=1).sort_values(ascending=False).index]
            parts += [f"**{text.capitalize()}, without projection{whose}**", "", _grid(grid)]
    best = own[single[own.index]].groupby("projection")[list(by)].max().sort_values(next(iter(by)), ascending=False)
    parts += ["**The best of each projection, over levels and poolings**", "", _grid(best.rename(columns=BY))]
    return "\n".join(parts)


def _grid(table: pd.DataFrame) -> str:
    lines = [f"| | {' | '.join(map(str, table.columns))} |", "| --- " * (len(table.columns) + 1) + "|"]
    for name, row in table.iterrows():
        lines.append(f"| {name} | {' | '.join('–' if pd.isna(value) else f'{value:.2f}' for value in row)} |")
    return "\n".join(lines).replace("-0.00", "0.00") + "\n"


if __name__ == "__main__":
    main()

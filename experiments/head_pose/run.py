"""The same tumors in upright and in turned heads: sweep both, then look for each head in the other pose.

    python experiments/head_pose/run.py [KEY=VALUE ...]

Further keys go to the sweeps as they are. Writes ``results.md``, ``results.csv`` and the pictures beside itself; what is
finished is not run again. With an encoder of your own there is no row for the decoder's output.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from mlflow.entities import Run
from omegaconf import DictConfig, OmegaConf

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from command import parse  # noqa: E402
from publish import cell, newest_sweep  # noqa: E402

import neuroprint as npr  # noqa: E402
from neuroprint.evaluation.similarity import similarity_named  # noqa: E402
from neuroprint.tracking.store import TrackingStore  # noqa: E402

POSES = ("upright", "turned")
SHOWN = {"retrieval/p_at_5": "precision at 5", "retrieval/auc": "retrieval AUC", "probe/r2": "R² of the center"}
BOTH_POSES = ("dataset.pose_jitter=false,true", "task.frame=brain", "figures=false")
PUBLISHED = ("experiment=seed_article", "task.weighting=binary", *BOTH_POSES)
SEGMENTED = ("encoder=swin_unetr_phantom_decoder", "layer=out", "pooling=center_of_mass", *BOTH_POSES)
FOUND = "same head found in the other pose"
ACROSS = "precision at 5 across poses"


def main() -> None:
    command = parse(str(__doc__), HERE, takes_scans=False)
    store, out, parents = command.store, command.out, []
    own_encoder = any(item.startswith("encoder=") for item in command.given)
    for swept in (PUBLISHED, *(() if own_encoder else (SEGMENTED,)), ("experiment=head_pose",)):
        command.run("-m", *swept, *command.given)
        parents.append(newest_sweep(store))
    rows, config = collect(store, parents)
    table = summarize(rows, config.task.radius_mm)
    out.mkdir(parents=True, exist_ok=True)
    table.to_csv(out / "results.csv", index=False)
    (out / "results.md").write_text(as_markdown(table, config), encoding="utf-8")
    draw_results(table, out / "results.png")
    draw_poses(config, out / "poses.png")
    print(f"{len(table)} rows -> {out}")


def collect(store: TrackingStore, parents: Sequence[Run]) -> tuple[list[dict[str, object]], DictConfig]:
    """Every row of the sweeps, with its pose and its embeddings; and the configuration of one of the last.

    The rows ``untrained`` are left out: each is of its pose's best configuration, and the two may differ.
    """
    boards = [pd.read_csv(store.artifact(parent, "leaderboard.csv")) for parent in parents]
    board = pd.concat(boards, ignore_index=True).drop_duplicates("run_id")
    board = board[board["name"] != "untrained"]
    rows = []
    for row in board.to_dict("records"):
        run = store.client.get_run(row["run_id"])
        config = OmegaConf.load(store.artifact(run, "config.yaml"))
        row["pose"] = POSES[bool(config.dataset.pose_jitter)]
        row["what"] = row["name"] if row["role"] == "reference" else f"{row['layer']} · {row['pooling']}"
        if row["inferer"] == "monai_windows":
            row["what"] = "the published recipe"
        if row["name"] != "chance":
            vectors = pd.read_parquet(store.artifact(run, "embeddings.parquet"))
            row["embeddings"] = pd.Series(list(vectors["embedding"]), index=vectors["case"])
            queries = pd.read_parquet(store.artifact(run, "queries.parquet")).set_index("case")
            row["centers"] = queries[[f"true_{axis}_mm" for axis in "xyz"]]
        rows.append(row)
    return rows, config


def summarize(rows: list[dict[str, object]], radius_mm: float) -> pd.DataFrame:
    """A row per configuration: its scores in either pose, and what upright heads find among the turned ones."""
    found = []
    for what in dict.fromkeys(str(row["what"]) for row in rows):
        upright, turned = ([row for row in rows if row["what"] == what and row["pose"] == pose] for pose in POSES)
        if not (upright and turned):
            continue
        entry = {"what": what, "role": upright[0]["role"]}
        for pose, row in zip(POSES, (upright[0], turned[0]), strict=True):
            for metric in SHOWN:
                entry |= {f"{pose} {metric}{end}": row.get(f"{metric}{end}", np.nan) for end in ("", "_lo", "_hi")}
        if "embeddings" in upright[0]:
            similarity = similarity_across(upright[0], turned[0])
            ranks = (similarity >= np.diag(similarity)[:, None]).sum(axis=1)  # of equals, the head itself comes last
            entry |= {"heads": len(ranks), "median rank": float(np.median(ranks))}
            entry |= dict(zip((FOUND, f"{FOUND}_lo", f"{FOUND}_hi"), share(ranks == 1), strict=True))
            entry[ACROSS] = precision_across(similarity, upright[0]["centers"], turned[0]["centers"], radius_mm)
        found.append(entry)
    table = pd.DataFrame(found)
    return table.sort_values(f"turned {next(iter(SHOWN))}", ascending=False, ignore_index=True)


def similarity_across(upright: dict, turned: dict) -> np.ndarray:
    """Of every upright head (row) to every turned one (column), the same heads on the diagonal; as the row was scored."""
    cases = upright["embeddings"].index
    queries, gallery = (np.stack(list(row["embeddings"][cases])).astype(np.float64) for row in (upright, turned))
    scored_by = "euclidean" if upright["role"] == "reference" else upright["similarity"]  # voxels and oracle
    return similarity_named(scored_by)(queries, gallery)


def precision_across(similarity: np.ndarray, upright: pd.DataFrame, turned: pd.DataFrame, radius_mm: float) -> float:
    """Precision at 5 of upright queries among the turned heads of all others, in the brain's frame."""
    apart = np.linalg.norm(upright.to_numpy()[:, None] - turned.loc[upright.index].to_numpy()[None], axis=2)
    others = ~np.eye(len(apart), dtype=bool)
    relevant = (apart <= radius_mm) & others
    best = np.argsort(np.where(others, -similarity, np.inf), axis=1, kind="stable")[:, :5]
    hits = np.take_along_axis(relevant, best, axis=1).mean(axis=1)
    asked = relevant.any(axis=1)
    return float(hits[asked].mean()) if asked.any() else float("nan")


def share(hits: np.ndarray) -> tuple[float, float, float]:
    """Share of hits and its 95 % interval (Wilson 1927)."""
    n, p, z = len(hits), float(hits.mean()), 1.96
    middle, half = (p + z**2 / (2 * n)), z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return p, (middle - half) / (1 + z**2 / n), (middle + half) / (1 + z**2 / n)


def as_markdown(table: pd.DataFrame, config: DictConfig) -> str:
    head = ["", *(f"{text}, {pose}" for text in SHOWN.values() for pose in POSES), ACROSS, FOUND, "median rank"]
    lines = [
        f"{config.dataset.cases} phantoms at {config.dataset.spacing_mm:g} mm, seed {config.dataset.seed}; "
        f"encoder `{str(config.encoder._target_).rpartition('.')[2]}`. Written by run.py.",
        "",
        f"| {' | '.join(head)} |",
        "| --- " * len(head) + "|",
    ]
    for row in table.to_dict("records"):
        name = f"*{row['what']}*" if row["role"] == "reference" else row["what"]
        scores = [cell(row, f"{pose} {metric}") for metric in SHOWN for pose in POSES]
        rank = f"{row['median rank']:g} of {row['heads']:.0f}" if row.get("heads", np.nan) > 0 else "–"
        lines.append(f"| {' | '.join([name, *scores, cell(row, ACROSS), cell(row, FOUND), rank])} |")
    return "\n".join(lines) + "\n"


def draw_results(table: pd.DataFrame, path: Path) -> None:
    """Precision in either pose, and the share of heads that are found again in the other."""
    from neuroprint.figures.style import BLUE, GRAY, INK, VERMILLION, new_figure, save, styled

    @styled
    def draw() -> None:
        rows = table[table["what"] != "chance"].iloc[::-1].reset_index(drop=True)
        figure = new_figure(1.2 + 0.28 * len(rows))
        left, right = figure.subplots(1, 2, sharey=True)
        metric = next(iter(SHOWN))
        left.hlines(rows.index, rows[f"upright {metric}"], rows[f"turned {metric}"], color=GRAY, lw=1)
        for pose, color in zip(POSES, (BLUE, VERMILLION), strict=True):
            left.plot(rows[f"{pose} {metric}"], rows.index, "o", color=color, label=f"{pose} heads")
        left.plot(rows[ACROSS], rows.index, "D", color=INK, ms=4, label="upright among turned")
        left.set(xlabel="precision at 5", yticks=rows.index, yticklabels=rows["what"])
        left.set_xlim(left=0)
        figure.legend(loc="outside upper center", ncols=3)
        errors = [rows[FOUND] - rows[f"{FOUND}_lo"], rows[f"{FOUND}_hi"] - rows[FOUND]]
        right.errorbar(rows[FOUND], rows.index, xerr=np.clip(errors, 0, None), fmt="o", color=INK, ecolor=GRAY)
        right.set(xlabel="same head nearest in the other pose", xlim=(-0.02, 1.02))
        save(figure, path)

    draw()


def draw_poses(config: DictConfig, path: Path, heads: int = 5) -> None:
    """The first phantoms in both poses: maximum intensity projections of FLAIR over the whole field of view."""
    from neuroprint.data.volume import read_volume
    from neuroprint.figures.style import new_figure, save, styled

    made = {key: config.dataset[key] for key in ("cases", "spacing_mm", "seed")}

    @styled
    def draw() -> None:
        figure = new_figure(3.6)
        axes = figure.subplots(2, heads)
        for row, (pose, jitter) in enumerate(zip(POSES, (False, True), strict=True)):
            cohort = npr.load_cohort("phantom", **made, pose_jitter=jitter)
            for column, case in enumerate(cohort.cases[:heads]):
                flair = read_volume(case, ("flair",), label=False).images[0]
                axes[row, column].imshow(flair.max(axis=2).T, cmap="gray")
                axes[row, column].set(xticks=[], yticks=[])
                axes[row, column].spines[:].set_visible(False)
                axes[row, column].set_title(case.id if row == 0 else "")
            axes[row, 0].set_ylabel(pose)
        save(figure, path)

    draw()


if __name__ == "__main__":
    main()

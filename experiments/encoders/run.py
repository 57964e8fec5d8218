"""Which network's features to search by: every encoder that runs offline, each at its best level and pooling.

    python experiments/encoders/run.py [--ten FOLDER --twelve FOLDER] [KEY=VALUE ...]

Sweeps every encoder over its levels and all poolings, with four questions, on phantoms and on the ten real patients of a
folder of BraTS cases. Of each encoder the level and pooling is chosen that goes the largest share of the way from chance to
the ideal answer, the mean over both cohorts. What was chosen is then reported on other patients, who chose nothing, and asked
with changed scans. Further keys go to every run; what is finished is not run again.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from command import Command  # noqa: E402
from publish import cell, newest_sweep  # noqa: E402

from neuroprint.encoders.swin_unetr import LEVEL_NAMES  # noqa: E402
from neuroprint.tracking.boards import finished_candidates, leaderboards  # noqa: E402

POOLINGS = (
    "mean,max,std,mean_std,gem,quantile,foreground_mean,top_mean,pyramid,spatial_softmax,center_of_mass,covariance"
)
QUESTIONS = {
    "position": ("Where the tumor is", "probe/r2"),
    "volume": ("How large it is", "probe/r2"),
    "composition": ("What it is made of", "probe/r2"),
    "region": ("In which eighth of the brain", "probe/auc"),
}
CHANGES = "pose,brain_size,gain,bias_field,noise,thick_slices,missing_t1ce"
SHARE, PRECISION = "retrieval/p_at_5_share", "retrieval/p_at_5"
SWIN, DEEPBET = "encoder=swin_unetr_phantom", "encoder=deepbet"


def joined(other: str) -> tuple[str, ...]:
    return ("encoder=combined", "encoder@encoder.encoders.a=swin_unetr_phantom", f"encoder@encoder.encoders.b={other}")


@dataclass(frozen=True)
class Entry:
    """One encoder of the comparison.

    Attributes:
        name: As the tables call it.
        choices: As the command line chooses it.
        layers: Its levels.
        poolings: What it is pooled by.
    """

    name: str
    choices: tuple[str, ...]
    layers: str = "0,1,2,3,4"
    poolings: str = POOLINGS

    def is_of(self, row: Mapping[str, object]) -> bool:
        """Whether a row of a leaderboard is of this encoder."""
        found = dict(item.split("=", 1) for item in self.choices)
        mixed = "+".join(found[key] for key in sorted(found) if key.startswith("encoder@"))
        asked = {"encoder": found["encoder"], "encoders": mixed}
        asked |= {key: found.get(key, "") for key in ("encoder.per_series", "encoder.seed")}
        return all(_text(row.get(key)) == value for key, value in asked.items())


ENTRIES = (
    Entry("swin_unetr_phantom", (SWIN,), "0,1,2,3,4,5"),
    Entry("its decoder", (f"{SWIN}_decoder",), "0,1,2,3,4,5"),
    Entry("deepbet, series joined", (DEEPBET,)),
    Entry("deepbet, series averaged", (DEEPBET, "encoder.per_series=mean")),
    Entry("deepbet, T1 alone", (DEEPBET, "encoder.per_series=[t1]")),
    Entry("swin_unetr_phantom + deepbet", joined("deepbet")),
    Entry("swin_unetr_phantom + voxels", joined("voxels")),
    Entry("untrained SwinUNETR", ("encoder=untrained",), "0,1,2,3,4,5"),
    Entry("untrained deepbet", (DEEPBET, "encoder.seed=0")),
    Entry("voxels", ("encoder=voxels",), "0", "mean"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--ten", type=Path, metavar="FOLDER", help="BraTS cases that take part in choosing")
    parser.add_argument("--twelve", type=Path, metavar="FOLDER", help="BraTS cases that what was chosen is reported on")
    parser.add_argument("--out", type=Path, default=HERE, help="folder to write to; default: beside the script")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="keys that go to every run")
    options = parser.parse_args()
    phantoms = cohort("encoders", None, options)
    ten, twelve = (cohort(f"encoders_{name}", getattr(options, name), options) for name in ("ten", "twelve"))
    choosing = [phantoms, ten] if ten else [phantoms]
    for command in choosing:
        for entry in ENTRIES:
            command.run("-m", f"question={','.join(QUESTIONS)}", *asked(entry), *command.given)
    boards = [everything(command) for command in choosing]
    chosen = {question: dict(choose(question, boards)) for question in QUESTIONS}
    if twelve:
        for question, rows in chosen.items():
            for entry, row in rows.items():
                command_line = asked(entry, level(row), str(row["pooling"]))
                twelve.run("-m", f"question={question}", *command_line, *twelve.given)
        boards.append(everything(twelve))
    options.out.mkdir(parents=True, exist_ok=True)
    names = ["phantoms", *(["ten patients"] if ten else []), *(["twelve other patients"] if twelve else [])]
    told = "\n".join(table(question, rows, boards, names) for question, rows in chosen.items())
    (options.out / "encoders.md").write_text(f"Written by run.py.\n\n{told}", encoding="utf-8")
    bearing(phantoms, chosen["position"], options.out)


def cohort(experiment: str, folder: Path | None, options: argparse.Namespace) -> Command | None:
    """The command line for phantoms, or for a folder of BraTS cases; None where it was not given."""
    if folder is None and experiment != "encoders":
        return None
    scans = ["dataset=brats", f"dataset.root={folder}"] if folder else []
    return Command(
        experiment,
        options.out,
        (*options.overrides, "tracking.uri=null", f"tracking.experiment={experiment}", *scans),
        bool(folder),
    )


def asked(entry: Entry, layer: str = "", pooling: str = "") -> list[str]:
    """An entry's part of a command line: all levels and poolings, or those given."""
    return [*entry.choices, f"layer={layer or entry.layers}", f"pooling={pooling or entry.poolings}", "figures=false"]


def everything(command: Command) -> pd.DataFrame:
    """The rows of all leaderboards of unchanged scans, with the question of each."""
    tasks = {"tumor_position": "position"}
    found = [board.table for board in leaderboards(command.store, finished_candidates(command.store))]
    table = pd.concat([board[(board["perturb"] == "none") | board["perturb"].isna()] for board in found])
    return table.assign(question=table["task"].map(lambda task: tasks.get(task, task)))


def choose(question: str, boards: Sequence[pd.DataFrame]) -> Iterator[tuple[Entry, pd.Series]]:
    """Of each encoder its best row, by the mean share over the cohorts, as it is on the first; the best first."""
    found = []
    for entry in ENTRIES:
        rows = [mine(board, entry, question).set_index(["layer", "pooling"]) for board in boards]
        shares = pd.concat([row[SHARE] for row in rows], axis=1).mean(axis=1)
        best = shares.idxmax()
        found.append((float(shares[best]), entry, rows[0].loc[[best]].reset_index().iloc[0]))
    for _, entry, row in sorted(found, key=lambda item: -item[0]):
        yield entry, row


def mine(board: pd.DataFrame, entry: Entry, question: str) -> pd.DataFrame:
    """The candidates of an entry."""
    rows = board[(board["role"] == "candidate") & (board["question"] == question)]
    return rows[[entry.is_of(row) for row in rows.to_dict("records")]]


def level(row: pd.Series) -> str:
    """The level on a command line; of a combination its number, since a name may be that of a level of either."""
    name, *others = str(row["layer"]).split("+")
    return str(LEVEL_NAMES.index(name)) if others else name


def table(
    question: str, chosen: Mapping[Entry, pd.Series], boards: Sequence[pd.DataFrame], names: Sequence[str]
) -> str:
    """The chosen fingerprint of every encoder on every cohort, and the scale."""
    about, probe = QUESTIONS[question]
    heads = [f"{name}: {what}" for name in names for what in ("precision at 5", "to voxels", probe.split("/")[1])]
    heads = [head.replace(": r2", ": R²").replace(": auc", ": AUC") for head in heads]
    lines = [f"**{about}**", "", f"| encoder | at | {' | '.join(heads)} |", "| --- " * (len(heads) + 2) + "|"]
    for entry, row in chosen.items():
        found = [mine(board, entry, question) for board in boards]
        same = [rows[(rows["layer"] == row["layer"]) & (rows["pooling"] == row["pooling"])] for rows in found]
        cells = [told for rows in same for told in scores(rows.iloc[0].to_dict(), probe)]
        lines.append(f"| {entry.name} | {row['layer']} · {row['pooling']} | {' | '.join(cells)} |")
    for role in ("chance", "oracle"):
        rows = [board[(board["role"] == "reference") & (board["question"] == question)] for board in boards]
        one = [found[found["name"] == role].iloc[0].to_dict() for found in rows]
        lines.append(f"| *{role}* | | {' | '.join(told for row in one for told in scores(row, probe))} |")
    return "\n".join(lines) + "\n"


def scores(row: Mapping[str, float], probe: str) -> list[str]:
    """Precision with its interval, the difference to voxels, and what the probe tells."""
    lead, reach = row.get("to_voxels", np.nan), row.get("to_voxels_reach", np.nan)
    told = "–" if not np.isfinite(lead) or row["name"] == "voxels" else f"{lead:+.2f} ± {reach:.2f}"
    return [cell(row, PRECISION), told, cell(row, probe)]


def bearing(command: Command, chosen: Mapping[Entry, pd.Series], out: Path) -> None:
    """Ask what was chosen for the position with changed scans, those that can be named by a run's id."""
    runs = [str(row["run_id"]) for entry, row in chosen.items() if "encoder=combined" not in entry.choices]
    command.run("-m", f"question=position,{CHANGES}", f"fingerprint={','.join(runs)}", "figures=false", *command.given)
    parent = newest_sweep(command.store)
    shutil.copy(command.store.artifact(parent, "plots/profile.png"), out / "changes.png")
    told = command.store.artifact(parent, "profile.md").read_text(encoding="utf-8")
    (out / "changes.md").write_text(f"Written by run.py.\n\n{told}", encoding="utf-8")


def _text(value: object) -> str:
    """A parameter as a command line has it; nothing where it was not chosen."""
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()

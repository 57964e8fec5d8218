"""What the UI says about a sweep, in Markdown: the command, the cohort, the leaderboard's top, how to export, what failed."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from neuroprint.catalog.redaction import redact_text
from neuroprint.phantom.types import PHANTOM_DATASETS
from neuroprint.tasks.leaderboard import Leaderboard

if TYPE_CHECKING:
    from neuroprint.data.cohort import Cohort

_TOP: Final = 10
_FOLLOW: Final = ("exportable", "transductive")  # from the projection
_LATEST: Final = "**Latest leaderboard**"
_NOTE: Final = "mlflow.note.content"


def note(text: str) -> dict[str, str]:
    """The tag that MLflow's UI shows as a run's description."""
    return {_NOTE: text}


def title(boards: Sequence[Leaderboard]) -> str:
    """What a sweep is called: what was swept, and what won with which score.

    Args:
        boards: Its leaderboards, one at least.
    """
    varied = dict.fromkeys(choice for board in boards for choice in board.varied_choices if choice not in _FOLLOW)
    swept = " x ".join(varied) or "one choice"
    if len(boards) > 1:
        return f"{swept}: {len(boards)} leaderboards"
    (board,) = boards
    best = board.best
    return swept if best is None else f"{swept}: {best['name']}, {best[board.metric.name]:.2f}"


def about(view: str, sweep: str) -> str:
    """What MLflow's UI shows as the experiment's description.

    Args:
        view: Where in the UI the latest leaderboard is.
        sweep: What that is called.
    """
    # MLflow shows the first line, and the others when asked.
    return (
        f"{_LATEST}: [{_plain(sweep)}]({view})\n\nFingerprints of brain scans, each scored by how well it finds "
        "similar patients and what it knows of their tumors, by neuroprint. Every sweep is a parent run with a description, "
        "a table and pictures; its jobs are its children, the rows that give the scale among them. Where this page opens "
        "on traces, choose *Model training* in the menu: MLflow opens on GenAI, whatever an experiment says."
    )


def is_about(text: str) -> bool:
    """Whether :func:`about` wrote this, and no person."""
    return text.startswith(_LATEST)


def opening(overrides: Sequence[str], cohorts: Sequence[tuple[Cohort, int]]) -> str:
    """What is known of a sweep when it starts: its command, without folders, and its cohorts.

    Args:
        overrides: The command line.
        cohorts: Each with the number of its cases that are held out.
    """
    command = shlex.join(["python", "run.py", "-m", *(redact_text(override) for override in overrides)])
    return "\n\n".join([f"```\n{command}\n```", *(_cohort(cohort, held) for cohort, held in cohorts)])


def closing(boards: Sequence[Leaderboard], failed: Mapping[str, str]) -> str:
    """What a sweep came to.

    Args:
        boards: Its leaderboards.
        failed: Why jobs have no finished run, by their names; texts that may leave this machine.
    """
    parts = [_board(board) for board in boards]
    parts += [_failures(failed)] if failed else []
    return "\n\n".join(parts)


def _cohort(cohort: Cohort, held: int) -> str:
    kept = f", {held} of them held out" if held else ""
    return (
        f"**Cohort** {_plain(cohort.name)}: {len(cohort)} cases of {len(cohort.patients)} patients{kept}. "
        f"Digest `{cohort.digest[:16]}`"
    )


def _board(board: Leaderboard) -> str:
    rows = board.records()
    candidates = [row for row in rows if row["role"] == "candidate"]
    top = {row["run_id"] for row in candidates[:_TOP]}
    heads = board.heads([metric.name for metric in board.shown])
    lines = [
        f"| | run | {' | '.join(heads)} |",
        "| --- " * (len(heads) + 2) + "|",
    ]
    for row in rows:
        reference = row["role"] == "reference"
        if not reference and row["run_id"] not in top:
            continue
        star = "★" if row["tied_with_best"] is True else ""
        name = f"*{_plain(row['name'])}*" if reference else f"[{_plain(row['name'])}](#/runs/{row['run_id']})"
        lines.append(f"| {star} | {name} | {' | '.join(board.cells(row))} |")
    more = f" The best {_TOP} of {len(candidates)} candidates and the reference rows." if len(candidates) > _TOP else ""
    worth_exporting = board.is_ranked and not board.metric.confound
    best = next((row for row in candidates if row.get("exportable") != "False"), None) if worth_exporting else None
    parts = [
        f"**Leaderboard** by {board.metric.title}{_confound(board)}.{more}",
        "\n".join(lines),
        " ".join(f"{_plain(text[:1].upper() + text[1:])}." for text in board.legend).replace("\\*:", "★:"),
    ]
    if best is not None:
        where = "" if best.get("dataset") in PHANTOM_DATASETS else " --set dataset.root=DIR"
        parts.append(f"**Export** the best as a search index: `neuroprint export OUT --run {best['run_id']}{where}`")
    return "\n\n".join(parts)


def _confound(board: Leaderboard) -> str:
    """What has to be said of a confound: that its best rows are those that tell the least of it."""
    return f", {board.metric.direction}: {_plain(board.about)}" if board.metric.confound else ""


def _failures(failed: Mapping[str, str]) -> str:
    jobs = "1 job has" if len(failed) == 1 else f"{len(failed)} jobs have"
    lines = [f"**{jobs} no finished run**", "", "| job | why |", "| --- | --- |"]
    lines += [f"| {_plain(name)} | {_plain(why)} |" for name, why in failed.items()]
    return "\n".join(lines)


def _plain(text: str) -> str:
    """Text as it is: nothing in it becomes a cell's border, emphasis or markup."""
    escaped = "".join(f"\\{letter}" if letter in "\\`*_[]|#" else letter for letter in " ".join(text.split()))
    return escaped.replace("<", "&lt;")

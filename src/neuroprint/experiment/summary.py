"""What a sweep leaves behind: its leaderboards, printed and logged, and a table of what failed."""

from __future__ import annotations

import math
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuroprint.tasks.leaderboard import MOST_PRINTED
from neuroprint.tracking.boards import leaderboards
from neuroprint.tracking.description import closing, note, title
from neuroprint.tracking.ui import HOST, PORT, commands
from neuroprint.tracking.view import view_paths, write_views

if TYPE_CHECKING:
    from mlflow.entities import Run

    from neuroprint.tasks.leaderboard import Leaderboard
    from neuroprint.tracking.store import TrackingStore

_PIPE_WIDTH = 120
_UNKNOWN = "was ended early, or did not start"
PROFILED = "profile"
"""Tag of the parents that have a profile."""


def report_sweep(
    store: TrackingStore, parent: str, runs: Sequence[Run], asked: Mapping[str, tuple[str, str]]
) -> list[Leaderboard]:
    """Print the leaderboards of a sweep's finished runs, and log them to its parent with their pictures and views.

    Args:
        store: Where the runs are.
        parent: Id of the sweep's parent run.
        runs: The runs.
        asked: What was asked of which fingerprint, by run id, where questions were asked by name. Where there are several,
            their page has the numbers of every heat map, and there is none for each.
    """
    import pandas as pd

    boards = leaderboards(store, runs)
    show_leaderboards(boards)
    with tempfile.TemporaryDirectory() as folder:
        tables = [board.to_frame() for board in boards]
        pd.concat(tables, ignore_index=True).to_csv(Path(folder) / "leaderboard.csv", index=False)
        (Path(folder) / "plots").mkdir()
        for number, board in enumerate(boards, start=1):
            profiled = len({question for question, _ in asked.values()}) > 1
            _draw(board, Path(folder) / "plots", "" if number == 1 else f"_{number}", profiled)
        store.log_folder(parent, Path(folder))
    write_views(store, parent, boards)
    return boards


def report_profile(
    store: TrackingStore, parent: str, boards: Sequence[Leaderboard], asked: Mapping[str, tuple[str, str]]
) -> None:
    """Print the profile of a sweep over questions, and log it to its parent; nothing where fewer than two were asked.

    Args:
        store: Where the runs are.
        parent: Id of the sweep's parent run.
        boards: Its leaderboards.
        asked: What was asked of which fingerprint, by run id.
    """
    from neuroprint.figures.profile import draw_profile
    from neuroprint.figures.style import save
    from neuroprint.tasks.profile import HEADS, Profile

    by_question: dict[str, Leaderboard] = {}
    for board in boards:
        questions = {asked[row["run_id"]][0] for row in board.records() if row["run_id"] in asked}
        by_question |= dict.fromkeys(questions, board)
    if len(by_question) < 2:
        return
    order = dict.fromkeys(question for question, _ in asked.values())
    profile = Profile.of(
        {question: by_question[question] for question in order if question in by_question},
        {run: name for run, (_, name) in asked.items()},
    )
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "plots").mkdir()
        profile.table.to_csv(Path(folder) / "profile.csv", index=False)
        (Path(folder) / "profile.md").write_text(profile.to_markdown(), encoding="utf-8")
        figure = draw_profile(profile.table, profile.questions, profile.names, HEADS)
        save(figure, Path(folder) / "plots" / "profile.png", pdf=True)
        store.log_folder(parent, Path(folder))
    store.log(parent, tags={PROFILED: "true"})


def profile_of(store: TrackingStore, run: Run) -> list[dict[str, Any]]:
    """What the newest profile says of a run's fingerprint, and of the reference rows beside it; empty where there is none."""
    import pandas as pd

    from neuroprint.tasks.profile import Profile

    for parent in store.search(f"tags.role = 'sweep' and tags.{PROFILED} = 'true'"):
        table = pd.read_csv(store.artifact(parent, "profile.csv"))
        names = set(table.loc[table["run_id"] == run.info.run_id, "name"])
        if names:
            own = table[(table["role"] == "candidate") & table["name"].isin(names)]
            return Profile(table).of_run([str(run_id) for run_id in own["run_id"]]).records()
    return []


def show_leaderboards(boards: Sequence[Leaderboard], most: int | None = MOST_PRINTED) -> None:
    """Print the ``most`` best runs of each leaderboard to the terminal; into a file or a pipe at a width that holds them."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console = Console(width=_PIPE_WIDTH)
    for board in boards:
        console.print(board.to_terminal(most, console.width))
    if len(boards) > 1:
        console.print(
            f"{len(boards)} leaderboards: their runs differ in cohort, folds, hold-out, task or its code, and cannot be "
            "ranked together"
        )


def describe_sweep(
    store: TrackingStore, parent: str, opening: str, boards: Sequence[Leaderboard], missing: Mapping[str, str]
) -> None:
    """Write the parent's description: how the sweep was started, and what it came to.

    Args:
        store: Where the runs are.
        parent: Id of the sweep's parent run.
        opening: How it was started.
        boards: Its leaderboards.
        missing: Names of the jobs that have no finished run, by their identity.
    """
    logged = _logged_errors(store)  # these were cleared of folders and of what headers hold
    failed = {name: logged.get(identity, _UNKNOWN) for identity, name in missing.items()}
    text = closing(boards, failed)
    store.log(parent, _headline(boards), tags=note(f"{opening}\n\n{text}" if text else opening))
    if boards:
        store.rename(parent, title(boards))


def _headline(boards: Sequence[Leaderboard]) -> dict[str, float]:
    """The headline metrics of a sweep's best row; of several leaderboards no row is the best."""
    best = boards[0].best if len(boards) == 1 else None
    if best is None:
        return {}
    headline = [metric.name for metric in boards[0].metrics.values() if metric.headline]
    values = {f"{name}{end}": float(best.get(f"{name}{end}", "nan")) for name in headline for end in ("", "_lo", "_hi")}
    return {name: value for name, value in values.items() if math.isfinite(value)}


def say_where(store: TrackingStore, parent: str) -> None:
    """Print where the sweep's ranked views are to be seen."""
    ours, mlflows = commands(store)
    print("Look at it at" if store.server else f"Look at it with {ours}, or with {mlflows} at")  # noqa: T201
    for path in view_paths(store, store.client.get_run(parent)):
        print(f"  {store.server or f'http://{HOST}:{PORT}'}{path}")  # noqa: T201


def list_failures(store: TrackingStore, missing: Mapping[str, str], said: Mapping[str, str], jobs: int) -> None:
    """Print which jobs have no finished run, and why.

    Args:
        store: Where the runs are.
        missing: Their names, by their identity.
        said: What went wrong in this process, by identity.
        jobs: How many the sweep has.
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=f"{len(missing)} of {jobs} jobs have no finished run", title_justify="left")
    table.add_column("job")
    table.add_column("why", overflow="fold")
    logged = _logged_errors(store)
    for identity, name in missing.items():
        table.add_row(escape(name), escape(said.get(identity) or logged.get(identity) or _UNKNOWN))
    Console(file=sys.stderr).print(table)


def _logged_errors(store: TrackingStore) -> dict[str, str]:
    """Why runs failed, by identity; the newest counts."""
    failed = store.search("tags.role = 'candidate' and attributes.status = 'FAILED'")
    return {run.data.tags["identity"]: run.data.tags.get("error", "") for run in reversed(failed)}


def _draw(board: Leaderboard, folder: Path, suffix: str, profiled: bool) -> None:
    from neuroprint.figures.heatmap import draw_heatmap
    from neuroprint.figures.leaderboard import draw_leaderboard
    from neuroprint.figures.style import save

    table = board.ranked_rows
    save(draw_leaderboard(table, board.metric, board.reach), folder / f"leaderboard{suffix}.png", pdf=not profiled)
    if profiled:
        return
    candidates = table[table["role"] == "candidate"]
    save(draw_heatmap(candidates, board.metric), folder / f"heatmap{suffix}.png", pdf=True)

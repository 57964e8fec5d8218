"""An answer as the terminal shows it."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from neuroprint.bundle.answer import group_sentences, remarks

if TYPE_CHECKING:
    from rich.console import Console

    from neuroprint.bundle.answer import Answer

_PRINTED_WIDTH = 100


def show_answer(answer: Answer, console: Console | None = None) -> None:
    """Print the table of matches, what must be known about it, and the vote where one was asked for."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    title = f"{answer.query.case} among the {answer.gallery} cases of {answer.bundle}"
    table = Table(title=escape(title), title_justify="left", title_style="bold")
    table.add_column("rank", justify="right")
    table.add_column("case", overflow="fold")
    table.add_column("similarity", justify="right")
    table.add_column("percentile", justify="right")
    table.add_column("distance", justify="right")
    for match in answer.matches:
        table.add_row(
            str(match.rank),
            escape(match.case),
            f"{match.similarity:.4f}",
            "unknown" if match.percentile is None else f"{match.percentile:.1f} %",
            "unknown" if match.distance_mm is None else f"{match.distance_mm:.1f} mm",
        )
    out = console or Console()
    out.print(table)
    for sentence in (*remarks(answer), *group_sentences(answer)):
        out.print(sentence, markup=False, highlight=False)
    out.print(_legend(answer), markup=False, highlight=False, style="dim")


def as_text(answer: Answer) -> str:
    """What :func:`show_answer` prints."""
    from rich.console import Console

    buffer = io.StringIO()
    show_answer(answer, Console(file=buffer, width=_PRINTED_WIDTH, force_jupyter=False, force_terminal=False))
    return buffer.getvalue().rstrip("\n")


def _legend(answer: Answer) -> str:
    said = "similarity: " + ("negative Euclidean distance" if answer.similarity == "euclidean" else answer.similarity)
    said += "; percentile: share of the gallery's pairs of different patients that is less similar"
    if all(match.distance_mm is None for match in answer.matches):
        return f"{said}; distance of the tumors' centers: unknown, as the query or the cases have no label"
    return f"{said}; distance: of the tumors' centers"

"""An answer as the terminal shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from neuroprint.bundle.answer import group_sentences, remarks

if TYPE_CHECKING:
    from neuroprint.bundle.answer import Answer
    from neuroprint.bundle.bundle import Bundle


def show(answer: Answer, bundle: Bundle) -> None:
    """Print the table of matches, what must be known about it, and the vote where one was asked for."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    title = f"{answer.query.case} among the {len(bundle.cases)} cases of {answer.bundle}"
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
    console = Console()
    console.print(table)
    for sentence in (*remarks(answer, bundle.scores["novelty"]["threshold"]), *group_sentences(answer)):
        console.print(sentence, markup=False, highlight=False)
    console.print(_legend(answer, bundle), markup=False, highlight=False, style="dim")


def _legend(answer: Answer, bundle: Bundle) -> str:
    said = "similarity: " + ("negative Euclidean distance" if bundle.similarity == "euclidean" else bundle.similarity)
    said += "; percentile: share of the gallery's pairs of different patients that is less similar"
    if all(match.distance_mm is None for match in answer.matches):
        return f"{said}; distance of the tumors' centers: unknown, as the query or the cases have no label"
    return f"{said}; distance: of the tumors' centers"

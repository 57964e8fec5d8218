"""What is found for a query, and its two plain forms: JSON, and sentences for people."""

from __future__ import annotations

import html
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from neuroprint.bundle.novelty import ALARMS

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from neuroprint.bundle.bundle import Query
    from neuroprint.bundle.novelty import Novelty
    from neuroprint.evaluation.vote import GroupVote


@dataclass(frozen=True)
class Match:
    """One case of the gallery that a query was found to resemble.

    Attributes:
        rank: 1 is the most similar.
        case: Its id.
        row: Its place in the gallery.
        similarity: To the query, by the bundle's measure; larger is closer.
        percentile: Share of the gallery's pairs of different patients that is less similar, 0 to 100; None where the
            gallery has one patient.
        distance_mm: Between the tumors' centers; None where one is not known.
    """

    rank: int
    case: str
    row: int
    similarity: float
    percentile: float | None
    distance_mm: float | None


@dataclass(frozen=True, eq=False)
class Answer:
    """The most similar cases of a gallery, and how far they can be trusted.

    Attributes:
        query: The scan as the bundle sees it.
        bundle: Name of the bundle.
        gallery: Number of its cases.
        similarity: How they were compared.
        novelty: Whether the scan is unlike anything in the gallery, and why.
        matches: Best first.
        known_as: The gallery's case that holds one of the query's images, if any does.
        map_xy: (2,) where the query falls on the cohort's 2-D map.
        column: The metadata column that was asked about.
        group: What the neighbors say about that column.
    """

    query: Query
    bundle: str
    gallery: int
    similarity: str
    novelty: Novelty
    matches: tuple[Match, ...]
    known_as: str | None
    map_xy: npt.NDArray[np.float64]
    column: str | None = None
    group: GroupVote | None = None

    def __repr__(self) -> str:
        return f"Answer({self.query.case} is like {', '.join(match.case for match in self.matches)})"

    def __str__(self) -> str:
        from neuroprint.bundle.terminal import as_text

        return as_text(self)

    def _repr_html_(self) -> str:
        heads = "".join(f"<th>{name}</th>" for name in ("rank", "case", "similarity", "percentile", "distance, mm"))
        rows = "".join(
            f"<tr><td>{match.rank}</td><td>{html.escape(match.case)}</td><td>{match.similarity:.4f}</td>"
            f"<td>{'' if match.percentile is None else f'{match.percentile:.1f}'}</td>"
            f"<td>{'' if match.distance_mm is None else f'{match.distance_mm:.1f}'}</td></tr>"
            for match in self.matches
        )
        said = "".join(f"<p>{html.escape(sentence)}</p>" for sentence in (*remarks(self), *group_sentences(self)))
        asked = html.escape(f"Most similar to {self.query.case} in {self.bundle}")
        return f"<p>{asked}</p><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>{said}"


def to_json(answer: Answer) -> dict[str, Any]:
    """The answer as ``neuroprint query --json`` prints it, whose keys scripts rely on; what is absent is None."""
    matches = [asdict(match) for match in answer.matches]
    keys = ("rank", "case", "similarity", "percentile", "distance_mm")
    vote = {} if answer.group is None else asdict(answer.group)
    vote = {"neighbours" if key == "neighbors" else key: value for key, value in vote.items()}
    return {
        "query": answer.query.case,
        "bundle": answer.bundle,
        "neighbours": [{key: match[key] for key in keys} for match in matches],
        "unlike_gallery": answer.novelty.is_unlike,
        "novelty": {
            "p_value": answer.novelty.p_value,
            "patients": answer.novelty.patients,
            "reasons": [asdict(reason) for reason in answer.novelty.reasons] if answer.novelty.is_unlike else [],
        },
        "group": None if answer.group is None else {"column": answer.column, **vote},
    }


def remarks(answer: Answer) -> list[str]:
    """What a reader must know before the list: that the scan is in the gallery, or unlike anything in it."""
    said = []
    if answer.known_as is not None:
        said.append(f"This scan, or an image of it, is in the gallery already, as {answer.known_as}.")
    if answer.novelty.is_unlike:
        said.append(
            f"This scan looks unlike anything in the gallery: {answer.novelty.because}. Of new patients of the gallery's "
            f"kind at most {ALARMS:.0%} are called so. The cases listed are the least different ones, not similar ones."
        )
    return said


def group_sentences(answer: Answer) -> list[str]:
    """What the vote says, and right after it what such votes are worth."""
    vote = answer.group
    if vote is None:
        return []
    shares = ", ".join(f"{name} {share:.0%}" for name, share in vote.shares.items())
    rates = ", ".join(f"{name} {share:.0%}" for name, share in vote.base_rates.items())
    score = "an AUC" if vote.metric == "auc" else "an accuracy"
    told = "better than chance" if vote.p_value <= 0.05 else "not told from chance"
    return [
        f"{answer.column}: the {vote.neighbors} nearest cases of other patients vote {shares}; in the gallery: {rates}.",
        f"On the gallery's own cases, their patient left out, such votes reach {score} of {vote.score:.2f} "
        f"(shuffled groups: {vote.chance:.2f} on average; permutation p = {vote.p_value:.3f}; {vote.cases} cases of "
        f"{vote.patients} patients): {told}.",
    ]

"""The table of queries: what each query retrieved, and what that is worth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from neuroprint.evaluation import retrieval
from neuroprint.evaluation.credit import credits_of_cases, credits_of_ranks
from neuroprint.evaluation.ranking import rank
from neuroprint.evaluation.subjects import Subjects, known

if TYPE_CHECKING:
    import pandas as pd

    from neuroprint.evaluation.relevance import Relevance
    from neuroprint.evaluation.splits import Split

Array = npt.NDArray[np.float64]
Columns = dict[str, Any]

CUTOFFS = (1, 3, 5, 10)
NEIGHBORS = 50
AS_ANSWER = "_as_answer"
"""Ending of the columns that hold what a case earned for others, as part of their galleries."""


@dataclass(frozen=True, eq=False)
class Truth:
    """What is known of the cases before any embedding.

    Attributes:
        subjects: The cases.
        relevance: Relevance and gain of all pairs.
        distances_mm: (n, n) distances between centers, NaN where unknown.
    """

    subjects: Subjects
    relevance: Relevance
    distances_mm: Array

    def of(self, split: Split) -> tuple[npt.NDArray[np.bool_], Array, Array]:
        """Relevance, gain and distance of the split's gallery to its queries, (queries, gallery) each."""
        pairs = np.ix_(split.queries, split.gallery)
        return self.relevance.relevant[pairs], self.relevance.gain[pairs], self.distances_mm[pairs]


@dataclass(frozen=True, eq=False)
class Answers:
    """What one fold's ranking gave.

    Attributes:
        columns: Columns of the table, a value per query.
        credits: (gallery,) by metric, what each gallery case earned over the fold's queries.
    """

    columns: Columns
    credits: dict[str, Array]


def answer(truth: Truth, split: Split, similarity: Array, brief: bool = False) -> Answers:
    """Rank the gallery for each query of a fold and score the ranking.

    Args:
        truth: What is known of the cases.
        split: The fold.
        similarity: (queries, gallery).
        brief: Only the headline metrics, which is all that a further draw of the folds is made for.
    """
    ids = [truth.subjects.ids[case] for case in split.gallery]
    order = rank(similarity, ids)
    relevant, gain, distance = truth.of(split)
    relevant, gain = np.take_along_axis(relevant, order, axis=1), np.take_along_axis(gain, order, axis=1)
    distance = np.take_along_axis(distance, order, axis=1)
    metrics = {
        "p_at_5": retrieval.precision_at_k(relevant, 5),
        "average_precision": retrieval.average_precision(relevant),
        "ndcg_at_10": retrieval.ndcg_at_k(gain, 10),
    }
    if brief:
        return Answers(_columns(truth, split, {}, metrics), {})
    metrics = {f"p_at_{k}": retrieval.precision_at_k(relevant, k) for k in CUTOFFS} | {
        "average_precision": metrics["average_precision"],
        "reciprocal_rank": retrieval.reciprocal_rank(relevant),
        "ndcg_at_10": metrics["ndcg_at_10"],
        "auc": retrieval.auc(relevant),
        "dist_mm_at_5": retrieval.mean_distance_at_k(distance, 5),
    }
    first, near = order[:, :NEIGHBORS], distance[:, :NEIGHBORS].astype(object)
    near[~np.isfinite(distance[:, :NEIGHBORS])] = None
    neighbors = {
        "neighbors": np.array(ids, dtype=object)[first].tolist(),
        "similarities": np.take_along_axis(similarity, first, axis=1).tolist(),
        "distances_mm": near.tolist(),
    }
    earned = credits_of_cases(credits_of_ranks(relevant, gain, distance), order)
    return Answers(_columns(truth, split, neighbors, metrics), earned)


def answer_at_random(truth: Truth, split: Split) -> Answers:
    """The expected scores of a random ranking for each query of a fold; it has no neighbors to show."""
    relevant, gain, distance = truth.of(split)
    count, gallery = relevant.sum(axis=1), len(split.gallery)
    metrics = {f"p_at_{k}": retrieval.expected_precision(count, gallery, k) for k in CUTOFFS} | {
        "average_precision": retrieval.expected_average_precision(count, gallery),
        "reciprocal_rank": retrieval.expected_reciprocal_rank(count, gallery),
        "ndcg_at_10": retrieval.expected_ndcg(gain, 10),
        "auc": retrieval.expected_auc(count, gallery),
        "dist_mm_at_5": retrieval.expected_mean_distance(distance),
    }
    nobody: Columns = {name: [[] for _ in split.queries] for name in ("neighbors", "similarities", "distances_mm")}
    columns = _columns(truth, split, nobody, metrics)
    earned = {name: np.full(gallery, np.nansum(columns[name]) / gallery) for name in metrics}
    return Answers(columns, earned)


def tabulate(truth: Truth, folds: list[tuple[Split, Answers, Array]]) -> pd.DataFrame:
    """One row per query and gallery, by case id, from the folds' answers and (queries, 3) predicted centers in mm."""
    import pandas as pd

    parts: list[Columns] = []
    earned = {name: np.zeros(len(truth.subjects)) for name in folds[0][1].credits}
    for split, answers, predicted in folds:
        for name, values in answers.credits.items():
            earned[name][split.gallery] += values
        true = truth.subjects.centers_mm[split.queries]
        positions = {
            "predicted": predicted,
            "true": true,
            "baseline": np.broadcast_to(baseline(truth, split), true.shape),
        }
        by_axis = {
            f"{kind}_{axis}_mm": values[:, place]
            for kind, values in positions.items()
            for place, axis in enumerate(("x", "y", "z"))
        }
        parts.append({**answers.columns, **by_axis, "right": truth.subjects.right[split.queries]})
    asked = np.concatenate([split.queries for split, _, _ in folds])
    order = np.argsort(asked, kind="stable")  # subjects are sorted by id
    columns = {name: _joined([part[name] for part in parts], order) for name in parts[0]}
    columns |= {f"{name}{AS_ANSWER}": values[asked[order]] for name, values in earned.items()}
    return pd.DataFrame(columns)


def _joined(parts: list[Any], order: npt.NDArray[np.int64]) -> Any:
    """A column of all folds, as an array or as a list, whichever its parts are."""
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)[order]
    whole = [value for part in parts for value in part]
    return [whole[place] for place in order]


def baseline(truth: Truth, split: Split) -> Array:
    """(3,) mean center of the gallery side, NaN if no case there has one."""
    centers = truth.subjects.centers_mm[split.gallery]
    placed = centers[known(centers)]
    return placed.mean(axis=0) if len(placed) else np.full(3, np.nan)


def _columns(truth: Truth, split: Split, neighbors: Columns, metrics: dict[str, Array]) -> Columns:
    subjects = truth.subjects
    relevant = truth.of(split)[0].sum(axis=1)
    return {
        "case": [subjects.ids[case] for case in split.queries],
        "patient": [subjects.patients[case] for case in split.queries],
        "fold": np.full(len(split.queries), split.fold),
        "gallery": np.full(len(split.queries), len(split.gallery)),
        "relevant": relevant,
        **neighbors,
        **{name: np.where(relevant > 0, values, np.nan) for name, values in metrics.items()},
    }

"""What the nearest cases of a query say about a group, and how well such votes do where the answer is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from neuroprint.errors import NeuroprintError
from neuroprint.evaluation.arrays import Array, Indices
from neuroprint.evaluation.classification import class_auc
from neuroprint.evaluation.similarity import similarity_named

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


MOST_SCORED = 2000
"""Of a larger gallery this many cases, drawn at random, are scored: enough for two digits of an AUC."""
LISTED = 200
"""Of a gallery's own case this many nearest cases are known, and one fewer vote at most."""


@dataclass(frozen=True)
class GroupVote:
    """The vote for one query, and what such votes are worth.

    Attributes:
        shares: Share of the neighbors' weight by group, in the order of the groups' names.
        base_rates: Share of the gallery's cases by group: what is known without looking at the scan.
        metric: ``auc`` where there are two groups, else ``accuracy``.
        score: Of the gallery's own cases, each voted on by cases of other folds only, where nothing was fitted to it.
        chance: What ``score`` is on average when the groups are shuffled between patients. Of an AUC a little below
            0.5: whoever is left out makes his own group rarer among those who vote.
        p_value: How often shuffled groups score as well: (1 + as well) / (1 + shuffles).
        neighbors: Cases that voted on the query.
        cases, patients: Scored cases, and the patients they are of.
    """

    shares: Mapping[str, float]
    base_rates: Mapping[str, float]
    metric: Literal["auc", "accuracy"]
    score: float
    chance: float
    p_value: float
    neighbors: int
    cases: int
    patients: int


def group_vote(
    query: npt.NDArray[np.floating],
    gallery: npt.NDArray[np.floating],
    ids: Sequence[str],
    patients: Sequence[str],
    groups: Sequence[str | None],
    neighbors: npt.NDArray[np.integer],
    neighbor_similarity: npt.NDArray[np.floating],
    *,
    query_patient: str | None = None,
    similarity: str = "cosine",
    k: int = 5,
    shuffles: int = 999,
    seed: int = 0,
) -> GroupVote:
    """Let the k nearest cases of a known group vote on a query's group, and score such votes on the gallery itself.

    A neighbor's weight is (s - r) / (s1 - r), with s its similarity, s1 the nearest's and r that of the first
    neighbor who has no vote (Dudani 1976, with the reference of Hechenbichler and Schliep 2004): it depends on neither
    the unit nor the zero of the similarity. The gallery's own cases are voted on by their lists of neighbors, which are
    to come from a projection that has not seen them: of one that has, supervised above all, the score would be that of
    the fit and not of the vote. The groups are shuffled between patients: where a patient's cases are of several groups,
    between patients with as many cases.

    Args:
        query: (d,) embedding.
        gallery: (n, d) embeddings.
        ids: (n,) case ids, which break ties.
        patients: (n,) patient of each case.
        groups: (n,) group of each case; None where it is not known: such a case neither votes nor is scored.
        neighbors: (n, m) rows of the cases nearest to each gallery case, best first, none of its own patient; -1 where
            the list ends. A case whose list holds nobody of known group is not scored.
        neighbor_similarity: (n, m) how similar those are; anything where the list has ended.
        query_patient: Whose cases have no vote on the query, where the patient may be in the gallery.
        similarity: ``cosine``, ``dot`` or ``euclidean``.
        k: How many neighbors vote, on the query and in the score, 199 at most; fewer where the gallery or a case's
            list is shorter.
        shuffles: How many shuffles the p-value is taken from.
        seed: Of the shuffles, and of which cases are scored where there are more than 2,000.

    Raises:
        NeuroprintError: Fewer than three patients or two groups are known, nearly every patient is a group of his own,
            or no case has a list to be scored by.
    """
    k = min(k, LISTED - 1)
    known = [row for row in sorted(range(len(ids)), key=ids.__getitem__) if groups[row] is not None]
    names = sorted({str(groups[row]) for row in known})
    patient_names, owner = np.unique([patients[row] for row in known], return_inverse=True)
    _refuse_what_is_no_grouping(names, len(patient_names))
    codes = np.array([names.index(str(groups[row])) for row in known], dtype=np.int64)
    vectors = gallery[known]
    others = np.array([patient != query_patient for patient in patient_names])[owner]
    close = similarity_named(similarity)(query[None], vectors)
    voters, weights = _voters(np.where(others, close, -np.inf), k)
    share = _shares(voters, weights, codes, len(names))[0]

    rng = np.random.default_rng(seed)
    listed = _places(neighbors[known], known, len(ids))
    with_list = np.flatnonzero((listed >= 0).any(axis=1))
    if not len(with_list):
        raise NeuroprintError("no case of the gallery has neighbors of known group in another fold to be scored by")
    scored = np.sort(rng.choice(with_list, min(MOST_SCORED, len(with_list)), replace=False))
    near, near_weights = _listed_voters(listed[scored], neighbor_similarity[known][scored], k)

    def score(labels: Indices) -> float:
        return _score(_shares(near, near_weights, labels, len(names)), labels[scored])

    observed = score(codes)
    shuffled = np.array([score(_shuffle(codes, owner, rng)) for _ in range(shuffles)])
    return GroupVote(
        shares=dict(zip(names, share.tolist(), strict=True)),
        base_rates=dict(zip(names, (np.bincount(codes) / len(codes)).tolist(), strict=True)),
        metric="auc" if len(names) == 2 else "accuracy",
        score=observed,
        chance=float(shuffled.mean()) if shuffles else float("nan"),
        p_value=float((1 + (shuffled >= observed - 1e-12).sum()) / (1 + shuffles)),
        neighbors=int((weights[0] > 0).sum()),
        cases=len(scored),
        patients=len(np.unique(owner[scored])),
    )


def _refuse_what_is_no_grouping(names: list[str], patients: int) -> None:
    if patients < 3 or len(names) < 2:
        raise NeuroprintError(
            f"a vote needs two groups and three patients of known group; there are {len(names)} and {patients}"
        )
    if len(names) > patients / 2:
        raise NeuroprintError(
            f"there are {len(names)} different values among {patients} patients: a vote needs groups of several patients"
        )


def neighbor_weights(similarities: Array) -> Array:
    """Weights of neighbors by how much nearer they are than the first who has none.

    Args:
        similarities: (m, k + 1), falling along a row; -inf where there is nobody.

    Returns:
        (m, k): (s - r) / (s1 - r), r the last column; equal weights where all are as near. Where the last column is
        nobody, r lies one mean step beyond the last neighbor. 0 where there is nobody.
    """
    votes = np.isfinite(similarities[:, :-1])
    values = np.where(votes, similarities[:, :-1], np.inf)
    nearest, last = similarities[:, 0], values.min(axis=1)
    beyond = last - (nearest - last) / np.maximum(votes.sum(axis=1) - 1, 1)
    reference = np.where(np.isfinite(similarities[:, -1]), similarities[:, -1], beyond)
    span = (nearest - reference)[:, None]
    above = np.where(votes, similarities[:, :-1] - reference[:, None], 0.0)
    weights: Array = np.where(span > 0, above / np.where(span > 0, span, 1.0), votes.astype(np.float64))
    return weights


def _voters(similarity: Array, k: int) -> tuple[Indices, Array]:
    """The nearest of each row and their weights, (m, k) each; who may not vote (-inf) has weight 0."""
    count = min(k, similarity.shape[1])
    order = np.argsort(-similarity, axis=1, kind="stable")[:, : count + 1]
    values = np.take_along_axis(similarity, order, axis=1)
    values = np.pad(values, ((0, 0), (0, count + 1 - values.shape[1])), constant_values=-np.inf)
    return order[:, :count], neighbor_weights(values)


def _places(neighbors: npt.NDArray[np.integer], known: Sequence[int], n: int) -> Indices:
    """Rows among all n cases as places among those of known group; -1 for the others, and where there is nobody."""
    place = np.full(n + 1, -1, dtype=np.int64)  # the last is nobody's, which -1 leads to
    place[known] = np.arange(len(known))
    listed: Indices = place[neighbors]
    return listed


def _listed_voters(listed: Indices, similarity: npt.NDArray[np.floating], k: int) -> tuple[Indices, Array]:
    """As :func:`_voters`, from lists that fall in similarity; who is -1 is skipped, and there is someone in each."""
    votes = listed >= 0
    order = np.argsort(~votes, axis=1, kind="stable")[:, : k + 1]
    values = np.take_along_axis(np.where(votes, similarity, -np.inf).astype(np.float64), order, axis=1)
    count = min(k, values.shape[1])
    values = np.pad(values, ((0, 0), (0, count + 1 - values.shape[1])), constant_values=-np.inf)
    return np.take_along_axis(listed, order, axis=1)[:, :count], neighbor_weights(values)


def _shares(voters: Indices, weights: Array, codes: Indices, groups: int) -> Array:
    """(m, groups) share of the weight by group."""
    total = weights.sum(axis=1)
    return np.stack([(weights * (codes[voters] == group)).sum(axis=1) / total for group in range(groups)], axis=1)


def _score(shares: Array, truth: Indices) -> float:
    if shares.shape[1] == 2:
        auc = class_auc(shares[:, 1], truth == 1)
        return auc if np.isfinite(auc) else 0.5
    return float((shares.argmax(axis=1) == truth).mean())


def _shuffle(codes: Indices, owner: Indices, rng: np.random.Generator) -> Indices:
    """Groups dealt anew to patients: freely where each has but one, else among patients with as many cases."""
    first = np.full(owner.max() + 1, -1)
    first[owner[::-1]] = codes[::-1]
    if (first[owner] == codes).all():
        return rng.permutation(first)[owner].astype(np.int64)
    dealt = codes.copy()
    by_patient = np.argsort(owner, kind="stable")
    blocks = np.split(by_patient, np.cumsum(np.bincount(owner))[:-1])
    for size in {len(block) for block in blocks}:
        alike = np.stack([block for block in blocks if len(block) == size])
        dealt[alike] = codes[alike[rng.permutation(len(alike))]]
    return dealt

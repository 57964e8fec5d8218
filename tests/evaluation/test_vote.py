"""A vote of neighbors: what it says of a query, and what it is worth on the gallery."""

import numpy as np
import pytest

from neuroprint.errors import NeuroprintError
from neuroprint.evaluation.similarity import similarity_named
from neuroprint.evaluation.vote import group_vote, neighbor_weights


def gallery(n, visits=1, groups=("no", "yes"), signal=0.0, seed=0):
    """Patients whose group moves their vectors by ``signal`` standard deviations along one axis."""
    rng = np.random.default_rng(seed)
    group = rng.integers(len(groups), size=n // visits).repeat(visits)
    vectors = rng.normal(size=(n, 4))
    vectors[:, 0] += signal * group
    patients = [f"patient-{row // visits:04d}" for row in range(n)]
    return vectors, [f"case-{row:04d}" for row in range(n)], patients, [groups[g] for g in group]


def vote(cohort, query=None, **options):
    options = {"similarity": "euclidean", "shuffles": 99} | options
    vectors, ids, patients, _ = cohort
    lists = neighbors(vectors, ids, patients, options["similarity"])
    return group_vote(np.zeros(4) if query is None else query, *cohort, *lists, **options)


def neighbors(vectors, ids, patients, similarity="euclidean"):
    """Each case's list of the cases of other patients, nearest first, equals by id; and how similar they are."""
    close = similarity_named(similarity)(vectors, vectors)
    close[np.array(patients)[:, None] == np.array(patients)] = -np.inf
    order = np.array([sorted(range(len(ids)), key=lambda other: (-row[other], ids[other])) for row in close])
    values = np.take_along_axis(close, order, axis=1)
    return np.where(np.isfinite(values), order, -1), values


def test_the_shares_are_the_weights_that_dudani_gives_the_nearest():
    vectors = np.array([[1.0], [2.0], [4.0], [5.0], [30.0], [40.0]])
    groups = ["a", "b", "b", "a", "a", "b"]
    cohort = vectors, list("uvwxyz"), list("uvwxyz"), groups
    shares = vote(cohort, np.zeros(1), k=3).shares
    # Three voters at 1, 2 and 4; the fourth, at 5, is the reference: weights 4/4, 3/4 and 1/4.
    assert shares == pytest.approx({"a": 1 / 2, "b": 1 / 2})
    assert vote(cohort, np.zeros(1), k=1).shares == {"a": 1, "b": 0}
    assert vote(cohort, np.zeros(1), k=6).neighbors == 6


def test_out_of_fold_scores_are_those_of_scikit_learn():
    from sklearn.metrics import accuracy_score, roc_auc_score
    from sklearn.neighbors import KNeighborsClassifier

    def dudani(distances):
        nearest, reference = distances[:, :1], distances[:, -1:]
        return (reference - distances) / (reference - nearest)

    for groups in (("no", "yes"), ("2", "3", "4")):
        vectors, _, patients, labels = cohort = gallery(60, visits=2, groups=groups, signal=1.0)
        vectors += 2 * np.random.default_rng(1).normal(size=(30, 4)).repeat(
            2, axis=0
        )  # a patient's visits lie together
        owner, truth = np.array(patients), np.array(labels)
        shares = []
        for row in range(60):
            rest = owner != owner[row]
            # The sixth neighbor has weight 0: he is the reference of the five who vote.
            knn = KNeighborsClassifier(6, weights=dudani).fit(vectors[rest], truth[rest])
            shares.append(knn.predict_proba(vectors[row : row + 1])[0])
        shares = np.array(shares)
        found = vote(cohort, k=5)
        if len(groups) == 2:
            assert found.metric == "auc"
            assert found.score == pytest.approx(roc_auc_score(truth == "yes", shares[:, 1]))
        else:
            assert found.metric == "accuracy"
            assert found.score == pytest.approx(accuracy_score(truth, np.array(groups)[shares.argmax(axis=1)]))
        assert found.base_rates == pytest.approx({group: float((truth == group).mean()) for group in groups})
        assert (found.cases, found.patients) == (60, 30)


def test_a_planted_signal_is_found():
    found = vote(gallery(80, signal=4.0), query=np.array([4.0, 0, 0, 0]))
    assert found.shares["yes"] > 0.9
    assert found.score > 0.9 and found.p_value == pytest.approx(0.01)
    assert found.chance < 0.6


@pytest.mark.parametrize("visits", [1, 2])
def test_without_a_signal_p_values_are_spread_evenly(visits):
    p = np.array([vote(gallery(30, visits, seed=seed), shuffles=39).p_value for seed in range(150)])
    assert p.min() >= 1 / 40
    assert 0.4 < p.mean() < 0.6
    assert (p <= 0.1).mean() < 0.18 and (p > 0.9).mean() < 0.18


def test_visits_of_one_patient_are_no_evidence():
    # Cases of a patient lie together and share their group: a shuffle of cases, or a vote of one's own visits, would find
    # a signal where there is none.
    p = []
    for seed in range(40):
        vectors, ids, patients, groups = gallery(60, visits=6, seed=seed)
        vectors += 8 * np.random.default_rng(900 + seed).normal(size=(10, 4)).repeat(6, axis=0)
        if len(set(groups)) == 2:
            p.append(vote((vectors, ids, patients, groups), shuffles=49).p_value)
    assert (np.array(p) <= 0.1).mean() < 0.25


def test_groups_that_change_within_a_patient_are_shuffled_between_patients_with_as_many_cases():
    vectors, ids, patients, _ = gallery(40, visits=2)
    before_and_after = ["before", "after"] * 20
    found = vote((vectors, ids, patients, before_and_after))
    # Whoever is shuffled, each patient still has one case of either group in this order: no shuffle differs.
    assert found.p_value == 1 and found.chance == pytest.approx(found.score)


def test_the_querys_own_patient_and_unknown_groups_have_no_vote():
    vectors, ids, patients, groups = gallery(30, signal=2.0)
    query = vectors[0]
    mine = vote((vectors, ids, patients, groups), query, k=1)
    assert mine.shares[groups[0]] == 1
    turned = [{"no": "yes", "yes": "no"}[groups[0]], *groups[1:]]
    others = vote((vectors, ids, patients, groups), query, k=1, query_patient=patients[0]).shares
    assert vote((vectors, ids, patients, turned), query, k=1, query_patient=patients[0]).shares == others
    unknown = vote((vectors, ids, patients, [None, *groups[1:]]), query, k=1)
    assert unknown.shares == others and unknown.cases == 29


def test_the_order_of_the_gallery_does_not_matter():
    vectors, ids, patients, groups = gallery(40, signal=1.0)
    vectors = np.round(vectors)  # many equal distances
    turn = np.random.default_rng(5).permutation(40)
    turned = vectors[turn], *([column[row] for row in turn] for column in (ids, patients, groups))
    assert vote(turned) == vote((vectors, ids, patients, groups))


def test_the_weights_depend_on_neither_unit_nor_zero_of_the_similarity():
    vectors, ids, patients, groups = gallery(40, signal=1.0)
    small = vote((vectors, ids, patients, groups), query=np.full(4, 0.5))
    large = vote((1000 * vectors, ids, patients, groups), query=np.full(4, 500.0))
    assert large.shares == pytest.approx(small.shares)
    assert vote((vectors, ids, patients, groups), query=np.full(4, 0.5), similarity="cosine").cases == 40


def test_what_is_no_grouping_is_refused():
    vectors, ids, patients, _ = gallery(20)
    with pytest.raises(NeuroprintError, match="20 different values among 20 patients"):
        vote((vectors, ids, patients, [f"{row}" for row in range(20)]))
    with pytest.raises(NeuroprintError, match="two groups"):
        vote((vectors, ids, patients, ["same"] * 20))
    with pytest.raises(NeuroprintError, match="two groups"):
        vote((vectors, ids, patients, [None] * 20))


def test_the_score_is_that_of_the_lists_and_of_nothing_else():
    """The gallery tells the groups apart, as it does when a projection was fitted to them; the lists do not."""
    seen, ids, patients, groups = gallery(80, signal=6.0)
    unseen = np.random.default_rng(7).normal(size=seen.shape)
    found = group_vote(
        seen[0], seen, ids, patients, groups, *neighbors(unseen, ids, patients), similarity="euclidean", shuffles=99
    )
    assert found.shares[groups[0]] == 1
    assert 0.3 < found.score < 0.7 and found.p_value > 0.05
    assert vote((seen, ids, patients, groups)).score > 0.95


def test_who_has_no_list_is_not_scored():
    vectors, ids, patients, groups = gallery(30, signal=2.0)
    rows, close = neighbors(vectors, ids, patients)
    rows[:4] = -1
    found = group_vote(vectors[0], vectors, ids, patients, groups, rows, close, similarity="euclidean", shuffles=9)
    assert (found.cases, found.patients) == (26, 26)
    with pytest.raises(NeuroprintError, match="no case of the gallery has neighbors"):
        group_vote(vectors[0], vectors, ids, patients, groups, np.full_like(rows, -1), close, shuffles=9)


def test_as_many_vote_in_the_score_as_on_the_query():
    one, five = (vote(gallery(60, signal=1.0), k=k) for k in (1, 5))
    assert (one.neighbors, five.neighbors) == (1, 5)
    assert one.score != five.score


def test_the_weights_fall_to_one_mean_step_beyond_the_last_where_nobody_comes_after():
    weights = neighbor_weights(np.array([[0.9, 0.7, 0.5, -np.inf]]))
    np.testing.assert_allclose(weights, [[1, 2 / 3, 1 / 3]])
    assert (neighbor_weights(np.array([[0.9, -np.inf]])) == 1).all()

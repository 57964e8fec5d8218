"""``task=composition``: relevance by how much of one tumor would have to change its tissue to become like the other."""

import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, r2_score

from neuroprint.data.case import Case
from neuroprint.data.cohort import Cohort
from neuroprint.errors import NeuroprintError
from neuroprint.evaluation.benchmark import Benchmark, Protocol
from neuroprint.tasks import Composition

FIRST, EVERY = np.array([0]), np.arange(4)


def made_of(located, *parts: tuple[int, int, int], **more):
    """Tumors of so many voxels of necrosis, edema and enhancement, labeled as BraTS did up to 2021."""
    voxels = [{value: n for value, n in zip((1, 2, 4), part, strict=True) if n} for part in parts]
    return located(np.zeros(len(parts)), voxels=voxels, **more)


def test_the_targets_are_the_shares_of_the_whole_tumor(located):
    question = Composition().question(*made_of(located, (10, 60, 30), (0, 5, 0), (1, 0, 3)), "world")
    assert question.target_names == ("necrosis", "edema", "enhancement")
    assert question.targets == pytest.approx(np.array([[0.1, 0.6, 0.3], [0, 1, 0], [0.25, 0, 0.75]]))


def test_a_case_is_relevant_up_to_half_the_sum_of_the_differences(located):
    given = made_of(located, (20, 50, 30), (30, 50, 20), (32, 36, 32), (45, 20, 35))  # 0.1, 0.14 and 0.3 apart
    judged = Composition(within=0.125).question(*given, "world").judged(FIRST, EVERY)
    assert judged.relevant[0].tolist() == [False, True, False, False]
    assert judged.gain[0] == pytest.approx([0, 1 - 0.1 / 0.25, 1 - 0.14 / 0.25, 0])


def test_size_has_no_part_in_it(located):
    question = Composition().question(*made_of(located, (1, 2, 3), (100, 200, 300)), "world")
    judged = question.judged(FIRST, np.arange(2))
    assert judged.relevant[0].tolist() == [False, True] and judged.gain[0, 1] == 1.0


def test_the_ideal_ranking_is_by_the_distance(located):
    given = made_of(located, (20, 50, 30), (45, 20, 35), (32, 36, 32), (30, 50, 20))
    order = np.argsort(-Composition().question(*given, "world").ideal(FIRST, EVERY)[0], kind="stable")
    assert order.tolist() == [0, 3, 2, 1]


def test_the_probe_is_scored_as_scikit_learn_scores_three_numbers(located):
    rng = np.random.default_rng(0)
    shares = rng.dirichlet([2, 4, 3], 60)
    benchmark = Benchmark(
        Composition().question(*made_of(located, *np.rint(1e5 * shares).astype(int)), "world"), Protocol()
    )
    found = benchmark.score(shares @ rng.normal(size=(3, 6)) + 0.3 * rng.normal(size=(60, 6)))
    true = benchmark.question.targets
    assert found.metrics["probe/mae"] == pytest.approx(100 * mean_absolute_error(true, found.predicted))
    each = r2_score(true, found.predicted, multioutput="raw_values")
    names = ("necrosis", "edema", "enhancement")
    ours = [found.metrics[f"probe/r2_{name}"] for name in names]
    assert ours == pytest.approx(each, abs=0.05)  # of the gallery's means, not of the whole cohort's
    assert found.metrics["probe/r2"] == pytest.approx(np.mean(ours))
    assert found.metrics["probe/mae_lo"] < found.metrics["probe/mae"] < found.metrics["probe/mae_hi"]
    knowing = benchmark.score(true, "euclidean").metrics
    assert knowing["probe/r2"] > 0.99 and knowing["retrieval/map"] > 0.9


def test_a_case_without_a_tumor_consists_of_nothing(located):
    cases, facts = located([0, 0], voxels=[{2: 5}, {}])
    why = [Composition().why_not(case, facts[case.id]) for case in cases]
    assert why == [None, "its label has no voxel of whole_tumor: it has no composition to score"]
    assert Composition().why_not(cases[0], None) == "its scans were not read: it has no composition to score"


def test_labels_that_do_not_tell_the_tissues_apart_are_refused():
    with pytest.raises(
        NeuroprintError, match=r"^task=composition needs labels that tell necrosis, edema and enhancement apart"
    ):
        Composition().check(Cohort("plain", (Case("a", "a", {}, label_convention="any"),)))
    Composition().check(Cohort("told", (Case("a", "a", {}, label_convention="msd"),)))


@pytest.mark.parametrize("within", [0, 1, -0.1, float("nan"), "0.1"])
def test_a_distance_that_says_nothing_is_refused(within):
    with pytest.raises(NeuroprintError, match=r"^task=composition: within=.*: must be a share between 0 and 1$"):
        Composition(within=within)

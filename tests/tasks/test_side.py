"""``task=side``: on which side of the brain's middle the tumor lies."""

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

from neuroprint.errors import NeuroprintError
from neuroprint.evaluation.benchmark import Benchmark, Protocol
from neuroprint.tasks import Side

EVERY = np.arange(4)
QUICK = Protocol()


def test_cases_of_the_same_side_are_relevant_and_ideally_come_first(located):
    question = Side().question(*located([-1, -30, 5, 8]), "world")
    judged = question.judged(EVERY, EVERY)
    assert judged.relevant.tolist() == [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]]
    assert np.array_equal(judged.gain, judged.relevant)
    assert question.ideal(EVERY, EVERY).tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]
    assert judged.pairs["distance_mm"][0] == pytest.approx([0, 29, 6, 9])


def test_the_sides_are_classes(located):
    question = Side().question(*located([-1, -30, 5, 8]), "world")
    assert question.target_names == ("left", "right")
    assert question.targets.tolist() == [[1, 0], [1, 0], [0, 1], [0, 1]]


@pytest.mark.parametrize("frame", ["world", "brain"])
def test_the_middle_is_that_of_the_brain_and_not_of_the_scanner(located, frame):
    question = Side().question(*located([10, 20, 30, 40], middle_mm=(25, 0, 0)), frame)
    assert question.targets.argmax(axis=1).tolist() == [0, 0, 1, 1]


def test_the_probe_is_scored_as_scikit_learn_scores_classes(located, auc_within_folds):
    centers = np.random.default_rng(0).normal(size=(60, 3)) * 30
    question = Side().question(*located(centers), "world")
    benchmark = Benchmark(question, QUICK)
    found = benchmark.score(centers + 40 * np.random.default_rng(1).normal(size=(60, 3)))
    right = centers[:, 0] > 0
    assert found.metrics["probe/auc"] == pytest.approx(auc_within_folds(found, right, found.predicted[:, 1]))
    accuracy = balanced_accuracy_score(right, found.predicted.argmax(axis=1))
    assert found.metrics["probe/balanced_accuracy"] == pytest.approx(accuracy)
    assert found.metrics["probe/balanced_accuracy_lo"] < accuracy < found.metrics["probe/balanced_accuracy_hi"]
    assert 0.6 < accuracy < 0.95
    assert benchmark.chance.metrics["probe/auc"] == benchmark.chance.metrics["probe/balanced_accuracy"] == 0.5
    assert benchmark.oracle.metrics["probe/auc"] == benchmark.oracle.metrics["probe/balanced_accuracy"] == 1.0
    assert not any("r2" in name or "error" in name for name in found.metrics)
    assert "retrieval/dist_mm_at_5" in found.metrics


def test_with_one_side_only_the_probe_has_no_auc(located):
    found = Benchmark(Side().question(*located(np.arange(1.0, 21.0)), "world"), QUICK).score(np.eye(20))
    assert "probe/auc" in found.undefined
    assert found.metrics["probe/balanced_accuracy"] == 1.0


def test_wrong_parameters_are_refused():
    with pytest.raises(NeuroprintError, match="task=side: region=edema"):
        Side(region="edema")
    with pytest.raises(TypeError, match="radius_mm"):
        Side(radius_mm=20)

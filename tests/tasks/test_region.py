"""``task=region``: the part of the brain's box that holds most of the tumor."""

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

from neuroprint.data.brain_grid import CELLS
from neuroprint.data.case import Case
from neuroprint.data.cohort import Cohort
from neuroprint.errors import NeuroprintError
from neuroprint.evaluation.benchmark import Benchmark, Protocol
from neuroprint.tasks import Region, Side

EVERY = np.arange(4)


def cell(x: int, y: int, z: int) -> int:
    return (x * CELLS + y) * CELLS + z


def balls(located, centers_mm: np.ndarray):
    """Tumors of 15 mm radius about these centers in a brain of 200 mm along each axis."""
    axis = (np.arange(CELLS) + 0.5) / CELLS * 200 - 100
    places = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    cells = [dict.fromkeys(np.flatnonzero(np.linalg.norm(places - c, axis=1) < 15).tolist(), 255) for c in centers_mm]
    return located(centers_mm, cells=cells)


def test_the_part_is_the_one_that_holds_most_of_the_tumor(located):
    cells = [
        {cell(15, 15, 15): 255},
        {cell(16, 15, 15): 200, cell(15, 15, 15): 199},
        {cell(31, 31, 0): 100, cell(0, 31, 31): 60, cell(0, 30, 31): 60},
        {cell(31, 31, 31): 1},
    ]
    question = Region().question(*located(np.zeros(4), cells=cells), "world")
    named = [question.target_names[place] for place in question.targets.argmax(axis=1)]
    assert named == ["left back down", "right back down", "left front up", "right front up"]
    assert question.targets.sum(axis=1).tolist() == [1.0] * 4 and len(set(question.target_names)) == 8


def test_cases_of_the_same_part_are_relevant_and_ideally_come_first(located):
    given = balls(located, np.array([[-40.0, 30, 30], [-30, 50, 20], [-40, 30, -30], [40, 30, 30]]))
    by_octant = Region().question(*given, "world")
    assert by_octant.judged(EVERY, EVERY).relevant.sum() == 2 and by_octant.judged(EVERY, EVERY).relevant[0, 1]
    by_side = Region(by="hemisphere").question(*given, "world")
    assert by_side.judged(EVERY, EVERY).relevant[0].tolist() == [False, True, True, False]
    assert by_side.ideal(EVERY, EVERY)[0].tolist() == [1, 1, 1, 0]
    assert by_side.target_names == ("left", "right")


def test_the_hemisphere_of_a_compact_tumor_is_the_side_of_its_center(located):
    centers = np.random.default_rng(0).uniform(-60, 60, (40, 3))
    given = balls(located, centers)
    sides, hemispheres = (task.question(*given, "world").targets for task in (Side(), Region(by="hemisphere")))
    far = np.abs(centers[:, 0]) > 4
    assert np.array_equal(sides[far], hemispheres[far]) and far.sum() > 30


def test_the_probe_is_scored_as_scikit_learn_scores_classes(located, auc_within_folds):
    rng = np.random.default_rng(0)
    centers = rng.uniform(-60, 60, (80, 3))
    benchmark = Benchmark(Region().question(*balls(located, centers), "world"), Protocol())
    found = benchmark.score(np.sign(centers) @ rng.normal(size=(3, 8)) + 2 * rng.normal(size=(80, 8)))
    true = benchmark.question.targets
    each = [auc_within_folds(found, true[:, part], found.predicted[:, part]) for part in range(true.shape[1])]
    assert found.metrics["probe/auc"] == pytest.approx(np.mean(each))
    accuracy = balanced_accuracy_score(true.argmax(axis=1), found.predicted.argmax(axis=1))
    assert found.metrics["probe/balanced_accuracy"] == pytest.approx(accuracy)
    assert benchmark.chance.metrics["probe/auc"] == 0.5
    assert benchmark.chance.metrics["probe/balanced_accuracy"] == pytest.approx(1 / 8)
    assert benchmark.oracle.metrics["probe/auc"] == benchmark.oracle.metrics["retrieval/map"] == 1.0


def test_a_case_without_a_tumor_in_the_box_is_left_out(located):
    cases, facts = located([0, 0, 0], cells=[{5: 9}, {}, {5: 9}], voxels=[{1: 10}, {1: 1}, {}])
    why = [Region().why_not(case, facts[case.id]) for case in cases]
    assert why == [
        None,
        "its whole_tumor fills no cell of the brain's box: it has no place to score",
        "its label has no voxel of whole_tumor: it has no place to score",
    ]


def test_wrong_parameters_are_refused():
    with pytest.raises(NeuroprintError, match=r"^task=region: by=lobe: must be one of octant, hemisphere$"):
        Region(by="lobe")
    with pytest.raises(NeuroprintError, match="task=region: region=edema"):
        Region(region="edema")
    with pytest.raises(NeuroprintError, match=r"declare dataset\.labels"):
        Region(region="tumor_core").check(Cohort("plain", (Case("a", "a", {}, label_convention="any"),)))

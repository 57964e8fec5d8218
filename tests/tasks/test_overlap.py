"""``task=overlap``: relevance by the Dice coefficient of two tumors in one brain's box."""

import numpy as np
import pytest

from neuroprint.errors import NeuroprintError
from neuroprint.evaluation.benchmark import Benchmark, Protocol
from neuroprint.tasks import Overlap
from neuroprint.tasks.overlap import DicePairs


def shares(*masks: list[float]) -> np.ndarray:
    return np.rint(255 * np.array(masks)).astype(np.uint8)


def pairs(masks: np.ndarray) -> np.ndarray:
    every = np.arange(len(masks))
    return DicePairs(masks)(every, every)


def cells_of(masks: np.ndarray) -> list[dict[int, int]]:
    """Masks of few cells as the cells of a tumor, spread over a brain of many."""
    return [{97 * int(cell): int(mask[cell]) for cell in np.flatnonzero(mask)} for mask in masks]


def test_the_overlap_of_masks_is_their_dice_coefficient():
    masks = np.random.default_rng(0).random((10, 200)) < 0.2
    found = pairs(shares(*masks.astype(float)))
    for a in range(10):
        for b in range(10):
            expected = 2 * (masks[a] & masks[b]).sum() / (masks[a].sum() + masks[b].sum())
            assert found[a, b] == pytest.approx(expected)
    assert np.array_equal(found, found.T)


def test_of_shares_it_is_the_form_of_milletari():
    masks = np.random.default_rng(1).random((6, 50))
    masks[masks < 0.5] = 0
    stored = shares(*masks)
    found = pairs(stored)
    wide = stored / 255
    for a in range(6):
        for b in range(6):
            expected = 2 * (wide[a] * wide[b]).sum() / (np.square(wide[a]).sum() + np.square(wide[b]).sum())
            assert found[a, b] == pytest.approx(expected)


def test_shares_of_cells_overlap_as_shares_and_an_empty_mask_with_nothing():
    found = pairs(shares([1, 0.2, 0, 0], [1, 0.2, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]))
    assert found[0, 1] == 1.0
    assert found[0, 2] == pytest.approx(2 * 0.2 / (1.04 + 1))
    assert not found[3].any()


def test_a_coefficient_depends_on_its_two_masks_alone():
    masks = np.random.default_rng(2).integers(0, 256, (40, 300)).astype(np.uint8)
    whole = pairs(masks)
    some = np.array([31, 4, 17])
    assert np.array_equal(DicePairs(masks)(some, some[::-1]), whole[np.ix_(some, some[::-1])])
    assert np.array_equal(pairs(masks[some]), whole[np.ix_(some, some)])


def test_from_the_least_dice_on_a_case_is_relevant_with_gain_one(located):
    # Dice of the first with the others: 2 * 2 / (4 + 2) and 2 * 1 / (4 + 2).
    masks = shares([1, 1, 1, 1, 0], [1, 1, 0, 0, 0], [0, 0, 0, 1, 1], [1, 1, 1, 1, 0])
    given = located([0, 10, 20, 30], patients=["p", "q", "r", "p"], cells=cells_of(masks))
    first, every = np.array([0]), np.arange(4)
    judged = Overlap(min_dice=0.5).question(*given, "world").judged(first, every)
    assert judged.relevant[0].tolist() == [False, True, False, False]  # the last is the first's own patient
    assert np.array_equal(judged.gain, judged.relevant)
    assert judged.pairs["distance_mm"][0] == pytest.approx([0, 10, 20, 30])
    at_a_third = Overlap(min_dice=1 / 3).question(*given, "world").judged(first, every)
    assert at_a_third.relevant[0].tolist() == [False, True, True, False]


def test_the_oracle_ranks_by_the_true_overlap(located):
    """A ball around each center, of a radius of its own: the nearest center need not overlap the most."""
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(40, 3)) * [30.0, 35.0, 20.0]
    axes = np.stack(np.meshgrid(*[np.linspace(-80, 80, 17)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    radius = np.random.default_rng(0).uniform(12, 40, 40)
    masks = np.linalg.norm(axes[None] - centers[:, None], axis=2) < radius[:, None]
    given = located(centers, cells=[dict.fromkeys(np.flatnonzero(mask).tolist(), 255) for mask in masks])
    benchmark = Benchmark(Overlap(min_dice=0.2).question(*given, "world"), Protocol())
    assert benchmark.oracle.metrics["retrieval/map"] == 1.0 and benchmark.oracle.metrics["retrieval/p_at_1"] == 1.0
    by_distance = benchmark.score(centers, "euclidean").metrics
    assert benchmark.chance.metrics["retrieval/map"] < by_distance["retrieval/map"] < 1.0
    assert benchmark.oracle.metrics["probe/r2"] > 0.99


@pytest.mark.parametrize("threshold", [0.0, -0.1, 1.1, float("nan")])
def test_a_threshold_that_cannot_be_reached_is_refused(threshold):
    with pytest.raises(NeuroprintError, match=r"task=overlap: min_dice=.*: must be above 0 and at most 1"):
        Overlap(min_dice=threshold)

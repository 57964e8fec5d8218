"""``task=volume``: relevance by the ratio of two tumors' volumes."""

import numpy as np
import pytest

from neuroprint.data.case import Case
from neuroprint.data.cohort import Cohort
from neuroprint.errors import NeuroprintError
from neuroprint.evaluation.benchmark import Benchmark, Protocol
from neuroprint.tasks import TumorVolume

FIRST, EVERY = np.array([0]), np.arange(5)


def sized(located, *cubic_cm: float, **more):
    """Tumors of these volumes in cm³, a third of each enhancing."""
    voxels = [{1: round(cm3 * 2000 / 3), 4: round(cm3 * 1000 / 3)} for cm3 in cubic_cm]
    return located(np.zeros(len(voxels)), voxels=voxels, **more)


def test_the_target_is_the_decimal_logarithm_of_cubic_centimeters(located):
    question = TumorVolume().question(*sized(located, 0.3, 3, 30, 300), "world")
    assert question.target_names == ("log10_cm3",)
    assert question.targets[:, 0] == pytest.approx(np.log10([0.3, 3, 30, 300]))
    enhancing = TumorVolume(region="enhancing").question(*sized(located, 0.3, 3, 30, 300), "world")
    assert enhancing.targets[:, 0] == pytest.approx(np.log10([0.1, 1, 10, 100]))


def test_a_case_is_relevant_up_to_the_ratio_and_its_gain_falls_with_the_logarithm(located):
    given = sized(located, 30, 45, 20, 67.5, 90)  # 1.5 times larger, 1.5 times smaller, 2.25 times, 3 times
    judged = TumorVolume(ratio=1.5).question(*given, "world").judged(FIRST, EVERY)
    assert judged.relevant[0].tolist() == [False, True, True, False, False]
    assert judged.gain[0] == pytest.approx([0, 0.5, 0.5, 0, 0])
    wider = TumorVolume(ratio=3).question(*given, "world").judged(FIRST, EVERY)
    assert wider.relevant[0].tolist() == [False, True, True, True, True]
    assert wider.gain[0, 1:] == pytest.approx(1 - np.log([1.5, 1.5, 2.25, 3]) / (2 * np.log(3)))


def test_cases_of_one_patient_are_never_relevant(located):
    given = sized(located, 30, 30, 30, patients=["p", "p", "q"])
    judged = TumorVolume().question(*given, "world").judged(FIRST, np.arange(3))
    assert judged.relevant[0].tolist() == [False, False, True]


def test_the_ideal_ranking_is_by_the_ratio(located):
    question = TumorVolume().question(*sized(located, 30, 300, 20, 33, 3), "world")
    order = np.argsort(-question.ideal(FIRST, EVERY)[0], kind="stable")
    assert order.tolist() == [0, 3, 2, 1, 4]


def test_the_true_volume_as_embedding_is_read_by_the_probe_and_finds_all(located):
    volumes = 10 ** np.random.default_rng(0).uniform(-1, 2.3, 60)
    benchmark = Benchmark(TumorVolume().question(*sized(located, *volumes), "world"), Protocol())
    found = benchmark.score(benchmark.question.targets, "euclidean").metrics
    assert found["probe/r2"] > 0.99 and found["probe/mae"] < 0.01 and found["probe/error_factor"] < 1.03
    assert found["retrieval/map"] == found["retrieval/p_at_5_share"] == benchmark.oracle.metrics["retrieval/map"] == 1.0


def test_the_factor_says_by_how_much_predictions_are_off(located):
    rng = np.random.default_rng(0)
    volumes = 10 ** rng.uniform(0, 2, 60)
    benchmark = Benchmark(TumorVolume().question(*sized(located, *volumes), "world"), Protocol())
    found = benchmark.score(np.log(volumes)[:, None] + rng.normal(size=(60, 3)))
    off = np.abs(found.predicted[:, 0] - benchmark.question.targets[:, 0])
    assert found.metrics["probe/mae"] == pytest.approx(off.mean())
    assert (
        found.metrics["probe/error_factor"] == pytest.approx(10 ** off.mean())
        and found.metrics["probe/error_factor"] > 1.2
    )
    assert benchmark.chance.metrics["probe/r2"] == 0.0


def test_a_case_without_the_region_is_left_out_and_told_why(located):
    (case, *_), facts = sized(located, 3)
    task = TumorVolume(region="enhancing")
    assert task.why_not(case, facts[case.id]) is None
    assert task.why_not(case, None) == "its scans were not read: it has no volume to score"
    cases, facts = located([0], voxels=[{2: 100}])
    said = "its label has no voxel of enhancing: it has no volume to score"
    assert task.why_not(cases[0], facts[cases[0].id]) == said
    assert TumorVolume().why_not(cases[0], facts[cases[0].id]) is None


def test_a_region_that_the_labels_do_not_tell_is_refused_before_a_scan_is_read():
    with pytest.raises(NeuroprintError, match=r"declare dataset\.labels"):
        TumorVolume(region="enhancing").check(Cohort("plain", (Case("a", "a", {}, label_convention="any"),)))
    TumorVolume().check(Cohort("plain", (Case("a", "a", {}, label_convention="any"),)))


@pytest.mark.parametrize("ratio", [1, 0.5, -2, float("nan"), float("inf"), "2", True])
def test_a_ratio_that_says_nothing_is_refused(ratio):
    with pytest.raises(NeuroprintError, match=r"^task=volume: ratio=.*: must be a number above 1$"):
        TumorVolume(ratio=ratio)


def test_an_unknown_region_is_refused():
    with pytest.raises(
        NeuroprintError, match="task=volume: region=edema: must be one of whole_tumor, tumor_core, enhancing"
    ):
        TumorVolume(region="edema")

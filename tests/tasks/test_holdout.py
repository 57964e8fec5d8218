"""The hold-out of a result: scored by the same configuration, on the patients that took no part."""

import numpy as np
import pytest

import neuroprint as npr
from neuroprint.data.case import Case
from neuroprint.data.cohort import Cohort
from neuroprint.embedding.embeddings import Embeddings
from neuroprint.errors import NeuroprintError
from neuroprint.evaluation.folds import in_holdout
from neuroprint.evaluation.optimism import optimism
from neuroprint.evaluation.projections import PLS
from neuroprint.tasks import Metadata
from neuroprint.tasks.holdout import score_holdout

AGE = Metadata(column="age", kind="numbers")
ENOUGH = {"references": (), "folds": 4, "seed": 3}


@pytest.fixture(scope="module")
def embeddings() -> Embeddings:
    """Eighty cases without a scan, and vectors that know their age and their group a little."""
    rng = np.random.default_rng(0)
    ages = rng.normal(60, 12, 80)
    groups = rng.integers(0, 2, 80)
    cases = tuple(
        Case(f"case-{n:03d}", f"patient-{n:03d}", {}, metadata={"age": float(ages[n]), "group": "ab"[groups[n]]})
        for n in range(80)
    )
    vectors = rng.normal(size=(80, 6))
    vectors[:, 0] += ages / 12
    vectors[:, 1] += 2 * groups
    return Embeddings(Cohort("ages", cases), vectors)


def test_it_is_the_optimism_of_the_configuration(embeddings):
    result = npr.evaluate(embeddings, Metadata(column="group"), PLS(2), probe="knn", similarity="euclidean", **ENOUGH)
    assert result.holdout == 0.2 and 0 < 80 - len(result.ids) < 40
    found = score_holdout(result)
    assert found.sweep.metrics == pytest.approx(result.metrics, rel=1e-9)
    out = {case.id for case in embeddings.cohort.cases if in_holdout(case.patient, 0.2)}
    assert set(found.holdout.queries["case"]) == out == set(embeddings.ids) - set(result.ids)
    whole = Metadata(column="group").question(embeddings.cohort.cases, {}, "world")
    expected = optimism(
        whole,
        np.array([case in out for case in whole.ids]),
        embeddings.vectors,
        result.benchmark.protocol,
        "euclidean",
        PLS(2),
        result.probe.made,
    )
    assert found.holdout.metrics == expected.holdout.metrics and found.difference == expected.difference
    assert "retrieval/p_at_5" in found.difference and "probe/balanced_accuracy" in found.difference


def test_its_galleries_are_those_of_the_sweep(embeddings):
    result = npr.evaluate(embeddings, AGE, holdout=0.3, **ENOUGH)
    found = score_holdout(result)
    assert set(found.holdout.queries["gallery"]) == set(result.queries["gallery"])
    neighbors = {case for row in found.holdout.queries["neighbors"] for case in row}
    assert neighbors <= set(result.ids)
    assert found.difference["probe/mae"][0] == pytest.approx(
        result.metrics["probe/mae"] - found.holdout.metrics["probe/mae"]
    )


def test_a_result_without_a_holdout_has_none_to_score(embeddings):
    with pytest.raises(NeuroprintError, match="the hold-out or the sweep has no case"):
        score_holdout(npr.evaluate(embeddings, AGE, holdout=0, **ENOUGH))

"""``task=metadata``: text and few whole numbers of a column are classes, other numbers are predicted as they are."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import mean_absolute_error

import neuroprint as npr
from neuroprint.data.case import Case, ImageFile
from neuroprint.data.cohort import Cohort
from neuroprint.errors import NeuroprintError
from neuroprint.evaluation.benchmark import Benchmark, Protocol
from neuroprint.tasks import Metadata

QUICK = Protocol()


def cases_of(**columns: list) -> list[Case]:
    n = len(next(iter(columns.values())))
    rows = [{name: values[row] for name, values in columns.items()} for row in range(n)]
    return [Case(f"case-{n:05d}", f"patient-{n:05d}", {}, metadata=row) for n, row in enumerate(rows)]


def asked(values: list, **parameters):
    return Metadata(column="grade", **parameters).question(cases_of(grade=values), {}, "world")


def relevant(question) -> list[list[int]]:
    every = np.arange(len(question))
    return np.argwhere(question.judged(every, every).relevant).tolist()


def test_equal_values_are_relevant_and_ideally_come_first():
    question = asked(["II", "III", "II", "IV"])
    assert relevant(question) == [[0, 2], [2, 0]]
    every = np.arange(4)
    assert question.ideal(every, every)[0].tolist() == [1, 0, 1, 0]
    assert np.array_equal(question.judged(every, every).gain, question.judged(every, every).relevant)


@pytest.mark.parametrize("kind", ["auto", "classes"])
def test_a_missing_value_equals_nothing_and_is_no_class(kind):
    question = asked(["2", "2", "", "", None, None, float("nan"), pd.NA, pd.NaT, "3"], kind=kind)
    assert relevant(question) == [[0, 1], [1, 0]]
    assert question.target_names == ("2", "3")
    assert question.located.tolist() == [True, True, *[False] * 7, True]
    every = np.arange(len(question))
    assert not question.ideal(every, every)[2:9].any()


def test_numbers_equal_as_numbers():
    assert relevant(asked([2, 2.0, 3])) == [[0, 1], [1, 0]]
    assert relevant(asked([2.5, 2.25, 2.5], kind="numbers")) == [[0, 2], [2, 0]]


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (["no", "yes", "no"], ("no", "yes")),
        ([2.0, 3.0, 2.0], ("2", "3")),  # as a table has whole numbers of which one is missing
        ([1, 0, None], ("0", "1")),
        ([True, False, True], ("False", "True")),
        (["2", 3.0, 2.5], ("2", "2.5", "3")),
        (list(range(10)), tuple(str(n) for n in range(10))),
    ],
)
def test_text_and_few_whole_numbers_are_classes(values, names):
    question = asked(values)
    assert question.target_names == names
    known = [value for value in values if value is not None]
    assert question.targets[: len(known)].sum(axis=1).tolist() == [1.0] * len(known)
    assert {metric.name for metric in question.metrics if "probe" in metric.name} == {
        "probe/auc",
        "probe/balanced_accuracy",
    }


@pytest.mark.parametrize("values", [[2.5, 3.0, 2.0], list(range(11)), [1, None, *range(2, 12)]])
def test_other_numbers_are_predicted_as_they_are(values):
    question = asked(values)
    assert question.target_names == ("grade",)
    expected = [[np.nan if value is None else float(value)] for value in values]
    assert np.array_equal(question.targets, np.array(expected), equal_nan=True)
    assert {metric.name for metric in question.metrics if "probe" in metric.name} == {"probe/r2", "probe/mae"}


def test_the_kind_can_be_said():
    assert asked([1, 2, 3], kind="numbers").target_names == ("grade",)
    assert asked(["1", "2.5", ""], kind="numbers").targets[:2].tolist() == [[1.0], [2.5]]
    assert asked([0.5, 1.5, 0.5], kind="classes").target_names == ("0.5", "1.5")


def test_distances_mean_nothing_here():
    assert not any("mm" in metric.name for metric in asked(["2", "3"]).metrics)


@pytest.mark.parametrize("kind", ["classes", "numbers"])
def test_the_probe_is_scored_on_the_cases_with_a_value(kind, auc_within_folds):
    rng = np.random.default_rng(0)
    values = rng.integers(0, 2, 50).astype(float) if kind == "classes" else rng.normal(size=50) * 9
    vectors = values[:, None] @ rng.normal(size=(1, 6)) + 3 * rng.normal(size=(50, 6))
    values[[4, 30]] = np.nan
    known = np.isfinite(values)
    question = asked(values.tolist(), kind=kind)
    found = Benchmark(question, QUICK).score(vectors)
    assert (found.cases, found.answerable) == (50, 48 if kind == "classes" else 0)
    if kind == "classes":
        among = replace(found, queries=found.queries[known])
        expected = auc_within_folds(among, values[known] == 1, found.predicted[known, 1])
        assert found.metrics["probe/auc"] == pytest.approx(expected)
    else:
        expected = mean_absolute_error(values[known], found.predicted[known, 0])
        assert found.metrics["probe/mae"] == pytest.approx(expected)
        assert found.metrics["probe/mae_lo"] < expected < found.metrics["probe/mae_hi"]
    assert np.isfinite(found.predicted).all()


@pytest.mark.parametrize("broken", ["label", "images"])
def test_no_scan_and_no_label_is_read(graded, voxels, tmp_path, broken):
    """A cohort whose labels, or whose images too, hold no scan at all."""
    torn = tmp_path / "torn.nii.gz"
    torn.write_bytes(b"not a scan")
    cases = []
    for case in graded.cases:
        own = tmp_path / f"{case.id}.nii.gz"
        own.write_bytes(case.id.encode())
        images = dict.fromkeys(case.images, ImageFile(own)) if broken == "images" else case.images
        cases.append(replace(case, images=images, label=ImageFile(torn)))
    blind = replace(graded, cases=tuple(cases))
    vectors = dict(zip(voxels.ids, voxels.vectors, strict=True))
    expected = npr.evaluate(npr.Embeddings(graded, vectors, "euclidean"), Metadata(column="grade"), folds=3)
    found = npr.evaluate(
        npr.Embeddings(blind, vectors, "euclidean"), Metadata(column="grade"), folds=3, references=("chance", "oracle")
    )
    assert found.metrics == expected.metrics and not found.excluded
    assert found.evaluation.answerable == 9 and found.facts == {}


def test_a_case_without_a_label_is_asked_too(graded, voxels):
    unlabeled = replace(graded, cases=tuple(replace(case, label=None) for case in graded.cases))
    vectors = dict(zip(voxels.ids, voxels.vectors, strict=True))
    for task, cases in ((Metadata(column="grade"), 10), (Metadata(column="age"), 10)):
        result = npr.evaluate(npr.Embeddings(unlabeled, vectors), task, folds=3, references=())
        assert result.evaluation.cases == cases
    with pytest.raises(NeuroprintError, match="no case is left to be scored; 10 were left out"):
        npr.evaluate(npr.Embeddings(unlabeled, vectors), npr.tasks.TumorPosition(), references=())


def cohort_of(**columns: list) -> Cohort:
    return Cohort("table", tuple(cases_of(**columns)))


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"column": "sex"}, "task.column=sex: the cohort has the columns empty, grade, same"),
        ({"column": "same"}, "task.column=same: all cases that have a value have the same, x"),
        ({"column": "empty"}, "task.column=empty: all cases that have a value have the same, none"),
        ({"column": "grade", "kind": "numbers"}, "task.kind=numbers: case case-00001 has 'III' in the column grade"),
    ],
)
def test_a_column_that_cannot_be_asked_is_refused_before_a_scan_is_read(parameters, said):
    cohort = cohort_of(grade=["2", "III", ""], same=["x", "x", None], empty=["", None, float("nan")])
    with pytest.raises(NeuroprintError, match=said):
        Metadata(**parameters).check(cohort)


def test_a_column_that_can_be_asked_is_not_refused():
    Metadata(column="grade").check(cohort_of(grade=["2", "III", ""]))
    Metadata(column="grade", kind="numbers").check(cohort_of(grade=["2", 3.5, None]))


def test_a_cohort_without_any_column_says_so():
    with pytest.raises(NeuroprintError, match="has the columns none"):
        Metadata(column="grade").check(Cohort("plain", (Case("a", "a", {}),)))


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({}, "task=metadata: column=None: must be the name of a column"),
        ({"column": ""}, "must be the name of a column"),
        ({"column": "grade", "kind": "ranks"}, "kind=ranks: must be one of auto, classes, numbers"),
    ],
)
def test_wrong_parameters_are_refused(parameters, said):
    with pytest.raises(NeuroprintError, match=said):
        Metadata(**parameters)


def test_the_auc_of_embeddings_that_know_nothing_is_a_half_however_rare_a_class_is():
    found = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        question = asked(np.where(rng.permutation(40) < 6, "rare", "common").tolist())
        found.append(Benchmark(question, Protocol(seed=seed)).score(rng.normal(size=(40, 4))).metrics["probe/auc"])
    assert np.mean(found) == pytest.approx(0.5, abs=3 * np.std(found) / np.sqrt(60))


def test_predictions_of_the_gallerys_mean_rank_nothing():
    question = asked(["a", "b"] * 15 + ["a"] * 7)
    assert Benchmark(question, QUICK).score(np.ones((37, 3))).metrics["probe/auc"] == 0.5

"""Embeddings that were made elsewhere are as good as ours, in whichever form they come."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
import torch

from neuroprint.data.case import Case
from neuroprint.data.cohort import Cohort
from neuroprint.embedding.embeddings import Embeddings, read_vectors
from neuroprint.errors import NeuroprintError

# A cohort's cases need not be in alphabetical order.
COHORT = Cohort(
    "made",
    tuple(Case(name, f"patient {name}", {}) for name in ("c", "a", "b")),
    excluded={"torn": "its file is torn"},
)
ROWS = np.array([[5.0, 6], [1, 2], [3, 4]])  # of c, a and b
BY_ID = {"a": [1, 2], "b": [3, 4], "c": [5, 6]}
TABLE = pd.DataFrame({"case": ["b", "c", "a"], "embedding": [[3.0, 4.0], [5.0, 6.0], [1.0, 2.0]]})


def parquet(folder, table=TABLE):
    table.to_parquet(folder / "vectors.parquet", index=False)
    return folder / "vectors.parquet"


FORMS = {
    "array": lambda folder: ROWS,
    "list of lists": lambda folder: ROWS.tolist(),
    "tensor": lambda folder: torch.from_numpy(ROWS),
    "mapping": lambda folder: BY_ID,
    "mapping of arrays": lambda folder: {case: np.array(row) for case, row in BY_ID.items()},
    "table": lambda folder: TABLE,
    "table with other columns": lambda folder: TABLE.assign(grade=1),
    "file": parquet,
    "name of a file": lambda folder: str(parquet(folder)),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_embeddings(form, tmp_path):
    found = Embeddings(COHORT, FORMS[form](tmp_path))
    assert found.ids == ("a", "b", "c")
    assert found.vectors.dtype == np.float32
    np.testing.assert_array_equal(found.vectors, [[1, 2], [3, 4], [5, 6]])
    np.testing.assert_array_equal(found.rows(["c", "a"]), [[5, 6], [1, 2]])
    assert [case.patient for case in found.cases] == ["patient a", "patient b", "patient c"]
    assert (len(found), found.similarity, dict(found.excluded)) == (3, "cosine", {})
    assert found.recipe is None and found.scanned is None


def test_it_says_what_it_is():
    found = Embeddings(COHORT, ROWS, "euclidean", "mine")
    assert repr(found) == "Embeddings(mine: 3 cases of 2 numbers, compared by euclidean)"


def test_cases_without_a_vector_are_left_out_and_named():
    found = Embeddings(COHORT, {"b": [3, 4]}, excluded={"c": "its network failed"})
    assert found.ids == ("b",)
    assert found.excluded == {"a": "it has no embedding", "c": "its network failed"}


def test_the_vector_of_a_case_that_the_cohort_left_out_is_ignored():
    found = Embeddings(COHORT, {**BY_ID, "torn": [7, 8]})
    assert found.ids == ("a", "b", "c")


def test_what_is_saved_is_read_again(tmp_path):
    Embeddings(COHORT, ROWS).save(tmp_path / "saved.parquet")
    table = pd.read_parquet(tmp_path / "saved.parquet")
    assert list(table) == ["case", "embedding"] and list(table["case"]) == ["a", "b", "c"]
    read = read_vectors(tmp_path / "saved.parquet")
    assert {case: vector.tolist() for case, vector in read.items()} == BY_ID
    np.testing.assert_array_equal(Embeddings(COHORT, tmp_path / "saved.parquet").vectors, [[1, 2], [3, 4], [5, 6]])


@pytest.mark.parametrize(
    ("vectors", "said"),
    [
        pytest.param(ROWS[:2], "vectors have shape (2, 2), expected (3, d): a row for each case", id="too few rows"),
        pytest.param([1, 2, 3], "vectors have shape (3,), expected (3, d)", id="one number a case"),
        pytest.param(None, "vectors have shape ()", id="nothing"),
        pytest.param([[1, 2], [3, 4], [5]], "vectors cannot be read as numbers", id="rows of several lengths"),
        pytest.param([["x"], ["y"], ["z"]], "vectors cannot be read as numbers", id="rows of text"),
        pytest.param({"a": "x"}, "case a: its vector cannot be read as numbers", id="text"),
        pytest.param({"a": [[1], [2, 3]]}, "case a: its vector cannot be read as numbers", id="a torn list"),
        pytest.param({"a": [[1, 2]]}, "case a: its vector has shape (1, 2), expected (d,)", id="a matrix"),
        pytest.param({"a": []}, "case a: its vector has shape (0,), expected (d,)", id="an empty list"),
        pytest.param({"a": 1.0}, "case a: its vector has shape (), expected (d,)", id="a number"),
        pytest.param({"a": [1, 2], "b": [3]}, "case b: its vector has 1 numbers, expected 2 as a has", id="two sizes"),
        pytest.param({"a": [1, np.nan]}, "case a: its vector holds NaN or infinity", id="NaN"),
        pytest.param({"b": [1, -np.inf]}, "case b: its vector holds NaN or infinity", id="infinity"),
        pytest.param({"b": [1, 1e60]}, "case b: its vector holds NaN or infinity", id="too large for float32"),
        pytest.param(
            {"a": [1], "x": [2]}, "the cohort made has no case x; expected its cases' ids", id="a foreign case"
        ),
        pytest.param({"y": [1], "x": [2]}, "the cohort made has no case x and 1 more", id="two foreign cases"),
        pytest.param(
            TABLE.rename(columns={"case": "id"}),
            "vectors: has the columns id, embedding, expected case and embedding",
            id="other columns",
        ),
        pytest.param(pd.concat([TABLE, TABLE[:1]]), "vectors: case b appears twice", id="a case twice"),
        pytest.param(
            TABLE.assign(embedding=["x", "y", "z"]),
            "vectors: the embedding of case b cannot be read as numbers",
            id="a table of text",
        ),
        pytest.param(TABLE.assign(embedding=None), "case a: its vector", id="an empty column"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(vectors, said):
    with pytest.raises(NeuroprintError, match=re.escape(said)) as caught:
        Embeddings(COHORT, vectors)
    assert "\n" not in str(caught.value)


def test_a_similarity_that_does_not_exist_is_refused():
    with pytest.raises(NeuroprintError, match="similarity=manhattan: must be cosine, dot or euclidean"):
        Embeddings(COHORT, ROWS, "manhattan")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda folder: folder / "none.parquet", r"none\.parquet: there is no such file; expected a Parquet file"),
        (lambda folder: folder, "there is no such file"),
        (lambda folder: parquet(folder, TABLE.drop(columns="case")), r"vectors\.parquet: has the columns embedding"),
        (lambda folder: parquet(folder, pd.concat([TABLE] * 2)), r"vectors\.parquet: case b appears twice"),
    ],
    ids=["missing", "a folder", "other columns", "a case twice"],
)
def test_a_file_that_cannot_be_used_is_named(make, said, tmp_path):
    with pytest.raises(NeuroprintError, match=said) as caught:
        Embeddings(COHORT, make(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_file_of_another_format_is_refused_in_one_line(tmp_path):
    (tmp_path / "vectors.parquet").write_text("case,embedding\na,1\n", encoding="utf-8")
    with pytest.raises(NeuroprintError, match=r"vectors\.parquet: cannot be read as Parquet") as caught:
        read_vectors(tmp_path / "vectors.parquet")
    assert "\n" not in str(caught.value)

"""A value of the metadata has one name as a class, however a table has turned it, and what is missing has none."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest

from neuroprint.data.metadata import class_name, is_missing

NOTHING = [None, float("nan"), np.float64("nan"), np.float32("nan"), pd.NA, pd.NaT]
SOMETHING = [0, 0.0, False, "no", "nan", " ", "NA", -1.5, float("inf"), np.int64(0), datetime.date(2024, 1, 1)]


@pytest.mark.parametrize("value", [*NOTHING, *SOMETHING], ids=repr)
def test_what_pandas_takes_for_missing_is_missing(value: Any) -> None:
    assert is_missing(value) == bool(pd.isna(value))


def test_an_empty_text_is_missing_too() -> None:
    assert is_missing("")


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (2, "2"),
        (2.0, "2"),
        (np.float64(2), "2"),
        (np.int64(2), "2"),
        ("2", "2"),
        ("2.0", "2.0"),  # a text is what it says
        (2.5, "2.5"),
        (-0.0, "0"),
        (0.1 + 0.2, "0.30000000000000004"),
        (1e22, "1e+22"),
        (float("inf"), "inf"),
        ("II", "II"),
        (" II", " II"),
        (True, "True"),
        *((value, None) for value in [*NOTHING, ""]),
    ],
    ids=repr,
)
def test_a_value_is_called_as_the_table_had_it(value: Any, name: str | None) -> None:
    assert class_name(value) == name


def test_a_column_of_whole_numbers_keeps_its_names_where_one_is_missing() -> None:
    whole, gappy = pd.Series([1, 2, 3]), pd.Series([1, 2, None])
    assert gappy.dtype == float
    assert [class_name(value) for value in whole] == ["1", "2", "3"]
    assert [class_name(value) for value in gappy] == ["1", "2", None]


def test_numbers_that_are_not_told_apart_as_floats_are_not_written_as_if_they_were() -> None:
    assert class_name(2.0**53 - 1) == "9007199254740991"
    assert class_name(2.0**53) == class_name(float(2**53 + 1)) == "9007199254740992.0"
    assert class_name(2**53 + 1) == "9007199254740993"

"""Metadata of cases: what a value is called, and what is missing."""

from __future__ import annotations

import math
from typing import Any

_NOT_KNOWN = frozenset({"", "na", "n/a", "nan"})
_EXACT = 2.0**53  # from here on a float does not tell one whole number from the next


def is_missing(value: Any) -> bool:
    """Whether a value says nothing: None, the empty string, NaN and pandas' NA.

    Example:
        >>> [is_missing(value) for value in (None, "", float("nan"), 0, "no")]
        [True, True, True, False, False]
    """
    try:
        return value is None or bool(value == "") or bool(value != value)  # NaN and NaT differ from themselves
    except TypeError:  # pandas' NA refuses to be a truth value
        return True


def class_name(value: Any) -> str | None:
    """What a value is called as a class, None where it is missing; 2.0 is 2, as a CSV had it.

    Example:
        >>> [class_name(value) for value in (2.0, 2.5, "II", None)]
        ['2', '2.5', 'II', None]
    """
    if is_missing(value):
        return None
    if isinstance(value, float):  # which a column of whole numbers becomes where one is missing
        return str(int(value)) if value.is_integer() and abs(value) < _EXACT else repr(float(value))
    return str(value)


def is_known_text(value: str) -> bool:
    """Whether a cell of a table says something: not where it is empty, NA, n/a or NaN.

    Example:
        >>> [is_known_text(value) for value in ("4", "n/a", "NA", "")]
        [True, False, False, False]
    """
    return value.strip().lower() not in _NOT_KNOWN


def is_number_text(value: str) -> bool:
    """Whether a cell of a table is a finite number.

    Example:
        >>> [is_number_text(value) for value in ("4", "1e3", "inf", "II")]
        [True, True, False, False]
    """
    try:
        return math.isfinite(float(value))
    except ValueError:
        return False

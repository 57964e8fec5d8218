"""Case ids that can safely become file names."""

from __future__ import annotations

import re

_SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


def unsafe_id(case_id: str) -> str | None:
    """Say why an id cannot name a file, or None where it can.

    Results are stored under the case's id, so an id must not climb out of a folder or be hidden.
    """
    if _SAFE.fullmatch(case_id):
        return None
    return (
        f"the id {case_id!r} cannot name a file: use at most 128 letters, digits, '.', '_' and '-', "
        "and do not start with '.' or '-'"
    )

"""What leaves for MLflow names no folder: folders, and the queries of addresses, can carry a person's name or a secret."""

from __future__ import annotations

import re
from typing import Any

_RULE = re.compile(r"\{(case|patient)\}")
_PLACE = re.compile(r"[/\\~.]|[A-Za-z]:|[A-Za-z][A-Za-z0-9+.-]*://")
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"]*")
# From the first separator (with the word before it) to the last; a folder may hold spaces, but not end in one.
_FOLDERS = re.compile(r"[^\s/\\'\"=(\[{,;]*[/\\]+(?:[^/\\\n'\"]*[^/\\\s'\"=(\[{,;][/\\]+)*")


def redact(value: Any) -> Any:
    """A value of a configuration, with only the last part of every path in it; containers are gone through.

    A rule for the names of a data set's files, such as ``{patient}/{case}/FLAIR.nii*``, names no place and stays.
    """
    if isinstance(value, dict):
        return {key: redact(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redact(item) for item in value]
    if not isinstance(value, str):
        return value
    if _RULE.search(value) and not _PLACE.match(value):
        return value
    if "://" in value:
        value = re.sub(r"//[^/@]*@", "//", re.split(r"[?#]", value, maxsplit=1)[0])
    return re.split(r"[/\\]", value.rstrip("/\\"))[-1]


def redact_text(text: str) -> str:
    """A message, with only the last part of every path and address in it."""
    return _FOLDERS.sub("", _ADDRESS.sub(lambda found: str(redact(found.group())), text))

"""Importing MONAI without MLflow. MONAI looks for it when it is imported, for a handler of its own, which takes 1.4 s."""

from __future__ import annotations

import importlib
import sys
from typing import Any

_MLFLOW = "mlflow"
_HANDLER = "monai.handlers.mlflow_handler"


def import_monai() -> None:
    """Import MONAI, unless it is imported already; its handler then finds MLflow when it is first used."""
    if "monai" in sys.modules or _MLFLOW in sys.modules:
        return
    sys.modules[_MLFLOW] = None  # type: ignore[assignment] # Python's own way to say that there is none
    try:
        importlib.import_module("monai")
    finally:
        del sys.modules[_MLFLOW]
    if handler := sys.modules.get(_HANDLER):
        handler.mlflow = _Later()  # type: ignore[attr-defined]


class _Later:
    """MLflow, imported when something of it is asked for."""

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(_MLFLOW), name)

"""Neuroprint: which fingerprint of a brain scan should you search by?

A library and, on top of it, an application (``neuroprint run``, or ``python run.py``). The library in six lines::

    import neuroprint as npr

    cohort = npr.load_cohort("phantom", cases=12)
    embeddings = npr.embed(cohort, layer="stage2", pooling="spatial_softmax")
    result = npr.evaluate(embeddings, npr.tasks.TumorPosition(radius_mm=20))
    print(npr.compare([result, npr.evaluate(npr.embed(cohort, encoder="voxels"), result.task)]))

Importing it loads nothing and changes nothing: each name is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neuroprint import tasks
    from neuroprint.bundle.bundle import Bundle
    from neuroprint.data.cohort import Cohort
    from neuroprint.data.load import load_cohort
    from neuroprint.embedding.embed import embed
    from neuroprint.embedding.embeddings import Embeddings
    from neuroprint.errors import CaseError, NeuroprintError
    from neuroprint.tasks.evaluate import compare, evaluate
    from neuroprint.tasks.leaderboard import Leaderboard
    from neuroprint.tasks.result import Result

__version__ = "0.2.0"

__all__ = [
    "Bundle",
    "CaseError",
    "Cohort",
    "Embeddings",
    "Leaderboard",
    "NeuroprintError",
    "Result",
    "compare",
    "embed",
    "evaluate",
    "load_cohort",
    "tasks",
]

_HOMES = {
    "Bundle": "neuroprint.bundle.bundle",
    "CaseError": "neuroprint.errors",
    "Cohort": "neuroprint.data.cohort",
    "Embeddings": "neuroprint.embedding.embeddings",
    "Leaderboard": "neuroprint.tasks.leaderboard",
    "NeuroprintError": "neuroprint.errors",
    "Result": "neuroprint.tasks.result",
    "compare": "neuroprint.tasks.evaluate",
    "embed": "neuroprint.embedding.embed",
    "evaluate": "neuroprint.tasks.evaluate",
    "load_cohort": "neuroprint.data.load",
}


def __getattr__(name: str) -> Any:
    if name == "tasks":
        return importlib.import_module("neuroprint.tasks")
    if name not in _HOMES:
        raise AttributeError(f"module 'neuroprint' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]

"""The file by which rows are compared: what their metrics owe to each patient."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from neuroprint.evaluation.influence import Influence

INFLUENCE_FILE = "influence.safetensors"


def save_influences(folder: Path, influences: Mapping[str, Influence]) -> None:
    """Write ``influence.safetensors``: by metric ``own``, ``effect``, ``sketch`` and ``value, pairs, asked, doubt``."""
    from safetensors.numpy import save_file

    arrays: dict[str, Any] = {}
    for name, found in influences.items():
        arrays |= {
            f"{name}/own": found.own,
            f"{name}/effect": found.effect,
            f"{name}/sketch": found.sketch.astype(np.float32),
        }
        arrays[f"{name}/numbers"] = np.array([found.value, found.pairs, found.asked, found.doubt])
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, folder / INFLUENCE_FILE)


def read_influences(path: Path) -> dict[str, Influence]:
    """Read what :func:`save_influences` wrote."""
    from safetensors.numpy import load_file

    arrays = load_file(path)
    found = {}
    for name in (key.removesuffix("/numbers") for key in arrays if key.endswith("/numbers")):
        value, pairs, asked, doubt = arrays[f"{name}/numbers"]
        own, effect, sketch = (arrays[f"{name}/{part}"] for part in ("own", "effect", "sketch"))
        found[name] = Influence(
            float(value), own, effect, float(pairs), sketch.astype(np.float64), int(asked), float(doubt)
        )
    return found

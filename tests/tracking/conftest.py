"""A store with a sweep in it that nothing was computed for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from neuroprint.evaluation.influence import Influence, influence
from neuroprint.evaluation.metric import Metric
from neuroprint.tasks.influence_file import save_influences
from neuroprint.tasks.leaderboard import Leaderboard
from neuroprint.tracking.boards import leaderboards
from neuroprint.tracking.store import TrackingStore

METRICS = (
    Metric("retrieval/p_at_5", "precision at 5", headline=True, shown=True),
    Metric("retrieval/map", "mean average precision", headline=True),
    Metric("probe/r2", "R² of the tumor's center", headline=True, shown=True),
    Metric("probe/error_mm", "mean error of the center", lower_is_better=True, unit="mm", shown=True),
)
REFERENCES = "chance,oracle,voxels"
CASES = [f"case{number:02d}" for number in range(12)]


def owed(name: str, values: dict[str, float]) -> dict[str, Influence]:
    """What metrics owe to twelve patients who scored about alike."""
    noise = 0.02 * np.random.default_rng(sum(map(ord, name))).normal(size=len(CASES))
    own, nothing = (noise - noise.mean()) / len(CASES), np.zeros((len(CASES), len(CASES)))
    return {metric: influence(value, own, nothing, len(CASES)) for metric, value in values.items()}


class Swept:
    """A sweep's runs: two poolings, one projection that has seen the queries, and the reference rows."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = TrackingStore(folder / "mlruns", "trial")
        self.parent = self.store.create("sweep of 3", {"role": "sweep"})
        self.runs = {
            "mean": self.add("mean", 0.4, {"pooling": "mean", "projection": "none"}),
            "max": self.add("max", 0.3, {"pooling": "max", "projection": "none"}),
            "seen": self.add("seen", 0.9, {"pooling": "mean", "projection": "tsne", "exportable": False}),
            **{
                role: self.add(role, score, {}, role)
                for role, score in (("chance", 0.1), ("voxels", 0.2), ("oracle", 1.0))
            },
        }

    def add(self, name: str, score: float, params: dict, role: str = "") -> str:
        """A finished run with a table of twelve queries that scored about alike."""
        own = {"reference": role} if role else {"rank_by": "retrieval/p_at_5", "references": REFERENCES}
        tags = {"role": "reference" if role else "candidate", "group": "g", "identity": name, **own}
        tags["exportable"] = "false" if "exportable" in params else "true"
        tags |= {"cohort/cases": "12", "cohort/queries": "12"}
        run_id = self.store.create(name, tags, self.parent)
        queries = pd.DataFrame({"case": CASES, "patient": CASES, "fold": 0, "relevant": 1, "p_at_5": score})
        queries.attrs["metrics"] = [metric.record() for metric in METRICS]
        folder = self.folder / run_id
        folder.mkdir()
        queries.to_parquet(folder / "queries.parquet")
        with self.store.running(run_id):
            metrics = {"retrieval/p_at_5": score, "probe/r2": score, "probe/error_mm": 30 * (1 - score)}
            save_influences(folder, owed(name, metrics))
            bounds = {"retrieval/p_at_5_lo": score - 0.05, "retrieval/p_at_5_hi": score + 0.05}
            self.store.log(run_id, metrics | bounds, {"dataset": "phantom", "layer": "stage4", **params})
            self.store.log_folder(run_id, folder)
        return run_id

    def boards(self) -> list[Leaderboard]:
        """Of the candidates that are not deleted."""
        return leaderboards(self.store, self.store.search("tags.role = 'candidate'"))


@pytest.fixture
def swept(tmp_path: Path) -> Callable[[], Swept]:
    """Makes a sweep in a store of its own."""
    return lambda: Swept(tmp_path)


@pytest.fixture(scope="module")
def seen_sweep(tmp_path_factory: pytest.TempPathFactory) -> Swept:
    """A sweep that tests of one file read."""
    return Swept(tmp_path_factory.mktemp("swept"))

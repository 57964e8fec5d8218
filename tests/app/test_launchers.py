"""Jobs of a sweep in several processes: Hydra's launchers share one extraction and give the same numbers."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlparse

import pandas as pd
import pytest

NETWORK = ("encoder=untrained", "encoder.feature_size=12", "encoder.spacing_mm=6")
LAUNCHERS = {
    "joblib": ("hydra_joblib_launcher", "hydra.launcher.n_jobs=2"),
    "submitit_local": ("hydra_submitit_launcher", "hydra.launcher.timeout_min=5"),
    "ray": ("hydra_ray_launcher", "+hydra.launcher.ray.init.num_cpus=2"),
}


def sweep(project, cohort: Path, *launcher: str):
    where = ("dataset=brats", f"dataset.root={cohort}", "retrieval.radius_mm=30", "repeats=1", "figures=false")
    outcome = project.run("-m", "pooling=mean,max,std", *where, *NETWORK, *launcher)
    assert outcome.returncode == 0, outcome.stderr
    return [run for run in project.runs() if run.data.tags.get("role") == "candidate"]


def vectors(runs) -> dict[str, dict[str, bytes]]:
    """Every run's embeddings, bit for bit, by case."""
    found = {}
    for run in runs:
        table = pd.read_parquet(Path(unquote(urlparse(run.info.artifact_uri).path)) / "embeddings.parquet")
        found[run.info.run_name] = {row.case: row.embedding.tobytes() for row in table.itertuples()}
    return found


def scores(runs) -> dict[str, dict[str, float]]:
    scored = ("probe/", "retrieval/")
    return {run.info.run_name: {k: v for k, v in run.data.metrics.items() if k.startswith(scored)} for run in runs}


@pytest.fixture(scope="module")
def one_after_the_other(new_project, small_cohort):
    return sweep(new_project(), small_cohort)


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_launcher_makes_each_forward_pass_once_and_gives_the_same_numbers(
    launcher, project, small_cohort, one_after_the_other
):
    plugin, setting = LAUNCHERS[launcher]
    if find_spec("hydra_plugins") is None or find_spec(f"hydra_plugins.{plugin}") is None:
        pytest.skip(f"{plugin} is not installed: pip install 'neuroprint[{launcher.removesuffix('_local')}]'")
    runs = sweep(project, small_cohort, f"hydra/launcher={launcher}", setting)
    assert sum(run.data.metrics["extract/forwards"] for run in runs) == 10
    assert scores(runs) == scores(one_after_the_other)
    assert vectors(runs) == vectors(one_after_the_other)
    (parent,) = (run for run in project.runs() if run.data.tags.get("role") == "sweep")
    assert parent.info.status == "FINISHED"
    assert {run.data.tags["mlflow.parentRunId"] for run in runs} == {parent.info.run_id}

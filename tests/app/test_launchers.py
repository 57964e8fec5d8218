"""Jobs of a sweep in several processes: Hydra's launchers share one extraction and give the same numbers."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest

NETWORK = ("encoder=untrained", "encoder.feature_size=12", "encoder.spacing_mm=6")
LAUNCHERS = {
    "joblib": ("hydra_joblib_launcher", "hydra.launcher.n_jobs=2"),
    "submitit_local": ("hydra_submitit_launcher", "hydra.launcher.timeout_min=5"),
    "ray": ("hydra_ray_launcher", "+hydra.launcher.ray.init.num_cpus=2"),
}


def sweep(project, cohort: Path, *launcher: str):
    where = ("dataset=brats", f"dataset.root={cohort}", "task.radius_mm=30", "figures=false")
    outcome = project.run("-m", "pooling=mean,max", *where, *NETWORK, *launcher)
    assert outcome.returncode == 0, outcome.stderr


@pytest.fixture(scope="session")
def vectors(artifact):
    """Every run's embeddings, bit for bit, by case."""

    def read(project) -> dict[str, dict[str, bytes]]:
        found = {}
        for run in project.finished():
            table = pd.read_parquet(artifact(run, "embeddings.parquet"))
            found[run.info.run_name] = {row.case: row.embedding.tobytes() for row in table.itertuples()}
        return found

    return read


@pytest.fixture(scope="module")
def one_after_the_other(new_project, small_cohort):
    project = new_project()
    sweep(project, small_cohort)
    return project


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_launcher_makes_each_forward_pass_once_and_gives_the_same_numbers(
    launcher, new_project, small_cohort, one_after_the_other, vectors
):
    plugin, setting = LAUNCHERS[launcher]
    if find_spec("hydra_plugins") is None or find_spec(f"hydra_plugins.{plugin}") is None:
        pytest.skip(f"{plugin} is not installed: pip install 'neuroprint[{launcher.removesuffix('_local')}]'")
    project = new_project()
    sweep(project, small_cohort, f"hydra/launcher={launcher}", setting)
    runs = project.finished()
    assert sum(int(run.data.tags["extract/forwards"]) for run in runs) == 10
    assert len(runs) == 2 and project.scores() == one_after_the_other.scores()
    assert vectors(project) == vectors(one_after_the_other)
    (parent,) = project.finished("sweep")
    assert {run.data.tags["mlflow.parentRunId"] for run in runs} == {parent.info.run_id}

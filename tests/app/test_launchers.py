"""Jobs of a sweep in several processes: Hydra's launchers share one extraction and give the same numbers."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest

from neuroprint.errors import NeuroprintError

NETWORK = ("encoder=untrained", "encoder.feature_size=12", "encoder.spacing_mm=6")
LAUNCHERS = {
    "joblib": ("hydra_plugins.hydra_joblib_launcher", "hydra.launcher.n_jobs=2"),
    "submitit_local": ("hydra_plugins.hydra_submitit_launcher", "hydra.launcher.timeout_min=5"),
    "ray": ("ray", "hydra.launcher.ray.init.num_cpus=2"),
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
@pytest.mark.parametrize("launcher", ["joblib", "submitit_local", pytest.param("ray", marks=pytest.mark.cluster)])
def test_a_launcher_makes_each_forward_pass_once_and_gives_the_same_numbers(
    launcher, new_project, small_cohort, one_after_the_other, vectors
):
    needed, setting = LAUNCHERS[launcher]
    if find_spec(needed) is None:
        pytest.skip(f"{needed} is not installed: pip install 'neuroprint[{launcher.removesuffix('_local')}]'")
    project = new_project()
    sweep(project, small_cohort, f"hydra/launcher={launcher}", setting)
    runs = project.finished()
    assert sum(int(run.data.tags["extract/forwards"]) for run in runs) == 10
    assert len(runs) == 2 and project.scores() == one_after_the_other.scores()
    assert vectors(project) == vectors(one_after_the_other)
    (parent,) = project.finished("sweep")
    assert {run.data.tags["mlflow.parentRunId"] for run in runs} == {parent.info.run_id}


def test_ray_that_is_not_there_is_named(monkeypatch):
    from hydra_plugins.neuroprint_launchers._on_ray import connect

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(NeuroprintError, match=r"Ray is not installed: pip install 'neuroprint\[ray\]'"):
        connect({})


def test_jobs_that_slurms_queue_lists_no_more_have_ended_and_what_it_ended_is_named(monkeypatch):
    pytest.importorskip("submitit")
    from hydra_plugins.neuroprint_launchers._queue import QueueWatcher

    watcher = QueueWatcher(delay_s=30)
    for job in ("7_0", "7_1", "7_2", "7_3"):
        watcher.register_job(job)
    listed = b"7_0|RUNNING|n1\n7_1|CANCELLED|n2\n7_2|COMPLETED|n1\n8|RUNNING|n3\n"
    monkeypatch.setattr("submitit.core.core.subprocess.check_output", lambda command, **_: listed)
    watcher.update()
    assert [job for job in ("7_0", "7_1", "7_2", "7_3") if watcher.is_done(job, mode="cache")] == ["7_1", "7_2", "7_3"]
    listed = b""
    watcher.wait()
    assert watcher.lost() == ["7_1 (CANCELLED)"]

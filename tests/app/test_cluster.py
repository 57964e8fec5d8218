"""Sweeps on Slurm and Ray: several nodes share one extraction, and what is ended in the middle is gone on from."""

from __future__ import annotations

import os
import random
import re
import time
from typing import Any

import psutil
import pytest

from engines import wait_until
from neuroprint.tracking.store import TrackingStore

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

POOLINGS = ("mean", "max", "std")
CASES = 10
# Ten kills take ten minutes or more; make test-cluster does with fewer.
KILLS = int(os.environ.get("NEUROPRINT_KILLS", "3"))


@pytest.fixture(scope="module")
def command(small_cohort, trained_weights) -> list[str]:
    network = ("encoder=swin_unetr_phantom", f"encoder.weights={trained_weights}", "encoder.sha256=null")
    small = ("layer=2", "encoder.feature_size=12", "encoder.spacing_mm=6", "figures=false")
    where = ("dataset=brats", f"dataset.root={small_cohort}", "task.radius_mm=30")
    return ["-m", f"pooling={','.join(POOLINGS)}", *network, *small, *where]


@pytest.fixture(scope="module")
def alone(new_project, command):
    """The same sweep in one process."""
    project = new_project()
    outcome = project.run(*command)
    assert outcome.returncode == 0, outcome.stderr
    assert forwards(project) == 2 * CASES
    return project


def forwards(project, experiment: str = "neuroprint") -> int:
    """Passes of a scan through a network, of the candidates and of the reference row ``untrained``."""
    runs = project.runs("candidate", experiment) + project.runs("reference", experiment)
    rows = [run for run in runs if run.data.tags.get("reference") in (None, "untrained")]
    return sum(int(run.data.tags.get("extract/forwards", 0)) for run in rows)


@pytest.fixture(scope="module")
def on_slurm(new_project, slurm, command):
    """A project with a way to start the sweep on Slurm."""

    def make():
        project = new_project()
        project.environment |= slurm.environment
        project.sweep = [*command, "hydra/launcher=submitit_slurm", "hydra.launcher.timeout_min=9"]
        return project

    return make


def scores(project, experiment: str = "neuroprint") -> dict[tuple[str, str | None], dict[str, float]]:
    """By name, and the pooling: a sweep that was ended had another best, and so perhaps another row ``untrained``."""
    runs = project.finished("candidate", experiment) + project.finished("reference", experiment)
    return {(run.info.run_name, run.data.params.get("pooling")): dict(run.data.metrics) for run in runs}


def finish(project, alone, experiment: str = "neuroprint") -> None:
    """The same command finishes, with the same numbers."""
    done = project.run(*project.sweep)
    assert done.returncode == 0, done.stderr
    found, due = scores(project, experiment), scores(alone)
    assert {name: found[name] for name in due} == due
    assert {name for name, _ in found} == {name for name, _ in due}


def test_slurms_nodes_share_one_extraction_and_the_launching_process_makes_none(on_slurm, slurm, alone):
    project = on_slurm()
    done = project.run(*project.sweep)
    assert done.returncode == 0, done.stderr
    assert scores(project) == scores(alone)
    assert forwards(project) == 2 * CASES
    assert not re.search("extracting|on random weights|sacct|Traceback", done.stderr), done.stderr
    jobs = slurm.ask("squeue", "--states=all", "--array", "--noheader", "--format=%N").split()
    assert len(jobs) == len(POOLINGS) + 1 and len(set(jobs)) > 1, jobs


@pytest.fixture(scope="module")
def on_ray(new_project, ray_cluster, command):
    """A project with a way to start the sweep on Ray."""

    def make():
        project = new_project()
        project.environment["RAY_AUTH_MODE"] = "disabled"
        project.sweep = [*command, "hydra/launcher=ray", f"hydra.launcher.ray.init.address='{ray_cluster.address}'"]
        return project

    return make


def test_rays_nodes_share_one_extraction_and_the_launching_process_makes_none(on_ray, alone):
    project = on_ray()
    done = project.run(*project.sweep)
    assert done.returncode == 0, done.stderr
    assert scores(project) == scores(alone)
    assert forwards(project) == 2 * CASES
    assert not re.search("^(extracting|scoring)|Traceback", done.stderr, re.MULTILINE), done.stderr
    assert len(set(re.findall(r"\(run_one pid=(\d+)", done.stderr))) > 1, done.stderr  # a node has one core


def test_ray_runs_again_what_ran_on_a_node_that_went_down(on_ray, ray_cluster, alone):
    project = on_ray()
    with held(project, alone, POOLINGS[0]), held(project, alone, POOLINGS[1]), held(project, alone, POOLINGS[2]):
        process = project.start(*project.sweep)
        wait_until(lambda: len(project.entries()) >= CASES, "the extraction")
        ray_cluster.kill(ray_cluster.nodes[0])  # where a job waits: there are as many jobs as nodes
    _, said = process.communicate(400)
    assert process.returncode == 0, said
    assert scores(project) == scores(alone)


def held(project, alone, pooling: str) -> Any:
    """The lock of a job's run: the job extracts, then waits."""
    (run,) = [run for run in alone.finished() if run.data.params["pooling"] == pooling]
    lock = TrackingStore(project.folder / "mlruns", "neuroprint").lock(run.data.tags["identity"])
    lock.acquire()
    return lock


def test_a_canceled_job_is_named_the_others_end_and_the_same_command_goes_on(on_slurm, slurm, alone):
    project = on_slurm()
    with held(project, alone, POOLINGS[0]):
        process = project.start(*project.sweep)
        wait_until(lambda: len(project.finished()) == len(POOLINGS) - 1, "the other jobs' end")
        wait_until(lambda: len(running(slurm)) == 1, "their processes' end")
        ((_, job),) = running(slurm)
        slurm.ask("scancel", job)
        _, said = process.communicate()
    assert process.returncode == 1 and f"Slurm ended jobs before they were done: {job} (CANCELLED)" in said, said
    assert "Traceback" not in said and "1 of 3" in said, said
    before = project.entries()
    finish(project, alone)
    assert before.items() <= project.entries().items()


def test_a_time_limit_loses_no_feature(on_slurm, alone):
    project = on_slurm()
    short = ["hydra.launcher.timeout_min=1", "hydra.launcher.signal_delay_s=1"]
    with held(project, alone, POOLINGS[0]):
        done = project.run(*project.sweep[:-1], *short)
    assert done.returncode == 1 and "Slurm ended jobs before they were done" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    before = project.entries()
    assert len(before) >= CASES
    finish(project, alone)
    assert before.items() <= project.entries().items()


@pytest.mark.parametrize("number", range(KILLS))
def test_whatever_is_killed_the_same_command_finishes_with_the_same_numbers(
    number, on_slurm, slurm, postgresql_server, alone
):
    project, rng = on_slurm(), random.Random(number)
    experiment = f"kill {number} {project.folder.name}"
    project.environment |= {
        "MLFLOW_TRACKING_URI": postgresql_server.address,
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    }
    project.sweep += [f"tracking.experiment='{experiment}'"]
    process = project.start(*project.sweep)
    wait_until(lambda: bool(running(slurm)) or process.poll() is not None, "the jobs' start")
    time.sleep(rng.uniform(0, 12))
    victim = ("server", "node", "job")[number % 3]
    node, job = rng.choice(running(slurm) or [("n1", "")])
    if victim == "server":
        postgresql_server.stop()
    elif victim == "node":
        slurm.kill(node)
        for left in jobs_on(node):
            left.kill()
    else:
        slurm.ask("scancel", job)
    _, said = process.communicate(400)
    assert "Traceback" not in said, said
    if victim == "server":
        postgresql_server.serve()
    elif victim == "node":
        slurm.join(node)
        slurm.wait_for(node)
    finish(project, alone, experiment)


def running(slurm) -> list[tuple[str, str]]:
    """Nodes, and the job on each."""
    listed = slurm.ask("squeue", "--states=running", "--noheader", "--array", "--format=%N %i")
    return [(node, job) for node, job in (line.split() for line in listed.splitlines())]


def jobs_on(node: str) -> list[psutil.Process]:
    """The processes of jobs on a node, the one of Slurm's that reports their end first: a machine that stops reports none."""
    mine = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("SLURMD_NODENAME") == node:
                mine.append(process)
        except psutil.Error:
            continue
    parents = {parent for process in mine for parent in process.parents() if parent.name() == "slurmstepd"}
    return [*parents, *mine]

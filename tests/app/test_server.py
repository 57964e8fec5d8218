"""Sweeps on a real MLflow server, whose artifacts go through it: two people, one server, one leaderboard."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from engines import MLflowServer

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.cluster)])
def server(request) -> MLflowServer:
    return request.getfixturevalue(f"{request.param}_server")


@pytest.fixture(scope="module")
def people(new_project, server, tmp_path_factory) -> list[Any]:
    """Two working folders of other homes, with one server and one feature store."""
    shared = tmp_path_factory.mktemp("shared")
    made = [new_project() for _ in range(2)]
    for number, one in enumerate(made):
        shutil.rmtree(one.folder / "mlruns")
        home = one.folder / f"home{number}"
        home.mkdir()
        own = {
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # by default its client waits for a server for minutes
            "MLFLOW_TRACKING_URI": server.address,
            "NEUROPRINT_CACHE": str(shared),
            "HOME": str(home),
            "USER": f"u{number}",
        }
        one.environment |= own
    return made


def swept(cohort: Path, *more: str) -> list[str]:
    where = ("dataset=brats", f"dataset.root={cohort}", "task.radius_mm=30", "figures=false")
    network = ("encoder=untrained", "encoder.feature_size=12", "encoder.spacing_mm=6")
    return ["-m", "pooling=mean,max", *where, *network, *more]


def candidates(server: MLflowServer) -> list[Any]:
    from mlflow import MlflowClient

    client = MlflowClient(server.address)
    known = client.get_experiment_by_name("neuroprint")
    return list(client.search_runs([known.experiment_id], "tags.role = 'candidate'"))


def test_two_people_at_once_extract_once_and_share_a_leaderboard(people, server, small_cohort):
    started = [one.start(*swept(small_cohort)) for one in people]
    said = [process.communicate() for process in started]
    assert [process.returncode for process in started] == [0, 0], said
    runs = candidates(server)
    assert sorted(run.data.params["pooling"] for run in runs) == ["max", "mean"]
    assert all(run.info.status == "FINISHED" for run in runs)
    assert sum(int(run.data.tags["extract/forwards"]) for run in runs) == len(list(small_cohort.iterdir()))
    for out, err in said:
        assert "🏃" not in out + err and "Downloading" not in out + err
        assert f"{server.address}/#/experiments/" in out
    boards = [one.cli("leaderboard", "--json") for one in people]
    assert boards[0].stdout == boards[1].stdout and "untrained" in boards[0].stdout
    for one in people:
        assert not (one.folder / "mlruns" / "mlflow.db").exists()


def test_both_export_and_ask(people, server, small_cohort):
    query = next(small_cohort.iterdir())
    run = candidates(server)[0].info.run_id
    for one in people:
        done = one.cli("export", "bundle", "--run", run, "--anyway", "--set", f"dataset.root={small_cohort}")
        assert done.returncode == 0 and "registered in MLflow" in done.stdout, done.stderr
        answer = one.cli("query", "bundle", str(query))
        assert answer.returncode == 0, answer.stderr


def test_a_server_that_goes_away_costs_no_feature(people, server, small_cohort):
    person = people[0]
    server.stop()
    refused = person.run(*swept(small_cohort, "encoder.seed=1"))
    assert refused.returncode == 2 and "does not answer" in refused.stderr and "Traceback" not in refused.stderr
    server.serve()
    assert "nothing computed again" in person.run(*swept(small_cohort)).stderr
    process = person.start(*swept(small_cohort, "encoder.seed=1"))
    features = Path(person.environment["NEUROPRINT_CACHE"]) / "store" / "features"
    before = len(list(features.glob("*/*.safetensors")))
    while len(list(features.glob("*/*.safetensors"))) < before + 3 and process.poll() is None:
        time.sleep(0.01)
    server.stop()
    _, err = process.communicate()
    assert process.returncode == 1 and "Traceback" not in err, err
    server.serve()
    again = person.run(*swept(small_cohort, "encoder.seed=1"))
    assert again.returncode == 0, again.stderr
    runs = [run for run in candidates(server) if run.data.params.get("encoder.seed") == "1"]
    assert sum(run.info.status == "FINISHED" for run in runs) == 2
    assert not [run for run in runs if run.info.status == "RUNNING"]

"""What is said of where to look, before any server is started. tests/browser starts one."""

from __future__ import annotations

import socket

import pytest

from neuroprint.errors import NeuroprintError
from neuroprint.tracking.store import TrackingStore
from neuroprint.tracking.ui import HOST, addresses, commands, free_port
from neuroprint.tracking.view import write_views


def test_a_port_that_is_taken_is_passed_over():
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert port < free_port(port) < port + 50
    with pytest.raises(NeuroprintError, match="--port"):
        free_port(65536)


def test_the_commands_are_short_where_nothing_differs_from_the_default(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert commands(TrackingStore(tmp_path / "mlruns", "neuroprint")) == (
        "neuroprint ui",
        "mlflow ui --backend-store-uri sqlite:///mlruns/mlflow.db",
    )
    elsewhere = tmp_path.parent / "else where"
    ours, mlflows = commands(TrackingStore(elsewhere, "trial"))
    assert ours == f"neuroprint ui --mlruns '{elsewhere}' --mlflow-experiment trial"
    assert mlflows == f"mlflow ui --backend-store-uri 'sqlite:///{elsewhere}/mlflow.db'"


def test_the_latest_sweep_is_shown_and_before_there_is_one_the_runs(swept):
    sweep = swept()
    runs = f"http://here/#/experiments/{sweep.store.experiment_id}/runs"
    assert addresses(sweep.store, "http://here") == [runs]
    write_views(sweep.store, sweep.parent, sweep.boards())
    assert addresses(sweep.store, "http://here") == [
        f"{runs}?workflowType=machine_learning&viewStateShareKey={sweep.parent}"
    ]

"""MLflow's UI on the project's store, and where in it the latest sweep's leaderboard is."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from neuroprint.errors import NeuroprintError
from neuroprint.tracking.store import TrackingStore
from neuroprint.tracking.view import latest_sweep, view_paths

HOST = "127.0.0.1"
PORT = 5000
_PATIENCE_S = 300
_TRIED = 50


@contextmanager
def running_ui(store: TrackingStore, port: int = PORT) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Start MLflow's UI on a store, wait until it answers, and stop it in the end.

    It listens on loopback only: it asks nobody who they are.

    Args:
        store: What it shows.
        port: Where it listens; the next free one if it is taken.

    Yields:
        Its address and its process.

    Raises:
        NeuroprintError: It does not start.
    """
    port = free_port(port)
    address = f"http://{HOST}:{port}"
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", store.uri, "--host", HOST]
    # Nothing here is scored by MLflow's background jobs: without their processes it starts in half the time.
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with tempfile.TemporaryFile() as log:
        # One worker: the usual four take four times the memory to serve one person.
        process = subprocess.Popen(  # noqa: S603
            [*command, "--port", str(port), "--workers", "1"], env=environment, stdout=log, stderr=log
        )
        try:
            if not _answers(process, address):
                log.seek(0)
                raise NeuroprintError(
                    f"MLflow's UI did not start: {log.read().decode(errors='replace').strip()[-800:]}"
                )
            yield address, process
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def addresses(store: TrackingStore, address: str) -> list[str]:
    """Where a UI at an address shows the latest sweep's ranked views; without a sweep, the experiment's runs."""
    sweep = latest_sweep(store)
    paths = view_paths(store, sweep) if sweep else []
    return [f"{address}{path}" for path in paths or [f"/#/experiments/{store.experiment_id}/runs"]]


def commands(store: TrackingStore) -> tuple[str, str]:
    """What a person types to see a store: with this package, and with MLflow alone."""
    root = _from_here(store.root)
    ours = ["neuroprint", "ui"]
    ours += [] if root == "mlruns" else ["--mlruns", root]
    ours += [] if store.experiment == "neuroprint" else ["--mlflow-experiment", store.experiment]
    return shlex.join(ours), shlex.join(["mlflow", "ui", "--backend-store-uri", f"sqlite:///{root}/mlflow.db"])


def free_port(first: int) -> int:
    """The first port from this one on that nobody listens on.

    Raises:
        NeuroprintError: Many in a row are taken.
    """
    for port in range(first, min(first + _TRIED, 65536)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    raise NeuroprintError(f"the ports from {first} to {first + _TRIED - 1} are all taken: name another with --port")


def _from_here(root: Path) -> str:
    here = Path.cwd()
    return root.relative_to(here).as_posix() if root.is_relative_to(here) else root.as_posix()


def _answers(process: subprocess.Popen[bytes], address: str) -> bool:
    deadline = time.monotonic() + _PATIENCE_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=5):  # noqa: S310
                return True
        except OSError:
            time.sleep(0.2)
    return False

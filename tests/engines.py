"""Engines that tests start on this machine, on loopback and in folders of their own: MLflow's server, PostgreSQL, Slurm, Ray.

One that cannot start skips the tests that ask for it, in one line that says why.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest

from neuroprint.tracking.ui import free_port

_START_S = 120


def wait_until(reached: Callable[[], bool], what: str, seconds: float = _START_S) -> None:
    """Wait for something that is bound to happen."""
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds:g} s"
        time.sleep(0.1)


class Engine:
    """Daemons, each in a process group of its own, with one folder for all that they write."""

    may_be_missing = True

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="neuroprint-engine-", dir="/tmp"))  # a short path: sockets lie in it
        self.folder.chmod(0o755)
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        try:
            self.begin()
        except BaseException as error:
            self.close()
            if self.may_be_missing and isinstance(error, Exception):
                pytest.skip(f"{type(self).__name__} cannot start here: {' '.join(str(error).split())[-400:]}")
            raise

    def begin(self) -> None:
        """Start what belongs to it."""

    def start(self, name: str, command: Sequence[str], user: str | None = None, **environment: str) -> None:
        """A daemon; as another user where this one is root."""
        with (self.folder / f"{name}.log").open("a") as log:
            self._daemons[name] = subprocess.Popen(
                [*_as(user), *command],
                env={**os.environ, **environment},
                cwd=self.folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def has_ended(self, name: str) -> bool:
        """Whether a daemon has ended."""
        return self._daemons[name].poll() is not None

    def alive(self, name: str) -> bool:
        """That a daemon runs; what it said otherwise."""
        assert not self.has_ended(name), (self.folder / f"{name}.log").read_text()[-2000:]
        return True

    def kill(self, name: str) -> None:
        """End a daemon without a warning."""
        daemon = self._daemons.pop(name)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(daemon.pid, signal.SIGKILL)
        daemon.wait()

    def close(self) -> None:
        """End them all, the last one first."""
        for name in reversed(list(self._daemons)):
            self.kill(name)
        shutil.rmtree(self.folder, ignore_errors=True)


class MLflowServer(Engine):
    """An MLflow server, which can be killed and started again, and whose artifacts go through it.

    Args:
        store: Where it keeps runs; a SQLite file in its folder if None.
        tables: Such a file that has MLflow's tables already.
    """

    may_be_missing = False

    def __init__(self, store: str | None = None, tables: Path | None = None) -> None:
        self._store, self._tables = store, tables
        self.port = free_port(6200)
        self.address = f"http://127.0.0.1:{self.port}"
        super().__init__()

    def begin(self) -> None:
        if self._tables:
            shutil.copyfile(self._tables, self.folder / "mlflow.db")
        self.serve()

    def serve(self) -> None:
        """Start it, and wait for it to answer."""
        store = self._store or f"sqlite:///{self.folder}/mlflow.db"
        places = ["--backend-store-uri", store, "--artifacts-destination", f"{self.folder}/artifacts"]
        command = [sys.executable, "-m", "mlflow", "server", *places, "--port", str(self.port), "--workers", "1"]
        self.start("mlflow", command, MLFLOW_DISABLE_TELEMETRY="true", MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false")
        wait_until(self._answers, "the MLflow server's start")

    def _answers(self) -> bool:
        self.alive("mlflow")
        try:
            with urllib.request.urlopen(f"{self.address}/health", timeout=5):
                return True
        except OSError:
            return False

    def stop(self) -> None:
        """End it without a warning; :meth:`serve` starts it again."""
        self.kill("mlflow")


class PostgreSQL(Engine):
    """A PostgreSQL of its own, which refuses to be run by root."""

    def begin(self) -> None:
        programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
        _need("PostgreSQL", [] if programs else ["apt-get install postgresql"], ("psycopg2",))
        home = programs[-1].parent
        data, self.port = self.folder / "data", free_port(15432)
        data.mkdir()
        if os.getuid() == 0:
            shutil.chown(data, "postgres", "postgres")
        make = [*_as("postgres"), str(home / "initdb"), "-D", str(data), "-A", "trust", "-U", "team", "-N"]
        done = subprocess.run(make, cwd=data.parent, capture_output=True, text=True, timeout=_START_S, check=False)
        assert done.returncode == 0, done.stderr
        own = ["-h", "127.0.0.1", "-p", str(self.port), "-k", str(data), "-F"]
        self.start("postgres", [str(home / "postgres"), "-D", str(data), *own], "postgres")
        ask = [str(home / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        wait_until(
            lambda: self.alive("postgres") and subprocess.run(ask, check=False).returncode == 0, "PostgreSQL's start"
        )
        self.uri = f"postgresql+psycopg2://team@127.0.0.1:{self.port}/postgres"


class Slurm(Engine):
    """A Slurm of several nodes, all of them this machine, that keeps no accounts.

    Attributes:
        environment: What a command needs to reach it.
    """

    nodes = ("n1", "n2", "n3")

    def begin(self) -> None:
        programs = ("slurmctld", "slurmd", "munged", "sbatch")
        missing = [] if all(map(shutil.which, programs)) else ["apt-get install slurm-wlm munge"]
        _need("Slurm", missing, ("hydra_plugins.hydra_submitit_launcher",))
        self.environment = {"SLURM_CONF": str(self.folder / "slurm.conf")}
        self._munge()
        (self.folder / "slurm.conf").write_text(self._settings())
        (self.folder / "state").mkdir()
        self.start("slurmctld", ["slurmctld", "-D", "-f", self.environment["SLURM_CONF"]])
        for node in self.nodes:
            self.join(node)
        for node in self.nodes:
            self.wait_for(node)

    def _munge(self) -> None:
        place = self.folder / "munge"
        place.mkdir()
        (place / "key").write_bytes(os.urandom(1024))
        (place / "key").chmod(0o400)
        if os.getuid() == 0:
            for path in (place, place / "key"):
                shutil.chown(path, "munge", "munge")
        files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        options = [f"--{option}={place / name}" for option, name in files.items()]
        self.start("munged", ["munged", "--foreground", "--force", *options], "munge")
        wait_until((place / "socket").exists, "munge's start")

    def _settings(self) -> str:
        first = free_port(16817)
        user, host = pwd.getpwuid(os.getuid()).pw_name, socket.gethostname()
        settings = {
            "ClusterName": "tests",
            "SlurmctldHost": f"{host}(127.0.0.1)",
            "SlurmUser": user,
            "SlurmdUser": user,
            "SlurmctldPort": first,
            "AuthType": "auth/munge",
            # A job whose node went down is started again when its credential has expired, two minutes later by default.
            "AuthInfo": f"socket={self.folder}/munge/socket,cred_expire=20",
            "StateSaveLocation": f"{self.folder}/state",
            "SlurmdSpoolDir": f"{self.folder}/spool-%n",
            "SlurmctldPidFile": f"{self.folder}/slurmctld.pid",
            "SlurmdPidFile": f"{self.folder}/slurmd-%n.pid",
            "ProctrackType": "proctrack/linuxproc",
            "TaskPlugin": "task/none",
            "JobAcctGatherType": "jobacct_gather/none",
            "AccountingStorageType": "accounting_storage/none",
            "SelectType": "select/cons_tres",
            "SelectTypeParameters": "CR_CPU",
            "MpiDefault": "none",
            "ReturnToService": 2,
            "SlurmdTimeout": 10,
            "KillWait": 2,
        }
        lines = [f"{name}={value}" for name, value in settings.items()]
        for number, node in enumerate(self.nodes, 1):
            lines.append(f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={first + number} CPUs=1")
        return "\n".join([*lines, "PartitionName=all Nodes=ALL Default=YES State=UP", ""])

    def join(self, node: str) -> None:
        """Start a node."""
        self.start(node, ["slurmd", "-D", "-f", self.environment["SLURM_CONF"], "-N", node])

    def wait_for(self, node: str) -> None:
        """Wait until jobs can be sent to a node."""
        wait_until(lambda: self.alive(node) and self._state(node).startswith(("idle", "mix")), f"{node}'s start")

    def close(self) -> None:
        """End jobs too, while there is somebody to do so."""
        if "slurmctld" in self._daemons:
            with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
                self.ask("scancel", "--me")
                wait_until(lambda: not self.ask("squeue", "--noheader"), "the jobs' end", 20)
        super().close()

    def _state(self, node: str) -> str:
        return self.ask("sinfo", "--noheader", f"--nodes={node}", "--format=%t").strip("*\n ")

    def ask(self, *command: str) -> str:
        """What one of Slurm's commands says."""
        known = {**os.environ, **self.environment}
        return subprocess.run(command, env=known, capture_output=True, text=True, timeout=30, check=False).stdout


class RayCluster(Engine):
    """A Ray of several nodes, all of them this machine.

    Attributes:
        address: Of its head.
    """

    nodes = ("n1", "n2")

    def begin(self) -> None:
        _need("Ray", [], ("ray",))
        port = free_port(6379)
        self.address = f"127.0.0.1:{port}"
        self._join("head", "--head", "--port", str(port), "--include-dashboard=false", f"--temp-dir={self.folder}")
        for node in self.nodes:
            self._join(node, "--address", self.address)

    def _join(self, node: str, *options: str) -> None:
        program, log = str(Path(sys.executable).with_name("ray")), self.folder / f"{node}.log"
        own = ["--num-cpus", "1", "--object-store-memory", str(80 * 2**20), "--disable-usage-stats", "--block"]
        for _ in range(3):  # a node gives up after half a minute, which is short on a busy machine
            # One machine, on loopback: the nodes need no token to know each other by.
            self.start(node, [program, "start", *options, *own], RAY_AUTH_MODE="disabled")
            wait_until(
                lambda: self.has_ended(node) or "Ray runtime started" in log.read_text(), f"Ray's start of {node}"
            )
            if not self.has_ended(node):
                return
            self.kill(node)
        raise RuntimeError(log.read_text()[-2000:])


def _need(engine: str, missing: Sequence[str], modules: Sequence[str]) -> None:
    """Skip in one line that says what would start an engine here."""
    known = {"psycopg2": "psycopg2-binary", "hydra_plugins.hydra_submitit_launcher": "hydra-submitit-launcher"}
    lacking = [known.get(module, module) for module in modules if not _found(module)]
    wanted = [*missing, *(f"pip install {name}" for name in lacking)]
    if wanted:
        pytest.skip(f"{engine} cannot start here: {' and '.join(wanted)}")


def _found(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _as(user: str | None) -> list[str]:
    return ["runuser", "-u", user, "--"] if user and os.getuid() == 0 else []

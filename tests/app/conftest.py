"""Run the commands as a user does, in a folder of their own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlparse

import pytest

if TYPE_CHECKING:
    from mlflow.entities import Run

ROOT = Path(__file__).parents[2]
_TIMEOUT_S = 180


class Command:
    """A command that was started: what :class:`subprocess.Popen` offers of a process."""

    def __init__(self, warm: Warm, folder: Path, environment: Mapping[str, str], *arguments: str) -> None:
        self._warm = warm
        self._said = {name: warm.folder / f"{next(warm.numbers)}.{name}" for name in ("out", "err")}
        for file in self._said.values():
            file.touch()
        said = {name: str(file) for name, file in self._said.items()}
        request = {"arguments": arguments, "folder": str(folder), "environment": dict(environment), **said}
        self.pid = warm.ask(request)
        self.args = arguments
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = self._warm.ask({"process": self.pid})
        return self.returncode

    def kill(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)

    def communicate(self, timeout: float = _TIMEOUT_S) -> tuple[str, str]:
        """What was printed and said, once it has ended."""
        deadline = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > deadline:
                self.kill()
                raise TimeoutError(f"{self.args} took more than {timeout} s")
            time.sleep(0.01)
        out, err = (file.read_text(encoding="utf-8") for file in self._said.values())
        return out, err


class Warm:
    """The process of ``warm.py``, which forks for every command."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.numbers = count()
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, str(Path(__file__).with_name("warm.py"))]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            text=True,
        )

    def ask(self, request: Mapping[str, Any]) -> Any:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        """Ends once its input does."""
        self._process.communicate()


class Project:
    """A working folder with its own MLflow store and feature store."""

    def __init__(self, folder: Path, warm: Warm) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.environment = {**os.environ, "NEUROPRINT_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
        self._warm = warm

    def start(self, *arguments: str) -> Command:
        """``python run.py ...`` in the background."""
        return Command(self._warm, self.folder, self.environment, str(ROOT / "run.py"), *arguments)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """``python run.py ...`` to its end."""
        return _completed(self.start(*arguments))

    def cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """``python -m neuroprint ...`` to its end."""
        return _completed(Command(self._warm, self.folder, self.environment, "neuroprint", *arguments))

    def fresh(self, *command: str) -> subprocess.CompletedProcess[str]:
        """``python ...`` in a process of its own, imports and all."""
        return subprocess.run(
            [sys.executable, *command],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )

    def loaded(self, modules: Sequence[str], *arguments: str) -> list[str]:
        """Which of these modules are loaded when ``python run.py ...`` ends."""
        code = (
            "import atexit, sys\n"
            f"sys.argv = ['run.py', *{list(arguments)!r}]\n"
            f"atexit.register(lambda: print('LOADED', *[name for name in {tuple(modules)!r} if name in sys.modules]))\n"
            "from neuroprint.cli.application import run\n"
            "run()\n"
        )
        done = self.fresh("-c", code)
        *_, last = done.stdout.splitlines()
        assert last.startswith("LOADED"), done.stderr
        return last.split()[1:]

    def entries(self) -> dict[str, int]:
        """Time of change, in ns, of every stored case of every extractor but voxels'."""
        found = sorted((self.folder / "cache" / "store" / "features").glob("*/*.safetensors"))
        voxels = {path.parent for path in found if '"voxels"' in (path.parent / "extractor.json").read_text()}
        return {str(path): path.stat().st_mtime_ns for path in found if path.parent not in voxels}

    @property
    def has_runs(self) -> bool:
        """Whether there is an MLflow store."""
        return (self.folder / "mlruns" / "mlflow.db").exists()

    def runs(self, role: str | None = None, experiment: str = "neuroprint") -> list[Run]:
        """The MLflow runs of an experiment; of one role (``candidate``, ``reference``, ``sweep``), or of all."""
        from mlflow import MlflowClient

        client = MlflowClient(f"sqlite:///{self.folder / 'mlruns' / 'mlflow.db'}")
        known = client.get_experiment_by_name(experiment)
        condition = f"tags.role = '{role}'" if role else ""
        return list(client.search_runs([known.experiment_id], condition, max_results=1000)) if known else []

    def finished(self, role: str = "candidate") -> list[Run]:
        """The finished runs of a role, the newest first."""
        return [run for run in self.runs(role) if run.info.status == "FINISHED"]

    def scores(self) -> dict[str, dict[str, float]]:
        """Scores of every finished candidate and reference row, by name."""
        found = (*self.finished("candidate"), *self.finished("reference"))
        return {run.info.run_name: dict(run.data.metrics) for run in found}


def _completed(command: Command) -> subprocess.CompletedProcess[str]:
    out, err = command.communicate()
    return subprocess.CompletedProcess(command.args, command.returncode or 0, out, err)


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warm]:
    """One for all commands of a test session."""
    made = Warm(tmp_path_factory.mktemp("warm"))
    yield made
    made.close()


@pytest.fixture(scope="session")
def artifact() -> Callable[..., Path]:
    """Where a run's artifact lies: ``artifact(run, "plots/map.png")``."""

    def find(run: Run, path: str = "") -> Path:
        return Path(unquote(urlparse(run.info.artifact_uri).path)) / path

    return find


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables without a run: they take seconds to make, and are the same for every project."""
    from neuroprint.tracking.store import create_database

    folder = tmp_path_factory.mktemp("mlruns")
    create_database(folder / "mlflow.db", folder / "artifacts")
    return folder / "mlflow.db"


@pytest.fixture(scope="session")
def new_project(tmp_path_factory: pytest.TempPathFactory, empty_database: Path, warm: Warm) -> Callable[[], Project]:
    """Makes a project in a folder that holds MLflow's tables and nothing else."""

    def make() -> Project:
        made = Project(tmp_path_factory.mktemp("project"), warm)
        (made.folder / "mlruns").mkdir()
        shutil.copyfile(empty_database, made.folder / "mlruns" / "mlflow.db")
        return made

    return make


@pytest.fixture
def project(tmp_path: Path, warm: Warm) -> Project:
    """A project in an empty folder."""
    return Project(tmp_path / "project", warm)

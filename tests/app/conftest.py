"""Run the commands as a user does, in a folder of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlparse

import pytest

from engines import MLflowServer, PostgreSQL, RayCluster, Slurm

if TYPE_CHECKING:
    from mlflow.entities import Run

ROOT = Path(__file__).parents[2]
_TIMEOUT_S = 180


class Project:
    """A working folder with its own MLflow store and feature store."""

    def __init__(self, folder: Path, warm: Any) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.environment = {**os.environ, "NEUROPRINT_CACHE": str(folder / "cache")}
        self._warm = warm

    def start(self, *arguments: str) -> Any:
        """``python run.py ...`` in the background."""
        return self._warm.start(self.folder, self.environment, str(ROOT / "run.py"), *arguments)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """``python run.py ...`` to its end."""
        return self._warm.run(self.folder, self.environment, str(ROOT / "run.py"), *arguments)

    def cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """``python -m neuroprint ...`` to its end."""
        return self._warm.run(self.folder, self.environment, "neuroprint", *arguments)

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

        server = self.environment.get("MLFLOW_TRACKING_URI")
        client = MlflowClient(server or f"sqlite:///{self.folder / 'mlruns' / 'mlflow.db'}")
        known = client.get_experiment_by_name(experiment)
        condition = f"tags.role = '{role}'" if role else ""
        return list(client.search_runs([known.experiment_id], condition, max_results=1000)) if known else []

    def finished(self, role: str = "candidate", experiment: str = "neuroprint") -> list[Run]:
        """The finished runs of a role, the newest first."""
        return [run for run in self.runs(role, experiment) if run.info.status == "FINISHED"]

    def scores(self) -> dict[str, dict[str, float]]:
        """Scores of every finished candidate and reference row, by name."""
        found = (*self.finished("candidate"), *self.finished("reference"))
        return {run.info.run_name: dict(run.data.metrics) for run in found}


@pytest.fixture(scope="session")
def artifact() -> Callable[..., Path]:
    """Where a run's artifact lies: ``artifact(run, "plots/map.png")``."""

    def find(run: Run, path: str = "") -> Path:
        return Path(unquote(urlparse(run.info.artifact_uri).path)) / path

    return find


@pytest.fixture(scope="session")
def new_project(tmp_path_factory: pytest.TempPathFactory, empty_database: Path, warm: Any) -> Callable[[], Project]:
    """Makes a project in a folder that holds MLflow's tables and nothing else."""

    def make() -> Project:
        made = Project(tmp_path_factory.mktemp("project"), warm)
        (made.folder / "mlruns").mkdir()
        shutil.copyfile(empty_database, made.folder / "mlruns" / "mlflow.db")
        return made

    return make


@pytest.fixture
def project(tmp_path: Path, warm: Any) -> Project:
    """A project in an empty folder."""
    return Project(tmp_path / "project", warm)


@pytest.fixture(scope="session")
def trained_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a tiny SwinUNETR, as a training would write them."""
    import torch
    from safetensors.torch import save_file

    from neuroprint.encoders.swin_unetr import Architecture

    torch.manual_seed(7)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_file(Architecture(4, 12, 4).build().state_dict(), path)
    return path


@pytest.fixture(scope="session")
def sqlite_server(empty_database: Path) -> Iterator[MLflowServer]:
    """An MLflow server that keeps its runs in a file."""
    made = MLflowServer(tables=empty_database)
    yield made
    made.close()


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[MLflowServer]:
    """An MLflow server on a PostgreSQL."""
    database = PostgreSQL()
    try:
        made = MLflowServer(database.uri)
        yield made
        made.close()
    finally:
        database.close()


@pytest.fixture(scope="session")
def slurm() -> Iterator[Slurm]:
    """A Slurm of three nodes."""
    made = Slurm()
    yield made
    made.close()


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[RayCluster]:
    """A Ray of three nodes."""
    made = RayCluster()
    yield made
    made.close()

"""Run the commands as a user does, in a folder of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


class Project:
    """A working folder with its own MLflow store and feature store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.environment = {**os.environ, "NEUROPRINT_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """``python run.py ...`` in the background."""
        command = [sys.executable, str(ROOT / "run.py"), *arguments]
        return subprocess.Popen(
            command, cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """``python run.py ...`` to its end."""
        process = self.start(*arguments)
        out, err = process.communicate(timeout=180)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """``neuroprint ...`` to its end."""
        command = [sys.executable, "-m", "neuroprint.cli.commands", *arguments]
        return subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=180, check=False
        )

    def loaded(self, modules: Sequence[str], *arguments: str) -> list[str]:
        """Which of these modules are loaded when ``python run.py ...`` ends."""
        code = (
            "import atexit, sys\n"
            f"sys.argv = ['run.py', *{list(arguments)!r}]\n"
            f"atexit.register(lambda: print('LOADED', *[name for name in {tuple(modules)!r} if name in sys.modules]))\n"
            "from neuroprint.cli.application import main\n"
            "main()\n"
        )
        command = [sys.executable, "-c", code]
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=180, check=False
        )
        *_, last = done.stdout.splitlines()
        assert last.startswith("LOADED"), done.stderr
        return last.split()[1:]

    def entries(self) -> dict[str, int]:
        """Time of change, in ns, of every stored case of every extractor but voxels'."""
        found = sorted((self.folder / "cache" / "store" / "features").glob("*/*.safetensors"))
        voxels = {path.parent for path in found if '"voxels"' in (path.parent / "extractor.json").read_text()}
        return {str(path): path.stat().st_mtime_ns for path in found if path.parent not in voxels}

    def runs(self, name: str = "neuroprint") -> list:
        """Every MLflow run of an experiment."""
        from mlflow import MlflowClient

        client = MlflowClient(f"sqlite:///{self.folder / 'mlruns' / 'mlflow.db'}")
        experiment = client.get_experiment_by_name(name)
        return list(client.search_runs([experiment.experiment_id], max_results=1000)) if experiment else []


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables without a run: they take seconds to make, and are the same for every project."""
    from neuroprint.tracking.store import create_database

    folder = tmp_path_factory.mktemp("mlruns")
    create_database(folder / "mlflow.db", folder / "artifacts")
    return folder / "mlflow.db"


@pytest.fixture(scope="session")
def new_project(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Callable[[], Project]:
    """Makes a project in a folder that holds MLflow's tables and nothing else."""

    def make() -> Project:
        made = Project(tmp_path_factory.mktemp("project"))
        (made.folder / "mlruns").mkdir()
        shutil.copyfile(empty_database, made.folder / "mlruns" / "mlflow.db")
        return made

    return make


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project in an empty folder."""
    return Project(tmp_path / "project")

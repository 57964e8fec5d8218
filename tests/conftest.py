"""What any test may ask for: small cohorts, the real one beside the repository, and commands that start fast."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any
from unittest.mock import patch

# On volumes this small threads wait for each other longer than they work, most of all where two pytest workers share the
# cores. The libraries read this when they are loaded, and so do the commands that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import nibabel as nib
import numpy as np
import pytest

from neuroprint.evaluation.evaluation import Evaluation
from neuroprint.evaluation.question import Question
from neuroprint.evaluation.ranked import Judged
from neuroprint.evaluation.regression import POSITION_METRICS
from neuroprint.evaluation.retrieval import RETRIEVAL_METRICS

MODALITIES = ("flair", "t1", "t1ce", "t2")
SHAPE = (40, 44, 36)
AFFINE = np.array([[-3.0, 0, 0, 0], [0, -3, 0, 130], [0, 0, 3, 0], [0, 0, 0, 1]])

_TIMEOUT_S = 180


def write_case(folder: Path, seed: int) -> None:
    """An ellipsoid of noise with a bright ball, in BraTS layout; the ball is the tumor."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*(np.linspace(-1.15, 1.15, n) for n in SHAPE), indexing="ij"))
    brain = (grid**2).sum(axis=0) < 1
    center = rng.uniform(-0.55, 0.55, 3)
    apart = np.sqrt(((grid - center[:, None, None, None]) ** 2).sum(axis=0))
    label = np.select([apart < 0.08, apart < 0.15, apart < 0.25], [1, 4, 2], 0) * brain
    folder.mkdir(parents=True)
    for modality in MODALITIES:
        image = (rng.integers(200, 400, SHAPE) + 500 * (label > 0)) * brain
        nib.save(nib.Nifti1Image(image.astype(np.int16), AFFINE), folder / f"{folder.name}_{modality}.nii.gz")
    nib.save(nib.Nifti1Image(label.astype(np.uint8), AFFINE), folder / f"{folder.name}_seg.nii.gz")


def pytest_configure(config: pytest.Config) -> None:
    """pytest-xdist hands out files in the order below; it would take those with the most tests first."""
    config.option.loadscopereorder = False
    os.environ.pop("MLFLOW_TRACKING_URI", None)  # what tests run stays in their folders


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Files with slow tests come first, so that no worker waits at the end for one that another has just begun.

    Tests that start an engine run only where they are asked for: ``-m cluster``.
    """
    if "cluster" not in config.option.markexpr:
        left_out = [item for item in items if item.get_closest_marker("cluster")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(autouse=True)
def environment() -> Iterator[None]:
    """What a test sets in the environment ends with it: MLflow's ``set_registry_uri`` too leaves a variable there.

    So do modules that it wrote and imported, which are all called my_something: another test's would not be read.
    """
    with patch.dict(os.environ):
        yield
    for name in [name for name in sys.modules if name.startswith("my_")]:
        del sys.modules[name]


@pytest.fixture(scope="session")
def small_cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten small cases in BraTS layout. Read only: copy it to change it."""
    root = tmp_path_factory.mktemp("cohort")
    for number in range(10):
        write_case(root / f"Small_{number:05d}", number)
    return root


@pytest.fixture(scope="session")
def write_small_case() -> Callable[[Path, int], None]:
    """Writes a case of :func:`small_cohort`'s kind into a folder, from a seed."""
    return write_case


@pytest.fixture(scope="session")
def real_cohort() -> Path:
    """Ten real BraTS patients; the test skips where they are not at hand."""
    beside = Path(__file__).parents[2] / "shared" / "data" / "brats2021"
    root = Path(os.environ.get("NEUROPRINT_REAL_DATA", beside))
    if not root.is_dir():
        pytest.skip(f"no real scans at {root.name}: set NEUROPRINT_REAL_DATA to a folder of BraTS cases")
    return root


@pytest.fixture(scope="session")
def make_question() -> Callable[..., Question]:
    """What ``task=tumor_position`` asks of tumors spread over a brain; every ``visits`` consecutive cases are one patient."""

    def make(
        n: int, seed: int = 0, visits: int = 1, *, radius_mm: float = 20.0, centers_mm: np.ndarray | None = None
    ) -> Question:
        drawn = np.random.default_rng(seed).normal(size=(n, 3)) * [30.0, 35.0, 20.0]
        centers = drawn if centers_mm is None else np.asarray(centers_mm, dtype=np.float64)

        def distance(queries: np.ndarray, gallery: np.ndarray) -> np.ndarray:
            return np.linalg.norm(centers[queries][:, None] - centers[gallery], axis=2)

        def judge(queries: np.ndarray, gallery: np.ndarray) -> Judged:
            apart = distance(queries, gallery)
            return Judged(apart <= radius_mm, np.maximum(0.0, 1.0 - apart / (2 * radius_mm)), {"distance_mm": apart})

        return Question(
            ids=tuple(f"case-{number:05d}" for number in range(n)),
            patients=tuple(f"patient-{number // visits:05d}" for number in range(n)),
            targets=centers,
            target_names=("x_mm", "y_mm", "z_mm"),
            judge=judge,
            metrics=(*RETRIEVAL_METRICS, *POSITION_METRICS),
            ideal=lambda queries, gallery: -distance(queries, gallery),
            columns={"right": centers[:, 0] > 0},
        )

    return make


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
        command = [sys.executable, str(Path(__file__).with_name("warm.py"))]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def ask(self, request: Mapping[str, Any]) -> Any:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def start(self, folder: Path, environment: Mapping[str, str], target: str, *arguments: str) -> Command:
        """``python TARGET ARGUMENTS`` in the background for a file, ``python -m TARGET ARGUMENTS`` for a module."""
        return Command(self, folder, environment, target, *arguments)

    def run(
        self, folder: Path, environment: Mapping[str, str], target: str, *arguments: str
    ) -> subprocess.CompletedProcess[str]:
        """The same to its end."""
        command = self.start(folder, environment, target, *arguments)
        out, err = command.communicate()
        return subprocess.CompletedProcess(command.args, command.returncode or 0, out, err)

    def close(self) -> None:
        """Ends once its input does."""
        self._process.communicate()


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warm]:
    """One for all commands of a test session."""
    made = Warm(tmp_path_factory.mktemp("warm"))
    yield made
    made.close()


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables without a run: they take seconds to make, and are the same for every project."""
    from neuroprint.tracking.store import create_database

    folder = tmp_path_factory.mktemp("mlruns")
    create_database(folder / "mlflow.db", folder / "artifacts")
    return folder / "mlflow.db"


@pytest.fixture(scope="session")
def auc_within_folds() -> Callable[[Evaluation, np.ndarray, np.ndarray], float]:
    """scikit-learn's AUC of each fold, weighted by the fold's pairs."""
    from sklearn.metrics import roc_auc_score

    def auc(evaluation: Evaluation, positive: np.ndarray, scores: np.ndarray) -> float:
        folds, found = evaluation.queries["fold"].to_numpy(), []
        for fold in np.unique(folds):
            mine = np.asarray(positive)[folds == fold].astype(bool)
            if 0 < mine.sum() < len(mine):
                pairs = mine.sum() * (~mine).sum()
                found.append((roc_auc_score(mine, np.asarray(scores)[folds == fold]), pairs))
        values, weights = zip(*found, strict=True)
        return float(np.average(values, weights=weights))

    return auc

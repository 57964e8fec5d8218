"""A real sweep, MLflow's UI on it, and Chromium to look at it with."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
FLAGS = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")
PATIENCE_MS = 120_000


class Looked:
    """A folder in which a sweep was run, and where its UI is.

    Attributes:
        folder: Where the commands were given.
        printed: What the sweep printed.
        address: What ``neuroprint ui`` printed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "NEUROPRINT_CACHE": str(folder / "cache")}
        self.printed = self.address = ""

    @property
    def server(self) -> str:
        return self.address.split("/#")[0]

    def runs(self, role: str) -> list:
        """The runs of a role, the best first."""
        from mlflow import MlflowClient

        client = MlflowClient(f"sqlite:///{self.folder / 'mlruns' / 'mlflow.db'}")
        found = client.search_runs(["1"], f"tags.role = '{role}'", order_by=["metrics.`retrieval/p_at_5` DESC"])
        return list(found)


@pytest.fixture(scope="session")
def looked(warm: Any, tmp_path_factory: pytest.TempPathFactory, small_cohort: Path) -> Iterator[Looked]:
    """Three projections of voxels, swept, and the UI started on them as a user does."""
    pytest.importorskip("playwright", reason="playwright is not installed: it is in the extra 'dev'")
    if CHROMIUM is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    looked = Looked(tmp_path_factory.mktemp("looked"))
    where = ("dataset=brats", f"dataset.root={small_cohort}", "task.radius_mm=30", "components=3")
    choices = ("-m", "encoder=voxels", "projection=none,pca,standardize", *where)
    done = warm.run(looked.folder, looked.environment, str(ROOT / "run.py"), *choices)
    assert done.returncode == 0, done.stderr
    looked.printed = done.stdout
    ui = subprocess.Popen(
        [sys.executable, "-m", "neuroprint", "ui", "--port", "5600"],
        cwd=looked.folder,
        env=looked.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        looked.address = ui.stdout.readline().strip()  # type: ignore[union-attr]
        yield looked
    finally:
        ui.terminate()
        assert ui.wait(60) == 0


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """A browser with a profile of its own, forgotten afterwards."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: it is in the extra 'dev'")
    if CHROMIUM is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    with api.sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            tmp_path_factory.mktemp("profile"),
            executable_path=CHROMIUM,
            args=list(FLAGS),
            viewport={"width": 1920, "height": 1000},
            timeout=PATIENCE_MS,
        )
        context.set_default_timeout(PATIENCE_MS)
        yield context
        context.close()


@pytest.fixture
def page(chromium: object) -> Iterator[object]:
    """An empty page."""
    page = chromium.new_page()  # type: ignore[attr-defined]
    yield page
    page.close()

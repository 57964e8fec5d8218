"""Experiments as the command line would compose them, without a scan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from neuroprint.catalog.menu import CONF
from neuroprint.experiment.configuration import register_schema
from neuroprint.experiment.experiment import Experiment
from neuroprint.experiment.session import Session

MakeExperiment = Callable[..., Experiment]


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all: a choice that names it is then built once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def use_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is written where the tests are run."""
    monkeypatch.setenv("NEUROPRINT_CACHE", str(cache))


@pytest.fixture(scope="session")
def make_experiment() -> MakeExperiment:
    """``make_experiment("layer=2", "pooling=max")``: what ``python run.py layer=2 pooling=max`` would score."""
    shared = Session()

    def make(*overrides: str, session: Session | None = None, folders: Sequence[Path] = ()) -> Experiment:
        register_schema()
        given = [*overrides, *(f"hydra.searchpath=[file://{folder}]" for folder in folders)]
        with initialize_config_dir(str(CONF), version_base="1.3"):
            config = compose("config", overrides=given, return_hydra_config=True)
        return Experiment.of(config, dict(config.hydra.runtime.choices), overrides, session or shared)

    return make

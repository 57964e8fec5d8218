"""The reference row that says what the architecture alone is worth: the best configuration on random weights."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest


def command(weights: Path, cohort: Path, *choices: str) -> list[str]:
    network = ("encoder=swin_unetr_phantom", f"encoder.weights={weights}", "encoder.sha256=null")
    small = ("layer=2", "encoder.feature_size=12", "encoder.spacing_mm=6", "figures=false")
    return [*choices, *network, *small, "dataset=brats", f"dataset.root={cohort}", "task.radius_mm=30"]


@pytest.fixture(scope="module")
def swept(new_project, small_cohort, trained_weights):
    project = new_project()
    project.command = command(trained_weights, small_cohort, "-m", "pooling=mean,max")
    project.outcome = project.run(*project.command)
    assert project.outcome.returncode == 0, project.outcome.stderr
    return project


def test_a_sweeps_best_is_scored_on_random_weights_as_well(swept, artifact):
    candidates = swept.finished()
    assert len(candidates) == 2 and {run.data.tags["encoder_weights"] for run in candidates} == {"trained"}
    best = min(candidates, key=lambda run: (-run.data.metrics["retrieval/p_at_5"], run.info.run_name))
    (row,) = [run for run in swept.finished("reference") if run.data.tags["reference"] == "untrained"]
    assert row.data.params["pooling"] == best.data.params["pooling"]
    assert row.data.params["layer"] == best.data.params["layer"]
    assert row.data.params["encoder"] == "untrained"
    assert row.data.tags["group"] == best.data.tags["group"]
    assert row.data.tags["identity"] == best.data.tags["untrained_row"]
    assert row.data.metrics["probe/r2"] != best.data.metrics["probe/r2"]
    (parent,) = swept.finished("sweep")
    assert row.data.tags["mlflow.parentRunId"] == parent.info.run_id
    board = pd.read_csv(artifact(parent, "leaderboard.csv"))
    assert sorted(board.loc[board["role"] == "reference", "name"]) == ["chance", "oracle", "untrained", "voxels"]
    assert "untrained" in swept.outcome.stdout


@pytest.mark.slow
def test_it_is_scored_by_a_job_of_the_launcher_with_the_same_numbers(swept, new_project):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    project = new_project()
    done = project.run(*swept.command, "hydra/launcher=submitit_local", "hydra.launcher.timeout_min=5")
    assert done.returncode == 0, done.stderr
    assert "extracting" not in done.stderr and "on random weights" not in done.stderr
    said = [file.read_text() for file in (project.folder / "mlruns").glob("hydra/**/.submitit/*/*.err")]
    assert sum("scoring the reference row untrained" in text for text in said) == 1, done.stderr
    assert project.scores() == swept.scores()


def test_a_run_by_itself_gets_it_at_once_and_once_and_gets_it_back(
    tmp_path, small_cohort, trained_weights, monkeypatch
):
    from hydra import compose, initialize_config_dir

    from neuroprint.catalog.menu import CONF
    from neuroprint.experiment.configuration import register_schema
    from neuroprint.experiment.experiment import Experiment
    from neuroprint.experiment.run import run_experiment
    from neuroprint.experiment.session import Session
    from neuroprint.tracking.boards import leaderboards
    from neuroprint.tracking.store import TrackingStore

    monkeypatch.setenv("NEUROPRINT_CACHE", str(tmp_path / "cache"))
    register_schema()
    overrides = command(trained_weights, small_cohort, f"tracking.root={tmp_path / 'mlruns'}")

    def run_it() -> None:
        """As a process of its own would: with a session of its own."""
        session = Session()
        with initialize_config_dir(str(CONF), version_base="1.3"):
            config = compose("config", overrides=overrides, return_hydra_config=True)
        run_experiment(Experiment.of(config, dict(config.hydra.runtime.choices), overrides, session), session)

    store = TrackingStore(tmp_path / "mlruns", "neuroprint")

    def references():
        return sorted(run.data.tags["reference"] for run in store.search("tags.role = 'reference'"))

    def board():
        return leaderboards(store, store.search("tags.role = 'candidate'"))[0].table

    run_it()
    assert references() == ["chance", "oracle", "untrained", "voxels"]
    assert set(board().loc[board()["role"] == "reference", "name"]) == set(references())
    run_it()
    assert references() == ["chance", "oracle", "untrained", "voxels"]
    (row,) = store.search("tags.reference = 'untrained'")
    store.client.delete_run(row.info.run_id)
    shown = leaderboards(store, store.search("tags.role = 'candidate'"))[0]
    assert "untrained" in shown.note and "untrained" not in set(shown.table["name"])
    run_it()
    assert references() == ["chance", "oracle", "untrained", "voxels"]

    # Another version of torch draws other random weights: the finished candidate is not repeated, its reference row is.
    monkeypatch.setattr("neuroprint.encoders.swin_unetr.version", lambda package: "another")
    run_it()
    assert len(store.search("tags.role = 'candidate'")) == 1
    rows_of_it = store.search("tags.reference = 'untrained'")
    assert len(rows_of_it) == 2
    shown = leaderboards(store, store.search("tags.role = 'candidate'"))[0]
    assert not shown.note and rows_of_it[0].info.run_id in set(shown.table["run_id"])


def test_a_reference_row_that_cannot_be_scored_is_said_and_fails_nothing(caplog, monkeypatch):
    from neuroprint.experiment import run

    def fails(*_):
        raise ValueError("no\nmemory")

    monkeypatch.setattr(run, "_score_untrained", fails)
    run.score_untrained(SimpleNamespace(name="the best"), session=None)
    assert "the best cannot be scored: ValueError: no memory" in caplog.text


def test_only_what_was_trained_and_knows_its_architecture_has_a_twin(trained_weights):
    from neuroprint.encoders.combined import CombinedEncoder
    from neuroprint.encoders.swin_unetr import SwinUNETREncoder, TrainedSwinUNETREncoder
    from neuroprint.encoders.twins import untrained_twin
    from neuroprint.encoders.voxels import VoxelEncoder

    voxels = VoxelEncoder()
    trained = TrainedSwinUNETREncoder(
        ["flair", "t1"], str(trained_weights), feature_size=12, spacing_mm=6, crop="image"
    )
    assert untrained_twin(voxels) is None
    assert untrained_twin(SwinUNETREncoder(["flair"])) is None
    twin = untrained_twin(trained)
    assert isinstance(twin, SwinUNETREncoder) and not twin.trained
    assert (twin.architecture, twin.input, twin.levels) == (trained.architecture, trained.input, trained.levels)
    assert untrained_twin(CombinedEncoder({"a": voxels, "b": voxels})) is None
    both = untrained_twin(CombinedEncoder({"a": trained, "b": voxels}))
    assert isinstance(both, CombinedEncoder)
    assert [type(part) for part in both.encoders] == [SwinUNETREncoder, VoxelEncoder]

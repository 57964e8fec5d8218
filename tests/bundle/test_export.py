"""Export: which run is taken, what is scored on the hold-out and how often, and what is refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from neuroprint.experiment.holdout import read_looks

from neuroprint.bundle.bundle import Bundle
from neuroprint.data.formats.brats import find_brats, read_case_folder
from neuroprint.errors import NeuroprintError
from neuroprint.experiment.export import export
from neuroprint.tracking.store import TrackingStore

HELD = ("Small_00001", "Small_00006")


@pytest.fixture(scope="module")
def project(tmp_path_factory, small_cohort):
    """A store with two finished runs of one leaderboard; its feature store and its folder of scans."""
    from hydra import compose, initialize_config_dir
    from hydra.core.hydra_config import HydraConfig
    from neuroprint.experiment.job import Job

    from neuroprint.experiment import configuration as settings
    from neuroprint.experiment.run import run_job

    folder = tmp_path_factory.mktemp("project")
    settings.register()
    shared = [
        *("dataset=brats", f"dataset.root={small_cohort}", "holdout=0.5", "folds=2", "repeats=1", "figures=false"),
        *("encoder=voxels", "encoder.cells=[6,6,5]", "retrieval.radius_mm=60", "components=3", "map=pca"),
        *(f"tracking.root={folder / 'mlruns'}", f"store.root={folder / 'store'}"),
    ]
    for projection in ("pca", "pls"):
        overrides = [*shared, f"projection={projection}"]
        with initialize_config_dir(str(settings.CONF), version_base="1.3"):
            config = compose("config", overrides=overrides, return_hydra_config=True)
            HydraConfig.instance().set_config(config)
            run_job(Job.from_config(config, dict(config.hydra.runtime.choices), overrides))
    return folder


@pytest.fixture(scope="module")
def store(project):
    return TrackingStore(project / "mlruns", "neuroprint")


@pytest.fixture(scope="module")
def here(project, small_cohort):
    """Where the run's scans are, since MLflow does not know."""
    return [f"dataset.root={small_cohort}", f"store.root={project / 'store'}"]


@pytest.fixture(scope="module")
def best(store):
    runs = store.search("tags.role = 'candidate'")
    return min(runs, key=lambda run: (-run.data.metrics["retrieval/p_at_5"], run.info.run_name))


@pytest.fixture(scope="module")
def first(project, store, here, best):
    """The first export of the best run."""
    return export(project / "first", store, overrides=here)


def candidate(store, projection):
    runs = store.search("tags.role = 'candidate'")
    return next(run for run in runs if run.data.params["projection"] == projection)


def copy_of(run, store, artifacts, name, identity=None, **config):
    """A finished run like another, but first of its leaderboard, never exported, and with other parts."""
    tags = {key: value for key, value in run.data.tags.items() if not key.startswith("mlflow.")}
    metrics = {key: value for key, value in run.data.metrics.items() if not key.startswith(("holdout/", "optimism/"))}
    run_id = store.create(name, {**tags, "identity": identity or tags["identity"], "exportable": "true"})
    store.log(run_id, {**metrics, "retrieval/p_at_5": 0.99}, run.data.params)
    file = store.artifact(run, "config.yaml")
    shutil.copytree(file.parent, artifacts, ignore=shutil.ignore_patterns("bundle_model"))
    (artifacts / "config.yaml").write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), **config}))
    store.log_folder(run_id, artifacts)
    store.end(run_id)
    return run_id


def test_the_best_run_becomes_a_bundle_of_the_sweeps_cases_alone(first, best, small_cohort):
    assert first.run_id == best.info.run_id
    bundle = Bundle.open(first.folder)
    everyone = [case.id for case in find_brats(small_cohort).cases]
    assert list(bundle.cases["case"]) == [case for case in everyone if case not in HELD]
    assert bundle.name == best.info.run_name


def test_its_embeddings_are_those_of_the_run_and_no_network_ran(first, store, best):
    bundle = Bundle.open(first.folder)
    table = pd.read_parquet(store.artifact(best, "embeddings.parquet")).set_index("case")["embedding"]
    np.testing.assert_array_equal(bundle.embeddings, np.stack([table[case] for case in bundle.cases["case"]]))


def test_the_hold_out_is_scored_as_optimism_scores_it(first, store, here):
    metrics = store.client.get_run(first.run_id).data.metrics
    assert metrics["holdout/cases"] == 2
    assert {"holdout/p_at_5", "holdout/r2", "optimism/p_at_5", "optimism/p_at_5_lo", "optimism/p_at_5_hi"} <= set(
        metrics
    )
    assert metrics["optimism/p_at_5"] == pytest.approx(
        metrics["retrieval/p_at_5"] - metrics["holdout/p_at_5"], abs=1e-5
    )
    assert all(name.count("/") == 1 for name in metrics)
    scores = json.loads((first.folder / "scores.json").read_text())
    assert scores["holdout"]["retrieval/p_at_5"] == metrics["holdout/p_at_5"]
    assert scores["sweep"]["retrieval/p_at_5"] == metrics["retrieval/p_at_5"]
    assert set(scores["references"]) == {"chance", "voxels", "oracle"}


def test_an_export_repeated_is_the_same_look_and_another_run_is_a_second(first, project, store, here):
    again = export(project / "again", store, overrides=here)
    assert again.look == first.look
    assert first.look.before == 0
    other = next(run for run in store.search("tags.role = 'candidate'") if run.info.run_id != first.run_id)
    second = export(project / "second", store, run_id=other.info.run_id, overrides=here)
    assert (second.look.before, second.look.configurations_before) == (1, 1)
    assert [look.run_id for look in read_looks(store)] == [first.run_id, other.info.run_id]
    assert "looked at 0 times before" in (project / "again" / "card.md").read_text()
    assert "looked at once before (by 1 configuration)" in (project / "second" / "card.md").read_text()
    assert int(again.version) == int(first.version) + 1


def test_it_is_registered_as_the_champion_and_loads_without_a_pickle(first, project, store, small_cohort, monkeypatch):
    import mlflow

    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    version = store.client.get_model_version_by_alias("neuroprint", "champion")
    assert version.run_id in {run.info.run_id for run in store.search("tags.role = 'candidate'")}
    before = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    mlflow.set_tracking_uri(store.uri)
    mlflow.set_registry_uri(store.uri)
    try:
        model = mlflow.pyfunc.load_model("models:/neuroprint@champion")
    finally:
        mlflow.set_tracking_uri(before[0])
        mlflow.set_registry_uri(before[1])
    table = model.predict(pd.DataFrame({"case": [str(small_cohort / "Small_00002")]}), params={"k": 2})
    assert table["case"].iloc[0] == "Small_00002"
    assert len(table) == 2


def test_without_a_hold_out_the_card_says_so(project, store, first, here, monkeypatch):
    monkeypatch.setattr("neuroprint.experiment.export.look", lambda *_: None)
    monkeypatch.setattr("neuroprint.experiment.identified.IdentifiedCohort.holdout_share", lambda *_: 0.0)
    monkeypatch.setattr("neuroprint.experiment.export.check_same", lambda *_: None)
    made = export(project / "without", store, overrides=here)
    card = (made.folder / "card.md").read_text()
    assert "There is no hold-out" in card
    assert "Optimism" not in card


OWN = {"_target_": "my_package.Own"}
VOXELS = {"_target_": "neuroprint.encoders.voxels.VoxelEncoder", "cells": [6, 6, 5], "modalities": []}
COMBINED = {"_target_": "neuroprint.encoders.combined.CombinedEncoder", "encoders": {"a": VOXELS, "b": OWN}}
NO_BUNDLES = {
    "umap": (
        {"projection": {"_target_": "neuroprint.evaluation.projections.UMAP"}},
        "UMAP places a new case by a search",
    ),
    "gone": ({"projection": OWN}, "projection: my_package.Own cannot be built"),
    "pooled": ({"pooling": OWN}, "pooling: a bundle cannot hold my_package.Own"),
    "encoded": ({"encoder": OWN}, "encoder: a bundle cannot hold my_package.Own"),
    "network": (
        {"encoder": {"_target_": "neuroprint.encoders.module.ModuleEncoder", "network": OWN}},
        "encoder.network: a bundle cannot hold my_package.Own",
    ),
    "joined": ({"encoder": COMBINED}, "encoder: a bundle cannot hold my_package.Own"),
    "windows": (
        {"encoder": {"_target_": "neuroprint.encoders.swin_unetr.SwinUNETREncoder"}, "inferer": OWN},
        "inferer: a bundle cannot hold my_package.Own",
    ),
}


def test_runs_that_cannot_be_a_bundle_are_skipped_and_refused_when_named(store, here, best, first, tmp_path, caplog):
    looks = read_looks(store)
    fakes = {name: copy_of(best, store, tmp_path / name, name, name, **NO_BUNDLES[name][0]) for name in NO_BUNDLES}
    try:
        with caplog.at_level("INFO"):
            made = export(tmp_path / "bundle", store, overrides=here)
        assert made.run_id == first.run_id
        for name, (_, why) in NO_BUNDLES.items():
            assert f"skipped {name}: {why}" in caplog.text
            with pytest.raises(NeuroprintError, match=f"{name} cannot be exported: {why}") as caught:
                export(tmp_path / "refused", store, run_id=fakes[name], overrides=here)
            assert "\n" not in str(caught.value)
        assert read_looks(store) == looks
    finally:
        for fake in fakes.values():
            store.client.delete_run(fake)


def test_a_place_that_is_taken_is_refused_before_anything_is_done(store, here, tmp_path, monkeypatch):
    monkeypatch.setattr("neuroprint.experiment.export.rebuild", lambda *_: pytest.fail("went on"))
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "notes.txt").write_text("mine")
    with pytest.raises(NeuroprintError, match="taken is there and is no bundle"):
        export(taken, store, overrides=here)
    with pytest.raises(NeuroprintError, match="no folder that you may write to"):
        export(taken / "notes.txt" / "bundle", store, overrides=here)
    monkeypatch.chdir(taken)
    for folder in (Path(), Path("..")):
        with pytest.raises(NeuroprintError, match="holds the folder you are in"):
            export(folder, store, overrides=here)
    assert [path.name for path in taken.iterdir()] == ["notes.txt"]


def test_a_run_that_is_not_there_or_no_candidate_is_refused(store, tmp_path):
    with pytest.raises(NeuroprintError, match="there is no such run"):
        export(tmp_path / "bundle", store, run_id="0" * 32)
    reference = store.search("tags.role = 'reference'")[0]
    with pytest.raises(NeuroprintError, match="not a finished candidate"):
        export(tmp_path / "bundle", store, run_id=reference.info.run_id)


def test_scans_that_are_elsewhere_or_others_are_asked_for(project, store, here, small_cohort, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NeuroprintError, match="MLflow keeps no folders: give --set dataset"):
        export(tmp_path / "bundle", store)
    shutil.copytree(small_cohort, tmp_path / "scans")
    shutil.rmtree(tmp_path / "scans" / "Small_00003")
    with pytest.raises(NeuroprintError, match="was scored on other scans"):
        export(tmp_path / "bundle", store, overrides=[f"dataset.root={tmp_path / 'scans'}", here[1]])
    with pytest.raises(NeuroprintError, match="would not be scored alike"):
        export(tmp_path / "bundle", store, overrides=[*here, "encoder.cells=[5,5,5]"])
    with pytest.raises(NeuroprintError, match="give KEY=VALUE"):
        export(tmp_path / "bundle", store, overrides=["dataset.rot=x"])
    assert not (tmp_path / "bundle").exists()


def test_the_bundle_answers_when_run_and_cache_are_gone(first, store, project, small_cohort, tmp_path, monkeypatch):
    folder = tmp_path / "moved"
    shutil.copytree(first.folder, folder)
    shutil.copytree(small_cohort / HELD[0], tmp_path / HELD[0])
    here = Bundle.open(first.folder)
    expected = here.rank(here.embed(read_case_folder(small_cohort / HELD[0])).projected, 5)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NEUROPRINT_CACHE", str(tmp_path / "nothing"))
    bundle = Bundle.open(folder)
    found = bundle.rank(bundle.embed(read_case_folder(tmp_path / HELD[0])).projected, 5)
    assert found.cases == expected.cases
    for path in folder.rglob("*"):
        for place in (project, small_cohort.parent):
            assert path.is_dir() or str(place).encode() not in path.read_bytes()


def test_a_named_run_brings_its_experiment_and_every_experiments_looks_count(first, store, here, best, tmp_path):
    elsewhere = TrackingStore(store.root, "elsewhere")
    never_used = {"_target_": "builtins.object"}  # voxels do not go through it, so it need not be in the bundle
    run_id = copy_of(best, elsewhere, tmp_path / "artifacts", "copy", inferer=never_used)
    tags = {"role": "reference", "reference": "chance", "group": best.data.tags["group"]}
    chance = elsewhere.create("chance", tags)
    elsewhere.log(chance, {"retrieval/p_at_5": 0.123})
    elsewhere.end(chance)
    looks = read_looks(store)
    made = export(tmp_path / "bundle", store, run_id=run_id, overrides=here)
    assert made.look.before == len(looks) >= 1
    assert read_looks(store) == read_looks(elsewhere) == [*looks, made.look]
    kept = store.client.get_experiment(elsewhere.experiment_id).tags
    assert [json.loads(text)["run_id"] for name, text in kept.items() if name.startswith("holdout_look.")] == [run_id]
    scores = json.loads((tmp_path / "bundle" / "scores.json").read_text())
    assert scores["references"] == {"chance": {"retrieval/p_at_5": 0.123}}


def test_a_deleted_experiments_looks_count(first, store):
    looks = read_looks(store)
    store.client.delete_experiment(store.experiment_id)
    try:
        assert read_looks(TrackingStore(store.root, "another")) == looks != []
    finally:
        store.client.restore_experiment(store.experiment_id)


def test_weights_that_cannot_be_had_are_found_before_the_hold_out_is_looked_at(
    store, here, best, tmp_path, monkeypatch
):
    run_id = copy_of(best, TrackingStore(store.root, "offline"), tmp_path / "artifacts", "copy")
    looks = read_looks(store)

    def offline(*_):
        raise NeuroprintError("no network")

    monkeypatch.setattr("neuroprint.experiment.export._parts", offline)
    with pytest.raises(NeuroprintError, match="no network"):
        export(tmp_path / "bundle", store, run_id=run_id, overrides=here)
    assert read_looks(store) == looks

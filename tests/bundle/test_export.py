"""Export: which run is taken, what is scored on the hold-out and how often, and what is refused."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from neuroprint.bundle.bundle import Bundle
from neuroprint.catalog.menu import CONF
from neuroprint.data.formats.brats import BraTSFormat
from neuroprint.errors import NeuroprintError
from neuroprint.evaluation.folds import in_holdout
from neuroprint.experiment import export as exporting
from neuroprint.experiment.configuration import register_schema
from neuroprint.experiment.experiment import Experiment
from neuroprint.experiment.looks import HOLDOUT_CASES, read_looks
from neuroprint.experiment.run import run_experiment
from neuroprint.experiment.session import Session
from neuroprint.tracking.store import TrackingStore

HELD = ("Small_00001", "Small_00006")


def export(folder, store, **choices):
    """What this small cohort is worth beside voxels is not the question here."""
    return exporting.export(folder, store, **{"anyway": True, **choices})


@pytest.fixture(autouse=True)
def few_are_enough(monkeypatch):
    """Eight cases are ranked."""
    monkeypatch.setattr("neuroprint.tasks.leaderboard.LEAST_QUERIES", 2)


class Project:
    """A folder with an MLflow store and a feature store, in which configurations of the small cohort are run."""

    def __init__(self, folder, scans):
        self.folder, self.session = folder, Session()
        self.shared = [
            *("dataset=brats", f"dataset.root={scans}", "folds=2", "figures=false", "similarity=cosine"),
            *("task.radius_mm=60", "components=3", "map=pca"),
            *(f"tracking.root={folder / 'mlruns'}", f"store.root={folder / 'store'}"),
        ]
        # Where the run's scans are, since MLflow does not know.
        self.here = [f"dataset.root={scans}", f"store.root={folder / 'store'}"]

    def run(self, *overrides, encoder=("encoder=voxels", "encoder.cells=[6,6,5]")):
        """``python run.py ...`` in this process; the run's id."""
        from hydra import compose, initialize_config_dir

        register_schema()
        given = [*self.shared, *encoder, *overrides]
        with initialize_config_dir(str(CONF), version_base="1.3"):
            config = compose("config", overrides=given, return_hydra_config=True)
            choices = dict(config.hydra.runtime.choices)
            return run_experiment(Experiment.of(config, choices, given, self.session), self.session)

    def store(self, experiment="neuroprint"):
        return TrackingStore(self.folder / "mlruns", experiment)


@pytest.fixture(scope="module")
def work(tmp_path_factory, small_cohort):
    """A project with two finished runs of one leaderboard."""
    project = Project(tmp_path_factory.mktemp("project"), small_cohort)
    for projection in ("pca", "pls"):
        project.run("holdout=0.5", f"projection={projection}")
    return project


@pytest.fixture(scope="module")
def project(work):
    return work.folder


@pytest.fixture(scope="module")
def store(work):
    return work.store()


@pytest.fixture(scope="module")
def here(work):
    return work.here


@pytest.fixture(scope="module")
def best(store):
    runs = store.search("tags.role = 'candidate'")
    return min(runs, key=lambda run: (-run.data.metrics["retrieval/p_at_5"], run.info.run_name))


@pytest.fixture(scope="module")
def first(project, store, here, best):
    """The first export of the best run."""
    return export(project / "first", store, run_id=best.info.run_id, overrides=here)


def copy_of(run, store, artifacts, name, identity=None, score=0.99, **config):
    """A finished run like another, but with another score, never exported, and with other parts."""
    tags = {key: value for key, value in run.data.tags.items() if not key.startswith(("mlflow.", "holdout"))}
    metrics = {key: value for key, value in run.data.metrics.items() if not key.startswith(("holdout/", "optimism/"))}
    run_id = store.create(name, {**tags, "identity": identity or tags["identity"], "exportable": "true"})
    store.log(run_id, {**metrics, "retrieval/p_at_5": score}, run.data.params)
    file = store.artifact(run, "config.yaml")
    shutil.copytree(file.parent, artifacts, ignore=shutil.ignore_patterns("bundle_model"))
    (artifacts / "config.yaml").write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), **config}))
    store.log_folder(run_id, artifacts)
    store.end(run_id)
    return run_id


def test_the_best_run_becomes_a_bundle_of_the_sweeps_cases_alone(first, best, small_cohort):
    assert first.run_id == best.info.run_id
    bundle = Bundle.open(first.folder)
    everyone = [case.id for case in BraTSFormat(small_cohort).cohort().cases]
    assert tuple(case for case in everyone if in_holdout(case, 0.5)) == HELD
    assert list(bundle.cases["case"]) == [case for case in everyone if case not in HELD]
    assert first.cases == len(bundle.cases) == 8
    assert bundle.name == best.info.run_name and bundle.manifest["run_id"] == best.info.run_id
    assert bundle.config["components"] == 3


def test_its_embeddings_are_those_of_the_run_and_no_network_ran(first, store, best):
    bundle = Bundle.open(first.folder)
    table = pd.read_parquet(store.artifact(best, "embeddings.parquet")).set_index("case")["embedding"]
    np.testing.assert_array_equal(bundle.embeddings, np.stack([table[case] for case in bundle.cases["case"]]))


def test_the_hold_out_is_scored_as_optimism_scores_it(first, store, here):
    run = store.client.get_run(first.run_id)
    metrics = run.data.metrics
    assert run.data.tags[HOLDOUT_CASES] == "2" and "holdout/cases" not in metrics
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
    assert int(again.registered.version) == int(first.registered.version) + 1


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


def test_without_a_hold_out_the_card_says_so(work, here):
    run_id = work.run("holdout=0", "projection=pca", "tracking.experiment=without")
    looks = read_looks(work.store())
    made = export(work.folder / "without", work.store("without"), run_id=run_id, overrides=here)
    assert made.look is None and made.cases == 10
    card = (made.folder / "card.md").read_text()
    assert "There is no hold-out (its share is 0)" in card
    assert "Optimism" not in card
    assert read_looks(work.store()) == looks
    assert not [name for name in work.store().client.get_run(run_id).data.metrics if name.startswith("holdout/")]


OWN = {"_target_": "my_package.Own"}
VOXELS = {"_target_": "neuroprint.encoders.voxels.VoxelEncoder", "cells": [6, 6, 5], "modalities": []}
COMBINED = {"_target_": "neuroprint.encoders.combined.CombinedEncoder", "encoders": {"a": VOXELS, "b": OWN}}
NETWORK = {"_target_": "neuroprint.encoders.module.ModuleEncoder", "network": OWN}
PRECOMPUTED = {"_target_": "neuroprint.embedding.precomputed.PrecomputedEncoder", "path": "vectors.parquet"}
REFUSED = "my_package.Own is not one of neuroprint's own: it is loaded only with --trust my_package"
NO_BUNDLES = {
    "umap": (
        {"projection": {"_target_": "neuroprint.evaluation.projections.UMAP"}},
        "UMAP places a new case by a search",
    ),
    "elsewhere": ({"encoder": PRECOMPUTED}, "its embeddings come from a file"),
    "projected": ({"projection": OWN}, f"projection: {REFUSED}"),
    "pooled": ({"pooling": OWN}, f"pooling: {REFUSED}"),
    "encoded": ({"encoder": OWN}, f"encoder: {REFUSED}"),
    "network": ({"encoder": NETWORK}, "encoder.network: my_package.Own may not be named by a file from elsewhere"),
    "joined": ({"encoder": COMBINED}, f"encoder: {REFUSED}"),
    "windows": ({"inferer": OWN}, f"inferer: {REFUSED}"),
    "probed": ({"probe": OWN}, f"probe: {REFUSED}"),
    "asked": ({"task": OWN}, f"task: {REFUSED}"),
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
            with pytest.raises(NeuroprintError, match=re.escape(f"{name} cannot be exported: {why}")) as caught:
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
    expected = here.rank(here.embed(here.read_case(small_cohort / HELD[0])).projected, 5)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NEUROPRINT_CACHE", str(tmp_path / "nothing"))
    bundle = Bundle.open(folder)
    found = bundle.rank(bundle.embed(bundle.read_case(tmp_path / HELD[0])).projected, 5)
    assert found.cases == expected.cases
    for path in folder.rglob("*"):
        for place in (project, small_cohort.parent):
            assert path.is_dir() or str(place).encode() not in path.read_bytes()


def test_a_named_run_brings_its_experiment_and_every_experiments_looks_count(first, store, here, best, tmp_path):
    elsewhere = TrackingStore(store.root, "elsewhere")
    run_id = copy_of(best, elsewhere, tmp_path / "artifacts", "copy")
    looks = read_looks(store)
    made = export(tmp_path / "bundle", store, run_id=run_id, overrides=here)
    assert made.look.before == len(looks) >= 1
    assert read_looks(store) == read_looks(elsewhere) == [*looks, made.look]
    kept = store.client.get_experiment(elsewhere.experiment_id).tags
    assert [json.loads(text)["run_id"] for name, text in kept.items() if name.startswith("holdout_look.")] == [run_id]


def test_a_deleted_experiments_looks_count(first, store):
    looks = read_looks(store)
    store.client.delete_experiment(store.experiment_id)
    try:
        assert read_looks(TrackingStore(store.root, "another")) == looks != []
    finally:
        store.client.restore_experiment(store.experiment_id)


def test_weights_that_cannot_be_had_are_found_before_the_hold_out_is_looked_at(work, here, tmp_path):
    """The features are stored, so that the network itself is not needed; a bundle needs its weights."""
    import torch
    from monai.networks.nets import BasicUNet

    from neuroprint.data.digests import file_sha256

    features = [4, 4, 4, 4, 4, 4]
    weights = tmp_path / "net.pt"
    torch.save(BasicUNet(in_channels=4, features=features).state_dict(), weights)
    network = f"{{_target_: monai.networks.nets.BasicUNet, in_channels: 4, features: {features}}}"
    encoder = [
        *("encoder=module", f"encoder.network={network}", "encoder.levels=[down_1]", "encoder.divisor=16"),
        *("encoder.spacing_mm=6.0", f"encoder.weights=file://{weights}", f"encoder.sha256={file_sha256(weights)}"),
        f"encoder.cache={tmp_path / 'cache'}",
    ]
    run_id = work.run("holdout=0.5", "tracking.experiment=far", encoder=encoder)
    looks = read_looks(work.store())
    elsewhere = [*here, f"encoder.weights=file://{weights}", f"encoder.cache={tmp_path / 'other'}"]
    weights.rename(tmp_path / "gone.pt")
    with pytest.raises(NeuroprintError, match=r"encoder\.weights=file.*net\.pt"):
        export(tmp_path / "bundle", work.store("far"), run_id=run_id, overrides=elsewhere)
    assert read_looks(work.store()) == looks
    (tmp_path / "gone.pt").rename(weights)
    made = export(tmp_path / "bundle", work.store("far"), run_id=run_id, overrides=elsewhere)
    assert made.look in read_looks(work.store()) and (made.folder / "weights" / "0.safetensors").is_file()


def test_a_gallery_holds_the_cases_that_could_not_be_scored(work, small_cohort, tmp_path):
    scans = tmp_path / "scans"
    shutil.copytree(small_cohort, scans)
    (scans / "Small_00002" / "Small_00002_seg.nii.gz").unlink()
    place = [f"dataset.root={scans}", f"store.root={work.folder / 'store'}"]
    run_id = work.run(*place, "holdout=0", "projection=pls", "tracking.experiment=unlabeled")
    made = export(tmp_path / "bundle", work.store("unlabeled"), run_id=run_id, overrides=place)
    bundle = Bundle.open(made.folder)
    assert made.cases == len(bundle.cases) == 10
    assert bundle.scores["cases"]["sweep"] == 9
    assert list(bundle.cases["case"][bundle.cases["x_mm"].isna()]) == ["Small_00002"]
    assert "1 cases were left out" in (made.folder / "card.md").read_text()


def test_code_of_the_users_own_is_exported_with_trust_alone(work, here, tmp_path, monkeypatch):
    (tmp_path / "my_poolings.py").write_text(
        "def largest(features, brain):\n    return features.flatten(1).amax(dim=1)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    run_id = work.run("holdout=0", "pooling._target_=my_poolings.largest", "tracking.experiment=own")
    store = work.store("own")
    for trust in ((), ("other",)):
        with pytest.raises(NeuroprintError, match=r"my_poolings\.largest is not one .* --trust my_poolings"):
            export(tmp_path / "bundle", store, run_id=run_id, overrides=here, trust=trust)
    made = export(tmp_path / "bundle", store, run_id=run_id, overrides=here, trust=["my_poolings"])
    bundle = Bundle.open(made.folder, trust=["my_poolings"])
    table = pd.read_parquet(store.artifact(store.client.get_run(run_id), "embeddings.parquet"))
    np.testing.assert_array_equal(bundle.embeddings, np.stack(table["embedding"]))


def test_below_ten_queries_a_run_has_to_be_named(store, here, best, tmp_path, monkeypatch):
    monkeypatch.setattr("neuroprint.tasks.leaderboard.LEAST_QUERIES", 10)
    with pytest.raises(NeuroprintError, match=r"8 of 8 cases are queries, and below 10 nothing is ranked: name a run"):
        export(tmp_path / "bundle", store, overrides=here)
    assert export(tmp_path / "bundle", store, run_id=best.info.run_id, overrides=here).run_id == best.info.run_id


def test_what_is_worse_than_voxels_is_refused_and_what_is_not_told_from_it_is_said(store, here, best, tmp_path, caplog):
    runs = {score: copy_of(best, store, tmp_path / str(score), f"at {score}", score=score) for score in (0.01, 0.99)}
    try:
        for choices in ({"run_id": runs[0.01]}, {"run_id": runs[0.01], "metric": "retrieval/p_at_5"}):
            with pytest.raises(NeuroprintError, match=r"^at 0\.01 has 0\.01 in retrieval/p_at_5, and voxels.*--anyway"):
                exporting.export(tmp_path / "bundle", store, overrides=here, **choices)
        assert not (tmp_path / "bundle").exists()
        assert exporting.export(tmp_path / "bundle", store, run_id=runs[0.01], overrides=here, anyway=True).cases == 8
        caplog.clear()
        assert exporting.export(tmp_path / "bundle", store, overrides=here).run_id == runs[0.99]
        assert (
            "at 0.99 has 0.99 in retrieval/p_at_5, and voxels" in caplog.text and "not told from voxels" in caplog.text
        )
    finally:
        for run in runs.values():
            store.client.delete_run(run)


def test_of_several_leaderboards_one_has_to_be_named(work, here, tmp_path):
    store = work.store("several")
    ids = [work.run("projection=pca", f"task.radius_mm={radius}", "tracking.experiment=several") for radius in (50, 70)]
    with pytest.raises(
        NeuroprintError, match="2 leaderboards, which cannot be mixed: say with --leaderboard"
    ) as caught:
        export(tmp_path / "bundle", store, overrides=here)
    _, *listed = str(caught.value).splitlines()
    assert len(listed) == 2 and "within 50 mm" in "".join(listed) and "within 70 mm" in "".join(listed)
    for line in listed:
        made = export(tmp_path / "bundle", store, leaderboard=line.split()[0], overrides=here)
        assert made.run_id == ids["within 70 mm" in line]
    with pytest.raises(NeuroprintError, match="--leaderboard nothing is none of these"):
        export(tmp_path / "bundle", store, leaderboard="nothing", overrides=here)


def test_the_champion_stays_of_its_kind_unless_another_is_promoted(first, work, store, here, best, tmp_path):
    champion = export(tmp_path / "same", store, run_id=best.info.run_id, overrides=here).registered
    assert (champion.champion, champion.kept) == (champion.version, False)
    other = work.run("projection=pca", "task.radius_mm=55", "tracking.experiment=another")
    stays = export(tmp_path / "other", store, run_id=other, overrides=here).registered
    assert (stays.champion, stays.kept) == (champion.version, True) and stays.version != champion.version
    assert str(store.client.get_model_version_by_alias("neuroprint", "champion").version) == champion.version
    moved = export(tmp_path / "other", store, run_id=other, overrides=here, promote=True).registered
    assert (moved.champion, moved.kept) == (moved.version, False)
    back = export(tmp_path / "same", store, run_id=best.info.run_id, overrides=here, promote=True).registered
    assert back.champion == back.version


def test_the_registered_model_carries_card_scores_and_an_example(first, store):
    version = store.client.get_model_version("neuroprint", first.registered.version)
    card = (first.folder / "card.md").read_text()
    for described in (version, store.client.get_registered_model("neuroprint")):
        assert described.description.startswith("# ") and "## Intended use" in described.description
        assert (
            'load_model("models:/neuroprint@champion")' in described.description
            and "dataframe_split" in described.description
        )
    assert version.description.startswith(card.rstrip())
    value = store.client.get_run(first.run_id).data.metrics["retrieval/p_at_5"]
    assert version.tags["retrieval/p_at_5"].startswith(f"{value:.2f} [")
    assert version.tags["holdout retrieval/p_at_5"]


def test_the_line_that_asks_for_the_folder_again_works(small_cohort, tmp_path, monkeypatch):
    """Of a folder, and of a manifest, whose scans lie elsewhere."""
    work = Project(tmp_path, small_cohort)
    rows = ["id,label," + ",".join(("flair", "t1", "t1ce", "t2"))]
    for folder in sorted(small_cohort.iterdir()):
        files = [str(folder / f"{folder.name}_{name}.nii.gz") for name in ("seg", "flair", "t1", "t1ce", "t2")]
        rows.append(",".join([folder.name, *files]))
    (tmp_path / "cohorts").mkdir()
    (tmp_path / "cohorts" / "cohort.csv").write_text("\n".join(rows) + "\n")
    places = {"brats": small_cohort, "manifest": tmp_path / "cohorts" / "cohort.csv"}
    for name, place in places.items():
        run_id = work.run(f"dataset={name}", f"dataset.root={place}", f"tracking.experiment={name}", "projection=pca")
        (tmp_path / "empty").mkdir(exist_ok=True)
        monkeypatch.chdir(tmp_path / "empty")
        store, kept = work.store(name), f"store.root={tmp_path / 'store'}"
        with pytest.raises(NeuroprintError) as caught:
            export(tmp_path / name, store, run_id=run_id, overrides=[kept])
        said = str(caught.value)
        asked = re.search(r"--set (dataset\.root)=(\S*)$", said)
        assert asked and asked[2].endswith(place.name) and "\n" not in said, said
        made = export(tmp_path / name, store, run_id=run_id, overrides=[kept, f"{asked[1]}={place}"])
        assert made.cases >= 8


def test_runs_with_changed_queries_are_neither_meant_nor_exported(tmp_path, small_cohort):
    project = Project(tmp_path, small_cohort)
    clean = project.run("holdout=0", "projection=pca")
    changed = project.run("holdout=0", "projection=pca", "perturb=gain")
    store = project.store()
    tags = store.client.get_run(changed).data.tags
    assert tags["group"] != store.client.get_run(clean).data.tags["group"]
    assert "queries changed by Gain(percent=50.0)" in tags["about"]
    metrics = store.client.get_run(changed).data.metrics
    assert metrics["robustness/self_p_at_1"] > 0.5, "a fingerprint that is normalized bears a gain"
    assert metrics["retrieval/p_at_5"] == pytest.approx(
        store.client.get_run(clean).data.metrics["retrieval/p_at_5"], abs=0.1
    )
    done = export(tmp_path / "bundle", store, overrides=project.here)
    assert done.run_id == clean
    with pytest.raises(NeuroprintError, match="changed scans: export the run of the same choices with perturb=none"):
        export(tmp_path / "other", store, run_id=changed, overrides=project.here)

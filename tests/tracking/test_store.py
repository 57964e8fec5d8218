"""The MLflow store: created once however many start, written once a run, honest about what died."""

from __future__ import annotations

import json
import os
import shutil

import pytest

from neuroprint.errors import NeuroprintError
from neuroprint.tracking.store import FINISHED_CANDIDATES, TrackingStore


@pytest.fixture
def root(tmp_path, empty_database):
    """A folder in which there is a store already."""
    (tmp_path / "mlruns").mkdir()
    shutil.copyfile(empty_database, tmp_path / "mlruns" / "mlflow.db")
    return tmp_path / "mlruns"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return TrackingStore(tmp_path_factory.mktemp("tracking") / "mlruns", "trial")


CREATE_AND_LOG = """
import sys
from pathlib import Path
from neuroprint.tracking.store import TrackingStore
number = int(sys.argv[2])
store = TrackingStore(Path(sys.argv[1]), "trial")
run_id = store.create(f"run {number}", {"role": "candidate", "identity": str(number)})
with store.running(run_id):
    store.log(run_id, {"probe/r2": number / 10})
"""


def test_processes_that_find_no_store_make_one_between_them(warm, tmp_path):
    script = tmp_path / "create_and_log.py"
    script.write_text(CREATE_AND_LOG)
    started = [
        warm.start(tmp_path, os.environ, str(script), str(tmp_path / "mlruns"), str(number)) for number in range(4)
    ]
    said = [process.communicate()[1] for process in started]
    assert [process.returncode for process in started] == [0, 0, 0, 0], said
    runs = TrackingStore(tmp_path / "mlruns", "trial").search("tags.role = 'candidate'")
    assert sorted(run.data.metrics["probe/r2"] for run in runs) == [0.0, 0.1, 0.2, 0.3]
    assert {run.info.status for run in runs} == {"FINISHED"}


def test_everything_lies_below_the_root(store):
    run_id = store.create("whole", {"role": "candidate"})
    assert store.client.get_run(run_id).info.artifact_uri.startswith((store.root / "artifacts").as_uri())
    assert (store.root / "mlflow.db").is_file()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_metric_that_is_not_finite_is_never_logged(store, value):
    run_id = store.create("unsound", {})
    with pytest.raises(ValueError, match="retrieval/map"):
        store.log(run_id, {"retrieval/map": value, "probe/r2": 1.0})
    assert store.client.get_run(run_id).data.metrics == {}


def test_metrics_parameters_tags_and_the_dataset_come_back(store):
    run_id = store.create("full", {"role": "candidate"})
    store.log(run_id, {"probe/r2": 0.123456789}, {"layer": "stage4", "folds": 5}, {"undefined": "probe/side_auc"})
    store.log_dataset(run_id, "phantom", "ab" * 32, 80)
    run = store.client.get_run(run_id)
    assert run.data.metrics == {"probe/r2": 0.123457}
    assert run.data.params == {"layer": "stage4", "folds": "5"}
    assert run.data.tags["undefined"] == "probe/side_auc"
    (dataset,) = run.inputs.dataset_inputs
    assert dataset.dataset.name == "phantom" and len(dataset.dataset.digest) <= 36
    assert json.loads(dataset.dataset.source) == {"digest": "ab" * 32}
    assert json.loads(dataset.dataset.profile) == {"cases": 80}


def test_the_end_of_a_block_is_the_runs_status(store):
    ended = {}
    for status, error in (("FINISHED", None), ("FAILED", RuntimeError("no")), ("KILLED", KeyboardInterrupt())):
        run_id = store.create(status, {})
        try:
            with store.running(run_id):
                if error:
                    raise error
        except (RuntimeError, KeyboardInterrupt):
            pass
        ended[status] = store.client.get_run(run_id)
    assert {status: run.info.status for status, run in ended.items()} == {s: s for s in ended}
    assert ended["FAILED"].data.tags["error"] == "RuntimeError: see the log of the run"


def test_no_folder_of_an_error_message_reaches_a_tag(store):
    run_id = store.create("failed", {})
    with pytest.raises(NeuroprintError, match="Jane"), store.running(run_id):
        raise NeuroprintError("/home/Jane Doe/scan.nii.gz is cut off")
    assert store.client.get_run(run_id).data.tags["error"] == "NeuroprintError: scan.nii.gz is cut off"


def test_the_newest_finished_run_of_an_identity_is_found(store):
    assert store.settled("nobody") is None
    runs = [store.create("same", {"identity": "same"}) for _ in range(2)]
    for run_id in runs:
        store.end(run_id)
    assert store.settled("same").info.run_id == runs[-1]
    failed = store.create("same", {"identity": "same"})
    store.end(failed, "FAILED")
    assert store.settled("same").info.run_id == runs[-1]


def test_finished_candidates_are_neither_references_nor_failed_nor_still_running(root):
    store = TrackingStore(root, "trial")
    done, failed, reference = (store.create(role, {"role": role}) for role in ("candidate", "candidate", "reference"))
    store.create("running", {"role": "candidate"})
    store.end(done)
    store.end(failed, "FAILED")
    store.end(reference)
    assert [run.info.run_id for run in store.search(FINISHED_CANDIDATES)] == [done]


def test_what_a_killed_process_left_running_is_set_to_killed(store):
    dead, done = (store.create("dead", {"identity": "dead"}) for _ in range(2))
    store.end(done)
    assert store.settled("dead").info.run_id == done
    assert store.client.get_run(dead).info.status == "KILLED"
    assert store.client.get_run(done).info.status == "FINISHED"


def test_a_deleted_experiment_is_named(root):
    store = TrackingStore(root, "gone")
    store.client.delete_experiment(store.experiment_id)
    with pytest.raises(NeuroprintError, match="gone"):
        TrackingStore(root, "gone").create("run", {})


def test_a_folder_without_a_store_is_refused_and_nothing_is_made(tmp_path):
    store = TrackingStore(tmp_path / "mlruns", "trial")
    with pytest.raises(NeuroprintError, match="holds no MLflow store: run python"):
        store.require()
    assert not (tmp_path / "mlruns").exists()
    assert store.experiment_id
    store.require()

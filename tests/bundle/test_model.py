"""A bundle as an MLflow model: the same ranking as the command's, from code, also over HTTP."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

import numpy as np
import pandas as pd
import pytest

from neuroprint.bundle.answer import to_json
from neuroprint.bundle.bundle import Bundle
from neuroprint.errors import NeuroprintError
from neuroprint.tracking.registry import ALIAS, MODEL_NAME, register_bundle, save_model
from neuroprint.tracking.store import TrackingStore


def register(store, run_id, folder):
    """The version of a bundle, as an export registers it."""
    scores = json.loads((folder / "scores.json").read_text())
    return register_bundle(store, run_id, folder, scores, "kind").version


@pytest.fixture(scope="module")
def model_folder(bundle_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "model"
    save_model(folder, bundle_folder)
    return folder


@pytest.fixture(scope="module")
def store(tmp_path_factory, empty_database):
    root = tmp_path_factory.mktemp("project") / "mlruns"
    root.mkdir()
    shutil.copyfile(empty_database, root / "mlflow.db")
    return TrackingStore(root, "neuroprint")


@pytest.fixture(scope="module")
def registered(store, bundle_folder):
    """The run of the first version."""
    run_id = store.create("voxels", {})
    assert register(store, run_id, bundle_folder) == "1"
    return run_id


@pytest.fixture(scope="module")
def expected(bundle_folder, small_cohort):
    """What ``neuroprint query`` says of the case that is not in the gallery."""
    return to_json(Bundle.open(bundle_folder).query(small_cohort / "Small_00009", 4))


def assert_same(rows, expected):
    assert [row["case"] for row in rows] == [found["case"] for found in expected["neighbours"]]
    for key in ("similarity", "percentile", "distance_mm"):
        np.testing.assert_allclose(
            [row[key] for row in rows], [found[key] for found in expected["neighbours"]], rtol=0, atol=1e-6
        )
    assert {row["query"] for row in rows} == {expected["query"]}
    assert {row["unlike_gallery"] for row in rows} == {expected["unlike_gallery"]}


def test_it_ranks_as_the_command_does_where_pickles_are_forbidden(model_folder, expected, small_cohort, monkeypatch):
    import mlflow

    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    model = mlflow.pyfunc.load_model(str(model_folder))
    table = model.predict(pd.DataFrame({"case": [str(small_cohort / "Small_00009")]}), params={"k": 4})
    assert_same(table.to_dict("records"), expected)
    assert len(model.predict(pd.DataFrame({"case": [str(small_cohort / "Small_00009")]}))) == 5


def test_code_of_the_users_own_runs_where_the_environment_trusts_it(embed, tmp_path, monkeypatch):
    import mlflow

    (tmp_path / "my_poolings.py").write_text(
        "def largest(features, brain):\n    return features.flatten(1).amax(dim=1)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    embeddings = embed(pooling={"_target_": "my_poolings.largest", "_partial_": True})
    Bundle.build(embeddings, path=tmp_path / "bundle", trust=["my_poolings"])
    save_model(tmp_path / "model", tmp_path / "bundle")
    with pytest.raises(NeuroprintError, match="--trust my_poolings"):
        mlflow.pyfunc.load_model(str(tmp_path / "model"))
    monkeypatch.setenv("NEUROPRINT_TRUST", "other,my_poolings")
    model = mlflow.pyfunc.load_model(str(tmp_path / "model"))
    folder = embeddings.cases[3].images["flair"].path.parent
    assert model.predict(pd.DataFrame({"case": [str(folder)]}))["case"].iloc[0] == embeddings.ids[3]


def test_it_has_signature_and_example_no_pickle_and_no_folder_of_this_machine(model_folder, bundle_folder):
    from mlflow.models import Model

    described = Model.load(str(model_folder))
    assert described.signature.inputs.input_names() == ["case"]
    assert [param.name for param in described.signature.params] == ["k"]
    assert json.loads((model_folder / "input_example.json").read_text())["data"] == [["path/to/case"]]
    files = [path for path in model_folder.rglob("*") if path.is_file()]
    assert not [path for path in files if path.suffix in (".pkl", ".pickle", ".pt", ".pth", ".joblib")]
    here = [str(bundle_folder.parent), str(model_folder), str(save_model.__code__.co_filename.rpartition("/")[0])]
    assert not [path for path in files if any(place.encode() in path.read_bytes() for place in here)]


def test_a_version_answers_as_before_when_its_run_is_exported_again(
    registered, store, make_bundle, graded_cohort, expected, small_cohort, tmp_path, monkeypatch
):
    import mlflow

    def asked(version):
        model = mlflow.pyfunc.load_model(version.source)
        return model.predict(pd.DataFrame({"case": [str(small_cohort / "Small_00009")]}), params={"k": 4})

    def champion():
        return store.client.get_model_version_by_alias(MODEL_NAME, ALIAS)

    make_bundle(tmp_path / "other", graded_cohort.cases[:3])
    before = champion()

    def killed(run_id, folder, place):
        shutil.copytree(folder, artifacts / place, ignore=shutil.ignore_patterns("*.parquet"), dirs_exist_ok=True)
        raise KeyboardInterrupt

    artifacts = Path(store.client.get_run(registered).info.artifact_uri.removeprefix("file://"))
    with monkeypatch.context() as patch:
        patch.setattr(store.client, "log_artifacts", killed)
        with pytest.raises(KeyboardInterrupt):
            register(store, registered, tmp_path / "other")
    assert champion().version == before.version
    assert_same(asked(champion()).to_dict("records"), expected)

    second = register(store, registered, tmp_path / "other")
    assert str(champion().version) == second
    assert len(asked(champion())) == 3
    assert_same(asked(store.client.get_model_version(MODEL_NAME, "1")).to_dict("records"), expected)
    store.client.set_registered_model_alias(MODEL_NAME, ALIAS, "1")


@pytest.mark.slow
def test_a_server_of_the_champion_answers_a_path_as_the_command_does(
    registered, store, expected, small_cohort, tmp_path
):
    try:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
    except OSError as error:
        pytest.skip(f"no port on loopback: {error}")
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", "models:/neuroprint@champion"]
    log = (tmp_path / "log").open("w")
    # MLflow starts uvicorn by its name: as in an activated environment.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    server = subprocess.Popen(
        [*command, "--env-manager", "local", "-h", "127.0.0.1", "-p", str(port)],
        stdout=log,
        stderr=log,
        start_new_session=True,
        cwd=tmp_path,
        env={
            **os.environ,
            "PATH": path,
            "MLFLOW_TRACKING_URI": store.uri,
            "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        },
    )
    try:
        address = f"http://127.0.0.1:{port}"
        _wait(f"{address}/ping", server, tmp_path / "log")
        query = {
            "dataframe_split": {"columns": ["case"], "data": [[str(small_cohort / "Small_00009")]]},
            "params": {"k": 4},
        }
        request = Request(
            f"{address}/invocations", json.dumps(query).encode(), {"Content-Type": "application/json"}, method="POST"
        )
        with urlopen(request, timeout=60) as response:
            assert_same(json.load(response)["predictions"], expected)
    finally:
        _stop(server)
        log.close()


def _wait(address, server, log):
    for _ in range(600):
        assert server.poll() is None, log.read_text()
        try:
            with urlopen(address, timeout=5):
                return
        except (URLError, OSError):
            time.sleep(0.2)
    pytest.fail(f"the server did not answer: {log.read_text()}")


def _stop(server):
    """End the server and the worker that it started, which are a process group of their own."""
    for sent in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError, subprocess.TimeoutExpired):
            os.killpg(server.pid, sent)
            server.wait(20)

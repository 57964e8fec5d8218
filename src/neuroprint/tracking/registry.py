"""A bundle in MLflow: logged with its run as a model from code, registered as ``neuroprint``, alias ``champion``.

Every export has an artifact folder to itself, so that a version stays what it was when its run is exported again.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import yaml

from neuroprint import __version__
from neuroprint.bundle.format import MANIFEST
from neuroprint.tracking.store import TrackingStore

MODEL_NAME = "neuroprint"
ALIAS = "champion"
_FOLDER = "bundle_model"
_DIGITS = 12
_EXAMPLE = "path/to/case"
_MAY_LACK = ("percentile", "distance_mm")


def save_model(path: Path, bundle: Path) -> None:
    """Write a bundle as an MLflow model: ``model.py`` as its code, the bundle as its one artifact."""
    import mlflow.pyfunc
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

    outputs = {
        "query": "string",
        "rank": "long",
        "case": "string",
        "similarity": "double",
        "percentile": "double",
        "distance_mm": "double",
        "unlike_gallery": "boolean",
    }
    signature = ModelSignature(
        inputs=Schema([ColSpec("string", "case")]),
        outputs=Schema([ColSpec(kind, name, required=name not in _MAY_LACK) for name, kind in outputs.items()]),
        params=ParamSchema([ParamSpec("k", "long", 5)]),
    )
    with _quiet():
        mlflow.pyfunc.save_model(
            str(path),
            python_model=str(Path(__file__).with_name("model.py")),
            artifacts={"bundle": str(bundle)},
            signature=signature,
            input_example=pd.DataFrame({"case": [_EXAMPLE]}),
            pip_requirements=[f"neuroprint=={__version__}"],
        )
    # Neither is needed to load it, and both are folders of this machine.
    described = yaml.safe_load((path / "MLmodel").read_text(encoding="utf-8"))
    flavor = described["flavors"]["python_function"]
    flavor["model_code_path"] = Path(flavor["model_code_path"]).name
    flavor["artifacts"]["bundle"]["uri"] = bundle.name
    (path / "MLmodel").write_text(yaml.safe_dump(described), encoding="utf-8")


def register_bundle(store: TrackingStore, run_id: str, bundle: Path) -> str:
    """Log a bundle as a model of its run and make it ``neuroprint@champion``.

    The alias moves last, once all files are there.

    Returns:
        The version of the registered model.
    """
    from mlflow.exceptions import MlflowException

    place = f"{_FOLDER}/{hashlib.sha256((bundle / MANIFEST).read_bytes()).hexdigest()[:_DIGITS]}"
    with tempfile.TemporaryDirectory() as folder:
        save_model(Path(folder) / "model", bundle)
        store.client.log_artifacts(run_id, str(Path(folder) / "model"), place)
    try:
        store.client.create_registered_model(
            MODEL_NAME, description="Search index of brain MRI, made by neuroprint export."
        )
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    run = store.client.get_run(run_id)
    source = f"{run.info.artifact_uri}/{place}"
    version = store.client.create_model_version(MODEL_NAME, source, run_id, description=run.info.run_name)
    store.client.set_registered_model_alias(MODEL_NAME, ALIAS, version.version)
    return str(version.version)


@contextmanager
def _quiet() -> Iterator[None]:
    """MLflow tells at length what it does and draws bars for files that it copies; who exports need not know."""
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    logger = logging.getLogger("mlflow")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.showwarning = lambda *_: None  # MLflow puts a filter of its own before any other
            yield
    finally:
        logger.setLevel(before)

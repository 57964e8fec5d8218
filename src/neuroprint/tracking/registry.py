"""A bundle in MLflow: logged with its run as a model from code, registered as ``neuroprint``, alias ``champion``.

Every export has an artifact folder to itself, so that a version stays what it was when its run is exported again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import yaml

from neuroprint import __version__
from neuroprint.bundle.format import MANIFEST
from neuroprint.evaluation.metric import Metric
from neuroprint.tasks.leaderboard import cell
from neuroprint.tracking.store import TrackingStore

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

MODEL_NAME = "neuroprint"
ALIAS = "champion"
_FOLDER = "bundle_model"
_DIGITS = 12
_EXAMPLE = "path/to/case"
_MOST_LETTERS = 5000
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


@dataclass(frozen=True)
class Registered:
    """A version of the registered model.

    Attributes:
        version: Its number.
        champion: The version that the alias points to now.
        kept: Whether that is another one, of another task or cohort, which stays.
    """

    version: str
    champion: str
    kept: bool


def register_bundle(
    store: TrackingStore, run_id: str, bundle: Path, scores: Mapping[str, Any], kind: str, promote: bool = False
) -> Registered:
    """Log a bundle as a model of its run, register it with its card and scores, and make it ``neuroprint@champion``.

    The alias moves last, once all files are there; and only from a version of the same kind, unless it is promoted.

    Args:
        store: Where the run is.
        run_id: The run.
        bundle: The folder.
        scores: As the bundle holds them.
        kind: Digest of task and cohort.
        promote: Move the alias from a version of another kind too.
    """
    from mlflow.exceptions import MlflowException

    place = f"{_FOLDER}/{hashlib.sha256((bundle / MANIFEST).read_bytes()).hexdigest()[:_DIGITS]}"
    with tempfile.TemporaryDirectory() as folder:
        save_model(Path(folder) / "model", bundle)
        store.client.log_artifacts(run_id, str(Path(folder) / "model"), place)
    try:
        store.client.create_registered_model(MODEL_NAME)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    run = store.client.get_run(run_id)
    source = f"{run.info.artifact_uri}/{place}"
    card = (bundle / "card.md").read_text(encoding="utf-8")
    tags = {"kind": kind[:16], **_scores(scores)}
    with _quiet():
        version = store.client.create_model_version(
            MODEL_NAME, source, run_id, tags=tags, description=_described(card, ALIAS)
        )
    number, current = str(version.version), _champion(store)
    if current is not None and current.tags.get("kind") != tags["kind"] and not promote:
        return Registered(number, str(current.version), kept=True)
    store.client.set_registered_model_alias(MODEL_NAME, ALIAS, number)
    store.client.update_registered_model(MODEL_NAME, description=_described(card, ALIAS))
    return Registered(number, number, kept=False)


def _champion(store: TrackingStore) -> ModelVersion | None:
    """The version that the alias points to, if there is one."""
    from mlflow.exceptions import MlflowException

    try:
        return store.client.get_model_version_by_alias(MODEL_NAME, ALIAS)
    except MlflowException:
        return None


def _scores(scores: Mapping[str, Any]) -> dict[str, str]:
    """The headline metrics as tags, with their intervals, of the sweep and of the hold-out."""
    metrics = [Metric(**record) for record in scores.get("metrics", [])]
    sides = {"": scores.get("sweep") or {}, "holdout ": scores.get("holdout") or {}}
    return {
        f"{side}{metric.name}": cell(found, metric)
        for side, found in sides.items()
        for metric in metrics
        if metric.headline and metric.name in found
    }


def _described(card: str, alias: str) -> str:
    """The card, and how to ask the model; MLflow holds so many letters."""
    request = json.dumps({"dataframe_split": {"columns": ["case"], "data": [[_EXAMPLE]]}, "params": {"k": 5}})
    asked = f"""

## How to ask this model
```python
model = mlflow.pyfunc.load_model("models:/{MODEL_NAME}@{alias}")
model.predict(pandas.DataFrame({{"case": ["{_EXAMPLE}"]}}), params={{"k": 5}})
```
To `mlflow models serve`, as `POST /invocations`: `{request}`
"""
    return card.rstrip()[: _MOST_LETTERS - len(asked)] + asked


@contextmanager
def _quiet() -> Iterator[None]:
    """MLflow tells at length what it does; who exports need not know."""
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

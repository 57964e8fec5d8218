"""The library: what a notebook does with it, with the numbers of ``run.py`` and without Hydra or MLflow."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

import neuroprint as npr
from neuroprint.catalog.menu import CONF
from neuroprint.tracking.store import SIGNIFICANT_DIGITS, TrackingStore

ROOT = Path(__file__).parents[1]

SCRIPT = """
import json, os, sys
from pathlib import Path
before = dict(os.environ)
import neuroprint as npr
assert len([name for name in sys.modules if name.startswith("neuroprint")]) == 1 and dict(os.environ) == before
from sklearn.decomposition import PCA

cohort = npr.load_cohort("brats", sys.argv[1])
embeddings = npr.embed(cohort, encoder="swin_unetr_phantom", layer="stage2", pooling="spatial_softmax")
task = npr.tasks.TumorPosition(region="whole_tumor", radius_mm=20)
result = npr.evaluate(embeddings, task, projection=PCA(4, svd_solver="full"), folds=3)
print(result)
board = npr.compare([result, npr.evaluate(npr.embed(cohort, encoder="voxels"), task, folds=3)])
assert "<table>" in board._repr_html_() and "<table>" in result._repr_html_()
bundle = npr.Bundle.build(embeddings, projection=PCA(4, svd_solver="full"), path="my_index")
answer = npr.Bundle.open(Path("my_index")).query(Path(sys.argv[1]) / "Small_00003", k=5)
print(answer)
Path("library.json").write_text(json.dumps({
    "metrics": result.metrics,
    "references": {name: row.metrics for name, row in result.references.items()},
    "found": [match.case for match in answer.matches],
    "modules": sorted({name.partition(".")[0] for name in sys.modules} & {"hydra", "mlflow"}),
}))
"""
CHOICES = ("dataset=brats", "layer=stage2", "pooling=spatial_softmax", "projection=pca", "components=4", "folds=3")


def logged(metrics: dict[str, float]) -> dict[str, float]:
    """As MLflow keeps them."""
    return {name: float(f"{value:.{SIGNIFICANT_DIGITS}g}") for name, value in metrics.items()}


@pytest.fixture(scope="module")
def folder(warm: Any, small_cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the same choices were scored by the library, in a process of its own, and by the application."""
    place = tmp_path_factory.mktemp("library")
    environment = {name: value for name, value in os.environ.items() if name != "NEUROPRINT_CACHE"}
    command = [sys.executable, "-c", SCRIPT, str(small_cohort)]
    library = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)
    assert library.returncode == 0, library.stderr
    (place / "printed.txt").write_text(library.stdout, encoding="utf-8")
    choices = (*CHOICES, f"dataset.root={small_cohort}", "figures=false", "store.root=other")
    application = warm.run(place, environment, str(ROOT / "run.py"), *choices)
    assert application.returncode == 0, application.stderr
    return place


@pytest.fixture(scope="module")
def found(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "library.json").read_text(encoding="utf-8")))


def test_neither_hydra_nor_mlflow_is_loaded(found):
    assert found["modules"] == []


def test_the_numbers_are_those_of_the_application(folder, found):
    store = TrackingStore(folder / "mlruns", "neuroprint")
    runs = {run.data.tags["role"]: run for run in store.search("attributes.status = 'FINISHED'")}
    assert runs["candidate"].data.metrics == logged(found["metrics"])
    references = {run.data.tags["reference"]: run.data.metrics for run in store.search("tags.role = 'reference'")}
    assert {name: references[name] for name in found["references"]} == {
        name: logged(metrics) for name, metrics in found["references"].items()
    }


def test_a_result_and_an_answer_print_as_tables(folder, found):
    printed = (folder / "printed.txt").read_text(encoding="utf-8")
    assert "tumor_position: 10 cases of 10 patients" in printed
    assert all(name in printed for name in ("p_at_5", "chance", "voxels", "oracle", *found["found"]))
    assert found["found"][0] == "Small_00003" and len(found["found"]) == 5


def test_defaults_are_those_of_the_configuration():
    config = OmegaConf.to_container(OmegaConf.load(CONF / "config.yaml"), resolve=False)
    chosen = {
        group: entry for default in config["defaults"] if isinstance(default, dict) for group, entry in default.items()
    }
    keys = {**config, **chosen}
    for function, names in (
        (npr.embed, ("encoder", "layer", "pooling", "inferer", "precision", "device")),
        (npr.evaluate, ("probe", "similarity", "folds", "seed", "holdout", "permutations")),
    ):
        defaults = {name: given.default for name, given in inspect.signature(function).parameters.items()}
        assert {name: defaults[name] for name in names} == {name: keys[name] for name in names}
    assert chosen["projection"] == "none" and inspect.signature(npr.evaluate).parameters["projection"].default is None


@pytest.mark.parametrize("entry", sorted(path.stem for path in (CONF / "task").glob("*.yaml")))
def test_a_tasks_defaults_are_those_of_its_entry(entry):
    node = OmegaConf.to_container(OmegaConf.load(CONF / "task" / f"{entry}.yaml"))
    unused = {"_target_", "_unused_", *node["_unused_"]}
    given = {key: value for key, value in node.items() if key not in unused}
    kind = {task.name: task for task in (getattr(npr.tasks, name) for name in npr.tasks.__all__ if name != "Task")}[
        entry
    ]
    assert {field.name for field in fields(kind)} == set(given)
    for field in fields(kind):
        if given[field.name] != "???":
            default = list(field.default) if isinstance(field.default, tuple) else field.default
            assert default == given[field.name], field.name

"""Imports point one way, and a layer knows only what it may know."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "neuroprint"
LAYERS = ["errors", "redaction", "data", "encoders", "embedding", "evaluation", "tracking", "training", "bundle"]
FILES = [path for path in sorted(SOURCE.rglob("*.py")) if path.relative_to(SOURCE).parts[0] in LAYERS]


def imported(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_module_imports_from_its_own_layer_and_those_below(path):
    layer = LAYERS.index(path.relative_to(SOURCE).parts[0])
    for module in imported(path):
        if module.startswith("neuroprint."):
            below = module.split(".")[1]
            assert below in LAYERS, f"{path.name} imports {module}: the application is above every layer"
            assert LAYERS.index(below) <= layer, f"{path.name} imports {module}"


@pytest.mark.parametrize("path", sorted((SOURCE / "evaluation").glob("*.py")), ids=lambda path: path.name)
def test_evaluation_knows_arrays_and_nothing_of_files_networks_or_mlflow(path):
    forbidden = {"torch", "monai", "mlflow", "hydra", "omegaconf", "nibabel", "pathlib", "os", "io"}
    assert not {module.split(".")[0] for module in imported(path)} & forbidden
    assert not [module for module in imported(path) if module.startswith("neuroprint.data")]

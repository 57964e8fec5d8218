"""Code that is not neuroprint's own is told by its package's version and its source, wherever a node names it."""

from __future__ import annotations

import hashlib
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from neuroprint.catalog.code import foreign_code
from neuroprint.catalog.instantiate import locate
from neuroprint.errors import NeuroprintError


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "my_poolings", raising=False)
    file = tmp_path / "my_poolings.py"
    file.write_text("def cube(features):\n    return features**3\n")
    return file


@pytest.mark.parametrize(
    ("target", "installed"), [("sklearn.decomposition.PCA", "scikit-learn"), ("monai.networks.nets.BasicUNet", "monai")]
)
def test_a_class_of_another_package_is_told_by_version_and_source(target: str, installed: str) -> None:
    source = Path(sys.modules[locate(target, "test").__module__].__file__)
    assert foreign_code({"_target_": target, "n_components": 3}) == {
        target: {"version": version(installed), "source": hashlib.sha256(source.read_bytes()).hexdigest()}
    }


def test_code_of_the_users_own_is_told_by_its_source(mine: Path) -> None:
    node = {"_target_": "my_poolings.cube", "_partial_": True}
    before = foreign_code(node)
    assert before == {"my_poolings.cube": {"version": None, "source": hashlib.sha256(mine.read_bytes()).hexdigest()}}
    mine.write_text(mine.read_text() + "# changed\n")
    assert foreign_code(node) != before


def test_every_node_inside_is_gone_through_and_neuroprints_own_left_out(mine: Path) -> None:
    node = {
        "_target_": "neuroprint.evaluation.projections.Chain",
        "steps": [{"_target_": "my_poolings.cube"}, {"deep": ({"_target_": "fractions.Fraction"},)}],
        "other": {"_target_": "neuroprint.embedding.poolings.mean"},
    }
    assert set(foreign_code(node)) == {"my_poolings.cube", "fractions.Fraction"}
    assert foreign_code([node, node]) == foreign_code(node)
    assert foreign_code("text") == foreign_code(None) == foreign_code({"a": 1}) == {}


def test_what_is_built_in_has_no_source() -> None:
    assert foreign_code({"_target_": "builtins.len"}) == {"builtins.len": {"version": None, "source": None}}


def test_code_that_is_not_there_is_named() -> None:
    with pytest.raises(NeuroprintError, match=r"nowhere\.Thing cannot be found"):
        foreign_code({"_target_": "nowhere.Thing"})

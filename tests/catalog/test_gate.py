"""What a file from elsewhere may name is a short list; the rest is refused in one line and nothing of it runs."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from neuroprint.catalog.gate import Gate
from neuroprint.catalog.instantiate import instantiate
from neuroprint.catalog.menu import Catalog
from neuroprint.embedding import poolings
from neuroprint.errors import NeuroprintError

ENCODER = "neuroprint.encoders.voxels.VoxelEncoder"
MODULE = {"_target_": "neuroprint.encoders.module.ModuleEncoder", "_recursive_": False, "levels": ["a"]}
CHAIN = "neuroprint.evaluation.projections.Chain"
COMBINED = "neuroprint.encoders.combined.CombinedEncoder"
POSITION = "neuroprint.tasks.TumorPosition"
HOVERNET = {"_target_": "monai.networks.nets.HoVerNet"}
GIVEN = {
    ("dataset", "brats"): {"root": "/scans"},
    ("dataset", "msd"): {"root": "/scans"},
    ("dataset", "manifest"): {"root": "/scans.csv"},
    ("dataset", "bids"): {"root": "/scans"},
    ("dataset", "upenn_gbm"): {"root": "/scans"},
    ("dataset", "ucsf_pdgm"): {"root": "/scans"},
    ("dataset", "lumiere"): {"root": "/scans"},
    ("dataset", "brats_men_rt"): {"root": "/scans"},
    ("dataset", "kaggle"): {"root": "/scans"},
    ("dataset", "pattern"): {"root": "/scans", "images": {"t1": "{case}.nii"}},
    ("task", "metadata"): {"column": "grade"},
    ("task", "survival"): {"time": "survival_days", "event": "event"},
}
ROLES = ("dataset", "encoder", "inferer", "pooling", "projection", "probe", "task", "perturb")


def refused(node: Any, role: str, said: str | None = None, trust: tuple[str, ...] = ()) -> str:
    with pytest.raises(NeuroprintError, match=said) as caught:
        Gate(trust).check(node, role)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(role)
    return str(caught.value)


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A package ``mine`` of the user's own, and one that is called alike."""
    monkeypatch.syspath_prepend(str(tmp_path))
    text = (
        "import os\nfrom functools import partial\nfrom os import system\nfrom shutil import rmtree as tidy\n"
        "import mine_too\n"
        "def pooling(features, power=2):\n    return features\n"
        "class Projection:\n    @classmethod\n    def of(cls):\n        return cls()\n"
        "square = partial(pooling, power=2)\n"
        "class Encoder:\n    def __call__(self):\n        return 1\n"
        "made = Encoder()\n"
    )
    for name in ("mine", "mine_too"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(text if name == "mine" else "def pooling(): ...\n")
        monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.mark.parametrize(
    ("role", "name"),
    [(role, name) for role in ROLES for name in Catalog().names(role) if name != "precomputed"],
    ids=lambda part: str(part),
)
def test_all_that_comes_with_neuroprint_passes(role: str, name: str) -> None:
    node = Catalog().node(role, name, **GIVEN.get((role, name), {}))
    Gate().check(node.get("reader", node), role)


@pytest.mark.parametrize(
    ("role", "node"),
    [
        ("encoder", {"_target_": "os.system", "command": "true"}),
        ("encoder", {"_target_": "neuroprint.embedding.store.os.system", "command": "true"}),
        ("encoder", {"_target_": "neuroprint.encoders.checkpoints.os.system", "command": "true"}),
        ("encoder", {"_target_": "neuroprint.encoders.checkpoints.Path.unlink", "self": "/etc/passwd"}),
        ("encoder", {"_target_": "neuroprint.encoders.download.download", "address": "file:///etc/passwd"}),
        ("encoder", {"_target_": "neuroprint.encoders.checkpoints.save_weights"}),
        ("encoder", {"_target_": "neuroprint.encoders.weights_file.WeightsFile", "source": "x"}),
        ("encoder", {"_target_": "neuroprint.embedding.precomputed.PrecomputedEncoder", "path": "/etc/passwd"}),
        ("encoder", {"_target_": "neuroprint.encoders.nothing.Encoder"}),
        ("encoder", {"_target_": "builtins.eval", "_args_": ["1"]}),
        ("inferer", {"_target_": "neuroprint.embedding.inferers.Path.home"}),
        ("inferer", {"_target_": "neuroprint.embedding.inferers.Piece"}),
        ("inferer", {"_target_": "neuroprint.embedding.poolings.mean"}),
        ("pooling", {"_target_": "neuroprint.embedding.poolings.partial", "_args_": ["x"]}),
        ("pooling", {"_target_": "neuroprint.embedding.poolings._weights"}),
        ("pooling", {"_target_": "neuroprint.embedding.inferers.Whole"}),
        ("pooling", {"_target_": "mine.pooling"}),
        ("projection", {"_target_": "sklearn.preprocessing.FunctionTransformer"}),
        ("projection", {"_target_": "sklearn.decomposition._pca.PCA"}),
        ("projection", {"_target_": "sklearn.externals.joblib.load", "filename": "x"}),
        ("probe", {"_target_": "sklearn.decomposition.PCA"}),
        ("probe", {"_target_": "joblib.load", "filename": "x"}),
        ("dataset", {"_target_": "neuroprint.phantom.write_cohort", "out": "/tmp/x"}),
        ("dataset", {"_target_": "neuroprint.data.formats.brats.Path", "_args_": ["/"]}),
        ("task", {"_target_": "neuroprint.tasks.evaluate.evaluate"}),
        ("task", {"_target_": "neuroprint.tasks.result.Result"}),
        ("metric", {"_target_": "numpy.load", "file": "x"}),
        ("tracking", {"_target_": ENCODER}),
    ],
    ids=lambda part: part if isinstance(part, str) else part["_target_"],
)
def test_only_neuroprints_own_things_of_a_role_may_be_named(role: str, node: dict[str, Any]) -> None:
    package = node["_target_"].partition(".")[0]
    said = refused(node, role, "(is not one of neuroprint's own: it is loaded only with|may not be named here)")
    assert (f"--trust {package}" in said) == (package != "neuroprint")  # which no option makes a thing of another role


@pytest.mark.parametrize(
    ("role", "node", "said"),
    [
        (
            "encoder",
            {"_target_": ENCODER, "cells": {"_target_": "os.getcwd"}},
            r"encoder\.cells: os\.getcwd may not be",
        ),
        ("encoder", {"_target_": ENCODER, "_args_": [{"_target_": "os.getcwd"}]}, "os.getcwd may not be named here"),
        ("encoder", {"_target_": ENCODER, "modalities": ["${oc.env:HOME}"]}, "may hold no interpolation"),
        ("encoder", {**MODULE, "network": {"_target_": "os.system", "command": "true"}}, r"encoder\.network: os\.sys"),
        ("encoder", {**MODULE, "network": {"_target_": "torch.hub.load"}}, "torch.hub.load may not be named"),
        ("encoder", {**MODULE, "network": {"_target_": "torch.nn.modules.module.torch.load"}}, "torch.load may not be"),
        ("encoder", {**MODULE, "network": {"_target_": "torch.nn.Module.load_state_dict"}}, "may not be named"),
        ("encoder", {**MODULE, "network": {"_target_": "torch.nn.init.normal_"}}, "may not be named"),
        (
            "encoder",
            {**MODULE, "network": {"_target_": "torch.nn.Sequential", "_args_": [{"_target_": "os.getcwd"}]}},
            "os.getcwd may not be named",
        ),
        ("encoder", {**MODULE, "network": {"_target_": "torch.nn.Identity", "a": "${oc.env:HOME}"}}, "interpolation"),
        ("encoder", {"_target_": COMBINED, "encoders": {"a": {"_target_": "os.system"}}}, "os.system is not one of"),
        (
            "encoder",
            {"_target_": COMBINED, "encoders": {"a": {**MODULE, "network": HOVERNET | {"mode": "file:x"}}}},
            "addr",
        ),
        ("projection", {"_target_": CHAIN, "steps": [{"_target_": "os.system"}]}, "os.system is not one of"),
        ("projection", {"_target_": CHAIN, "steps": {"a": {"_target_": "os.system"}}}, "os.system is not one of"),
        (
            "projection",
            {"_target_": CHAIN, "steps": [{"_target_": "sklearn.decomposition.PCA", "copy": {"_target_": "os.abort"}}]},
            "os.abort may not be named",
        ),
        (
            "task",
            {"_target_": POSITION, "extra_metrics": [{"_target_": "os.system"}]},
            "metric: os.system is not one of",
        ),
        ("task", {"_target_": POSITION, "region": {"_target_": "os.system"}}, r"task\.region: os\.system may not"),
        (
            "dataset",
            {"_target_": "neuroprint.data.formats.brats.BraTSFormat", "root": "${oc.env:HOME}"},
            "interpolation",
        ),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_what_lies_inside_a_node_is_looked_at_too(role: str, node: dict[str, Any], said: str) -> None:
    with pytest.raises(NeuroprintError, match=said) as caught:
        Gate().check(node, role)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    "node", ["text", None, 3, [], [{"_target_": ENCODER}], {}, {"_target_": None}, {"_target_": 3}]
)
def test_what_is_no_node_is_refused(node: Any, role: str) -> None:
    refused(node, role, f"^{role}: expected a node with _target_")


@pytest.mark.parametrize(
    "node",
    [
        {"_target_": COMBINED, "encoders": 5},
        {"_target_": COMBINED, "encoders": "os.system"},
        {"_target_": COMBINED, "encoders": [1]},
        {"_target_": ENCODER, "_args_": 5},
        {"_target_": ENCODER, "_args_": {"_target_": "os.system"}},
        {"_target_": ENCODER, "cells": {"_target_": ["os.system"]}},
        {**MODULE, "network": {"_target_": ["os.system"]}},
        {**MODULE, "network": {"_target_": "torch.nn..Linear"}},
    ],
    ids=str,
)
def test_a_node_that_is_malformed_is_refused_in_one_line(node: Any) -> None:
    refused(node, "encoder")


@pytest.mark.parametrize(
    "network",
    [
        {**HOVERNET, "pretrained_url": "http://127.0.0.1:1/x"},
        {**HOVERNET, "pretrained_url": "x"},
        {**HOVERNET, "mode": "http://127.0.0.1:1/x"},
        {**HOVERNET, "_args_": ["fast", 3, 2, 0, "relu", "batch", False, 0.0, "x"]},
        {"_target_": "torch.nn.Sequential", "_args_": [{**HOVERNET, "pretrained_url": "x"}]},
        {"_target_": "torch.nn.Sequential", "_args_": [["file:/etc/passwd"]]},
        {"_target_": "monai.networks.nets.DenseNet121", "pretrained": True},
        {"_target_": "monai.networks.nets.ResNetFeatures", "model_name": "resnet10"},  # pretrained if it is not said
        {"_target_": "monai.networks.nets.TorchVisionFCModel", "weights": "DEFAULT"},
    ],
    ids=str,
)
def test_a_network_that_fetches_weights_when_it_is_made_is_refused(network: dict[str, Any]) -> None:
    refused({**MODULE, "network": network}, "encoder", r"may name no (network that fetches|address)")


@pytest.mark.parametrize(
    "network",
    [
        {**HOVERNET, "pretrained_url": None},
        {"_target_": "monai.networks.nets.ResNetFeatures", "model_name": "resnet10", "pretrained": False},
        {"_target_": "monai.networks.nets.SwinUNETR", "in_channels": 4, "out_channels": 3, "use_checkpoint": True},
        {"_target_": "monai.networks.nets.BasicUNet", "in_channels": 4, "norm": ["instance", {"affine": True}]},
        {"_target_": "torch.nn.Sequential", "_args_": [{"_target_": "torch.nn.Conv3d", "_args_": [4, 3, 1]}]},
    ],
    ids=lambda network: network["_target_"],
)
def test_a_network_that_fetches_nothing_may_be_named(network: dict[str, Any]) -> None:
    Gate().check({**MODULE, "network": network, "weights": "https://example.org/weights.pt"}, "encoder")


def test_what_a_module_only_borrows_is_not_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poolings, "borrowed", shutil.rmtree, raising=False)
    node = {"_target_": "neuroprint.embedding.poolings.borrowed", "_partial_": True}
    refused(node, "pooling", r"poolings\.borrowed may not be named here")
    with pytest.raises(NeuroprintError, match="may not be named here"):
        instantiate(node, "pooling", Gate())


def test_nothing_that_is_refused_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "my_trap.py").write_text(f"open({str(tmp_path / 'sprung')!r}, 'w')\nclass Net: ...\n")
    for role, node in (
        ("pooling", {"_target_": "my_trap.Net"}),
        ("encoder", {**MODULE, "network": {"_target_": "my_trap.Net"}}),
        ("projection", {"_target_": CHAIN, "steps": [{"_target_": "my_trap.Net"}]}),
        ("inferer", {"_target_": "neuroprint.embedding.inferers.Whole", "a": {"_target_": "my_trap.Net"}}),
    ):
        with pytest.raises(NeuroprintError):
            instantiate(node, role, Gate(["other"]))
    assert "my_trap" not in sys.modules
    assert not (tmp_path / "sprung").exists()


@pytest.mark.usefixtures("mine")
@pytest.mark.parametrize(
    ("role", "node"),
    [
        ("pooling", {"_target_": "mine.pooling", "_partial_": True, "power": 3}),
        ("pooling", {"_target_": "mine.square", "_partial_": True}),
        ("projection", {"_target_": "mine.Projection"}),
        ("projection", {"_target_": "mine.Projection.of"}),
        ("projection", {"_target_": CHAIN, "steps": [{"_target_": "mine.Projection"}]}),
        ("encoder", {"_target_": "mine.made"}),
        ("encoder", {**MODULE, "network": {"_target_": "mine.Encoder"}}),
        (
            "encoder",
            {"_target_": COMBINED, "encoders": {"a": {"_target_": "mine.Encoder"}, "b": {"_target_": ENCODER}}},
        ),
        ("inferer", {"_target_": "neuroprint.embedding.inferers.Whole", "a": {"_target_": "mine.Projection"}}),
        ("task", {"_target_": POSITION, "extra_metrics": [{"_target_": "mine.pooling"}]}),
    ],
    ids=str,
)
def test_a_package_that_is_trusted_passes(role: str, node: dict[str, Any]) -> None:
    with pytest.raises(NeuroprintError):
        Gate().check(node, role)
    Gate(["other", "mine"]).check(node, role)
    with pytest.raises(NeuroprintError):
        Gate(["min", "mine.sub", "mine_too", "m"]).check(node, role)


@pytest.mark.usefixtures("mine")
@pytest.mark.parametrize(
    "target",
    ["mine.os.system", "mine.system", "mine.tidy", "mine.partial", "mine.mine_too.pooling", "mine.os.path.join"],
)
def test_a_trusted_package_lends_no_name_of_another(target: str) -> None:
    refused({"_target_": target}, "pooling", "is of another package than mine, which is trusted", trust=("mine",))
    refused({**MODULE, "network": {"_target_": target}}, "encoder", "may not be named", trust=("mine",))
    refused({"_target_": ENCODER, "cells": {"_target_": target}}, "encoder", "may not be named", trust=("mine",))


@pytest.mark.usefixtures("mine")
def test_a_trusted_package_may_lend_those_of_another_that_is_trusted_too() -> None:
    Gate(["mine", "mine_too"]).check({"_target_": "mine.mine_too.pooling"}, "pooling")


@pytest.mark.usefixtures("mine")
def test_trust_is_in_code_and_not_in_what_it_is_told() -> None:
    node = {"_target_": "mine.pooling", "power": {"_target_": "os.getcwd"}}
    refused(node, "pooling", r"pooling\.power: os\.getcwd may not be named", trust=("mine",))
    refused({"_target_": "mine.pooling", "power": "${oc.env:HOME}"}, "pooling", "no interpolation", trust=("mine",))

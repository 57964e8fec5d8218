"""How a bundle embeds a new scan: by weights it holds, weights it only names, or random ones, and by trusted code alone."""

import json

import numpy as np
import pytest
import torch

from neuroprint.bundle import embedder as embedders
from neuroprint.bundle.bundle import Bundle
from neuroprint.bundle.embedder import Embedder, check_recipe, write_embedder
from neuroprint.catalog.gate import Gate
from neuroprint.cli.commands import main
from neuroprint.data.measure import measure
from neuroprint.data.volume import read_volume
from neuroprint.encoders.module import ModuleEncoder
from neuroprint.encoders.voxels import VoxelEncoder
from neuroprint.errors import CaseError, NeuroprintError

NETWORK = {"_target_": "monai.networks.nets.BasicUNet", "in_channels": 4, "features": [4, 4, 4, 4, 4, 4]}
MODALITIES = ("flair", "t1", "t1ce", "t2")
LEVELS = ["down_1", "conv_0"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Weights as PyTorch users publish them."""
    from monai.networks.nets import BasicUNet

    torch.manual_seed(5)
    path = tmp_path_factory.mktemp("weights") / "net.pt"
    torch.save(BasicUNet(in_channels=4, features=NETWORK["features"]).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def encoder(checkpoint):
    return {
        "_target_": "neuroprint.encoders.module.ModuleEncoder",
        "_recursive_": False,
        "network": NETWORK,
        "levels": ["conv_0", "down_1"],
        "modalities": list(MODALITIES),
        "divisor": 16,
        "spacing_mm": 6.0,
        "weights": str(checkpoint),
    }


@pytest.fixture(scope="module")
def few(graded_cohort):
    return graded_cohort.cases[:3]


@pytest.fixture(scope="module")
def embedded(embed, few, encoder):
    """Three cases, embedded by two levels of the network."""
    return embed(few, encoder=encoder, layer=LEVELS)


@pytest.fixture(scope="module")
def scan(few):
    volume = read_volume(few[0], MODALITIES)
    return few[0].id, volume, measure(volume, few[0].label_convention)


@pytest.fixture(scope="module")
def expected(embedded, few):
    """The scan's embedding as it is in the cohort."""
    return embedded.rows([few[0].id])[0]


@pytest.fixture
def folder(tmp_path, make_bundle, few, encoder):
    """A bundle that holds its weights."""
    return make_bundle(tmp_path / "bundle", few, encoder=encoder, layer=LEVELS)


def write(folder, embeddings):
    write_embedder(folder, embeddings.recipe, MODALITIES)


def rewrite(folder, change):
    """Change what ``embedder.json`` says."""
    content = json.loads((folder / "embedder.json").read_text())
    change(content)
    (folder / "embedder.json").write_text(json.dumps(content))


def refusal(act):
    """What is said in one line."""
    with pytest.raises(NeuroprintError) as caught:
        act()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_checkpoint_goes_in_as_safetensors_and_gives_the_same_vectors(embedded, scan, expected, checkpoint, tmp_path):
    write(tmp_path, embedded)
    assert sorted(path.name for path in tmp_path.rglob("*.*")) == ["0.safetensors", "embedder.json"]
    held = ["weights/0.safetensors"]
    np.testing.assert_array_equal(Embedder(tmp_path, files=held)(*scan), expected)
    assert str(checkpoint.parent) not in (tmp_path / "embedder.json").read_text()


def test_large_weights_are_named_asked_for_and_checked(embedded, scan, expected, checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(embedders, "COPIED_BELOW", 0)
    write(tmp_path, embedded)
    assert not list(tmp_path.rglob("*.safetensors"))
    wanted = "give --weights FILE, a copy of net.pt with the SHA-256"
    assert wanted in refusal(lambda: Embedder(tmp_path)(*scan))
    assert wanted in refusal(Embedder(tmp_path).check_weights)
    other = tmp_path / "other.pt"
    other.write_bytes(checkpoint.read_bytes() + b"x")
    assert "not this bundle's weights: its SHA-256 is" in refusal(lambda: Embedder(tmp_path, [other]))
    assert "cannot be read" in refusal(lambda: Embedder(tmp_path, [tmp_path / "absent.pt"]))
    np.testing.assert_array_equal(Embedder(tmp_path, [checkpoint])(*scan), expected)
    (tmp_path / "net.pt").write_bytes(checkpoint.read_bytes())
    np.testing.assert_array_equal(Embedder(tmp_path)(*scan), expected)


def test_a_bundle_holds_its_weights_and_refuses_others(folder, scan, expected):
    np.testing.assert_array_equal(Bundle.open(folder)._embedder(*scan), expected)
    path = folder / "weights" / "0.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(NeuroprintError, match=r"0\.safetensors is not as it was written: its SHA-256 is"):
        Bundle.open(folder)


@pytest.mark.parametrize("place", ["../outside.safetensors", "{}/outside.safetensors", "unlisted.safetensors", "", 0])
def test_only_files_of_the_manifest_are_read_as_weights(folder, tmp_path, place):
    held = folder / "weights" / "0.safetensors"
    for beside in (tmp_path, folder):
        (beside / "outside.safetensors").write_bytes(held.read_bytes())
        (beside / "unlisted.safetensors").write_bytes(held.read_bytes())
    name = place.format(tmp_path) if isinstance(place, str) else place
    rewrite(folder, lambda content: content["encoders"][0]["weights"].update(file=name))
    files = json.loads((folder / "bundle.json").read_text())["files"]
    assert "weights/0.safetensors" in files
    assert "none of the bundle's files" in refusal(lambda: Embedder(folder, files=files))


def test_a_bundle_without_weights_never_reads_any_from_elsewhere(embedded, scan, tmp_path):
    write(tmp_path, embedded)

    def point_elsewhere(content):
        (part,) = content["encoders"]
        part["weights"] = None
        part["encoder"]["weights"] = "https://example.org/weights.pt"
        part["identity"]["weights"] = {"seed": 0, "monai": "0", "torch": "0"}

    rewrite(tmp_path, point_elsewhere)
    assert "the bundle's random weights were drawn with" in refusal(lambda: Embedder(tmp_path)(*scan))


def test_random_weights_are_drawn_again_and_refused_where_other_ones_would_be(embed, few, scan, tmp_path):
    arguments = {"modalities": list(MODALITIES), "feature_size": 12, "spacing_mm": 6.0, "depths": [1, 1, 1, 1]}
    node = {"_target_": "neuroprint.encoders.swin_unetr.SwinUNETREncoder", **arguments}
    drawn = embed(few, encoder=node, layer="stage1")
    write(tmp_path, drawn)
    np.testing.assert_array_equal(Embedder(tmp_path)(*scan), drawn.rows([few[0].id])[0])
    text = (tmp_path / "embedder.json").read_text()
    (tmp_path / "embedder.json").write_text(text.replace(torch.__version__.split("+")[0], "1.0.0"))
    with pytest.raises(NeuroprintError, match=r"drawn with .*1\.0\.0.*install those versions"):
        Embedder(tmp_path)(*scan)


def test_several_encoders_give_one_joined_vector(embed, few, encoder, scan, expected, tmp_path):
    """Each part is divided by its own length; the encoders come in the order of their names."""
    voxels = {"_target_": "neuroprint.encoders.voxels.VoxelEncoder", "cells": [6, 6, 5]}
    parts = {"b_voxels": voxels, "a_network": encoder}
    combined = {"_target_": "neuroprint.encoders.combined.CombinedEncoder", "encoders": parts}
    joined = embed(few, encoder=combined, layer=LEVELS)
    write(tmp_path, joined)
    found = Embedder(tmp_path, files=["weights/0.safetensors"])(*scan)
    np.testing.assert_array_equal(found, joined.rows([few[0].id])[0])
    network, pixels = expected, embed(few, encoder=voxels).rows([few[0].id])[0]
    unit = np.concatenate([part / np.linalg.norm(part) for part in (network, pixels)])
    np.testing.assert_allclose(found, unit, atol=1e-6)


OWN = '''
def largest(features, brain):
    """The largest value of each channel over the whole map."""
    return features.flatten(1).amax(dim=1)

def failing(features, brain):
    raise RuntimeError("no room")
'''


@pytest.fixture
def my_package(tmp_path, monkeypatch):
    """A package of the user's own."""
    (tmp_path / "my_package.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    return "my_package"


def test_code_of_the_users_own_is_named_and_passes_with_trust(my_package, embed, few, tmp_path):
    pooled = embed(few, pooling={"_target_": "my_package.largest", "_partial_": True})
    place = tmp_path / "bundle"
    said = refusal(lambda: Bundle.build(pooled, path=place))
    assert "pooling: my_package.largest is not one of neuroprint's own" in said and "--trust my_package" in said
    assert not place.exists()
    made = Bundle.build(pooled, path=place, trust=["my_package"])
    assert made.query(few[1]).matches[0].case == few[1].id
    assert refusal(lambda: Bundle.open(place)) == said
    for other in (["my_pack"], ["my_package.largest"], ["other"]):
        assert refusal(lambda trust=other: Bundle.open(place, trust=trust)) == said
    assert Bundle.open(place, trust=["other", "my_package"]).query(few[1]).matches[0].case == few[1].id


def test_the_commands_pass_trust_on(my_package, embed, few, small_cohort, tmp_path, capsys):
    pooled = embed(few, pooling={"_target_": "my_package.largest", "_partial_": True})
    place, newcomer = tmp_path / "bundle", small_cohort / "Small_00007"
    Bundle.build(pooled, path=place, trust=[my_package])
    for command in ("query", "add"):
        for trust, code in (((), 1), (("--trust", my_package), 0)):
            with pytest.raises(SystemExit) as stopped:
                main([command, str(place), str(newcomer), *trust])
            printed = capsys.readouterr()
            assert stopped.value.code == code
            assert ("loaded only with --trust my_package" in printed.err) == (code == 1)
    assert len(Bundle.open(place, trust=[my_package]).cases) == 4


@pytest.mark.parametrize("role", ["encoder", "inferer", "pooling"])
def test_every_role_goes_through_the_gate(copy_of_bundle, role):
    folder = copy_of_bundle()
    evil = {"_target_": "os.system", "command": "true"}

    def name(content):
        (content if role == "pooling" else content["encoders"][0])[role] = evil

    rewrite(folder, name)
    said = refusal(lambda: Embedder(folder))
    assert said.startswith(f"{role}: os.system is not one of neuroprint's own") and "--trust os" in said


def test_a_pooling_that_fails_on_a_scan_names_the_scan(my_package, embed, few, scan, tmp_path):
    from neuroprint.catalog.gate import Gate

    write(tmp_path, embed(few, pooling="mean"))
    rewrite(tmp_path, lambda content: content.update(pooling={"_target_": "my_package.failing", "_partial_": True}))
    with pytest.raises(CaseError, match=r"pooling mean failed .*no room") as caught:
        Embedder(tmp_path, gate=Gate([my_package]))(*scan)
    assert caught.value.case == scan[0]


def test_what_was_given_as_an_object_is_refused_in_a_line(embed, few, encoder, tmp_path):
    network = ModuleEncoder(**{key: value for key, value in encoder.items() if not key.startswith("_")})
    for given in (VoxelEncoder((6, 6, 5)), network):
        made = embed(few, encoder=given)
        said = refusal(lambda made=made: Bundle.build(made, path=tmp_path / "bundle"))
        name = type(given).__name__
        assert said.startswith(f"encoder: {name} was given as an object") and "a node with _target_" in said
    assert not (tmp_path / "bundle").exists()


def test_weights_that_a_bundle_would_not_find_again_are_refused(few, checkpoint, embed, tmp_path, monkeypatch):
    """A class of the user's own that keeps its file to itself."""
    source = """
from neuroprint.encoders.base import InputSpec, Level

class Mine:
    trained = True
    default_level = "only"
    levels = (Level("only", 4, 1),)
    input = InputSpec((), spacing_mm=12.0)
    identity = {"network": "mine"}

    def __init__(self, weights):
        self.file = weights

    def load(self, device):
        return lambda batch: [batch]
"""
    (tmp_path / "my_encoder.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    mine = embed(few, encoder={"_target_": "my_encoder.Mine", "weights": str(checkpoint)})
    with pytest.raises(
        NeuroprintError, match=r"encoder\.weights: .* Mine .* needs an attribute weights, .*docs/extending"
    ):
        check_recipe(mine.recipe, Gate(["my_encoder"]))

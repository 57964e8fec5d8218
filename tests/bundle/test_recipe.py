"""How a bundle rebuilds its encoder: weights it holds, weights it only names, and random ones."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from neuroprint.bundle.contents import write_bundle
from neuroprint.bundle.recipe import Recipe, View, write_recipe

from neuroprint.bundle import recipe as recipes
from neuroprint.bundle.bundle import Bundle
from neuroprint.data.facts import measure
from neuroprint.data.formats.brats import find_brats
from neuroprint.data.volume import read_volume
from neuroprint.embedding import poolings
from neuroprint.embedding.extraction import Request
from neuroprint.embedding.extractor import Extractor
from neuroprint.embedding.inferers import Whole
from neuroprint.encoders.module import ModuleEncoder
from neuroprint.encoders.swin_unetr import SwinUNETREncoder
from neuroprint.errors import NeuroprintError

NETWORK = {"_target_": "monai.networks.nets.BasicUNet", "in_channels": 4, "features": [4, 4, 4, 4, 4, 4]}
MODALITIES = ("flair", "t1", "t1ce", "t2")
WHOLE = {"_target_": "neuroprint.embedding.inferers.Whole"}
MEAN = {"_target_": "neuroprint.embedding.poolings.mean", "_partial_": True}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Weights as PyTorch users publish them."""
    from hydra.utils import instantiate

    torch.manual_seed(5)
    path = tmp_path_factory.mktemp("weights") / "net.pt"
    torch.save(instantiate(NETWORK).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def view(checkpoint):
    arguments = {"network": NETWORK, "levels": ["conv_0", "down_1"], "modalities": list(MODALITIES), "divisor": 16}
    arguments |= {"spacing_mm": 6.0, "weights": str(checkpoint)}
    extractor = Extractor(ModuleEncoder(**arguments), MODALITIES, Whole(), "fp32", {"mean": poolings.mean})
    node = {"_target_": "neuroprint.encoders.module.ModuleEncoder", "_recursive_": False, **arguments}
    return View(node, WHOLE, Request(extractor, ("down_1", "conv_0"), "mean"))


@pytest.fixture(scope="module")
def scan(small_cohort):
    case = find_brats(small_cohort).cases[0]
    volume = read_volume(case, MODALITIES)
    return case.id, volume, measure(volume, case.label_convention)


@pytest.fixture(scope="module")
def expected(view, scan):
    """What the run computed of the scan."""
    extractor = view.request.extractor
    found = extractor.vectors(extractor.prepare(*scan[1:]), extractor.encoder.load("cpu"), "cpu")
    return np.concatenate([found[name] for name in view.request.names])


def test_a_checkpoint_goes_in_as_safetensors_and_gives_the_same_vectors(view, scan, expected, checkpoint, tmp_path):
    write_recipe(tmp_path, [view], MEAN)
    assert sorted(path.name for path in tmp_path.rglob("*.*")) == ["0.safetensors", "extractor.json"]
    held = ["weights/0.safetensors"]
    np.testing.assert_array_equal(Recipe(tmp_path, files=held).embed(*scan), expected)
    assert str(checkpoint.parent) not in (tmp_path / "extractor.json").read_text()


def test_large_weights_are_named_asked_for_and_checked(view, scan, expected, checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(recipes, "COPIED_BELOW", 0)
    write_recipe(tmp_path, [view], MEAN)
    assert not list(tmp_path.rglob("*.safetensors"))
    with pytest.raises(NeuroprintError, match=r"give --weights FILE, a copy of net\.pt with the SHA-256") as caught:
        Recipe(tmp_path).embed(*scan)
    assert "\n" not in str(caught.value)
    other = tmp_path / "other.pt"
    other.write_bytes(checkpoint.read_bytes() + b"x")
    with pytest.raises(NeuroprintError, match="not this bundle's weights: its SHA-256 is") as caught:
        Recipe(tmp_path, [other])
    assert "\n" not in str(caught.value)
    np.testing.assert_array_equal(Recipe(tmp_path, [checkpoint]).embed(*scan), expected)
    (tmp_path / "net.pt").write_bytes(checkpoint.read_bytes())
    np.testing.assert_array_equal(Recipe(tmp_path).embed(*scan), expected)


def test_weights_in_a_bundle_that_are_others_are_refused(view, bundle_contents, tmp_path):
    write_bundle(tmp_path / "bundle", replace(bundle_contents, views=[view]))
    path = tmp_path / "bundle" / "weights" / "0.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(NeuroprintError, match=r"0\.safetensors is not as it was written: its SHA-256 is"):
        Bundle.open(tmp_path / "bundle")


@pytest.mark.parametrize("place", ["../outside.safetensors", "{}/outside.safetensors", "unlisted.safetensors", "", 0])
def test_only_files_of_the_manifest_are_read_as_weights(view, bundle_contents, tmp_path, place):
    write_bundle(tmp_path / "bundle", replace(bundle_contents, views=[view]))
    held = tmp_path / "bundle" / "weights" / "0.safetensors"
    for folder in (tmp_path, tmp_path / "bundle"):
        (folder / "outside.safetensors").write_bytes(held.read_bytes())
        (folder / "unlisted.safetensors").write_bytes(held.read_bytes())
    recipe = json.loads((tmp_path / "bundle" / "extractor.json").read_text())
    recipe["views"][0]["weights"]["file"] = place.format(tmp_path) if isinstance(place, str) else place
    (tmp_path / "bundle" / "extractor.json").write_text(json.dumps(recipe))
    files = json.loads((tmp_path / "bundle" / "bundle.json").read_text())["files"]
    assert "weights/0.safetensors" in files
    with pytest.raises(NeuroprintError, match="none of the bundle's files") as caught:
        Recipe(tmp_path / "bundle", files=files)
    assert "\n" not in str(caught.value)


def test_a_bundle_tells_its_recipe_which_files_are_its_own(view, bundle_contents, tmp_path, scan, expected):
    write_bundle(tmp_path / "bundle", replace(bundle_contents, views=[view]))
    np.testing.assert_array_equal(Bundle.open(tmp_path / "bundle")._recipe.embed(*scan), expected)


def test_a_bundle_without_weights_never_reads_any_from_elsewhere(view, scan, tmp_path):
    write_recipe(tmp_path, [view], MEAN)
    recipe = json.loads((tmp_path / "extractor.json").read_text())
    recipe["views"][0]["weights"] = None
    recipe["views"][0]["encoder"]["weights"] = "https://example.org/weights.pt"
    recipe["views"][0]["identity"]["weights"] = {"seed": 0, "monai": "0", "torch": "0"}
    (tmp_path / "extractor.json").write_text(json.dumps(recipe))
    with pytest.raises(NeuroprintError, match="the bundle's random weights were drawn with"):
        Recipe(tmp_path).embed(*scan)


def test_random_weights_are_drawn_again_and_refused_where_other_ones_would_be(scan, tmp_path):
    arguments = {"modalities": list(MODALITIES), "feature_size": 12, "spacing_mm": 6.0, "depths": [1, 1, 1, 1]}
    extractor = Extractor(SwinUNETREncoder(**arguments), MODALITIES, Whole(), "fp32", {"mean": poolings.mean})
    node = {"_target_": "neuroprint.encoders.swin_unetr.SwinUNETREncoder", **arguments}
    write_recipe(tmp_path, [View(node, WHOLE, Request(extractor, ("stage1",), "mean"))], MEAN)
    found = extractor.vectors(extractor.prepare(*scan[1:]), extractor.encoder.load("cpu"), "cpu")
    np.testing.assert_array_equal(Recipe(tmp_path).embed(*scan), found["stage1|mean"])
    text = (tmp_path / "extractor.json").read_text()
    (tmp_path / "extractor.json").write_text(text.replace(torch.__version__.split("+")[0], "1.0.0"))
    with pytest.raises(NeuroprintError, match=r"drawn with .*1\.0\.0.*install those versions"):
        Recipe(tmp_path).embed(*scan)


def test_a_pooling_of_the_users_own_is_refused_at_export(view, tmp_path):
    with pytest.raises(NeuroprintError, match=r"pooling: a bundle cannot hold mine\.pooling"):
        write_recipe(tmp_path, [view], {"_target_": "mine.pooling", "_partial_": True})

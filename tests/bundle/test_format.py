"""A bundle on disk: whole or not there, and refused in one line where it is not as it was written."""

import json

import numpy as np
import pytest
from neuroprint.bundle.contents import write_bundle
from neuroprint.bundle.recipe import Recipe

from neuroprint.bundle import format as bundle_format
from neuroprint.bundle import trusted
from neuroprint.bundle.bundle import Bundle
from neuroprint.bundle.format import mapped, read, save_arrays, write
from neuroprint.errors import NeuroprintError


def files_of(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def said(folder, **arguments):
    with pytest.raises(NeuroprintError) as caught:
        Bundle.open(folder, **arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_one_flipped_byte_in_any_file_is_refused_and_names_it(copy_of_bundle):
    folder = copy_of_bundle()
    for path in files_of(folder):
        content = path.read_bytes()
        for place in (0, len(content) // 2, len(content) - 2):
            torn = bytearray(content)
            torn[place] ^= 1
            path.write_bytes(torn)
            assert path.name in said(folder)
        path.write_bytes(content)
    assert read(folder)


def test_a_missing_file_is_refused_and_named(copy_of_bundle):
    folder = copy_of_bundle()
    for path in files_of(folder):
        content = path.read_bytes()
        path.unlink()
        assert path.name in said(folder)
        path.write_bytes(content)


def test_a_newer_format_is_refused(copy_of_bundle):
    folder = copy_of_bundle()
    manifest = json.loads((folder / "bundle.json").read_text())
    (folder / "bundle.json").write_text(json.dumps({**manifest, "format_version": 3}))
    assert "format 3; this neuroprint reads up to format 2: upgrade" in said(folder)


def test_an_older_format_is_to_be_exported_anew(copy_of_bundle, monkeypatch):
    folder = copy_of_bundle()
    monkeypatch.setattr("neuroprint.bundle.bundle.FORMAT_VERSION", 3)
    assert "a bundle of format 2" in said(folder) and "export it anew" in said(folder)


def test_lists_of_neighbors_that_are_not_there_are_refused(tmp_path, copy_of_bundle):
    folder = copy_of_bundle()
    lists = {name: np.array(array) for name, array in mapped(folder / "neighbors.safetensors").items()}
    for rows in (lists["neighbors"] + 1, lists["neighbors"][:-1]):
        save_arrays(folder / "neighbors.safetensors", {**lists, "neighbors": rows})
        manifest = json.loads((folder / "bundle.json").read_text())
        manifest["files"]["neighbors.safetensors"] = bundle_format._sha256(folder / "neighbors.safetensors")
        manifest["sha256"] = bundle_format._own_sha256(manifest)
        (folder / "bundle.json").write_text(json.dumps(manifest))
        assert "neighbors.safetensors" in said(folder)


def test_a_folder_that_is_no_bundle_is_refused(tmp_path):
    assert "is no bundle" in said(tmp_path)
    assert "is no bundle" in said(tmp_path / "absent")
    (tmp_path / "bundle.json").write_text("[]")
    assert "format_version" in said(tmp_path)


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "a\\b"])
def test_a_manifest_cannot_name_files_outside(tmp_path, name):
    folder = tmp_path / "bundle"
    write(folder, {}, lambda unfinished: (unfinished / "a").write_text("a"))
    manifest = json.loads((folder / "bundle.json").read_text())
    manifest["files"][name] = "0" * 64
    manifest["sha256"] = bundle_format._own_sha256(manifest)
    (folder / "bundle.json").write_text(json.dumps(manifest))
    assert "outside the bundle" in said(folder)


def test_a_bundle_that_is_there_stays_until_the_new_one_is_whole(copy_of_bundle, bundle_contents):
    folder = copy_of_bundle()
    before = {path: path.read_bytes() for path in files_of(folder)}

    def fail(unfinished):
        (unfinished / "half").write_text("half")
        assert read(folder)
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        write(folder, {}, fail)
    assert {path: path.read_bytes() for path in files_of(folder)} == before
    write_bundle(folder, bundle_contents)
    assert read(folder)
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_what_is_no_bundle_is_never_written_over(tmp_path, bundle_contents):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(NeuroprintError, match="is there and is no bundle"):
        write_bundle(tmp_path, bundle_contents)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_others_may_read_what_the_umask_lets_them(bundle_folder):
    assert {path.stat().st_mode & 0o777 for path in files_of(bundle_folder)} == {
        (bundle_folder / "bundle.json").stat().st_mode & 0o777
    }


def test_no_file_is_a_pickle(bundle_folder):
    assert {path.suffix for path in files_of(bundle_folder)} == {
        *(".json", ".yaml", ".md", ".parquet", ".safetensors", ".faiss"),
    }
    pickles = {bytes([0x80, protocol]) for protocol in range(2, 6)}
    assert not [path for path in files_of(bundle_folder) if path.read_bytes()[:2] in pickles]


def test_arrays_are_mapped_and_damaged_ones_refused(tmp_path):
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.zeros((0, 4)), "c": np.ones(3, np.uint8)}
    save_arrays(tmp_path / "a.safetensors", arrays)
    found = mapped(tmp_path / "a.safetensors")
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
    assert isinstance(found["a"], np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        found["a"][0, 0] = 1
    for content in (b"", b"\xff" * 40, b"\x10" + bytes(7) + b'{"a":{"dtype":1}}'):
        (tmp_path / "b.safetensors").write_bytes(content)
        with pytest.raises(NeuroprintError, match="cannot be read as safetensors"):
            mapped(tmp_path / "b.safetensors")


ENCODER = "neuroprint.encoders.voxels.VoxelEncoder"
NETWORK = {"_target_": "neuroprint.encoders.module.ModuleEncoder", "_recursive_": False, "levels": ["a"]}


@pytest.mark.parametrize(
    ("part", "node"),
    [
        ("encoder", {"_target_": "os.system", "command": "true"}),
        ("encoder", {"_target_": "neuroprint.embedding.store.os.system", "command": "true"}),
        ("encoder", {"_target_": "neuroprint.encoders.checkpoints.os.system", "command": "true"}),
        ("encoder", {"_target_": "neuroprint.encoders.download.download", "address": "file:///etc/passwd"}),
        ("encoder", {"_target_": "neuroprint.encoders.checkpoints.save_weights"}),
        ("encoder", {"_target_": ENCODER, "cells": {"_target_": "os.getcwd"}}),
        ("encoder", {"_target_": ENCODER, "modalities": ["${oc.env:HOME}"]}),
        ("encoder", {**NETWORK, "network": {"_target_": "os.system", "command": "true"}}),
        ("encoder", {**NETWORK, "network": {"_target_": "torch.hub.load"}}),
        ("encoder", {**NETWORK, "network": {"_target_": "torch.nn.modules.module.torch.load"}}),
        ("encoder", {**NETWORK, "network": {"_target_": "torch.nn.Sequential", "_args_": [{"_target_": "os.getcwd"}]}}),
        ("inferer", {"_target_": "neuroprint.embedding.inferers.Path.home"}),
        ("inferer", {"_target_": "neuroprint.embedding.inferers.Part"}),
        ("pooling", {"_target_": "neuroprint.embedding.poolings.partial", "_args_": ["x"]}),
        ("pooling", {"_target_": "mine.pooling"}),
        ("pooling", "text"),
    ],
)
def test_nothing_is_built_but_what_a_bundle_needs(copy_of_bundle, part, node):
    folder = copy_of_bundle()
    recipe = json.loads((folder / "extractor.json").read_text())
    (recipe if part == "pooling" else recipe["views"][0])[part] = node
    (folder / "extractor.json").write_text(json.dumps(recipe))
    with pytest.raises(NeuroprintError, match="a bundle cannot hold") as caught:
        Recipe(folder)
    assert "\n" not in str(caught.value)


HOVERNET = {"_target_": "monai.networks.nets.HoVerNet"}


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
)
def test_a_network_that_fetches_weights_when_it_is_made_is_refused(network):
    with pytest.raises(NeuroprintError, match=r"a bundle cannot hold .*fetch") as caught:
        trusted.check({**NETWORK, "network": network}, "encoder")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "network",
    [
        {**HOVERNET, "pretrained_url": None},
        {"_target_": "monai.networks.nets.ResNetFeatures", "model_name": "resnet10", "pretrained": False},
        {"_target_": "monai.networks.nets.SwinUNETR", "in_channels": 4, "out_channels": 3, "use_checkpoint": True},
    ],
)
def test_a_network_that_fetches_nothing_may_be_named(network):
    trusted.check({**NETWORK, "network": network, "weights": "https://example.org/weights.pt"}, "encoder")


def test_what_a_module_only_borrows_is_not_its_own(monkeypatch):
    import shutil

    from neuroprint.embedding import poolings

    monkeypatch.setattr(poolings, "borrowed", shutil.rmtree, raising=False)
    with pytest.raises(NeuroprintError, match="a bundle cannot hold"):
        trusted.build({"_target_": "neuroprint.embedding.poolings.borrowed", "_partial_": True}, "pooling")


def test_a_network_of_monai_may_be_named(copy_of_bundle):
    folder = copy_of_bundle()
    recipe = json.loads((folder / "extractor.json").read_text())
    network = {"_target_": "monai.networks.nets.BasicUNet", "in_channels": 4, "norm": ["instance", {"affine": True}]}
    recipe["views"][0]["encoder"] = {**NETWORK, "network": network}
    (folder / "extractor.json").write_text(json.dumps(recipe))
    assert Recipe(folder).pooling == "mean"

"""Weights carry marks of the images that they were trained on, and whoever scores them can tell."""

import hashlib

import torch

from neuroprint.encoders.checkpoints import save_weights
from neuroprint.encoders.combined import CombinedEncoder
from neuroprint.encoders.swin_unetr import SwinUNETREncoder, TrainedSwinUNETREncoder
from neuroprint.encoders.trained_on import header, mark, seen_images
from neuroprint.encoders.voxels import VoxelEncoder

MARKS = {mark(hashlib.sha256(name).hexdigest()) for name in (b"one", b"two")}


def trained(path):
    return TrainedSwinUNETREncoder(["flair"], str(path), feature_size=12)


def test_a_mark_is_the_same_for_the_same_bytes_only():
    assert len(MARKS) == 2
    assert mark(hashlib.sha256(b"one").hexdigest()) in MARKS
    assert all(hashlib.sha256(b"one").hexdigest() != one for one in MARKS), "the hash itself is not told"


def test_marks_are_read_from_the_weights_header(tmp_path):
    save_weights(tmp_path / "seen.safetensors", {"a": torch.zeros(1)}, header(MARKS))
    save_weights(tmp_path / "silent.safetensors", {"a": torch.zeros(1)}, header([]))
    assert seen_images(trained(tmp_path / "seen.safetensors")) == MARKS
    assert seen_images(trained(tmp_path / "silent.safetensors")) == frozenset()


def test_a_combination_has_seen_what_its_encoders_have(tmp_path):
    one, two = sorted(MARKS)
    for name, seen in (("one", one), ("two", two)):
        save_weights(tmp_path / f"{name}.safetensors", {"a": torch.zeros(1)}, header([seen]))
    encoders = {name: trained(tmp_path / f"{name}.safetensors") for name in ("one", "two")}
    assert seen_images(CombinedEncoder({**encoders, "voxels": VoxelEncoder()})) == MARKS


def test_what_has_no_weights_or_torn_ones_has_seen_nothing_that_is_known(tmp_path):
    assert seen_images(VoxelEncoder()) == seen_images(SwinUNETREncoder(["flair"])) == frozenset()
    torch.save({"a": torch.zeros(1)}, tmp_path / "model.pt")
    assert seen_images(trained(tmp_path / "model.pt")) == frozenset()
    for content in (b"", b"\xff" * 100, b"\x02" + bytes(7) + b"[]"):
        (tmp_path / "torn.safetensors").write_bytes(content)
        assert seen_images(trained(tmp_path / "torn.safetensors")) == frozenset()

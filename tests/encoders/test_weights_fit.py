"""Weights reach the network they are of, whatever the file calls them; what does not fit is said in one line and listed."""

import logging
import pickle
import re
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from monai.networks.nets.swin_unetr import filter_swinunetr
from safetensors.torch import save_file
from torch import nn

from neuroprint.encoders.module import ModuleEncoder
from neuroprint.encoders.segresnet import SegResNetEncoder
from neuroprint.encoders.swin_unetr import SwinUNETREncoder, TrainedSwinUNETREncoder
from neuroprint.encoders.taps import tap, watch_weights
from neuroprint.encoders.weights_file import WeightsFile
from neuroprint.encoders.weights_fit import load_strictly
from neuroprint.errors import NeuroprintError

IMAGE = torch.randn(1, 1, 8, 8, 8, generator=torch.Generator().manual_seed(3))


class Encoder(nn.Module):
    def __init__(self, width=2, depth=2):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv3d(1, width, 2, 2), nn.BatchNorm3d(width))
        self.blocks = nn.ModuleList(nn.Conv3d(width, width, 1) for _ in range(depth))

    def forward(self, image):
        features = self.stem(image)
        for block in self.blocks:
            features = block(features)
        return features


class Segmenter(nn.Module):
    """What the tests load: an encoder, a decoder, a head."""

    def __init__(self, width=2, depth=2, classes=3):
        super().__init__()
        self.encoder = Encoder(width, depth)
        self.decoder = nn.ConvTranspose3d(width, width, 2, 2)
        self.head = nn.Conv3d(width, classes, 1)

    def forward(self, image):
        return self.head(self.decoder(self.encoder(image)))


def drawn(network, seed=1):
    """The network with random numbers everywhere, in running statistics too."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return network.eval()


TRAINED = drawn(Segmenter()).state_dict()
OTHER = drawn(Segmenter(), seed=2).state_dict()
ENCODER = {name.removeprefix("encoder."): value for name, value in TRAINED.items() if name.startswith("encoder.")}
HEAD = {"head.weight": torch.ones(7, 2, 1, 1, 1), "head.bias": torch.ones(7)}
LOSS = {"criterion.weight": torch.ones(3), "val_dice.total": torch.ones(3)}


def under(prefix, state=TRAINED):
    return {prefix + name: value for name, value in state.items()}


def saved(folder: Path, content, name="model.pt") -> WeightsFile:
    path = folder / name
    if name.endswith(".safetensors"):
        save_file({key: value.contiguous().clone() for key, value in content.items()}, path)
    else:
        torch.save(content, path)
    return WeightsFile(str(path))


def load(file: WeightsFile, network=None, used=None):
    network = Segmenter().eval() if network is None else network
    load_strictly(network, file.load(), file.path.name, used)
    return network


def assert_equal(network, state, part=""):
    found = network.state_dict()
    wanted = {name: value for name, value in state.items() if name.startswith(part)}
    assert wanted
    for name, value in wanted.items():
        assert torch.equal(found[name], value), name


class Compiled(nn.Module):
    """A Lightning module that compiles its network, in data-parallel training."""

    def __init__(self, network):
        super().__init__()
        self.model = torch.compile(nn.DataParallel(network))


WHOLE = {
    "raw": TRAINED,
    "ordered": OrderedDict(TRAINED),
    "nested": {
        "epoch": 3,
        "best": 0.9,
        "state_dict": TRAINED,
        "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}},
    },
    "nested twice": {"model": {"state_dict": TRAINED}, "step": torch.tensor(5)},
    "beside plain numbers": {**TRAINED, "epoch": 3},
    "data parallel": {"state_dict": under("module.")},
    "compiled": under("_orig_mod."),
    "parts compiled": {name.replace("encoder.", "encoder._orig_mod."): value for name, value in TRAINED.items()},
    "compiled, parallel, in a Lightning module": {"state_dict": Compiled(drawn(Segmenter())).state_dict()},
    "Lightning": {"state_dict": {**under("model."), **LOSS}, "pytorch-lightning_version": "2.5"},
    "backbone": under("net.backbone."),
    "nnU-Net": {"network_weights": TRAINED, "trainer_name": "nnUNetTrainer", "init_args": {"plans": {}, "fold": 0}},
    "average alone": {"state_dict_ema": under("module."), "epoch": 3},
    "average beside": {"state_dict": TRAINED, "state_dict_ema": OTHER},
    "average first": {"ema": {"decay": 0.99, "model": OTHER}, "model": TRAINED},
    "average by prefix": {
        **under("ema_model.module.", OTHER),
        "ema_model.n_averaged": torch.tensor(9),
        **under("model."),
    },
    "averaged model": {**under("module."), "n_averaged": torch.tensor(9)},
    "teacher and student": {"student": under("module.", OTHER), "teacher": under("module.")},
    "teacher and student by prefix": {**under("student.", OTHER), **under("teacher.")},
    "double": {name: value.double() if value.is_floating_point() else value for name, value in TRAINED.items()},
}


@pytest.mark.parametrize("kind", WHOLE)
def test_every_kind_of_checkpoint_gives_the_whole_network(tmp_path, kind):
    network = load(saved(tmp_path, WHOLE[kind]))
    assert_equal(network, TRAINED)
    assert all(tensor.dtype == torch.float32 for tensor in network.parameters())


@pytest.mark.parametrize(
    "kind", [kind for kind, content in WHOLE.items() if isinstance(next(iter(content.values())), torch.Tensor)]
)
def test_safetensors_are_fitted_like_checkpoints(tmp_path, kind):
    content = {name: value for name, value in WHOLE[kind].items() if isinstance(value, torch.Tensor)}
    assert_equal(load(saved(tmp_path, content, "model.safetensors")), TRAINED)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["model.pt", "model.safetensors"])
def test_half_precision_becomes_single(tmp_path, dtype, name):
    half = {key: value.to(dtype) if value.is_floating_point() else value for key, value in TRAINED.items()}
    file = saved(tmp_path, under("module.", half), name)
    assert {value.dtype for value in file.load().values()} == {torch.float32, torch.int64}
    assert_equal(load(file), {key: value.to(TRAINED[key].dtype) for key, value in half.items()})


def test_a_zipped_checkpoint_is_fitted_too(tmp_path):
    saved(tmp_path, {"state_dict": under("module.")}, "model.ckpt")
    with zipfile.ZipFile(tmp_path / "model.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(tmp_path / "model.ckpt", "run/model.ckpt")
    assert_equal(load(WeightsFile(str(tmp_path / "model.zip"))), TRAINED)


@pytest.mark.parametrize("kind", [kind for kind in WHOLE if kind.startswith(("average", "teacher"))])
def test_the_log_says_which_of_several_sets_was_taken(tmp_path, caplog, kind):
    caplog.set_level(logging.INFO)
    load(saved(tmp_path, WHOLE[kind]))
    assert ("took the weights under" in caplog.text) == (kind not in ("average alone", "averaged model"))


def test_a_prefix_that_the_networks_own_names_have_is_kept(tmp_path):
    class Wrapper(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = Segmenter()

    for prefix in ("model.", "", "module.model.", "model.model."):
        assert_equal(load(saved(tmp_path, under(prefix)), Wrapper()), under("model."))


@pytest.mark.parametrize(
    "content",
    [
        ENCODER,
        under("module.", ENCODER),
        under("backbone.", {**ENCODER, **HEAD}),
        {**ENCODER, **HEAD},
        under("encoder.", ENCODER),
    ],
    ids=["bare", "parallel", "with a head, under a prefix", "with a head", "under its own prefix"],
)
def test_a_file_of_the_encoder_alone_serves_the_encoder(tmp_path, content):
    network = load(saved(tmp_path, content), used=["encoder"])
    assert_equal(network, TRAINED, "encoder.")
    with pytest.raises(NeuroprintError, match=r"missing: decoder\.bias, decoder\.weight, head"):
        load(saved(tmp_path, content))


def test_an_encoder_is_found_inside_a_whole_network(tmp_path, caplog):
    """The decoder has the encoder's names too; shapes decide."""
    caplog.set_level(logging.INFO)
    mirror = {f"decoder.{name}": torch.ones(*value.shape, 2) for name, value in ENCODER.items()}
    network = load(saved(tmp_path, {**mirror, **TRAINED}), Encoder())
    assert_equal(network, ENCODER)
    assert "taken off its names: encoder; not used of it: decoder" in caplog.text


@pytest.mark.parametrize("head", [HEAD, {}, {"aux_head.weight": torch.ones(3)}, {**HEAD, "head.extra": torch.ones(1)}])
def test_what_no_level_needs_may_differ_and_is_then_nan(tmp_path, caplog, head):
    caplog.set_level(logging.INFO)
    other = {**{name: value for name, value in TRAINED.items() if not name.startswith("head.")}, **head}
    network = load(saved(tmp_path, other), used=["encoder", "decoder"])
    assert_equal(network, TRAINED, "encoder.")
    assert_equal(network, TRAINED, "decoder.")
    assert network.head.weight.isnan().all() and network.head.bias.isnan().all()
    assert "not needed, and NaN from here on: head (2 weights)" in caplog.text
    with pytest.raises(NeuroprintError):
        load(saved(tmp_path, other))


def test_weights_that_fit_as_they_are_are_not_worth_a_line(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    load(saved(tmp_path, TRAINED))
    assert not caplog.records


def module_encoder(weights, levels=("encoder",), **arguments):
    network = {"_target_": f"{Segmenter.__module__}.Segmenter", **arguments}
    return ModuleEncoder(network, levels, ["t1"], divisor=4, weights=str(weights.path))


@pytest.mark.parametrize("level", ["encoder", "encoder.blocks.0"])
def test_a_module_encoder_needs_the_weights_that_its_levels_are_computed_with(tmp_path, level):
    file = saved(tmp_path, {"state_dict": under("net.", {**ENCODER, **HEAD})})
    expected = tap(drawn(Segmenter()), [level])(IMAGE)[0]
    assert torch.equal(module_encoder(file, [level]).load("cpu")(IMAGE)[0], expected)
    with pytest.raises(NeuroprintError, match=r"missing: decoder\.bias, decoder\.weight"):
        module_encoder(file, ["encoder", "decoder"]).load("cpu")
    # num_batches_tracked is no number that a level depends on.
    lacking = {name: value for name, value in ENCODER.items() if "num_batches" not in name}
    assert torch.equal(module_encoder(saved(tmp_path, lacking), [level]).load("cpu")(IMAGE)[0], expected)


def test_a_third_block_is_refused_where_the_network_has_two(tmp_path):
    file = saved(tmp_path, drawn(Segmenter(depth=3)).state_dict())
    with pytest.raises(NeuroprintError, match=r"left over: encoder\.blocks\.2\.bias, encoder\.blocks\.2\.weight"):
        module_encoder(file).load("cpu")
    missing = saved(tmp_path, drawn(Segmenter(depth=1)).state_dict())
    with pytest.raises(NeuroprintError, match=r"missing: encoder\.blocks\.1\.bias, encoder\.blocks\.1\.weight"):
        module_encoder(missing).load("cpu")
    # What runs after the level does not matter to it.
    assert_equal(
        load(missing, used=["encoder.stem", "encoder.blocks.0"]), drawn(Segmenter(depth=1)).state_dict(), "encoder."
    )


def test_numbered_parts_of_an_encoder_that_go_on_in_the_file_are_refused(tmp_path):
    """Beside the parts of an encoder-only file lie heads, but not a further layer."""

    class Layers(nn.Module):
        def __init__(self, layers):
            super().__init__()
            self.vit = nn.ModuleDict({f"layers{n}": nn.Conv3d(1, 1, 1) for n in range(layers)})
            self.head = nn.Conv3d(1, 1, 1)

    file = saved(tmp_path, {**Layers(3).vit.state_dict(), "norm.weight": torch.ones(1)})
    with pytest.raises(NeuroprintError, match=r"left over: layers2\.bias, layers2\.weight, norm\.weight\."):
        load(file, Layers(2), used=["vit"])
    load(file, Layers(3), used=["vit"])


def test_odd_names_are_no_accident(tmp_path):
    """A weight that is called like a module; a network without weights."""
    load(saved(tmp_path, {**TRAINED, "head": torch.ones(1)}), used=["encoder", "decoder"])
    with pytest.raises(NeuroprintError, match="left over: encoder"):
        load(saved(tmp_path, {**TRAINED, "encoder.blocks": torch.ones(1)}), used=["encoder"])
    load(saved(tmp_path, TRAINED), nn.Identity(), used=[])


def test_weights_count_as_read_without_a_call_of_their_module():
    """Attention reads the weights of its projection, a fused layer those of all its parts."""
    layer = nn.TransformerEncoderLayer(8, 2, batch_first=True).eval().requires_grad_(False)
    network = nn.ModuleDict({"layer": layer, "scripted": torch.jit.script(nn.Linear(8, 8)), "idle": nn.Linear(8, 8)})
    with watch_weights(network) as read, torch.inference_mode():
        network["scripted"](layer(torch.zeros(1, 3, 8)))
    assert read == {name for name in network.state_dict() if not name.startswith("idle.")}


REFUSED = {
    "another depth": (drawn(Segmenter(depth=4)).state_dict(), r"15 of its 15 .*left over: encoder\.blocks\.2\.bias"),
    "another width": (
        drawn(Segmenter(width=5)).state_dict(),
        r"of another shape: decoder\.bias \(5,\) instead of \(2,\), .* and 10 more",
    ),
    "another name": (
        {name.replace("stem.0", "stem_0"): value for name, value in TRAINED.items()},
        r"missing: encoder\.stem\.0\.bias \(the file has encoder\.stem_0\.bias\), .*; left over: encoder\.stem_0\.bias",
    ),
    "another network": (
        nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 4)).state_dict(),
        r"\(0 of its 15 fit\); missing: .* and 8 more; of another shape: ",
    ),
    "no weights": (
        {"epoch": 3, "optimizer": {"state": {}}},
        "holds no weights: expected a state_dict.*found epoch, optimizer",
    ),
    "counters": ({"epoch": torch.tensor(3), "loss": torch.tensor(0.5)}, "holds no weights: .*found epoch, loss"),
    "empty": ({}, "holds no weights: .*found nothing"),
    "a list": ([torch.zeros(3)], "holds no weights: .*found list"),
    "a whole pickled network": (
        {"model": nn.Linear(2, 2)},
        r"holds torch\.nn\.\S*Linear, which could run code when read",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_does_not_fit_is_refused_in_one_line(tmp_path, kind):
    content, said = REFUSED[kind]
    network = drawn(Segmenter(), seed=3)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(NeuroprintError) as refusal:
        load(saved(tmp_path, content), network)
    line = str(refusal.value)
    assert re.search(said, line) and "model.pt" in line and "\n" not in line and len(line) < 700
    assert_equal(network, before)


def test_all_that_does_not_fit_is_in_the_log_and_in_a_note(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    with pytest.raises(NeuroprintError, match=r"and \d+ more; the log lists all") as refusal:
        load(saved(tmp_path, drawn(Segmenter(width=5)).state_dict()))
    (note,) = refusal.value.__notes__
    assert note in caplog.records[-1].getMessage()
    for name, tensor in TRAINED.items():
        assert (f"    {name} (" in note) == (tensor.ndim > 0 and name != "head.bias")
    assert "of another shape: decoder (2 weights), encoder (10 weights), head.weight (1 weight)" in note


def test_a_program_is_no_checkpoint(tmp_path):
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), tmp_path / "model.pt")
    with pytest.raises(NeuroprintError, match=r"model\.pt: a TorchScript program, which runs code when read"):
        WeightsFile(str(tmp_path / "model.pt")).load()


def test_code_beside_the_weights_is_not_run(tmp_path):
    class Attack:
        def __reduce__(self):
            return Path.touch, (tmp_path / "hacked",)

    path = tmp_path / "model.pt"
    path.write_bytes(pickle.dumps({"state_dict": {}, "args": Attack()}, 2))
    with pytest.raises(NeuroprintError, match="could run code when read") as refusal:
        WeightsFile(str(path)).load()
    assert "\n" not in str(refusal.value) and not (tmp_path / "hacked").exists()


@pytest.mark.parametrize("zipped", [None, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_one_flipped_byte_is_found(tmp_path, zipped):
    """PyTorch reads it without a word."""
    saved(tmp_path, TRAINED)
    path = tmp_path / "model.pt"
    data = bytearray(path.read_bytes())
    place = data.index(TRAINED["encoder.stem.0.weight"].numpy().tobytes()) + 5
    data[place] ^= 64
    path.write_bytes(data)
    torn = torch.load(path, weights_only=True)
    assert any(not torch.equal(torn[name], value) for name, value in TRAINED.items())
    if zipped is not None:
        with zipfile.ZipFile(tmp_path / "model.zip", "w", zipped) as archive:
            archive.write(path, "model.pt")
        path = tmp_path / "model.zip"
    with pytest.raises(
        NeuroprintError, match=r"torn: model/data/\d+ in it does not have its checksum; restore"
    ) as refusal:
        WeightsFile(str(path)).load()
    assert "\n" not in str(refusal.value) and path.name in str(refusal.value)


def test_one_flipped_byte_of_the_outer_archive_is_found(tmp_path):
    saved(tmp_path, TRAINED)
    for kind in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        with zipfile.ZipFile(tmp_path / "model.zip", "w", kind) as archive:
            archive.write(tmp_path / "model.pt", "model.pt")
        data = bytearray((tmp_path / "model.zip").read_bytes())
        data[len(data) // 2] ^= 64
        (tmp_path / "model.zip").write_bytes(data)
        with pytest.raises(NeuroprintError, match=r"model\.zip: torn") as refusal:
            WeightsFile(str(tmp_path / "model.zip")).load()
        assert "\n" not in str(refusal.value)


def test_a_checkpoint_that_was_written_without_checksums_is_read(tmp_path):
    if not hasattr(torch.serialization, "set_crc32_options"):
        pytest.skip("this PyTorch always writes checksums")
    torch.serialization.set_crc32_options(False)
    try:
        file = saved(tmp_path, TRAINED)
    finally:
        torch.serialization.set_crc32_options(True)
    assert_equal(load(file), TRAINED)


def swin(weights):
    return TrainedSwinUNETREncoder(("flair", "t1ce", "t1", "t2"), str(weights.path), feature_size=12)


def self_supervised(name):
    """How MONAI's model_swinvit.pt calls it."""
    return "module." + name.removeprefix("swinViT.").replace("mlp.linear", "mlp.fc")


def denoising(name):
    """How MONAI's ssl_pretrained_weights.pth calls it."""
    inner = name.removeprefix("swinViT.")
    return "encoder." + (inner if inner.startswith("patch_embed") else f"{inner[:10]}0.{inner[10:]}")


PUBLISHED = {
    "model_swinvit.pt": (self_supervised, "state_dict", {"module.rotation_head.weight": torch.ones(4, 3)}),
    "ssl_pretrained_weights.pth": (
        denoising,
        "model",
        {"encoder.norm.weight": torch.ones(3), "out.conv.conv.bias": torch.ones(3)},
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_weights_of_self_supervised_training_serve_the_swin_stages(small_swin, batch, tmp_path, name):
    rename, wrapper, beside = PUBLISHED[name]
    state = small_swin.state_dict()
    published = {rename(key): value for key, value in state.items() if key.startswith("swinViT.")}
    if rename is denoising:  # as MONAI itself reads them
        assert all(filter_swinunetr(key, value)[0] in state for key, value in published.items())
    encoder = swin(saved(tmp_path, {wrapper: {**published, **beside}}, name))
    with torch.inference_mode():
        *stages, encoder10 = encoder.load("cpu")(batch)
        expected = small_swin.swinViT(batch, True)
    for found, wanted in zip(stages, expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    assert encoder10.isnan().all()  # never random
    with pytest.raises(NeuroprintError, match=r"missing: .*more"):
        encoder.network("cpu")


def test_a_file_with_a_damaged_encoder10_is_refused(small_swin, tmp_path):
    state = dict(small_swin.state_dict())
    state["encoder10.layer.conv1.weight"] = state.pop("encoder10.layer.conv1.conv.weight")
    with pytest.raises(
        NeuroprintError, match=r"missing: encoder10\.layer\.conv1\.conv\.weight \(the file has encoder10\.lay"
    ):
        swin(saved(tmp_path, state)).load("cpu")


def test_swin_weights_with_convolutions_between_the_stages_are_refused(small_swin, tmp_path):
    """SwinUNETR's second version has the first one's names and more."""
    from monai.networks.nets import SwinUNETR

    state = SwinUNETR(in_channels=4, out_channels=3, feature_size=12, window_size=4, use_v2=True).state_dict()
    ssl = {self_supervised(key): value for key, value in state.items() if key.startswith("swinViT.")}
    for content in (state, ssl):
        with pytest.raises(NeuroprintError, match=r"left over: (swinViT|module)\.layers1c\.0"):
            swin(saved(tmp_path, content)).load("cpu")


def test_a_segresnet_of_other_classes_serves_the_stages(tmp_path, batch):
    from monai.networks.nets import SegResNet

    def published(**change):
        settings = {"blocks_down": (1, 2, 2, 4), "init_filters": 16, "in_channels": 4, "out_channels": 1, **change}
        (tmp_path / "model.pt").unlink(missing_ok=True)
        network = drawn(SegResNet(**settings))
        return network, SegResNetEncoder(("t1ce", "t1", "t2", "flair"), str(saved(tmp_path, network.state_dict()).path))

    network, encoder = published()
    small = batch[:, :, :32]
    with torch.inference_mode():
        for found, wanted in zip(encoder.load("cpu")(small), network.encode(small)[1], strict=True):
            assert torch.equal(found, wanted)
    with pytest.raises(NeuroprintError, match=r"of another shape: conv_final\.2\.conv\.bias \(1,\) instead of \(3,\)"):
        encoder.network("cpu")
    with pytest.raises(NeuroprintError, match=r"left over: down_layers\.1\.3"):
        published(blocks_down=(1, 3, 2, 4))[1].load("cpu")


def test_what_is_missing_and_what_is_left_over_is_named_and_nothing_is_loaded():
    network = torch.nn.Linear(2, 3)
    before = network.weight.clone()
    with pytest.raises(NeuroprintError, match=r"my file: .*missing: bias; left over: extra"):
        load_strictly(network, {"weight": torch.zeros(3, 2), "extra": torch.zeros(1)}, "my file")
    assert torch.equal(network.weight, before)


def test_buffers_that_the_network_computes_are_neither_wanted_nor_taken(small_swin):
    network = SwinUNETREncoder(("flair", "t1ce", "t1", "t2"), feature_size=12).network("cpu")
    index = "swinViT.layers1.0.blocks.0.attn.relative_position_index"
    before = network.state_dict()[index].clone()
    state = {**small_swin.state_dict(), index: torch.zeros(7), "swinViT.layers1.0.blocks.1.attn_mask": torch.ones(2)}
    load_strictly(network, state, "an old checkpoint")
    assert torch.equal(network.state_dict()[index], before)
    for name, value in small_swin.named_parameters():
        assert torch.equal(network.state_dict()[name], value)

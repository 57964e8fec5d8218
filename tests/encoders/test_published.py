"""Published weights load in every form they come in, and nothing in a file is run."""

import hashlib
import pickle
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from socketserver import BaseRequestHandler, TCPServer

import numpy as np
import pytest
import torch

from neuroprint.encoders.segresnet import SegResNetEncoder
from neuroprint.encoders.swin_unetr_brats21 import BraTS21SwinUNETREncoder
from neuroprint.encoders.twins import untrained_twin
from neuroprint.errors import NeuroprintError

MODALITIES = ("flair", "t1ce", "t1", "t2")
INDEX = "swinViT.layers1.0.blocks.0.attn.relative_position_index"


def brats21(weights, **change):
    settings = {"feature_size": 12, "window_size": 4, "spacing_mm": 1.0, **change}
    return BraTS21SwinUNETREncoder(MODALITIES, str(weights), **settings)


def checkpoint(state_dict):
    """As the training loop of research-contributions saves it."""
    return {"epoch": 299, "best_acc": np.float64(0.9035), "state_dict": state_dict}


FORMS = {
    "published": checkpoint,
    "single_precision_score": lambda state: {**checkpoint(state), "best_acc": np.float32(0.9)},
    "data_parallel": lambda state: checkpoint({f"module.{name}": value for name, value in state.items()}),
    "old_buffers": lambda state: checkpoint(
        {**state, INDEX: torch.zeros(3, 3), "swinViT.layers1.0.blocks.1.attn_mask": torch.ones(8, 4)}
    ),
    "bare": lambda state: state,
    "half": lambda state: {name: value.half() if value.is_floating_point() else value for name, value in state.items()},
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_checkpoint_gives_the_networks_weights(small_swin, tmp_path, form):
    path = tmp_path / "model.pt"
    torch.save(FORMS[form](small_swin.state_dict()), path)
    loaded = brats21(path).network("cpu")
    for name, value in small_swin.named_parameters():
        wanted = value.half().float() if form == "half" else value
        assert torch.equal(loaded.get_parameter(name), wanted)


def test_a_number_that_numpy_1_pickled_loads(small_swin, tmp_path):
    """NumPy 1 calls the module of its scalars numpy.core, NumPy 2 numpy._core: published checkpoints are older."""
    torch.save(checkpoint(small_swin.state_dict()), tmp_path / "new.pt")
    with zipfile.ZipFile(tmp_path / "new.pt") as new, zipfile.ZipFile(tmp_path / "model.pt", "w") as old:
        for entry in new.infolist():
            data = new.read(entry)
            if entry.filename.endswith("data.pkl"):
                assert b"cnumpy._core.multiarray\n" in data
                data = data.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")
            old.writestr(entry, data)
    brats21(tmp_path / "model.pt").network("cpu")


def test_a_zipped_checkpoint_is_taken_as_it_was_downloaded(small_swin, tmp_path):
    torch.save(checkpoint(small_swin.state_dict()), tmp_path / "model.pt")
    with zipfile.ZipFile(tmp_path / "fold1.zip", "w") as archive:
        archive.write(tmp_path / "model.pt", "fold1_f48/model.pt")
        archive.writestr("__MACOSX/fold1_f48/._model.pt", b"")
    loaded = brats21(tmp_path / "fold1.zip").network("cpu")
    assert torch.equal(loaded.out.conv.conv.weight, small_swin.out.conv.conv.weight)
    with zipfile.ZipFile(tmp_path / "fold1.zip", "a") as archive:
        archive.writestr("second.pt", b"")
    with pytest.raises(NeuroprintError, match=r"holds 2 \.pt files"):
        brats21(tmp_path / "fold1.zip").network("cpu")


class Attack:
    """What a pickle can do: leave a file behind by being read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("write", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content, 2))])
def test_a_pickle_that_could_run_code_is_refused_in_one_line_and_not_run(tmp_path, write):
    path = tmp_path / "model.pt"
    write({"state_dict": {}, "optimizer": Attack(tmp_path / "hacked")}, path)
    with pytest.raises(NeuroprintError, match=r"model\.pt: holds \S*open, which could run code") as refusal:
        brats21(path).load("cpu")
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "hacked").exists()


@pytest.mark.parametrize(
    "damage", [lambda data: data[: len(data) // 2], lambda data: b"<html>not found</html>", lambda data: b""]
)
def test_a_torn_checkpoint_is_refused_in_one_line(small_swin, tmp_path, damage):
    path = tmp_path / "model.pt"
    torch.save(checkpoint(small_swin.state_dict()), path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(NeuroprintError, match=r"model\.pt: (is )?torn, or no") as refusal:
        brats21(path).load("cpu")
    assert "\n" not in str(refusal.value)


def test_a_checkpoint_without_weights_or_of_another_network_is_refused(small_swin, tmp_path):
    path = tmp_path / "model.pt"
    torch.save({"epoch": 3}, path)
    with pytest.raises(NeuroprintError, match="holds no weights"):
        brats21(path).load("cpu")
    state = small_swin.state_dict()
    state["swinViT.norm.weight"] = state.pop("out.conv.conv.bias")
    torch.save(checkpoint(state), path)
    with pytest.raises(NeuroprintError, match=r"missing: out\.conv\.conv\.bias; left over: swinViT\.norm\.weight"):
        brats21(path).network("cpu")
    with pytest.raises(NeuroprintError, match=r"fit\); left over: swinViT\.norm\.weight"):
        brats21(path).load("cpu")  # whose levels need no head


def test_the_identity_is_the_files(small_swin, tmp_path):
    path = tmp_path / "model.pt"
    torch.save(checkpoint(small_swin.state_dict()), path)
    assert brats21(path).identity["weights"] == {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    with pytest.raises(NeuroprintError, match="not the expected file"):
        brats21(path, sha256="0" * 64).load("cpu")


def test_absent_weights_say_where_to_get_them(tmp_path):
    for weights in (tmp_path / "gone.zip", ""):
        with pytest.raises(NeuroprintError, match=r"encoder\.weights.*BRATS21.*fold1_f48_ep300_4gpu_dice0_9059\.zip"):
            brats21(weights)


@pytest.fixture
def served(small_swin, tmp_path):
    """An address of a checkpoint on this machine, the file, and how often it was asked for."""
    asked = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            asked.append(arguments)

    folder = tmp_path / "server"
    folder.mkdir()
    torch.save(checkpoint(small_swin.state_dict()), folder / "model.pt")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/model.pt", folder / "model.pt", asked
    server.shutdown()
    server.server_close()


def test_an_address_is_downloaded_once_and_kept(served, small_swin, tmp_path):
    address, file, asked = served
    cache = tmp_path / "cache"
    encoder = brats21(address, cache=str(cache))
    assert not asked and not cache.exists()  # only when it is needed
    loaded = encoder.network("cpu")
    assert torch.equal(loaded.out.conv.conv.weight, small_swin.out.conv.conv.weight)
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    assert brats21(address, cache=str(cache), sha256=sha256).identity == encoder.identity == brats21(file).identity
    brats21(address, cache=str(cache)).network("cpu")
    assert len(asked) == 1
    assert [path.name[9:] for path in cache.iterdir() if not path.name.startswith(".")] == ["model.pt"]


def test_a_file_address_is_an_address(served, tmp_path):
    _, file, _ = served
    assert brats21(file.as_uri(), cache=str(tmp_path / "cache")).identity == brats21(file).identity


def test_what_came_is_not_kept_unless_it_is_what_was_expected(served, tmp_path):
    address, _, _ = served
    cache = tmp_path / "cache"
    for wrong, said in ((address, "expected 000"), (f"{address}x", "cannot be downloaded .*404")):
        with pytest.raises(NeuroprintError, match=said) as refusal:
            brats21(wrong, cache=str(cache), sha256="0" * 64).network("cpu")
        assert "\n" not in str(refusal.value)
    assert not [path for path in cache.iterdir() if not path.name.endswith(".lock")]
    with pytest.raises(NeuroprintError, match="give a path, or an address"):
        brats21("ftp://somewhere/model.pt", cache=str(cache)).network("cpu")


@pytest.mark.parametrize("answer", [b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n"])
def test_a_server_that_talks_nonsense_is_named_in_one_line(tmp_path, answer):
    class Handler(BaseRequestHandler):
        def handle(self):
            self.request.recv(1000)
            self.request.sendall(answer)

    with TCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(NeuroprintError, match=r"encoder\.weights=http.*cannot be downloaded") as refusal:
            brats21(f"http://127.0.0.1:{server.server_address[1]}/model.pt", cache=str(tmp_path)).network("cpu")
        server.shutdown()
    assert "\n" not in str(refusal.value)


def test_a_download_that_can_be_altered_on_the_way_is_warned_of(served, tmp_path, caplog):
    address, file, _ = served
    for sha256, warned in ((hashlib.sha256(file.read_bytes()).hexdigest(), False), (None, True)):
        caplog.clear()
        brats21(address, cache=str(tmp_path / "cache"), sha256=sha256).network("cpu")
        assert ("http can be altered" in caplog.text) == warned


@pytest.fixture(scope="module")
def monai_bundle(tmp_path_factory):
    """A bundle as MONAI unpacks it, with random weights, and its network."""
    from monai.networks.nets import SegResNet

    with torch.random.fork_rng():
        torch.manual_seed(12)
        network = SegResNet(
            blocks_down=[1, 2, 2, 4],
            blocks_up=[1, 1, 1],
            init_filters=16,
            in_channels=4,
            out_channels=3,
            dropout_prob=0.2,
        ).eval()
    folder = tmp_path_factory.mktemp("brats_mri_segmentation")
    (folder / "models").mkdir()
    torch.save(network.state_dict(), folder / "models" / "model.pt")
    return folder, network


MONAI_ORDER = ("t1ce", "t1", "t2", "flair")


def test_the_monai_bundles_levels_are_its_encoders_stages(monai_bundle, batch):
    folder, network = monai_bundle
    encoder = SegResNetEncoder(MONAI_ORDER, str(folder))
    small = batch[:, :, :32]
    with torch.inference_mode():
        deepest, stages = network.encode(small)
        maps = encoder.load("cpu")(small)
        assert torch.equal(encoder.network("cpu")(small), network(small))
    assert torch.equal(maps[-1], deepest) and encoder.default_level == encoder.levels[-1].name
    for level, expected, found in zip(encoder.levels, stages, maps, strict=True):
        assert torch.equal(found, expected)
        assert found.shape[1:] == (level.channels, *(32 // level.stride,) * 3)


def test_the_monai_bundles_untrained_twin_is_its_network_on_seeded_weights(monai_bundle, batch):
    trained = SegResNetEncoder(MONAI_ORDER, str(monai_bundle[0]), spacing_mm=2.0)
    twin = untrained_twin(trained)
    assert not twin.trained and (twin.input, twin.levels) == (trained.input, trained.levels)
    assert twin.identity != trained.identity
    small = batch[:, :, :32]
    with torch.inference_mode():
        maps, again, other = (encoder.load("cpu")(small) for encoder in (twin, trained.untrained(), trained))
    for one, same, different in zip(maps, again, other, strict=True):
        assert torch.equal(one, same)
        assert one.shape == different.shape and not torch.equal(one, different)


def test_the_monai_bundle_sees_its_channels_in_its_own_order(monai_bundle):
    """A scan whose modalities come in another order reaches the network as t1ce, t1, t2, flair."""
    from neuroprint.embedding.extractor import Extractor
    from neuroprint.embedding.inferers import Whole

    spec = SegResNetEncoder(MONAI_ORDER, str(monai_bundle[0])).input
    assert spec.for_cohort(("flair", "t1", "t1ce", "t2")) == MONAI_ORDER
    assert (spec.spacing_mm, spec.normalization, spec.divisor) == (1.0, "nonzero_channelwise", 8)

    class Volume:
        modalities = ("flair", "t1", "t1ce", "t2")
        images = np.stack([np.random.default_rng(n).normal(size=(8, 8, 8)) for n in range(4)])
        affine = np.diag([-1.0, -1, 1, 1])

    encoder = SegResNetEncoder(MONAI_ORDER, str(monai_bundle[0]))
    extractor = Extractor(encoder, spec.for_cohort(Volume.modalities), Whole(), "fp32", {})
    seen = extractor.prepare(Volume, np.array([[0, 8]] * 3)).image
    for channel, name in zip(seen, ("t1ce", "t1", "t2", "flair"), strict=True):
        given = Volume.images[Volume.modalities.index(name)]
        np.testing.assert_allclose(channel, (given - given.mean()) / given.std(), atol=1e-5)


def test_a_monai_bundle_that_is_not_there_says_how_to_get_it(tmp_path):
    command = r"python -m monai\.bundle download --name brats_mri_segmentation --bundle_dir DIR"
    for folder in (None, str(tmp_path)):
        with pytest.raises(NeuroprintError, match=f"encoder.monai_bundle.*{command}.*give encoder.monai_bundle=DIR"):
            SegResNetEncoder(MONAI_ORDER, folder)


def test_another_networks_weights_are_no_monai_bundle(small_swin, tmp_path):
    (tmp_path / "models").mkdir()
    torch.save(small_swin.state_dict(), tmp_path / "models" / "model.pt")
    with pytest.raises(NeuroprintError, match=r"missing: .* and \d+ more; left over: .* and \d+ more"):
        SegResNetEncoder(MONAI_ORDER, str(tmp_path)).load("cpu")

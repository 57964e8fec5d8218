"""Networks of nnU-Net's family: files as nnU-Net and nnssl write them give the maps of the published networks."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from torch import nn

from neuroprint.encoders import unet_plan
from neuroprint.encoders.dynamic_unet import DynamicUNetEncoder
from neuroprint.encoders.nnunet import NnUNetEncoder
from neuroprint.encoders.openmind import RES_ENC_L, OpenMindEncoder
from neuroprint.encoders.twins import untrained_twin
from neuroprint.encoders.unet_plan import UNetPlan, network_axes
from neuroprint.errors import NeuroprintError

architectures = pytest.importorskip("dynamic_network_architectures.architectures.unet")

FEATURES, STRIDES, DEPTHS = [4, 8, 8], [[1, 1, 1], [2, 2, 2], [2, 2, 2]], [1, 2, 2]
COMMON = {
    "n_stages": 3,
    "features_per_stage": FEATURES,
    "kernel_sizes": [[3, 3, 3]] * 3,
    "strides": STRIDES,
    "n_conv_per_stage_decoder": [1, 1],
    "conv_bias": True,
    "norm_op_kwargs": {"eps": 1e-5, "affine": True},
    "dropout_op": None,
    "dropout_op_kwargs": None,
    "nonlin_kwargs": {"inplace": True},
}
NAMED = {
    "conv_op": "torch.nn.modules.conv.Conv3d",
    "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
    "nonlin": "torch.nn.LeakyReLU",
}
LAYERS = {"conv_op": nn.Conv3d, "norm_op": nn.InstanceNorm3d, "nonlin": nn.LeakyReLU}
DEPTH_OF = {"PlainConvUNet": "n_conv_per_stage", "ResidualEncoderUNet": "n_blocks_per_stage"}


def published(network, channels):
    """The authors' network with random weights."""
    torch.manual_seed(5)
    made = getattr(architectures, network)(
        channels, num_classes=3, deep_supervision=True, **COMMON, **LAYERS, **{DEPTH_OF[network]: DEPTHS}
    )
    with torch.no_grad():
        for value in made.parameters():  # no norm begins as the identity
            value.add_(0.1 * torch.randn(value.shape))
    return made.eval()


def new_configuration(network, **change):
    architecture = {
        "network_class_name": f"dynamic_network_architectures.architectures.unet.{network}",
        "arch_kwargs": {**COMMON, **NAMED, DEPTH_OF[network]: DEPTHS},
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }
    return {**configuration(), "architecture": architecture, **change}


def old_configuration(network, **change):
    """As plans were before nnU-Net 2.4.2."""
    described = {
        "UNet_class_name": network,
        "UNet_base_num_features": 4,
        "unet_max_num_features": 8,
        "n_conv_per_stage_encoder": DEPTHS,
        "n_conv_per_stage_decoder": [1, 1],
        "num_pool_per_axis": [2, 2, 2],
        "pool_op_kernel_sizes": STRIDES,
        "conv_kernel_sizes": [[3, 3, 3]] * 3,
    }
    return {**configuration(), **described, **change}


def configuration():
    return {
        "data_identifier": "nnUNetPlans_3d_fullres",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": [16, 16, 16],
        "median_image_size_in_voxels": [138.0, 170.0, 138.0],
        "spacing": [1.0, 1.0, 1.0],
        "normalization_schemes": ["ZScoreNormalization"] * 4,
        "use_mask_for_norm": [True] * 4,
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "batch_dice": False,
    }


CHANNELS = {"0": "FLAIR", "1": "T1w", "2": "T1-Gd", "3": "T2w"}


@pytest.fixture
def trained(tmp_path):
    """``trained(configuration, network)``: a folder as nnU-Net's training leaves it."""

    def write(chosen, network=None, channels=CHANNELS, configurations=None, **plans):
        folder = tmp_path / "nnUNetTrainer__nnUNetPlans__3d_fullres"
        (folder / "fold_0").mkdir(parents=True, exist_ok=True)
        content = {
            "dataset_name": "Dataset137_BraTS",
            "plans_name": "nnUNetPlans",
            "original_median_spacing_after_transp": [1.0, 1.0, 1.0],
            "image_reader_writer": "SimpleITKIO",
            "transpose_forward": [0, 1, 2],
            "transpose_backward": [0, 1, 2],
            "configurations": configurations or {"2d": {}, "3d_fullres": chosen},
            "experiment_planner_used": "ExperimentPlanner",
            "foreground_intensity_properties_per_channel": {"0": {"mean": 1.0}},
            **plans,
        }
        dataset = {"channel_names": channels, "labels": {"background": 0, "tumor": 1}, "file_ending": ".nii.gz"}
        (folder / "plans.json").write_text(json.dumps(content))
        (folder / "dataset.json").write_text(json.dumps(dataset))
        network = network or published("PlainConvUNet", len(channels))
        optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.99, nesterov=True)
        checkpoint = {  # nnUNetTrainer.save_checkpoint
            "network_weights": network.state_dict(),
            "optimizer_state": optimizer.state_dict(),
            "grad_scaler_state": {"scale": 65536.0, "growth_factor": 2.0, "_growth_tracker": 3},
            "logging": {
                "mean_fg_dice": [np.float64(0.8)],
                "train_losses": [np.float32(-0.5)],
                "dice_per_class_or_region": [[np.float64(0.7), np.float64(0.9)]],
                "lrs": [0.01],
            },
            "_best_ema": np.float64(0.81),
            "current_epoch": 1000,
            "init_args": {
                "plans": content,
                "configuration": "3d_fullres",
                "fold": 0,
                "dataset_json": dataset,
                "unpack_dataset": True,
                "device": torch.device("cpu"),
            },
            "trainer_name": "nnUNetTrainer",
            "inference_allowed_mirroring_axes": (0, 1, 2),
        }
        torch.save(checkpoint, folder / "fold_0" / "checkpoint_final.pth")
        return folder

    return write


def batch(channels):
    return torch.randn(2, channels, 16, 8, 16, generator=torch.Generator().manual_seed(1))


def check_maps(encoder, network, channels):
    """Every level's map is what the whole network's own stage gives, and has the shape that the level says."""
    image, expected = batch(channels), []
    stages = [
        stage.register_forward_hook(lambda _, __, out: expected.append(out.clone())) for stage in network.encoder.stages
    ]
    with torch.no_grad():
        network(image)
        found = encoder.load("cpu")(image)
    for stage in stages:
        stage.remove()
    assert len(found) == len(encoder.levels) == len(expected)
    for level, ours, theirs in zip(encoder.levels, found, expected, strict=True):
        assert ours.shape == (2, level.channels, *(size // level.stride for size in image.shape[2:]))
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("network", ["PlainConvUNet", "ResidualEncoderUNet"])
@pytest.mark.parametrize("layout", [new_configuration, old_configuration])
def test_a_trained_nnunet_gives_the_maps_of_its_own_stages(trained, network, layout):
    made = published(network, 4)
    encoder = NnUNetEncoder(str(trained(layout(network), made)))
    assert [(level.name, level.channels, level.stride) for level in encoder.levels] == [
        ("stage0", 4, 1),
        ("stage1", 8, 2),
        ("stage2", 8, 4),
    ]
    assert encoder.default_level == "stage2" and encoder.trained
    check_maps(encoder, made, 4)


def test_what_the_network_wants_to_see_is_the_plans(trained):
    folder = trained(new_configuration("PlainConvUNet"), transpose_forward=[2, 0, 1])
    read = NnUNetEncoder(str(folder)).input
    assert read.modalities == ("flair", "t1", "t1ce", "t2")
    assert (read.spacing_mm, read.normalization, read.divisor) == (1.0, "brain_channelwise", 4)
    assert read.orientation == "LSP"  # z, y, x of files in LPS, then transposed
    read = NnUNetEncoder(str(folder / "fold_0"), modalities=["t1ce", "t1", "t2", "flair"], spacing_mm=2).input
    assert (read.modalities, read.spacing_mm) == (("t1ce", "t1", "t2", "flair"), 2.0)


def test_an_inherited_configuration_and_a_file_in_a_fold_are_read(trained):
    configurations = {"base": new_configuration("PlainConvUNet"), "3d_bs4": {"inherits_from": "base", "batch_size": 4}}
    folder = trained(None, configurations=configurations)
    file = folder / "fold_0" / "checkpoint_final.pth"
    encoder = NnUNetEncoder(str(file), configuration="3d_bs4")
    assert encoder.weights.path == file
    assert encoder.identity == NnUNetEncoder(str(folder), configuration="base").identity


def test_a_network_of_one_channel_is_asked_per_series(trained):
    one = {"normalization_schemes": ["ZScoreNormalization"], "use_mask_for_norm": [False]}
    folder = trained(new_configuration("PlainConvUNet", **one), channels={"0": "T1"})
    alone, each = NnUNetEncoder(str(folder)).input, NnUNetEncoder(str(folder), per_series="mean").input
    assert (alone.modalities, alone.per_series, alone.normalization) == (("t1",), None, "box_channelwise")
    assert (each.modalities, each.per_series) == ((), "mean")


def test_stages_below_one_with_uneven_strides_are_no_levels(trained):
    chosen = new_configuration("PlainConvUNet")
    chosen["architecture"]["arch_kwargs"]["strides"] = [[1, 1, 1], [2, 2, 2], [1, 2, 2]]
    encoder = NnUNetEncoder(str(trained(chosen)))
    assert [level.name for level in encoder.levels] == ["stage0", "stage1"] and encoder.input.divisor == 2
    assert len(encoder.load("cpu")(batch(4))) == 2


def test_the_identity_covers_architecture_and_weights(trained):
    one = NnUNetEncoder(str(trained(new_configuration("PlainConvUNet")))).identity
    assert json.loads(json.dumps(one)) == one and len(one["weights"]["sha256"]) == 64
    other = NnUNetEncoder(
        str(trained(new_configuration("PlainConvUNet", spacing=[1, 1, 1]), published("PlainConvUNet", 4)))
    )
    assert other.identity["features_per_stage"] == FEATURES
    twin = untrained_twin(other)
    assert (twin.trained, twin.levels, twin.input) == (False, other.levels, other.input)
    assert twin.identity["weights"]["seed"] == 0 and twin.identity != other.identity
    maps = [twin.load("cpu")(batch(4))[-1] for _ in range(2)]
    assert torch.equal(*maps) and not torch.equal(maps[0], other.load("cpu")(batch(4))[-1])


def test_a_bundles_copy_needs_no_side_files(trained, tmp_path):
    from safetensors.torch import save_file

    encoder = NnUNetEncoder(str(trained(new_configuration("ResidualEncoderUNet"), published("ResidualEncoderUNet", 4))))
    copy = tmp_path / "elsewhere" / "0.safetensors"
    copy.parent.mkdir()
    save_file({name: tensor.clone() for name, tensor in encoder.weights.load().items()}, copy)
    carried = json.loads(json.dumps(encoder.carried))
    again = NnUNetEncoder(str(copy), **carried)
    assert (again.input, again.levels) == (encoder.input, encoder.levels)
    for one, other in zip(again.load("cpu")(batch(4)), encoder.load("cpu")(batch(4)), strict=True):
        assert torch.equal(one, other)


def wrong(what):
    chosen = new_configuration("PlainConvUNet")
    arguments = chosen["architecture"]["arch_kwargs"]
    if what == "class":
        chosen["architecture"]["network_class_name"] = "os.system"
    elif what == "other":
        chosen["architecture"]["network_class_name"] = "dynamic_network_architectures.architectures.primus.Primus"
    elif what == "layer":
        arguments["nonlin"] = "subprocess.Popen"
    elif what == "slices":
        arguments["conv_op"] = "torch.nn.modules.conv.Conv2d"
    elif what == "argument":
        arguments["block"] = "x.Y"
    elif what == "ct":
        chosen["normalization_schemes"] = ["CTNormalization"] * 4
    elif what == "cubes":
        chosen["spacing"] = [3.0, 0.9, 0.9]
    elif what == "key":
        del chosen["normalization_schemes"]
    elif what == "uneven":
        arguments["strides"] = [[1, 2, 2], [2, 2, 2], [2, 2, 2]]
    return chosen


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("class", r"plans\.json: the network os\.system is not of dynamic_network_architectures"),
        ("other", "the network Primus is none of PlainConvUNet"),
        ("layer", r"nonlin=subprocess\.Popen: must be one of torch\.nn's LeakyReLU"),
        ("slices", r"conv_op=torch\.nn\.modules\.conv\.Conv2d: must be one of torch\.nn's Conv3d"),
        ("argument", "arguments that are not known here: block"),
        ("ct", r"plans\.json: normalization CTNormalization"),
        ("cubes", r"trained on voxels of 3 x 0\.9 x 0\.9 mm.*encoder\.spacing_mm=1\.0"),
        ("key", r"plans\.json: not plans of nnU-Net v2 .*'normalization_schemes'"),
        ("uneven", "no stage has one stride along all axes"),
    ],
)
def test_plans_that_are_not_known_here_are_refused_in_one_line(trained, what, said):
    with pytest.raises(NeuroprintError, match=said) as refusal:
        NnUNetEncoder(str(trained(wrong(what))))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"fold": 3}, r"fold_3/checkpoint_final\.pth: there is no such file; train that fold"),
        ({"configuration": "3d_lowres"}, r"configuration=3d_lowres: there is 2d, 3d_fullres"),
        ({"modalities": ["t1"]}, r"modalities=\[t1\]: the network has 4 channels, flair, t1, t1ce, t2"),
        ({"per_series": "concat"}, "per_series=concat: the network has 4 channels"),
        ({"orientation": "LLS"}, "orientation=LLS: give a letter of each"),
        ({"weights": None}, "encoder.weights is missing; give a trained folder"),
        ({"weights": "gone"}, "weights=gone: there is no such folder"),
    ],
)
def test_choices_that_do_not_fit_are_refused(trained, change, said):
    folder = trained(new_configuration("PlainConvUNet"))
    with pytest.raises(NeuroprintError, match=said):
        NnUNetEncoder(**{"weights": str(folder), **change})


def test_weights_of_another_network_are_refused_in_one_line(trained):
    folder = trained(new_configuration("PlainConvUNet"), published("ResidualEncoderUNet", 4))
    with pytest.raises(
        NeuroprintError, match=r"checkpoint_final\.pth: these weights are not of this network"
    ) as refusal:
        NnUNetEncoder(str(folder)).load("cpu")
    assert "\n" not in str(refusal.value)


def test_a_missing_package_is_named(trained, monkeypatch):
    folder = trained(new_configuration("PlainConvUNet"))
    monkeypatch.setattr(unet_plan, "find_spec", lambda name: None)
    with pytest.raises(NeuroprintError, match=r"pip install 'neuroprint\[nnunet\]'"):
        NnUNetEncoder(str(folder))


def nnssl_plan(**change):
    """``AdaptationPlan.serialize()`` of nnssl."""
    return {
        "architecture_plans": {"arch_class_name": "ResEncL", "arch_kwargs": None, "arch_kwargs_requiring_import": None},
        "pretrain_plan": {
            "dataset_name": "Dataset745_OpenMind",
            "plans_name": "nnsslPlans",
            "image_reader_writer": "SimpleITKIO",
            "transpose_forward": [0, 1, 2],
            "configurations": {
                "onemmiso": {
                    "spacing_style": "onemmiso",
                    "normalization_schemes": ["ZScoreNormalization"],
                    "use_mask_for_norm": [False],
                    "spacing": [1, 1, 1],
                    "patch_size": [160, 160, 160],
                }
            },
        },
        "pretrain_num_input_channels": 1,
        "recommended_downstream_patchsize": [160, 160, 160],
        "key_to_encoder": "encoder.stages",
        "key_to_stem": "encoder.stem",
        "keys_to_in_proj": ["encoder.stem.convs.0.conv", "encoder.stem.convs.0.all_modules.0"],
        "key_to_lpe": None,
        **change,
    }


SMALL = {"arch_class_name": "ResidualEncoderUNet", "arch_kwargs": {**COMMON, **NAMED, "n_blocks_per_stage": DEPTHS}}


@pytest.fixture
def pretrained(tmp_path):
    """``pretrained(plan, state)``: a folder as it is published."""

    def write(plan, state):
        checkpoint = {
            "network_weights": state,
            "nnssl_adaptation_plan": plan,
            "trainer_name": "BaseMAETrainer",
            "init_args": {"configuration_name": "onemmiso", "fold": "all"},
            "citations": [{"type": "Pretraining Method", "name": "MAE", "apa_citations": ["He et al."]}],
        }
        torch.save(checkpoint, tmp_path / "checkpoint_final.pth")
        if plan:
            (tmp_path / "adaptation_plan.json").write_text(json.dumps(plan))
        return tmp_path / "checkpoint_final.pth"

    return write


@pytest.mark.parametrize("form", ["whole network", "encoder alone", "distributed"])
def test_an_nnssl_checkpoint_gives_the_maps_of_its_own_stages(pretrained, form):
    made = published("ResidualEncoderUNet", 1)
    state = made.state_dict()
    if form == "encoder alone":  # contrastive methods train no decoder
        state = {name: value for name, value in state.items() if name.startswith("encoder.")}
    if form == "distributed":
        state = {f"module.{name}": value for name, value in state.items()}
    encoder = OpenMindEncoder(str(pretrained(nnssl_plan(architecture_plans=SMALL), state)))
    check_maps(encoder, made, 1)
    read = encoder.input
    assert (read.modalities, read.per_series, read.channels) == ((), "concat", 1)
    assert (read.spacing_mm, read.normalization, read.divisor) == (1.0, "box_channelwise", 4)


def test_resenc_l_has_the_published_stages(pretrained):
    made = architectures.ResidualEncoderUNet(
        1,
        num_classes=1,
        n_conv_per_stage_decoder=1,
        **LAYERS,
        **{k: v for k, v in RES_ENC_L.arguments.items() if k not in LAYERS},
    )
    wanted = {name: value.shape for name, value in made.encoder.state_dict().items()}
    assert {name: value.shape for name, value in RES_ENC_L.build().state_dict().items()} == wanted
    assert len(wanted) == 448  # tensors of the published encoders
    encoder = OpenMindEncoder(str(pretrained(nnssl_plan(), {})))
    assert [(level.channels, level.stride) for level in encoder.levels] == [
        (32, 1),
        (64, 2),
        (128, 4),
        (256, 8),
        (320, 16),
        (320, 32),
    ]
    assert encoder.plan == replace(RES_ENC_L, orientation="SPL")


def test_weights_without_a_plan_are_those_of_resenc_l_on_openmind(pretrained, tmp_path):
    assert OpenMindEncoder(str(pretrained({}, {}))).plan == RES_ENC_L
    assert OpenMindEncoder("https://huggingface.co/x/checkpoint_final.pth").plan == RES_ENC_L
    old = {"architecture_name": "ResEncL", "num_input_channels": 1, "input_patch_size": [160, 160, 160]}
    assert OpenMindEncoder(str(pretrained(old, {}))).plan == RES_ENC_L


def test_a_plan_on_the_scans_own_grids_keeps_them(pretrained):
    plan = nnssl_plan()
    plan["pretrain_plan"]["configurations"] = {
        "noresample": {"spacing": None, "normalization_schemes": "ZScoreNormalization"}
    }
    assert OpenMindEncoder(str(pretrained(plan, {}))).input.spacing_mm is None


def test_a_transformers_plan_and_other_weights_are_refused(pretrained):
    primus = {"arch_class_name": "PrimusM", "arch_kwargs": None, "arch_kwargs_requiring_import": None}
    with pytest.raises(NeuroprintError, match="the network PrimusM is none of"):
        OpenMindEncoder(str(pretrained(nnssl_plan(architecture_plans=primus), {})))
    path = pretrained(nnssl_plan(architecture_plans=SMALL), {"eva.pos_embed": torch.zeros(1, 8, 4)})
    with pytest.raises(NeuroprintError, match="these weights are not of this network"):
        OpenMindEncoder(str(path)).load("cpu")
    with pytest.raises(NeuroprintError, match=r"ResEncL-OpenMind-MAE.*adaptation_plan\.json"):
        OpenMindEncoder(None)


def test_a_plan_survives_json():
    assert UNetPlan(**json.loads(json.dumps(asdict(RES_ENC_L)))) == RES_ENC_L
    assert network_axes((0, 1, 2), "NibabelIO", "RAS") == "SAR"
    assert DynamicUNetEncoder(RES_ENC_L, OpenMindEncoder("https://a/b.pth").input).carried["plan"]["network"]

"""Each entry for published weights goes through a sweep, a leaderboard, an export and a query."""

import json
import os
import shutil

import pytest
import torch

pytest.importorskip("dynamic_network_architectures")

ENTRIES = ("nnunet", "openmind_resenc", "medicalnet", "brainsegfounder", "brainiac")
UNET = {
    "n_stages": 3,
    "features_per_stage": [4, 8, 8],
    "conv_op": "torch.nn.Conv3d",
    "kernel_sizes": [[3, 3, 3]] * 3,
    "strides": [[1, 1, 1], [2, 2, 2], [2, 2, 2]],
    "conv_bias": True,
    "norm_op": "torch.nn.InstanceNorm3d",
    "norm_op_kwargs": {"affine": True},
    "nonlin": "torch.nn.LeakyReLU",
}
PLAIN, RESIDUAL = {**UNET, "n_conv_per_stage": [1, 1, 1]}, {**UNET, "n_blocks_per_stage": [1, 1, 1]}
PLANS = {
    "image_reader_writer": "SimpleITKIO",
    "transpose_forward": [0, 1, 2],
    "configurations": {
        "3d_fullres": {
            "spacing": [6.0, 6.0, 6.0],
            "normalization_schemes": ["ZScoreNormalization"] * 4,
            "use_mask_for_norm": [True] * 4,
            "architecture": {
                "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
                "arch_kwargs": PLAIN,
            },
        }
    },
}
NAMES = {"0": "FLAIR", "1": "T1w", "2": "T1gd", "3": "T2w"}
ADAPTATION = {
    "architecture_plans": {"arch_class_name": "ResidualEncoderUNet", "arch_kwargs": RESIDUAL},
    "pretrain_num_input_channels": 1,
}


def write_weights(folder):
    """Files as their authors publish them, of small networks; for each entry what it is to be told."""
    from monai.networks.nets import SwinUNETR, ViT, resnet10

    from neuroprint.encoders.unet_plan import UNetPlan

    def save(name, key, network, prefix):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        torch.save({key: {f"{prefix}{part}": value for part, value in network.state_dict().items()}}, folder / name)
        return folder / name

    nnunet = save(
        "nn/fold_0/checkpoint_final.pth", "network_weights", UNetPlan("PlainConvUNet", PLAIN, 4).build(), "encoder."
    )
    (folder / "nn" / "plans.json").write_text(json.dumps(PLANS))
    (folder / "nn" / "dataset.json").write_text(json.dumps({"channel_names": NAMES}))
    residual = UNetPlan("ResidualEncoderUNet", RESIDUAL, 1).build()
    openmind = save("om/checkpoint_final.pth", "network_weights", residual, "encoder.")
    (folder / "om" / "adaptation_plan.json").write_text(json.dumps(ADAPTATION))
    resnet = resnet10(n_input_channels=1, feed_forward=False, bias_downsample=False)
    vit = ViT(in_channels=1, img_size=96, patch_size=16, hidden_size=48, mlp_dim=192, num_layers=2, num_heads=4)
    swin = SwinUNETR(in_channels=4, out_channels=3, feature_size=12, window_size=4)
    coarse = {"spacing_mm": 6.0}
    return {
        "nnunet": {"weights": str(nnunet.parents[1])},
        "openmind_resenc": {"weights": str(openmind), **coarse},
        "medicalnet": {"weights": str(save("m.pth", "state_dict", resnet, "module.")), "depth": 10, **coarse},
        "brainsegfounder": {
            "weights": str(save("b.pt", "state_dict", swin, "")),
            **{"feature_size": 12, "window_size": 4, **coarse},
        },
        "brainiac": {
            "weights": str(save("b.ckpt", "state_dict", vit, "backbone.")),
            **{"width": 48, "depth": 2, "heads": 4, "per_series": ["t1"], **coarse},
        },
    }


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return tmp_path_factory.mktemp("published")


@pytest.fixture(scope="module")
def neuroprint(warm, project):
    def run(*arguments):
        return warm.run(project, {**os.environ, "NEUROPRINT_CACHE": str(project / "cache")}, "neuroprint", *arguments)

    return run


@pytest.fixture(scope="module")
def weights(project):
    return write_weights(project / "weights")


@pytest.fixture(scope="module")
def swept(neuroprint, project, small_cohort, weights):
    """Run ids by entry. An entry of the user's own that gives the weights stands on each."""
    entries = project / "conf" / "encoder"
    entries.mkdir(parents=True)
    for name in ENTRIES:
        values = "\n".join(f"{key}: {json.dumps(value)}" for key, value in weights[name].items())
        (entries / f"my_{name}.yaml").write_text(f"defaults:\n  - {name}\n  - _self_\n\n{values}\n")
    chosen = ",".join(f"my_{name}" for name in ENTRIES)
    done = neuroprint("run", "-m", "dataset=brats", f"dataset.root={small_cohort}", f"encoder={chosen}", "folds=3")
    assert done.returncode == 0, done.stderr
    (board,) = json.loads(neuroprint("leaderboard", "--json").stdout)["leaderboards"]
    found = {row["encoder"]: row for row in board["rows"] if row["role"] == "candidate"}
    assert set(found) == {f"my_{name}" for name in ENTRIES}
    assert sum("untrained" in row["name"] for row in board["rows"]) >= 1  # the best one's twin
    return {name.removeprefix("my_"): row["run_id"] for name, row in found.items()}


@pytest.mark.slow
@pytest.mark.parametrize("entry", ENTRIES)
def test_a_swept_entry_is_exported_and_asked_without_its_files(
    neuroprint, project, small_cohort, swept, weights, entry
):
    case = sorted(small_cohort.iterdir())[3]
    export = ("export", entry, "--run", swept[entry], "--anyway", "--set", f"dataset.root={small_cohort}")
    weighty = project / "weights"
    exported = neuroprint(*export, "--set", f"encoder.weights={weights[entry]['weights']}")
    assert exported.returncode == 0, exported.stderr
    shutil.move(weighty, project / "away")
    try:
        found = neuroprint("query", entry, str(case), "--json", "-k", "3")
    finally:
        shutil.move(project / "away", weighty)
    assert found.returncode == 0, found.stderr
    nearest = json.loads(found.stdout)["neighbours"][0]
    assert nearest["case"] == case.name and nearest["similarity"] == pytest.approx(1, abs=1e-4)

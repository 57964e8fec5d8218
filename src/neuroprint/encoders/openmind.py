"""ResEnc-L as pretrained on OpenMind, 114,000 volumes of brains, without labels.

Wald et al. 2025, An OpenMind for 3D medical vision self-supervised learning, arXiv:2412.17041; github.com/MIC-DKFZ/nnssl,
huggingface.co/AnonRes. The weights are under CC BY 4.0. Their card does not recommend them as they are, without fine-tuning,
for features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from neuroprint.encoders.base import PerSeries
from neuroprint.encoders.dynamic_unet import DynamicUNetEncoder, PlannedSpacing, carried_plan, planned_input
from neuroprint.encoders.unet_plan import UNetPlan, network_axes, read_json, require_package, z_score
from neuroprint.encoders.weights_file import WeightsFile
from neuroprint.errors import NeuroprintError

_PLAN = "adaptation_plan.json"
_FIXED = ("ResEncL", "NoSkipResEncL")  # the second has another decoder
_WHERE_TO_GET = (
    "get checkpoint_final.pth of huggingface.co/AnonRes/ResEncL-OpenMind-MAE, or of another method in the place of MAE, and "
    "its adaptation_plan.json, and give encoder.weights=DIR/checkpoint_final.pth, or the address as it is"
)

RES_ENC_L = UNetPlan(
    "ResidualEncoderUNet",
    {
        "n_stages": 6,
        "features_per_stage": [32, 64, 128, 256, 320, 320],
        "conv_op": "torch.nn.Conv3d",
        "kernel_sizes": [[3, 3, 3]] * 6,
        "strides": [[1, 1, 1], *[[2, 2, 2]] * 5],
        "n_blocks_per_stage": [1, 3, 4, 6, 6, 6],
        "conv_bias": True,
        "norm_op": "torch.nn.InstanceNorm3d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    },
    channels=1,
)
"""ResEnc-L as nnssl builds it: Wald et al. 2025, arXiv:2410.23132; 1 mm, z-score over the whole box."""


class OpenMindEncoder(DynamicUNetEncoder):
    """The encoder of a network that nnssl has pretrained. Levels are its six stages, at strides 1 to 32.

    The file ``adaptation_plan.json`` gives the architecture, the spacing and the normalization. It lies beside the weights or
    one folder above. An address has no such file: then the network is ResEnc-L, on voxels of 1 mm, and each scan is z-scored
    over the whole box around the head.

    Args:
        weights: As :class:`~neuroprint.encoders.weights_file.WeightsFile` takes them.
        modalities: Series to look at; empty for all that the cohort has.
        per_series: See :class:`~neuroprint.encoders.base.InputSpec`.
        spacing_mm: Edge of the voxels; ``plan`` for the plan's, None for the scan's own grid.
        orientation: Direction of the axes x, y, z of the training files, which were of many directions.
        sha256: Of the file, which is then refused if it is another; None takes it as it is.
        cache: Folder for weights that are downloaded.
        plan: In the place of ``adaptation_plan.json``: a bundle carries it.

    Raises:
        NeuroprintError: The package is missing, or the file; or the plan is of another network, such as Primus.

    Example:
        >>> OpenMindEncoder("ResEncL-OpenMind-MAE/checkpoint_final.pth")
        Traceback (most recent call last):
        ...
        neuroprint.errors.NeuroprintError: encoder.weights=ResEncL-OpenMind-MAE/...: there is no such file; get ...
    """

    def __init__(
        self,
        weights: str | None,
        modalities: Sequence[str] = (),
        per_series: PerSeries = "concat",
        spacing_mm: PlannedSpacing = "plan",
        orientation: str = "LPS",
        sha256: str | None = None,
        cache: str = ".neuroprint/weights",
        plan: Mapping[str, Any] | None = None,
    ) -> None:
        if not weights:
            raise NeuroprintError(f"encoder.weights is missing; {_WHERE_TO_GET}")
        file = WeightsFile(weights, sha256, cache, where_to_get=_WHERE_TO_GET)
        require_package("openmind_resenc")
        found = carried_plan(plan) if plan is not None else _read_plan(Path(weights).expanduser(), orientation)
        super().__init__(found, planned_input(found, modalities, per_series, spacing_mm), file)


def _read_plan(weights: Path, orientation: str) -> UNetPlan:
    """The plan beside a file of weights, as nnssl writes it today and as it wrote it at first."""
    path = next((folder / _PLAN for folder in weights.parents[:2] if (folder / _PLAN).is_file()), None)
    if path is None:
        return replace(RES_ENC_L, orientation=network_axes((0, 1, 2), "", orientation))
    content = read_json(path)
    try:
        if "architecture_plans" in content:
            network, arguments = (content["architecture_plans"].get(key) for key in ("arch_class_name", "arch_kwargs"))
            channels, pretrained = content["pretrain_num_input_channels"], content.get("pretrain_plan", {})
        else:
            network, arguments = content["architecture_name"], content.get("architecture_kwargs")
            channels, pretrained = content["num_input_channels"], {}
        if network in _FIXED:
            network, arguments = RES_ENC_L.network, RES_ENC_L.arguments
        found = UNetPlan(str(network), dict(arguments or {}), int(channels))
        configurations = list(pretrained.get("configurations", {}).values())
        chosen = configurations[0] if configurations else {}
        axes = pretrained.get("transpose_forward", (0, 1, 2)), str(pretrained.get("image_reader_writer", ""))
        schemes, masked = chosen.get("normalization_schemes"), chosen.get("use_mask_for_norm", False)
        return replace(
            found,
            spacing_mm=chosen.get("spacing", RES_ENC_L.spacing_mm),
            normalization=z_score(schemes, masked, str(path)) if schemes else RES_ENC_L.normalization,
            orientation=network_axes(*axes, orientation),
        )
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise NeuroprintError(
            f"{path}: not an adaptation plan that is known here ({type(error).__name__}: {error})"
        ) from error

"""The encoder of a network that nnU-Net v2 has trained (Isensee et al. 2021, doi:10.1038/s41592-020-01008-z)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from neuroprint.encoders.base import PerSeries
from neuroprint.encoders.dynamic_unet import DynamicUNetEncoder, PlannedSpacing, carried_plan, planned_input
from neuroprint.encoders.unet_plan import UNetPlan, network_axes, read_json, require_package, z_score
from neuroprint.encoders.weights_file import WeightsFile
from neuroprint.errors import NeuroprintError

_EXPECTED = "a trained folder of nnU-Net v2, with plans.json, dataset.json and fold_0/checkpoint_final.pth in it"
_NETWORKS = "dynamic_network_architectures.architectures."
_SPELLINGS = {
    "flair": "flair",
    "t2flair": "flair",
    "t2f": "flair",
    "t1": "t1",
    "t1w": "t1",
    "t1n": "t1",
    "t1ce": "t1ce",
    "t1c": "t1ce",
    "t1gd": "t1ce",
    "t1wce": "t1ce",
    "t2": "t2",
    "t2w": "t2",
}


class NnUNetEncoder(DynamicUNetEncoder):
    """The stages of a trained nnU-Net, read from its folder, from files of version 2.0 on. nnU-Net itself is not needed.

    Architecture, channels, spacing and normalization are the plan's. Scans are resampled linearly, where nnU-Net takes cubic
    splines. A stage from which on strides differ along the axes is no level, nor is one below it.

    Args:
        weights: The folder ``TRAINER__PLANS__CONFIGURATION``, or a file in one of its folds.
        fold: Which of the trained networks, a number or ``all``. Each saw the patients of the other folds.
        checkpoint: File in the fold's folder.
        configuration: Of the plans.
        modalities: Series in the network's channel order; empty for those that ``dataset.json`` names, as FLAIR, T1w or t1gd.
        per_series: For a network of one channel, see :class:`~neuroprint.encoders.base.InputSpec`.
        spacing_mm: Edge of the voxels; ``plan`` for the plan's, None for the scan's own grid.
        orientation: Direction of the axes x, y, z of the training files, which the plan does not say. BraTS has LPS.
        sha256: Of the checkpoint, which is then refused if it is another; None takes it as it is.
        plan: In the place of ``plans.json`` and ``dataset.json``: a bundle carries it.

    Raises:
        NeuroprintError: The package is missing, or a file; or the plan says what is not known here.

    Example:
        >>> NnUNetEncoder("nnUNet_results/Dataset137_BraTS/nnUNetTrainer__nnUNetPlans__3d_fullres")
        Traceback (most recent call last):
        ...
        neuroprint.errors.NeuroprintError: encoder.weights=nnUNet_results/...: there is no such folder or file; give a ...
    """

    def __init__(
        self,
        weights: str | None,
        fold: int | str = 0,
        checkpoint: str = "checkpoint_final.pth",
        configuration: str = "3d_fullres",
        modalities: Sequence[str] = (),
        per_series: PerSeries = None,
        spacing_mm: PlannedSpacing = "plan",
        orientation: str = "LPS",
        sha256: str | None = None,
        plan: Mapping[str, Any] | None = None,
    ) -> None:
        if not weights:
            raise NeuroprintError(f"encoder.weights is missing; give {_EXPECTED}")
        place = Path(weights).expanduser()
        if not place.exists():
            raise NeuroprintError(f"encoder.weights={weights}: there is no such folder or file; give {_EXPECTED}")
        require_package("nnunet")
        found = carried_plan(plan) if plan is not None else _read_plan(place, configuration, orientation)
        file = place / f"fold_{fold}" / checkpoint if (place / "plans.json").is_file() else place
        file = file / checkpoint if file.is_dir() else file
        super().__init__(
            found,
            planned_input(found, modalities, per_series, spacing_mm),
            WeightsFile(str(file), sha256, where_to_get="train that fold, or name one by encoder.fold"),
        )


def _plans_file(place: Path) -> Path:
    """The plans in the folder that was given, or above it."""
    for folder in (place, *place.parents[:2]):
        if (folder / "plans.json").is_file():
            return folder / "plans.json"
    raise NeuroprintError(f"encoder.weights={place}: there is no plans.json in it, nor above it; give {_EXPECTED}")


def _read_plan(place: Path, configuration: str, orientation: str) -> UNetPlan:
    path = _plans_file(place)
    plans, dataset = read_json(path), read_json(path.with_name("dataset.json"))
    try:
        chosen = _inherited(plans["configurations"], configuration, path)
        network, arguments = _architecture(chosen, path)
        given = dataset["channel_names"] if "channel_names" in dataset else dataset["modality"]
        names = [str(given[key]) for key in sorted(given, key=int)]
        return UNetPlan(
            network,
            arguments,
            channels=len(names),
            names=tuple(_our_name(name) for name in names),
            spacing_mm=tuple(float(size) for size in chosen["spacing"]),
            normalization=z_score(chosen["normalization_schemes"], chosen["use_mask_for_norm"], str(path)),
            orientation=network_axes(plans["transpose_forward"], plans["image_reader_writer"], orientation),
        )
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise NeuroprintError(
            f"{path}: not plans of nnU-Net v2 that are known here ({type(error).__name__}: {error})"
        ) from error


def _inherited(configurations: Mapping[str, Any], name: str, path: Path) -> dict[str, Any]:
    """A configuration with those that it inherits from merged in."""
    merged: dict[str, Any] = {}
    passed: list[str] = []
    while name:
        if name not in configurations or name in passed:
            raise NeuroprintError(f"{path}: encoder.configuration={name}: there is {', '.join(configurations)}")
        passed.append(name)
        merged = {**configurations[name], **merged}
        name = str(configurations[name].get("inherits_from", ""))
    return merged


def _architecture(chosen: Mapping[str, Any], path: Path) -> tuple[str, dict[str, Any]]:
    """The network and its arguments, of plans since nnU-Net 2.4.2 and of older ones."""
    published = chosen.get("architecture")
    if published is not None:
        name = str(published["network_class_name"])
        if not name.startswith(_NETWORKS):
            raise NeuroprintError(f"{path}: the network {name[:80]} is not of {_NETWORKS[:-1]}: it is not known here")
        return name.rpartition(".")[2], dict(published["arch_kwargs"])
    network, depths = str(chosen["UNet_class_name"]), list(chosen["n_conv_per_stage_encoder"])
    first, most = chosen["UNet_base_num_features"], chosen["unet_max_num_features"]
    if len(chosen["patch_size"]) != 3:
        raise NeuroprintError(f"{path}: a network for slices; choose a configuration in three dimensions")
    return network, {
        "n_stages": len(depths),
        "features_per_stage": [min(first * 2**stage, most) for stage in range(len(depths))],
        "conv_op": "torch.nn.Conv3d",
        "kernel_sizes": chosen["conv_kernel_sizes"],
        "strides": chosen["pool_op_kernel_sizes"],
        "n_conv_per_stage" if network == "PlainConvUNet" else "n_blocks_per_stage": depths,
        "conv_bias": True,
        "norm_op": "torch.nn.InstanceNorm3d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }


def _our_name(channel: str) -> str:
    """``T1-Gd`` is our ``t1ce``; a channel that is none of BraTS's keeps its name, in small letters."""
    small = channel.lower()
    return _SPELLINGS.get("".join(filter(str.isalnum, small)), small)

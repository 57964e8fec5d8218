"""A network and its input as a plan of nnU-Net's family describes them, and the encoder built from it.

Plans name classes, and a plan may come from anywhere: only the names that are listed here are ever looked up.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuroprint.encoders.base import Level, Normalization
from neuroprint.errors import NeuroprintError

if TYPE_CHECKING:
    from torch.nn import Module

# Of each network: the encoder's module in dynamic_network_architectures.building_blocks, its class, how its depth is called.
_ENCODERS = {
    "PlainConvUNet": ("plain_conv_encoder", "PlainConvEncoder", "n_conv_per_stage"),
    "ResidualEncoderUNet": ("residual_encoders", "ResidualEncoder", "n_blocks_per_stage"),
    "ResidualUNet": ("residual_encoders", "ResidualEncoder", "n_blocks_per_stage"),
}
_LAYERS = {
    "conv_op": ("Conv3d",),
    "norm_op": ("InstanceNorm3d", "BatchNorm3d"),
    "dropout_op": ("Dropout3d",),
    "nonlin": ("LeakyReLU", "ReLU", "GELU", "ELU", "SiLU"),
}
_PLAIN = ("n_stages", "features_per_stage", "kernel_sizes", "strides", "conv_bias", "stem_channels", "nonlin_first")
_OF_LAYERS = ("norm_op_kwargs", "dropout_op_kwargs", "nonlin_kwargs")
_OF_DECODER = ("n_conv_per_stage_decoder", "deep_supervision")
_DIRECTIONS = ("LR", "AP", "IS")


@dataclass(frozen=True)
class UNetPlan:
    """A network and what it wants to see.

    Attributes:
        network: ``PlainConvUNet``, ``ResidualEncoderUNet`` or ``ResidualUNet`` of the package dynamic-network-architectures.
        arguments: Of the encoder, as plans have them: layers are named as text, such as ``torch.nn.LeakyReLU``.
        channels: Number of input channels.
        names: Our names of these, in their order; empty where the network takes any series.
        spacing_mm: Voxel size along the network's axes; None for a network that was trained on the scans' own grids.
        normalization: See :class:`~neuroprint.encoders.base.InputSpec`.
        orientation: Direction of each of the network's axes.

    Raises:
        NeuroprintError: It names what is not known here, or no level has one stride along all axes.

    Example:
        >>> arguments = {"n_stages": 2, "features_per_stage": [32, 64], "strides": [1, 2]}
        >>> UNetPlan("PlainConvUNet", arguments, channels=4).levels
        (Level(name='stage0', channels=32, stride=1), Level(name='stage1', channels=64, stride=2))
    """

    network: str
    arguments: Mapping[str, Any]
    channels: int
    names: Sequence[str] = ()
    spacing_mm: Sequence[float] | None = (1.0, 1.0, 1.0)
    normalization: Normalization = "box_channelwise"
    orientation: str = "SPL"

    def __post_init__(self) -> None:
        if self.network not in _ENCODERS:
            raise NeuroprintError(
                f"plan: the network {str(self.network)[:80]} is none of {', '.join(_ENCODERS)}: its encoder is not known here"
            )
        known = (*_PLAIN, *_LAYERS, *_OF_LAYERS, _ENCODERS[self.network][2])
        kept = {name: value for name, value in self.arguments.items() if name not in _OF_DECODER and value is not None}
        unknown = [name for name in kept if name not in known]
        if unknown:
            raise NeuroprintError(
                f"plan: {self.network} has arguments that are not known here: {', '.join(unknown)[:160]}"
            )
        for name, layers in _LAYERS.items():
            found = re.fullmatch(r"torch\.nn\.(?:[\w.]+\.)?(\w+)", str(kept.get(name, f"torch.nn.{layers[0]}")))
            if found is None or found[1] not in layers:
                raise NeuroprintError(
                    f"plan: {name}={str(kept[name])[:80]}: must be one of torch.nn's {', '.join(layers)}"
                )
        # As JSON has it, so that a plan that was carried in a bundle is the same.
        object.__setattr__(self, "arguments", json.loads(json.dumps(kept)))
        for key in ("names", "spacing_mm"):
            object.__setattr__(self, key, None if getattr(self, key) is None else tuple(getattr(self, key)))
        if len(self.levels) == 0:
            raise NeuroprintError(f"plan: no stage has one stride along all axes (strides {self.arguments['strides']})")

    @property
    def levels(self) -> tuple[Level, ...]:
        """The encoder's stages, down to where the strides along the axes begin to differ."""
        count = self.arguments["n_stages"]
        stride, found = [1, 1, 1], []
        for stage, (width, step) in enumerate(
            zip(*(_each(self.arguments[name], count) for name in ("features_per_stage", "strides")), strict=True)
        ):
            stride = [one * more for one, more in zip(stride, _each(step, 3), strict=True)]
            if len(set(stride)) > 1:
                break
            found.append(Level(f"stage{stage}", int(width), int(stride[0])))
        return tuple(found)

    def build(self) -> Module:
        """The encoder with freshly initialized weights; ``stem``, where it has one, and ``stages``."""
        from importlib import import_module

        from torch import nn

        module, name, _ = _ENCODERS[self.network]
        made = getattr(import_module(f"dynamic_network_architectures.building_blocks.{module}"), name)
        layers = {key: getattr(nn, self.arguments[key].rpartition(".")[2]) for key in _LAYERS if key in self.arguments}
        encoder: Module = made(self.channels, **{**self.arguments, **layers}, return_skips=True)
        return encoder


def z_score(schemes: Any, masked: Any, where: str) -> Normalization:
    """Ours of nnU-Net's ``normalization_schemes`` and ``use_mask_for_norm``.

    Raises:
        NeuroprintError: The schemes are others than the z-score, or differ between channels.
    """
    named = {schemes} if isinstance(schemes, str) else set(schemes)
    within = {masked} if isinstance(masked, bool) else set(masked)
    if named != {"ZScoreNormalization"} or len(within) != 1:
        raise NeuroprintError(
            f"{where}: normalization {', '.join(sorted(named))} with use_mask_for_norm {', '.join(map(str, within))}: "
            "only ZScoreNormalization is known here, the same for all channels"
        )
    return "brain_channelwise" if within == {True} else "box_channelwise"


def network_axes(transpose: Sequence[int], reader: str, files: str) -> str:
    """Directions of a network's axes.

    nnU-Net reads arrays as z, y, x, as the file has them, and transposes them.

    Args:
        transpose: ``transpose_forward``.
        reader: ``image_reader_writer``; one of them turns every file to RAS.
        files: Direction of the axes x, y, z of the training files.

    Raises:
        NeuroprintError: ``files`` names no three directions.

    Example:
        >>> network_axes([0, 1, 2], "SimpleITKIO", "LPS"), network_axes([1, 0, 2], "NibabelIOWithReorient", "LPS")
        ('SPL', 'ASR')
    """
    if len(files) != 3 or not all(len(set(pair) & set(files)) == 1 for pair in _DIRECTIONS):
        raise NeuroprintError(f"encoder.orientation={files}: give a letter of each of LR, AP and IS, such as LPS")
    read = ("RAS" if reader == "NibabelIOWithReorient" else files)[::-1]
    return "".join(read[axis] for axis in transpose)


def require_package(entry: str) -> None:
    """Say at once that the package with these networks is not installed.

    Raises:
        NeuroprintError: It is not.
    """
    if find_spec("dynamic_network_architectures") is None:
        raise NeuroprintError(
            f"encoder={entry} needs the package dynamic-network-architectures: pip install 'neuroprint[nnunet]'"
        )


def read_json(path: Path) -> dict[str, Any]:
    """A side file of weights.

    Raises:
        NeuroprintError: There is none, or it holds no mapping.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise NeuroprintError(
            f"{path}: cannot be read ({' '.join(str(error).split())[:120]}); restore the file"
        ) from error
    if not isinstance(content, dict):
        raise NeuroprintError(f"{path}: expected keys and values, found {type(content).__name__}")
    return content


def _each(value: Any, count: int) -> list[Any]:
    return list(value) if isinstance(value, Sequence) else [value] * count

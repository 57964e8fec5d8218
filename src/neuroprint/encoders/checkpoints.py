"""Weights on disk as safetensors: half the size, nothing that could run, and checked before they are used."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from neuroprint.data.digests import file_sha256
from neuroprint.data.files import written_whole
from neuroprint.errors import NeuroprintError

if TYPE_CHECKING:
    from torch import Tensor

# Where the weights lie that come with the package.
PRETRAINED = Path(__file__).parent / "pretrained"
PACKAGED = ("swin_unetr_phantom.safetensors",)

# Old checkpoints hold these, in other shapes too.
_RECOMPUTED = ("relative_position_index", "attn_mask")


def save_weights(path: Path, state_dict: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """Write weights as safetensors, floating numbers in float16, in one step: readers see all of the file or none.

    Args:
        path: The file; replaced if it is there.
        state_dict: As the network's ``state_dict()`` gives it; buffers that the network computes itself are left out.
        metadata: Kept in the file's header, readable without the tensors.

    Returns:
        SHA-256 of the file, in hex.

    Raises:
        NeuroprintError: A weight is not finite in float16.
    """
    import torch
    from safetensors.torch import save

    tensors = {}
    for name, tensor in without_recomputed(state_dict).items():
        half = tensor.detach().cpu().to(torch.float16 if tensor.is_floating_point() else tensor.dtype)
        if half.is_floating_point() and not half.isfinite().all():
            raise NeuroprintError(f"{path}: not written: {name} has values that are not finite in float16")
        tensors[name] = half.clone(memory_format=torch.contiguous_format)
    content = save(tensors, metadata=dict(metadata))
    with written_whole(path) as file:
        file.write(content)
    return hashlib.sha256(content).hexdigest()


def load_weights(path: Path, sha256: str | None) -> dict[str, Tensor]:
    """Read weights that :func:`save_weights` wrote, floating numbers as float32.

    Args:
        path: A safetensors file.
        sha256: What the file's SHA-256 has to be, in hex; None takes any file.

    Raises:
        NeuroprintError: The file is missing, torn, or not the expected one.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    check_sha256(path, sha256)
    try:
        tensors = load(path.read_bytes())
    except (SafetensorError, ValueError, KeyError) as error:
        raise NeuroprintError(f"{path}: cannot be read as safetensors ({error}); {remedy(path)}") from error
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}


def check_sha256(path: Path, expected: str | None) -> None:
    """Refuse a file that is not the expected one.

    Raises:
        NeuroprintError: The file is missing, or holds other bytes.
    """
    try:
        found = file_sha256(path)
    except OSError as error:
        raise NeuroprintError(f"{path}: cannot be read ({error.strerror}); {remedy(path)}") from error
    if expected and found != expected.lower():
        raise NeuroprintError(
            f"{path}: torn, or not the expected file: its SHA-256 is {found}, expected {expected}; {remedy(path)}"
        )


def remedy(path: Path) -> str:
    """What to do about weights that are missing or damaged."""
    return "reinstall neuroprint" if path.parent == PRETRAINED else "restore the file, or name another"


def without_recomputed(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights without the buffers that MONAI's Swin transformer computes when it is built.

    Example:
        >>> list(without_recomputed({"attn.qkv.weight": 1, "attn.relative_position_index": 2}))
        ['attn.qkv.weight']
    """
    return {name: tensor for name, tensor in state_dict.items() if name.rpartition(".")[2] not in _RECOMPUTED}

"""Checkpoints as PyTorch users publish them, read without running anything that is in them."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

import numpy as np

from neuroprint.errors import NeuroprintError

if TYPE_CHECKING:
    from torch import Tensor

# What training loops call the network's weights inside a checkpoint.
_WRAPPERS = ("state_dict", "model_state_dict", "model")
_PARALLEL = "module."  # torch.nn.DataParallel puts it before every name


def load_checkpoint(path: Path) -> dict[str, Tensor]:
    """A network's weights by name, floating numbers as float32.

    Takes a bare state dict, or a checkpoint that holds one beside other plain values; from a ``.zip``, the only ``.pt`` or
    ``.pth`` file in it. The prefix that ``DataParallel`` gives is taken off.

    Raises:
        NeuroprintError: The file is torn, holds no weights, or holds objects that could run code when they are read.
    """
    import torch

    try:
        with torch.serialization.safe_globals(_numpy_scalars()):
            content = torch.load(_opened(path), map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        found = re.search(r"GLOBAL (\S+)", str(error))
        what = (
            f"holds {found[1]}, which could run code when read"
            if found
            else "is torn, or not a checkpoint that PyTorch reads safely"
        )
        raise NeuroprintError(f"{path}: {what}; save the network's state_dict alone, or as safetensors") from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        first = str(error).strip().partition("\n")[0][:160]
        raise NeuroprintError(f"{path}: torn, or no checkpoint of PyTorch's ({first}); restore the file") from error
    weights = _weights(content)
    if not weights:
        raise NeuroprintError(f"{path}: holds no weights: expected a state_dict, or a dictionary with one inside")
    return {name.removeprefix(_PARALLEL): _float32(tensor) for name, tensor in weights.items()}


def _numpy_scalars() -> list[Any]:
    """What a NumPy number, such as a best accuracy, is pickled as: by NumPy 2 and, under another name, by NumPy 1."""
    make = np.float64(0).__reduce__()[0]
    names = [(make, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
    return [*names, np.dtype, *(type(np.dtype(kind)) for kind in ("f4", "f8", "i8"))]


def _opened(path: Path) -> Any:
    """The checkpoint itself: PyTorch's own format is a zip too, with its pickle as ``data.pkl``."""
    if path.suffix != ".zip":
        return path
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if any(name.endswith("data.pkl") for name in names):
            return path
        inside = [name for name in names if name.endswith((".pt", ".pth")) and not name.startswith("__MACOSX")]
        if len(inside) != 1:
            raise NeuroprintError(f"{path}: holds {len(inside)} .pt files; unpack it and name one of them")
        return io.BytesIO(archive.read(inside[0]))


def _weights(content: Any) -> dict[str, Tensor]:
    import torch

    for wrapper in _WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        return {}
    return content


def _float32(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor

"""Checkpoints as PyTorch users publish them, read without running anything that is in them."""

from __future__ import annotations

import io
import logging
import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

import numpy as np

from neuroprint.errors import NeuroprintError

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

# What training loops call the network's weights inside a checkpoint, the preferred first: plain ones, which every loop has;
# of self-distillation the teacher, which is what its authors evaluate (Caron et al. 2021, arXiv:2104.14294); then averages.
_PLAIN = ("state_dict", "model_state_dict", "network_weights", "model", "network", "net", "params", "weights", "module")
_AVERAGED = ("state_dict_ema", "ema_state_dict", "model_ema", "ema_model", "params_ema", "ema")
_WRAPPERS = (*_PLAIN, "teacher", "student", *_AVERAGED)


def load_checkpoint(path: Path) -> dict[str, Tensor]:
    """A network's weights by name, floating numbers as float32.

    Takes a bare state dict, or a checkpoint that holds one beside other values, however deep: under ``state_dict``,
    ``network_weights`` (nnU-Net) and the like. From a ``.zip`` it takes the only ``.pt``, ``.pth`` or ``.ckpt`` file.

    Of several sets it takes the plain one rather than an average of it (EMA), and a teacher rather than its student. The log
    says which. Names stay as they are: :func:`~neuroprint.encoders.weights_fit.load_strictly` fits them to a network.

    PyTorch's files since 1.6 are zip archives, and their checksums are verified. Older ones have none.

    Raises:
        NeuroprintError: The file is torn, holds no weights, or holds objects that could run code when they are read.

    Example:
        >>> import torch
        >>> torch.save({"epoch": 3, "model": {"state_dict": {"module.weight": torch.ones(1).half()}}}, "nested.pt")
        >>> load_checkpoint(Path("nested.pt"))
        {'module.weight': tensor([1.])}
    """
    import torch

    try:
        with torch.serialization.safe_globals(_numpy_scalars()):
            content = torch.load(_opened(path), map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        code = re.search(r"GLOBAL (\S+)", str(error))
        what = (
            f"holds {code[1]}, which could run code when read"
            if code
            else "is torn, or not a checkpoint that PyTorch reads safely"
        )
        raise NeuroprintError(f"{path}: {what}; save the network's state_dict alone, or as safetensors") from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        first = str(error).strip().partition("\n")[0][:160]
        raise NeuroprintError(f"{path}: torn, or no checkpoint of PyTorch's ({first}); restore the file") from error
    sets = dict(_sets(content))
    if not sets:
        found = ", ".join(map(str, content)) if isinstance(content, dict) else type(content).__name__
        raise NeuroprintError(
            f"{path}: holds no weights: expected a state_dict, or a dictionary with one inside, as {', '.join(_PLAIN[:4])}; "
            f"found {found[:160] or 'nothing'}"
        )
    taken, *others = sets
    if others:
        log.info("%s: took the weights under %r; it has more under %s", path, taken, ", ".join(map(repr, others)))
    return {name: _float32(tensor) for name, tensor in sets[taken].items()}


def _numpy_scalars() -> list[Any]:
    """What a NumPy number, such as a best accuracy, is pickled as: by NumPy 2 and, under another name, by NumPy 1."""
    make = np.float64(0).__reduce__()[0]
    names = [(make, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
    return [*names, np.dtype, *(type(np.dtype(kind)) for kind in ("f4", "f8", "i8"))]


def _opened(path: Path) -> Path | io.BytesIO:
    """The checkpoint itself, its checksums verified. PyTorch's own format is a zip too, with its pickle as ``data.pkl``."""
    if not zipfile.is_zipfile(path):
        return path
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if any(name.endswith("/constants.pkl") for name in names):
            raise NeuroprintError(
                f"{path}: a TorchScript program, which runs code when read; save its state_dict alone"
            )
        if any(name.endswith("data.pkl") for name in names):
            _verify(archive, path)
            return path
        inside = [name for name in names if name.endswith((".pt", ".pth", ".ckpt")) and not name.startswith("__MACOSX")]
        if len(inside) != 1:
            raise NeuroprintError(f"{path}: holds {len(inside)} .pt files; unpack it and name one of them")
        content = io.BytesIO(archive.read(inside[0]))
    if zipfile.is_zipfile(content):
        with zipfile.ZipFile(content) as archive:
            _verify(archive, path)
    content.seek(0)
    return content


def _verify(archive: zipfile.ZipFile, path: Path) -> None:
    """Compare every member with its CRC-32, which PyTorch does not; it can be told to write none, and then all are 0."""
    torn = archive.testzip() if any(entry.CRC for entry in archive.infolist()) else None
    if torn:
        raise NeuroprintError(f"{path}: torn: {torn} in it does not have its checksum; restore the file")


def _sets(content: Any, place: str = "") -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Sets of weights by where they lie, the preferred first."""
    import torch

    if not isinstance(content, dict):
        return
    for wrapper in _WRAPPERS:
        yield from _sets(content.get(wrapper), f"{place}.{wrapper}".removeprefix("."))
    own = {name: value for name, value in content.items() if isinstance(name, str) and isinstance(value, torch.Tensor)}
    if any(tensor.ndim for tensor in own.values()):  # a counter or a loss is no set of weights
        yield place, own


def _float32(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor

"""A bundle directory, written atomically and checksummed."""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroprint.errors import NeuroprintError

FORMAT_VERSION = 5
MANIFEST = "bundle.json"
TEMPLATE_FILE = "template.nii.gz"
"""The gallery's mean T1; absent where it can have none."""

_PACKAGES = ("numpy", "torch", "monai", "scikit-learn", "scipy", "nibabel", "safetensors", "pyarrow")
_DTYPES = {"F32": np.float32, "F64": np.float64, "F16": np.float16, "I64": np.int64, "U8": np.uint8, "BOOL": np.bool_}
_LARGEST_HEADER = 100_000_000  # safetensors' own limit


def write_bundle(folder: Path, about: Mapping[str, Any], fill: Callable[[Path], None]) -> None:
    """Make a bundle in a folder beside, and put it in place in one step once it is whole.

    A bundle that is there already stays valid until the new one is whole, and then gives way to it.

    Args:
        folder: Where the bundle is to be: nothing, an empty folder or another bundle.
        about: What the manifest says beside the format, the files and the versions.
        fill: Writes every other file into the folder it is given.

    Raises:
        NeuroprintError: Something that is no bundle is in the place, or the place cannot be written to.
    """
    if folder.exists() and not (folder / MANIFEST).is_file() and not (folder.is_dir() and not any(folder.iterdir())):
        raise NeuroprintError(f"{folder} is there and is no bundle: name a folder that does not exist yet")
    unfinished = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    try:
        unfinished.mkdir(parents=True)
        fill(unfinished)
        names = sorted(path.relative_to(unfinished).as_posix() for path in unfinished.rglob("*") if path.is_file())
        manifest = {
            "format_version": FORMAT_VERSION,
            **about,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": _versions(),
            "files": {name: _synced_sha256(unfinished / name) for name in names},
        }
        manifest["sha256"] = _own_sha256(manifest)
        (unfinished / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
        _synced_sha256(unfinished / MANIFEST)
        # Some libraries write files that nobody else may read, whatever the user's umask says.
        mode = (unfinished / MANIFEST).stat().st_mode
        for name in names:
            (unfinished / name).chmod(mode)
        _swap(unfinished, folder)
    except OSError as error:
        raise NeuroprintError(f"{folder}: the bundle cannot be written ({error.strerror or error})") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a bundle, after every file was compared with it.

    Raises:
        NeuroprintError: In one line: it is no bundle, of a newer format, or a file is missing or not as it was written.
    """
    path = folder / MANIFEST
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NeuroprintError(
            f"{folder} is no bundle: there is no {MANIFEST} in it; make one with neuroprint export"
        ) from None
    except (OSError, ValueError) as error:
        raise NeuroprintError(f"{path} cannot be read ({error}); {_REMEDY}") from error
    found = manifest.get("format_version") if isinstance(manifest, dict) else None
    if not isinstance(found, int):
        raise NeuroprintError(f"{path} names no format_version; {_REMEDY}")
    if found > FORMAT_VERSION:
        raise NeuroprintError(
            f"{folder}: a bundle of format {found}; this neuroprint reads up to format {FORMAT_VERSION}: upgrade neuroprint"
        )
    if manifest.get("sha256") != _own_sha256(manifest) or not isinstance(manifest.get("files"), dict):
        raise NeuroprintError(f"{path} is not as it was written: its own SHA-256 does not match; {_REMEDY}")
    for name, expected in manifest["files"].items():
        _check(folder, str(name), str(expected))
    return manifest


def mapped(path: Path) -> dict[str, npt.NDArray[Any]]:
    """The arrays of a safetensors file by name, read-only and mapped: nothing is read before it is looked at.

    Raises:
        NeuroprintError: The file is no safetensors file of plain arrays.
    """
    try:
        with path.open("rb") as stream:
            size = int.from_bytes(stream.read(8), "little")
            if size > _LARGEST_HEADER:
                raise ValueError(f"a header of {size} bytes")
            header = json.loads(stream.read(size))
        # One mapping for all: a process may have some 65,000 of them, and a gallery has six pictures a case.
        whole = np.memmap(path, np.uint8, "r", 8 + size) if path.stat().st_size > 8 + size else np.empty(0, np.uint8)
        arrays: dict[str, npt.NDArray[Any]] = {}
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            dtype, shape = np.dtype(_DTYPES[entry["dtype"]]), tuple(entry["shape"])
            begin, end = entry["data_offsets"]
            if end - begin != dtype.itemsize * int(np.prod(shape)) or not 0 <= begin <= end <= len(whole):
                raise ValueError(f"{name} has {end - begin} bytes")
            arrays[name] = whole[begin:end].view(dtype).reshape(shape)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise NeuroprintError(f"{path}: cannot be read as safetensors ({error}); {_REMEDY}") from error
    return arrays


def save_arrays(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write arrays as safetensors."""
    from safetensors.numpy import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, path)


_REMEDY = "copy the bundle again, or export it anew"


def _check(folder: Path, name: str, expected: str) -> None:
    parts = PurePosixPath(name)
    if parts.is_absolute() or ".." in parts.parts or "\\" in name:
        raise NeuroprintError(f"{folder}: its manifest names a file outside the bundle ({name}); {_REMEDY}")
    try:
        found = _sha256(folder / name)
    except OSError as error:
        raise NeuroprintError(f"{folder / name} is missing or cannot be read ({error.strerror}); {_REMEDY}") from error
    if found != expected:
        raise NeuroprintError(
            f"{folder / name} is not as it was written: its SHA-256 is {found[:16]}..., expected {expected[:16]}...; "
            f"{_REMEDY}"
        )


def _own_sha256(manifest: Mapping[str, Any]) -> str:
    """Of the manifest's content, that line left out."""
    content = {key: value for key, value in manifest.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _synced_sha256(path: Path) -> str:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
    return _sha256(path)


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _swap(new: Path, folder: Path) -> None:
    if not folder.exists():
        new.rename(folder)
        return
    if not any(folder.iterdir()):
        folder.rmdir()
        new.rename(folder)
        return
    if _exchanged(new, folder):
        return  # the old one is now where the new one was made, and is removed from there
    old = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    folder.rename(old)
    try:
        new.rename(folder)
    except OSError:
        old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _exchanged(one: Path, other: Path) -> bool:
    """Let two folders take each other's place in one step, where the system can: at no moment is either missing."""
    try:
        renameat2 = ctypes.CDLL(None).renameat2
    except (AttributeError, OSError, TypeError):  # not on Linux
        return False
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return bool(renameat2(here, os.fsencode(one.absolute()), here, os.fsencode(other.absolute()), exchange) == 0)


def _versions() -> dict[str, str]:
    found = {}
    for package in ("neuroprint", *_PACKAGES):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found

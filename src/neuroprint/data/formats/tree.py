"""The NIfTI files of a folder and all that lies below it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from neuroprint.data.files import NIFTI
from neuroprint.errors import NeuroprintError


def niftis_below(root: Path) -> Iterator[Path]:
    """The NIfTI files at any depth, by folder, without hidden ones; links are followed, each folder once.

    Args:
        root: A folder, or one such file.

    Raises:
        NeuroprintError: There is no such folder, or one may not be read.
    """

    def refuse(error: OSError) -> None:
        raise NeuroprintError(f"{error.filename} may not be read ({error.strerror});\ngive yourself read access to it")

    if root.name.endswith(NIFTI) and not root.is_dir():
        yield root
        return
    if not root.is_dir():
        raise NeuroprintError(f"there is no folder {root}")
    seen = {_identity(root)}
    for name, folders, files in os.walk(root, onerror=refuse, followlinks=True):
        folder = Path(name)
        there = {_identity(folder / sub): sub for sub in sorted(folders, reverse=True) if sub[0] != "."}
        folders[:] = sorted(sub for identity, sub in there.items() if identity not in seen)
        seen.update(there)
        yield from (folder / file for file in sorted(files) if file.endswith(NIFTI) and file[0] != ".")


def _identity(folder: Path) -> tuple[int, int]:
    """The same for a folder whatever path leads to it."""
    found = folder.stat()
    return found.st_dev, found.st_ino

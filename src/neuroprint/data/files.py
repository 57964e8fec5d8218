"""Opening and writing files: only what is a file is opened, and readers see all of one, or what was there before."""

from __future__ import annotations

import errno
import os
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

NIFTI = (".nii", ".nii.gz")
"""How the names of NIfTI files end."""


def open_regular(path: Path) -> BufferedReader:
    """Open a file for reading; a pipe or a device, which might never end, is refused.

    Raises:
        OSError: It is not there, may not be read, or is not a regular file.
    """
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise OSError(errno.EINVAL, "it is a pipe or a device, not a regular file", str(path))
    return path.open("rb")


@contextmanager
def written_whole(path: Path) -> Iterator[BinaryIO]:
    """A file to write to, which takes its place in one step when the block ends, and leaves nothing where it fails.

    It is written beside its place, under a name that begins with a dot, and flushed to the disk before it is renamed: a
    process that is killed, or a machine that stops, leaves no half of it under its own name.

    Args:
        path: The file; replaced if it is there. Its folder is made.

    Example:
        >>> with written_whole(Path("example.txt")) as file:
        ...     _ = file.write(b"all of it")
        >>> Path("example.txt").read_text()
        'all of it'
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with unfinished.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)

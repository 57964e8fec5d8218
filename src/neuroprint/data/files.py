"""Writing files so that readers see all of one, or what was there before."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


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

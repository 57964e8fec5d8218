"""How SQLite may keep its journal in a folder: its write-ahead log is for one machine only."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

_MOUNTS = Path("/proc/self/mounts")

# File systems that several machines mount at once, by the name that Linux gives them.
_SHARED = frozenset(
    (
        "nfs",
        "nfs4",
        "lustre",
        "gpfs",
        "beegfs",
        "ceph",
        "glusterfs",
        "wekafs",
        "panfs",
        "pvfs2",
        "afs",
        "cifs",
        "smb3",
        "9p",
    )
)


def journal_mode(folder: Path, mounts: Path = _MOUNTS) -> Literal["wal", "delete"]:
    """``wal`` on a disk of this machine's own, ``delete`` on a file system that machines share.

    The write-ahead log, in which readers and a writer do not wait for each other, needs memory that all processes share:
    on a network file system it loses writes (https://sqlite.org/wal.html). The older rollback journal needs file locks only.

    Args:
        folder: An absolute path; need not exist.
        mounts: The table of mounted file systems, where there is one.
    """
    try:
        table = [line.split()[1:3] for line in mounts.read_text(encoding="utf-8").splitlines()]
    except OSError:
        return "wal"
    places = {Path(place.replace("\\040", " ")): kind.removeprefix("fuse.") for place, kind in table}
    mounted = [place for place in (folder, *folder.parents) if place in places]
    return "delete" if mounted and places[mounted[0]] in _SHARED else "wal"

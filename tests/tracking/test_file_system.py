"""On a file system that machines share, SQLite keeps a rollback journal."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from neuroprint.tracking import file_system
from neuroprint.tracking.store import TrackingStore

MOUNTS = """/dev/sda1 / ext4 rw 0 0
server:/export /home nfs4 rw 0 0
/dev/sdb1 /home/local\\040disk xfs rw 0 0
sshfs /mnt/far fuse.glusterfs rw 0 0
"""


@pytest.mark.parametrize(
    ("folder", "mode"),
    [
        ("/data/mlruns", "wal"),
        ("/home/ann/mlruns", "delete"),
        ("/home/local disk/mlruns", "wal"),
        ("/homework/mlruns", "wal"),
        ("/mnt/far/mlruns", "delete"),
    ],
)
def test_the_innermost_mount_decides(tmp_path, folder, mode):
    mounts = tmp_path / "mounts"
    mounts.write_text(MOUNTS)
    assert file_system.journal_mode(Path(folder), mounts) == mode


def test_where_nothing_is_known_of_mounts_the_disk_is_taken_as_local(tmp_path):
    assert file_system.journal_mode(Path("/data"), tmp_path / "missing") == "wal"


@pytest.mark.parametrize(("kind", "mode"), [("nfs4", "delete"), ("ext4", "wal")])
def test_a_new_store_has_the_journal_of_its_file_system(tmp_path, monkeypatch, kind, mode):
    mounts = tmp_path / "mounts"
    mounts.write_text(f"somewhere {tmp_path.resolve()} {kind} rw 0 0\n")
    monkeypatch.setattr(file_system.journal_mode, "__defaults__", (mounts,))
    store = TrackingStore(tmp_path / "mlruns", "test")
    assert store.experiment_id
    with closing(sqlite3.connect(store.root / "mlflow.db")) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == (mode,)

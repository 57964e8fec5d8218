"""A file is there as a whole or not at all, whatever happens while it is written."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from neuroprint.data.files import written_whole


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_was_written_is_there_and_nothing_else(tmp_path: Path) -> None:
    with written_whole(tmp_path / "deep" / "er" / "a.bin") as file:
        file.write(b"all ")
        file.write(b"of it")
    assert (tmp_path / "deep" / "er" / "a.bin").read_bytes() == b"all of it"
    assert names(tmp_path / "deep" / "er") == ["a.bin"]


def test_readers_see_what_was_there_until_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"before")
    with written_whole(path) as file:
        file.write(b"after")
        file.flush()
        assert path.read_bytes() == b"before"
        (unfinished,) = (name for name in names(tmp_path) if name != "a.bin")
        assert unfinished.startswith("."), "what lists a folder leaves it out"
    assert path.read_bytes() == b"after"


@pytest.mark.parametrize("before", [None, b"before"])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_writer_that_fails_leaves_what_was_there(
    tmp_path: Path, before: bytes | None, error: type[BaseException]
) -> None:
    path = tmp_path / "a.bin"
    if before is not None:
        path.write_bytes(before)
    with pytest.raises(error), written_whole(path) as file:
        file.write(b"half")
        raise error
    assert names(tmp_path) == ([] if before is None else ["a.bin"])
    assert before is None or path.read_bytes() == before


def test_it_is_on_the_disk_before_it_takes_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, flushed, flush = tmp_path / "a.bin", [], os.fsync

    def fsync(number: int) -> None:
        flushed.append((os.fstat(number).st_size, path.exists()))
        flush(number)

    monkeypatch.setattr(os, "fsync", fsync)
    with written_whole(path) as file:
        file.write(b"12345")
    assert flushed == [(5, False)]


def test_of_writers_at_once_one_counts_and_none_is_mixed(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    together = threading.Barrier(8)

    def write(number: int) -> None:
        with written_whole(path) as file:
            together.wait()
            file.write(bytes([number]) * 100_000)

    writers = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    content = path.read_bytes()
    assert len(content) == 100_000
    assert len(set(content)) == 1
    assert names(tmp_path) == ["a.bin"]


def test_others_may_read_what_the_umask_lets_them(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    with written_whole(tmp_path / "whole") as file:
        file.write(b"")
    assert (tmp_path / "whole").stat().st_mode == (tmp_path / "plain").stat().st_mode

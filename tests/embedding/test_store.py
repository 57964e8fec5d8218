"""The feature store gives back what was put in, and nothing else."""

import multiprocessing

import numpy as np
import pytest

from neuroprint.data.digests import digest
from neuroprint.embedding.entry import Entry
from neuroprint.embedding.store import FeatureStore

KIND, CONTENT = "features/abc", digest("case")


@pytest.fixture
def store(tmp_path):
    return FeatureStore(tmp_path / "store")


def entry(value=1.0):
    return Entry({"stage4|mean": np.full(7, value, np.float32), "box": np.arange(6).reshape(2, 3)}, {"shape": [1, 2]})


def test_an_entry_comes_back_as_it_was_written(store):
    store.write(KIND, CONTENT, entry())
    found = store.read(KIND, CONTENT)
    assert found.note == {"shape": [1, 2]}
    assert set(found.arrays) == {"stage4|mean", "box"}
    np.testing.assert_array_equal(found.arrays["box"], [[0, 1, 2], [3, 4, 5]])
    assert found.arrays["stage4|mean"].dtype == np.float32


def test_an_array_that_is_a_strided_view_comes_back_right(store):
    array = np.arange(24.0).reshape(4, 6).T[::2]
    store.write(KIND, CONTENT, Entry({"view": array}, {}))
    np.testing.assert_array_equal(store.read(KIND, CONTENT).arrays["view"], array)


def test_what_was_never_written_is_absent(store):
    assert store.read(KIND, CONTENT) is None


@pytest.mark.parametrize("keep", [0, 7, 100, -1])
def test_a_torn_file_is_absent(store, keep):
    store.write(KIND, CONTENT, entry())
    path = store.path(KIND, CONTENT)
    path.write_bytes(path.read_bytes()[:keep])
    assert store.read(KIND, CONTENT) is None


def test_every_flipped_byte_is_noticed(store):
    store.write(KIND, CONTENT, entry())
    path = store.path(KIND, CONTENT)
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x41]) + whole[place + 1 :])
        found = store.read(KIND, CONTENT)
        if found is not None:  # white space and the like in the header carry no data
            np.testing.assert_array_equal(found.arrays["stage4|mean"], entry().arrays["stage4|mean"])
            np.testing.assert_array_equal(found.arrays["box"], entry().arrays["box"])
            assert found.note == entry().note


def test_an_entry_of_another_case_or_extractor_is_absent(store):
    store.write(KIND, CONTENT, entry())
    data = store.path(KIND, CONTENT).read_bytes()
    for kind, content in ((KIND, digest("another case")), ("features/def", CONTENT)):
        store.path(kind, content).parent.mkdir(parents=True, exist_ok=True)
        store.path(kind, content).write_bytes(data)
        assert store.read(kind, content) is None


def test_writing_leaves_no_temporary_files(store):
    store.write(KIND, CONTENT, entry())
    store.write(KIND, CONTENT, entry(2.0))
    assert [path.name for path in store.path(KIND, CONTENT).parent.iterdir()] == [store.path(KIND, CONTENT).name]
    assert store.read(KIND, CONTENT).arrays["stage4|mean"][0] == 2.0


def _write_often(root, value):
    store = FeatureStore(root)
    for _ in range(50):
        store.write(KIND, CONTENT, Entry({"v": np.full(5_000, value, np.float32)}, {}))


def test_a_reader_beside_two_writers_sees_whole_entries_only(store):
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write_often, args=(store.root, value)) for value in (1.0, 2.0)]
    for writer in writers:
        writer.start()
    seen = 0
    while any(writer.is_alive() for writer in writers):
        if (found := store.read(KIND, CONTENT)) is not None:
            assert len(np.unique(found.arrays["v"])) == 1
            seen += 1
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert seen


def test_a_lock_is_held_by_one_at_a_time(store):
    from filelock import Timeout

    with store.lock(CONTENT), pytest.raises(Timeout):
        store.lock(CONTENT).acquire(blocking=False)
    with store.lock(CONTENT):
        pass


def test_what_a_killed_writer_left_is_removed_once_it_is_old(store):
    import os
    import time

    store.write(KIND, CONTENT, entry())
    path = store.path(KIND, CONTENT)
    old, new = path.with_name(f".{path.name}.old"), path.with_name(f".{path.name}.new")
    for leftover in (old, new):
        leftover.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    store.tidy()
    assert not old.exists() and new.exists() and path.exists()


def test_an_entry_that_was_read_before_is_not_decoded_again_until_its_file_changes(store, monkeypatch):
    import os
    import time

    decoded, decode = [], Entry.decoded
    monkeypatch.setattr(Entry, "decoded", lambda *given: decoded.append(1) or decode(*given))
    store.write(KIND, CONTENT, entry())
    path = store.path(KIND, CONTENT)
    store.read(KIND, CONTENT)
    store.read(KIND, CONTENT)
    assert len(decoded) == 2  # a file that has only just been written may change unseen
    os.utime(path, (time.time() - 60,) * 2)
    first = store.read(KIND, CONTENT)
    assert store.read(KIND, CONTENT) is first and len(decoded) == 3
    with pytest.raises(ValueError, match="read-only"):
        first.arrays["box"][0] = 7
    store.write(KIND, CONTENT, entry(2.0))
    assert store.read(KIND, CONTENT).arrays["stage4|mean"][0] == 2.0
    path.unlink()
    assert store.read(KIND, CONTENT) is None


def test_what_is_remembered_is_bounded(tmp_path):
    import os

    from neuroprint.embedding.entry_cache import EntryCache

    cache, old = EntryCache(most_bytes=250), []
    for name in "abc":
        path = tmp_path / name
        path.write_bytes(bytes(100))
        os.utime(path, (1, 1))
        old.append(path)
        cache.put(path, path.stat(), Entry({}, {"name": name}))
        cache.get(old[0], old[0].stat())  # the one that is used stays
    assert [cache.get(path, path.stat()) is not None for path in old] == [True, False, True]

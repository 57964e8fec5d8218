"""A bundle on disk: whole or not there, and refused in one line where it is not as it was written."""

import json

import numpy as np
import pytest

from neuroprint.bundle import format as bundle_format
from neuroprint.bundle.bundle import Bundle
from neuroprint.bundle.format import FORMAT_VERSION, mapped, read_manifest, save_arrays, write_bundle
from neuroprint.errors import NeuroprintError


def files_of(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def rewrite(folder, **changes):
    """Change a bundle's manifest and sign it, as another writer of bundles could."""
    manifest = {**json.loads((folder / "bundle.json").read_text()), **changes}
    (folder / "bundle.json").write_text(json.dumps({**manifest, "sha256": bundle_format._own_sha256(manifest)}))


def said(folder, **arguments):
    with pytest.raises(NeuroprintError) as caught:
        Bundle.open(folder, **arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def damages(content):
    """The content with one byte flipped at its beginning, in its middle and near its end; of nothing, one byte."""
    if not content:
        yield b"x"
        return
    for place in (0, len(content) // 2, len(content) - 2):
        torn = bytearray(content)
        torn[place] ^= 1
        yield bytes(torn)


def test_one_wrong_byte_in_any_file_is_refused_and_names_it(copy_of_bundle):
    folder = copy_of_bundle()
    for path in files_of(folder):
        content = path.read_bytes()
        for torn in damages(content):
            path.write_bytes(torn)
            assert path.name in said(folder)
        path.write_bytes(content)
    assert read_manifest(folder)


def test_a_missing_file_is_refused_and_named(copy_of_bundle):
    folder = copy_of_bundle()
    for path in files_of(folder):
        content = path.read_bytes()
        path.unlink()
        assert path.name in said(folder)
        path.write_bytes(content)


def test_a_newer_format_is_refused(copy_of_bundle):
    folder = copy_of_bundle()
    manifest = json.loads((folder / "bundle.json").read_text())
    (folder / "bundle.json").write_text(json.dumps({**manifest, "format_version": FORMAT_VERSION + 1}))
    expected = f"format {FORMAT_VERSION + 1}; this neuroprint reads up to format {FORMAT_VERSION}: upgrade"
    assert expected in said(folder)


def test_an_older_format_is_to_be_exported_anew(copy_of_bundle):
    folder = copy_of_bundle()
    rewrite(folder, format_version=3)
    assert f"a bundle of format 3; this neuroprint reads format {FORMAT_VERSION}: export it anew" in said(folder)


def test_lists_of_neighbors_that_are_not_there_are_refused(copy_of_bundle):
    folder = copy_of_bundle()
    lists = {name: np.array(array) for name, array in mapped(folder / "neighbors.safetensors").items()}
    for rows in (lists["neighbors"] + 1, lists["neighbors"][:-1]):
        save_arrays(folder / "neighbors.safetensors", {**lists, "neighbors": rows})
        files = json.loads((folder / "bundle.json").read_text())["files"]
        sha256 = bundle_format._sha256(folder / "neighbors.safetensors")
        rewrite(folder, files={**files, "neighbors.safetensors": sha256})
        assert "neighbors.safetensors" in said(folder)


def test_a_folder_that_is_no_bundle_is_refused(tmp_path):
    assert "is no bundle" in said(tmp_path)
    assert "is no bundle" in said(tmp_path / "absent")
    (tmp_path / "bundle.json").write_text("[]")
    assert "format_version" in said(tmp_path)


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "a\\b"])
def test_a_manifest_cannot_name_files_outside(tmp_path, name):
    folder = tmp_path / "bundle"
    write_bundle(folder, {}, lambda unfinished: (unfinished / "a").write_text("a"))
    rewrite(folder, files={name: "0" * 64})
    assert "outside the bundle" in said(folder)


def test_a_bundle_that_is_there_stays_until_the_new_one_is_whole(copy_of_bundle, make_bundle, graded_cohort):
    folder = copy_of_bundle()
    before = {path: path.read_bytes() for path in files_of(folder)}

    def fail(unfinished):
        (unfinished / "half").write_text("half")
        assert read_manifest(folder)
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        write_bundle(folder, {}, fail)
    assert {path: path.read_bytes() for path in files_of(folder)} == before
    make_bundle(folder, graded_cohort.cases[:5])
    assert len(Bundle.open(folder).cases) == 5
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_what_is_no_bundle_is_never_written_over(tmp_path, make_bundle):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(NeuroprintError, match="is there and is no bundle"):
        make_bundle(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_others_may_read_what_the_umask_lets_them(bundle_folder):
    assert {path.stat().st_mode & 0o777 for path in files_of(bundle_folder)} == {
        (bundle_folder / "bundle.json").stat().st_mode & 0o777
    }


def test_no_file_is_a_pickle(bundle_folder):
    assert {path.suffix for path in files_of(bundle_folder)} == {
        *(".json", ".yaml", ".md", ".parquet", ".safetensors"),
    }
    pickles = {bytes([0x80, protocol]) for protocol in range(2, 6)}
    assert not [path for path in files_of(bundle_folder) if path.read_bytes()[:2] in pickles]


def test_arrays_are_mapped_and_damaged_ones_refused(tmp_path):
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.zeros((0, 4)), "c": np.ones(3, np.uint8)}
    save_arrays(tmp_path / "a.safetensors", arrays)
    found = mapped(tmp_path / "a.safetensors")
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
    assert isinstance(found["a"], np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        found["a"][0, 0] = 1
    for content in (b"", b"\xff" * 40, b"\x10" + bytes(7) + b'{"a":{"dtype":1}}'):
        (tmp_path / "b.safetensors").write_bytes(content)
        with pytest.raises(NeuroprintError, match="cannot be read as safetensors"):
            mapped(tmp_path / "b.safetensors")

"""A digest follows the bytes, not the paths, and the memory of it follows the file."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import pytest

from neuroprint.data import digests
from neuroprint.data.case import Case, ImageFile
from neuroprint.data.digests import DigestCache, case_digests, digest, file_sha256, hash_files
from neuroprint.errors import CaseError, NeuroprintError

LONG_AGO = 1_600_000_000
ONE, TWO, SIX = (hashlib.sha256(content).hexdigest() for content in (b"one", b"two", b"six"))


def _file(path: Path, content: bytes, time: int = LONG_AGO) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (time, time))
    return path


def _case(folder: Path, case_id: str = "a", seed: str = "") -> Case:
    files = {role: _file(folder / f"{role}.nii.gz", f"{seed}{role}".encode()) for role in ("flair", "t1", "seg")}
    images = {role: ImageFile(files[role]) for role in ("flair", "t1")}
    return Case(case_id, case_id, images, ImageFile(files["seg"]), "brats", {"grade": 4.0, "site": "Ulm"})


@pytest.fixture
def cache(tmp_path: Path) -> DigestCache:
    return DigestCache(tmp_path / "store" / "digests.sqlite")


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files hashed so far."""
    seen: list[Path] = []
    monkeypatch.setattr(digests, "file_sha256", lambda path: seen.append(path) or file_sha256(path))
    return seen


def test_a_files_hash_is_that_of_its_bytes(tmp_path: Path) -> None:
    content = os.urandom(300_000)
    path = _file(tmp_path / "f", content)
    assert file_sha256(path) == hashlib.sha256(content).hexdigest()
    assert hash_files([path, _file(tmp_path / "g", b"one"), path]) == {path: file_sha256(path), tmp_path / "g": ONE}


def test_a_digest_of_content_does_not_depend_on_the_order_of_its_keys() -> None:
    assert digest({"b": [1, 2], "a": None}) == digest({"a": None, "b": [1, 2]})
    assert digest({"b": [1, 2]}) != digest({"b": [2, 1]})
    assert digest("one") == hashlib.sha256(b'"one"').hexdigest()
    with pytest.raises(ValueError, match="JSON compliant"):
        digest({"a": float("nan")})


def test_a_file_is_hashed_once_until_it_changes(tmp_path: Path, cache: DigestCache, hashed: list[Path]) -> None:
    path = _file(tmp_path / "f", b"one")
    assert cache([path]) == DigestCache(cache.path)([path]) == {path: ONE}
    assert hashed == [path]
    _file(path, b"two", LONG_AGO + 1)  # of the same size
    assert cache([path]) == {path: TWO}
    _file(tmp_path / "g", b"six", LONG_AGO + 1).replace(path)  # another inode, same size and time
    assert cache([path]) == {path: SIX}
    assert len(hashed) == 3


def test_only_what_is_new_is_hashed(tmp_path: Path, cache: DigestCache, hashed: list[Path]) -> None:
    known, new = _file(tmp_path / "f", b"one"), _file(tmp_path / "g", b"two")
    cache([known])
    assert cache([new, known, new]) == {known: ONE, new: TWO}
    assert hashed == [known, new]


def test_a_file_just_written_is_not_remembered(tmp_path: Path, cache: DigestCache, hashed: list[Path]) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"one")
    cache([path])
    cache([path])
    assert len(hashed) == 2


def _digest_of(arguments: tuple[Path, Path]) -> str:
    folder, database = arguments
    return case_digests(_case(folder), DigestCache(database)).case


def test_processes_may_share_the_cache(tmp_path: Path, cache: DigestCache) -> None:
    arguments = [(tmp_path / str(n), cache.path) for n in range(12)]
    with ProcessPoolExecutor(4, mp_context=get_context("fork")) as pool:
        found = list(pool.map(_digest_of, arguments))
    assert found == [case_digests(_case(folder)).case for folder, _ in arguments]
    with sqlite3.connect(cache.path) as database:
        assert database.execute("SELECT count(*) FROM files").fetchone() == (12 * 3,)


def test_a_foreign_file_in_the_caches_place_is_said(tmp_path: Path) -> None:
    path = _file(tmp_path / "digests.sqlite", b"this is no database, it is a text of some length" * 50)
    with pytest.raises(NeuroprintError, match=r"(?s)digests.sqlite cannot be used.*delete it"):
        DigestCache(path)([path])


@pytest.mark.parametrize("of", [lambda found: found.case, lambda found: found.images], ids=["case", "images"])
def test_a_case_is_its_bytes_by_role_and_channel(tmp_path: Path, cache: DigestCache, of: Callable[..., str]) -> None:
    case = _case(tmp_path / "here")
    elsewhere = replace(_case(tmp_path / "there", "b"), metadata={})
    first = of(case_digests(case, cache))
    assert len(first) == 64
    assert of(case_digests(elsewhere, cache)) == first == of(case_digests(case))
    swapped = replace(case, images={"flair": case.images["t1"], "t1": case.images["flair"]})
    channel = replace(case, images={**case.images, "t1": ImageFile(case.images["t1"].path, 0)})
    fewer = replace(case, images={"flair": case.images["flair"]})
    assert len({first, *(of(case_digests(other, cache)) for other in (swapped, channel, fewer))}) == 4


def test_features_do_not_depend_on_the_label_and_facts_do(tmp_path: Path, cache: DigestCache) -> None:
    case = _case(tmp_path / "a")
    labeled = case_digests(case, cache)
    unlabeled = case_digests(replace(case, label=None), cache)
    other_meaning = case_digests(replace(case, label_convention="any"), cache)
    assert labeled.images == unlabeled.images == other_meaning.images
    assert len({labeled.case, unlabeled.case, other_meaning.case}) == 3


def test_each_image_has_a_digest_by_its_bytes_and_channel(tmp_path: Path, cache: DigestCache) -> None:
    path = _file(tmp_path / "four.nii.gz", b"one")
    alone = _file(tmp_path / "alone.nii.gz", b"two")
    case = Case("a", "a", {"flair": ImageFile(path, 0), "t1": ImageFile(path, 1), "t2": ImageFile(alone)})
    assert case_digests(case, cache).each == {"flair": f"{ONE} 0", "t1": f"{ONE} 1", "t2": TWO}


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, cache: DigestCache) -> None:
    case = _case(tmp_path / "a")
    case.images["t1"].path.unlink()
    with pytest.raises(CaseError, match=r"case a: t1.nii.gz is not there.*download"):
        case_digests(case, cache)

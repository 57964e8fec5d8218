"""A fingerprint follows the bytes, not the paths, and the memory of it follows the file."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from typing import TYPE_CHECKING

import pytest

from neuroprint.data import digests as fingerprint
from neuroprint.data.case import Case, Cohort, ImageFile
from neuroprint.data.digests import (
    FingerprintCache,
    case_fingerprint,
    cohort_fingerprint,
    file_sha256,
    find_duplicates,
    image_fingerprint,
)
from neuroprint.data.formats.brats import find_brats
from neuroprint.errors import CaseError, NeuroprintError

if TYPE_CHECKING:
    from pathlib import Path

LONG_AGO = 1_600_000_000


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
def cache(tmp_path: Path) -> FingerprintCache:
    return FingerprintCache(tmp_path / "store" / "fingerprints.db")


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files hashed so far."""
    seen: list[Path] = []
    monkeypatch.setattr(fingerprint, "file_sha256", lambda path: seen.append(path) or file_sha256(path))
    return seen


def test_a_files_hash_is_that_of_its_bytes(tmp_path: Path) -> None:
    content = os.urandom(300_000)
    assert file_sha256(_file(tmp_path / "f", content)) == hashlib.sha256(content).hexdigest()


def test_a_file_is_hashed_once_until_it_changes(tmp_path: Path, cache: FingerprintCache, hashed: list[Path]) -> None:
    path = _file(tmp_path / "f", b"one")
    first = cache.sha256([path])
    assert FingerprintCache(cache.path).sha256([path]) == first == {path: hashlib.sha256(b"one").hexdigest()}
    assert len(hashed) == 1
    _file(path, b"two", LONG_AGO + 1)  # of the same size
    assert cache.sha256([path])[path] == hashlib.sha256(b"two").hexdigest()
    _file(tmp_path / "g", b"six", LONG_AGO + 1).replace(path)  # another inode, same size and time
    assert cache.sha256([path])[path] == hashlib.sha256(b"six").hexdigest()


def test_a_file_just_written_is_not_remembered(tmp_path: Path, cache: FingerprintCache, hashed: list[Path]) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"one")
    cache.sha256([path])
    cache.sha256([path])
    assert len(hashed) == 2


def _fingerprint_of(arguments: tuple[Path, Path]) -> str:
    folder, database = arguments
    return case_fingerprint(_case(folder), FingerprintCache(database))


def test_processes_may_share_the_cache(tmp_path: Path, cache: FingerprintCache) -> None:
    arguments = [(tmp_path / str(n), cache.path) for n in range(12)]
    with ProcessPoolExecutor(4, mp_context=get_context("fork")) as pool:
        found = list(pool.map(_fingerprint_of, arguments))
    assert found == [case_fingerprint(_case(folder)) for folder, _ in arguments]


def test_a_foreign_file_in_the_caches_place_is_said(tmp_path: Path) -> None:
    path = _file(tmp_path / "fingerprints.db", b"this is no database, it is a text of some length" * 50)
    with pytest.raises(NeuroprintError, match=r"(?s)fingerprints.db cannot be used.*delete it"):
        FingerprintCache(path).sha256([path])


def test_a_case_is_its_bytes_by_role_and_channel(tmp_path: Path, cache: FingerprintCache) -> None:
    case = _case(tmp_path / "here")
    elsewhere = _case(tmp_path / "there", "b")
    for of in (case_fingerprint, image_fingerprint):
        first = of(case, cache)
        assert len(first) == 64
        assert of(elsewhere, cache) == first == of(case)
        swapped = replace(case, images={"flair": case.images["t1"], "t1": case.images["flair"]})
        channel = replace(case, images={**case.images, "t1": ImageFile(case.images["t1"].path, 0)})
        fewer = replace(case, images={"flair": case.images["flair"]})
        assert len({first, *(of(other, cache) for other in (swapped, channel, fewer))}) == 4


def test_features_do_not_depend_on_the_label(tmp_path: Path, cache: FingerprintCache) -> None:
    case = _case(tmp_path / "a")
    unlabeled = replace(case, label=None)
    assert image_fingerprint(case, cache) == image_fingerprint(unlabeled, cache)
    assert case_fingerprint(case, cache) != case_fingerprint(unlabeled, cache)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, cache: FingerprintCache) -> None:
    case = _case(tmp_path / "a")
    case.images["t1"].path.unlink()
    with pytest.raises(CaseError, match=r"case a: t1.nii.gz is not there.*download"):
        cohort_fingerprint(Cohort("x", (case,)), cache)


def test_a_cohort_is_all_an_evaluation_knows_of_it(tmp_path: Path, cache: FingerprintCache) -> None:
    a, b = _case(tmp_path / "a", "a"), _case(tmp_path / "b", "b", seed="b")
    moved = _case(tmp_path / "moved", "a")
    first = cohort_fingerprint(Cohort("x", (a, b), "world", {"c": "cut off"}), cache)
    assert first == cohort_fingerprint(Cohort("y", (b, moved), "world", {"c": "missing"}), cache)
    others = [
        Cohort("x", (a, b), "brain", {"c": ""}),
        Cohort("x", (a, b), "world"),
        Cohort("x", (a,), "world", {"c": ""}),
        Cohort("x", (a, replace(b, id="bb")), "world", {"c": ""}),
        Cohort("x", (a, replace(b, patient="a")), "world", {"c": ""}),
        Cohort("x", (a, replace(b, label_convention="msd")), "world", {"c": ""}),
        Cohort("x", (a, replace(b, metadata={"grade": 3.0, "site": "Ulm"})), "world", {"c": ""}),
        Cohort("x", (a, replace(b, label=None)), "world", {"c": ""}),
    ]
    assert len({first, *(cohort_fingerprint(other, cache) for other in others)}) == len(others) + 1


def test_progress_is_told_case_by_case(tmp_path: Path, cache: FingerprintCache) -> None:
    cases = tuple(_case(tmp_path / name, name) for name in "abc")
    told: list[tuple[int, int]] = []
    cohort_fingerprint(Cohort("x", cases), cache, lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_the_same_images_under_two_ids_are_found(tmp_path: Path, cache: FingerprintCache) -> None:
    a, b, c, d = (_case(tmp_path / name, name, seed="d" if name == "d" else "") for name in "abcd")
    cohort = Cohort("x", (d, c, replace(b, label=None), a))
    assert find_duplicates(cohort, cache) == [("a", "b"), ("a", "c"), ("b", "c")]
    assert find_duplicates(Cohort("x", (a, d))) == []


def test_real_patients_are_all_different(real_root: Path, cache: FingerprintCache) -> None:
    cohort = find_brats(real_root)
    assert find_duplicates(cohort, cache) == []
    assert cohort_fingerprint(cohort, cache) == cohort_fingerprint(cohort)


def test_what_is_stored_of_a_case_depends_on_what_its_label_is_said_to_mean(tmp_path, write_case):
    from dataclasses import replace

    from neuroprint.data.case_digests import fingerprint_cohort

    from neuroprint.data.formats.brats import find_brats

    write_case(tmp_path / "root" / "A_1")
    cohort = find_brats(tmp_path / "root")
    other = replace(cohort, cases=tuple(replace(case, label_convention="any") for case in cohort.cases))
    cache = FingerprintCache(tmp_path / "prints.sqlite")
    one, two = fingerprint_cohort(cohort, cache)[0]["A_1"], fingerprint_cohort(other, cache)[0]["A_1"]
    assert one.images == two.images and one.case != two.case

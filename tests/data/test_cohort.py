"""A cohort's digest is all that an evaluation knows of it; what is asked of its cases is answered by their union."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from neuroprint.data import digests
from neuroprint.data.case import Case, ImageFile
from neuroprint.data.cohort import Cohort
from neuroprint.data.digests import case_digests, file_sha256
from neuroprint.data.formats.brats import BraTSFormat
from neuroprint.errors import CaseError

LONG_AGO = 1_600_000_000


@pytest.fixture
def make_case(tmp_path: Path) -> Callable[..., Case]:
    """``make_case("a")``: a case whose files hold its seed; they lie in ``folder``."""

    def make(case_id: str, seed: str = "", folder: str = "cases", **settings: object) -> Case:
        files = {}
        for role in ("flair", "t1", "label"):
            path = tmp_path / folder / case_id / f"{role}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(f"{seed or case_id} {role}".encode())
            os.utime(path, (LONG_AGO, LONG_AGO))
            files[role] = ImageFile(path)
        label = files.pop("label")
        made = Case(case_id, f"patient {case_id}", files, label, "brats", {"grade": 4.0, "site": "Ulm"})
        return replace(made, **settings)  # type: ignore[arg-type]

    return make


@pytest.fixture
def cohort(make_case: Callable[..., Case]) -> Cohort:
    return Cohort("x", (make_case("a"), make_case("b")), "world", {"c": "cut off"})


def with_b(cohort: Cohort, **change: object) -> Cohort:
    a, b = cohort.cases
    return replace(cohort, cases=(a, replace(b, **change)))  # type: ignore[arg-type]


CHANGES: dict[str, Callable[[Cohort], Cohort]] = {
    "frame": lambda cohort: replace(cohort, frame="brain"),
    "an excluded case less": lambda cohort: replace(cohort, excluded={}),
    "another excluded case": lambda cohort: replace(cohort, excluded={"d": "cut off"}),
    "a case less": lambda cohort: replace(cohort, cases=cohort.cases[:1]),
    "id": lambda cohort: with_b(cohort, id="bb"),
    "patient": lambda cohort: with_b(cohort, patient="patient a"),
    "convention": lambda cohort: with_b(cohort, label_convention="msd"),
    "no label": lambda cohort: with_b(cohort, label=None),
    "value": lambda cohort: with_b(cohort, metadata={"grade": 3.0, "site": "Ulm"}),
    "column": lambda cohort: with_b(cohort, metadata={"site": "Ulm"}),
    "modality": lambda cohort: with_b(cohort, images={"flair": cohort.cases[1].images["flair"]}),
    "channel": lambda cohort: with_b(
        cohort, images={role: ImageFile(image.path, 0) for role, image in cohort.cases[1].images.items()}
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_digest_covers_all_that_an_evaluation_knows(cohort: Cohort, change: str) -> None:
    assert CHANGES[change](cohort).digest != cohort.digest


def test_the_digest_covers_the_bytes_of_every_file(cohort: Cohort) -> None:
    seen = {cohort.digest}
    for case in cohort.cases:
        for image in case.files().values():
            before = image.path.read_bytes()
            image.path.write_bytes(before + b"more")
            seen.add(replace(cohort).digest)
            image.path.write_bytes(before)
    assert len(seen) == 1 + 2 * 3
    assert replace(cohort).digest == cohort.digest


def test_the_digest_does_not_depend_on_paths_order_name_or_reasons(
    cohort: Cohort, make_case: Callable[..., Case]
) -> None:
    a, b = cohort.cases
    moved = make_case("a", folder="elsewhere")
    assert moved.images["flair"].path != a.images["flair"].path
    others = [
        replace(cohort, name="y"),
        replace(cohort, cases=(b, moved)),
        replace(cohort, excluded={"c": "missing"}),
        replace(cohort, strict=True, duplicates="allow", format={"_target_": "mine.Format"}),
        with_b(cohort, metadata={"site": "Ulm", "grade": 4.0}),
    ]
    assert {other.digest for other in others} == {cohort.digest}


@pytest.mark.parametrize("missing", [None, math.nan, "", np.float64("nan")], ids=repr)
def test_a_value_that_says_nothing_is_as_good_as_none(cohort: Cohort, missing: object) -> None:
    absent = with_b(cohort, metadata={"site": "Ulm"})
    assert with_b(cohort, metadata={"site": "Ulm", "grade": missing}).digest == absent.digest


def test_the_digests_are_those_of_its_cases(cohort: Cohort) -> None:
    assert cohort.digests == {case.id: case_digests(case) for case in cohort.cases}


def test_files_are_hashed_once_for_all_cohorts_that_share_a_cache(
    cohort: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[Path] = []
    monkeypatch.setattr(digests, "file_sha256", lambda path: hashed.append(path) or file_sha256(path))
    cached = replace(cohort, digest_cache=tmp_path / "store" / "digests.sqlite")
    found = [replace(cached).digest for _ in range(3)]
    assert len(hashed) == 2 * 3
    assert set(found) == {cohort.digest}


@pytest.mark.parametrize("cached", [True, False])
def test_a_file_that_cannot_be_read_is_named_with_its_case(cohort: Cohort, tmp_path: Path, cached: bool) -> None:
    cohort.cases[1].images["t1"].path.unlink()
    with pytest.raises(CaseError, match=r"case b: t1.nii.gz is not there.*download"):
        replace(cohort, digest_cache=tmp_path / "digests.sqlite" if cached else None).digest  # noqa: B018


def test_what_its_cases_have_is_the_union(make_case: Callable[..., Case]) -> None:
    a, b = make_case("a"), make_case("b", metadata={"age": 60.0, "site": "Bonn"}, patient="patient a")
    b = replace(b, images={"adc": b.images["flair"]})
    cohort = Cohort("x", (a, b))
    assert cohort.modalities == ("adc", "flair", "t1")
    assert cohort.columns == ("age", "grade", "site")
    assert cohort.patients == {"patient a"}
    assert len(cohort) == 2
    assert repr(cohort) == "Cohort(x: 2 cases of 1 patients)"
    assert repr(replace(cohort, excluded={"c": "cut off"})) == "Cohort(x: 2 cases of 1 patients, 1 left out)"


def test_a_part_of_a_cohort_is_a_cohort_of_its_own(cohort: Cohort) -> None:
    assert cohort.patients == {"patient a", "patient b"}
    assert cohort.digest
    part = cohort.where(lambda case: case.id == "a")
    assert part.cases == cohort.cases[:1]
    assert (part.patients, part.digests.keys()) == ({"patient a"}, {"a"})
    assert part.digest != cohort.digest
    assert (part.name, part.frame, part.excluded) == (cohort.name, cohort.frame, cohort.excluded)


def test_real_patients_are_all_different(real_root: Path, tmp_path: Path) -> None:
    cohort = BraTSFormat(real_root).cohort()
    assert len({found.images for found in cohort.digests.values()}) == len(cohort)
    assert replace(cohort, digest_cache=tmp_path / "digests.sqlite").digest == cohort.digest

"""A small cohort that tasks are asked of, and cases without a scan whose tumors lie where a test puts them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from neuroprint.data.case import Case
from neuroprint.data.case_facts import CaseFacts
from neuroprint.data.cohort import Cohort
from neuroprint.data.load import load_cohort
from neuroprint.embedding.embed import embed
from neuroprint.embedding.embeddings import Embeddings

Asked = tuple[list[Case], dict[str, CaseFacts]]


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A feature store in which every scan is read once."""
    return tmp_path_factory.mktemp("cache") / "store"


@pytest.fixture(autouse=True)
def cache(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not told where its store is uses that one too."""
    monkeypatch.setenv("NEUROPRINT_CACHE", str(store.parent))


@pytest.fixture(scope="session")
def cohort(small_cohort: Path, store: Path) -> Cohort:
    """The ten small cases."""
    return load_cohort("brats", small_cohort, store=store)


@pytest.fixture(scope="session")
def voxels(cohort: Cohort, store: Path) -> Embeddings:
    """Their down-sampled scans."""
    return embed(cohort, "voxels", store=store)


@pytest.fixture(scope="session")
def graded(cohort: Cohort) -> Cohort:
    """The same with metadata: a grade that one case lacks, an age that is a number, and who died."""
    from dataclasses import replace

    values = [
        {"grade": "" if n == 4 else ("II", "III")[n % 2], "age": 30.5 + 7 * n, "died": n % 3 > 0}
        for n in range(len(cohort))
    ]
    return replace(
        cohort, cases=tuple(replace(case, metadata=own) for case, own in zip(cohort.cases, values, strict=True))
    )


@pytest.fixture(scope="session")
def located() -> Callable[..., Asked]:
    """Cases whose tumors have these centers in mm, (n, 3) or x alone, in a brain whose box is centered at ``middle_mm``.

    Voxels are of 1 mm³. ``voxels`` says how many there are of each label, ``cells`` which cells of the brain label 1 fills.
    """

    def make(
        centers_mm: Sequence[float] | np.ndarray,
        patients: Sequence[str] | None = None,
        middle_mm: Sequence[float] = (0.0, 0.0, 0.0),
        cells: Sequence[Mapping[int, float]] | None = None,
        metadata: Mapping[str, Sequence[object]] | None = None,
        voxels: Sequence[Mapping[int, int]] | None = None,
    ) -> Asked:
        given = np.asarray(centers_mm, dtype=float)
        centers = given if given.ndim == 2 else np.stack([given, 0 * given, 0 * given], axis=1)
        affine = np.eye(4)
        affine[:3, 3] = middle_mm
        cases, facts = [], {}
        for n, center in enumerate(centers):
            own = {name: column[n] for name, column in (metadata or {}).items()}
            case = Case(f"case-{n:05d}", patients[n] if patients else f"patient-{n:05d}", {}, metadata=own)
            filled = dict(cells[n]) if cells else {}
            counts = voxels[n] if voxels else {1: 10}
            facts[case.id] = CaseFacts(
                affine=affine,
                shape=(201, 201, 201),
                spacing=(1.0, 1.0, 1.0),
                brain_box=np.array([[-100, 101]] * 3),
                has_label=True,
                label_convention="brats",
                label_moments={value: (count, tuple(center - middle_mm)) for value, count in counts.items()},
                mips={},
                outlines={},
                label_cells={
                    1: (
                        np.array(sorted(filled), dtype=np.uint16),
                        np.array([filled[c] for c in sorted(filled)], np.uint8),
                    )
                },
                contents={},
                appearance={},
            )
            cases.append(case)
        return cases, facts

    return make
